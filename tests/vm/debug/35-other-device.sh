# SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
# files: splats.sh 67-other-device.sh client client32 client32-time64
# vm: DAEMON=target/debug/examples/wire-device
# vm: LIES=7
# vm: MODULE=0
# vm: TIMEOUT=1800
# vm: MEM=2G
# vm: KERNEL_ARGS=kasan_multi_shot no5lvl log_buf_len=8M
# A device that is not ours, and lies in every byte.
. /job/splats.sh

splats_begin
suite 67-other-device
splats_end
