// SPDX-License-Identifier: GPL-2.0
/*
 * Promise 16: everything at once, at random, for two hours (RDMA_SECONDS for less): processes whose threads do all operations on shared
 * contexts, data that is compared all the time, and a device that is removed and added. In epochs, after each of which everything is freed.
 */
#include "debugfs.h"
#include "memory.h"
#include "operations.h"

enum { PROCESSES = 3, THREADS = 3, EPOCH_S = 60, PATIENCE_S = 60, SLACK_KB = 256, SLACK_OBJECTS = 100 };

/* Results of the processes, in shared memory. */
struct told {
	volatile bool over;
	volatile long done[OPERATIONS]; /* of each kind */
	volatile long answers, refusals, compared;
	volatile long mismatches;
	volatile long beats[PROCESSES][THREADS]; /* operations of each thread, to detect progress */
	volatile int error; /* the first unexpected answer */
	char where[64];
};

struct thread {
	pthread_t thread;
	struct worker worker;
	struct told *told;
	volatile long *beats;
	bool compares; /* the last one of each process */
};

static void complain(struct told *told, int error, const char *where)
{
	int none = 0;

	if (__atomic_compare_exchange_n(&told->error, &none, error, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		snprintf(told->where, sizeof(told->where), "%s", where);
}

/* Removing the device too often would leave little to test: rarely, with pauses. */
static const struct operation *some_operation(struct worker *worker)
{
	for (;;) {
		const struct operation *operation = &operations[any(worker, OPERATIONS)];

		if (!takes_device_away(operation) || any(worker, 20) == 0)
			return operation;
	}
}

static void *at_random(struct thread *self)
{
	struct worker *worker = &self->worker;

	while (!self->told->over && !worker->unexpected) {
		const struct operation *operation = some_operation(worker);
		int64_t began = now();

		/* Short operations are repeated. */
		do {
			work(worker, operation);
			__atomic_add_fetch(&self->told->done[operation - operations], 1, __ATOMIC_RELAXED);
			++*self->beats;
		} while (now() - began < 2000 && !worker->unexpected);
	}
	if (worker->unexpected)
		complain(self->told, worker->unexpected, worker->call);
	__atomic_add_fetch(&self->told->answers, worker->answers, __ATOMIC_RELAXED);
	__atomic_add_fetch(&self->told->refusals, worker->refusals, __ATOMIC_RELAXED);
	return NULL;
}

/* One copy within a buffer, compared byte for byte. */
static int compare_in(struct told *told, int fd, struct buffer *buffer, unsigned int *seed)
{
	unsigned char expected[3 * DEVICE_MEMORY], seen[3 * DEVICE_MEMORY];
	uint64_t length = 1 + rand_r(seed) % sizeof(expected), from = rand_r(seed) % PAGE;
	int error;

	fill(expected, length, rand_r(seed));
	error = move_bytes(buffer->bytes + from, expected, length);
	error = error ? error : copy(fd, buffer, 4 * DEVICE_MEMORY, buffer, from, length);
	error = error ? error : move_bytes(seen, buffer->bytes + 4 * DEVICE_MEMORY, length);
	if (!error) {
		__atomic_add_fetch(&told->mismatches, memcmp(seen, expected, length) != 0, __ATOMIC_RELAXED);
		__atomic_add_fetch(&told->compared, 1, __ATOMIC_RELAXED);
	}
	return error;
}

/* In a separate context; ENODEV while there is no device. */
static int compare(struct told *told, unsigned int *seed)
{
	struct buffer buffer;
	int fd = open_node(O_RDWR), error;

	if (fd < 0)
		return -ENODEV;
	error = allocate(fd, 8 * PAGE, &buffer);
	if (!error) {
		error = compare_in(told, fd, &buffer, seed);
		munmap(buffer.bytes, buffer.size);
	}
	close(fd);
	return error;
}

static void *comparing(struct thread *self)
{
	while (!self->told->over) {
		int error = compare(self->told, &self->worker.seed);

		if (error && error != -ENODEV && error != -ENOMEM)
			complain(self->told, error, "a copy to compare");
		++*self->beats;
	}
	return NULL;
}

static void *thread(void *argument)
{
	struct thread *self = argument;
	int error = begin_work(&self->worker);

	if (error)
		complain(self->told, error, "timer_create");
	else if (self->compares)
		comparing(self);
	else
		at_random(self);
	end_work(&self->worker);
	return NULL;
}

/* One process of an epoch; its exit status. */
static int process(struct told *told, const char *address, unsigned int seed, int number)
{
	static struct place shared;
	struct thread threads[THREADS];

	prepare_for_operations();
	if (arrive(&shared))
		return 1;
	for (int i = 0; i < THREADS; i++) {
		threads[i] = (struct thread){
			.told = told, .beats = &told->beats[number][i], .compares = i == THREADS - 1,
		};
		threads[i].worker = (struct worker){
			.shared = &shared, .address = address, .device_goes = true, .seed = seed * THREADS + i,
		};
		if (arrive(&threads[i].worker.own))
			return 2;
	}
	for (int i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i].thread, NULL, thread, &threads[i]))
			return 3;
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i].thread, NULL);
	return 0;
}

FIXTURE(soak)
{
	char address[32];
	int seconds;
	unsigned int seed;
	struct told *told;
	pid_t processes[PROCESSES];
};

FIXTURE_SETUP(soak)
{
	const char *seconds = getenv("RDMA_SECONDS"), *seed = getenv("RDMA_SEED");

	self->seconds = getenv("RDMA_LONG") ? 7200 : seconds ? atoi(seconds) : 60;
	self->seed = seed ? strtoul(seed, NULL, 0) : time(NULL);
	TH_LOG("RDMA_SEED=%u; left out: %s", self->seed, left_out());
	ASSERT_EQ(0, pci_address("rdma0", self->address));
	self->told = shared_memory(sizeof(struct told));
	ASSERT_NE(MAP_FAILED, self->told);
	/* The kernel allocates trace buffers on first use. */
	write_text("/sys/kernel/tracing/events/rust_dma/enable", "1");
	write_text("/sys/kernel/tracing/events/rust_dma/enable", "0");
}

FIXTURE_TEARDOWN(soak)
{
	write_text("/sys/kernel/tracing/events/rust_dma/enable", "0");
}

/* Each thread has made progress since the last check. */
static void all_get_on(struct __test_metadata *_metadata, FIXTURE_DATA(soak) *self, long before[PROCESSES][THREADS])
{
	for (int i = 0; i < PROCESSES; i++)
		for (int j = 0; j < THREADS; j++) {
			EXPECT_NE(before[i][j], self->told->beats[i][j])
				TH_LOG("thread %d of process %d does nothing any more", j, i);
			before[i][j] = self->told->beats[i][j];
		}
}

static void end_all(struct __test_metadata *_metadata, FIXTURE_DATA(soak) *self)
{
	int64_t began = now();

	self->told->over = true;
	for (int i = 0; i < PROCESSES; i++) {
		int status = -1;

		while (waitpid(self->processes[i], &status, WNOHANG) == 0) {
			if (now() - began > PATIENCE_S * 1000000LL)
				tell_stacks(self->processes[i]);
			ASSERT_GT(PATIENCE_S * 1000000LL, now() - began) TH_LOG("process %d does not come to an end", i);
			pause_us(10000);
		}
		EXPECT_EQ(0, status) TH_LOG("process %d", i);
	}
}

/* All at once for this long; then nothing of it is left. */
static void epoch(struct __test_metadata *_metadata, FIXTURE_DATA(soak) *self, int seconds)
{
	long before[PROCESSES][THREADS];

	self->told->over = false;
	memset((void *)self->told->beats, 0, sizeof(self->told->beats));
	for (int i = 0; i < PROCESSES; i++) {
		unsigned int seed = self->seed++;

		self->processes[i] = fork();
		if (!self->processes[i])
			_exit(process(self->told, self->address, seed, i));
	}
	memset(before, 0, sizeof(before));
	for (int left = seconds; left > 0 && !self->told->error; left -= 20) {
		pause_us((left < 20 ? left : 20) * 1000000LL);
		all_get_on(_metadata, self, before);
	}
	end_all(_metadata, self);
	EXPECT_EQ(0, self->told->error) TH_LOG("%s: %d", self->told->where, self->told->error);
	EXPECT_EQ(0, self->told->mismatches);
}

static void tell_figures(FIXTURE_DATA(soak) *self, long pages_kb, long objects)
{
	const struct told *told = self->told;
	char kinds[1024] = "";

	for (size_t i = 0; i < OPERATIONS; i++)
		snprintf(kinds + strlen(kinds), sizeof(kinds) - strlen(kinds), "%s%ld %s", i ? "; " : "", told->done[i],
			 operations[i].name);
	FIGURE("%d s at random on %d threads: %s", "%ld answers, %ld documented refusals, none other", self->seconds,
	       PROCESSES * THREADS, kinds, told->answers, told->refusals);
	FIGURE("%ld copies compared meanwhile", "%ld mismatches; drift of %ld kB and %ld objects", told->compared, told->mismatches,
	       pages_kb, objects);
}

TEST_F(soak, everything_at_random)
{
	int epochs = self->seconds / EPOCH_S < 3 ? 3 : self->seconds / EPOCH_S;
	struct memory first = { 0 }, last = { 0 };

	for (int i = 0; i < epochs && !self->told->error; i++) {
		epoch(_metadata, self, self->seconds / epochs);
		/* The engine may still have the last transfer, with its buffer. */
		pause_us(3 * TRANSFER_US);
		EXPECT_EQ(0, device_state("contexts"));
		EXPECT_EQ(0, device_state("memory"));
		last = memory();
		/* The first epochs fill caches. */
		if (i <= 1)
			first = last;
	}
	for (size_t i = 0; i < OPERATIONS; i++) {
		EXPECT_LT(0, self->told->done[i]) TH_LOG("%s", operations[i].name);
	}
	EXPECT_LT(0, self->told->compared);
	/* Free memory varies by 10 MB with the accounted caches; nothing else uses pages that are not accounted. */
	EXPECT_GE(SLACK_KB, last.unknown_kb - first.unknown_kb);
	EXPECT_GE(SLACK_OBJECTS, last.objects - first.objects);
	tell_figures(self, last.unknown_kb - first.unknown_kb, last.objects - first.objects);
}

TEST_HARNESS_MAIN
