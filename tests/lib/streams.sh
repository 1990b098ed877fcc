# SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
# shellcheck shell=bash
# For the host's half of suites: streams that came back, decoded and compared.

. "$REPO/tests/demo/measure.sh"

# Every line of $OUT/streams: stream, source, size and number of frames. The source is a fixture or
# the suite's own.
compare_streams() {
    local stream source size frames reference found
    RATE_NUM=25 RATE_DEN=1
    while read -r stream source size frames; do
        WIDTH=${size%x*} HEIGHT=${size#*x}
        reference=$FIXTURES/$source
        [ ! -e "$OUT/$source" ] || reference=$OUT/$source
        measure "$OUT/$stream" "$reference"
        found=$(ffprobe -v error -select_streams v:0 -show_entries stream=width,height -of csv=p=0:s=x "$OUT/$stream" 2>&1)
        verdict "$stream: all $frames frames decode" "$FRAMES_OUT of $frames" [ "$FRAMES_OUT" = "$frames" ]
        verdict "$stream: is $size" "$found" [ "$found" = "$size" ]
        verdict "$stream: at least 35 dB" "$PSNR dB" at_least "$PSNR" 35
    done <"$OUT/streams"
}
