#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
# In the guest: each client encodes /job/source.nv12 on its own; one that fails does not keep the
# next from trying.
. /job/settings
size=${WIDTH}x$HEIGHT rate=$RATE_NUM/$RATE_DEN

encode() {
    case $1 in
        v4l2-ctl)
            exec v4l2-ctl -d /dev/video0 \
                --set-fmt-video-out "width=$WIDTH,height=$HEIGHT,pixelformat=NV12" --set-fmt-video pixelformat=H264 \
                --set-output-parm "$(awk "BEGIN {print $rate}")" --set-ctrl "video_bitrate=$BITRATE" \
                --stream-mmap --stream-out-mmap --stream-from /job/source.nv12 --stream-to /out/v4l2-ctl.h264
            ;;
        ffmpeg)
            exec ffmpeg -nostdin -hide_banner -y -f rawvideo -pix_fmt nv12 -video_size "$size" -framerate "$rate" \
                -i /job/source.nv12 -c:v h264_v4l2m2m -b:v "$BITRATE" /out/ffmpeg.h264
            ;;
        gstreamer)
            exec gst-launch-1.0 filesrc location=/job/source.nv12 \
                ! rawvideoparse format=nv12 width="$WIDTH" height="$HEIGHT" framerate="$rate" \
                ! v4l2h264enc extra-controls="controls,video_bitrate=$BITRATE" \
                ! video/x-h264,stream-format=byte-stream ! filesink location=/out/gstreamer.h264
            ;;
    esac
}

if [ $# -gt 0 ]; then
    encode "$1"
fi
failed=0
for client in $CLIENTS; do
    start=$SECONDS
    if timeout -k 5 300 bash "$0" "$client" >"/out/$client.log" 2>&1; then
        echo "$client: done in $((SECONDS - start)) s"
    else
        echo "$client: failed with status $?; the end of its output:"
        tail -n 5 "/out/$client.log"
        failed=1
    fi
done
exit "$failed"
