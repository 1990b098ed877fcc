# SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
# files: client
# vm: DAEMON=target/debug/examples/hostile-device
# vm: MODULE_PARAMS=timeout_ms=1000
# vm: TIMEOUT=300
# The device lies: in replies, errors, mappings and events (tests/examples/hostile-device.rs).
# Programs end, the module goes, the kernel is none the worse.
. /harness/tap.sh

head -c 3000000 /dev/urandom >/tmp/raw
for round in 1 2; do
    ended "round $round: v4l2-compliance" 12 v4l2-compliance -d0 -s
    ended "round $round: v4l2-ctl" 8 v4l2-ctl -d0 --set-fmt-video-out width=64,height=64,pixelformat=NV12 --stream-mmap --stream-out-mmap --stream-from=/tmp/raw --stream-to=/dev/null --stream-count=50
    ended "round $round: v4l2-ctl with memory of its own" 8 v4l2-ctl -d0 --set-fmt-video-out width=64,height=64,pixelformat=NV12 --stream-user --stream-out-user --stream-from=/tmp/raw --stream-to=/dev/null --stream-count=50
    ended "round $round: v4l2-compliance with exported buffers" 12 v4l2-compliance -d0 -s -e /dev/video0
    for test in drains bad-requests abandon opens keyframe restart refused; do
        ended "round $round: client $test" 5 /job/client "$test"
    done
    for _ in 1 2 3 4 5 6; do timeout -k 3 3 v4l2-ctl -d0 --all >/dev/null 2>&1 & done
    wait
    check "rmmod, round $round" within 20 rmmod virtio_v4l2
    check "insmod, round $round" insmod /harness/virtio_v4l2.ko allow_id30=1 timeout_ms=1000
    sleep 0.5
done
client bounds
check "no process is stuck" within 15 sh -c '! ps -eo stat= | grep -q "^D"'
ALLOW=(-e 'virtio_v4l2.*\(bad device\|timed out\|answer\|lost\|broken\|suppressed\|the device ended it\)')
dmesg_clean "no kernel warning but those about the device"
exit "$failed"
