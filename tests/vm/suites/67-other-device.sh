# SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
# files: client client32 client32-time64
# vm: DAEMON=target/debug/examples/wire-device
# vm: LIES=7
# vm: TIMEOUT=200
# vm: KERNEL_ARGS=log_buf_len=8M
# A device that is not ours, of the crate virtio-media (tests/examples/wire-device). Then, when the
# module has been loaded again, it lies in every byte of its answers and events, for programs of 64
# and of 32 bits, with the core's debug output on.
. /harness/tap.sh

# The first bytes of ten frames: the device counts them.
frames() {
    local number seen=()
    for number in 0 1 2 3 4 5 6 7 8 9; do
        seen+=("$(tail -c +$((number * 460800 + 1)) /tmp/frames | head -c 1 | od -An -tu1)")
    done
    echo "$(stat -c %s /tmp/frames) bytes:" "${seen[@]}"
    [ "$(stat -c %s /tmp/frames)" = 4608000 ] && [ "$(printf '%d ' "${seen[@]}")" = "0 1 2 3 4 5 6 7 8 9 " ]
}
compliance() { v4l2-compliance -d0 >/out/compliance.txt 2>&1 || { grep -E 'fail:|FAIL' /out/compliance.txt && false; }; }
# QEMU 11.1 has vhost-user's eight memory regions, and gives one to each buffer that is mapped:
# three here.
check "v4l2-ctl streams" timeout -k 5 $((20 * SLOW)) v4l2-ctl -d0 --stream-mmap=3 --stream-count=10 --stream-to=/tmp/frames
check "ten frames, each as it should be" frames
check "v4l2-compliance" compliance
dmesg_clean "no kernel warning from another device"

check "rmmod" within 10 rmmod virtio_v4l2
check "insmod; from now on the device lies" insmod /harness/virtio_v4l2.ko allow_id30=1 timeout_ms=1000
sleep 0.5
# Ioctls with their arguments, and those of streaming.
echo 31 >/sys/class/video4linux/video0/dev_debug
for program in client client32 client32-time64; do
    echo "# $program"
    lines /job/$program answers
done
ended "v4l2-compliance" 15 v4l2-compliance -d0 -s
for round in 1 2 3 4; do
    ended "v4l2-ctl, round $round," 5 v4l2-ctl -d0 --stream-mmap=3 --stream-count=20 --stream-to=/dev/null
    ended "v4l2-ctl --all, round $round," 5 v4l2-ctl -d0 --all
done
check "rmmod" within 20 rmmod virtio_v4l2
check "no process is stuck" within 15 sh -c '! ps -eo stat= | grep -q "^D"'
ALLOW=(-e 'virtio_v4l2.*\(bad device\|timed out\|answer\|lost\|broken\|suppressed\|the device ended it\)')
# Parts of a line of debug output that another message came between.
ALLOW+=(-e '^\[[ 0-9.]*\] \(, \|: \|[a-z_/]*=\)')
dmesg_clean "no kernel warning but those about the device"
exit "$failed"
