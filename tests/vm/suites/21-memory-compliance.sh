# SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
# vm: TIMEOUT=900
# v4l2-compliance -s with dmabufs of another device: streams by MMAP, USERPTR and DMABUF, and
# EXPBUF. By hand: make vm-run SCRIPT=tests/vm/suites/21-memory-compliance.sh
. /harness/tap.sh

# As large as any buffer of ours.
modprobe vivid n_devs=1 node_types=0x1
exporter=$(vivid_node vid-cap)
v4l2-ctl -d "$exporter" -v width=1920,height=1080,pixelformat=AR24 >/dev/null

log=/out/compliance.txt
timeout -k 5 600 v4l2-compliance -d0 -s -e "$exporter" >"$log" 2>&1
sed -n '/Buffer ioctls/,$p' "$log"
total=$(tail -n 1 "$log")
name="v4l2-compliance -s -e $exporter: Failed: 0, Warnings: 0"
case $total in
    *"Failed: 0, Warnings: 0") ok "$name" ;;
    *) not_ok "$name" "$total; $(grep -E 'fail:|FAIL|warn:' "$log" | head -n 4 | tr '\n\t' '| ')" ;;
esac
for test in MMAP USERPTR DMABUF; do
    check "$test was tested" grep -Eq "test $test \(.*\): OK\$" "$log"
done
check "EXPBUF was tested" grep -q 'test VIDIOC_EXPBUF: OK$' "$log"
check "REMOVE_BUFS was tested" grep -q 'test VIDIOC_REMOVE_BUFS: OK$' "$log"
check "rmmod" within 10 rmmod virtio_v4l2
dmesg_clean "no kernel warning from insmod to rmmod"
exit "$failed"
