// SPDX-License-Identifier: GPL-2.0
/*
 * Promise 11: each pair of operations concurrently, on two CPUs and on the same context, for RDMA_SECONDS each. Races are reported
 * in the kernel's log (lockdep, KASAN, KCSAN); this program checks that both sides make progress, return documented errors, and end.
 */
#include "operations.h"

/* Maximum time for which a call delays the end of a pair, on a slow kernel and a busy host. */
enum { PATIENCE_S = 60 };

/* One side of a pair, as shared between processes. */
struct side {
	long rounds, answers, refusals;
	int error; /* unexpected answers */
	char call[64];
};

struct pair {
	pthread_t thread;
	struct worker worker;
	const struct operation *operation;
	volatile bool *over;
	struct side *side;
};

static void *one_side(void *argument)
{
	struct pair *pair = argument;
	struct worker *worker = &pair->worker;

	pair->side->error = begin_work(worker);
	/* At least once, and no further after an error. */
	while (!pair->side->error && !worker->unexpected) {
		work(worker, pair->operation);
		pair->side->rounds++;
		if (*pair->over)
			break;
	}
	pair->side->answers = worker->answers;
	pair->side->refusals = worker->refusals;
	if (worker->unexpected) {
		pair->side->error = worker->unexpected;
		snprintf(pair->side->call, sizeof(pair->side->call), "%s", worker->call);
	}
	end_work(worker);
	return NULL;
}

FIXTURE(pairs)
{
	char address[32];
	int64_t length_us;
	struct side *sides; /* shared with the process of the pair */
};

FIXTURE_SETUP(pairs)
{
	const char *seconds = getenv("RDMA_SECONDS");

	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		SKIP(return, "one CPU has no races to show");
	self->length_us = (getenv("RDMA_LONG") ? 300 : seconds ? atof(seconds) : 10) * 1000000;
	ASSERT_EQ(0, pci_address("rdma0", self->address));
	TH_LOG("left out: %s", left_out());
	self->sides = shared_memory(PAGE);
	ASSERT_NE(MAP_FAILED, self->sides);
}

FIXTURE_TEARDOWN(pairs)
{
	write_text("/sys/kernel/tracing/events/rust_dma/enable", "0");
}

/* Both sides, in a process of their own; its exit status. */
static int both(FIXTURE_DATA(pairs) *self, const struct operation *one, const struct operation *other)
{
	const struct operation *of[] = { one, other };
	static struct place shared;
	struct pair pairs[2];
	volatile bool over = false;

	prepare_for_operations();
	if (arrive(&shared))
		return 1;
	for (int i = 0; i < 2; i++) {
		pairs[i] = (struct pair){ .operation = of[i], .over = &over, .side = &self->sides[i] };
		pairs[i].worker = (struct worker){
			.shared = &shared,
			.address = self->address,
			.device_goes = takes_device_away(one) || takes_device_away(other),
			.seed = (one - operations) * OPERATIONS + (other - operations) + i,
		};
		if (arrive(&pairs[i].worker.own))
			return 2;
	}
	for (int i = 0; i < 2; i++)
		if (pthread_create(&pairs[i].thread, NULL, one_side, &pairs[i]))
			return 3;
	pause_us(self->length_us);
	over = true;
	for (int i = 0; i < 2; i++)
		pthread_join(pairs[i].thread, NULL);
	return 0;
}

/* Whether a process has ended in time. */
static bool ends(pid_t process, int64_t patience_us, int *status)
{
	int64_t began = now();

	while (waitpid(process, status, WNOHANG) == 0) {
		if (now() - began > patience_us)
			return false;
		pause_us(5000);
	}
	return true;
}

static void try_pair(struct __test_metadata *_metadata, FIXTURE_DATA(pairs) *self, const struct operation *one,
		     const struct operation *other)
{
	int status = -1;
	pid_t child;

	memset(self->sides, 0, 2 * sizeof(struct side));
	child = fork();
	if (!child)
		_exit(both(self, one, other));
	ASSERT_LT(0, child);
	if (!ends(child, self->length_us + PATIENCE_S * 1000000LL, &status)) {
		tell_stacks(child);
		kill(child, SIGKILL);
		ASSERT_TRUE(false) TH_LOG("%s beside %s do not come to an end", one->name, other->name);
	}
	EXPECT_EQ(0, status) TH_LOG("%s beside %s", one->name, other->name);
	for (int i = 0; i < 2; i++) {
		const struct side *side = &self->sides[i];

		EXPECT_EQ(0, side->error)
			TH_LOG("%s beside %s: %s of the %s one answers %d", one->name, other->name, side->call,
			       i ? "second" : "first", side->error);
		EXPECT_LT(0, side->rounds) TH_LOG("%s beside %s", one->name, other->name);
	}
}

TEST_F(pairs, each_beside_each)
{
	long pairs = 0, rounds = 0, answers = 0, refusals = 0;
	struct buffer buffer;
	int fd;

	for (size_t i = 0; i < OPERATIONS; i++)
		for (size_t j = i; j < OPERATIONS; j++) {
			try_pair(_metadata, self, &operations[i], &operations[j]);
			pairs++;
			for (int side = 0; side < 2; side++) {
				rounds += self->sides[side].rounds;
				answers += self->sides[side].answers;
				refusals += self->sides[side].refusals;
			}
		}

	fd = open_node(O_RDWR);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, allocate(fd, 2 * PAGE, &buffer));
	fill(buffer.bytes, DEVICE_MEMORY, 1);
	EXPECT_EQ(0, copy(fd, &buffer, DEVICE_MEMORY, &buffer, 0, DEVICE_MEMORY));
	EXPECT_EQ(0, memcmp(buffer.bytes, buffer.bytes + DEVICE_MEMORY, DEVICE_MEMORY));
	close(fd);
	FIGURE("%ld pairs of %zu operations, %.1f s each: %ld rounds", "%ld answers, %ld documented refusals, none other", pairs,
	       OPERATIONS, self->length_us / 1e6, rounds, answers, refusals);
}

TEST_HARNESS_MAIN
