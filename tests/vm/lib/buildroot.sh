# SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
# shellcheck shell=bash
# The build root: the compilers that Debian builds its own kernel with.

BUILD_PACKAGES="build-essential bc bison flex libssl-dev rustc rust-src rustfmt bindgen clang lld llvm libclang-dev
dwarves rsync cpio xz-utils python3 kmod busybox-static"
# With backports on, libelf1t64 comes from there, and the development package has to match it.
BACKPORTS_PACKAGES="libelf-dev/$SUITE-backports libdw1t64/$SUITE-backports"

BUILDROOT=$CACHE/buildroot-$(hash_of "$BUILD_PACKAGES" "$BACKPORTS_PACKAGES")

buildroot_make() {
    # shellcheck disable=SC2086 # lists of words
    make_root "$1/root" --variant=apt --skip=cleanup/apt \
        --include="$(printf '%s,' $BUILD_PACKAGES)" \
        --customize-hook='chroot "$1" apt-get install -y --no-install-recommends '"$BACKPORTS_PACKAGES"
}

buildroot_prepare() {
    need_root "making the build root"
    make_once "${BUILDROOT##*/}" "Debian 13 build root" buildroot_make
}
