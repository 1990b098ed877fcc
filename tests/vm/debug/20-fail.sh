# SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
# files: splats.sh fail.sh client
# vm: MODULE=0
# vm: TIMEOUT=1800
# vm: MEM=2G
# vm: KERNEL_ARGS=kasan_multi_shot no5lvl
# vm: DAEMON_ARGS=--max-sessions 64
# Every allocation fails once.
. /job/splats.sh

splats_begin
suite fail
splats_end
