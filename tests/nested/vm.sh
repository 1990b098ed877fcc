# SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
# shellcheck shell=bash
# Sourced in a VM that is a host: a guest in it. KVM runs it where there is any (tests/vm/run: ROLE=host).

# nested_vm SCRIPT [FILE...]: tests/vm/run with what suits a VM in a VM: no output on the serial port, no mitigations, no
# udev, each of which takes long, and an answer may take some, too. HOST_PART: a script that runs on this host meanwhile.
# QEMU 11.1 loses the guest's state now and then, where it emulates SVM; then it is started again, at last without KVM.
nested_vm() {
    local try status
    export ACCEL=${ACCEL:-tcg}
    for try in 1 2 3; do
        rm -f /run/guest-lost
        [ $try -lt 3 ] || ACCEL=tcg
        MEM=${MEM:-768M} SMP=1 UDEV=0 TIMEOUT=${TIMEOUT:-1800} KERNEL_ARGS="mitigations=off quiet" \
            MODULE_PARAMS=timeout_ms=60000 HOST_SCRIPT=/job/watch.sh tests/vm/run "$@" >/run/guest.log 2>&1 </dev/null
        status=$?
        [ -e /run/guest-lost ] || break
        echo "# the guest in it was lost by QEMU's emulation of SVM (attempt $try): once more"
    done
    cat /run/guest.log
    return "$status"
}
