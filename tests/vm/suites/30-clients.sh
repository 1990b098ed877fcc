# SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
# vm: TIMEOUT=900
# files: client source-640x360.nv12 source-1296x972.nv12 source-176x144.nv12 source-1920x1080.nv12
# Stock programs: every frame, its time, its picture. What is to be decoded and compared goes into
# /out/streams, for 30-clients.host on the host: stream, source, size, frames.
. /harness/tap.sh

frames_in() { echo $(($(stat -c %s "/job/source-$1.nv12") / (${1%x*} * ${1#*x} * 3 / 2))); }
# Whole kbit/s, as x264 counts; small pictures want more bits for each pixel.
bitrate_for() { echo $((${1%x*} * ${1#*x} * 25 * 3 / 10 / 1000 * 1000)); }
expect() { printf '%s\n' "$*" >>/out/streams; }

# by_v4l2_ctl STREAM SIZE OPTION...
by_v4l2_ctl() {
    local stream=$1 size=$2
    shift 2
    timeout -k 5 120 v4l2-ctl -d /dev/video0 --set-fmt-video-out "width=${size%x*},height=${size#*x},pixelformat=NV12" \
        --set-fmt-video pixelformat=H264 --set-output-parm 25 "$@" --stream-mmap --stream-out-mmap \
        --stream-from "/job/source-$size.nv12" --stream-to "/out/$stream" >"/out/$stream.log" 2>&1
}

for size in 640x360 1296x972 176x144 1920x1080; do
    expect "v4l2-ctl-$size.h264" "source-$size.nv12" "$size" "$(frames_in "$size")"
    check "v4l2-ctl $size" by_v4l2_ctl "v4l2-ctl-$size.h264" "$size" --set-ctrl "video_bitrate=$(bitrate_for "$size")"
done

size=640x360
raw=(-f rawvideo -pix_fmt nv12 -video_size "$size" -framerate 25 -i "/job/source-$size.nv12")
ffmpeg_encode() { timeout -k 5 120 ffmpeg -nostdin -v warning -y "${raw[@]}" -c:v h264_v4l2m2m -b:v 1200k "$@"; }
expect "ffmpeg-$size.h264" "source-$size.nv12" "$size" "$(frames_in "$size")"
check "ffmpeg $size" ffmpeg_encode "/out/ffmpeg-$size.h264"
# In the time base of the container, packet n is sent with time n.
check "ffmpeg to a list of packets" ffmpeg_encode -f framecrc /out/ffmpeg.packets
times=$(awk -F, '!/^#/ {print $3 + 0}' /out/ffmpeg.packets | tr '\n' ' ')
if [ "$times" = "$(seq -s ' ' 0 $(($(frames_in "$size") - 1))) " ]; then
    ok "ffmpeg: timestamps as sent"
else
    not_ok "ffmpeg: timestamps as sent" "$times"
fi

# Nothing reaches the encoder: FFmpeg says STOP, starts both queues, and waits for the end.
ffmpeg_ends() {
    ffmpeg_encode "$@" >/out/ffmpeg-nothing.log 2>&1
    # It may say that there is nothing to write; by SIGTERM or SIGKILL it has not ended itself.
    case $? in 124 | 137) return 1 ;; esac
}
check "ffmpeg with nothing to encode ends" ffmpeg_ends -ss 100 /tmp/nothing.h264
check "ffmpeg into a container that wants headers first ends" ffmpeg_ends /tmp/nothing.mkv
# The way round it of docs/operating.md.
ffmpeg_copies() { ffmpeg_encode -f h264 - | ffmpeg -nostdin -v error -y -f h264 -r 25 -i - -c copy "$1"; }
expect ffmpeg-copied.mkv "source-$size.nv12" "$size" "$(frames_in "$size")"
check "ffmpeg to Matroska by way of a second one" ffmpeg_copies /out/ffmpeg-copied.mkv

# Key frames are where they are asked for, not at cuts; noise at more bits than a buffer holds can
# be decoded.
ffmpeg_keys() {
    local scene='[1]trim=end_frame=20[b];[0]trim=end_frame=20[a];[2]trim=end_frame=20[c];[a][b][c]concat=n=3'
    timeout -k 5 60 ffmpeg -nostdin -v error -y -f lavfi -i testsrc=s=320x240 -f lavfi -i color=red:s=320x240 \
        -f lavfi -i testsrc2=s=320x240 -filter_complex "$scene" -pix_fmt nv12 -c:v h264_v4l2m2m -g 25 /tmp/keys.h264 || return
    keys=$(ffprobe -v error -show_entries packet=flags -of csv=p=0 /tmp/keys.h264 | grep -n K | cut -d: -f1 | tr '\n' ' ')
    [ "$keys" = "1 26 51 " ] || { echo "$keys" && false; }
}
check "ffmpeg -g 25: key frames every 25 frames, at no cut" ffmpeg_keys
ffmpeg_noise() {
    head -c $((640 * 360 * 6)) /dev/urandom |
        timeout -k 5 60 ffmpeg -v error -y -f rawvideo -pix_fmt nv12 -video_size 640x360 -framerate 1 -i - \
            -c:v h264_v4l2m2m -b:v 25M /tmp/noise.h264 || return
    [ "$(ffmpeg -nostdin -v error -xerror -i /tmp/noise.h264 -f framecrc - | grep -vc '^#')" = 4 ]
}
check "ffmpeg, noise: every frame fits into its buffer" ffmpeg_noise

# by_ffmpeg_file NAME SIZE FILTERS: what FFmpeg has decoded, and filtered or cropped, lies there
# with other strides than the format's. The reference is what it gives out itself, packed.
by_ffmpeg_file() {
    local name=ffmpeg-$1 size=$2
    local read=(ffmpeg -nostdin -v error -y -i /tmp/clip.mp4 -vf "$3")
    "${read[@]}" -pix_fmt nv12 -f rawvideo "/out/$name.nv12"
    expect "$name.h264" "$name.nv12" "$size" 5
    check "ffmpeg, $1 to $size" timeout -k 5 120 "${read[@]}" -c:v h264_v4l2m2m -b:v 8M "/out/$name.h264"
}
clip() {
    timeout -k 5 60 ffmpeg -nostdin -v error -y -f rawvideo -pix_fmt nv12 -video_size 1920x1080 -framerate 25 \
        -i /job/source-1920x1080.nv12 -frames:v 5 -vf "scale=${1/x/:},format=yuv420p" \
        -c:v libx264 -preset ultrafast -qp 12 /tmp/clip.mp4
}
for size in 426x240 800x600 1296x972; do
    check "a clip of $size" clip "$size"
    by_ffmpeg_file "decoded-$size" "$size" null
done
check "a clip of 1920x1080" clip 1920x1080
by_ffmpeg_file scaled 854x480 scale=854:480
by_ffmpeg_file scaled-800 800x600 scale=800:600
by_ffmpeg_file nv12 854x480 scale=854:480,format=nv12
by_ffmpeg_file cropped 1024x576 crop=1024:576

size=640x360
gst_encode() {
    timeout -k 5 120 gst-launch-1.0 -v filesrc location="/job/source-$size.nv12" \
        ! rawvideoparse format=nv12 width="${size%x*}" height="${size#*x}" framerate=25/1 \
        ! v4l2h264enc extra-controls="controls,video_bitrate=1200000" ! video/x-h264,stream-format=byte-stream \
        ! identity name=times silent=false ! filesink location="/out/gstreamer-$size.h264" >/out/gstreamer.log 2>&1
}
expect "gstreamer-$size.h264" "source-$size.nv12" "$size" "$(frames_in "$size")"
check "GStreamer $size" gst_encode
sed -n 's/.*last-message = chain .* pts: \([0-9:.]*\),.*/\1/p' /out/gstreamer.log >/out/gstreamer.times
wrong=$(awk -F: '{if (sprintf("%.3f", $1 * 3600 + $2 * 60 + $3) != sprintf("%.3f", (NR - 1) / 25)) n++} END {print n + 0}' /out/gstreamer.times)
if [ "$wrong" = 0 ] && [ "$(wc -l </out/gstreamer.times)" = "$(frames_in "$size")" ]; then
    ok "GStreamer: timestamps as sent"
else
    not_ok "GStreamer: timestamps as sent" "$wrong of $(wc -l </out/gstreamer.times) differ, see gstreamer.times"
fi

# v4l2-ctl reads frames of the cropped size, so the crop is our own client's: it leaves what was in
# the rectangle.
expect crop.h264 crop.nv12 160x128 20
client crop

sessions=()
for i in 1 2 3 4; do
    size=640x360
    [ $((i % 2)) = 0 ] || size=176x144
    expect "session-$i.h264" "source-$size.nv12" "$size" "$(frames_in "$size")"
    by_v4l2_ctl "session-$i.h264" "$size" --set-ctrl video_bitrate=1500000 &
    sessions+=($!)
done
for i in 1 2 3 4; do
    wait "${sessions[i - 1]}"
    check "session $i of four at once" test $? = 0
done

check "rmmod" within 10 rmmod virtio_v4l2
dmesg_clean "no kernel warning from insmod to rmmod"
exit "$failed"
