# SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
# shellcheck shell=bash
# In the VM that is a host: a real kernel with /dev/udmabuf and DMA heaps. First what needs no
# guest, then one boot of a guest in it, with many checks. tests/lib/nested.sh starts it; `settings`
# says where this repository is.
. /harness/tap.sh
heartbeat
. /job/settings
. /job/vm.sh
. "$REPO/tests/lib/cargo.sh"

for node in /dev/udmabuf /dev/dma_heap/system; do
    check "this host has $node" test -c "$node"
done

# The tests of cargo that concern memory or a device, on this kernel: their own lines become ours.
. "$REPO/tests/nested/devices.sh"
if devices_vivid && devices_vicodec; then
    ok "this host has vivid and vicodec"
else
    not_ok "this host has vivid and vicodec"
fi
export VIRTIO_V4L2_REQUIRE_UDMABUF=1 RUST_BACKTRACE=1
while read -r binary filters; do
    log=/out/${binary%-*}.log
    case $filters in *--ignored*)
        # Nobody finds the controls that another one has set.
        { devices_vivid_unbind && devices_vivid_bind; } || not_ok "vivid as new for ${binary%-*}"
        export "${!VIVID_@}" "${!VICODEC_@}"
        ;;
    esac
    CAMERA=
    case $binary in proxy_controls-*) devices_camera || not_ok "this host has a USB camera" ;; esac
    export CAMERA
    # shellcheck disable=SC2086 # a list of words
    timeout -k 5 300 "/job/$binary" --test-threads=2 $filters >"$log" 2>&1
    status=$?
    [ -z "$CAMERA" ] || devices_camera_unplug || not_ok "the USB camera goes"
    cargo_results "$log"
    ran=$(grep -cE '^test .* \.\.\. (ok|FAILED)$' "$log")
    if [ "$status" = 0 ] && [ "$ran" -gt 0 ]; then
        ok "${binary%-*}: $ran tests"
    else
        not_ok "${binary%-*}: all of its tests" "status $status: $(tail -n 1 "$log")"
        # With 101 each failure has been shown.
        [ "$status" = 101 ] || excerpt <"$log"
    fi
done </job/binaries

echo "# the guest in it: begin after $SECONDS s"
cd "$REPO" || exit
DAEMON=/job/virtio-v4l2d KO=/job/virtio_v4l2.ko OUT=/out/guest nested_vm /job/guest.sh /job/source-176x144.nv12 /job/client
status=$?
echo "# the guest in it: end after $SECONDS s"
nested_result "the guest's job runs to its end" "$status"

log=/out/guest/daemon.log
check "the daemon takes the guest's frames as dmabufs" grep -q 'guest frames: udmabuf' "$log"

stats=$(sed -n 's/.* stats: //p' "$log" | tail -n 1)
echo "# $stats"
check "no byte of a raw frame was copied" grep -q ' raw_bytes_copied=0 ' <<<"$stats"
check "udmabuf gave its frames" grep -q ' udmabufs=[1-9]' <<<"$stats"

# What the daemon says makes the same stream.
line=$(sed -n 's/.*the same stream on the host: \(gst-launch-1.0 .*\)$/\1/p' "$log" | head -n 1)
line=${line/location=RAW/location=/job/source-176x144.nv12}
bash -c "${line/location=CODED/location=/out/host.h264}" >/out/host.log 2>&1
for stream in /out/guest/*.h264; do
    check "$(basename "$stream" .h264): bit-identical to x264enc on its host" cmp "$stream" /out/host.h264
done
exit "$failed"
