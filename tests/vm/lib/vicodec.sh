# SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
# shellcheck shell=bash
# vicodec, the kernel's codec in software. Debian builds neither it nor v4l2-mem2mem, so both come from the kernel's
# own source, as external modules: $VICODEC_DIR has the two .ko files. After kernel_prepare.

vicodec_make() {
    local media=$KERNEL_DIR/tree/drivers/media
    mkdir "$1/build"
    cp "$media"/test-drivers/vicodec/*.[ch] "$media/v4l2-core/v4l2-mem2mem.c" "$1/build/"
    printf '%s\n' 'obj-m := v4l2-mem2mem.o vicodec.o' \
        'vicodec-y := vicodec-core.o codec-fwht.o codec-v4l2-fwht.o' >"$1/build/Kbuild"
    OUT=$1/out "$VM_DIR/kmake" "$1/build"
    mv "$1"/out/*.ko "$1/"
    rm -rf "$1/build" "$1/out"
}

vicodec_prepare() {
    VICODEC_DIR=$CACHE/vicodec-${KERNEL_DIR##*/kernel-}
    make_once "${VICODEC_DIR##*/}" "vicodec for $KERNEL_RELEASE" vicodec_make
}
