# SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
# files: splats.sh 66-hostile-device.sh client
# vm: DAEMON=target/debug/examples/hostile-device
# vm: MODULE=0
# vm: TIMEOUT=600
# vm: MEM=2G
# vm: KERNEL_ARGS=kasan_multi_shot no5lvl
# The device lies.
. /job/splats.sh

splats_begin
suite 66-hostile-device timeout_ms=3000
splats_end
