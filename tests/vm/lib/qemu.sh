# SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
# shellcheck shell=bash
# QEMU of Debian 13 backports in an unpacked root of its own, started through that root's dynamic loader: it
# runs on older hosts, without chroot.

QEMU_PACKAGES="qemu-system-x86 qemu-system-data seabios"
QEMU_ROOT=$CACHE/qemu-$(hash_of "$QEMU_PACKAGES")/root

# Sets QEMU: the command that starts it, without the machine.
qemu_command() {
    local lib=$1/usr/lib/x86_64-linux-gnu
    QEMU=(env QEMU_MODULE_DIR="$lib/qemu" "$lib/ld-linux-x86-64.so.2" --library-path "$lib"
        "$1/usr/bin/qemu-system-x86_64" -L "$1/usr/share/qemu" -L "$1/usr/share/seabios")
}

qemu_make() {
    # shellcheck disable=SC2086 # a list of words
    make_root "$1/root" --variant=extract --aptopt="APT::Default-Release \"$SUITE-backports\"" \
        --include="$(printf '%s,' $QEMU_PACKAGES)"
    qemu_command "$1/root"
    "${QEMU[@]}" --version | sed -n '1s/.*version \([0-9.]*\).*/\1/p' >"$1/version"
    [ -s "$1/version" ] || die "the unpacked QEMU does not run"
    # A VMM that cannot name a virtio device aborts on it; the backend that does not answer is an ordinary error.
    local status=0
    timeout 10 "${QEMU[@]}" -M q35 -accel tcg -nodefaults -display none -S -m 64M \
        -chardev null,id=none -device vhost-user-test-device-pci,chardev=none,virtio-id=48 || status=$?
    if [ "$status" -ge 128 ]; then echo 30; else echo 48; fi >"$1/virtio-id"
}

qemu_prepare() {
    local entry=${QEMU_ROOT%/root}
    make_once "${entry##*/}" "QEMU of $SUITE-backports" qemu_make
    QEMU_VERSION=$(cat "$entry/version")
    # 48 where this QEMU knows the media device, else the reserved id that the guest driver takes when asked.
    QEMU_VIRTIO_ID=$(cat "$entry/virtio-id")
    qemu_command "$QEMU_ROOT"
}
