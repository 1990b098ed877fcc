# SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
# shellcheck shell=bash
# HOST_SCRIPT of a VM in a VM: runs HOST_PART, and looks whether the guest is lost: its program counter stands in its host's
# own __svm_vcpu_run, where KVM enters and leaves guests. No guest can get there by itself.
if [ -n "${HOST_PART:-}" ]; then
    bash "$HOST_PART" &
fi
start=$(awk '$3 == "__svm_vcpu_run" { print $1; exit }' /proc/kallsyms)
if [ "$ACCEL" != kvm ] || [ -z "$start" ]; then
    wait
    exit
fi
start=$((16#$start))

# The guest's program counter, or 0.
counter() {
    local line
    echo "info registers" >"$MONITOR"
    line=$(timeout 3 cat "${MONITOR%.in}.out" | grep -aoE 'RIP=[0-9a-f]{16}' | tail -n 1)
    echo $((16#0${line#RIP=}))
}

strikes=0
while sleep 10; do
    offset=$(($(counter) - start))
    if [ $offset -ge 0 ] && [ $offset -lt 512 ]; then strikes=$((strikes + 1)); else strikes=0; fi
    [ $strikes -lt 2 ] && continue
    : >/run/guest-lost
    echo quit >"$MONITOR"
    exit
done
