# SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
# vm: MODULE=0
# The module comes and goes; it takes the reserved id 30 only when told to.
. /harness/tap.sh

modprobe -a videodev mc videobuf2-v4l2 virtio_dma_buf
check "insmod without a parameter" insmod /harness/virtio_v4l2.ko
sleep 1
if [ ! -e /dev/video0 ]; then ok "id 30 is left alone unless allowed"; else not_ok "id 30 is left alone unless allowed"; fi
check "rmmod with nothing bound" rmmod virtio_v4l2

for i in 1 2 3; do
    check "insmod with allow_id30=1, time $i" insmod /harness/virtio_v4l2.ko allow_id30=1
    check "/dev/video0 appears, time $i" within 5 test -c /dev/video0
    # udev opens a new node to look at it.
    check "rmmod, time $i" within 10 rmmod virtio_v4l2
    if [ ! -e /dev/video0 ]; then ok "/dev/video0 is gone, time $i"; else not_ok "/dev/video0 is gone, time $i"; fi
done

insmod /harness/virtio_v4l2.ko allow_id30=1
within 5 test -c /dev/video0
# shellcheck disable=SC2016
check "QUERYCAP names the driver" sh -c 'v4l2-ctl -d0 --info | grep -q "Driver name *: virtio_v4l2"'
check "QUERYCAP says memory-to-memory" sh -c 'v4l2-ctl -d0 --info | grep -q "Memory-to-Memory Multiplanar"'
exec 9<>/dev/video0
refuse "rmmod while a program has the node open" rmmod virtio_v4l2
check "and the module is still there" test -d /sys/module/virtio_v4l2
exec 9>&-
check "rmmod after it closed" within 10 rmmod virtio_v4l2
dmesg_clean "no kernel warning from insmod to rmmod"
exit "$failed"
