# SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
# shellcheck shell=bash
# The daemon on the host: ours, started for this run, or one that already listens (SOCKET).

DAEMON=${DAEMON:-${CARGO_TARGET_DIR:-$REPO/target}/release/virtio-v4l2d}

# devices_parse DIR: DEVICES ("NAME=SPEC NAME=SPEC") becomes DEVICE_NAMES, DEVICE_SPECS and
# DEVICE_SOCKETS, one each, sockets in DIR.
devices_parse() {
    local device devices
    DEVICE_NAMES=() DEVICE_SPECS=() DEVICE_SOCKETS=()
    # shellcheck disable=SC2153 # of the environment
    read -ra devices <<<"$DEVICES"
    for device in "${devices[@]}"; do
        [[ $device =~ ^[a-z0-9_-]+=. ]] || die "DEVICES: \"$device\" is not NAME=SPEC (NAME: small letters, digits, - and _)"
        DEVICE_NAMES+=("${device%%=*}")
        DEVICE_SPECS+=("${device#*=}")
        DEVICE_SOCKETS+=("$1/${device%%=*}.sock")
    done
}

# daemon_start SOCKET LOG: starts it (DAEMON_ARGS: further options) for one device, with an empty
# SOCKET for those of devices_parse; returns when it listens, sets DAEMON_PID.
daemon_start() {
    local i args options=() sockets=() socket missing
    [ -x "$DAEMON" ] || die "no daemon at $DAEMON; run: make"
    read -ra args <<<"${DAEMON_ARGS:-}"
    if [ -n "$1" ]; then
        options=(--socket-path "$1")
        sockets=("$1")
    else
        sockets=("${DEVICE_SOCKETS[@]}")
        for i in "${!DEVICE_SPECS[@]}"; do
            options+=(--device "${DEVICE_SPECS[$i]},socket=${DEVICE_SOCKETS[$i]}")
        done
    fi
    RUST_LOG=${RUST_LOG:-info} "$DAEMON" "${options[@]}" ${args[@]+"${args[@]}"} </dev/null >"$2" 2>&1 &
    DAEMON_PID=$!
    for ((i = 0; i < 100; i++)); do
        missing=
        for socket in "${sockets[@]}"; do
            [ -S "$socket" ] || missing=$socket
        done
        [ -n "$missing" ] || return 0
        if ! kill -0 "$DAEMON_PID" 2>/dev/null; then
            cat "$2" >&2
            die "the daemon ended before it listened (its messages are above)"
        fi
        sleep 0.1
    done
    die "the daemon does not listen on $missing after 10 s; see $2"
}

daemon_stop() {
    [ -n "${DAEMON_PID:-}" ] || return 0
    # A test may have stopped it (SIGSTOP).
    kill -CONT "$DAEMON_PID" 2>/dev/null || true
    kill -TERM "$DAEMON_PID" 2>/dev/null || true
    local i
    for ((i = 0; i < 60; i++)); do
        kill -0 "$DAEMON_PID" 2>/dev/null || break
        sleep 0.05
    done
    if kill -KILL "$DAEMON_PID" 2>/dev/null; then
        say "the daemon did not end on SIGTERM within 3 s; killed"
    fi
    wait "$DAEMON_PID" 2>/dev/null || true
    DAEMON_PID=
}
