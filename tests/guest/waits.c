// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/* Whoever waits for the device learns that it is gone, in whatever moment that happens. */
#include "tests.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define DRIVER "/sys/bus/virtio/drivers/virtio_v4l2"
#define WAITERS 8
/* Seconds after which a wait does not end any more. */
#define LIMIT 20

static char device_name[64];

static void find_device(void)
{
	char target[256] = "";

	if (readlink("/sys/class/video4linux/video0/device", target, sizeof(target) - 1) < 0)
		fatal("the node's device", "%s", strerror(errno));
	snprintf(device_name, sizeof(device_name), "%s", basename(target));
}

static void driver_write(const char *file)
{
	int fd = open(file, O_WRONLY);

	if (fd < 0 || write(fd, device_name, strlen(device_name)) < 0)
		fatal(file, "%s", strerror(errno));
	close(fd);
}

static void unbind(void)
{
	driver_write(DRIVER "/unbind");
}

static void bind_again(void)
{
	driver_write(DRIVER "/bind");
	for (int i = 0; access(device_path, F_OK); i++) {
		if (i == 100)
			fatal("the node is back", "nothing for 10 s");
		usleep(100000);
	}
}

static void begin(struct node *node)
{
	encoder_start(node);
	node_block(node);
}

static void *dequeue_event(void *context)
{
	struct node *node = context;
	struct v4l2_event event = { 0 };

	return (void *)(long)node_ioctl(node->fd, VIDIOC_DQEVENT, &event);
}

/* The errno that a waiter ended with; those that do not end are the end of the program. */
static int ends(pthread_t thread, const char *name)
{
	struct timespec limit;
	void *err;

	clock_gettime(CLOCK_REALTIME, &limit);
	limit.tv_sec += LIMIT;
	if (pthread_timedjoin_np(thread, &err, &limit))
		fatal(name, "still waiting after %d s", LIMIT);
	return (int)(long)err;
}

static unsigned int slowed(void)
{
	FILE *file = fopen("/sys/module/test_wait/parameters/slowed", "r");
	unsigned int count = 0;

	if (!file || fscanf(file, "%u", &count) != 1)
		fatal("slow waiters", "test_wait.ko is not there");
	fclose(file);
	return count;
}

struct waiter {
	void *(*wait)(void *);
	struct node node;
};

/* Under the name that test_wait.ko looks for. */
static void *slow_wait(void *context)
{
	struct waiter *waiter = context;

	pthread_setname_np(pthread_self(), "slow-wait");
	return waiter->wait(&waiter->node);
}

/* test_wait.ko holds the waiter up just before it sleeps, and the device goes just then. */
static void wait_through(void *(*wait)(void *), const char *name)
{
	unsigned int before = slowed();
	struct waiter waiter = { .wait = wait };
	pthread_t thread;

	begin(&waiter.node);
	pthread_create(&thread, NULL, slow_wait, &waiter);
	usleep(200000);
	unbind();
	int err = ends(thread, name);
	check(err == ENODEV && slowed() > before, name, "%s, held up %u times", strerror(err),
	      slowed() - before);
	node_close(&waiter.node);
	bind_again();
}

TEST(wait_ends, "wait-ends")
{
	find_device();
	wait_through(dequeue_in_thread, "DQBUF that is about to sleep ends when the device goes");
	wait_through(dequeue_event, "DQEVENT that is about to sleep ends when the device goes");
}

/* One event wakes many, and is one's; the others wait on, for as long as there is a device. */
TEST(event_waiters, "event-waiters")
{
	struct v4l2_event_subscription subscription = {
		.type = V4L2_EVENT_CTRL, .id = V4L2_CID_MPEG_VIDEO_BITRATE,
		.flags = V4L2_EVENT_SUB_FL_ALLOW_FEEDBACK,
	};
	pthread_t threads[WAITERS];
	unsigned int took = 0, gone = 0;
	struct node node;

	find_device();
	begin(&node);
	must(node.fd, VIDIOC_SUBSCRIBE_EVENT, &subscription, "SUBSCRIBE_EVENT");
	for (int i = 0; i < WAITERS; i++)
		pthread_create(&threads[i], NULL, dequeue_event, &node);
	usleep(300000);
	node_set_control(&node, V4L2_CID_MPEG_VIDEO_BITRATE, 1234567);
	usleep(300000);
	unbind();
	for (int i = 0; i < WAITERS; i++) {
		int err = ends(threads[i],
			       "DQEVENT whose event another took ends when the device goes");

		took += err == 0;
		gone += err == ENODEV;
	}
	check(took == 1 && gone == WAITERS - 1,
	      "one of many takes the event, the others learn that the device is gone",
	      "%u took it, %u learnt it", took, gone);
	node_close(&node);
	bind_again();
}

/* A program is killed in the middle of STREAMOFF; the session that it shares is lost. */
TEST(abandoned, "abandoned")
{
	enum v4l2_buf_type type = OUTPUT;
	pthread_t thread;
	struct node node;

	begin(&node);
	pthread_create(&thread, NULL, dequeue_in_thread, &node);
	usleep(200000);
	host_does("stop-daemon-abandoned", "daemon-stopped-abandoned");
	pid_t child = fork();
	if (!child) {
		node_ioctl(node.fd, VIDIOC_STREAMOFF, &type);
		_exit(0);
	}
	usleep(300000);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	host_does("continue-daemon-abandoned", "daemon-continued-abandoned");
	int err = ends(thread, "DQBUF ends when the session is lost by another process");
	check(err == EIO, "DQBUF ends when the session is lost by another process", "%s",
	      strerror(err));
	node_close(&node);
}

/* Memory that never answers: who touches it waits for a program that does nothing. */
static void *silent_memory(size_t size)
{
	void *data = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct uffdio_register range = {
		.range = { .start = (unsigned long)data, .len = size },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	struct uffdio_api api = { .api = UFFD_API };
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC);

	if (data == MAP_FAILED || fd < 0 || ioctl(fd, UFFDIO_API, &api) ||
	    ioctl(fd, UFFDIO_REGISTER, &range))
		fatal("memory that never answers", "%s", strerror(errno));
	return data;
}

static void *queue_silent(void *context)
{
	struct node *node = context;
	struct v4l2_plane plane;
	struct v4l2_buffer buffer = node_buffer(&node->output, 0, &plane);

	plane.m.userptr = (unsigned long)silent_memory(16 << 20);
	plane.length = 16 << 20;
	return (void *)(long)node_ioctl(node->fd, VIDIOC_QBUF, &buffer);
}

static void *queue_other(void *context)
{
	struct node *node = context;
	struct v4l2_plane plane;
	struct v4l2_buffer buffer = node_buffer(&node->output, 1, &plane);

	return (void *)(long)node_ioctl(node->fd, VIDIOC_QBUF, &buffer);
}

static void *stream_off(void *context)
{
	struct node *node = context;
	enum v4l2_buf_type type = OUTPUT;

	return (void *)(long)node_ioctl(node->fd, VIDIOC_STREAMOFF, &type);
}

static void *unbind_in_thread(void *context)
{
	(void)context;
	unbind();
	return NULL;
}

static void hold_silent(void)
{
	pthread_t silent, other;
	struct node node;

	encoder_open_memory(&node, 320, 240, 2, &memory_userptr, 2, &memory_mmap);
	pthread_create(&silent, NULL, queue_silent, &node);
	usleep(300000);
	pthread_create(&other, NULL, queue_other, &node);
	int err = ends(other, "QBUF beside one of memory that never answers");
	check(!err, "QBUF beside one of memory that never answers", "%s", strerror(err));
	pthread_create(&other, NULL, stream_off, &node);
	err = ends(other, "STREAMOFF beside it");
	check(!err, "STREAMOFF beside it", "%s", strerror(err));
	pthread_create(&other, NULL, unbind_in_thread, NULL);
	ends(other, "the device goes beside it");
	check(pthread_tryjoin_np(silent, NULL) == EBUSY, "the device goes beside it",
	      "that QBUF has ended");
}

/* Memory that never answers holds up the QBUF that names it, and nothing else. */
TEST(silent_memory, "silent-memory")
{
	int status, ended = 0;

	find_device();
	fflush(stdout);
	pid_t child = fork();
	if (!child) {
		hold_silent();
		/* One thread still waits. */
		_exit(failures);
	}
	for (int i = 0; i < 10 * 4 * LIMIT && !ended; i++) {
		usleep(100000);
		ended = waitpid(child, &status, WNOHANG);
	}
	check(ended == child && !status, "its program can be ended", "%s",
	      ended ? "it failed" : "it cannot");
	bind_again();
}
