// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/*
 * LD_PRELOAD of v4l2-compliance: VIDIOC_QUERYCAP says that the driver is $DRIVER_NAME.
 * v4l2-compliance has rules of its own for uvcvideo and vivid, which it knows by that name; behind
 * a proxy, it is the host that has them. Its later versions have the option --driver-name for that
 * (linux-media, May 2026).
 */
#include <linux/videodev2.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

int ioctl(int fd, unsigned long request, ...)
{
	const char *name = getenv("DRIVER_NAME");
	va_list list;
	void *argument;
	int result;

	va_start(list, request);
	argument = va_arg(list, void *);
	va_end(list);
	result = syscall(SYS_ioctl, fd, request, argument);
	if (result == 0 && name && request == VIDIOC_QUERYCAP) {
		struct v4l2_capability *capability = argument;

		snprintf((char *)capability->driver, sizeof(capability->driver), "%s", name);
	}
	return result;
}
