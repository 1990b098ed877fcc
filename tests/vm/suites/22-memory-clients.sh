# SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
# vm: TIMEOUT=900
# vm: DEVICES=one=encoder all=encoder,formats=all
# files: source-640x360.nv12 source-1296x972.nv12 source-1920x1080.nv12
# Stock programs with memory of their own (USERPTR, DMABUF). 22-memory-clients.host compares each
# stream with the host's encoder; its order is that of the sessions, so that it finds the daemon's
# line for each.
. /harness/tap.sh

# One camera has all of a frame in one dmabuf, as most have, the other a plane for chroma of its
# own.
modprobe vivid n_devs=2 node_types=0x1,0x1 multiplanar=1,2
camera=$(vivid_node 000-vid-cap)
planar=$(vivid_node 001-vid-cap)

# encoded STREAM SOURCE COMMAND...: a session whose stream is /out/STREAM.h264.
encoded() {
    local stream=$1 source=$2 output status=0
    shift 2
    output=$(timeout -k 5 180 "$@" 2>&1) || status=$?
    # v4l2-ctl may fail without saying so.
    if [ "$status" = 0 ] && [ -s "/out/$stream.h264" ]; then
        ok "$stream"
        echo "$stream $source" >>/out/sessions
    else
        not_ok "$stream" "status $status: $(tail -n 2 <<<"$output" | tr '\n' ' ')"
    fi
}

for size in 640x360 1296x972 1920x1080; do
    width=${size%x*} height=${size#*x} source=/job/source-$size.nv12
    by_v4l2_ctl=(v4l2-ctl -d /dev/video0 --set-fmt-video-out "width=$width,height=$height,pixelformat=NV12"
        --set-fmt-video pixelformat=H264 --set-output-parm 25 --stream-from "$source")
    # No --stream-out-dmabuf: on a memory-to-memory device, whichever it is, v4l2-ctl 1.30 exports
    # before there are buffers.
    encoded "v4l2-ctl-user-$size" "source-$size.nv12" "${by_v4l2_ctl[@]}" \
        --stream-user --stream-out-user --stream-to "/out/v4l2-ctl-user-$size.h264"
    # By USERPTR GStreamer passes each plane as memory of its own, so it wants a format for that.
    for by in mmap:v4l2h264enc userptr:v4l2video1h264enc; do
        mode=${by%:*}
        encoded "gstreamer-$mode-$size" "source-$size.nv12" gst-launch-1.0 -q filesrc location="$source" \
            ! rawvideoparse format=nv12 width="$width" height="$height" framerate=25/1 \
            ! "${by#*:}" output-io-mode="$mode" \
            ! video/x-h264,stream-format=byte-stream ! filesink location="/out/gstreamer-$mode-$size.h264"
    done
    encoded "ffmpeg-$size" "source-$size.nv12" ffmpeg -nostdin -v warning -y -f rawvideo -pix_fmt nv12 \
        -video_size "$size" -framerate 25 -i "$source" -c:v h264_v4l2m2m "/out/ffmpeg-$size.h264"
done

# Frames that a camera exports: always the same, so that what it sees can go to the host in a run of
# its own. That one comes second, for the colours that GStreamer has set.
encode=(output-io-mode=dmabuf-import ! "video/x-h264,stream-format=byte-stream" ! filesink)
# from NODE COUNT: COUNT frames of a camera, by dmabuf.
from() {
    printf '%s\n' v4l2src device="$1" io-mode=dmabuf num-buffers="$2" \
        ! video/x-raw,format=NV12,width=640,height=360,framerate=25/1
}
v4l2-ctl -d "$camera" -v width=640,height=360,pixelformat=NV12 -c osd_text_mode=2 >/dev/null
mapfile -t source < <(from "$camera" 30)
encoded gstreamer-dmabuf-import camera.nv12 gst-launch-1.0 -q "${source[@]}" \
    ! v4l2h264enc "${encode[@]}" location=/out/gstreamer-dmabuf-import.h264
check "what the camera sees" v4l2-ctl -d "$camera" --stream-mmap --stream-count=30 --stream-to=/out/camera.nv12
# The second device offers the formats with several planes, too. GStreamer takes those then.
v4l2-ctl -d "$planar" -v width=640,height=360,pixelformat=NM12 -c osd_text_mode=2 >/dev/null
mapfile -t source < <(from "$planar" 30)
encoded gstreamer-dmabuf-planes planar.nv12 gst-launch-1.0 -q "${source[@]}" \
    ! v4l2video1h264enc "${encode[@]}" location=/out/gstreamer-dmabuf-planes.h264
check "what the camera of two planes sees" v4l2-ctl -d "$planar" --stream-mmap --stream-count=30 --stream-to=/out/planar.nv12

check "rmmod" within 10 rmmod virtio_v4l2
dmesg_clean "no kernel warning from insmod to rmmod"
exit "$failed"
