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

# One vivid that has each kind of node, and whose controls do not inject errors.
# shellcheck disable=SC2034 # for who sources this
devices_vivid() {
    modprobe vivid n_devs=1 no_error_inj=1 || return
    VIVID_CAP=$(device_node vivid-000-vid-cap) && VIVID_OUT=$(device_node vivid-000-vid-out) &&
        VIVID_VBI_CAP=$(device_node vivid-000-vbi-cap) && VIVID_VBI_OUT=$(device_node vivid-000-vbi-out) &&
        VIVID_RADIO_RX=$(device_node vivid-000-rad-rx) && VIVID_RADIO_TX=$(device_node vivid-000-rad-tx) &&
        VIVID_SDR=$(device_node vivid-000-sdr-cap) && VIVID_META_CAP=$(device_node vivid-000-meta-cap) &&
        VIVID_META_OUT=$(device_node vivid-000-meta-out) && VIVID_TOUCH=$(device_node vivid-000-touch-cap)
}

# Takes the device from its driver, as unloading would, were it not in use: open files get ENODEV.
devices_vivid_unbind() { echo vivid.0 >/sys/bus/platform/drivers/vivid/unbind; }
# The device comes back as a new one: the variables are set anew.
devices_vivid_bind() { echo vivid.0 >/sys/bus/platform/drivers/vivid/bind && devices_vivid; }

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

# Sets CAMERA, if there is one. Its first node has the frames, the second one their headers.
camera_node() {
    local node
    for node in /sys/class/video4linux/video*; do
        # One that goes may be gone.
        if [ "$(cat "$node/name" "$node/index" 2>/dev/null)" = $'Test camera\n0' ]; then
            CAMERA=/dev/${node##*/}
            return 0
        fi
    done
    return 1
}

# Plugs in a USB camera (tests/camera), which the kernel's uvcvideo drives; it is CAMERA_PID.
devices_camera() {
    local program=/job/usb-camera end=$((SECONDS + 60))
    [ -x "$program" ] || program=$REPO/target/release/usb-camera
    modprobe -a vhci_hcd uvcvideo || return
    "$program" attach "$CACHE/camera-frames" >/run/usb-camera.log 2>&1 </dev/null &
    CAMERA_PID=$!
    # The kernel asks it for its descriptors meanwhile.
    until camera_node; do
        if [ $SECONDS -ge $end ] || ! kill -0 "$CAMERA_PID"; then
            echo "devices: no camera: $(tail -n 1 /run/usb-camera.log)" >&2
            return 1
        fi
        sleep 0.2
    done
}

# Pulls the camera's plug, and waits until its node is gone.
devices_camera_unplug() {
    local end=$((SECONDS + 60))
    kill "$CAMERA_PID" || return
    wait "$CAMERA_PID" || true
    while camera_node; do
        if [ $SECONDS -ge $end ]; then
            echo "devices: the camera's node is still there, a minute after it was unplugged" >&2
            return 1
        fi
        sleep 0.2
    done
}
