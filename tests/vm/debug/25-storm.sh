# SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
# files: splats.sh storm.sh 61-daemon-dies.sh client
# vm: MODULE=0
# vm: TIMEOUT=1800
# vm: MEM=2G
# vm: KERNEL_ARGS=kasan_multi_shot no5lvl
# Programs do everything at once; the daemon dies.
. /job/splats.sh

splats_begin
suite storm
suite 61-daemon-dies timeout_ms=8000
splats_end
