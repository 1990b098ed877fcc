// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/*
 * bench KEY=VALUE...: streams, counts, and adds a line of JSON for each window to /out/bench.jsonl
 * (alone=1: prints it). There is a short and a long window: what is more in the long one is steady
 * state, without the beginning and the end of a stream.
 */
#include "bench.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void fatal(const char *name, const char *why, ...)
{
	va_list args;

	fprintf(stderr, "bench: %s: ", name);
	va_start(args, why);
	vfprintf(stderr, why, args);
	va_end(args);
	fputc('\n', stderr);
	exit(1);
}

static uint64_t cpu_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
	return time.tv_sec * 1000000000ull + time.tv_nsec;
}

static void window(struct session *sessions, const struct options *options, const char *name,
		   unsigned int frames)
{
	struct counters before, after;
	uint64_t bytes = 0, cpu;
	FILE *file;

	for (unsigned int i = 0; i < options->sessions; i++)
		bytes -= sessions[i].coded_bytes;
	counters_read(&before, sessions[0].node.fd);
	cpu = cpu_ns();
	sessions_stream(sessions, options, frames);
	cpu = cpu_ns() - cpu;
	counters_read(&after, sessions[0].node.fd);
	for (unsigned int i = 0; i < options->sessions; i++)
		bytes += sessions[i].coded_bytes;
	file = options->alone ? stdout : fopen("/out/bench.jsonl", "a");
	if (!file)
		fatal("/out/bench.jsonl", "%s", strerror(errno));
	fprintf(file,
		"{\"label\":\"%s\",\"window\":\"%s\",\"memory\":\"%s\",\"width\":%u,\"height\":%u,"
		"\"depth\":%u,\"sessions\":%u,\"frames\":%u,\"coded_bytes\":%llu",
		options->label, name, options->memory, options->width, options->height,
		options->depth, options->sessions, frames * options->sessions,
		(unsigned long long)bytes);
	/* Of this program: what it costs on its own. The daemon is the host's to count. */
	if (options->alone)
		fprintf(file, ",\"cpu_ns\":%llu", (unsigned long long)cpu);
	counters_print(file, &before, &after);
	/* Of one session: from frame to frame, so that neither end of the window counts. */
	fprintf(file, ",\"steady_frames\":%u,\"steady_seconds\":%.6f}\n", frames - FRAMES,
		sessions[0].end - sessions[0].steady);
	if (fclose(file))
		fatal("/out/bench.jsonl", "%s", strerror(errno));
}

static void counted_window(struct session *sessions, const struct options *options,
			   const char *name, unsigned int frames)
{
	char what[64];

	if (options->trace)
		host_ask("count", options->label);
	window(sessions, options, name, frames);
	snprintf(what, sizeof(what), "counted-%s", name);
	if (options->trace)
		host_ask(what, options->label);
}

static void number(unsigned int *to, const char *value, unsigned int min, unsigned int max)
{
	*to = strtoul(value, NULL, 10);
	if (*to < min || *to > max) {
		fprintf(stderr, "bench: %s is not in %u..%u\n", value, min, max);
		exit(2);
	}
}

static void parse(struct options *options, const char *argument)
{
	const char *value = strchr(argument, '=');
	size_t length = value ? (size_t)(value - argument) : strlen(argument);
#define IS(name) (value && length == strlen(name) && !strncmp(argument, name, length))

	value += !!value;
	if (IS("device"))
		options->device = value;
	else if (IS("label"))
		options->label = value;
	else if (IS("source"))
		options->source = value;
	else if (IS("coded") && strlen(value) == 4)
		options->coded = value;
	else if (IS("alone"))
		options->alone = *value == '1';
	else if (IS("memory"))
		options->memory = value;
	else if (IS("size") && sscanf(value, "%ux%u", &options->width, &options->height) == 2)
		return;
	else if (IS("depth"))
		number(&options->depth, value, 1, FRAMES);
	else if (IS("sessions"))
		number(&options->sessions, value, 1, MAX_SESSIONS);
	else if (IS("warmup"))
		number(&options->warmup, value, FRAMES + 1, 100000);
	else if (IS("short"))
		number(&options->brief, value, FRAMES + 1, 100000);
	else if (IS("frames"))
		number(&options->frames, value, FRAMES + 1, 100000);
	else if (IS("trace"))
		options->trace = *value == '1';
	else if (IS("host"))
		options->host = *value;
	else {
		fprintf(stderr,
			"bench: what is \"%s\"? known: label source memory=mmap|userptr|dmabuf "
			"size=WxH depth coded sessions warmup short frames trace=1 "
			"host=before|after alone=1 device\n",
			argument);
		exit(2);
	}
#undef IS
}

int main(int argc, char **argv)
{
	static struct session sessions[MAX_SESSIONS];
	struct options options = {
		.device = "/dev/video0", .label = "bench", .memory = "mmap",
		.width = 640, .height = 360, .coded = "H264", .depth = 4, .sessions = 1,
		.warmup = 20, .brief = 40, .frames = 100,
	};

	for (int i = 1; i < argc; i++)
		parse(&options, argv[i]);
	if (options.alone) {
		session_start(sessions, &options);
		sessions_stream(sessions, &options, options.warmup);
		window(sessions, &options, "long", options.frames);
		node_close(&sessions->node);
		return 0;
	}
	if (options.host == 'b')
		host_ask("host-only", options.label);
	for (unsigned int i = 0; i < options.sessions; i++)
		session_start(&sessions[i], &options);
	host_ask("streaming", options.label);
	sessions_stream(sessions, &options, options.warmup);
	host_ask("stats-0", options.label);
	counted_window(sessions, &options, "short", options.brief);
	host_ask("stats-1", options.label);
	counted_window(sessions, &options, "long", options.frames);
	host_ask("stats-2", options.label);
	if (options.trace) {
		host_ask("trace", options.label);
		window(sessions, &options, "traced", options.frames);
		host_ask("traced", options.label);
	}
	for (unsigned int i = 0; i < options.sessions; i++)
		node_close(&sessions[i].node);
	if (options.host == 'a')
		host_ask("host-only", options.label);
	return 0;
}
