# SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
# shellcheck shell=bash
# Files that scripts bring into a guest.

FIXTURES=$CACHE/fixtures

# A raw source of this size: sixty frames of the demo's clip, fewer of large ones.
fixture_make() {
    local dir=$1 size=$2 frames=60
    [ "${size%x*}" -lt 1200 ] || frames=30
    . "$REPO/tests/demo/clip.sh"
    INPUT='' clip_find
    ffmpeg -v error -nostdin -i "$CLIP" -frames:v "$frames" -vf "scale=${size/x/:},format=nv12" -f rawvideo "$dir/nv12"
}

# The path of such a file.
fixture() {
    local size
    case $1 in
        source-*.nv12)
            size=${1#source-}
            size=${size%.nv12}
            make_once "source-$size" "test source $size" fixture_make "$size"
            mkdir -p "$FIXTURES"
            ln -sfn "$CACHE/source-$size/nv12" "$FIXTURES/$1"
            echo "$FIXTURES/$1"
            ;;
        client | client32 | client32-time64 | bench | decode | driver-name.so) echo "$REPO/out/guest/$1" ;;
        test_*.ko) echo "$REPO/${MODULES:-out}/fence/$1" ;;
        *) die "no such fixture: $1" ;;
    esac
}
