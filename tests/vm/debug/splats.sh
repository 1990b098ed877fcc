# SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
# shellcheck shell=bash
# For VMs with the debug kernel: suites one after the other, and what that kernel has to say at the end.

. /harness/tap.sh
. /harness/conf
export SLOW=5
DEBUGFS=/sys/kernel/debug
mountpoint -q "$DEBUGFS" || mount -t debugfs debugfs "$DEBUGFS"

# First lines of what the kernel's checks print: name, regular expression.
SPLATS='KASAN|BUG: KASAN:
lockdep|WARNING: (possible|suspicious|inconsistent|bad|held|lock|nested)|BUG: .*lock|INFO: (lockdep|possible|trying to register non-static)|Invalid wait context
sleeping in atomic context|BUG: sleeping function|BUG: scheduling while atomic
DMA-API|DMA-API:
ODEBUG|ODEBUG:
refcount|refcount_t:
list corruption|list_(add|del) corruption
hung or stalled|INFO: task .* blocked|rcu:? INFO:|soft lockup|detected stall
Rust panic|panicked at
kernel bug|kernel BUG at|Oops|general protection fault|unable to handle|Unable to handle
any other BUG or WARNING|BUG: |WARNING: '

# What the kernel says from now on counts. What was lost before we came is not ours.
splats_begin() {
    modprobe -a videodev mc virtio_dma_buf
    # Before the time limits of the suites: who hangs is shown with a stack.
    echo 30 >/proc/sys/kernel/hung_task_timeout_secs
    echo scan >"$DEBUGFS/kmemleak"
    echo clear >"$DEBUGFS/kmemleak"
    dmesg -C
    : >/out/kernel.log
}

# Moves the kernel's messages to a file: each suite has its own in the kernel's log.
keep_messages() { dmesg -c >>/out/kernel.log; }

# suite NAME [PARAMETER...]: as tests/run has it in a VM of its own, its results with its name. The module is loaded with
# PARAMETERs, unless that is for the suite to do.
suite() {
    local name=$1 status=0 start=$SECONDS
    shift
    rmmod virtio_v4l2 2>/dev/null
    keep_messages
    echo "<6>virtio-v4l2 harness: begin" >/dev/kmsg
    if ! grep -qx '# vm: MODULE=0' "/job/$name.sh"; then
        # shellcheck disable=SC2086 # a list of parameters
        insmod /harness/virtio_v4l2.ko $MODULE_PARAMETERS "$@"
        within 20 test -c /dev/video0
    fi
    bash "/job/$name.sh" 2>&1 | sed -u -E "s/^(ok|not ok|skip) - /&$name: /" || true
    status=${PIPESTATUS[0]}
    [ "$status" -le 1 ] || not_ok "$name: runs to its end" "status $status"
    [ "$status" = 0 ] || failed=1
    printf '# %s: %d s\n' "$name" $((SECONDS - start))
}

# What has been left behind. The first scan finds what was in use at the time of the last call, too.
count_leaks() {
    rmmod virtio_v4l2 2>/dev/null
    echo scan >"$DEBUGFS/kmemleak"
    sleep 6
    echo scan >"$DEBUGFS/kmemleak"
    cat "$DEBUGFS/kmemleak" >/out/kmemleak.txt
    grep -c '^unreferenced object' /out/kmemleak.txt
}

# Each kind of splat is counted, none twice.
splats_end() {
    local kind pattern count total=0 leaks
    keep_messages
    leaks=$(count_leaks)
    keep_messages
    cp /out/kernel.log /tmp/left
    while IFS='|' read -r kind pattern; do
        count=$(grep -cE "$pattern" /tmp/left)
        total=$((total + count))
        check "0 splats of $kind" test "$count" = 0
        [ "$count" = 0 ] || grep -E "$pattern" /tmp/left | sort | uniq -c | head -n 5 | sed 's/^/# /'
        grep -vE "$pattern" /tmp/left >/tmp/left-next
        mv /tmp/left-next /tmp/left
    done <<<"$SPLATS"
    # Lockdep and the check of the DMA API fall silent after their first finding.
    check "lockdep is still on" grep -q 'debug_locks: *1' /proc/lockdep_stats
    check "the DMA API has counted no error" grep -qx 0 "$DEBUGFS/dma-api/error_count"
    if [ "$leaks" = 0 ]; then ok "kmemleak: 0"; else
        not_ok "kmemleak: 0" "$leaks, see kmemleak.txt"
        head -n 40 /out/kmemleak.txt | excerpt
        total=$((total + leaks))
    fi
    printf '# splats and leaks: %d\n' "$total"
    exit "$failed"
}
