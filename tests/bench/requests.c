// SPDX-License-Identifier: GPL-2.0
/*
 * The cost of requests: SUBMIT, WAIT and CANCEL per request, for several sizes of batches and numbers of buffers and contexts; the same as commands
 * of io_uring; the interrupt; the gap between two transfers; and the number of transfers per second.
 *
 * In a guest with --icount, nanoseconds are instructions. requests [--json FILE]
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <getopt.h>
#include <rdma.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "uring.h"

#define DEPTH RDMA_QUEUE_DEPTH
#define PAGE 4096
#define TRACING "/sys/kernel/tracing/"

enum { RING = 64, MANY_BUFFERS = 10000, MANY_CONTEXTS = 1000, ROUNDS = 15, TRANSFERS = 100 };

static FILE *json;
static struct rdma_request requests[DEPTH];
static struct rdma_completion completions[DEPTH];

static int64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static int compare(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

/* The median, to exclude timer interrupts. */
static int64_t median(int64_t *values, int count)
{
	qsort(values, count, sizeof(*values), compare);
	return values[count / 2];
}

static int open_context(void)
{
	int fd = open("/dev/rdma0", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		err(1, "/dev/rdma0");
	return fd;
}

/* What ALLOC gives to the first buffer of every context. */
#define FIRST_HANDLE (RDMA_FIRST_BUFFER + 1)

static struct rdma_alloc allocate(int fd)
{
	struct rdma_alloc alloc = { .size = PAGE };

	if (ioctl(fd, RDMA_IOC_ALLOC, &alloc))
		err(1, "ALLOC");
	return alloc;
}

static void submit(int fd, int count)
{
	struct rdma_submit argument = {
		.requests = (uintptr_t)requests,
		.count = count,
		.request_size = sizeof(*requests),
	};

	if (ioctl(fd, RDMA_IOC_SUBMIT, &argument) != count)
		err(1, "SUBMIT of %d", count);
}

static void collect(int fd, int count)
{
	struct rdma_wait argument = {
		.completions = (uintptr_t)completions,
		.min = count,
		.max = count,
		.completion_size = sizeof(*completions),
		.deadline_ns = RDMA_WAIT_FOREVER,
	};

	if (ioctl(fd, RDMA_IOC_WAIT, &argument) != count)
		err(1, "WAIT for %d", count);
}

static int cancel(int fd)
{
	struct rdma_cancel argument = { .flags = RDMA_CANCEL_ALL };
	int count = ioctl(fd, RDMA_IOC_CANCEL, &argument);

	if (count < 0)
		err(1, "CANCEL");
	return count;
}

/* --- The calls. */

/*
 * A context with this many buffers, among this many contexts. Another one keeps the engine busy, so that the measured requests do not
 * start, and are cancelled and collected.
 */
static void calls(int busy, int fd, const uint32_t *handles, int buffers, int contexts)
{
	static const int batches[] = { 1, 8, 64, DEPTH };

	for (size_t i = 0; i < sizeof(batches) / sizeof(*batches); i++) {
		int batch = batches[i];
		int64_t submits[ROUNDS], cancels[ROUNDS], waits[ROUNDS];

		for (int round = 0; round < ROUNDS; round++) {
			int64_t times[4];

			requests[0] = (struct rdma_request){ .operation = RDMA_OP_TO_DEVICE, .source = FIRST_HANDLE, .length = 1 };
			submit(busy, 1);
			/* Buffers from all parts of the table. */
			for (int j = 0; j < batch; j++)
				requests[j] = (struct rdma_request){
					.operation = RDMA_OP_TO_DEVICE,
					.source = handles[(round * 31 + j * 4241) % buffers],
					.length = 64,
					.cookie = j,
				};
			times[0] = now();
			submit(fd, batch);
			times[1] = now();
			if (cancel(fd) != batch)
				errx(1, "the engine was not busy");
			times[2] = now();
			collect(fd, batch);
			times[3] = now();
			submits[round] = times[1] - times[0];
			cancels[round] = times[2] - times[1];
			waits[round] = times[3] - times[2];
			collect(busy, 1);
		}
		printf("%8d %8d %8d %10ld %10ld %10ld\n", buffers, contexts, batch, (long)(median(submits, ROUNDS) / batch),
		       (long)(median(waits, ROUNDS) / batch), (long)(median(cancels, ROUNDS) / batch));
		if (json)
			fprintf(json,
				"{\"requests\": \"calls\", \"buffers\": %d, \"contexts\": %d, \"batch\": %d, \"submit_ns\": %ld, "
				"\"wait_ns\": %ld, \"cancel_ns\": %ld}\n",
				buffers, contexts, batch, (long)(median(submits, ROUNDS) / batch),
				(long)(median(waits, ROUNDS) / batch), (long)(median(cancels, ROUNDS) / batch));
	}
}

/* --- The interrupt. */

/*
 * Entries of io_uring: those that do nothing; commands that the driver refuses; and commands of TRANSFER, which wait for the busy engine, and are
 * cancelled.
 */
enum { NOP, REFUSED, TRANSFER, ENTRIES };

static void fill_ring(struct uring *ring, int fd, int kind, const struct rdma_request *request)
{
	for (int i = 0; i < RING; i++) {
		if (kind == NOP)
			uring_next(ring)->opcode = IORING_OP_NOP;
		else
			uring_inline(ring, fd, kind == REFUSED ? RDMA_IOC_CANCEL : RDMA_IOC_TRANSFER, request, i);
	}
}

static void reap_ring(struct uring *ring)
{
	struct io_uring_cqe completion;

	for (int i = 0; i < RING; i++)
		if (!uring_take(ring, &completion))
			errx(1, "completion %d is missing", i);
}

static void commands(int busy, int fd, uint32_t handle)
{
	static const char *const names[] = { "NOP", "a command that is refused", "a command of TRANSFER" };
	const struct rdma_request request = { .operation = RDMA_OP_TO_DEVICE, .source = handle, .length = 8 };
	struct uring ring;

	if (uring_open(&ring, RING, IORING_SETUP_SQE128))
		errx(1, "io_uring_setup");
	printf("\nns of an entry of io_uring, in batches of %d\n%-28s %10s %10s %10s\n", RING, "", "submit", "CANCEL", "collect");
	for (int kind = NOP; kind < ENTRIES; kind++) {
		int64_t submits[ROUNDS], cancels[ROUNDS], collects[ROUNDS];

		for (int round = 0; round < ROUNDS; round++) {
			int64_t began;

			requests[0] = request;
			submit(busy, 1);
			fill_ring(&ring, fd, kind, &request);
			began = now();
			if (uring_submit(&ring, 0) != RING)
				errx(1, "io_uring_enter");
			submits[round] = now() - began;
			began = now();
			if (kind == TRANSFER && cancel(fd) != RING)
				errx(1, "CANCEL");
			cancels[round] = now() - began;
			began = now();
			if (kind == TRANSFER)
				uring_turn(&ring);
			reap_ring(&ring);
			collects[round] = now() - began;
			collect(busy, 1);
		}
		printf("%-28s %10ld %10ld %10ld\n", names[kind], (long)(median(submits, ROUNDS) / RING),
		       (long)(median(cancels, ROUNDS) / RING), (long)(median(collects, ROUNDS) / RING));
		if (json)
			fprintf(json, "{\"requests\": \"io_uring\", \"entry\": \"%s\", \"submit_ns\": %ld, \"cancel_ns\": %ld, \"collect_ns\": %ld}\n",
				names[kind], (long)(median(submits, ROUNDS) / RING), (long)(median(cancels, ROUNDS) / RING),
				(long)(median(collects, ROUNDS) / RING));
	}
	uring_close(&ring);
}

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		err(1, "%s", path);
	close(fd);
}

/*
 * The total cost of an interrupt for a program that only computes: it reads the clock, and
 * the byte that the transfer writes.
 */
static int64_t interruption(int fd, const struct rdma_alloc *alloc, int count)
{
	volatile unsigned char *bytes = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, alloc->mmap_offset);
	int64_t gaps[TRANSFERS], usual = INT64_MAX, before;
	unsigned char one = 1;

	if ((void *)bytes == MAP_FAILED || pwrite(fd, &one, 1, 0) != 1)
		err(1, "a byte in the device");
	memset((void *)bytes, 0, PAGE);
	for (int i = 0; i < count; i++)
		requests[i] = (struct rdma_request){
			.operation = RDMA_OP_FROM_DEVICE,
			.destination = alloc->handle,
			.destination_offset = i,
			.length = 1,
		};
	submit(fd, count);
	before = now();
	for (int i = 0; i < count;) {
		int64_t after = now(), gap = after - before;
		bool arrived = bytes[i];

		before = after;
		if (!arrived) {
			usual = gap < usual ? gap : usual;
			continue;
		}
		/* The byte arrives just before the interrupt, which may come after the clock was read. */
		if (gap <= 2 * usual)
			continue;
		gaps[i++] = gap - usual;
	}
	collect(fd, count);
	munmap((void *)bytes, PAGE);
	return median(gaps, count);
}

/* From a trace. Its clock is the TSC, which counts nanoseconds under --icount, as the others do. */
struct marks {
	int64_t gaps[TRANSFERS], whole[TRANSFERS];
	int started, ended;
};

static void read_trace(struct marks *marks)
{
	char line[512];
	int64_t entry = 0;
	FILE *trace = fopen(TRACING "trace", "re");

	*marks = (struct marks){ 0 };
	if (!trace)
		err(1, TRACING "trace");
	while (fgets(line, sizeof(line), trace)) {
		char *colon = strstr(line, ": "), *event = colon ? colon + 2 : NULL, *number = colon;
		int64_t time;

		if (line[0] == '#' || !colon)
			continue;
		while (number > line && number[-1] != ' ')
			number--;
		time = atoll(number);
		if (!strncmp(event, "irq_handler_entry", 17)) {
			entry = strstr(event, "name=rdma") ? time : 0;
		} else if (!strncmp(event, "rdma_start", 10)) {
			if (entry && marks->started < TRANSFERS)
				marks->gaps[marks->started++] = time - entry;
		} else if (!strncmp(event, "irq_handler_exit", 16)) {
			if (entry && marks->ended < TRANSFERS)
				marks->whole[marks->ended++] = time - entry;
			entry = 0;
		}
	}
	fclose(trace);
}

static void show_interrupts(int contexts, int64_t off, int64_t on, struct marks *marks)
{
	int64_t whole, gap, most;

	if (marks->started < TRANSFERS / 2 || marks->ended < TRANSFERS / 2)
		errx(1, "only %d starts and %d interrupts in the trace", marks->started, marks->ended);
	whole = median(marks->whole, marks->ended);
	gap = median(marks->gaps, marks->started);
	most = marks->gaps[marks->started - 1];
	printf("%8d ", contexts);
	if (off < 0)
		printf("%12s %12s", "-", "-");
	else
		printf("%12ld %12ld", (long)off, (long)on);
	printf(" %12ld %12ld %12ld\n", (long)whole, (long)gap, (long)most);
	if (!json)
		return;
	fprintf(json, "{\"requests\": \"interrupt\", \"contexts\": %d, ", contexts);
	if (off >= 0)
		fprintf(json, "\"untraced_ns\": %ld, \"traced_ns\": %ld, ", (long)off, (long)on);
	fprintf(json, "\"handler_ns\": %ld, \"gap_ns\": %ld, \"gap_most_ns\": %ld}\n", (long)whole, (long)gap, (long)most);
}

static void traced(bool on)
{
	write_file(TRACING "events/rust_dma/enable", on ? "1" : "0");
	write_file(TRACING "events/irq/irq_handler_entry/enable", on ? "1" : "0");
	write_file(TRACING "events/irq/irq_handler_exit/enable", on ? "1" : "0");
}

/* With one active context. */
static void interrupts(int fd)
{
	struct rdma_alloc alloc = allocate(fd);
	struct marks marks;
	int64_t off, on;

	off = interruption(fd, &alloc, TRANSFERS);
	write_file(TRACING "trace", "");
	traced(true);
	on = interruption(fd, &alloc, TRANSFERS);
	traced(false);
	read_trace(&marks);
	show_interrupts(1, off, on, &marks);
}

/* With many active contexts, each of which has a turn now and then: the traces only. */
static void interrupts_of_many(const int *fds, int contexts)
{
	struct timespec time = { TRANSFERS / 10 + 1, 0 };
	struct marks marks;

	requests[0] = (struct rdma_request){ .operation = RDMA_OP_TO_DEVICE, .source = FIRST_HANDLE, .length = 1 };
	for (int i = 0; i < contexts; i++)
		submit(fds[i], 1);
	write_file(TRACING "trace", "");
	traced(true);
	nanosleep(&time, NULL);
	traced(false);
	read_trace(&marks);
	show_interrupts(contexts, -1, -1, &marks);
}

/* --- The device's limit. */

static void throughput(int fd, uint32_t handle)
{
	int64_t began, ended;
	double reached;

	for (int i = 0; i <= TRANSFERS; i++)
		requests[i] = (struct rdma_request){ .operation = RDMA_OP_TO_DEVICE, .source = handle, .length = PAGE };
	submit(fd, TRANSFERS + 1);
	collect(fd, 1);
	began = now();
	collect(fd, TRANSFERS);
	ended = now();
	reached = TRANSFERS * 1e9 / (ended - began);
	printf("%d queued transfers: %.4f per second\n", TRANSFERS, reached);
	if (json)
		fprintf(json, "{\"requests\": \"throughput\", \"transfers\": %d, \"per_second\": %.4f}\n", TRANSFERS, reached);
}

int main(int argc, char **argv)
{
	static const struct option options[] = { { "json", required_argument, NULL, 'j' }, {} };
	static uint32_t handles[MANY_BUFFERS];
	static int others[MANY_CONTEXTS];
	struct rlimit files = { 2 * MANY_CONTEXTS, 2 * MANY_CONTEXTS };
	int busy, fd;

	for (int option; (option = getopt_long(argc, argv, "", options, NULL)) >= 0;) {
		if (option != 'j')
			return 2;
		json = fopen(optarg, "we");
		if (!json)
			err(1, "%s", optarg);
	}
	if (setrlimit(RLIMIT_NOFILE, &files))
		err(1, "RLIMIT_NOFILE");
	busy = open_context();
	fd = open_context();
	allocate(busy);
	handles[0] = allocate(fd).handle;

	throughput(fd, handles[0]);

	printf("\nns of a request\n%8s %8s %8s %10s %10s %10s\n", "buffers", "contexts", "batch", "SUBMIT", "WAIT", "CANCEL");
	calls(busy, fd, handles, 1, 2);
	commands(busy, fd, handles[0]);
	printf("\nns of a request, continued\n");
	for (int i = 1; i < MANY_BUFFERS; i++)
		handles[i] = allocate(fd).handle;
	calls(busy, fd, handles, MANY_BUFFERS, 2);
	for (int i = 0; i < MANY_CONTEXTS - 2; i++) {
		others[i] = open_context();
		allocate(others[i]);
	}
	calls(busy, fd, handles, MANY_BUFFERS, MANY_CONTEXTS);

	printf("\nns of an interrupt that starts the next transfer: what a program loses by it, with tracepoints off and on; and in the trace,\n"
	       "from the entry of the handler to its exit, and to the next transfer's start\n%8s %12s %12s %12s %12s %12s\n",
	       "contexts", "off", "on", "entry-exit", "entry-start", "at most");
	write_file(TRACING "trace_clock", "x86-tsc");
	interrupts(fd);
	interrupts_of_many(others, MANY_CONTEXTS - 2);
	return json && fclose(json);
}
