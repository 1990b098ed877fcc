/* SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause */
/* A fence for tests, one for each open file. It signals when its file is closed, if not before. */
#ifndef TEST_FENCE_H
#define TEST_FENCE_H

#include <linux/ioctl.h>

#define TEST_FENCE_PATH "/dev/test_fence"
/* The argument is a dmabuf's descriptor: the fence is that of a device that writes it. */
#define TEST_FENCE_ATTACH _IO('F', 0x60)
/* The argument is 0, or the errno that the fence fails with. */
#define TEST_FENCE_SIGNAL _IO('F', 0x61)

#endif
