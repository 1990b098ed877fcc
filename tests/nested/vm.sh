# SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
# shellcheck shell=bash
# Sourced in a VM that is a host: a guest in it. KVM runs it where there is any (tests/vm/run:
# ROLE=host).

# nested_run SCRIPT [FILE...]: tests/vm/run with what suits a VM in a VM: no output on the serial
# port, no mitigations, no udev, each of which takes long, and an answer may take some, too.
nested_run() {
    MEM=${MEM:-768M} SMP=1 UDEV=0 KERNEL_ARGS="mitigations=off quiet" MODULE_PARAMS=timeout_ms=60000 tests/vm/run "$@"
}

# nested_vm SCRIPT [FILE...]: nested_run as often as it takes. HOST_PART: a script that runs on this
# host meanwhile. QEMU 11.1 loses the guest's state now and then, where it emulates SVM; then it is
# started again, at last without KVM.
#
# With KEEP=DIR a job of parts goes on behind the last one that was finished ("# part NAME: done"):
# their names are in its /job/done, what /out had is in DIR. DONE: a file of names to begin with.
# BEFORE: a command for each start. A guest that has not ended after TIMEOUT seconds, or whose QEMU
# has, is lost, too. Status 125: it was, each time.
nested_vm() {
    local try status limit why tries=3
    export ACCEL=${ACCEL:-tcg}
    cat "${DONE:-/dev/null}" >/run/done
    for ((try = 1; try <= tries; try++)); do
        rm -f /run/guest-lost
        [ $try -lt $tries ] || [ -n "${KEEP:-}" ] || ACCEL=tcg
        ${BEFORE:-true}
        limit=${TIMEOUT:-400}
        [ "$ACCEL" = kvm ] || limit=1200
        TIMEOUT=$limit HOST_SCRIPT=/job/watch.sh nested_run "$@" ${KEEP:+/run/done} >/run/guest.log 2>&1 </dev/null
        status=$?
        if [ -n "${KEEP:-}" ]; then
            mkdir -p "$KEEP"
            cp -a "$OUT/." "$KEEP/"
        fi
        why="its program counter was in its host's code"
        case $status in 124 | 125)
            [ -e /run/guest-lost ] || why=$(grep -F '[vm] error: ' /run/guest.log | tail -n 1)
            : >/run/guest-lost
            ;;
        esac
        tr -d '\r' </run/guest.log | sed -n 's/^# part \(.*\): done.*/\1/p' >>/run/done
        [ -e /run/guest-lost ] || break
        # What was said since the last part that was finished is said again.
        tr -d '\r' </run/guest.log | awk '{ held = held $0 "\n" } /^# part .*: done/ { printf "%s", held; held = "" }'
        echo "# the guest in it was lost (attempt $try of $tries): $why"
        status=125
    done
    [ "$status" = 125 ] || cat /run/guest.log
    return "$status"
}

# nested_result NAME STATUS: what became of a job of nested_vm. With status 1 it has said what
# failed, or it never ran.
nested_result() {
    case $2 in
        0) return ;;
        1) failed=1 && ! grep -q '^not ok - ' /run/guest.log || return 0 ;;
    esac
    not_ok "$1" "status $2"
    excerpt </run/guest.log
}
