# SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
# shellcheck shell=bash
# Pairs: the path, and the encoder alone. BENCH_PROGRAMS and BENCH_WORK are where bench-encode and the raw frames are,
# BENCH_DAEMON_LOG is the daemon's.

SIZES="640x360 1920x1080"
# So many frames of a size take about two seconds.
declare -A TIMED=([640x360]=500 [1920x1080]=80)
# Before a size is timed. In a guest, a third of it is the warm-up, the rest the short window.
WARMUP=36

# host_only LABEL FILE: the encoder alone, on the core that the daemon has otherwise, as the daemon's log says of the
# last stream of that size. The label is pair-SIZE-NUMBER.
host_only() {
    local size=${1#pair-} line
    size=${size%-*}
    line=$(grep 'the same stream on the host: ' "$BENCH_DAEMON_LOG" |
        grep "width=(int)${size%x*}, height=(int)${size#*x}, " | tail -n 1)
    taskset -c 1 "$BENCH_PROGRAMS/bench-encode" "label=$1" "line=$line" "size=$size" \
        "source=$BENCH_WORK/frames-$size.nv12" "warmup=$WARMUP" "frames=${TIMED[$size]}" >>"$2"
}
