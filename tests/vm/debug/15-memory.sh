# SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
# files: splats.sh 23-memory.sh 24-memory-ends.sh client test_fence.ko
# vm: MODULE=0
# vm: TIMEOUT=1800
# vm: MEM=2G
# vm: KERNEL_ARGS=kasan_multi_shot no5lvl
# vm: QEMU_ARGS=-device virtio-gpu-pci
# vm: DAEMON_ARGS=--device encoder,threads=1
# What make test has of memory of every kind, on the debug kernel.
. /job/splats.sh

splats_begin
suite 23-memory
suite 24-memory-ends
splats_end
