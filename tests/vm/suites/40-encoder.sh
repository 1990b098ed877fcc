# SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
# files: client client32 client32-time64
# What an encoder promises beyond one clean run, by our own client (tests/guest).
. /harness/tap.sh

for test in drains keyframe bitrate timestamps slow-consumer restart refused; do
    client "$test"
done

# Programs of 32 bits, with the old time and with the new one: the same node, the same streams.
client describe >/tmp/said
for program in client32 client32-time64; do
    lines "/job/$program" describe >/tmp/said-32
    check "$program: is told of the node what a program of 64 bits is told" cmp /tmp/said /tmp/said-32
    check "$program: and that is something" test "$(grep -c '^control ' /tmp/said-32)" -gt 10
    for test in drains timestamps bad-requests; do lines "/job/$program" "$test"; done
    lines "/job/$program" lend 320x240 userptr udmabuf export
done
check "rmmod" within 10 rmmod virtio_v4l2
dmesg_clean "no kernel warning from insmod to rmmod"
exit "$failed"
