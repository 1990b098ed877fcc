// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/* What the node says of itself, as text: 32-bit programs must be told what 64-bit ones are told. */
#include "tests.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

static void describe_control(int fd, const struct v4l2_query_ext_ctrl *query)
{
	struct v4l2_ext_control control = { .id = query->id };
	struct v4l2_ext_controls controls = {
		.which = V4L2_CTRL_WHICH_DEF_VAL, .count = 1, .controls = &control,
	};
	int err = node_ioctl(fd, VIDIOC_G_EXT_CTRLS, &controls);

	printf("control %x \"%s\" type %u %" PRId64 " to %" PRId64 " step %" PRIu64
	       " default %" PRId64 " flags %x: %d %d\n",
	       query->id, query->name, query->type, (int64_t)query->minimum,
	       (int64_t)query->maximum, (uint64_t)query->step, (int64_t)query->default_value,
	       query->flags, err, err ? 0 : control.value);
	if (query->type != V4L2_CTRL_TYPE_MENU)
		return;
	for (int64_t i = query->minimum; i <= query->maximum; i++) {
		struct v4l2_querymenu menu = { .id = query->id, .index = i };

		if (!node_ioctl(fd, VIDIOC_QUERYMENU, &menu))
			printf("  %" PRId64 " \"%s\"\n", i, menu.name);
	}
}

static void describe_format(int fd, enum v4l2_buf_type type, const struct v4l2_fmtdesc *description)
{
	struct v4l2_frmsizeenum size = { .pixel_format = description->pixelformat };
	struct v4l2_format format = { .type = type };

	format.fmt.pix_mp.pixelformat = description->pixelformat;
	format.fmt.pix_mp.width = 640;
	format.fmt.pix_mp.height = 360;
	printf("format %x of type %u \"%s\" flags %x", description->pixelformat, type,
	       description->description, description->flags);
	if (!node_ioctl(fd, VIDIOC_ENUM_FRAMESIZES, &size))
		printf(" %u to %u step %u", size.stepwise.min_width, size.stepwise.max_width,
		       size.stepwise.step_width);
	if (!node_ioctl(fd, VIDIOC_TRY_FMT, &format))
		for (unsigned int i = 0; i < format.fmt.pix_mp.num_planes; i++)
			printf(" plane of %u, %u", format.fmt.pix_mp.plane_fmt[i].bytesperline,
			       format.fmt.pix_mp.plane_fmt[i].sizeimage);
	printf("\n");
}

/* Each change of a control, and what its event says. */
static void describe_event(int fd)
{
	struct v4l2_event_subscription subscription = {
		.type = V4L2_EVENT_CTRL, .id = V4L2_CID_MPEG_VIDEO_GOP_SIZE,
		.flags = V4L2_EVENT_SUB_FL_SEND_INITIAL,
	};
	struct v4l2_event event;

	expect(fd, VIDIOC_SUBSCRIBE_EVENT, &subscription, 0, "SUBSCRIBE_EVENT");
	for (int tries = 0; tries < 100 && node_ioctl(fd, VIDIOC_DQEVENT, &event); tries++) {
		event.type = 0;
		usleep(20000);
	}
	check(event.type == V4L2_EVENT_CTRL && event.timestamp.tv_sec + event.timestamp.tv_nsec,
	      "an event with a time", "-");
	printf("event type %u id %x pending %u sequence %u: changes %x type %u value %d flags %x "
	       "%d to %d\n",
	       event.type, event.id, event.pending, event.sequence, event.u.ctrl.changes,
	       event.u.ctrl.type, event.u.ctrl.value, event.u.ctrl.flags, event.u.ctrl.minimum,
	       event.u.ctrl.maximum);
}

TEST(describe, "describe")
{
	static const enum v4l2_buf_type types[] = { OUTPUT, CAPTURE };
	struct v4l2_query_ext_ctrl query = { .id = V4L2_CTRL_FLAG_NEXT_CTRL };
	struct v4l2_capability capability;
	struct node node;

	node_open(&node, device_path, ENCODER);
	expect(node.fd, VIDIOC_QUERYCAP, &capability, 0, "QUERYCAP");
	printf("driver \"%s\" card \"%s\" bus \"%s\" %x %x\n", capability.driver, capability.card,
	       capability.bus_info, capability.capabilities, capability.device_caps);
	for (unsigned int i = 0; i < 2; i++) {
		struct v4l2_fmtdesc description = { .type = types[i] };
		struct v4l2_selection selection = { .type = types[i], .target = V4L2_SEL_TGT_CROP };
		struct v4l2_streamparm parameters = { .type = types[i] };
		int err;

		for (; !node_ioctl(node.fd, VIDIOC_ENUM_FMT, &description); description.index++)
			describe_format(node.fd, types[i], &description);
		err = node_ioctl(node.fd, VIDIOC_G_SELECTION, &selection);
		printf("selection %d: %u x %u\n", err, selection.r.width, selection.r.height);
		err = node_ioctl(node.fd, VIDIOC_G_PARM, &parameters);
		printf("parameters %d: %u / %u\n", err,
		       parameters.parm.output.timeperframe.numerator,
		       parameters.parm.output.timeperframe.denominator);
	}
	while (!node_ioctl(node.fd, VIDIOC_QUERY_EXT_CTRL, &query)) {
		describe_control(node.fd, &query);
		query.id |= V4L2_CTRL_FLAG_NEXT_CTRL;
	}
	describe_event(node.fd);
	node_close(&node);
}
