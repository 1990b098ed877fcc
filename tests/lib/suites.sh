# SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
# shellcheck shell=bash
# The suites in a VM: tests/vm/suites/NAME.sh runs in the guest, NAME.during on the host meanwhile,
# NAME.host on the host afterwards. "# vm: A=b" in the suite sets a variable of tests/vm/run, "#
# files: x" names what it finds in /job. Those in tests/vm/debug are for the debug kernel.

FIXTURES=$CACHE/fixtures

# A raw source of this size: sixty frames of the demo's clip, fewer of large ones.
fixture_make() {
    local dir=$1 size=$2 frames=60
    [ "${size%x*}" -lt 1200 ] || frames=30
    . "$REPO/tests/demo/clip.sh"
    INPUT='' clip_find
    ffmpeg -v error -nostdin -i "$CLIP" -frames:v "$frames" -vf "scale=${size/x/:},format=nv12" -f rawvideo "$dir/nv12"
}

# The path of a file that a suite asks for.
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
        [0-9]*.sh) echo "$VM_DIR/suites/$1" ;;
        *.sh) echo "$VM_DIR/debug/$1" ;;
        *) die "no such fixture: $1" ;;
    esac
}

run_suite() {
    local suite=$1 name status=0 file settings=() files=()
    name=$(basename "$suite" .sh)
    printf -- '-- %s\n' "$name"
    # shellcheck disable=SC2013 # words are meant
    for file in $(sed -n 's/^# files: //p' "$suite"); do
        files+=("$(fixture "$file")")
    done
    mapfile -t settings < <(sed -n 's/^# vm: //p' "$suite")
    OUT=$LOGS/$name
    [ ! -e "${suite%.sh}.during" ] || settings+=("HOST_SCRIPT=${suite%.sh}.during")
    env OUT="$OUT" "${settings[@]}" \
        "$VM_DIR/run" "$suite" ${files[@]+"${files[@]}"} 2>&1 </dev/null | results_heard "$name" "$OUT.log" ||
        status=${PIPESTATUS[0]}
    results_of "$name" "$status" "$OUT.log"
    if [ -e "${suite%.sh}.host" ] && [ -d "$OUT" ]; then
        (
            set +e
            . "${suite%.sh}.host"
        )
    fi
}

phase_vm() { run_suites "$VM_DIR"/suites/*.sh; }

# With SUITES only those whose names begin so.
run_suites() {
    local suite prefix start
    mkdir -p "$LOGS"
    for suite in "$@"; do
        if [ -n "${SUITES:-}" ]; then
            local wanted=0
            for prefix in $SUITES; do
                case $(basename "$suite") in "$prefix"*) wanted=1 ;; esac
            done
            [ "$wanted" = 1 ] || continue
        fi
        start=$SECONDS
        run_suite "$suite"
        printf -- '-- %d s\n' $((SECONDS - start))
    done
}

# make test-kernel-debug: what is a kernel module of ours or of the tests is built for that kernel.
phase_debug() {
    KERNEL=${KERNEL:-7.2}
    export KERNEL=${KERNEL%-debug}-debug MODULES=out/debug KO=$REPO/out/debug/module/virtio_v4l2.ko
    . "$VM_DIR/lib/kernel.sh"
    kernel_prepare
    try "the module builds for the debug kernel" env OUT=out/debug/module "$VM_DIR/kmake" . || return 0
    try "the test module of fences builds for it" env OUT="$REPO/out/debug/fence" "$VM_DIR/kmake" tests/fence || return 0
    try "the hostile devices build" cargo build --locked -p virtio-v4l2-tests --example hostile-device --example wire-device || return 0
    run_suites "$VM_DIR"/debug/[0-9]*.sh
}
