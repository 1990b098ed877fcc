# SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
# vm: MODULE_PARAMS=timeout_ms=4000
# files: client
# The daemon stops answering (SIGSTOP): programs can be interrupted, commands time out, late replies
# harm nobody.
. /harness/tap.sh

touch /out/stop-daemon
await daemon-stopped
# Interrupted long before the time limit of a command.
timeout -s INT 1 v4l2-ctl -d0 --list-ctrls >/dev/null 2>&1 &
begin=$(date +%s%N)
wait $!
took=$((($(date +%s%N) - begin) / 1000000))
check "SIGINT ends a program that waits for a silent daemon" test "$took" -lt 3000
touch /out/continue-daemon
await daemon-continued
# The late reply comes now, to a command whose program is gone.
sleep 0.5
if timeout -k 5 $((20 * SLOW)) v4l2-ctl -d0 --list-ctrls >/tmp/controls 2>&1 && grep -q video_bitrate /tmp/controls; then
    ok "after the late reply the device serves on"
else
    not_ok "after the late reply the device serves on" "$(tail -n 1 /tmp/controls)"
fi

# They stop and continue the daemon by themselves.
client posted
client abandoned
client replaced

touch /out/stop-daemon-2
await daemon-stopped-2
begin=$SECONDS
refuse "a command that nobody answers times out" v4l2-ctl -d0 --list-ctrls
check "within its limit" test $((SECONDS - begin)) -lt 15
touch /out/continue-daemon-2
await daemon-continued-2
sleep 0.5
check "rmmod" within 20 rmmod virtio_v4l2
ALLOW=(-e 'virtio_v4l2.*\(timeout\|timed out\|no answer\|not answer\|broken\|lost\|silent\)')
dmesg_clean "no kernel warning but the one about the device"
exit "$failed"
