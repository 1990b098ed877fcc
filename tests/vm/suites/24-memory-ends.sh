# SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
# files: client
# Programs that die, a module and a device that go, with lent memory queued and dmabufs of the
# device's alive.
. /harness/tap.sh

modprobe vgem

# killed TEST [ARGUMENT]: SIGKILL when its memory is with the device.
killed() {
    local pid
    /job/client "$@" >/tmp/held 2>&1 &
    pid=$!
    check "$*: a program that has its memory with the device" within 20 grep -q ready /tmp/held
    refuse "$*: rmmod while it lives" rmmod virtio_v4l2
    kill -KILL "$pid"
    wait "$pid" 2>/dev/null
}

for kind in mmap userptr heap vgem export; do
    killed hold-lent "$kind"
    client lend 320x240 "$kind"
done
killed hold-fence
client lend 320x240 vgem
killed hold-fence
check "rmmod" within 10 rmmod virtio_v4l2
check "insmod again" insmod /harness/virtio_v4l2.ko allow_id30=1
check "/dev/video0 is back" within 10 test -c /dev/video0

held=()
for kind in userptr vgem export; do
    timeout -k 5 $((60 * SLOW)) /job/client hold-lent "$kind" >"/tmp/held-$kind" 2>&1 &
    held+=($!)
    check "$kind: memory is with the device" within 20 grep -q ready "/tmp/held-$kind"
done
touch /out/unplug
for kind in userptr vgem export; do
    check "$kind: the program ends after the unplug, its dmabuf alive until then" within 20 grep -q '^closed' "/tmp/held-$kind"
done
wait "${held[@]}"
check "/dev/video0 is gone" within 10 sh -c '! test -e /dev/video0'
touch /out/plug
check "/dev/video0 is back after plugging in" within 20 test -c /dev/video0
client lend 320x240 userptr vgem export
check "rmmod after unplug" within 10 rmmod virtio_v4l2
dmesg_clean "no kernel warning from insmod to rmmod"
exit "$failed"
