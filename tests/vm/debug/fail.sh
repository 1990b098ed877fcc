# SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
# Each allocation fails once. Those that may wait, too, and without the kernel telling of each.
. /harness/tap.sh

for faults in failslab fail_page_alloc; do
    echo N >"/sys/kernel/debug/$faults/ignore-gfp-wait"
    echo 0 >"/sys/kernel/debug/$faults/verbose"
done
echo 0 >/sys/kernel/debug/fail_usercopy/verbose
# Single pages, too.
echo 0 >/sys/kernel/debug/fail_page_alloc/min-order
LIMIT=600
client fail
client drains
check "rmmod" within 20 rmmod virtio_v4l2
exit "$failed"
