// SPDX-License-Identifier: GPL-2.0
/* Shares of the engine with SUBMIT: one piece per turn, regardless of the number and size of the requests. */
#include "requests.h"

#include <sched.h>
#include <sys/wait.h>

/* One piece of a copy is two transfers. */
enum { LONG = 16, SLACK_US = 2000 };

/* A context with a buffer whose second half is the destination of copies. */
struct user {
	int fd;
	struct buffer buffer;
};

static void arrive(struct __test_metadata *_metadata, struct user *user)
{
	user->fd = open_node(O_RDWR);
	ASSERT_LE(0, user->fd);
	ASSERT_EQ(0, allocate(user->fd, 2 * LONG * PAGE, &user->buffer));
}

/* Waits until the engine has finished the requests of an earlier test. */
static void arrive_alone(struct __test_metadata *_metadata, struct user *user)
{
	arrive(_metadata, user);
	ASSERT_EQ(0, to_device(user->fd, &user->buffer, 0, 0, 1));
}

static void leave(struct user *user)
{
	munmap(user->buffer.bytes, user->buffer.size);
	close(user->fd);
}

/* Fills the queue: with single transfers, or with copies of many pieces. */
static int hog(const struct user *user, bool long_copies)
{
	static struct rdma_request requests[DEPTH];

	for (int i = 0; i < DEPTH; i++)
		requests[i] = long_copies ?
				      copying(&user->buffer, LONG * DEVICE_MEMORY, &user->buffer, 0, LONG * DEVICE_MEMORY, i) :
				      writing(&user->buffer, 0, 0, DEVICE_MEMORY, i);
	return submit(user->fd, requests, DEPTH);
}

/* Time from submitting a transfer to its completion, in microseconds; or an error. */
static int64_t submitted_us(const struct user *user)
{
	int64_t began = now();
	int answer = submit_one(user->fd, writing(&user->buffer, 0, 0, DEVICE_MEMORY, 0));

	if (answer != 1)
		return answer;
	answer = drain(user->fd, 1);
	return answer ? answer : now() - began;
}

static int64_t called_us(const struct user *user)
{
	int64_t began = now();
	int answer = to_device(user->fd, &user->buffer, 0, 0, DEVICE_MEMORY);

	return answer ? answer : now() - began;
}

FIXTURE(fairness)
{
	struct user small;
};

FIXTURE_VARIANT(fairness)
{
	bool long_copies;
	int hogs;
};

FIXTURE_VARIANT_ADD(fairness, transfers)
{
	.long_copies = false,
	.hogs = 1,
};

FIXTURE_VARIANT_ADD(fairness, copies)
{
	.long_copies = true,
	.hogs = 1,
};

FIXTURE_VARIANT_ADD(fairness, many_copies)
{
	.long_copies = true,
	.hogs = 5,
};

FIXTURE_SETUP(fairness)
{
	arrive_alone(_metadata, &self->small);
}

FIXTURE_TEARDOWN(fairness)
{
	leave(&self->small);
}

static int64_t piece_us(const FIXTURE_VARIANT(fairness) *variant)
{
	return (variant->long_copies ? 2 : 1) * TRANSFER_US;
}

/* Each hog delays the first piece of another user by one piece at most, at any time. */
TEST_F(fairness, a_hog_delays_by_one_piece)
{
	int64_t bound = variant->hogs * piece_us(variant) + TRANSFER_US + SLACK_US, longest = 0;
	struct user hogs[5];

	for (int i = 0; i < variant->hogs; i++) {
		arrive(_metadata, &hogs[i]);
		ASSERT_EQ(DEPTH, hog(&hogs[i], variant->long_copies));
	}
	for (int i = 0; i < 12; i++) {
		int64_t took = i % 2 ? called_us(&self->small) : submitted_us(&self->small);

		EXPECT_LE(TRANSFER_US - SLACK_US, took);
		EXPECT_GE(bound, took);
		longest = took > longest ? took : longest;
		pause_us(i * 17 % 10 * (TRANSFER_US / 10));
	}
	TH_LOG("%d with a queue of %d: another one's transfer takes %lld us at most", variant->hogs, DEPTH,
	       (long long)longest);
	for (int i = 0; i < variant->hogs; i++)
		leave(&hogs[i]);
}

/* The hog is killed: the engine finishes the running transfer and is free. */
TEST_F(fairness, a_dead_hog_leaves_nothing_behind)
{
	int64_t began, death, first, second;
	int ready[2], status;
	char byte;
	pid_t children[5];

	ASSERT_EQ(0, pipe(ready));
	for (int i = 0; i < variant->hogs; i++) {
		children[i] = fork();
		if (!children[i]) {
			struct user child;

			arrive(_metadata, &child);
			if (hog(&child, variant->long_copies) == DEPTH && write(ready[1], "", 1) == 1)
				for (;;)
					pause();
			_exit(1);
		}
		ASSERT_EQ(1, read(ready[0], &byte, 1));
	}
	pause_us(5 * TRANSFER_US / 4);
	began = now();
	for (int i = 0; i < variant->hogs; i++) {
		kill(children[i], SIGKILL);
	}
	for (int i = 0; i < variant->hogs; i++) {
		ASSERT_EQ(children[i], waitpid(children[i], &status, 0));
	}
	death = now() - began;
	first = submitted_us(&self->small);
	second = submitted_us(&self->small);
	FIGURE("%d programs with full queues of %s killed", "dead in %lld us; then a transfer takes %lld us, and the next one %lld us",
	       variant->hogs, variant->long_copies ? "copies" : "transfers", (long long)death, (long long)first,
	       (long long)second);
	/* No thread waits for the engine. */
	EXPECT_GE(variant->hogs * 10000, death);
	EXPECT_GE(2 * TRANSFER_US + SLACK_US, death + first);
	EXPECT_GE(TRANSFER_US + SLACK_US, second);
	close(ready[0]);
	close(ready[1]);
}

/* The same, with the file closed normally. */
TEST_F(fairness, a_closed_hog_leaves_nothing_behind)
{
	struct user hogs[5];
	int64_t began;

	for (int i = 0; i < variant->hogs; i++) {
		arrive(_metadata, &hogs[i]);
		ASSERT_EQ(DEPTH, hog(&hogs[i], variant->long_copies));
	}
	pause_us(TRANSFER_US / 4);
	began = now();
	for (int i = 0; i < variant->hogs; i++)
		leave(&hogs[i]);
	ASSERT_LT(0, submitted_us(&self->small));
	EXPECT_GE(2 * TRANSFER_US + SLACK_US, now() - began);
	began = now();
	ASSERT_LT(0, submitted_us(&self->small));
	EXPECT_GE(TRANSFER_US + SLACK_US, now() - began);
}

/* A context cancels its waiting requests: the engine is free for others as soon. */
TEST_F(fairness, a_hog_that_cancels_frees_the_engine)
{
	struct user hogs[5];
	int64_t began;

	for (int i = 0; i < variant->hogs; i++) {
		arrive(_metadata, &hogs[i]);
		ASSERT_EQ(DEPTH, hog(&hogs[i], variant->long_copies));
	}
	pause_us(TRANSFER_US / 4);
	for (int i = 0; i < variant->hogs; i++) {
		ASSERT_LE(DEPTH - 1, cancel_all(hogs[i].fd));
	}
	/* A long copy continues, with other requests between its pieces. */
	for (int i = 0; i < 2; i++) {
		began = now();
		ASSERT_LT(0, submitted_us(&self->small));
		EXPECT_GE(piece_us(variant) + TRANSFER_US + SLACK_US, now() - began);
	}
	for (int i = 0; i < variant->hogs; i++)
		leave(&hogs[i]);
}

FIXTURE(shares)
{
	struct user first; /* number of contexts that share the engine */
};

FIXTURE_SETUP(shares)
{
	arrive_alone(_metadata, &self->first);
}

FIXTURE_TEARDOWN(shares)
{
	leave(&self->first);
}

/* At any time, the numbers of transfers of two contexts differ by one at most. */
TEST_F(shares, are_equal)
{
	enum { USERS = 7, LOOKS = 20 };
	struct rdma_completion completions[DEPTH];
	struct user users[USERS] = { self->first };
	int done[USERS] = { 0 }, total = 0, widest = 0;
	int64_t began = now();

	for (int i = 0; i < USERS; i++) {
		if (i)
			arrive(_metadata, &users[i]);
		/* Some have many more waiting requests than others. */
		ASSERT_EQ(DEPTH - 150 * i, submit_many(users[i].fd, &users[i].buffer, DEPTH - 150 * i, 0));
	}
	for (int look = 0; look < LOOKS; look++) {
		int least = INT32_MAX, most = 0;

		pause_us(TRANSFER_US * (1 + look % 9) + TRANSFER_US / 7);
		total = 0;
		for (int i = 0; i < USERS; i++) {
			int got = take(users[i].fd, completions, DEPTH);

			ASSERT_LE(0, got);
			done[i] += got;
			total += done[i];
			least = done[i] < least ? done[i] : least;
			most = done[i] > most ? done[i] : most;
		}
		EXPECT_GE(1, most - least);
		widest = most - least > widest ? most - least : widest;
	}
	FIGURE("%d looks at %d contexts that share %d transfers", "shares differ by %d at most", LOOKS, USERS, total, widest);
	/* The engine was never idle. */
	EXPECT_LE((now() - began) / TRANSFER_US - 1, total);
	for (int i = 1; i < USERS; i++)
		leave(&users[i]);
}

/* The same with pieces that are copies of a page: they differ by one piece at most. */
TEST_F(shares, of_copies_are_equal)
{
	enum { USERS = 3, LOOKS = 10, COPIES = 100 };
	struct rdma_completion completions[COPIES];
	static struct rdma_request requests[COPIES];
	struct user users[USERS] = { self->first };
	int done[USERS] = { 0 };

	for (int i = 0; i < USERS; i++) {
		if (i)
			arrive(_metadata, &users[i]);
		for (int j = 0; j < COPIES; j++)
			requests[j] = copying(&users[i].buffer, LONG * DEVICE_MEMORY, &users[i].buffer, 0, DEVICE_MEMORY, j);
		ASSERT_EQ(COPIES, submit(users[i].fd, requests, COPIES));
	}
	for (int look = 0; look < LOOKS; look++) {
		int least = INT32_MAX, most = 0;

		pause_us(2 * TRANSFER_US * (1 + look % 5) + TRANSFER_US / 7);
		for (int i = 0; i < USERS; i++) {
			int got = take(users[i].fd, completions, COPIES);

			ASSERT_LE(0, got);
			done[i] += got;
			least = done[i] < least ? done[i] : least;
			most = done[i] > most ? done[i] : most;
		}
		EXPECT_GE(1, most - least);
	}
	for (int i = 1; i < USERS; i++)
		leave(&users[i]);
}

/* A context that joins later gets the same share from then on, and is not compensated for the past. */
TEST_F(shares, are_not_saved_up)
{
	struct rdma_completion completions[DEPTH];
	struct user early = self->first, late;
	int of_early, of_late;

	arrive(_metadata, &late);
	ASSERT_EQ(200, submit_many(early.fd, &early.buffer, 200, 0));
	pause_us(40 * TRANSFER_US + TRANSFER_US / 2);
	ASSERT_LE(40, take(early.fd, completions, DEPTH));
	ASSERT_EQ(200, submit_many(late.fd, &late.buffer, 200, 0));
	pause_us(20 * TRANSFER_US);
	of_early = take(early.fd, completions, DEPTH);
	of_late = take(late.fd, completions, DEPTH);
	EXPECT_GE(1, abs(of_early - of_late)) TH_LOG("%d and %d", of_early, of_late);
	leave(&late);
}

/* Threads of one context, which submit, or wait for a transfer. */
struct crowd {
	pthread_t thread;
	const struct user *user;
	bool calls;
	volatile bool *over;
	long calls_done;
};

static void *crowd(void *argument)
{
	struct crowd *self = argument;

	if (!self->calls)
		submit_many(self->user->fd, &self->user->buffer, 40, 0);
	while (self->calls && !*self->over)
		self->calls_done += called_us(self->user) > 0;
	return NULL;
}

TEST_F(shares, do_not_grow_with_threads)
{
	enum { THREADS = 12, PIECES = 30 };
	struct rdma_completion completions[DEPTH];
	struct crowd threads[THREADS];
	volatile bool over = false;
	struct user many = self->first, one;
	int of_many, of_one;

	arrive(_metadata, &one);
	for (int i = 0; i < THREADS; i++) {
		threads[i] = (struct crowd){ .user = &many, .calls = i % 3 == 0, .over = &over };
		ASSERT_EQ(0, pthread_create(&threads[i].thread, NULL, crowd, &threads[i]));
	}
	ASSERT_EQ(200, submit_many(one.fd, &one.buffer, 200, 0));
	pause_us(2 * PIECES * TRANSFER_US + TRANSFER_US / 2);
	of_one = take(one.fd, completions, DEPTH);
	of_many = take(many.fd, completions, DEPTH);
	over = true;
	ASSERT_LE(0, cancel_all(many.fd));
	ASSERT_LE(0, cancel_all(one.fd));
	for (int i = 0; i < THREADS; i++) {
		pthread_join(threads[i].thread, NULL);
		of_many += threads[i].calls_done;
	}
	/* Threads that wait for a transfer may have finished one more each after the count. */
	TH_LOG("of %d transfers: %d of %d threads, %d of one", 2 * PIECES, of_many, THREADS, of_one);
	EXPECT_LE(PIECES - 1, of_one);
	EXPECT_GE(PIECES + 1 + THREADS / 3 + 1, of_many);
	leave(&one);
}

/*
 * Hogs that do not wait, but make calls all the time. The victim is woken at once (SCHED_FIFO), so that it is delayed
 * only by the engine and by code that disables interrupts.
 */
enum { CALLS = 3 };

/* What a busy hog repeats. The first two never give the engine anything to do. */
static int refused(const struct user *user)
{
	static struct rdma_request requests[64];

	for (int i = 0; i < 64; i++)
		requests[i] = (struct rdma_request){ .operation = 99 };
	return submit(user->fd, requests, 64) == -EINVAL ? 0 : -EPROTO;
}

static int nothing_there(const struct user *user)
{
	struct rdma_completion completion;

	return cancel(user->fd, 7) == -ENOENT && cancel_all(user->fd) == 0 && take(user->fd, &completion, 1) == 0 ?
		       0 :
		       -EPROTO;
}

/* Searches a thousand waiting requests and finds none. */
static int searches(const struct user *user)
{
	static bool filled;

	if (!filled)
		filled = submit_many(user->fd, &user->buffer, DEPTH, 1000) == DEPTH;
	return filled && cancel(user->fd, 7) == -ENOENT ? 0 : -EPROTO;
}

static int comes_and_goes(const struct user *user)
{
	static struct rdma_completion completions[DEPTH];
	int cancelled;

	submit_many(user->fd, &user->buffer, 64, 0);
	cancelled = cancel_all(user->fd);
	return cancelled >= 63 && take(user->fd, completions, DEPTH) >= cancelled ? 0 : -EPROTO;
}

FIXTURE(busy)
{
	struct user small;
	bool *over;
	long *rounds;
};

FIXTURE_VARIANT(busy)
{
	int (*deed)(const struct user *user);
	bool has_turns; /* each gets a piece when it can */
};

FIXTURE_VARIANT_ADD(busy, is_refused)
{
	.deed = refused,
};

FIXTURE_VARIANT_ADD(busy, finds_nothing)
{
	.deed = nothing_there,
};

FIXTURE_VARIANT_ADD(busy, searches)
{
	.deed = searches,
	.has_turns = true,
};

FIXTURE_VARIANT_ADD(busy, comes_and_goes)
{
	.deed = comes_and_goes,
	.has_turns = true,
};

FIXTURE_SETUP(busy)
{
	arrive_alone(_metadata, &self->small);
	self->over = shared_memory(PAGE);
	ASSERT_NE(MAP_FAILED, self->over);
	self->rounds = (long *)(self->over + 64);
}

FIXTURE_TEARDOWN(busy)
{
	leave(&self->small);
	munmap(self->over, PAGE);
}

/* Three transfers of the victim, queued at once; in microseconds. */
static int64_t three(const struct user *user)
{
	int64_t began = now();
	int answer = submit_many(user->fd, &user->buffer, CALLS, 0);

	if (answer != CALLS)
		return answer;
	answer = drain(user->fd, CALLS);
	return answer ? answer : now() - began;
}

TEST_F(busy, hogs_are_not_in_the_way)
{
	struct sched_param first = { .sched_priority = 1 }, normal = { 0 };
	int64_t alone = three(&self->small), took;
	/* With turns: the running piece, and one between each two. */
	int transfers = variant->has_turns ? 2 * CALLS : CALLS, status;
	long before;
	pid_t child = fork();

	ASSERT_LT(0, alone);
	if (!child) {
		struct user hog;
		int error = 0;

		arrive(_metadata, &hog);
		while (!*(volatile bool *)self->over && !error) {
			error = variant->deed(&hog);
			++*self->rounds;
		}
		_exit(error != 0);
	}
	while (*(volatile long *)self->rounds < 3)
		pause_us(100);
	ASSERT_EQ(0, sched_setscheduler(0, SCHED_FIFO, &first));
	before = *self->rounds;
	took = three(&self->small);
	*self->over = true;
	sched_setscheduler(0, SCHED_OTHER, &normal);
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_EQ(0, status);
	TH_LOG("%d transfers alone: %lld us; beside %ld rounds of a busy hog: %lld us", CALLS, (long long)alone,
	       *self->rounds - before, (long long)took);
	EXPECT_LT(10, *self->rounds - before);
	EXPECT_LT(0, took);
	EXPECT_GE(transfers * TRANSFER_US + SLACK_US, took);
}

TEST_HARNESS_MAIN
