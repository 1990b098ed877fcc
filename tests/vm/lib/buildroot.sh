# SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
# shellcheck shell=bash
# The build root: the compilers that Debian builds its own kernel with.

BUILD_PACKAGES="build-essential bc bison flex libssl-dev openssl rustc rust-src rustfmt rust-clippy bindgen clang lld llvm libclang-dev
dwarves rsync cpio xz-utils python3 kmod busybox-static libc6-dev-i386 lib32gcc-14-dev"
# With backports on, libelf1t64 comes from there, and the development package has to match it.
BACKPORTS_PACKAGES="libelf-dev/$SUITE-backports libdw1t64/$SUITE-backports"

BUILDROOT=$CACHE/buildroot-$(hash_of "$BUILD_PACKAGES" "$BACKPORTS_PACKAGES")

buildroot_make() {
    # shellcheck disable=SC2086,SC2016 # lists of words; $1 is for the hook's shell
    make_root "$1/root" --variant=apt --skip=cleanup/apt \
        --include="$(printf '%s,' $BUILD_PACKAGES)" \
        --customize-hook='chroot "$1" apt-get install -y --no-install-recommends '"$BACKPORTS_PACKAGES"
    local include=$1/root/usr/include
    mkdir "$1/uapi"
    cp -rL "$include"/linux "$include"/asm-generic "$include"/x86_64-linux-gnu/asm "$1/uapi/"
}

buildroot_prepare() {
    need_root "making the build root"
    make_once "${BUILDROOT##*/}" "Debian 13 build root" buildroot_make
}

# The kernel's user headers out of the build root, apart from its libc: v4l2r generates bindings from
# videodev2.h, and Debian 12's is too old. Cargo finds them by links (.cargo/config.toml).
uapi_prepare() {
    local name include=$REPO/.cargo/include changed=0
    for name in linux asm asm-generic; do
        [ "$(readlink "$include/$name")" != "$BUILDROOT/uapi/$name" ] || continue
        ln -sfn "$BUILDROOT/uapi/$name" "$include/$name"
        changed=1
    done
    # The time by which cargo sees that the headers are others.
    [ "$changed" = 0 ] || touch "$include/videodev2.h"
}
