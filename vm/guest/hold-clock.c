// SPDX-License-Identifier: GPL-2.0
/*
 * Holds the guest's virtual clock (vm/boot --icount) while the guest waits for the host.
 *
 * QEMU advances the clock of an idle CPU to the next timer at once. This is right for a guest that waits for a timer or for a device, and
 * wrong for one that waits for a file on the host: one timer after the other expires, and timeouts of minutes with them, in the millisecond that
 * the host takes to read. Therefore this process runs from each request of 9p or virtiofs to its answer, while nothing else does. It spins on PAUSE (YIELD on
 * arm64), which leaves the emulator each time: some microseconds of the host, and one instruction, a nanosecond, of the guest.
 */
#define _GNU_SOURCE // for SCHED_IDLE
#include <err.h>
#include <linux/perf_event.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define EVENTS "/sys/kernel/tracing/events/"
/* A request without an answer after this number of iterations, about 1 s of the host, counts as lost: its task was killed, or the host is very slow. */
#define LOST_TURNS 1000000L

/*
 * Counts the hits of a tracepoint on the guest's one CPU. With `page`, creates a ring buffer for its events, whose head advances with each hit;
 * otherwise, the events use the buffer of `share_with`.
 */
static int count_hits(const char *tracepoint_id, int share_with, volatile struct perf_event_mmap_page **page)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_TRACEPOINT,
		.size = sizeof(attr),
		.sample_period = 1,
		.wakeup_events = 1,
	};
	FILE *file = fopen(tracepoint_id, "re");
	unsigned long long id;
	int fd;

	if (!file || fscanf(file, "%llu", &id) != 1)
		err(1, "%s", tracepoint_id);
	fclose(file);
	attr.config = id;
	fd = syscall(SYS_perf_event_open, &attr, -1, 0, share_with, PERF_FLAG_FD_OUTPUT | PERF_FLAG_FD_CLOEXEC);
	if (fd < 0)
		err(1, "perf_event_open");
	if (page) {
		/* Read-only, so that new events overwrite the oldest: only their number matters. */
		*page = mmap(NULL, 2 * sysconf(_SC_PAGESIZE), PROT_READ, MAP_SHARED, fd, 0);
		if (*page == MAP_FAILED)
			err(1, "mmap");
	}
	return fd;
}

static int64_t hits(int fd)
{
	uint64_t count;

	if (read(fd, &count, sizeof(count)) != sizeof(count))
		err(1, "read");
	return count;
}

static void relax(void)
{
#ifdef __aarch64__
	asm volatile("yield" ::: "memory");
#else
	__builtin_ia32_pause();
#endif
}

/* Spins until the next request or answer; returns whether there was one. */
static int spin(volatile struct perf_event_mmap_page *page, uint64_t head)
{
	for (long turns = 0; page->data_head == head; turns++) {
		if (turns == LOST_TURNS)
			return 0;
		relax();
	}
	return 1;
}

int main(void)
{
	volatile struct perf_event_mmap_page *page;
	struct sched_param none = { 0 };
	int has_9p = access(EVENTS "9p", F_OK) == 0;
	int requests = count_hits(has_9p ? EVENTS "9p/9p_client_req/id" : EVENTS "fuse/fuse_request_send/id", -1, &page);
	int answers = count_hits(has_9p ? EVENTS "9p/9p_client_res/id" : EVENTS "fuse/fuse_request_end/id", requests, NULL);
	struct pollfd next = { .fd = requests, .events = POLLIN };
	int64_t lost = hits(requests) - hits(answers);

	if (mlockall(MCL_CURRENT | MCL_FUTURE) || sched_setscheduler(0, SCHED_IDLE, &none))
		err(1, "hold-clock");
	for (;;) {
		uint64_t head = page->data_head;
		int64_t waiting = hits(requests) - hits(answers) - lost;

		if (waiting < 0) /* requests from before the start of counting have their answers */
			lost += waiting;
		if (waiting <= 0)
			poll(&next, 1, -1);
		else if (!spin(page, head))
			lost += waiting;
	}
}
