// SPDX-License-Identifier: GPL-2.0
/*
 * A broken I/OAT device breaks no kernel: faults of all kinds at random, and completions with random bits, while threads copy and compare.
 * Each request ends once, with a documented status; and one that has succeeded has moved its bytes, unless the device lies about that.
 */
#include "ioat.h"

/* A buffer is larger than a turn, 256 KiB, and is copied by many requests, or by one. */
enum { THREADS = 3, BATCH = 32, SIZE = BATCH * 3 * 4096 };

FIXTURE(ioat_broken)
{
	struct ioat ioat;
	unsigned int seed;
	int faults;
};

FIXTURE_VARIANT(ioat_broken)
{
	bool lies; /* some completions are wrong */
};

FIXTURE_VARIANT_ADD(ioat_broken, fails){ .lies = false };
FIXTURE_VARIANT_ADD(ioat_broken, lies){ .lies = true };

FIXTURE_SETUP(ioat_broken)
{
	self->seed = atoi(getenv("RDMA_SEED") ?: "1");
	self->faults = scale(3000, 300000);
	ASSERT_EQ(0, ioat_open(0, &self->ioat));
	ioat_clear(&self->ioat);
	ioat_timing(&self->ioat, 20000, 0);
}

FIXTURE_TEARDOWN(ioat_broken)
{
	ioat_clear(&self->ioat);
	ioat_timing(&self->ioat, 0, 0);
}

struct user {
	pthread_t thread;
	unsigned int seed;
	volatile bool over, lies;
	long done, failed, mismatches;
	volatile long beats;
	const char *complaint;
	int status;
};

/* Of one batch: its completions, and what is wrong with them. */
static void judge_batch(struct user *user, const struct rdma_request *requests, struct buffer *from, struct buffer *to,
			const struct rdma_completion *completions, uint64_t count)
{
	bool seen[BATCH] = { false };

	for (uint64_t i = 0; i < count; i++) {
		const struct rdma_completion *completion = &completions[i];
		const struct rdma_request *request = &requests[completion->cookie % BATCH];
		int status = completion->status;

		user->status = status;
		if (completion->cookie >= count || seen[completion->cookie])
			user->complaint = "a cookie";
		else if (status && status != -EREMOTEIO && status != -ETIMEDOUT)
			user->complaint = "a status";
		else if (completion->bytes > request->length || (!status && completion->bytes != request->length))
			user->complaint = "a number of bytes";
		if (user->complaint)
			return;
		seen[completion->cookie] = true;
		user->done++;
		user->failed += status != 0;
		if (!status)
			user->mismatches += memcmp(to->bytes + request->destination_offset, from->bytes + request->source_offset,
						   request->length) != 0;
	}
}

static const char *copies(struct user *user, int fd, struct buffer *from, struct buffer *to)
{
	struct rdma_request requests[BATCH];
	struct rdma_completion completions[BATCH];

	int count = rand_r(&user->seed) % 8 ? BATCH : 1;
	uint64_t largest = SIZE / count;

	memset(to->bytes, 0, SIZE);
	for (int i = 0; i < count; i++) {
		uint64_t length = 1 + rand_r(&user->seed) % largest;

		requests[i] = copying(to, i * largest, from, rand_r(&user->seed) % (SIZE - length + 1), length, i);
	}
	if (submit(fd, requests, count) != count)
		return "SUBMIT";
	if (collect(fd, completions, count, count, FOREVER) != count)
		return "WAIT";
	judge_batch(user, requests, from, to, completions, count);
	return user->complaint;
}

static void *user(void *argument)
{
	struct user *user = argument;
	struct buffer from, to;
	int fd = open_node(O_RDWR);

	if (fd < 0 || allocate(fd, SIZE, &from) || allocate(fd, SIZE, &to)) {
		user->complaint = "open, ALLOC";
		return NULL;
	}
	fill(from.bytes, SIZE, user->seed);
	while (!user->over && !user->complaint) {
		user->complaint = copies(user, fd, &from, &to);
		user->beats++;
	}
	close(fd);
	return NULL;
}

/* Bits to flip in a completion: one, some, or all; of the state, of the address of near descriptors, or any. */
static uint64_t flips(unsigned int *seed)
{
	uint64_t random = (uint64_t)rand_r(seed) << 33 ^ (uint64_t)rand_r(seed) << 16 ^ rand_r(seed);

	switch (rand_r(seed) % 5) {
	case 0:
		return 1ULL << random % 64;
	case 1:
		return random % 8;
	case 2:
		return random % 256 << 6;
	case 3:
		return (random % 256 << 6) + random % 8;
	default:
		return random;
	}
}

static void break_it(const struct ioat *ioat, unsigned int *seed, bool lies, bool hangs)
{
	static const enum fault kinds[] = { LOST_INTERRUPT, LOST_COMPLETION, ERROR, ERROR, WRONG_COMPLETION, WRONG_COMPLETION, CHANGING_STATUS };
	enum fault kind = kinds[rand_r(seed) % (lies ? 7 : 4)];
	uint16_t nth = 1 + rand_r(seed) % 40;

	/* Each of these takes a second: few, but at least one. */
	if (hangs || rand_r(seed) % 1000 == 0)
		kind = HANG;
	ioat_fault(ioat, kind, nth, false, kind == ERROR ? 1U << rand_r(seed) % 32 : flips(seed));
}

/* Faults, one after the other or many at a time, as long as all threads get on. */
static void break_all(struct __test_metadata *_metadata, FIXTURE_DATA(ioat_broken) *self, struct user *users, bool lies)
{
	int64_t since = now();
	long beats = 0;

	for (int fault = 0; fault < self->faults; fault++) {
		long sum = 0;

		break_it(&self->ioat, &self->seed, lies, fault == self->faults / 2);
		if (rand_r(&self->seed) % 4 == 0)
			pause_us(rand_r(&self->seed) % 10000);
		for (int i = 0; i < THREADS; i++) {
			ASSERT_EQ(NULL, users[i].complaint) TH_LOG("%s, %d", users[i].complaint, users[i].status);
			sum += users[i].beats;
		}
		if (sum != beats)
			since = now();
		beats = sum;
		ASSERT_GT(30000000, now() - since) TH_LOG("no batch has ended for half a minute");
	}
}

TEST_F(ioat_broken, at_random)
{
	struct user users[THREADS] = { 0 };
	long done = 0, failed = 0, mismatches = 0;
	int good = 0;

	for (int i = 0; i < THREADS; i++) {
		users[i].seed = self->seed + i;
		ASSERT_EQ(0, pthread_create(&users[i].thread, NULL, user, &users[i]));
	}
	break_all(_metadata, self, users, variant->lies);
	for (int i = 0; i < THREADS; i++)
		users[i].over = true;
	ioat_clear(&self->ioat);
	for (int i = 0; i < THREADS; i++) {
		pthread_join(users[i].thread, NULL);
		EXPECT_EQ(NULL, users[i].complaint) TH_LOG("%s, %d", users[i].complaint, users[i].status);
		done += users[i].done;
		failed += users[i].failed;
		mismatches += users[i].mismatches;
	}
	EXPECT_LT(0, done - failed);
	EXPECT_LT(0, failed);
	if (!variant->lies)
		EXPECT_EQ(0, mismatches);
	/* Copies that the device has said to be completed, and which it executes later. */
	pause_us(2000000);
	for (int i = 0; i < 100; i++)
		good += works();
	EXPECT_EQ(100, good);
	if (variant->lies)
		FIGURE("%d faults of an I/OAT device that reports completions too early",
		       "%ld copies, %ld failed as documented, the device said of %ld that they had ended", self->faults, done,
		       failed, mismatches);
	else
		FIGURE("%d faults of an I/OAT device", "%ld copies, %ld failed as documented, %ld wrong", self->faults, done,
		       failed, mismatches);
}

TEST_HARNESS_MAIN
