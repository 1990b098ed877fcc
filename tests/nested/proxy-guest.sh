# SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
# shellcheck shell=bash
# In the guest in the VM: nodes are named by their cards. First what says most.
. /harness/tap.sh
heartbeat
. /job/clients.sh
. /job/devices.sh
mkdir -p /out/compliance /tmp/compliance /tmp/commands

CAMERA=$(device_node camera) CAPTURE=$(device_node vid-cap) ENCODER=$(device_node encoder) DECODER=$(device_node decoder)

# out FILE...: from /tmp to the host, in large pieces.
out() {
    local file
    for file in "$@"; do dd "if=/tmp/$file" "of=/out/$file" bs=256k status=none && rm "/tmp/$file"; done
}

# as_written NAME NODE FILE BYTES COMMAND: the command to the letter, where NODE is /dev/video0,
# until FILE has that many.
as_written() {
    local pid end=$((SECONDS + 300)) size=0
    (
        cd /tmp/commands || exit
        # shellcheck disable=SC2016 # for the inner shell
        exec env --default-signal=INT unshare -m bash -c \
            '[ "$0" = /dev/video0 ] || mount --bind "$0" /dev/video0; eval "exec $1"' "$2" "$5"
    ) >/tmp/command.log 2>&1 &
    pid=$!
    while [ "$size" -lt "$4" ] && [ $SECONDS -lt $end ] && kill -0 $pid 2>/dev/null; do
        sleep 0.5
        size=$(stat -c %s "/tmp/commands/$3" 2>/dev/null || echo 0)
    done
    kill -INT $pid 2>/dev/null
    wait $pid
    {
        printf '$ %s\n' "$5"
        # Each buffer is a "<"; rates come with a carriage return.
        tr '\r' '\n' </tmp/command.log | tail -n 12
        printf '\n(stopped at %s bytes in %s)\n\n' "$(stat -c %s "/tmp/commands/$3")" "$3"
    } >>/out/commands.txt 2>&1
    if [ "$size" -ge "$4" ]; then ok "$1"; else not_ok "$1" "$size bytes: $(tail -n 1 /tmp/command.log)"; fi
}
# part NAME: whether it is to be done, or was by a guest that was lost since. Its end is said by
# `done_part`.
part() {
    PART=$1
    ! grep -qxF "$1" /job/done
}
done_part() { echo "# part $PART: done"; }

if part commands; then
    as_written "as written: camera" "$CAMERA" test.mjpg 60000 \
        'v4l2-ctl -d0 -v pixelformat=MJPG --stream-mmap --stream-to=test.mjpg'
    as_written "as written: vivid" "$CAPTURE" test.yuv 2000000 \
        'v4l2-ctl -d0 -v pixelformat=NV12 --stream-mmap --stream-to test.yuv'
    as_written "as written: vicodec" "$ENCODER" test.fwht 200000 \
        'v4l2-ctl -x pixelformat=NV12 --stream-mmap --stream-out-mmap --stream-to-hdr test.fwht'
    done_part
fi

# Programs write to memory: in small pieces, and each one to /out would go through two hosts.
source=/job/source-640x360.nv12
if part picture; then
    check "vivid's picture" limited vivid_still "$CAPTURE" /tmp/still.nv12 --stream-mmap
    # With as many buffers as there may be.
    check "vivid's picture, by FFmpeg" limited ffmpeg_still "$CAPTURE" /tmp/ffmpeg.nv12
    out still.nv12 ffmpeg.nv12
    done_part
fi
if part codec; then
    check "vicodec encodes" limited fwht_encode "$ENCODER" $source /tmp/coded.fwht --stream-mmap --stream-out-mmap
    check "vicodec decodes" limited fwht_decode "$DECODER" /tmp/coded.fwht /tmp/decoded.nv12 --stream-mmap --stream-out-mmap
    out decoded.nv12
    cp /tmp/coded.fwht /out/
    done_part
fi
if part gstreamer; then
    check "GStreamer encodes and decodes" limited gst_codec $source /tmp/gst.fwht /tmp/gst.nv12
    out gst.fwht gst.nv12
    done_part
fi
if part decoder; then
    LIMIT=600 lines /job/decode "$DECODER" /job/change.fwht /tmp/change.nv12
    out change.nv12
    done_part
fi

# no_gap LOG: three hundred buffers, each with the sequence number after the last one's.
no_gap() {
    awk '/dqbuf/ { sub(/.*seq: */, ""); if (count++ && $1 != last + 1) { print "after " last " comes " $1; gap = 1 }; last = $1 }
        END { print count + 0 " buffers"; exit gap || count != 300 }' "$1"
}
# A frame of the camera is lost when no buffer is free: 32 of them last three seconds.
for format in MJPG YUYV; do
    part "camera $format" || continue
    timeout -k 5 400 v4l2-ctl -d "$CAMERA" -v "width=320,height=180,pixelformat=$format" -p 10 --verbose --stream-mmap=32 \
        --stream-count=300 --stream-to="/tmp/camera.$format" >"/tmp/camera-$format.log" 2>&1
    check "camera, $format: 300 frames, no gap" no_gap "/tmp/camera-$format.log"
    out "camera.$format"
    done_part
done

while read -r name driver; do
    part "compliance of $name" || continue
    begin=$SECONDS
    limited compliance_as "$driver" "$(device_node "$name")" "/tmp/compliance/$name" -s10
    cp "/tmp/compliance/$name.txt" /out/compliance/
    echo "# $name: $((SECONDS - begin)) s"
    done_part
done </job/compliance

# goes PART NODE: the device goes while a program streams, which is told so; what is done with
# another one works on.
goes() {
    local pid log=/tmp/$1.log
    part "$1" || return
    [ -e /tmp/coded.fwht ] || limited fwht_encode "$ENCODER" $source /tmp/coded.fwht --stream-mmap --stream-out-mmap
    v4l2-ctl -d "$2" --verbose --stream-mmap --stream-to=/dev/null >"$log" 2>&1 &
    pid=$!
    within 120 grep -q dqbuf "$log" || not_ok "$1: streams" "$(tail -n 1 "$log")"
    : >"/out/do-$1"
    within 180 test -e "/out/done-$1" || not_ok "$1 on the host" "$(tail -n 1 "/out/$1.log" 2>/dev/null)"
    if within 120 ended "$pid"; then
        check "$1: the program is told that there is no such device" told "$log"
    else
        not_ok "$1: the program ends" "$(tail -n 1 "$log")"
        kill -9 "$pid"
    fi
    refuse "$1: who opens it now is told, too" v4l2-ctl -d "$2" --stream-mmap --stream-count=1
    check "$1: another device works on" limited fwht_encode "$ENCODER" $source "/tmp/after-$1.fwht" --stream-mmap --stream-out-mmap
    check "$1: … and as before" cmp /tmp/coded.fwht "/tmp/after-$1.fwht"
    done_part
}
ended() { ! kill -0 "$1" 2>/dev/null; }
# v4l2-ctl names the error of a DQBUF. If it was a QBUF's, with which it came a moment earlier, it
# says just that.
told() { grep -qE 'No such device|qbuf error' "$1" || { tail -n 3 "$1" && false; }; }
goes camera_unplug "$CAMERA"
goes vivid_unbind "$CAPTURE"

ALLOW=("${SLOW_CLOCK[@]}")
dmesg_clean "no kernel warning"
exit "$failed"
