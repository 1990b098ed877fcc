# SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
# files: source-640x360.nv12
# The other codecs that the host can make, and another raw format, with programs that put them into
# containers.
. /harness/tap.sh

size=640x360 frames=60
coded=$(v4l2-ctl -d0 --list-formats)
expect() { printf '%s\n' "$*" >>/out/streams; }
raw=(-f rawvideo -pix_fmt nv12 -video_size "$size" -framerate 25 -i "/job/source-$size.nv12")

# by_ffmpeg FOURCC STREAM OPTION...
by_ffmpeg() {
    local fourcc=$1 stream=$2
    shift 2
    if ! grep -q "'$fourcc'" <<<"$coded"; then
        skip "ffmpeg to $stream" "the host has no encoder for $fourcc"
        return
    fi
    expect "$stream" "source-$size.nv12" "$size" "$frames"
    check "ffmpeg to $stream" timeout -k 5 120 ffmpeg -nostdin -v warning -y "${raw[@]}" "$@" -b:v 1700k "/out/$stream"
}
# Without a container: the encoder gives FFmpeg no extradata, and Matroska wants it for HEVC before
# the first frame.
by_ffmpeg HEVC ffmpeg.hevc -c:v hevc_v4l2m2m
by_ffmpeg VP80 ffmpeg-vp8.webm -c:v vp8_v4l2m2m
by_ffmpeg H264 ffmpeg-yuv420p.mp4 -pix_fmt yuv420p -c:v h264_v4l2m2m

# by_gstreamer FOURCC STREAM ELEMENT MUXER
by_gstreamer() {
    if ! grep -q "'$1'" <<<"$coded"; then
        skip "GStreamer to $2" "the host has no encoder for $1"
        return
    fi
    expect "$2" "source-$size.nv12" "$size" "$frames"
    check "GStreamer to $2" timeout -k 5 120 gst-launch-1.0 -q filesrc location="/job/source-$size.nv12" \
        ! rawvideoparse format=nv12 width=640 height=360 framerate=25/1 \
        ! "$3" extra-controls="controls,video_bitrate=1700000" ! "$4" ! filesink location="/out/$2"
}
by_gstreamer VP80 gstreamer-vp8.webm v4l2vp8enc webmmux
by_gstreamer VP90 gstreamer-vp9.webm v4l2vp9enc webmmux

check "rmmod" within 10 rmmod virtio_v4l2
dmesg_clean "no kernel warning from insmod to rmmod"
exit "$failed"
