# SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
# shellcheck shell=bash
# Pairs: the path, and the encoder alone. BENCH_PROGRAMS and BENCH_WORK are where bench-encode and
# the raw frames are, BENCH_DAEMON_LOG is the daemon's. With BENCH_NODE the encoder is that node of
# this host.

SIZES="640x360 1920x1080"
# So many frames of a size take about two seconds.
declare -A TIMED=([640x360]=500 [1920x1080]=80 [640x480]=64 [1280x720]=24)
# Before a size is timed. In a guest, a third of it is the warm-up, the rest the short window.
WARMUP=36
# vicodec works in the kernel of an emulated machine: few frames, in few pairs. It has no smaller
# ones than 640x480.
PROXY_SIZES="640x480 1280x720" PROXY_PAIRS=4 PROXY_WARMUP=18

# threads PID NAME: its threads whose name has NAME in it (a regular expression).
threads() { grep -l "$2" "/proc/$1/task"/*/comm 2>/dev/null | cut -d/ -f5; }

# cpu_time PID NAME: what these threads have worked, in ns.
cpu_time() {
    local thread
    for thread in $(threads "$1" "$2"); do
        cat "/proc/$1/task/$thread/schedstat" 2>/dev/null || true
    done | awk '{sum += $1} END {printf "%.0f", sum}'
}

# pin_encoder PID: the daemon's encoders on core 1, all else of it where it is.
pin_encoder() {
    local thread
    for thread in $(threads "$1" encode); do
        taskset -cp 1 "$thread" >/dev/null
    done
}

# in_turns PAIRS SIZE FILE: so many pairs of `path LABEL SIZE FRAMES` and the encoder alone. Which
# of them is first changes, so that a drift of the machine falls on both.
in_turns() {
    local i label failed=0
    for ((i = 1; i <= $1; i++)); do
        label=pair-$2-$i
        ((i % 2)) || host_only "$label" "$3" || failed=1
        path "$label" "$2" "${TIMED[$2]}" || failed=1
        ((i % 2 == 0)) || host_only "$label" "$3" || failed=1
    done
    return $failed
}

# host_only LABEL FILE: the encoder alone, on the core that the daemon's encoder has otherwise, as
# the daemon's log says of the last stream of that size. The label is pair-SIZE-NUMBER.
host_only() {
    local size=${1#pair-} line
    size=${size%-*}
    if [ -n "${BENCH_NODE:-}" ]; then
        "$BENCH_PROGRAMS/bench" "label=$1" "device=$BENCH_NODE" coded=FWHT alone=1 "size=$size" depth=4 \
            "source=$BENCH_WORK/frames-$size.nv12" "warmup=$PROXY_WARMUP" "frames=${TIMED[$size]}" >>"$2"
        return
    fi
    line=$(grep 'the same stream on the host: ' "$BENCH_DAEMON_LOG" |
        grep "width=(int)${size%x*}, height=(int)${size#*x}, " | tail -n 1)
    taskset -c 1 "$BENCH_PROGRAMS/bench-encode" "label=$1" "line=$line" "size=$size" \
        "source=$BENCH_WORK/frames-$size.nv12" "warmup=$WARMUP" "frames=${TIMED[$size]}" >>"$2"
}
