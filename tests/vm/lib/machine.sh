# SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
# shellcheck shell=bash
# The virtual machine: MACHINE becomes QEMU's arguments. The device sits on a root port, so that it
# can be unplugged.

# machine_arguments DIR: DIR holds the run's files (harness/, out/, sockets).
machine_arguments() {
    local dir=$1 share shares tag path mode i
    # shellcheck disable=SC2054 # QEMU's options have commas
    # On a busy host an emulated clock jitters, about which the guest would complain (tsc=reliable),
    # and its first ticks may come so late that it would panic (no_timer_check).
    MACHINE=(
        -name "virtio-v4l2" -M q35 "${ACCEL_ARGS[@]}" -smp "$SMP" -m "$MEM"
        -object "memory-backend-memfd,id=ram,share=on,size=$MEM" -machine memory-backend=ram
        -nodefaults -no-user-config -display none -no-reboot
        -kernel "$KERNEL_DIR/vmlinuz" -initrd "$GUEST_DIR/initramfs.img"
        -append "console=ttyS0 panic=-1 printk.time=1 tsc=reliable no_timer_check ${KERNEL_ARGS:-}"
        -drive "file=$GUEST_DIR/root.ext4,format=raw,if=none,id=root,snapshot=on"
        -device virtio-blk-pci,drive=root
        -serial "file:$dir/console.log"
        -chardev "pipe,id=monitor,path=$dir/monitor" -object monitor-hmp,id=hmp,chardev=monitor
        -device virtio-serial-pci -device virtconsole,chardev=hvc
        -device pcie-root-port,id=port0,chassis=1,slot=1
    )
    # tag path read-only
    shares=("harness $dir/harness on" "out $dir/out off")
    if [ "$ROLE" = host ]; then
        shares+=("repo $REPO on" "cache $CACHE on")
        # The image of the guest's guest. As a file of the share it would be slow.
        # shellcheck disable=SC2054
        MACHINE+=(-drive "file=$GUEST_DIR/root.ext4,format=raw,if=none,id=guest,readonly=on" -device virtio-blk-pci,drive=guest)
    fi
    for share in "${shares[@]}"; do
        read -r tag path mode <<<"$share"
        MACHINE+=(-fsdev "local,id=$tag,path=$path,security_model=none,readonly=$mode"
            -device "virtio-9p-pci,fsdev=$tag,mount_tag=$tag")
    done
    if [ "$SHELL_MODE" = 1 ]; then
        # shellcheck disable=SC2054
        MACHINE+=(-chardev stdio,id=hvc,signal=off,mux=on)
    else
        # shellcheck disable=SC2054
        MACHINE+=(-chardev stdio,id=hvc,signal=off)
    fi
    # shellcheck disable=SC2153 # both are of the environment
    if [ -n "$DEVICES" ]; then
        for i in "${!DEVICE_NAMES[@]}"; do
            MACHINE+=(-chardev "socket,id=${DEVICE_NAMES[$i]},path=${DEVICE_SOCKETS[$i]}"
                -device "$(machine_device "device-${DEVICE_NAMES[$i]}" "${DEVICE_NAMES[$i]}" pcie.0)")
        done
    elif [ "$DEVICE" = 1 ]; then
        MACHINE+=(-chardev "socket,id=media,path=$SOCKET" -device "$(machine_device media0 media port0)")
    fi
    local extra
    read -ra extra <<<"${QEMU_ARGS:-}"
    MACHINE+=(${extra[@]+"${extra[@]}"})
}

# machine_device ID CHARDEV BUS
machine_device() {
    printf '%s' "vhost-user-test-device-pci,id=$1,bus=$3,chardev=$2," \
        "virtio-id=$VIRTIO_ID,num_vqs=2,config_size=40,vq_size=256"
}
