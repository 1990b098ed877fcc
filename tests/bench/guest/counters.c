// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/* The guest's counters, and the way to ask the host for its own. */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

/* In the order of struct counters. */
static const char *const keys[] = {
	"kicks_command", "kicks_event", "interrupts_command", "interrupts_event", "calls", "posted",
	"pins", "attaches", "bytes_copied",
};
#define KEYS (sizeof(keys) / sizeof(*keys))

/* The number of our virtio device, or -1. */
static int device_number(void)
{
	glob_t found;
	int number = -1;

	if (!glob("/sys/bus/virtio/drivers/virtio_v4l2/virtio[0-9]*", 0, NULL, &found))
		sscanf(strrchr(found.gl_pathv[0], '/'), "/virtio%d", &number);
	globfree(&found);
	return number;
}

/*
 * Interrupts of the device, over all queues and CPUs. Where it has MSI-X each queue has a row,
 * "... virtio3-command", else there is one, "... virtio3": which queue it was for is what the
 * driver counts.
 */
static long read_interrupts(void)
{
	int number = device_number(), found;
	FILE *file = fopen("/proc/interrupts", "r");
	char line[1024], queue[32];
	long sum = -1;

	if (!file)
		fatal("/proc/interrupts", "%s", strerror(errno));
	while (fgets(line, sizeof(line), file)) {
		char *name = strrchr(line, ' '), *at = strchr(line, ':'), *end;

		queue[0] = 0;
		if (!name || !at || sscanf(name, " virtio%d-%31s", &found, queue) < 1 ||
		    found != number || !strcmp(queue, "config"))
			continue;
		sum += sum < 0;
		at++;
		for (long count = strtol(at, &end, 10); end != at; count = strtol(at, &end, 10)) {
			sum += count;
			at = end;
		}
	}
	fclose(file);
	return sum;
}

/* VIDIOC_LOG_STATUS has the driver write its counters into the kernel's log. */
static void read_driver(struct counters *counters, int fd)
{
	char record[2048];
	ssize_t length;
	int log = open("/dev/kmsg", O_RDONLY | O_NONBLOCK);

	if (log < 0 || lseek(log, 0, SEEK_END) < 0)
		fatal("/dev/kmsg", "%s", strerror(errno));
	for (unsigned int i = 0; i < KEYS; i++)
		counters->driver[i] = -1;
	if (ioctl(fd, VIDIOC_LOG_STATUS) < 0 && errno != ENOTTY)
		fatal("LOG_STATUS", "%s", strerror(errno));
	while ((length = read(log, record, sizeof(record) - 1)) > 0 ||
	       (length < 0 && errno == EPIPE)) {
		char *stats;

		if (length < 0)
			continue;
		record[length] = 0;
		stats = strstr(record, "virtio_v4l2 stats:");
		for (unsigned int i = 0; stats && i < KEYS; i++) {
			char key[32];

			snprintf(key, sizeof(key), " %s=", keys[i]);
			char *at = strstr(stats, key);
			if (at)
				counters->driver[i] = strtol(at + strlen(key), NULL, 10);
		}
	}
	close(log);
}

void counters_read(struct counters *counters, int fd)
{
	read_driver(counters, fd);
	counters->interrupts = read_interrupts();
	counters->seconds = seconds();
}

void counters_print(FILE *file, const struct counters *before, const struct counters *after)
{
	fprintf(file, ",\"seconds\":%.6f", after->seconds - before->seconds);
	if (after->interrupts >= 0)
		fprintf(file, ",\"interrupts\":%ld", after->interrupts - before->interrupts);
	for (unsigned int i = 0; i < KEYS; i++)
		if (after->driver[i] >= 0)
			fprintf(file, ",\"%s\":%ld", keys[i], after->driver[i] - before->driver[i]);
}

void host_ask(const char *what, const char *label)
{
	const struct timespec pause = { .tv_nsec = 5000000 };
	char temporary[] = "/out/.ask", path[64], answer[80];
	static unsigned int number;
	FILE *file = fopen(temporary, "w");

	number++;
	snprintf(path, sizeof(path), "/out/ask.%d.%u", getpid(), number);
	snprintf(answer, sizeof(answer), "%s.done", path);
	if (!file || fprintf(file, "%s %s\n", what, label) < 0 || fclose(file) ||
	    rename(temporary, path))
		fatal(path, "%s", strerror(errno));
	/* Whole when it is there. The host may have a program to start. */
	for (double end = seconds() + 60; access(answer, F_OK); nanosleep(&pause, NULL))
		if (seconds() > end)
			fatal(what, "the host does not do its part");
	unlink(answer);
}
