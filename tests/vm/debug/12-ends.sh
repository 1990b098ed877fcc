# SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
# files: splats.sh 50-robust.sh 62-daemon-silent.sh 65-pause.sh 60-unplug.sh
# files: client source-640x360.nv12 test_suspend.ko test_wait.ko
# vm: MODULE=0
# vm: TIMEOUT=1800
# vm: MEM=2G
# vm: KERNEL_ARGS=kasan_multi_shot no5lvl
# What make test has of careless programs, and of a device that is silent, suspended, unplugged.
. /job/splats.sh

splats_begin
suite 50-robust
suite 62-daemon-silent timeout_ms=8000
suite 65-pause
suite 60-unplug
splats_end
