# SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
# shellcheck shell=bash
# In the guest in the VM. Every program that is started takes seconds here.
. /harness/tap.sh
heartbeat

encode() {
    local stream=$1
    shift
    timeout -k 5 200 v4l2-ctl -d /dev/video0 --set-fmt-video-out width=176,height=144,pixelformat=NV12 \
        --set-fmt-video pixelformat=H264 --set-output-parm 25 --set-ctrl video_bitrate=190000 "$@" \
        --stream-from /job/source-176x144.nv12 --stream-to "/out/$stream.h264" 2>&1
}
check "v4l2-ctl by MMAP" encode mmap --stream-mmap --stream-out-mmap
check "v4l2-ctl by USERPTR" encode user --stream-user --stream-out-user
LIMIT=400
client lend 176x144 userptr-scattered heap udmabuf
ALLOW=("${SLOW_CLOCK[@]}")
dmesg_clean "no kernel warning"
exit "$failed"
