# SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
# vm: DEVICES=d0=encoder,sink=1 d1=encoder,sink=1 d2=encoder,sink=1 d3=encoder,sink=1 d4=encoder,sink=1 d5=encoder,sink=1 d6=encoder,sink=1 d7=encoder,sink=1
# vm: DAEMON_ARGS=--shm-size 512M
# More devices than stock QEMU has memory regions for (the guest's RAM is one, too): whose buffers
# cannot be mapped gets ENOMEM, and nothing else happens.
. /harness/tap.sh

encode() {
    timeout -k 5 60 v4l2-ctl -d "/dev/video$1" -x width=320,height=240,pixelformat=NV12 -v pixelformat=H264 \
        --stream-mmap --stream-out-mmap --stream-count=3 --stream-to="/tmp/coded.$1" >"/tmp/log.$1" 2>&1
}
# How many devices encode; the others are told why not.
mapped() {
    local count=0 node
    for node in 0 1 2 3 4 5 6 7; do
        rm -f "/tmp/coded.$node"
        # Its status is 0 either way.
        encode "$node"
        if [ -s "/tmp/coded.$node" ]; then
            count=$((count + 1))
        elif ! grep -q 'obtain_bufs failed' "/tmp/log.$node"; then
            echo "/dev/video$node: $(tail -n 1 "/tmp/log.$node")"
            return 1
        fi
    done
    echo "$count of 8 devices"
    [ "$count" -ge 4 ] && [ "$count" -lt 8 ]
}
check "some of eight devices" mapped
first() { encode 0 && [ -s /tmp/coded.0 ]; }
check "and the first one still" first
check "rmmod" within 10 rmmod virtio_v4l2
check "insmod" insmod /harness/virtio_v4l2.ko allow_id30=1
check "/dev/video7 is back" within 20 test -c /dev/video7
check "after a reset, those that come first" mapped
dmesg_clean "no kernel warning"
exit "$failed"
