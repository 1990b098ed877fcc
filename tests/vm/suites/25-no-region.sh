# SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
# vm: DAEMON_ARGS=--shm-size 0
# files: client source-640x360.nv12
# A VMM without shared memory regions: MMAP buffers are pages of the guest, and no client sees a
# difference.
. /harness/tap.sh

modprobe vgem
client drains
client manage
client export
client lend 640x360 userptr vgem export
client abandon
check "v4l2-compliance -s" sh -c 'timeout -k 5 200 v4l2-compliance -d0 -s >/out/compliance.txt && tail -n 1 /out/compliance.txt | grep "Failed: 0, Warnings: 0"'
check "v4l2-ctl" timeout -k 5 60 v4l2-ctl -d0 --set-fmt-video-out width=640,height=360,pixelformat=NV12 \
    --set-fmt-video pixelformat=H264 --stream-mmap --stream-out-mmap --stream-from /job/source-640x360.nv12 --stream-to /out/v4l2-ctl.h264
echo "v4l2-ctl.h264 source-640x360.nv12 640x360 60" >/out/streams
check "rmmod" within 10 rmmod virtio_v4l2
dmesg_clean "no kernel warning from insmod to rmmod"
exit "$failed"
