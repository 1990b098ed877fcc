// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/*
 * Each allocation of a call fails once (/proc/thread-self/fail-nth, a kernel with FAULT_INJECTION):
 * the call fails cleanly, the same call then succeeds, and neither driver nor device keeps anything
 * of the failed one.
 */
#include "tests.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

/* More than any call allocates. */
#define MOST 400
/* More than the device has sessions. */
#define MOST_SESSIONS 1000

/* What a call works on: a node of its own for each try, and what the call made. */
struct subject {
	struct node node;
	const struct memory_kind *memory;
	int fd;
	void *area;
};

static int fail_nth, zero;

/* What is left of the last one may hit this call. */
static void set_fault(unsigned int nth)
{
	char text[16];
	int length = snprintf(text, sizeof(text), "%u", nth);

	for (int tries = 0; pwrite(fail_nth, text, length, 0) != length; tries++)
		if (errno != EFAULT || tries == 10)
			fatal("fail-nth", "%s", strerror(errno));
}

/* Is the fault still to come? It may be this call that it hits. */
static bool fault_left(void)
{
	char text[16] = "";

	return pread(fail_nth, text, sizeof(text) - 1, 0) < 0 || atoi(text) > 0;
}

static void begin_nothing(struct subject *subject)
{
	subject->node.fd = -1;
}

static void begin_open(struct subject *subject)
{
	node_open(&subject->node, device_path, ENCODER);
}

static void begin_buffers(struct subject *subject)
{
	encoder_open_memory(&subject->node, 320, 240, 2, subject->memory, 2, &memory_mmap);
}

/* Half of what makes an encoder start, which takes its time. */
static void begin_output(struct subject *subject)
{
	begin_buffers(subject);
	node_stream(&subject->node, OUTPUT, true);
}

static void begin_streaming(struct subject *subject)
{
	begin_output(subject);
	node_queue_all_capture(&subject->node);
	node_stream(&subject->node, CAPTURE, true);
}

static void begin_frame(struct subject *subject)
{
	struct pollfd wait = { .events = POLLIN };

	begin_streaming(subject);
	queue_frame(&subject->node, 0, NULL, false);
	wait.fd = subject->node.fd;
	if (poll(&wait, 1, 60000) != 1)
		fatal("fail", "no frame within a minute");
}

static int run_ioctl(struct subject *subject, unsigned long code, void *arg)
{
	return ioctl(subject->node.fd, code, arg) ? errno : 0;
}

static int run_open(struct subject *subject)
{
	subject->node.fd = open(device_path, O_RDWR | O_NONBLOCK);
	return subject->node.fd < 0 ? errno : 0;
}

static int run_close(struct subject *subject)
{
	close(subject->node.fd);
	subject->node.fd = -1;
	return 0;
}

static int run_s_fmt(struct subject *subject)
{
	struct v4l2_format format = { .type = OUTPUT };

	format.fmt.pix_mp.width = 320;
	format.fmt.pix_mp.height = 240;
	format.fmt.pix_mp.pixelformat = V4L2_PIX_FMT_NV12;
	return run_ioctl(subject, VIDIOC_S_FMT, &format);
}

static int run_s_ext_ctrls(struct subject *subject)
{
	struct v4l2_ext_control control = { .id = V4L2_CID_MPEG_VIDEO_GOP_SIZE, .value = 10 };
	struct v4l2_ext_controls controls = { .count = 1, .controls = &control };

	return run_ioctl(subject, VIDIOC_S_EXT_CTRLS, &controls);
}

static int run_subscribe(struct subject *subject)
{
	struct v4l2_event_subscription subscription = { .type = V4L2_EVENT_EOS };

	return run_ioctl(subject, VIDIOC_SUBSCRIBE_EVENT, &subscription);
}

static int request(struct subject *subject, unsigned int count)
{
	struct v4l2_requestbuffers request = {
		.count = count, .type = OUTPUT, .memory = subject->memory->memory,
	};

	return run_ioctl(subject, VIDIOC_REQBUFS, &request);
}

static int run_reqbufs(struct subject *subject)
{
	return request(subject, 4);
}

static int run_free_bufs(struct subject *subject)
{
	return request(subject, 0);
}

static int run_create_bufs(struct subject *subject)
{
	struct v4l2_create_buffers create = {
		.count = 2, .memory = subject->memory->memory, .format.type = OUTPUT,
	};
	int err = run_ioctl(subject, VIDIOC_G_FMT, &create.format);

	return err ? err : run_ioctl(subject, VIDIOC_CREATE_BUFS, &create);
}

static int run_buffer(struct subject *subject, unsigned long code)
{
	struct v4l2_plane plane;
	struct v4l2_buffer buffer = node_buffer(&subject->node.output, 0, &plane);

	plane.bytesused = subject->node.frame_size;
	return run_ioctl(subject, code, &buffer);
}

static int run_prepare(struct subject *subject)
{
	return run_buffer(subject, VIDIOC_PREPARE_BUF);
}

static int run_qbuf(struct subject *subject)
{
	return run_buffer(subject, VIDIOC_QBUF);
}

static int run_dqbuf(struct subject *subject)
{
	struct v4l2_plane plane;
	struct v4l2_buffer buffer = node_buffer(&subject->node.capture, 0, &plane);

	return run_ioctl(subject, VIDIOC_DQBUF, &buffer);
}

static int run_streamon(struct subject *subject)
{
	enum v4l2_buf_type type = OUTPUT;

	return run_ioctl(subject, VIDIOC_STREAMON, &type);
}

static int run_streamoff(struct subject *subject)
{
	enum v4l2_buf_type type = OUTPUT;

	return run_ioctl(subject, VIDIOC_STREAMOFF, &type);
}

static int run_expbuf(struct subject *subject)
{
	struct v4l2_exportbuffer export = { .type = OUTPUT, .flags = O_RDWR | O_CLOEXEC };
	int err = run_ioctl(subject, VIDIOC_EXPBUF, &export);

	if (!err)
		subject->fd = export.fd;
	return err;
}

static void begin_export(struct subject *subject)
{
	begin_buffers(subject);
	if (run_expbuf(subject))
		fatal("EXPBUF", "%s", strerror(errno));
}

/* Maps, and touches the page in a call, which fails where a program would die. */
static int map(struct subject *subject, int fd, off_t offset)
{
	int err = 0;

	subject->area = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, offset);
	if (subject->area == MAP_FAILED)
		return errno;
	if (read(zero, subject->area, 1) != 1)
		err = errno;
	if (err)
		munmap(subject->area, 4096);
	return err;
}

static int run_mmap(struct subject *subject)
{
	struct v4l2_plane plane;
	struct v4l2_buffer buffer = node_buffer(&subject->node.output, 0, &plane);
	int err = run_ioctl(subject, VIDIOC_QUERYBUF, &buffer);

	return err ? err : map(subject, subject->node.fd, plane.m.mem_offset);
}

static int run_mmap_export(struct subject *subject)
{
	return map(subject, subject->fd, 0);
}

static int run_poll(struct subject *subject)
{
	struct pollfd wait = { .fd = subject->node.fd, .events = POLLIN | POLLOUT | POLLPRI };

	return poll(&wait, 1, 0) < 0 ? errno : 0;
}

static const struct call {
	const char *name;
	/* Without faults: what the call needs. */
	void (*begin)(struct subject *subject);
	/* 0 or the errno. */
	int (*run)(struct subject *subject);
	/* NULL: MMAP. */
	const char *memory;
} calls[] = {
	{ "open", begin_nothing, run_open, NULL },
	{ "REQBUFS", begin_open, run_reqbufs, NULL },
	{ "QBUF", begin_output, run_qbuf, NULL },
	{ "QBUF by USERPTR", begin_output, run_qbuf, "userptr" },
	{ "QBUF by DMABUF", begin_output, run_qbuf, "heap" },
	{ "EXPBUF", begin_buffers, run_expbuf, NULL },
	{ "mmap", begin_buffers, run_mmap, NULL },
	{ "mmap of a dmabuf", begin_export, run_mmap_export, NULL },
	{ "close", begin_open, run_close, NULL },
	{ "close in mid-stream", begin_streaming, run_close, NULL },
	{ "S_FMT", begin_open, run_s_fmt, NULL },
	{ "S_EXT_CTRLS", begin_open, run_s_ext_ctrls, NULL },
	{ "SUBSCRIBE_EVENT", begin_open, run_subscribe, NULL },
	{ "poll", begin_output, run_poll, NULL },
	{ "REQBUFS by USERPTR", begin_open, run_reqbufs, "userptr" },
	{ "REQBUFS by DMABUF", begin_open, run_reqbufs, "heap" },
	{ "REQBUFS(0)", begin_buffers, run_free_bufs, NULL },
	{ "REQBUFS(0) by USERPTR", begin_buffers, run_free_bufs, "userptr" },
	{ "CREATE_BUFS", begin_buffers, run_create_bufs, NULL },
	{ "PREPARE_BUF by USERPTR", begin_buffers, run_prepare, "userptr" },
	{ "PREPARE_BUF by DMABUF", begin_buffers, run_prepare, "heap" },
	{ "DQBUF", begin_frame, run_dqbuf, NULL },
	{ "STREAMON", begin_buffers, run_streamon, NULL },
	{ "STREAMOFF", begin_streaming, run_streamoff, NULL },
	{ "STREAMOFF by USERPTR", begin_output, run_streamoff, "userptr" },
};

static void end(struct subject *subject)
{
	if (subject->area != MAP_FAILED)
		munmap(subject->area, 4096);
	if (subject->fd >= 0)
		close(subject->fd);
	node_close(&subject->node);
}

/* Its first failed allocation is the `nth`: returns whether there were so many. */
static bool fail(const struct call *call, unsigned int nth)
{
	struct subject subject = { .fd = -1, .area = MAP_FAILED };
	bool failed;
	int err, again = 0;

	subject.memory = call->memory ? memory_find(call->memory) : &memory_mmap;
	call->begin(&subject);
	set_fault(nth);
	err = call->run(&subject);
	failed = !fault_left();
	set_fault(0);
	/* Copies from and to the program fail, too; after one to it the call has been done. */
	if (err && (!failed || (err != ENOMEM && err != EFAULT)))
		fatal(call->name, "fault %u: %s", nth, strerror(err));
	if (err == ENOMEM)
		again = call->run(&subject);
	if (again)
		fatal(call->name, "after fault %u and %s: %s", nth, strerror(err), strerror(again));
	end(&subject);
	return failed;
}

/* How many may be open at once. */
static unsigned int sessions(void)
{
	static int fds[MOST_SESSIONS];
	unsigned int count = 0;

	while (count < MOST_SESSIONS) {
		fds[count] = open(device_path, O_RDWR);
		if (fds[count] < 0)
			break;
		count++;
	}
	for (unsigned int i = 0; i < count; i++)
		close(fds[i]);
	return count;
}

/* fail [CALL...]: without names all of them. */
TEST(fail, "fail")
{
	unsigned int before = sessions(), after, faults = 0;

	fail_nth = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	if (fail_nth < 0 || zero < 0)
		fatal("fail", "this kernel has no fault injection");
	for (unsigned int i = 0; i < sizeof(calls) / sizeof(*calls); i++) {
		unsigned int nth = 1;
		char name[96];

		while (nth < MOST && fail(&calls[i], nth))
			nth++;
		snprintf(name, sizeof(name), "%s: each of its %u faults is an error and no more",
			 calls[i].name, nth - 1);
		check(nth < MOST, name, "there is no end of them");
		faults += nth - 1;
	}
	check(faults > 0, "faults were injected", "none");
	after = sessions();
	check(after == before, "no session is left behind", "%u can be opened, %u before", after,
	      before);
}
