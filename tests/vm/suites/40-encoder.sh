# SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
# files: client
# What an encoder promises beyond one clean run, by our own client (tests/guest).
. /harness/tap.sh

for test in drains keyframe bitrate timestamps slow-consumer restart refused; do
    client "$test"
done
check "rmmod" within 10 rmmod virtio_v4l2
dmesg_clean "no kernel warning from insmod to rmmod"
exit "$failed"
