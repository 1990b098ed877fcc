# SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
# files: client test_wait.ko
# The device is unplugged under a program that is blocked in DQBUF, then plugged in again. Before
# that the driver is taken from it, under programs that map its memory all the time.
. /harness/tap.sh

driver=/sys/bus/virtio/drivers/virtio_v4l2
device=$(basename "$(echo $driver/virtio*)")
for round in 1 2 3 4; do
    timeout -k 5 $((60 * SLOW)) /job/client revoke >/tmp/revoked 2>/tmp/mapping &
    check "round $round: programs map the device's memory" within 20 grep -q ready /tmp/mapping
    echo "$device" >$driver/unbind
    wait $! || failed=1
    cat /tmp/revoked
    echo "$device" >$driver/bind
    check "round $round: /dev/video0 is back" within 10 test -c /dev/video0
done

modprobe pciehp 2>/dev/null
timeout -k 5 $((60 * SLOW)) /job/client hold >/tmp/held 2>&1 &
within 10 grep -q ready /tmp/held
sleep 0.3
touch /out/unplug
check "a blocked DQBUF ends when the device is unplugged" within 20 grep -q '^DQBUF E' /tmp/held
check "the program ends by itself" within 10 grep -q '^closed' /tmp/held
cat /tmp/held
check "DQBUF says that the device is gone" grep -qE '^DQBUF (ENODEV|EIO)' /tmp/held
check "poll says that something is wrong" grep -qE '^poll 1 revents' /tmp/held
check "a further ioctl says ENODEV" grep -q '^G_FMT ENODEV' /tmp/held
wait
check "/dev/video0 is gone" within 10 sh -c '! test -e /dev/video0'
touch /out/plug
check "/dev/video0 is back after plugging in" within 20 test -c /dev/video0
client drains

# Taken from the driver by sysfs, in the worst of moments.
insmod /job/test_wait.ko
client wait-ends
rmmod test_wait
client event-waiters
client silent-memory
check "rmmod after unplug" within 5 rmmod virtio_v4l2
dmesg_clean "no kernel warning from insmod to rmmod"
exit "$failed"
