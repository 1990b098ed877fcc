# SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
# shellcheck shell=bash
# On the host while the guest runs (HOST_SCRIPT): does what the client in the guest asks for
# (host_ask in guest/counters.c), by files in VM_OUT. What it finds out goes to VM_OUT/host.txt, a
# line for each: "LABEL WHAT ...".
#   BENCH_DAEMON_PID, BENCH_DAEMON_LOG: the daemon, where tests/vm/run has not started it
set -euo pipefail
. "$(dirname -- "${BASH_SOURCE[0]}")/pairs.sh"

pid=${BENCH_DAEMON_PID:-${DAEMON_PID:-}}
log=${BENCH_DAEMON_LOG:-$VM_OUT/daemon.log}
seen=0 counter='' trace=''

note() { printf '%s\n' "$*" >>"$VM_OUT/host.txt"; }
stats() { grep -c 'stats: ' "$log" || true; }
# within TENTHS COMMAND...: polls until it succeeds.
within() {
    local i tenths=$1
    shift
    for ((i = 0; i < tenths * 5; i++)); do
        ! "$@" || return 0
        sleep 0.02
    done
    return 1
}
more_stats() { [ "$(stats)" -gt "$seen" ]; }
quiet() { "$@" >/dev/null 2>&1; }

answer() {
    local what=$1 label=$2
    case $what in
        streaming) [ -z "${BENCH_DAEMON_PID:-}" ] || pin_encoder "$pid" ;;
        stats-*)
            seen=$(stats)
            kill -USR1 "$pid"
            if within 20 more_stats; then
                note "$label $what $(sed -n 's/.*stats: //p' "$log" | tail -n 1)"
            fi
            note "$label cpu-${what#stats-} $(cpu_time "$pid" .)"
            note "$label encoder-${what#stats-} $(cpu_time "$pid" encode)"
            ;;
        # Without slowing it down, where the kernel lets us.
        count)
            if quiet perf stat -e raw_syscalls:sys_enter -p "$pid" -- true; then
                perf stat -x, -o "$VM_OUT/perf.txt" -e raw_syscalls:sys_enter -p "$pid" 2>/dev/null &
                counter=$!
                # It says nothing when it has begun; the file is there when it has opened its
                # counters.
                within 20 quiet grep -q . "$VM_OUT/perf.txt" || true
                sleep 0.2
            fi
            ;;
        counted-*)
            if [ -n "$counter" ]; then
                kill -INT "$counter"
                wait "$counter" || true
                counter=
                note "$label perf-${what#counted-} $(sed -n 's/^\([0-9]*\),.*raw_syscalls.*/\1/p' "$VM_OUT/perf.txt")"
            fi
            ;;
        trace)
            strace -f -c -p "$pid" -o "$VM_OUT/strace-$label.txt" 2>"$VM_OUT/strace.log" &
            trace=$!
            within 20 quiet grep -q attached "$VM_OUT/strace.log" || true
            ;;
        traced)
            kill -INT "$trace"
            wait "$trace" || true
            note "$label strace $(awk '$1 ~ /^[0-9.]+$/ && $NF != "total" {sum += $4} END {print sum + 0}' "$VM_OUT/strace-$label.txt")"
            ;;
        host-only) host_only "$label" "$VM_OUT/host-only.jsonl" ;;
    esac
}

while :; do
    for ask in "$VM_OUT"/ask.*; do
        case $ask in
            *.done | *'*') continue ;;
        esac
        read -r what label <"$ask"
        rm "$ask"
        answer "$what" "$label" </dev/null
        : >"$ask.done"
    done
    sleep 0.01
done
