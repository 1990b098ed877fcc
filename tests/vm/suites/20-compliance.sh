# SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
# vm: TIMEOUT=900
# v4l2-compliance, with streaming (-s) and with all formats (-f).
. /harness/tap.sh

# Tests that may not answer "Not Supported": what the contract of an encoder asks for.
required='VIDIOC_QUERYCAP
second /dev/video0 open
VIDIOC_QUERY_EXT_CTRL/QUERYMENU
VIDIOC_QUERYCTRL
VIDIOC_G/S_CTRL
VIDIOC_G/S/TRY_EXT_CTRLS
VIDIOC_(UN)SUBSCRIBE_EVENT/DQEVENT
VIDIOC_ENUM_FMT/FRAMESIZES/FRAMEINTERVALS
VIDIOC_G/S_PARM
VIDIOC_G_FMT
VIDIOC_TRY_FMT
VIDIOC_S_FMT
Cropping
VIDIOC_(TRY_)ENCODER_CMD
VIDIOC_REQBUFS/CREATE_BUFS/QUERYBUF'

# -f streams each format.
for option in ${OPTIONS:--s -f}; do
    log=/out/compliance$option.txt
    timeout -k 5 400 v4l2-compliance -d /dev/video0 "$option" >"$log" 2>&1
    total=$(tail -n 1 "$log")
    echo "$total"
    name="v4l2-compliance $option: Failed: 0, Warnings: 0"
    case $total in
        *"Failed: 0, Warnings: 0") ok "$name" ;;
        *) not_ok "$name" "$total; $(grep -E 'fail:|FAIL|warn:' "$log" | head -n 4 | tr '\n\t' '| ')" ;;
    esac
    missing=$(while read -r test; do
        grep -qF "test $test: OK (Not Supported)" "$log" && printf '%s; ' "$test"
        grep -qF "test $test:" "$log" || printf '%s (not run); ' "$test"
    done <<<"$required")
    name="v4l2-compliance $option: nothing required is missing"
    if [ -z "$missing" ]; then ok "$name"; else not_ok "$name" "$missing"; fi
done
check "streaming by MMAP was tested" grep -Eq 'test MMAP \(.*\): OK$' /out/compliance-s.txt
check "rmmod" within 10 rmmod virtio_v4l2
dmesg_clean "no kernel warning from insmod to rmmod"
exit "$failed"
