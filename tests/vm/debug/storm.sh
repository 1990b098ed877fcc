# SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
# Everything at once, and the device taken from the driver meanwhile.
. /harness/tap.sh

LIMIT=240
client storm 25
client drains
client storm 30 5
# Its node may have had another number.
rmmod virtio_v4l2
insmod /harness/virtio_v4l2.ko allow_id30=1
within 20 test -c /dev/video0
client drains
check "no process is stuck" within 15 sh -c '! ps -eo stat= | grep -q "^D"'
check "rmmod" within 20 rmmod virtio_v4l2
exit "$failed"
