# SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
# shellcheck shell=bash
# KVM or TCG. /dev/kvm may open and yet not run a kernel, so the answer comes from booting one; it is
# remembered until the machine boots again. ACCEL=kvm|tcg decides without asking.

# The kernel's first words under KVM, within seconds.
accel_kvm_boots() {
    local log
    [ -w /dev/kvm ] || return 1
    log=$(mktemp)
    # No root file system: the kernel's banner on the serial port is all we wait for.
    timeout -k 1 8 sh -c 'exec "$@" >'"$log"' 2>&1' probe "${QEMU[@]}" -M q35 -accel kvm -cpu host -m 512M \
        -display none -nodefaults -no-reboot -serial stdio -kernel "$KERNEL_DIR/vmlinuz" \
        -append "console=ttyS0 panic=-1" </dev/null &
    local pid=$! i found=1
    for ((i = 0; i < 70; i++)); do
        if grep -q 'Kernel panic\|VFS: ' "$log"; then
            found=0
            break
        fi
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.1
    done
    kill "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
    rm -f "$log"
    return "$found"
}

accel_choose() {
    local memory
    memory=$CACHE/accel-$(cat /proc/sys/kernel/random/boot_id)
    case ${ACCEL:-} in
        kvm | tcg) ;;
        '')
            if [ ! -e "$memory" ]; then
                say "does KVM run a guest here? trying"
                rm -f "$CACHE"/accel-*
                if accel_kvm_boots; then echo kvm >"$memory"; else echo tcg >"$memory"; fi
                say "KVM: $(if grep -q kvm "$memory"; then echo "works"; else
                    echo "does not run a guest here; using TCG (emulation, slower). ACCEL=kvm insists"; fi)"
            fi
            ACCEL=$(cat "$memory")
            ;;
        *) die "ACCEL is kvm or tcg, not \"$ACCEL\"" ;;
    esac
    case $ACCEL in
        kvm) ACCEL_ARGS=(-accel kvm -cpu host) ;;
        tcg) ACCEL_ARGS=(-accel "tcg,thread=multi" -cpu max) ;;
    esac
}
