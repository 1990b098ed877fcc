// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/*
 * Six threads do whatever the node allows, with what they share, and are interrupted; the device is
 * unbound and bound under them. Nothing is expected of the calls; the kernel has to stand it, and
 * all has to end.
 */
#include "tests.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define THREADS 6
#define SLOTS 4
#define AREAS 8
#define AREA_PAGES 16
/* Enough for a frame of any size that is asked for. */
#define FRAME (256u << 10)
#define DRIVER "/sys/bus/virtio/drivers/virtio_v4l2/"

/* What the threads share: open nodes, dmabufs (-1: none); AREAS places for mappings; frames. */
static atomic_int nodes[SLOTS], dmabufs[SLOTS];
static uint8_t *areas, *frames;
static atomic_bool over;
/* What succeeded: a storm of errors would show little. */
static atomic_ulong opened, queued, dequeued, mapped, exported;
static pthread_t threads[THREADS];

/* A thread's own. */
static __thread unsigned int seed;
static __thread sigjmp_buf jump;

static unsigned int pick(unsigned int below)
{
	return rand_r(&seed) % below;
}

static enum v4l2_buf_type pick_type(void)
{
	return pick(2) ? OUTPUT : CAPTURE;
}

static enum v4l2_memory pick_memory(void)
{
	static const enum v4l2_memory memories[] = {
		V4L2_MEMORY_MMAP, V4L2_MEMORY_MMAP, V4L2_MEMORY_USERPTR, V4L2_MEMORY_DMABUF,
	};

	return memories[pick(4)];
}

static uint8_t *pick_area(void)
{
	return areas + pick(AREAS) * AREA_PAGES * PAGE;
}

/* One byte is read and written, if it is there: it may be unmapped, and the device gone. */
static void touch(uint8_t *at)
{
	volatile uint8_t *byte = at;

	if (!sigsetjmp(jump, 1))
		*byte = *byte + 1;
}

static void on_fault(int number)
{
	(void)number;
	siglongjmp(jump, 1);
}

static void on_interrupt(int number)
{
	(void)number;
}

static void replace(atomic_int *slot, int fd)
{
	int old = atomic_exchange(slot, fd);

	if (old >= 0)
		close(old);
}

/* While an old node is open a new one has the next number. */
static void act_open(void)
{
	char path[32];
	int fd = -1;

	for (unsigned int number = 0; fd < 0 && number < SLOTS; number++) {
		snprintf(path, sizeof(path), "/dev/video%u", number);
		fd = open(path, O_RDWR | O_CLOEXEC | (pick(3) ? O_NONBLOCK : 0));
	}
	opened += fd >= 0;
	replace(&nodes[pick(SLOTS)], fd);
}

static void act_format(int fd, enum v4l2_buf_type type)
{
	struct v4l2_format format = { .type = type };

	format.fmt.pix_mp.width = 64 + 32 * pick(8);
	format.fmt.pix_mp.height = 64 + 16 * pick(8);
	format.fmt.pix_mp.num_planes = 1;
	format.fmt.pix_mp.pixelformat = type == OUTPUT ? V4L2_PIX_FMT_NV12 : V4L2_PIX_FMT_H264;
	format.fmt.pix_mp.plane_fmt[0].sizeimage = FRAME;
	ioctl(fd, pick(4) ? VIDIOC_S_FMT : VIDIOC_TRY_FMT, &format);
}

static void act_request(int fd, enum v4l2_buf_type type, enum v4l2_memory memory,
			unsigned int count)
{
	struct v4l2_requestbuffers request = { .count = count, .type = type, .memory = memory };

	ioctl(fd, VIDIOC_REQBUFS, &request);
}

static void act_buffer(int fd, unsigned long code, enum v4l2_buf_type type, enum v4l2_memory memory,
		       unsigned int index)
{
	struct v4l2_plane planes[VIDEO_MAX_PLANES] = { 0 };
	struct v4l2_buffer buffer = {
		.index = index, .type = type, .memory = memory, .m.planes = planes, .length = 1,
	};

	planes[0].length = FRAME;
	planes[0].bytesused = pick(4) ? 64 * 64 * 3 / 2 : pick(FRAME);
	if (memory == V4L2_MEMORY_USERPTR)
		planes[0].m.userptr = (unsigned long)frames + PAGE * pick(4);
	else if (memory == V4L2_MEMORY_DMABUF)
		planes[0].m.fd = dmabufs[pick(SLOTS)];
	if (ioctl(fd, code, &buffer))
		return;
	queued += code == VIDIOC_QBUF;
	dequeued += code == VIDIOC_DQBUF;
}

static void act_stream(int fd, unsigned long code, enum v4l2_buf_type type)
{
	ioctl(fd, code, &type);
}

/* All that it takes to have a session encode. */
static void act_set_up(int fd)
{
	static const enum v4l2_buf_type types[] = { CAPTURE, OUTPUT };

	for (unsigned int i = 0; i < 2; i++) {
		enum v4l2_memory memory = pick_memory();

		act_stream(fd, VIDIOC_STREAMOFF, types[i]);
		act_request(fd, types[i], memory, 0);
		act_format(fd, types[i]);
		act_request(fd, types[i], memory, 4);
		for (unsigned int index = 0; index < 4; index++)
			act_buffer(fd, VIDIOC_QBUF, types[i], memory, index);
		act_stream(fd, VIDIOC_STREAMON, types[i]);
	}
}

static void act_create(int fd)
{
	struct v4l2_create_buffers create = {
		.count = 1, .memory = pick_memory(), .format.type = pick_type(),
	};
	struct v4l2_remove_buffers remove = {
		.index = pick(4), .count = 1, .type = create.format.type,
	};

	if (!ioctl(fd, VIDIOC_G_FMT, &create.format))
		ioctl(fd, VIDIOC_CREATE_BUFS, &create);
	ioctl(fd, VIDIOC_REMOVE_BUFS, &remove);
}

static void act_control(int fd)
{
	struct v4l2_ext_control control = {
		.id = V4L2_CID_MPEG_VIDEO_GOP_SIZE, .value = 1 + pick(60),
	};
	struct v4l2_ext_controls controls = { .count = 1, .controls = &control };
	struct v4l2_event_subscription subscription = { .type = V4L2_EVENT_CTRL, .id = control.id };
	struct v4l2_event event;

	ioctl(fd, pick(2) ? VIDIOC_SUBSCRIBE_EVENT : VIDIOC_UNSUBSCRIBE_EVENT, &subscription);
	ioctl(fd, pick(2) ? VIDIOC_S_EXT_CTRLS : VIDIOC_G_EXT_CTRLS, &controls);
	ioctl(fd, VIDIOC_DQEVENT, &event);
}

static void act_command(int fd)
{
	struct v4l2_encoder_cmd cmd = { .cmd = pick(2) ? V4L2_ENC_CMD_STOP : V4L2_ENC_CMD_START };

	ioctl(fd, VIDIOC_ENCODER_CMD, &cmd);
}

static void act_poll(int fd)
{
	struct pollfd wait = { .fd = fd, .events = POLLIN | POLLOUT | POLLPRI };

	poll(&wait, 1, pick(20));
}

static void act_export(int fd)
{
	struct v4l2_exportbuffer export = {
		.type = pick_type(), .index = pick(4), .flags = O_RDWR | O_CLOEXEC,
	};

	if (ioctl(fd, VIDIOC_EXPBUF, &export))
		return;
	exported++;
	replace(&dmabufs[pick(SLOTS)], export.fd);
}

static void act_map(int fd)
{
	struct v4l2_plane plane = { 0 };
	struct v4l2_buffer buffer = {
		.index = pick(4), .type = pick_type(), .memory = V4L2_MEMORY_MMAP,
		.m.planes = &plane, .length = 1,
	};
	int protection = PROT_READ | (pick(4) ? PROT_WRITE : 0);
	uint8_t *area = pick_area();
	size_t size = PAGE * (1 + pick(AREA_PAGES));

	if (pick(2))
		fd = dmabufs[pick(SLOTS)];
	else if (ioctl(fd, VIDIOC_QUERYBUF, &buffer))
		return;
	mapped += mmap(area, size, protection, MAP_SHARED | MAP_FIXED, fd, plane.m.mem_offset) !=
		  MAP_FAILED;
	touch(area);
}

static void act_remap(void)
{
	uint8_t *from = pick_area(), *to = pick_area();
	size_t size = PAGE * (1 + pick(AREA_PAGES / 2));

	if (pick(2))
		mremap(from, size, pick(2) ? size : 2 * size, MREMAP_MAYMOVE | MREMAP_FIXED, to);
	else
		mremap(from, size, size / 2, 0);
	touch(to);
	mprotect(to, PAGE, pick(2) ? PROT_READ : PROT_READ | PROT_WRITE);
	madvise(to, 2 * PAGE, MADV_DONTNEED);
}

static void act_unmap(void)
{
	munmap(pick_area() + PAGE * pick(AREA_PAGES / 2), PAGE * (1 + pick(AREA_PAGES / 2)));
}

/* Other pages where frames lie. */
static void act_renew(void)
{
	mmap(frames, 2 * FRAME, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
	     -1, 0);
}

/* The child has a copy of each mapping, and its parent's sessions. */
static void act_fork(int fd)
{
	pid_t child = fork();

	if (!child) {
		/* Should it wait for a buffer: that is its end. */
		alarm(2);
		for (unsigned int i = 0; i < AREAS; i++)
			touch(areas + i * AREA_PAGES * PAGE);
		act_remap();
		act_renew();
		act_buffer(fd, VIDIOC_QBUF, OUTPUT, pick_memory(), pick(4));
		act_buffer(fd, VIDIOC_DQBUF, pick_type(), pick_memory(), 0);
		_exit(0);
	}
	while (child > 0 && waitpid(child, NULL, 0) < 0 && errno == EINTR)
		;
}

static void act(int fd)
{
	static const unsigned long codes[] = {
		VIDIOC_QBUF, VIDIOC_QBUF, VIDIOC_DQBUF, VIDIOC_DQBUF, VIDIOC_PREPARE_BUF,
		VIDIOC_QUERYBUF,
	};

	switch (pick(40)) {
	case 0:
		return act_open();
	case 1 ... 3:
		return act_set_up(fd);
	case 4:
		return act_format(fd, pick_type());
	case 5:
		return act_request(fd, pick_type(), pick_memory(), pick(5));
	case 6:
		return act_create(fd);
	case 7:
		return act_stream(fd, pick(3) ? VIDIOC_STREAMON : VIDIOC_STREAMOFF, pick_type());
	case 8:
		return act_command(fd);
	case 9:
		return act_control(fd);
	case 10:
		return act_poll(fd);
	case 11:
		return act_renew();
	case 12:
		return act_unmap();
	case 13:
		return pick(4) ? act_remap() : act_fork(fd);
	case 14 ... 16:
		return act_remap();
	case 17 ... 19:
		return act_export(fd);
	case 20 ... 23:
		return act_map(fd);
	default:
		return act_buffer(fd, codes[pick(6)], pick_type(), pick_memory(), pick(4));
	}
}

static void *storm(void *number)
{
	seed = (unsigned long)number;
	while (!over) {
		int fd = nodes[pick(SLOTS)];

		if (fd < 0)
			act_open();
		else
			act(fd);
	}
	return NULL;
}

static void write_to(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		fatal("storm", "%s to %s: %s", text, path, strerror(errno));
	close(fd);
}

/* The name of the device that the driver has. */
static void find_device(char *name, size_t size)
{
	DIR *dir = opendir(DRIVER);
	struct dirent *entry;

	name[0] = 0;
	while (dir && (entry = readdir(dir)))
		if (!strncmp(entry->d_name, "virtio", 6))
			snprintf(name, size, "%s", entry->d_name);
	if (!name[0])
		fatal("storm", "no device in " DRIVER);
	closedir(dir);
}

/* A signal to each thread from this one on. */
static void interrupt_from(unsigned int first)
{
	for (unsigned int i = first; i < THREADS; i++)
		pthread_kill(threads[i], SIGUSR1);
}

/* Do all threads end, interrupted now and then? */
static bool join_all(void)
{
	for (unsigned int i = 0; i < THREADS; i++) {
		struct timespec limit;
		unsigned int tries = 0;

		do {
			if (tries++ == 600)
				return false;
			interrupt_from(i);
			clock_gettime(CLOCK_REALTIME, &limit);
			limit.tv_nsec += 100000000;
			if (limit.tv_nsec >= 1000000000) {
				limit.tv_sec++;
				limit.tv_nsec -= 1000000000;
			}
		} while (pthread_timedjoin_np(threads[i], NULL, &limit));
	}
	return true;
}

/* storm SECONDS [UNBINDS]: so often the device is taken from the driver and given back. */
TEST(storm, "storm")
{
	double duration = argument_count ? atof(arguments[0]) : 5;
	unsigned int unbinds = argument_count > 1 ? atoi(arguments[1]) : 0;
	struct sigaction fault = { .sa_handler = on_fault, .sa_flags = SA_NODEFER };
	struct sigaction interrupt = { .sa_handler = on_interrupt };
	char device[256];

	find_device(device, sizeof(device));
	sigaction(SIGSEGV, &fault, NULL);
	sigaction(SIGBUS, &fault, NULL);
	sigaction(SIGUSR1, &interrupt, NULL);
	areas = mmap(NULL, AREAS * AREA_PAGES * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
		     -1, 0);
	frames = mmap(NULL, 2 * FRAME, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (areas == MAP_FAILED || frames == MAP_FAILED)
		fatal("storm", "mmap: %s", strerror(errno));
	for (unsigned int i = 0; i < SLOTS; i++)
		nodes[i] = dmabufs[i] = -1;
	for (unsigned long i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, storm, (void *)(i + 1));
	for (unsigned int i = 0; i <= unbinds; i++) {
		double end = seconds() + duration / (unbinds + 1);

		while (seconds() < end) {
			usleep(50000);
			pthread_kill(threads[pick(THREADS)], SIGUSR1);
		}
		if (i == unbinds)
			break;
		write_to(DRIVER "unbind", device);
		usleep(50000);
		write_to(DRIVER "bind", device);
	}
	over = true;
	check(join_all(), "all threads of the storm end", "not within a minute");
	printf("# storm: %lu opened, %lu queued, %lu dequeued, %lu mapped, %lu exported\n", opened,
	       queued, dequeued, mapped, exported);
	check(opened && queued && dequeued && mapped && exported,
	      "the storm opens, queues, dequeues, maps, exports", "one of them never");
	for (unsigned int i = 0; i < SLOTS; i++) {
		replace(&nodes[i], -1);
		replace(&dmabufs[i], -1);
	}
}
