#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
# In a VM that is a host: vicodec's encoder behind the proxy, and on its own. First without a guest,
# then with one. /job has the programs, the daemon, the module, the raw frames, `settings`, and the
# cases of the guest.
. /harness/tap.sh
heartbeat
. /job/settings
export VICODEC_PARAMETERS=multiplanar=1
. "$REPO/tests/nested/devices.sh"
devices_vicodec || exit
cd "$REPO" || exit
for lib in common daemon; do
    . "tests/vm/lib/$lib.sh"
done
. tests/bench/pairs.sh
. tests/nested/vm.sh
export BENCH_NODE=$VICODEC_ENC BENCH_PROGRAMS=/job BENCH_WORK=/job DAEMON=/job/virtio-v4l2d DAEMON_ARGS="--device=proxy,path=$VICODEC_ENC"
failed=0

# Pairs without a guest.
mkdir -p /out/path
daemon_start /run/bench.sock /out/path/daemon.log
path() {
    /job/bench-path "label=$1" socket=/run/bench.sock "pid=$DAEMON_PID" coded=FWHT "size=$2" depth=4 \
        "source=/job/frames-$2.nv12" "warmup=$PROXY_WARMUP" "frames=$3" >>/out/path/bench.jsonl
}
for size in $PROXY_SIZES; do
    in_turns "$PROXY_PAIRS" "$size" /out/path/host-only.jsonl || failed=1
done
daemon_stop
echo "no guest: $SECONDS s"

# The guest in it.
HOST_SCRIPT=tests/bench/during.sh KO=/job/virtio_v4l2.ko OUT=/out/guest TIMEOUT=900 \
    nested_run tests/bench/guest.sh /job/cases /job/bench /job/frames-*.nv12 2>&1 || failed=1
echo "with a guest: $SECONDS s"
exit "$failed"
