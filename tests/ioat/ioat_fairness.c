// SPDX-License-Identifier: GPL-2.0
/*
 * Promise 13 for an I/OAT device: turns are bytes. A turn has 256 KiB, where a transfer of less than 4096 bytes counts as 4096; and 2 MiB or 128
 * transfers are in flight at most, so that the first request of a newcomer waits for a known time.
 */
#include "ioat.h"

#define TRACING "/sys/kernel/tracing/"
#define TEXT_OF(number) #number
#define TEXT(number) TEXT_OF(number)

/* The length of a newcomer's request, which no other one has. */
#define NEWCOMER 3210

/* Of the model: how many bytes it moves in a microsecond. */
enum { RATE = 20, TURN = 256 << 10, SECONDS = 4, NEWCOMERS = 20 };

enum { HUGE, TINY, BATCHES, KINDS };

/* Size of the requests of each, and how many of them it keeps submitted. */
static const struct kind {
	const char *name;
	uint64_t size, depth, batch;
} kinds[KINDS] = {
	[HUGE] = { "1 MiB", 1 << 20, 8, 1 },
	[TINY] = { "64 B", 64, 512, 64 },
	[BATCHES] = { "4 KiB", 4096, 512, 64 },
};

struct user {
	pthread_t thread;
	const struct kind *kind;
	volatile bool over;
	volatile long done;
	int error;
};

FIXTURE(ioat_fairness)
{
	struct ioat ioat;
};

FIXTURE_SETUP(ioat_fairness)
{
	ASSERT_EQ(0, ioat_open(0, &self->ioat));
	ioat_clear(&self->ioat);
	ioat_timing(&self->ioat, 0, RATE);
}

FIXTURE_TEARDOWN(ioat_fairness)
{
	write_text(TRACING "events/enable", "0");
	write_text(TRACING "trace", "");
	ioat_timing(&self->ioat, 0, 0);
}

static int trace(const char *on)
{
	char own[32];

	snprintf(own, sizeof(own), "prev_pid == %d", gettid());
	return write_text(TRACING "events/sched/sched_switch/filter", own)	    ?:
		       write_text(TRACING "events/sched/sched_switch/enable", on)   ?:
		       write_text(TRACING "events/rust_dma/rdma_submit/enable", on) ?:
		       write_text(TRACING "events/rust_dma/rdma_start/enable", on)  ?:
		       write_text(TRACING "events/rust_dma/rdma_complete/enable", on);
}

/* Keeps the queue full. */
static int use(struct user *user, int fd, struct buffer *from, struct buffer *to)
{
	struct rdma_request requests[64];
	uint64_t queued = 0;

	for (uint64_t i = 0; i < user->kind->batch; i++)
		requests[i] = copying(to, i * user->kind->size, from, i * user->kind->size, user->kind->size, i);
	while (!user->over) {
		struct rdma_completion completions[64];
		int got;

		while (queued < user->kind->depth) {
			if (submit(fd, requests, user->kind->batch) != user->kind->batch)
				return -EPROTO;
			queued += user->kind->batch;
		}
		got = collect(fd, completions, user->kind->batch, user->kind->batch, FOREVER);
		if (got < 0)
			return got;
		for (int i = 0; i < got; i++)
			if (completions[i].status)
				return completions[i].status;
		queued -= got;
		user->done += got;
	}
	return 0;
}

static void *user(void *argument)
{
	struct user *user = argument;
	struct buffer from, to;
	int fd = open_node(O_RDWR);

	user->error = fd < 0 ? fd : allocate(fd, 1 << 20, &from) ?: allocate(fd, 1 << 20, &to);
	user->error = user->error ?: use(user, fd, &from, &to);
	close(fd);
	return NULL;
}

/* One of each kind, or all of the first. */
static void begin_all(struct __test_metadata *_metadata, struct user users[KINDS], bool one_of_each)
{
	for (int i = 0; i < KINDS; i++) {
		users[i] = (struct user){ .kind = &kinds[one_of_each ? i : HUGE] };
		ASSERT_EQ(0, pthread_create(&users[i].thread, NULL, user, &users[i]));
	}
	/* Until all have their queues full. */
	pause_us(500000);
}

static void end_all(struct __test_metadata *_metadata, struct user users[KINDS])
{
	for (int i = 0; i < KINDS; i++)
		users[i].over = true;
	for (int i = 0; i < KINDS; i++) {
		pthread_join(users[i].thread, NULL);
		EXPECT_EQ(0, users[i].error) TH_LOG("%s", users[i].kind->name);
	}
}

/* The large requests get as many bytes as the batches, and the tiny ones as many requests. */
TEST_F(ioat_fairness, shares)
{
	struct user users[KINDS];
	long before[KINDS];
	double bytes[KINDS], of_bytes, of_requests;

	begin_all(_metadata, users, true);
	for (int i = 0; i < KINDS; i++)
		before[i] = users[i].done;
	pause_us(SECONDS * 1000000LL);
	for (int i = 0; i < KINDS; i++)
		bytes[i] = (double)(users[i].done - before[i]) * kinds[i].size;
	end_all(_metadata, users);
	of_bytes = bytes[HUGE] / bytes[BATCHES];
	of_requests = bytes[TINY] / 64 / (bytes[BATCHES] / 4096);
	TH_LOG("%.1f, %.3f, %.1f MB/s", bytes[HUGE] / SECONDS / 1e6, bytes[TINY] / SECONDS / 1e6, bytes[BATCHES] / SECONDS / 1e6);
	EXPECT_LT(0.8, of_bytes);
	EXPECT_GT(1.25, of_bytes);
	EXPECT_LT(0.8, of_requests);
	EXPECT_GT(1.25, of_requests);
	FIGURE("requests of 1 MiB beside 4 KiB and 64 B on I/OAT",
	       "%.2f times the bytes of the second, which have %.2f times the requests of the third", of_bytes, 1 / of_requests);
}

/* The most bytes that the driver gives to the device: while a newcomer's request is in the queue; and while the device has it. */
struct bytes {
	int64_t before, behind;
	int found;
};

/*
 * Reads them from the trace. The order of the events counts, and no time: a busy host delays all of them. The request is in the queue at the latest
 * when its thread sleeps: on a busy host, that of others can begin between the event of the submission and its end.
 */
static int read_trace(struct bytes *most)
{
	FILE *file = fopen(TRACING "trace", "re");
	struct bytes now = { -1, -1 };
	bool submitted = false;
	char line[512];

	if (!file)
		return -errno;
	*most = (struct bytes){ 0 };
	while (fgets(line, sizeof(line), file)) {
		const char *started = strstr(line, "rdma_start: "), *bytes = strstr(line, " bytes=");
		int64_t length = bytes ? atoll(bytes + 7) : 0;

		if (strstr(line, "rdma_submit: ") && strstr(line, " length=" TEXT(NEWCOMER) "\n")) {
			now = (struct bytes){ -1, -1 };
			submitted = true;
		} else if (strstr(line, "sched_switch: ") && submitted && !strstr(line, " prev_state=R")) {
			now.before = 0;
			submitted = false;
		} else if (started && length == NEWCOMER) {
			most->before = now.before > most->before ? now.before : most->before;
			now = (struct bytes){ -1, 0 };
			submitted = false;
		} else if (started) {
			now.before += now.before < 0 ? 0 : length;
			now.behind += now.behind < 0 ? 0 : length;
		} else if (strstr(line, "rdma_complete: ") && length == NEWCOMER && now.behind >= 0) {
			most->behind = now.behind > most->behind ? now.behind : most->behind;
			now.behind = -1;
			most->found++;
		}
	}
	fclose(file);
	return 0;
}

/* The request of a newcomer is given to the device after a turn of each of the others, all of which have large requests, and behind what is in flight. */
TEST_F(ioat_fairness, newcomer)
{
	struct user users[KINDS];
	int64_t slowest = 0;
	struct bytes most = { 0 };

	begin_all(_metadata, users, false);
	ASSERT_EQ(0, write_text(TRACING "trace", ""));
	ASSERT_EQ(0, trace("1"));
	for (int i = 0; i < NEWCOMERS; i++) {
		struct buffer buffer;
		int fd = open_node(O_RDWR);
		int64_t began;

		ASSERT_LE(0, fd);
		ASSERT_EQ(0, allocate(fd, 2 * PAGE, &buffer));
		began = now();
		ASSERT_EQ(0, copy(fd, &buffer, PAGE, &buffer, 0, NEWCOMER));
		slowest = now() - began > slowest ? now() - began : slowest;
		close(fd);
		munmap(buffer.bytes, buffer.size);
	}
	ASSERT_EQ(0, trace("0"));
	end_all(_metadata, users);
	ASSERT_EQ(0, read_trace(&most));
	EXPECT_EQ(NEWCOMERS, most.found);
	EXPECT_LT(0, most.before);
	EXPECT_GE(KINDS * TURN, most.before);
	EXPECT_GE(WINDOW + TURN, most.behind);
	FIGURE("20 newcomers on a busy I/OAT device",
	       "after %lld KiB of others at most, whose turns have %d KiB, with %lld KiB in flight; in at most %lld ms",
	       (long long)most.before / 1024, KINDS * TURN / 1024, (long long)most.behind / 1024, (long long)slowest / 1000);
}

TEST_HARNESS_MAIN
