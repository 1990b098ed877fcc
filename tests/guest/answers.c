// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/*
 * What a device that lies in every byte may not change: what stands beside the program's arrays,
 * and what is not its to write.
 */
#include "tests.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define GUARD 0xa5
/* The most that V4L2 has room for in one ioctl, and then some. */
#define BEYOND (64 << 10)
#define ROUNDS 60

/* An array with memory on both sides that nobody may touch. */
struct guarded {
	uint8_t before[4096];
	uint8_t array[512];
	uint8_t after[BEYOND];
};

static struct guarded guarded;

static void guard(void)
{
	memset(&guarded, GUARD, sizeof(guarded));
	memset(guarded.array, 0, sizeof(guarded.array));
}

/* Whether all but the first `used` bytes of the array are as they were. */
static bool untouched(size_t used)
{
	const uint8_t *bytes = (const uint8_t *)&guarded;
	size_t from = offsetof(struct guarded, array), to = from + sizeof(guarded.array);

	for (size_t i = 0; i < sizeof(guarded); i++)
		if (!(i >= from && i < from + used) &&
		    bytes[i] != (i >= from && i < to ? 0 : GUARD))
			return false;
	return true;
}

/* A session: the device may refuse it now and then. */
static int open_node(void)
{
	for (int tries = 0; tries < 200; tries++) {
		int fd = open(device_path, O_RDWR);

		if (fd >= 0)
			return fd;
		usleep(10000);
	}
	fatal("the node opens", "not in 200 times");
}

static bool controls_hold(int fd, unsigned long code)
{
	struct v4l2_ext_control *control = (struct v4l2_ext_control *)guarded.array;
	struct v4l2_ext_controls controls = {
		.which = V4L2_CTRL_WHICH_CUR_VAL, .count = 2, .controls = control,
	};
	bool sized;

	guard();
	control[0].id = V4L2_CID_BRIGHTNESS;
	control[1].id = V4L2_CID_CONTRAST;
	/* Who is asked for values, and fails, may say how long they are. */
	sized = node_ioctl(fd, code, &controls) && code == VIDIOC_G_EXT_CTRLS;
	return controls.count == 2 && controls.controls == control &&
	       controls.which == V4L2_CTRL_WHICH_CUR_VAL && controls.error_idx <= 2 &&
	       !controls.request_fd && control[0].id == V4L2_CID_BRIGHTNESS &&
	       control[1].id == V4L2_CID_CONTRAST &&
	       (sized || (!control[0].size && !control[1].size)) && untouched(2 * sizeof(*control));
}

static bool edid_holds(int fd, unsigned long code)
{
	struct v4l2_edid edid = { .start_block = 1, .blocks = 2, .edid = guarded.array };

	guard();
	node_ioctl(fd, code, &edid);
	return edid.blocks <= 2 && edid.start_block == 1 && !edid.pad &&
	       edid.edid == guarded.array && untouched(256);
}

static bool planes_hold(int fd)
{
	struct v4l2_requestbuffers request = {
		.count = 2, .type = CAPTURE, .memory = V4L2_MEMORY_MMAP,
	};
	struct v4l2_buffer buffer = { .type = CAPTURE, .memory = V4L2_MEMORY_MMAP, .length = 4 };
	struct v4l2_plane *planes = (struct v4l2_plane *)guarded.array;

	if (!node_ioctl(fd, VIDIOC_REQBUFS, &request) && request.count)
		buffer.index = request.count - 1;
	guard();
	buffer.m.planes = planes;
	node_ioctl(fd, VIDIOC_QUERYBUF, &buffer);
	return request.type == CAPTURE && request.memory == V4L2_MEMORY_MMAP &&
	       buffer.type == CAPTURE && buffer.length <= 4 && buffer.m.planes == planes &&
	       untouched(4 * sizeof(*planes));
}

static bool format_holds(int fd, unsigned long code)
{
	struct v4l2_format format = { .type = CAPTURE };

	if (node_ioctl(fd, code, &format))
		return true;
	return format.type == CAPTURE && format.fmt.pix_mp.num_planes <= VIDEO_MAX_PLANES;
}

static bool ends(const uint8_t *text, size_t size)
{
	return memchr(text, 0, size);
}

static bool names_end(int fd)
{
	struct v4l2_query_ext_ctrl query = { .id = V4L2_CTRL_FLAG_NEXT_CTRL };
	struct v4l2_fmtdesc description = { .type = CAPTURE };
	struct v4l2_input input = { .index = 0 };
	struct v4l2_standard standard = { .index = 0 };

	node_ioctl(fd, VIDIOC_QUERY_EXT_CTRL, &query);
	node_ioctl(fd, VIDIOC_ENUM_FMT, &description);
	node_ioctl(fd, VIDIOC_ENUMINPUT, &input);
	node_ioctl(fd, VIDIOC_ENUMSTD, &standard);
	return ends((uint8_t *)query.name, sizeof(query.name)) &&
	       query.nr_of_dims <= V4L2_CTRL_MAX_DIMS &&
	       ends(description.description, sizeof(description.description)) &&
	       description.type == CAPTURE && ends(input.name, sizeof(input.name)) &&
	       !input.index && ends(standard.name, sizeof(standard.name)) && !standard.index;
}

TEST(answers, "answers")
{
	static const unsigned long control_codes[] = {
		VIDIOC_G_EXT_CTRLS, VIDIOC_S_EXT_CTRLS, VIDIOC_TRY_EXT_CTRLS,
	};
	unsigned int controls = 0, edids = 0, planes = 0, formats = 0, names = 0;
	int fd = open_node();

	for (unsigned int round = 0; round < ROUNDS; round++) {
		/* The device may have ended the session. */
		if (round % 10 == 9) {
			close(fd);
			fd = open_node();
		}
		for (unsigned int i = 0; i < 3; i++)
			controls += !controls_hold(fd, control_codes[i]);
		edids += !edid_holds(fd, VIDIOC_G_EDID);
		edids += !edid_holds(fd, VIDIOC_S_EDID);
		planes += !planes_hold(fd);
		formats += !format_holds(fd, VIDIOC_G_FMT);
		formats += !format_holds(fd, VIDIOC_TRY_FMT);
		names += !names_end(fd);
	}
	close(fd);
	check(!controls, "controls: only their values change", "%u of %u do not hold", controls,
	      3 * ROUNDS);
	check(!edids, "EDIDs: only the blocks that were asked for change", "%u of %u do not hold",
	      edids, 2 * ROUNDS);
	check(!planes, "buffers: what was asked for stays", "%u of %u do not hold", planes, ROUNDS);
	check(!formats, "formats: type and number of planes hold", "%u of %u do not hold", formats,
	      2 * ROUNDS);
	check(!names, "names end", "%u of %u do not hold", names, ROUNDS);
}
