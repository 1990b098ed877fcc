# SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
# files: splats.sh 10-load.sh 20-compliance.sh 40-encoder.sh client client32 client32-time64
# vm: MODULE=0
# vm: TIMEOUT=1800
# vm: MEM=2G
# vm: KERNEL_ARGS=kasan_multi_shot no5lvl
# What make test has of ordinary programs, on the debug kernel.
. /job/splats.sh

splats_begin
suite 10-load
# With -f it takes more than ten minutes here.
OPTIONS=-s suite 20-compliance
suite 40-encoder
splats_end
