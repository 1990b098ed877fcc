# SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
# shellcheck shell=bash
# A VM that is a host: daemon and VMM run on a kernel with /dev/udmabuf, DMA heaps and V4L2 devices,
# which CI's own may not have.

# The tests of cargo that run there: the source of each binary, and parts of the names of those that
# concern memory, or that all those are meant which are ignored where there is no V4L2 device.
NESTED_TESTS="host-device/src/lib.rs memory::
host-device/tests/encoder_lent.rs
tests/tests/lent.rs
tests/tests/lent_ends.rs
tests/tests/mappings.rs
tests/tests/steady.rs
tests/tests/proxy_codec.rs --ignored
tests/tests/proxy_controls.rs --ignored
tests/tests/proxy_events.rs --ignored
tests/tests/proxy_hostile.rs --ignored
tests/tests/proxy_ioctls.rs --ignored
tests/tests/proxy_streams.rs --ignored
tests/tests/proxy_unplug.rs --ignored"

# SOURCE EXECUTABLE of each test binary that cargo has built.
nested_binaries() {
    cargo test --workspace --locked --no-run --message-format=json-render-diagnostics 2>"$LOGS/nested-build.log" |
        sed -n 's|.*"src_path":"'"$REPO"'/\([^"]*\)".*"executable":"\([^"]*\)".*|\1 \2|p'
}

# nested_host NAME SECONDS SCRIPT [FILE...]: runs it in a VM that is a host; its results become
# ours, with NAME in front. An emulated machine that emulates one now and then ends or hangs: then
# once more, and what the first one said does not count.
nested_host() {
    local name=$1 limit=$2 script=$3 status attempt start=$SECONDS
    shift 3
    mkdir -p "$LOGS"
    OUT=$LOGS/$name
    printf '%s=%q\n' REPO "$REPO" PARTS "$PARTS" LIMIT "$LIMIT" 'export XDG_CACHE_HOME' "${CACHE%/*}" 'export KERNEL' "${KERNEL:-}" >"$LOGS/settings"
    for attempt in 1 2; do
        status=0
        UDEV=0 ROLE=host OUT=$OUT TIMEOUT=$limit HOST_SCRIPT=tests/nested/watch.sh "$VM_DIR/run" "$script" "$LOGS/settings" tests/nested/{vm,watch}.sh \
            "$REPO/out/module/virtio_v4l2.ko" "${CARGO_TARGET_DIR:-$REPO/target}/release/virtio-v4l2d" "$@" 2>&1 </dev/null |
            results_heard "$name" "$OUT.log" | while read -r line; do
            case $line in '#'*) printf '%s (%d s)\n' "$line" $((SECONDS - start)) ;; *) printf '%s\n' "$line" ;; esac
        done || status=${PIPESTATUS[0]}
        case $status in 124 | 125) ;; *) break ;; esac
        printf '# the VM that is a host was lost (attempt %d of 2): %s\n' "$attempt" "$(grep -F '[vm] error: ' "$OUT.log" | tail -n 1)"
    done
    results_of "$name" "$status" "$OUT.log"
}

phase_nested() {
    local files=() source filters binary job=$LOGS/nested-job
    try "the USB camera builds" cargo build --release --locked -p usb-camera || return 0
    mkdir -p "$job"
    : >"$job/binaries"
    nested_binaries >"$job/built"
    while read -r source filters; do
        binary=$(sed -n "s|^$source ||p" "$job/built")
        [ -n "$binary" ] || {
            not_ok "nested: cargo builds the tests of $source" "see $LOGS/nested-build.log"
            return
        }
        files+=("$binary")
        printf '%s %s\n' "$(basename "$binary")" "$filters" >>"$job/binaries"
    done <<<"$NESTED_TESTS"
    nested_host nested 1500 tests/nested/host.sh tests/nested/guest.sh "$job/binaries" \
        "${files[@]}" "${CARGO_TARGET_DIR:-$REPO/target}/release/usb-camera" "$(fixture client)" "$(fixture source-176x144.nv12)"
}

# PARTS=all (make test-proxy): every part of the device suite, for as long as it takes. LIMIT:
# seconds of one guest.
PARTS=${PARTS:-quick} LIMIT=${LIMIT:-450}

# Devices of a host behind proxies: make test-proxy runs this alone.
phase_proxy() {
    try "the USB camera builds" cargo build --release --locked -p usb-camera || return 0
    # One processor: with two, QEMU 11.1 loses the guest, or the VM that is its host, every few
    # minutes.
    SMP=1 nested_host proxy "${PROXY_TIMEOUT:-1000}" tests/nested/proxy.sh tests/nested/{proxy-guest,proxy-during,clients,devices}.sh \
        "$(fixture decode)" "$(fixture driver-name.so)" "$(fixture source-640x360.nv12)" "${CARGO_TARGET_DIR:-$REPO/target}/release/usb-camera"
    [ ! -e "$LOGS/proxy/report.txt" ] || cat "$LOGS/proxy/report.txt"
}
