# SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
# files: client source-640x360.nv12
# What careless, unlucky and hostile programs do to the driver.
. /harness/tap.sh

client bad-requests
client blocked-dqbuf
client opens
client abandon

timeout -k 5 $((60 * SLOW)) /job/client hold >/tmp/held 2>&1 &
within 10 grep -q ready /tmp/held
pid=$(pgrep -f 'job/client hold' | tail -n 1)
refuse "rmmod with a program blocked in DQBUF" rmmod virtio_v4l2
kill -KILL "$pid"
check "SIGKILL ends a program blocked in DQBUF" within 5 sh -c "! kill -0 $pid"
wait

encode() {
    timeout -k 5 $((60 * SLOW)) v4l2-ctl -d0 --set-fmt-video-out width=640,height=360,pixelformat=NV12 --set-fmt-video pixelformat=H264 \
        --stream-mmap --stream-out-mmap --stream-from /job/source-640x360.nv12 "$@" >/dev/null 2>&1
}
for i in 1 2 3 4 5; do
    encode --stream-loop --stream-to /dev/null &
    sleep "0.$((RANDOM % 8 + 2))"
    pkill -KILL -x v4l2-ctl
    wait
done
ok "five programs killed in mid-stream"

encode --stream-to /tmp/a.h264 &
first=$!
encode --stream-to /tmp/b.h264
second=$?
wait "$first"
# shellcheck disable=SC2319
check "two programs at once" test "$?$second" = 00
check "they got the same stream" cmp /tmp/a.h264 /tmp/b.h264

# What programs make the driver allocate counts against them.
mkdir -p /tmp/cgroup
mount -t cgroup2 none /tmp/cgroup
echo +memory >/tmp/cgroup/cgroup.subtree_control
mkdir /tmp/cgroup/client
kernel_bytes() { sed -n 's/^kernel //p' /tmp/cgroup/client/memory.stat; }
accounted() (
    echo "$BASHPID" >/tmp/cgroup/client/cgroup.procs
    before=$(kernel_bytes)
    for ((fd = 100; fd < 200; fd++)); do eval "exec $fd<>/dev/video0"; done
    each=$((($(kernel_bytes) - before) / 100))
    echo "$each bytes of the kernel's for each session"
    [ "$each" -gt 2048 ]
)
check "sessions count against the memory of their program" accounted
check "rmmod after all this" within 5 rmmod virtio_v4l2
dmesg_clean "no kernel warning from insmod to rmmod"
exit "$failed"
