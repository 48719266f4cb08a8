// SPDX-License-Identifier: GPL-2.0
/* 10,000 buffers in one context, and 1,000 contexts with requests: all work, and no call costs more than with few. */
#include "requests.h"

#include <sys/resource.h>

enum { BUFFERS = 10000, CONTEXTS = 1000, QUEUED = 8, SAMPLES = 101, COPIES = 40 };


static struct buffer buffers[BUFFERS];

static uint64_t random_state = 88172645463325252ULL;

static uint64_t any(uint64_t below)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (random_state >> 11) % below;
}

static int64_t now_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000LL + time.tv_nsec;
}

/* The calls that are measured. */
enum { ALLOC, MAP, BUFFER, SUBMIT, CANCEL, WAIT, UNMAP, FREE, CALLS };
static const char *const names[CALLS] = { "ALLOC", "mmap", "BUFFER", "SUBMIT", "CANCEL", "WAIT", "munmap", "FREE" };

/*
 * Allowed increase from few to many. The kernel's tree of mappings is deeper then, and a call that makes room in a full queue
 * wakes threads that wait for room.
 */
static const double bounds[CALLS] = {
	[ALLOC] = 1.3,	[MAP] = 1.8,  [BUFFER] = 1.1, [SUBMIT] = 1.1,
	[CANCEL] = 1.1, [WAIT] = 1.1, [UNMAP] = 1.5,  [FREE] = 1.3,
};

struct costs {
	int64_t ns[CALLS]; /* medians */
};

static int compare(const void *one, const void *other)
{
	int64_t difference = *(const int64_t *)one - *(const int64_t *)other;

	return difference < 0 ? -1 : difference > 0;
}

FIXTURE(many_buffers)
{
	int fd, busy;
	struct buffer first, of_busy;
};

FIXTURE_SETUP(many_buffers)
{
	struct rlimit files = { CONTEXTS + 100, CONTEXTS + 100 };

	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &files));
	self->fd = open_node(O_RDWR);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, allocate(self->fd, PAGE, &self->first));
	/* Keeps the engine busy, so that requests of others wait. */
	self->busy = open_node(O_RDWR);
	ASSERT_LE(0, self->busy);
	ASSERT_EQ(0, allocate(self->busy, PAGE, &self->of_busy));
}

FIXTURE_TEARDOWN(many_buffers)
{
	close(self->fd);
	close(self->busy);
}

static int64_t median(int64_t *samples)
{
	qsort(samples, SAMPLES, sizeof(*samples), compare);
	return samples[SAMPLES / 2];
}

/* The cost of each call in a context that has these buffers, and this many waiting requests. */
static struct costs measure(struct __test_metadata *_metadata, FIXTURE_DATA(many_buffers) *self,
			    const struct buffer *some, int count, int waiting)
{
	int fd = self->fd;
	static int64_t samples[CALLS][SAMPLES];
	struct costs costs;

	ASSERT_EQ(DEPTH, submit_many(self->busy, &self->of_busy, DEPTH, 0));
	if (waiting) {
		ASSERT_EQ(waiting, submit_many(fd, some, waiting, SAMPLES));
	}
	for (int i = 0; i < SAMPLES; i++) {
		const struct buffer *buffer = &some[any(count)];
		struct rdma_request request = writing(buffer, 0, 0, DEVICE_MEMORY, i);
		struct rdma_buffer_info info = { .handle = buffer->handle };
		struct rdma_alloc alloc = { .size = PAGE };
		struct rdma_completion completion;
		int64_t at[CALLS + 1];
		int answers[CALLS];
		void *bytes;

		at[ALLOC] = now_ns();
		answers[ALLOC] = call(fd, RDMA_IOC_ALLOC, &alloc);
		at[MAP] = now_ns();
		bytes = map(fd, alloc.mmap_offset, PAGE, PROT_READ | PROT_WRITE);
		at[BUFFER] = now_ns();
		answers[BUFFER] = call(fd, RDMA_IOC_BUFFER_INFO, &info);
		at[SUBMIT] = now_ns();
		answers[SUBMIT] = submit(fd, &request, 1);
		at[CANCEL] = now_ns();
		answers[CANCEL] = cancel(fd, i);
		at[WAIT] = now_ns();
		answers[WAIT] = take(fd, &completion, 1);
		at[UNMAP] = now_ns();
		answers[UNMAP] = munmap(bytes, PAGE);
		at[FREE] = now_ns();
		answers[FREE] = free_handle(fd, alloc.handle);
		at[CALLS] = now_ns();

		for (int j = 0; j < CALLS; j++) {
			samples[j][i] = at[j + 1] - at[j];
			if (j != MAP) {
				EXPECT_EQ(j == SUBMIT || j == CANCEL || j == WAIT, answers[j]) TH_LOG("%s", names[j]);
			}
		}
		ASSERT_NE(NULL, bytes);
		EXPECT_EQ(i, completion.cookie);
		EXPECT_EQ(-ECANCELED, completion.status);
	}
	for (int j = 0; j < CALLS; j++)
		costs.ns[j] = median(samples[j]);
	ASSERT_LE(0, cancel_all(self->busy));
	ASSERT_LE(0, drain(self->busy, DEPTH));
	ASSERT_LE(0, cancel_all(fd));
	ASSERT_LE(0, drain(fd, waiting));
	return costs;
}

static void compare_costs(struct __test_metadata *_metadata, const struct costs *few, const struct costs *many,
			  const char *what)
{
	for (int i = 0; i < CALLS; i++) {
		double ratio = (double)many->ns[i] / few->ns[i];

		TH_LOG("%-7s %6lld ns, with %s %6lld ns: %.3f times as much", names[i], (long long)few->ns[i], what,
		       (long long)many->ns[i], ratio);
		EXPECT_GE(bounds[i], ratio);
	}
}

TEST_F(many_buffers, in_one_context)
{
	struct costs few, many;
	int64_t began, first_ns = 0, last_ns = 0;

	/* The first time, caches are filled. */
	measure(_metadata, self, &self->first, 1, 0);
	few = measure(_metadata, self, &self->first, 1, 0);
	for (int i = 0; i < BUFFERS; i++) {
		began = now_ns();
		ASSERT_EQ(0, allocate(self->fd, PAGE, &buffers[i])) TH_LOG("buffer %d", i);
		first_ns += i < BUFFERS / 10 ? now_ns() - began : 0;
		last_ns += i >= BUFFERS - BUFFERS / 10 ? now_ns() - began : 0;
		/* All contain zeros; all pages are accessed. */
		ASSERT_EQ(0, *(uint64_t *)buffers[i].bytes);
		*(uint64_t *)buffers[i].bytes = i;
	}
	TH_LOG("a buffer and its mapping: %lld ns for each of the first %d, %lld ns for each of the last %d",
	       (long long)first_ns / (BUFFERS / 10), BUFFERS / 10, (long long)last_ns / (BUFFERS / 10), BUFFERS / 10);
	many = measure(_metadata, self, buffers, BUFFERS, 0);
	compare_costs(_metadata, &few, &many, "10,000 buffers");

	/* Each has its own memory. */
	for (int i = 0; i < BUFFERS; i++) {
		struct rdma_buffer_info info = { .handle = buffers[i].handle };

		ASSERT_EQ(i, *(uint64_t *)buffers[i].bytes);
		ASSERT_EQ(0, call(self->fd, RDMA_IOC_BUFFER_INFO, &info));
		ASSERT_EQ(PAGE, info.size);
		ASSERT_EQ(buffers[i].offset, info.mmap_offset);
	}
	for (int i = 0; i < COPIES; i++) {
		int from = any(BUFFERS), to = any(BUFFERS);

		if (from == to)
			continue;
		fill(buffers[from].bytes, PAGE, i);
		ASSERT_EQ(1, submit_one(self->fd, copying(&buffers[to], 0, &buffers[from], 0, PAGE, i)));
		ASSERT_EQ(0, drain(self->fd, 1));
		ASSERT_EQ(0, memcmp(buffers[from].bytes, buffers[to].bytes, PAGE));
	}

	/* Freed in any order, and then invalid. */
	for (int i = BUFFERS - 1; i > 0; i--) {
		int other = any(i + 1);
		struct buffer buffer = buffers[i];

		buffers[i] = buffers[other];
		buffers[other] = buffer;
	}
	for (int i = 0; i < BUFFERS; i++) {
		ASSERT_EQ(0, release(self->fd, &buffers[i]));
		ASSERT_EQ(-EINVAL, free_handle(self->fd, buffers[i].handle));
	}
	/* The structures in use are small afterwards. */
	many = measure(_metadata, self, &self->first, 1, 0);
	compare_costs(_metadata, &few, &many, "none any more");
}

/* The same with a full queue. CANCEL by cookie searches all waiting requests, which is not part of the promise. */
TEST_F(many_buffers, in_a_full_queue)
{
	static int64_t samples[SAMPLES];
	struct rdma_completion completion;
	struct costs few, many;

	measure(_metadata, self, &self->first, 1, 0);
	few = measure(_metadata, self, &self->first, 1, 0);
	many = measure(_metadata, self, &self->first, 1, DEPTH - 1);
	TH_LOG("CANCEL of the last of %d: %lld ns", DEPTH, (long long)many.ns[CANCEL]);
	many.ns[CANCEL] = few.ns[CANCEL];
	compare_costs(_metadata, &few, &many, "1,023 that wait");

	/* One of a thousand completions. */
	ASSERT_EQ(DEPTH, submit_many(self->fd, &self->first, DEPTH, 0));
	ASSERT_LE(DEPTH - 1, cancel_all(self->fd));
	for (int i = 0; i < SAMPLES; i++) {
		int64_t began = now_ns();

		ASSERT_EQ(1, take(self->fd, &completion, 1));
		samples[i] = now_ns() - began;
	}
	many = few;
	many.ns[WAIT] = median(samples);
	compare_costs(_metadata, &few, &many, "1,024 completed");
}

/* The same with all requests in other contexts. */
TEST_F(many_buffers, in_many_contexts)
{
	static struct rdma_completion completions[QUEUED];
	static int fds[CONTEXTS];
	struct costs few, many;
	int64_t began, took, first_open = 0, last_open = 0;
	int done[QUEUED + 1] = { 0 }, total = 0;

	measure(_metadata, self, &self->first, 1, 0);
	few = measure(_metadata, self, &self->first, 1, 0);
	for (int i = 0; i < CONTEXTS; i++) {
		began = now_ns();
		fds[i] = open_node(O_RDWR);
		ASSERT_LE(0, fds[i]) TH_LOG("context %d", i);
		first_open += i < CONTEXTS / 10 ? now_ns() - began : 0;
		last_open += i >= CONTEXTS - CONTEXTS / 10 ? now_ns() - began : 0;
		ASSERT_EQ(0, allocate(fds[i], PAGE, &buffers[i]));
	}
	began = now();
	for (int i = 0; i < CONTEXTS; i++) {
		ASSERT_EQ(QUEUED, submit_many(fds[i], &buffers[i], QUEUED, i * QUEUED));
	}
	many = measure(_metadata, self, &self->first, 1, 0);
	compare_costs(_metadata, &few, &many, "1,000 contexts that wait");
	TH_LOG("open(2): %lld ns for each of the first %d, %lld ns for each of the last %d",
	       (long long)first_open / (CONTEXTS / 10), CONTEXTS / 10, (long long)last_open / (CONTEXTS / 10),
	       CONTEXTS / 10);

	/* Turns: no context has a second one before each has had one. */
	pause_us(CONTEXTS / 2 * 3 * TRANSFER_US);
	took = now() - began;
	for (int i = 0; i < CONTEXTS; i++) {
		int got = take(fds[i], completions, QUEUED);

		ASSERT_LE(0, got);
		ASSERT_GE(QUEUED, got);
		for (int j = 0; j < got; j++) {
			EXPECT_EQ(i * QUEUED + j, completions[j].cookie);
		}
		done[got]++;
		total += got;
	}
	TH_LOG("%d transfers in %lld us: %d contexts have had 1, %d have had 2", total, (long long)took, done[1],
	       done[2]);
	EXPECT_EQ(CONTEXTS, done[1] + done[2]);
	EXPECT_LE(took / TRANSFER_US - 3, total);

	began = now_ns();
	for (int i = 0; i < CONTEXTS; i++) {
		ASSERT_EQ(0, munmap(buffers[i].bytes, buffers[i].size));
		ASSERT_EQ(0, close(fds[i]));
	}
	TH_LOG("a context and what waits in it ends in %lld ns", (long long)(now_ns() - began) / CONTEXTS);
	/* Nothing of them is left. */
	began = now();
	ASSERT_EQ(1, submit_many(self->fd, &self->first, 1, 0));
	ASSERT_EQ(0, drain(self->fd, 1));
	EXPECT_GE(2 * TRANSFER_US + TRANSFER_US / 10, now() - began);
}

TEST_HARNESS_MAIN
