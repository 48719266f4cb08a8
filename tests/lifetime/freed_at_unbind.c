// SPDX-License-Identifier: GPL-2.0
/*
 * Promise 9: buffers that are freed while the device is unbound are freed once, by one or the other. In each round, two threads free buffers in a
 * loop when the unbind begins. Found by the model in tests/model (g09-entered-twice).
 */
#include "memory.h"
#include "teardown.h"

/* The memory of a buffer that is lost exceeds the tolerance. */
enum { THREADS = 2, BUFFERS = 40, BYTES = 512 << 10, SLACK_KB = 400 };

struct worker {
	pthread_t thread;
	int fd;
	uint32_t handles[BUFFERS];
};

/* They begin together with the unbind. */
static pthread_barrier_t start;

static void *free_all(void *argument)
{
	struct worker *worker = argument;

	pthread_barrier_wait(&start);
	for (int i = 0; i < BUFFERS; i++)
		free_handle(worker->fd, worker->handles[i]);
	close(worker->fd);
	return NULL;
}

static int prepare_worker(struct worker *worker)
{
	worker->fd = open_node(O_RDWR);
	for (int i = 0; i < BUFFERS; i++) {
		struct rdma_alloc alloc = { .size = BYTES };
		int error = call(worker->fd, RDMA_IOC_ALLOC, &alloc);

		if (error)
			return error;
		worker->handles[i] = alloc.handle;
	}
	return pthread_create(&worker->thread, NULL, free_all, worker);
}

/* One round: the unbind begins after `delay_us`. */
static int unbind_meanwhile(const char *address, int delay_us)
{
	struct worker workers[THREADS];
	int64_t took;

	for (int i = 0; i < THREADS; i++)
		if (prepare_worker(&workers[i]))
			return -EIO;
	pthread_barrier_wait(&start);
	pause_us(delay_us);
	took = go_away(address, UNBIND);
	for (int i = 0; i < THREADS; i++)
		pthread_join(workers[i].thread, NULL);
	return took < 0 ? took : come_back(address, UNBIND);
}

static void compare_memory(struct __test_metadata *_metadata, int rounds, struct memory before)
{
	struct memory after = memory();

	FIGURE("%d unbinds while buffers are freed", "drift of %ld kB", rounds, after.unknown_kb - before.unknown_kb);
	EXPECT_GE(SLACK_KB, after.unknown_kb - before.unknown_kb);
}

static void compare_mappings(struct __test_metadata *_metadata, int rounds, long before)
{
	long after = live_mappings();

	FIGURE("%d unbinds while buffers are freed", "%ld DMA mappings left", rounds, after - before);
	EXPECT_EQ(before, after);
}

TEST(memory_is_free_after_the_unbind)
{
	const int rounds = scale(60, 3000);
	long mappings = live_mappings();
	struct memory before = { 0 };
	char address[32];

	srandom(11);
	ASSERT_EQ(0, pci_address("rdma0", address));
	ASSERT_EQ(0, pthread_barrier_init(&start, NULL, THREADS + 1));
	/* The first rounds fill the caches of the kernel. */
	for (int i = -10; i < rounds; i++) {
		if (i == 0 && mappings < 0)
			before = memory();
		ASSERT_EQ(0, unbind_meanwhile(address, random() % 3000));
	}
	if (mappings < 0)
		compare_memory(_metadata, rounds, before);
	else
		compare_mappings(_metadata, rounds, mappings);
}

TEST_HARNESS_MAIN
