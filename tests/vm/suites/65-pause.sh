# SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
# files: source-640x360.nv12
# The VM is paused and continued under a program that encodes: it loses nothing.
. /harness/tap.sh

encode() {
    timeout -k 5 100 v4l2-ctl -d0 --set-fmt-video-out width=640,height=360,pixelformat=NV12 --set-fmt-video pixelformat=H264 \
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
check "rmmod" within 10 rmmod virtio_v4l2
dmesg_clean "no kernel warning from insmod to rmmod"
exit "$failed"
