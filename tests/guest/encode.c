// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/* What an encoder promises beyond one clean run: drains, key frames, bitrate, timestamps. */
#include "tests.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

TEST(drains, "drains")
{
	static const unsigned int counts[] = { 1, 7, 2, 30, 3, 1, 16, 5, 4, 11 };
	struct node node;
	char name[64];

	encoder_start(&node);
	node_subscribe(&node, V4L2_EVENT_EOS);
	for (unsigned int i = 0, first = 0; i < 10; first += counts[i++]) {
		unsigned int frames = encode_frames(&node, first, counts[i], false, NULL, NULL);

		frames += drain(&node, NULL, NULL);
		node_take_events(&node);
		snprintf(name, sizeof(name), "drain %u of 10: %u frames, EOS, LAST", i + 1,
			 counts[i]);
		check(frames == counts[i] && node.last && node.eos, name,
		      "%u frames, EOS %d, LAST %d", frames, node.eos, node.last);
		struct frame coded;
		int err = next_coded(&node, &coded, 0);
		if (err != EPIPE)
			check(false, "DQBUF after LAST is EPIPE", "%s",
			      err ? strerror(err) : "a buffer");
		node_queue_all_capture(&node);
		encoder_command(&node, V4L2_ENC_CMD_START);
	}
	node_close(&node);
}

struct idrs {
	unsigned int frame, at, count;
	bool flags_agree;
};

static void note_idr(const struct frame *coded, void *context)
{
	struct idrs *idrs = context;
	bool idr = has_nal(coded->data, coded->bytes, 5);

	if (idr) {
		idrs->at = idrs->frame;
		idrs->count++;
	}
	if (idr != !!(coded->flags & V4L2_BUF_FLAG_KEYFRAME))
		idrs->flags_agree = false;
	idrs->frame++;
}

TEST(keyframe, "keyframe")
{
	struct idrs idrs = { .flags_agree = true };
	struct node node;

	encoder_open(&node, 320, 240, 4, 4);
	node_set_control(&node, V4L2_CID_MPEG_VIDEO_GOP_SIZE, 1000);
	node_start(&node);
	encode_frames(&node, 0, 17, false, note_idr, &idrs);
	node_set_control(&node, V4L2_CID_MPEG_VIDEO_FORCE_KEY_FRAME, 1);
	encode_frames(&node, 17, 23, false, note_idr, &idrs);
	drain(&node, note_idr, &idrs);
	check(idrs.frame == 40, "forced key frame: no frame lost", "%u of 40", idrs.frame);
	check(idrs.count == 2 && idrs.at == 17, "forced key frame: the IDR is frame 17",
	      "%u IDR frames, the last is frame %u", idrs.count, idrs.at);
	check(idrs.flags_agree, "KEYFRAME is set on IDR frames and on no other", "it is not");
	node_close(&node);
}

static void add_bytes(const struct frame *coded, void *context)
{
	*(unsigned long *)context += coded->bytes;
}

TEST(bitrate, "bitrate")
{
	const int rates[] = { 2000000, 8000000, 1000000 };
	struct v4l2_streamparm parm = { .type = OUTPUT };
	struct node node;
	char name[64];

	encoder_open(&node, 320, 240, 4, 4);
	parm.parm.output.timeperframe.numerator = 1;
	parm.parm.output.timeperframe.denominator = 25;
	expect(node.fd, VIDIOC_S_PARM, &parm, 0, "S_PARM with buffers allocated");
	node_set_control(&node, V4L2_CID_MPEG_VIDEO_BITRATE_MODE, V4L2_MPEG_VIDEO_BITRATE_MODE_CBR);
	node_set_control(&node, V4L2_CID_MPEG_VIDEO_BITRATE, rates[0]);
	node_start(&node);
	for (unsigned int i = 0, frame = 0; i < 3; i++) {
		unsigned long bytes = 0, settling = 0;

		if (i)
			node_set_control(&node, V4L2_CID_MPEG_VIDEO_BITRATE, rates[i]);
		/* Rate control needs some frames to get there; then three seconds count. */
		encode_frames(&node, frame, 50, true, add_bytes, &settling);
		frame += 50;
		unsigned int measured = encode_frames(&node, frame, 75, true, add_bytes, &bytes);
		double rate = measured ? bytes * 8.0 * 25 / measured : 0;

		frame += 75;
		snprintf(name, sizeof(name), "bitrate %d kbit/s %s", rates[i] / 1000,
			 i ? "set in mid-stream" : "");
		check(rate > rates[i] * 0.7 && rate < rates[i] * 1.3, name, "measured %.0f kbit/s",
		      rate / 1000);
	}
	drain(&node, NULL, NULL);
	node_close(&node);
}

struct stamps {
	struct timeval sent[64];
	unsigned int next, wrong;
	bool flags, sequence, timecode;
};

static void compare_stamp(const struct frame *coded, void *context)
{
	struct stamps *stamps = context;
	unsigned int i = stamps->next++;

	if (i >= 64 || memcmp(&coded->timestamp, &stamps->sent[i], sizeof(coded->timestamp)))
		stamps->wrong++;
	if ((coded->flags & V4L2_BUF_FLAG_TIMESTAMP_MASK) != V4L2_BUF_FLAG_TIMESTAMP_COPY)
		stamps->flags = false;
	if (coded->sequence != i)
		stamps->sequence = false;
	if (!(coded->flags & V4L2_BUF_FLAG_TIMECODE) || coded->timecode.frames != i % 25 ||
	    coded->timecode.seconds != i / 25)
		stamps->timecode = false;
}

/* Timestamps are labels: far apart, repeated or going back, they come back as they went. */
TEST(timestamps, "timestamps")
{
	struct stamps stamps = { .flags = true, .sequence = true, .timecode = true };
	struct node node;

	srand(4);
	encoder_start(&node);
	for (unsigned int i = 0; i < 64; i++) {
		stamps.sent[i].tv_sec = i % 7 ? rand() : (int)i;
		stamps.sent[i].tv_usec = i % 5 ? rand() % 1000000 : 0;
		queue_frame(&node, i, &stamps.sent[i], false);
		take_coded(&node, 0, compare_stamp, &stamps);
	}
	drain(&node, compare_stamp, &stamps);
	check(stamps.next == 64, "timestamps: no frame lost", "%u of 64", stamps.next);
	check(!stamps.wrong, "timestamps come back as sent", "%u differ", stamps.wrong);
	check(stamps.flags, "TIMESTAMP_COPY on every buffer", "not on all");
	check(stamps.sequence, "sequence counts from 0", "it does not");
	check(stamps.timecode, "TIMECODE comes back", "it does not");
	node_close(&node);
}

/* A client that sits on all its CAPTURE buffers for a while gets every frame once it goes on. */
TEST(slow_consumer, "slow-consumer")
{
	struct frame coded;
	struct node node;
	unsigned int frames = 0, held, sent;

	encoder_start(&node);
	held = node.capture.count;
	for (sent = 0; sent < held + 4; sent++) {
		queue_frame(&node, sent, NULL, false);
		if (frames < held && !next_coded(&node, &coded, 10000))
			frames++;
	}
	int err = next_coded(&node, &coded, 500);
	check(frames == held && err == ETIME, "no CAPTURE buffer queued: nothing is dequeued",
	      "%u of %u, %s", frames, held, err ? strerror(err) : "a buffer");
	node_queue_all_capture(&node);
	frames += take_coded(&node, 1000, NULL, NULL);
	frames += drain(&node, NULL, NULL);
	check(frames == sent && node.last, "slow consumer gets all frames", "%u of %u, LAST %d",
	      frames, sent, node.last);
	node_close(&node);
}

/* STREAMOFF/STREAMON over and over, with frames inside; then a whole run must still be whole. */
TEST(restart, "restart")
{
	struct node node;
	unsigned int frames;

	encoder_start(&node);
	node_subscribe(&node, V4L2_EVENT_EOS);
	for (unsigned int i = 0; i < 10; i++) {
		for (unsigned int f = 0; f <= i % 4; f++)
			queue_frame(&node, f, NULL, false);
		if (i % 3 == 2)
			encoder_command(&node, V4L2_ENC_CMD_STOP);
		node_stream(&node, i % 2 ? CAPTURE : OUTPUT, false);
		node_stream(&node, i % 2 ? OUTPUT : CAPTURE, false);
		node_take_events(&node);
		node_start(&node);
	}
	frames = encode_frames(&node, 0, 20, false, NULL, NULL);
	frames += drain(&node, NULL, NULL);
	check(frames == 20 && node.last, "whole after ten STREAMOFF with frames inside",
	      "%u of 20, LAST %d", frames, node.last);
	node_close(&node);
}

/* Encodes a rectangle of each frame to /out/crop.h264; what was in it is in /out/crop.nv12. */
TEST(crop, "crop")
{
	struct v4l2_selection crop = {
		.type = V4L2_BUF_TYPE_VIDEO_OUTPUT, .target = V4L2_SEL_TGT_CROP,
		.r = { .left = 64, .top = 34, .width = 160, .height = 128 },
	};
	const struct v4l2_rect wanted = crop.r;
	FILE *coded = fopen("/out/crop.h264", "wb"), *raw = fopen("/out/crop.nv12", "wb");
	struct node node;
	unsigned int frames = 0;

	encoder_open(&node, 320, 240, 4, 4);
	int err = node_ioctl(node.fd, VIDIOC_S_SELECTION, &crop);
	check(!err && !memcmp(&crop.r, &wanted, sizeof(wanted)), "S_SELECTION(CROP) is echoed",
	      "%s, %ux%u at %d,%d", strerror(err), crop.r.width, crop.r.height, crop.r.left,
	      crop.r.top);
	node_start(&node);
	for (unsigned int i = 0; i < 20; i++) {
		unsigned int index = queue_frame(&node, i, NULL, false);
		const uint8_t *luma = node.output.chunk[index].data, *chroma = luma + 320 * 240;

		for (int y = 0; y < 128; y++)
			fwrite(luma + (34 + y) * 320 + 64, 1, 160, raw);
		for (int y = 0; y < 64; y++)
			fwrite(chroma + (17 + y) * 320 + 64, 1, 160, raw);
		frames += take_coded(&node, 0, save_coded, coded);
	}
	frames += drain(&node, save_coded, coded);
	check(frames == 20, "crop: no frame lost", "%u of 20", frames);
	fclose(coded);
	fclose(raw);
	node_close(&node);
}
