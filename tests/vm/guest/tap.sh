# SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
# shellcheck shell=bash
# For suites in the guest: results as lines of their own, which tests/run counts.

. /harness/excerpt.sh
failed=0
# Time limits are this many times as long: a kernel that looks for mistakes takes its time.
SLOW=${SLOW:-1}

ok() { printf 'ok - %s\n' "$1"; }

not_ok() {
    printf 'not ok - %s # %s\n' "$1" "${2:-}"
    failed=1
}

skip() { printf 'skip - %s # %s\n' "$1" "$2"; }

# check NAME COMMAND...: ok when the command succeeds; its output is the reason when it does not.
check() {
    local name=$1 output status=0
    shift
    output=$("$@" 2>&1) || status=$?
    if [ "$status" = 0 ]; then
        ok "$name"
    else
        not_ok "$name" "status $status: $(tail -n 1 <<<"$output")"
        [ "$(wc -l <<<"$output")" -le 1 ] || excerpt <<<"$output"
    fi
}

# refuse NAME COMMAND...: ok when the command fails, and not because of its time limit.
refuse() {
    local name=$1 status=0
    shift
    timeout -k 5 $((20 * SLOW)) "$@" >/dev/null 2>&1 || status=$?
    if [ "$status" != 0 ] && [ "$status" -lt 124 ]; then ok "$name"; else not_ok "$name" "status $status"; fi
}

# lines PROGRAM...: a program's own lines; a time limit or a crash is one more.
lines() {
    local status=0
    timeout -k 5 $((${LIMIT:-60} * SLOW)) "$@" || status=$?
    case $status in
        0) ;;
        1) failed=1 ;;
        *) not_ok "$(basename "$1") ${*:2}" "ended with status $status" ;;
    esac
}

# client TEST [NODE]
client() { lines /job/client "$@"; }

# ended NAME SECONDS COMMAND...: ok when it ends before it is killed, whatever it says.
ended() {
    local name=$1 limit=$(($2 * SLOW)) status=0
    shift 2
    timeout -s INT -k $((8 * SLOW)) "$limit" "$@" >/tmp/said 2>&1 || status=$?
    if [ "$status" != 137 ]; then ok "$name ends"; else not_ok "$name ends" "had to be killed"; fi
}

# Kernel messages of level warning and worse since the module was loaded, but for those that every
# out-of-tree module causes.
kernel_warnings() {
    dmesg --level=emerg,alert,crit,err,warn,notice,info |
        sed -n '/virtio-v4l2 harness: begin/,$p' >/tmp/since
    dmesg --level=emerg,alert,crit,err,warn | grep -Fxf /tmp/since |
        grep -v -e 'loading out-of-tree module taints kernel' -e 'module verification failed' "${ALLOW[@]}"
}

# dmesg_clean NAME: no such message, and the kernel's log still has its beginning.
dmesg_clean() {
    local lines
    lines=$(kernel_warnings)
    [ -s /tmp/since ] || lines='the log has lost its beginning: give the suite "# vm: KERNEL_ARGS=log_buf_len=8M"'
    if [ -z "$lines" ]; then
        ok "$1"
    else
        not_ok "$1" "$(head -n 1 <<<"$lines")"
        head -n 40 <<<"$lines" | excerpt
    fi
}
ALLOW=()
# What a VM in a VM may say besides: an emulated CPU's clock may stand still for long.
# shellcheck disable=SC2034 # for those who source this
SLOW_CLOCK=(-e 'hrtimer: interrupt took' -e 'workqueue: .* hogged CPU')

# vivid_node KIND: the first node of vivid of this kind (vid-cap, 001-vid-out).
vivid_node() {
    local node
    node=$(grep -l -- "^vivid-.*$1\$" /sys/class/video4linux/*/name | head -n 1)
    printf '/dev/%s\n' "$(basename "${node%/name}")"
}

# Waits up to 10 s, times SLOW, for a file that the host's half of the suite makes in /out.
await() {
    local i
    for ((i = 0; i < 200 * SLOW; i++)); do
        [ -e "/out/$1" ] && return 0
        sleep 0.05
    done
    not_ok "the host does its part: $1" "nothing for $((10 * SLOW)) s"
    return 1
}

# within SECONDS COMMAND...: polls until the command succeeds. SECONDS times SLOW.
within() {
    local end=$((SECONDS + $1 * SLOW))
    shift
    until "$@" 2>/dev/null; do
        [ $SECONDS -lt $end ] || return 1
        sleep 0.1
    done
}

# heartbeat: shows outside that this machine runs, until it is switched off. By names: what is in a
# file may come later.
heartbeat() {
    (
        beat=0
        while sleep 5; do
            : >"/out/alive.$((beat + 1))"
            rm -f "/out/alive.$beat"
            beat=$((beat + 1))
        done
    ) </dev/null >/dev/null 2>&1 &
}
