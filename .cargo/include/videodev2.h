/* SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause */
/*
 * v4l2r looks for this file and compiles with -I of its folder. The system's headers are used if
 * the folder has nothing else. `make prepare` links newer ones beside it: linux, asm, asm-generic.
 */
#include <linux/videodev2.h>
