# SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
# shellcheck shell=bash
# In the VM that is a host: vivid, vicodec and a USB camera, first used here, then by a guest with
# one proxy for each node; what both say and see is compared. tests/lib/nested.sh starts it;
# `settings` says where this repository is.
. /harness/tap.sh
heartbeat
. /job/settings
. /job/vm.sh
. /job/devices.sh
. /job/clients.sh
cd "$REPO" || exit

mkdir -p /out/host/compliance
for device in vivid vicodec camera; do
    # Not by `check`, whose command runs in a shell of its own.
    "devices_$device" >/run/device.log 2>&1 || {
        not_ok "this host has $device" "$(tail -n 1 /run/device.log)"
        excerpt </run/device.log
        exit 1
    }
    ok "this host has $device"
done

# NAME VARIABLE of each node, in the order of the guest.
all_nodes() {
    cat <<END
camera CAMERA
vid-cap VIVID_CAP
encoder VICODEC_ENC
decoder VICODEC_DEC
vid-out VIVID_OUT
vbi-cap VIVID_VBI_CAP
vbi-out VIVID_VBI_OUT
radio-rx VIVID_RADIO_RX
radio-tx VIVID_RADIO_TX
sdr VIVID_SDR
meta-cap VIVID_META_CAP
meta-out VIVID_META_OUT
touch VIVID_TOUCH
END
}
nodes() { all_nodes; }
# The fewer devices, the sooner the guest is up.
[ "$PARTS" = all ] || nodes() { all_nodes | head -n 4; }

# On this host.
source=/job/source-640x360.nv12
check "vivid's picture, on the host" limited vivid_still "$VIVID_CAP" /out/host/still.nv12 --stream-mmap
check "vivid's picture, by FFmpeg, on the host" limited ffmpeg_still "$VIVID_CAP" /out/host/ffmpeg.nv12
check "vicodec encodes, on the host" limited fwht_encode "$VICODEC_ENC" $source /out/host/coded.fwht --stream-mmap --stream-out-mmap
check "vicodec decodes, on the host" limited fwht_decode "$VICODEC_DEC" /out/host/coded.fwht /out/host/decoded.nv12 --stream-mmap --stream-out-mmap
check "GStreamer encodes and decodes, on the host" limited gst_codec $source /out/host/gst.fwht /out/host/gst.nv12
check "a stream of two sizes, on the host" limited fwht_change "$VICODEC_ENC" $source /run/change.fwht
check "the client of decoders, on the host" timeout -k 5 600 /job/decode "$VICODEC_DEC" /run/change.fwht /out/host/change.nv12
# v4l2-compliance takes minutes for each node in a VM in a VM: not in `make test`.
compared() { [ "$PARTS" != all ] || nodes; }
# NAME DRIVER, for the guest.
: >/run/compliance
while read -r name variable; do
    begin=$SECONDS
    echo "$name $(driver "${!variable}")" >>/run/compliance
    limited compliance "${!variable}" "/out/host/compliance/$name" -s10
    echo "# $name on the host: $((SECONDS - begin)) s"
done < <(compared)

# A guest, with what is like new.
devices_vivid_unbind && devices_vivid_bind || exit 1
DEVICES=
while read -r name variable; do
    DEVICES+="$name=proxy,path=${!variable},card=$name "
done < <(nodes)
export CAMERA CAMERA_PID
# Whatever a guest that was lost had taken away.
devices_back() {
    camera_node || devices_camera
    [ -e "$VIVID_CAP" ] || devices_vivid_bind
}
# in_guest SHM_SIZE FILE: the parts of the job that are not in FILE.
in_guest() {
    local status
    echo "# the guest, --shm-size $1: begin after $SECONDS s"
    DEVICES=$DEVICES DAEMON=/job/virtio-v4l2d DAEMON_ARGS="--shm-size $1" KO=/job/virtio_v4l2.ko OUT=/out/guest-$1 \
        HOST_PART=/job/proxy-during.sh BEFORE=devices_back KEEP=/run/kept DONE=$2 TIMEOUT=$LIMIT nested_vm /job/proxy-guest.sh \
        /job/{clients.sh,devices.sh,decode,driver-name.so,source-640x360.nv12} /run/{change.fwht,compliance}
    status=$?
    grep -vxFf "$2" /run/done >>/run/finished
    echo "# the guest, --shm-size $1: end after $SECONDS s"
    nested_result "the guest's job runs to its end, --shm-size $1" "$status"
    refuse "nothing panicked in the daemon, --shm-size $1" grep -i panic "/out/guest-$1/daemon.log"
}
# First by the shared memory region, as many devices at a time as QEMU 11.1 can have mappings of
# (vhost-user's eight memory regions); then without one, the rest.
printf '%s\n' commands picture codec gstreamer decoder 'camera MJPG' >/run/first
{
    printf '%s\n' 'camera YUYV' camera_unplug vivid_unbind
    compared | sed 's/\([^ ]*\).*/compliance of \1/'
    # A machine that stands still for three seconds loses frames of the camera: not in `make test`.
    [ "$PARTS" = all ] || echo 'camera MJPG'
} >/run/second
in_guest 512M /run/second
[ "$PARTS" != all ] || in_guest 0 /run/first
guest=/run/kept
# finished PART: whether a guest did it.
finished() { grep -qxF "$1" /run/finished; }

for file in "still.nv12 picture" "ffmpeg.nv12 picture" "coded.fwht codec" "decoded.nv12 codec" "gst.fwht gstreamer" "gst.nv12 gstreamer" "change.nv12 decoder"; do
    finished "${file#* }" || continue
    check "${file% *}: in the guest as on the host" cmp "/out/host/${file% *}" "$guest/${file% *}"
done
for format in MJPG YUYV; do
    finished "camera $format" || continue
    check "camera, $format: 300 frames, each byte of them" \
        /job/usb-camera check "$CACHE/camera-frames" "$format" 320x180 "$guest/camera.$format"
done

{
    echo "                 |      host      |     guest      |"
    echo "  node           |   ok  n/s fail |   ok  n/s fail | diff | not listed"
    while read -r name variable; do
        finished "compliance of $name" || continue
        tests/nested/compare -v "device=$name" tests/nested/differences "/out/host/compliance/$name.txt" "$guest/compliance/$name.txt"
    done < <(compared)
} >/run/compared 2>&1
grep -E '^(not )?ok - ' /run/compared
grep -qE '^not ok - ' /run/compared && failed=1
{
    grep -vE '^(not )?ok - ' /run/compared
    echo
    ! finished commands || cat $guest/commands.txt
} >/out/report.txt
exit "$failed"
