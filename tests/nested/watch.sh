# SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
# shellcheck shell=bash
# HOST_SCRIPT of a VM in a VM, and of its host: runs HOST_PART, and ends the VM when it is lost.
# That shows in two ways: its heartbeat stops, or its program counter stands in its host's own
# __svm_vcpu_run, where KVM enters and leaves guests. No guest can get there by itself.
if [ -n "${HOST_PART:-}" ]; then
    bash "$HOST_PART" &
fi
start=0
[ "${ACCEL:-}" != kvm ] || start=$((16#0$(awk '$3 == "__svm_vcpu_run" { print $1; exit }' /proc/kallsyms)))

# The guest's program counter, or 0.
counter() {
    local line
    echo "info registers" >"$MONITOR"
    line=$(timeout 3 cat "${MONITOR%.in}.out" | grep -aoE 'RIP=[0-9a-f]{16}' | tail -n 1)
    echo $((16#0${line#RIP=}))
}

strikes=0 last='' since=$SECONDS
while sleep 10; do
    beat=$(cd "$VM_OUT" && ls -d alive.* 2>/dev/null)
    if [ -z "$beat" ] || [ "$beat" != "$last" ]; then
        last=$beat since=$SECONDS
    elif [ $((SECONDS - since)) -gt 120 ]; then
        echo "no heartbeat for two minutes" >&2
        echo quit >"$MONITOR"
        exit
    fi
    [ $start -gt 0 ] || continue
    offset=$(($(counter) - start))
    if [ $offset -ge 0 ] && [ $offset -lt 512 ]; then strikes=$((strikes + 1)); else strikes=0; fi
    [ $strikes -ge 2 ] || continue
    : >/run/guest-lost
    echo quit >"$MONITOR"
    exit
done
