# SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
# shellcheck shell=bash
# The devices of a VM that is a host (ROLE=host). Sourced there; each function loads a device and
# sets the variables that have its nodes, or says what is wrong and fails. Nodes are found by name:
# numbers depend on the order.
. /harness/conf

# device_node NAME: the node of the video4linux device of that name.
device_node() {
    local name
    for name in /sys/class/video4linux/*/name; do
        [ -e "$name" ] || continue
        if [ "$(<"$name")" = "$1" ]; then
            name=${name%/name}
            echo "/dev/${name##*/}"
            return
        fi
    done
    echo "devices: no video4linux device \"$1\" on this host" >&2
    return 1
}

# The stateful encoder and decoder. VICODEC_PARAMETERS are those of the module.
# shellcheck disable=SC2034,SC2086 # a list of words
devices_vicodec() {
    local modules
    modules=$CACHE/vicodec-$(uname -r)
    if [ ! -e /sys/module/vicodec ]; then
        modprobe -a videobuf2-vmalloc videobuf2-v4l2 mc videodev || return
        insmod "$modules/v4l2-mem2mem.ko" && insmod "$modules/vicodec.ko" ${VICODEC_PARAMETERS:-} || return
    fi
    VICODEC_ENC=$(device_node stateful-encoder) && VICODEC_DEC=$(device_node stateful-decoder)
}
