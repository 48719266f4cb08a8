// SPDX-License-Identifier: GPL-2.0
/* Races on two CPUs: threads and processes, shared and separate contexts, each call concurrently with each other. */
#include "rdma_test.h"

enum { THREADS = 4 };

/* Duration of each storm, in seconds. */
#define STORM_US 6000000

FIXTURE(concurrency)
{
	int fd;
};

FIXTURE_SETUP(concurrency)
{
	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		SKIP(return, "one CPU has no races to show");
	self->fd = open_node(O_RDWR);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(concurrency)
{
	close(self->fd);
}

/* Copies within a context. Each uses the device memory in two transfers, between which no other transfer may run. */
struct copier {
	pthread_t thread;
	int fd;
	unsigned int seed;
	int rounds;
	const char *failure;
};

static void *copier(void *argument)
{
	struct copier *self = argument;
	struct buffer from, to;

	if (allocate(self->fd, 2 * PAGE, &from) || allocate(self->fd, 2 * PAGE, &to)) {
		self->failure = "no buffers";
		return NULL;
	}
	for (int i = 0; i < self->rounds; i++) {
		uint64_t length = 1 + rand_r(&self->seed) % 3000;
		uint64_t source = rand_r(&self->seed) % 4000, destination = rand_r(&self->seed) % 4000;

		fill(from.bytes, 2 * DEVICE_MEMORY, rand_r(&self->seed));
		memset(to.bytes, 0xa5, 2 * DEVICE_MEMORY);
		if (copy(self->fd, &to, destination, &from, source, length))
			self->failure = "a copy failed";
		else if (memcmp(to.bytes + destination, from.bytes + source, length))
			self->failure = "a copy is wrong";
		else if (differing(to.bytes, 0xa5, destination) ||
			 differing(to.bytes + destination + length, 0xa5, 2 * DEVICE_MEMORY - destination - length))
			self->failure = "a copy went beyond its range";
	}
	if (release(self->fd, &from) || release(self->fd, &to))
		self->failure = "a buffer could not be freed";
	return NULL;
}

TEST_F(concurrency, contexts_of_threads)
{
	struct copier copiers[THREADS];

	for (int i = 0; i < THREADS; i++) {
		copiers[i] = (struct copier){ .fd = open_node(O_RDWR), .seed = i, .rounds = 5 };
		ASSERT_EQ(0, pthread_create(&copiers[i].thread, NULL, copier, &copiers[i]));
	}
	for (int i = 0; i < THREADS; i++) {
		pthread_join(copiers[i].thread, NULL);
		EXPECT_EQ(NULL, copiers[i].failure) TH_LOG("%s", copiers[i].failure);
		close(copiers[i].fd);
	}
}

TEST_F(concurrency, one_context_of_threads)
{
	struct copier copiers[THREADS];

	for (int i = 0; i < THREADS; i++) {
		copiers[i] = (struct copier){ .fd = self->fd, .seed = 10 + i, .rounds = 5 };
		ASSERT_EQ(0, pthread_create(&copiers[i].thread, NULL, copier, &copiers[i]));
	}
	for (int i = 0; i < THREADS; i++) {
		pthread_join(copiers[i].thread, NULL);
		EXPECT_EQ(NULL, copiers[i].failure) TH_LOG("%s", copiers[i].failure);
	}
}

TEST_F(concurrency, processes)
{
	for (int i = 0; i < THREADS; i++)
		if (!fork()) {
			/* Half of them share an inherited context. */
			struct copier child = { .fd = i % 2 ? self->fd : open_node(O_RDWR), .seed = 20 + i, .rounds = 4 };

			copier(&child);
			_exit(child.failure != NULL);
		}
	for (int i = 0; i < THREADS; i++) {
		int status;

		ASSERT_LT(0, wait(&status));
		EXPECT_EQ(0, status);
	}
}

/*
 * The storm: all calls concurrently on the same context and a few buffers, so that handles are allocated and freed
 * during the calls. Documented errors are allowed, others are not.
 */
enum { SLOTS = 4 };

struct storm {
	int fd;
	volatile bool over;
	struct rdma_alloc slots[SLOTS];
	volatile long done[8];
	volatile int unexpected;
};

static bool known_errors(int answer, int one, int two)
{
	return answer >= 0 || answer == one || answer == two;
}

static void note(struct storm *storm, int which, int answer, int one, int two)
{
	if (known_errors(answer, one, two))
		storm->done[which]++;
	else
		storm->unexpected = answer;
}

static void *allocating(void *argument)
{
	struct storm *storm = argument;
	unsigned int seed = 1;

	while (!storm->over) {
		int slot = rand_r(&seed) % SLOTS;
		struct rdma_alloc alloc = { .size = (1 + rand_r(&seed) % 8) * PAGE };
		uint32_t old = storm->slots[slot].handle;

		note(storm, 0, call(storm->fd, RDMA_IOC_ALLOC, &alloc), -ENOMEM, 0);
		storm->slots[slot] = alloc;
		if (old)
			note(storm, 0, free_handle(storm->fd, old), -EINVAL, 0);
	}
	return NULL;
}

static void *freeing(void *argument)
{
	struct storm *storm = argument;
	unsigned int seed = 2;

	while (!storm->over)
		note(storm, 1, free_handle(storm->fd, storm->slots[rand_r(&seed) % SLOTS].handle), -EINVAL, 0);
	return NULL;
}

static void *mapping(void *argument)
{
	struct storm *storm = argument;
	unsigned int seed = 3;

	while (!storm->over) {
		struct rdma_alloc slot = storm->slots[rand_r(&seed) % SLOTS];
		unsigned char *bytes;

		if (!slot.size)
			continue;
		bytes = map(storm->fd, slot.mmap_offset, slot.size, PROT_READ | PROT_WRITE);
		note(storm, 2, bytes ? 0 : -errno, -EINVAL, 0);
		if (!bytes)
			continue;
		for (uint64_t i = 0; i < slot.size; i += PAGE)
			bytes[i]++;
		if (rand_r(&seed) % 8 == 0 && !fork()) {
			bytes[0]++;
			_exit(0);
		}
		munmap(bytes, slot.size);
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
	}
	return NULL;
}

static void *transferring(void *argument)
{
	struct storm *storm = argument;
	unsigned int seed = 4;

	while (!storm->over) {
		struct buffer buffer = { .handle = storm->slots[rand_r(&seed) % SLOTS].handle };

		note(storm, 3, to_device(storm->fd, &buffer, 0, 0, 1 + rand_r(&seed) % DEVICE_MEMORY), -EINVAL, 0);
		note(storm, 3, copy(storm->fd, &buffer, 0, &buffer, 1, 1), -EINVAL, 0);
	}
	return NULL;
}

static void *reading(void *argument)
{
	struct storm *storm = argument;
	unsigned char bytes[64];

	while (!storm->over) {
		note(storm, 4, result(pread(storm->fd, bytes, sizeof(bytes), 8)), 0, 0);
		note(storm, 4, result(pwrite(storm->fd, bytes, sizeof(bytes), 4000)), 0, 0);
	}
	return NULL;
}

static void *opening(void *argument)
{
	struct storm *storm = argument;

	while (!storm->over) {
		int fd = open_node(O_RDWR);
		struct rdma_device_info info;
		unsigned char *bytes;

		note(storm, 5, fd, 0, 0);
		note(storm, 5, call(fd, RDMA_IOC_DEVICE_INFO, &info), 0, 0);
		bytes = map(fd, 0, PAGE, PROT_READ | PROT_WRITE);
		note(storm, 5, bytes ? 0 : -errno, -ENOMEM, 0);
		close(fd);
		if (bytes) {
			bytes[0] = 1;
			munmap(bytes, PAGE);
		}
	}
	return NULL;
}

/* Transfers of other processes, which are killed at any moment. */
static void *killing(void *argument)
{
	struct storm *storm = argument;
	unsigned int seed = 5;

	while (!storm->over) {
		pid_t child = fork();
		int status;

		if (!child) {
			struct buffer buffer;
			int fd = open_node(O_RDWR);

			if (!allocate(fd, PAGE, &buffer))
				for (;;)
					from_device(fd, &buffer, 0, 0, DEVICE_MEMORY);
			_exit(1);
		}
		pause_us(rand_r(&seed) % 120000);
		kill(child, SIGKILL);
		waitpid(child, &status, 0);
		storm->done[6]++;
	}
	return NULL;
}

TEST_F(concurrency, storm)
{
	static void *(*const kinds[])(void *) = {
		allocating, freeing, mapping, transferring, reading, opening, killing,
	};
	struct storm storm = { .fd = self->fd };
	pthread_t threads[2 * ARRAY_SIZE(kinds)];
	struct buffer buffer;

	for (size_t i = 0; i < ARRAY_SIZE(threads); i++) {
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, kinds[i % ARRAY_SIZE(kinds)], &storm));
	}
	pause_us(STORM_US);
	storm.over = true;
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		pthread_join(threads[i], NULL);
	EXPECT_EQ(0, storm.unexpected);
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		TH_LOG("kind %zu: %ld times", i, storm.done[i]);
		EXPECT_LT(0, storm.done[i]);
	}

	ASSERT_EQ(0, allocate(self->fd, 2 * PAGE, &buffer));
	fill(buffer.bytes, DEVICE_MEMORY, 1);
	EXPECT_EQ(0, copy(self->fd, &buffer, DEVICE_MEMORY, &buffer, 0, DEVICE_MEMORY));
	EXPECT_EQ(0, memcmp(buffer.bytes, buffer.bytes + DEVICE_MEMORY, DEVICE_MEMORY));
}

/* The first buffer is allocated once, whichever thread is first. */
struct racer {
	pthread_t thread;
	int fd;
	pthread_barrier_t *start;
	unsigned char *bytes;
};

static void *racer(void *argument)
{
	struct racer *self = argument;

	pthread_barrier_wait(self->start);
	self->bytes = map(self->fd, 0, PAGE, PROT_READ | PROT_WRITE);
	return NULL;
}

TEST_F(concurrency, first_buffer)
{
	for (int round = 0; round < 200; round++) {
		struct racer racers[THREADS];
		pthread_barrier_t start;
		int fd = open_node(O_RDWR);

		ASSERT_LE(0, fd);
		pthread_barrier_init(&start, NULL, THREADS);
		for (int i = 0; i < THREADS; i++) {
			racers[i] = (struct racer){ .fd = fd, .start = &start };
			ASSERT_EQ(0, pthread_create(&racers[i].thread, NULL, racer, &racers[i]));
		}
		for (int i = 0; i < THREADS; i++) {
			pthread_join(racers[i].thread, NULL);
			ASSERT_NE(NULL, racers[i].bytes);
			racers[0].bytes[i] = 0x40 + i;
			ASSERT_EQ(0x40 + i, racers[i].bytes[i]);
		}
		for (int i = 0; i < THREADS; i++)
			munmap(racers[i].bytes, PAGE);
		close(fd);
	}
}

TEST_HARNESS_MAIN
