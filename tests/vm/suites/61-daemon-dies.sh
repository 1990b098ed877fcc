# SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
# vm: MODULE_PARAMS=timeout_ms=3000
# files: client
# The daemon is killed under a program that is blocked in DQBUF: nobody hangs, the module can go.
. /harness/tap.sh

timeout -k 5 $((60 * SLOW)) /job/client hold >/tmp/held 2>&1 &
within 10 grep -q ready /tmp/held
sleep 0.3
touch /out/kill-daemon
await daemon-killed
# Nothing tells a guest that its device's backend died, but the next command does.
timeout -k 5 $((30 * SLOW)) v4l2-ctl -d0 --info >/tmp/info 2>&1
timeout -k 5 $((30 * SLOW)) v4l2-ctl -d0 --set-fmt-video-out width=640,height=360,pixelformat=NV12 >/tmp/format 2>&1
status=$?
check "a program that comes later gets an error, and in time" test "$status" != 0 -a "$status" -lt 124
check "the blocked DQBUF ends with an error" within 20 grep -q '^DQBUF E' /tmp/held
check "the program ends by itself" within 20 grep -q '^closed' /tmp/held
cat /tmp/held
wait
check "rmmod" within 20 rmmod virtio_v4l2
# That the device fell silent is worth a message; a warning with a stack is not.
ALLOW=(-e 'virtio_v4l2.*\(timeout\|timed out\|no answer\|not answer\|broken\|lost\|silent\)')
dmesg_clean "no kernel warning but the one about the device"
exit "$failed"
