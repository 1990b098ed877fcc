# SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
# shellcheck shell=bash
# Sourced in a VM that is a host: a guest in it. KVM runs it where there is any (tests/vm/run:
# ROLE=host).

# nested_run SCRIPT [FILE...]: tests/vm/run with what suits a VM in a VM: no output on the serial
# port, no mitigations, no udev, each of which takes long, and an answer may take some, too.
nested_run() {
    MEM=${MEM:-768M} SMP=1 UDEV=0 KERNEL_ARGS="mitigations=off quiet" MODULE_PARAMS=timeout_ms=60000 tests/vm/run "$@"
}
