# SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
# shellcheck shell=bash
# What is done in the same way on the host's node and on the guest's, so that results can be
# compared. Sourced in the VM that is a host and in the guest in it. Each function's first argument
# is the node.

# limited FUNCTION...: one of those below, in a shell of its own, which can be ended.
limited() { timeout -k 5 600 bash -c '. /job/clients.sh && "$@"' limited "$@"; }

# vivid_still NODE FILE [OPTION...]: ten frames of a picture that does not depend on time: colour
# bars without text.
vivid_still() {
    v4l2-ctl -d "$1" --set-input 0 --set-ctrl test_pattern=0,osd_text_mode=2,horizontal_movement=3,vertical_movement=3 &&
        v4l2-ctl -d "$1" -v width=640,height=360,pixelformat=NV12 "${@:3}" --stream-count=10 --stream-to "$2"
}

# ffmpeg_still NODE FILE: five frames of the same picture.
ffmpeg_still() {
    ffmpeg -v error -nostdin -f v4l2 -input_format nv12 -video_size 640x360 -i "$1" -frames:v 5 -c copy -f rawvideo -y "$2"
}

# fwht_encode NODE RAW STREAM [OPTION...]: 640x360 NV12 to FWHT, twenty frames.
fwht_encode() {
    v4l2-ctl -d "$1" -c video_gop_size=5 -x width=640,height=360,pixelformat=NV12 --stream-from "$2" --stream-count=20 \
        --stream-to "$3" "${@:4}"
}

# fwht_change NODE RAW STREAM: two resolutions, and the first one again.
fwht_change() {
    fwht_encode "$1" "$2" "$3.640" --stream-mmap --stream-out-mmap &&
        v4l2-ctl -d "$1" -c video_gop_size=5 -x width=800,height=480,pixelformat=NV12 --stream-mmap --stream-out-mmap \
            --stream-count=6 --stream-to "$3.800" && cat "$3.640" "$3.800" "$3.640" >"$3" && rm "$3.640" "$3.800"
}

# fwht_decode NODE STREAM RAW [OPTION...]
fwht_decode() { v4l2-ctl -d "$1" -v pixelformat=NV12 --stream-from "$2" --stream-to "$3" "${@:4}"; }

# gst_codec RAW STREAM DECODED: fifteen frames through GStreamer's elements, which take the first
# encoder and decoder there are. (FFmpeg has no FWHT.)
gst_codec() {
    gst-launch-1.0 -q filesrc location="$1" blocksize=460800 num-buffers=15 ! \
        rawvideoparse format=nv12 width=640 height=480 framerate=25/1 ! video/x-raw,colorimetry=bt709 ! v4l2fwhtenc ! \
        tee name=coded ! queue ! filesink location="$2" coded. ! queue ! v4l2fwhtdec ! filesink location="$3"
}

# driver NODE: the name of its driver.
driver() { v4l2-ctl -d "$1" -D | sed -n '0,/Driver name/s/^\tDriver name *: //p'; }

# compliance NODE FILE [OPTION...]: what v4l2-compliance says, to FILE.txt.
compliance() { v4l2-compliance -C never --no-progress -d "$1" "${@:3}" >"$2.txt" 2>&1; }
# compliance_as DRIVER NODE FILE [OPTION...]: with its rules for that driver.
compliance_as() {
    local LD_PRELOAD=/job/driver-name.so DRIVER_NAME=$1
    export LD_PRELOAD DRIVER_NAME
    compliance "${@:2}"
}
