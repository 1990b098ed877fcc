# SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
# shellcheck shell=bash
# What the host makes of an encoded stream. Wants WIDTH, HEIGHT, RATE_NUM and RATE_DEN.

raw_input() { printf '%s\n' -f rawvideo -pix_fmt nv12 -video_size "${WIDTH}x$HEIGHT" -framerate "$RATE_NUM/$RATE_DEN"; }

# measure STREAM RAW: decodes it and sets BYTES, FRAMES_OUT (decoded ones) and PSNR (average,
# against RAW).
measure() {
    local raw log
    BYTES=$(stat -c %s "$1" 2>/dev/null || echo 0) FRAMES_OUT=0 PSNR=0
    [ "$BYTES" != 0 ] || return 0
    mapfile -t raw < <(raw_input)
    FRAMES_OUT=$(ffprobe -v error -count_frames -select_streams v:0 -show_entries stream=nb_read_frames -of csv=p=0 "$1" |
        tr -dc 0-9)
    # Both are numbered anew: frame n is compared with frame n, whatever timing the stream carries.
    log=$(ffmpeg -nostdin -hide_banner -i "$1" "${raw[@]}" -i "$2" -lavfi \
        "[0:v]settb=1/1000,setpts=N*40[a];[1:v]settb=1/1000,setpts=N*40[b];[a][b]psnr=shortest=1" -f null - 2>&1) || true
    PSNR=$(sed -n 's/.*PSNR.* average:\([0-9.inf]*\).*/\1/p' <<<"$log" | tail -n 1)
    # Identical pictures: a number all the same, as JSON has no infinity.
    [ "$PSNR" != inf ] || PSNR=100
    PSNR=$(printf '%.2f' "${PSNR:-0}")
}

at_least() { awk -v a="$1" -v b="$2" 'BEGIN {exit !(a >= b)}'; }

make_mp4() {
    ffmpeg -v error -nostdin -y -framerate "$RATE_NUM/$RATE_DEN" -i "$1" -c copy -movflags +faststart "$2"
}

# make_sheet RAW ENCODED FRAMES PNG: five frames of the source, under each the same frame encoded.
make_sheet() {
    local raw step=$((($3 + 4) / 5))
    mapfile -t raw < <(raw_input)
    ffmpeg -v error -nostdin -y "${raw[@]}" -i "$1" -i "$2" -lavfi \
        "[0:v]select=not(mod(n\,$step)),scale=384:-2,tile=5x1:padding=4[a];
         [1:v]select=not(mod(n\,$step)),scale=384:-2,tile=5x1:padding=4[b];[a][b]vstack" -frames:v 1 "$4"
}
