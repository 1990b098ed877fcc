# SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
# files: source-640x360.nv12 test_suspend.ko
# The VM is paused and continued under a program that encodes: it loses nothing. The device of an
# idle node is suspended, too.
. /harness/tap.sh

encode() {
    timeout -k 5 $((100 * SLOW)) v4l2-ctl -d0 --set-fmt-video-out width=640,height=360,pixelformat=NV12 --set-fmt-video pixelformat=H264 \
        --stream-mmap --stream-out-mmap --stream-from /job/source-640x360.nv12 "$@" >/tmp/log 2>&1
}
check "a run to compare with" encode --stream-to /tmp/whole.h264
encode --stream-to /tmp/paused.h264 &
sleep 0.3
touch /out/pause
wait $!
check "the program goes on after the pause" test $? = 0
await paused
check "and its stream is the same" cmp /tmp/whole.h264 /tmp/paused.h264

# The device as the system is suspended with it, and resumed.
DEVICE=$(basename "$(readlink -f /sys/class/video4linux/video0/device/..)")
check "an idle device can be suspended" insmod /job/test_suspend.ko device="$DEVICE"
refuse "it is not opened meanwhile" v4l2-ctl -d0 --list-ctrls
check "it is resumed" rmmod test_suspend
check "a program runs after that" encode --stream-to /tmp/resumed.h264
check "and its stream is the same" cmp /tmp/whole.h264 /tmp/resumed.h264
exec 9<>/dev/video0
refuse "it is not suspended while a program has it open" insmod /job/test_suspend.ko device="$DEVICE"
check "the log says why" sh -c "dmesg | grep -q 'virtio_v4l2.*cannot be suspended: programs have the device open 1 times'"
check "and it works on" v4l2-ctl -d0 --list-ctrls
exec 9>&-
check "it is suspended when it has been closed" insmod /job/test_suspend.ko device="$DEVICE"
check "and resumed" rmmod test_suspend
check "a program runs after that, too" encode --stream-to /tmp/again.h264
check "rmmod" within 10 rmmod virtio_v4l2
ALLOW=(-e 'cannot be suspended')
dmesg_clean "no kernel warning but the one about the device"
exit "$failed"
