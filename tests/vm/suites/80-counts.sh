# SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
# vm: DAEMON_ARGS=--device=encoder,sink=1
# files: bench
# What a frame costs, in counts, with a sink behind the device: a short version of make bench, which
# judges with an encoder, too. 80-counts.host looks at what was counted.
. /harness/tap.sh

for memory in mmap userptr dmabuf; do
    for depth in 1 4; do
        check "$memory, depth $depth: streams" timeout -k 5 60 \
            /job/bench "label=$memory-$depth" "memory=$memory" "depth=$depth" frames=400 trace=1
    done
done
check "rmmod" within 10 rmmod virtio_v4l2
dmesg_clean "no kernel warning from insmod to rmmod"
exit "$failed"
