# SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
# vm: TIMEOUT=900
# vm: QEMU_ARGS=-device virtio-gpu-pci
# vm: DAEMON_ARGS=--device encoder,threads=1
# files: client test_fence.ko
# Frames in memory of every kind: no program can tell from the stream where they lay. With several
# threads and a bound on the rate x264 does not make the same stream every time.
. /harness/tap.sh

modprobe -a vgem virtio-gpu
modprobe vivid n_devs=1 node_types=0x101
VIVID=$(vivid_node vid-cap)
export VIVID
insmod /job/test_fence.ko

LIMIT=240
client lend 640x360 userptr userptr-offset userptr-scattered userptr-renewed heap udmabuf vgem virtio-gpu vivid
client lend 640x360 export
client lend 1296x972 userptr heap
client lend 1920x1080 userptr-offset udmabuf
client lend 4096x2304 userptr-scattered
client lend-refused
client manage
client export
client other-process
client fences
client fence-ends
client fence-fails

check "rmmod" within 10 rmmod virtio_v4l2
dmesg_clean "no kernel warning from insmod to rmmod"
exit "$failed"
