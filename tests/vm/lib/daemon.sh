# SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
# shellcheck shell=bash
# The daemon on the host: ours, started for this run, or one that already listens (SOCKET).

DAEMON=${DAEMON:-${CARGO_TARGET_DIR:-$REPO/target}/release/virtio-v4l2d}

# daemon_start SOCKET LOG: starts it (DAEMON_ARGS: further options), returns when it listens, sets DAEMON_PID.
daemon_start() {
    local i args
    [ -x "$DAEMON" ] || die "no daemon at $DAEMON; run: make"
    read -ra args <<<"${DAEMON_ARGS:-}"
    RUST_LOG=${RUST_LOG:-info} "$DAEMON" --socket-path "$1" ${args[@]+"${args[@]}"} </dev/null >"$2" 2>&1 &
    DAEMON_PID=$!
    for ((i = 0; i < 100; i++)); do
        [ ! -S "$1" ] || return 0
        if ! kill -0 "$DAEMON_PID" 2>/dev/null; then
            cat "$2" >&2
            die "the daemon ended before it listened (its messages are above)"
        fi
        sleep 0.05
    done
    die "the daemon does not listen on $1 after 5 s; see $2"
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
