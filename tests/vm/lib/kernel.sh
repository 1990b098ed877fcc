# SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
# shellcheck shell=bash
# A stock Debian kernel with CONFIG_RUST=y, its modules, and a source tree prepared to build modules for it.
# KERNEL=7.3 chooses another series of Debian 13 backports; KERNEL=7.2-debug a kernel of the same source with
# everything that finds mistakes (tests/vm/debug/config).

KERNEL=${KERNEL:-7.2}

# The release in the cache, newest first, or nothing.
kernel_cached() {
    find "$CACHE" -maxdepth 1 -name "kernel-$KERNEL.*-amd64" -printf '%f\n' 2>/dev/null |
        sed 's/^kernel-//' | sort -V | tail -n 1
}

# The newest release of the series that has headers, modules, image and source of one version.
kernel_newest() {
    local root=$BUILDROOT/root release version source
    source=$(chroot "$root" apt-cache madison "linux-source-$KERNEL" | awk '{print $3}')
    # `|| true`: no match is reported below, with what to do about it.
    for release in $(chroot "$root" apt-cache pkgnames "linux-headers-$KERNEL." |
        sed -n 's/^linux-headers-\([0-9.]*+deb[0-9]*-amd64\)$/\1/p' | sort -rV); do
        version=$(chroot "$root" apt-cache madison "linux-headers-$release" | awk '{print $3; exit}')
        grep -qxF "$version" <<<"$source" || continue
        [ -n "$(chroot "$root" apt-cache madison "linux-modules-$release")" ] || continue
        printf '%s %s\n' "$release" "$version"
        return 0
    done
    return 1
}

# Runs inside the build root, in the new directory: packages, unpacked tree, `modules_prepare`.
# shellcheck disable=SC2016 # a script for the inner shell
KERNEL_SCRIPT='
    release=$1 version=$2 series=$3
    image=linux-binary-$release
    apt-cache show "$image" >/dev/null 2>&1 || image=linux-binary-unsigned-$release
    apt-get -o APT::Sandbox::User=root download \
        "linux-headers-$release" "linux-base-$release" "$image" "linux-modules-$release" "linux-source-$series=$version"
    for deb in *.deb; do dpkg-deb -x "$deb" unpacked; done
    rm -- *.deb

    mkdir tree
    find unpacked -name "vmlinuz*" -type f -exec mv {} vmlinuz \;
    [ -s vmlinuz ]
    modules=$(find unpacked -type d -path "*/lib/modules/$release" | head -n 1)
    mkdir -p root/lib/modules
    mv "$modules" root/lib/modules/
    rm -f root/lib/modules/"$release"/{build,source}
    depmod -b root "$release"

    tar -C tree --strip-components=1 -xf unpacked/usr/src/linux-source-"$series".tar.xz
    cp unpacked/usr/src/linux-headers-"$release"/{.config,Module.symvers} tree/
    rm -rf unpacked
    cd tree
    # The release is the version of the Makefile and what follows it: 7.2.12 + "+deb13-amd64".
    echo "${release#"$(make -s kernelversion)"}" >localversion-debian
    cp .config .config.debian
    make LOCALVERSION= olddefconfig
    # Anything else that changed would be a kernel with another struct module.
    if diff <(grep -v "^CONFIG_CC_VERSION_TEXT=" .config.debian) <(grep -v "^CONFIG_CC_VERSION_TEXT=" .config); then
        echo "the configuration is Debian'\''s"
    else
        echo "the build root changes the configuration of the Debian kernel: it lacks a tool (see the lines above)"
        exit 1
    fi
    make -j"$(nproc)" LOCALVERSION= prepare modules_prepare
    [ "$(make -s LOCALVERSION= kernelrelease)" = "$release" ]
'

kernel_make() {
    BIND="$1:/kernel" in_root "$BUILDROOT/root" \
        bash -euo pipefail -c "cd /kernel; $KERNEL_SCRIPT" kernel "$2" "$3" "$KERNEL"
    printf '%s\n' "$2" >"$1/release"
}

# Sets KERNEL_RELEASE and KERNEL_DIR.
kernel_prepare() {
    case $KERNEL in
        *-debug)
            KERNEL=${KERNEL%-debug} kernel_stock
            kernel_debug
            ;;
        *) kernel_stock ;;
    esac
}

kernel_stock() {
    local found
    KERNEL_RELEASE=$(kernel_cached)
    if [ -z "$KERNEL_RELEASE" ]; then
        need_root "making the kernel tree"
        in_root "$BUILDROOT/root" apt-get update -q >"$CACHE/apt-update.log" 2>&1 ||
            die "apt-get update in the build root failed; see $CACHE/apt-update.log"
        found=$(kernel_newest) ||
            die "no complete linux $KERNEL in $SUITE-backports (headers, modules, source of one version); try KERNEL=7.3"
        KERNEL_RELEASE=${found% *}
        make_once "kernel-$KERNEL_RELEASE" "kernel tree $KERNEL_RELEASE" kernel_make "$KERNEL_RELEASE" "${found#* }"
    fi
    KERNEL_DIR=$CACHE/kernel-$KERNEL_RELEASE
}

KERNEL_DEBUG_CONFIG=$VM_DIR/debug/config

# Runs inside the build root, in the new directory, which has the stock kernel's tree and our configuration. Rust with
# KASAN needs clang.
# shellcheck disable=SC2016 # a script for the inner shell
KERNEL_DEBUG_SCRIPT='
    release=$1
    make="make -s LLVM=1 LOCALVERSION="
    cd tree
    $make mrproper
    rm -f localversion-debian .config.debian
    $make tinyconfig
    scripts/kconfig/merge_config.sh -m .config ../config
    $make olddefconfig
    missing=0
    while IFS== read -r option value; do
        case $value in
            n) ! grep "^$option=" .config || missing=1 ;;
            *) grep -qxF "$option=$value" .config || { echo "$option is not $value"; missing=1; } ;;
        esac
    done < <(grep "^CONFIG_" ../config)
    if [ "$missing" = 1 ]; then
        echo "the kernel does not take the configuration (see the lines above)"
        exit 1
    fi
    nice -n "${NICE:-10}" make LLVM=1 LOCALVERSION= -j"$(nproc)" bzImage modules
    [ "$($make kernelrelease)" = "$release" ]
    mv arch/x86/boot/bzImage ../vmlinuz
    $make INSTALL_MOD_PATH=/kernel/root modules_install
    rm -f ../root/lib/modules/"$release"/{build,source}
    # What kbuild needs for a module of ours is not among these.
    find . -name "*.[oa]" -delete
'

# STOCK RELEASE
kernel_debug_make() {
    cp -a "$2/tree" "$1/tree"
    cp "$KERNEL_DEBUG_CONFIG" "$1/config"
    BIND="$1:/kernel" in_root "$BUILDROOT/root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 NICE="${NICE:-}" \
        bash -euo pipefail -c "cd /kernel; $KERNEL_DEBUG_SCRIPT" kernel "$3"
    printf '%s\n' LLVM=1 >"$1/make-arguments"
    printf '%s\n' "$3" >"$1/release"
}

# After kernel_stock, of whose source it is.
kernel_debug() {
    local stock=$KERNEL_DIR release=${KERNEL_RELEASE%%+*}-debug
    KERNEL_DIR=$CACHE/kernel-$release-$(hash_of "$KERNEL_RELEASE" "$KERNEL_DEBUG_SCRIPT" "$(cat "$KERNEL_DEBUG_CONFIG")")
    KERNEL_RELEASE=$release
    [ ! -e "$KERNEL_DIR" ] || return 0
    need_root "making the debug kernel"
    make_once "${KERNEL_DIR##*/}" "debug kernel $release (20 minutes of two cores)" kernel_debug_make "$stock" "$release"
}
