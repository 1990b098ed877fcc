# SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
# shellcheck shell=bash
# The guest: a stock Debian 13 on an ext4 image that no run changes, and a small initramfs that finds it.

# The daemon runs in it, too, when it is the host of a VM in a VM: hence the encoder.
GUEST_PACKAGES="v4l-utils ffmpeg gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good
gstreamer1.0-plugins-ugly kmod udev procps psmisc util-linux strace less"
# Modules the initramfs needs before there is a root file system.
BOOT_MODULES="virtio_blk ext4 9p 9pnet_virtio overlay"

guest_root_make() {
    # shellcheck disable=SC2086 # a list of words
    make_root "$1/root" --variant=minbase --include="$(printf '%s,' $GUEST_PACKAGES)" \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*'
    mkdir -p "$1/root/job" "$1/root/out" "$1/root/harness"
    printf 'guest\n' >"$1/root/etc/hostname"
    printf '127.0.0.1 localhost guest\n' >"$1/root/etc/hosts"
}

# DIR KERNEL_DIR RELEASE GUEST_ROOT: the image holds the root and the modules of that kernel.
guest_image_make() {
    local size
    cp -a "$4/." "$1/root"
    mkdir -p "$1/root/usr/lib/modules"
    cp -a "$2/root/lib/modules/$3" "$1/root/usr/lib/modules/"
    size=$(du -sm "$1/root" | cut -f1)
    truncate -s $((size + size / 4 + 256))M "$1/root.ext4"
    mke2fs -q -F -t ext4 -O ^has_journal -L guest -d "$1/root" "$1/root.ext4"
    rm -rf "$1/root"
    mkdir "$1/initramfs"
    BIND="$1:/guest $2:/kernel $VM_DIR/guest:/harness" in_root "$BUILDROOT/root" \
        bash /harness/make-initramfs /guest/initramfs "$3" /guest/initramfs.img "$BOOT_MODULES"
    rm -rf "$1/initramfs"
}

GUEST_ROOT=$CACHE/guest-root-$(hash_of "$GUEST_PACKAGES")

guest_root_prepare() { make_once "${GUEST_ROOT##*/}" "Debian 13 guest root" guest_root_make; }

guest_prepare() {
    GUEST_DIR=$CACHE/guest-${KERNEL_DIR##*/kernel-}-$(hash_of "$GUEST_PACKAGES" "$BOOT_MODULES" \
        "$(cat "$VM_DIR"/guest/{make-initramfs,initramfs-init})")
    [ ! -e "$GUEST_DIR" ] || return 0
    need_root "making the guest image"
    guest_root_prepare
    make_once "${GUEST_DIR##*/}" "guest image for $KERNEL_RELEASE" \
        guest_image_make "$KERNEL_DIR" "$KERNEL_RELEASE" "$GUEST_ROOT/root"
}
