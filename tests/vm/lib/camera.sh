# SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
# shellcheck shell=bash
# What the USB camera of the tests shows (tests/camera): $CAMERA_FRAMES/WIDTHxHEIGHT/*.jpg, thirty different ones of each.

CAMERA_FRAMES=$CACHE/camera-frames

camera_frames_make() {
    local size
    for size in 640x360 320x180; do
        mkdir "$1/$size"
        gst-launch-1.0 -q videotestsrc num-buffers=30 pattern=smpte horizontal-speed=8 ! \
            "video/x-raw,width=${size%x*},height=${size#*x}" ! jpegenc ! multifilesink "location=$1/$size/%02d.jpg"
    done
    [ "$(find "$1" -name '*.jpg' | wc -l)" = 60 ]
}

camera_prepare() { make_once "${CAMERA_FRAMES##*/}" "frames for the camera" camera_frames_make; }
