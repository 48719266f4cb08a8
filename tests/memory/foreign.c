// SPDX-License-Identifier: GPL-2.0
/*
 * Promise 2: a mapping never shows memory of others. Buffers are freed, closed and revoked while they are mapped, and
 * other processes allocate and fill the freed memory. Each access must show the buffer's own data or raise SIGBUS. In real time, two
 * threads and a child read continuously; in virtual time, a thread reads now and then, and everything is checked after each step.
 */
#include "requests.h"
#include "teardown.h"

#include <sys/wait.h>

enum { SMALL = 5, SLOTS = 7, READERS = 2, SAMPLES = 64, FOREIGN = 0xf0 };

#define LARGEST 1024 /* pages; where pages have 4 KiB, this is two huge pages */
#define SPACE (LARGEST * PAGE) /* the largest buffer, and what each slot has of the address space */

/* What is mapped, of which buffer: its size, first page, number of pages; and how often it is replaced. */
static const struct shape {
	size_t buffer, first, pages; /* in pages */
} shapes[SLOTS] = {
	{ 1, 0, 1 },
	{ 3, 0, 3 },
	{ 16, 0, 16 },
	{ 8, 2, 4 },
	{ 32, 0, 32 },
	{ LARGEST, 0, LARGEST }, /* by huge pages */
	{ LARGEST, 3, 700 }, /* at an unaligned address: no huge pages */
};

struct slot {
	unsigned char *bytes; /* always at the same address */
	volatile uint64_t generation; /* odd while it is being changed */
	volatile uint64_t tag; /* each word contains this, and the number of its page */
	uint32_t handle;
	int fd;
};

/* Shared with the child. */
struct seen {
	volatile bool over;
	long reads, refused, foreign;
	uint64_t example;
};

FIXTURE(foreign)
{
	char address[32];
	struct slot slots[SLOTS];
	struct seen *seen;
	struct crop crop;
	int other; /* of the device that is not removed */
	pthread_t readers[READERS];
	int reading;
};

static __thread sigjmp_buf refused;

static void on_bus_error(int signal)
{
	(void)signal;
	siglongjmp(refused, 1);
}

static void found(struct seen *seen, uint64_t word)
{
	if (!__atomic_fetch_add(&seen->foreign, 1, __ATOMIC_RELAXED))
		seen->example = word;
}

/* Checks one word. */
static void look(struct slot *slot, const struct shape *shape, struct seen *seen, unsigned int at)
{
	size_t page = at / 512 % shape->pages;
	volatile uint64_t *word = (volatile uint64_t *)(slot->bytes + page * PAGE) + at % 512;
	uint64_t generation = __atomic_load_n(&slot->generation, __ATOMIC_ACQUIRE), tag = slot->tag, value;

	if (generation % 2)
		return;
	value = *word;
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	if (value != tag + page && slot->generation == generation)
		found(seen, value);
}

/* Checks some words at random; stops at the first SIGBUS. */
static void look_around(struct slot *slots, struct seen *seen, unsigned int *seed)
{
	volatile int done = 0;

	if (sigsetjmp(refused, 0)) {
		__atomic_fetch_add(&seen->refused, 1, __ATOMIC_RELAXED);
	} else {
		for (; done < SAMPLES; done++) {
			int which = rand_r(seed) % SLOTS;

			look(&slots[which], &shapes[which], seen, rand_r(seed));
		}
	}
	__atomic_fetch_add(&seen->reads, done, __ATOMIC_RELAXED);
}

static void *reader(void *argument)
{
	FIXTURE_DATA(foreign) *self = argument;
	unsigned int seed = __atomic_add_fetch(&self->reading, 1, __ATOMIC_RELAXED);

	while (!self->seen->over) {
		look_around(self->slots, self->seen, &seed);
		if (virtual_time())
			pause_us(7000);
	}
	return NULL;
}

/* A child inherits the current mappings, and keeps them when the parent's change. */
static pid_t reading_child(FIXTURE_DATA(foreign) *self)
{
	pid_t child = fork();
	unsigned int seed = 77;

	if (child)
		return child;
	for (;;) {
		look_around(self->slots, self->seen, &seed);
		if (virtual_time())
			pause_us(7000);
	}
}

static void end(pid_t child)
{
	if (child) {
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
	}
}

/* Checks a few words of each page of a slot (of some pages, if nothing is expected). Either all or none of them must be present. */
static void look_through(FIXTURE_DATA(foreign) *self, int which, bool there)
{
	const struct shape *shape = &shapes[which];
	struct slot *slot = &self->slots[which];
	size_t step = there || shape->pages < 32 ? 1 : shape->pages / 16;

	for (volatile size_t page = 0; page < shape->pages; page += step) {
		if (sigsetjmp(refused, 1)) {
			__atomic_fetch_add(&self->seen->refused, 1, __ATOMIC_RELAXED);
			if (there)
				found(self->seen, SIGBUS);
			continue;
		}
		for (int word = 0; word < 512; word += 73)
			look(slot, shape, self->seen, page * 512 + word);
		if (!there)
			found(self->seen, *(volatile uint64_t *)(slot->bytes + page * PAGE));
		__atomic_fetch_add(&self->seen->reads, 8, __ATOMIC_RELAXED);
	}
}

/* A new buffer in a slot, which replaces the mapping there. */
static int renew(FIXTURE_DATA(foreign) *self, int which)
{
	static uint64_t tags;
	const struct shape *shape = &shapes[which];
	struct slot *slot = &self->slots[which];
	struct rdma_alloc alloc = { .size = shape->buffer * PAGE };
	size_t length = shape->pages * PAGE;
	void *at;
	int error;

	if (slot->fd < 0)
		slot->fd = open_node(O_RDWR);
	error = call(slot->fd, RDMA_IOC_ALLOC, &alloc);
	if (error)
		return error;
	slot->handle = alloc.handle;
	__atomic_store_n(&slot->generation, slot->generation + 1, __ATOMIC_SEQ_CST);
	at = mmap(slot->bytes, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, slot->fd,
		  alloc.mmap_offset + shape->first * PAGE);
	if (at != slot->bytes)
		return -errno;
	slot->tag = 0x5d00000000000000 | ++tags << 16;
	for (size_t page = 0; page < shape->pages; page++)
		for (int word = 0; word < 512; word++)
			((uint64_t *)(slot->bytes + page * PAGE))[word] = slot->tag + page;
	__atomic_store_n(&slot->generation, slot->generation + 1, __ATOMIC_SEQ_CST);
	return 0;
}

/* Other users of memory, which fill it with their own data; the first buffers are as large as that of the slot. */
static long others(FIXTURE_DATA(foreign) *self, int which)
{
	int error = plant(&self->crop, self->other, (which < SMALL ? shapes[which].buffer : 16) * PAGE);

	return error ? error : harvest(&self->crop);
}

/* The slots in turn; the large ones less often. */
static int turn(int round)
{
	return round % 200 == 199 ? SMALL + round / 200 % (SLOTS - SMALL) : round % SMALL;
}

FIXTURE_SETUP(foreign)
{
	struct sigaction action = { .sa_handler = on_bus_error, .sa_flags = SA_NODEFER };
	unsigned char *space;

	ASSERT_EQ(0, sigaction(SIGBUS, &action, NULL));
	ASSERT_EQ(0, pci_address("rdma0", self->address));
	ASSERT_EQ(0, prepare(&self->crop, FOREIGN));
	self->other = open_number(1);
	ASSERT_LE(0, self->other);
	self->seen = shared_memory(PAGE);
	space = mmap(NULL, (SLOTS + 1) * SPACE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, space);
	space = (unsigned char *)(((uintptr_t)space + SPACE - 1) / SPACE * SPACE);
	for (int i = 0; i < SLOTS; i++) {
		self->slots[i] = (struct slot){ .bytes = space + i * SPACE, .fd = -1 };
		ASSERT_EQ(0, renew(self, i));
	}
	for (int i = 0; i < (virtual_time() ? 1 : READERS); i++) {
		ASSERT_EQ(0, pthread_create(&self->readers[i], NULL, reader, self));
	}
}

FIXTURE_TEARDOWN(foreign)
{
	for (int i = 0; i < SLOTS; i++)
		close(self->slots[i].fd);
	close(self->other);
}

static void finish_reading(struct __test_metadata *_metadata, FIXTURE_DATA(foreign) *self, const char *what, int rounds)
{
	self->seen->over = true;
	for (int i = 0; i < self->reading; i++)
		pthread_join(self->readers[i], NULL);
	EXPECT_EQ(0, self->seen->foreign) TH_LOG("such as %#llx", (unsigned long long)self->seen->example);
	EXPECT_LT(rounds, self->seen->reads);
	FIGURE("%d x %s while mapped", "%ld foreign, zeroed or poison words in %ld reads (and %ld SIGBUS)", rounds, what,
	       self->seen->foreign, self->seen->reads, self->seen->refused);
}

/* By FREE, or by closing the file; the mapping stays. */
static int let_go(struct slot *slot, bool by_close)
{
	int fd = slot->fd;

	if (!by_close)
		return free_handle(slot->fd, slot->handle);
	slot->fd = -1;
	return result(close(fd));
}

static void let_go_while_mapped(struct __test_metadata *_metadata, FIXTURE_DATA(foreign) *self, bool by_close, int rounds)
{
	pid_t child = 0;

	for (int round = 0; round < rounds; round++) {
		int which = turn(round);

		if (round % 100 == 0) {
			end(child);
			child = reading_child(self);
		}
		ASSERT_EQ(0, let_go(&self->slots[which], by_close));
		if (round % 10 == 0) {
			ASSERT_EQ(0, others(self, which));
		}
		look_through(self, which, true);
		ASSERT_EQ(0, renew(self, which));
	}
	end(child);
	EXPECT_EQ(0, self->seen->refused);
	finish_reading(_metadata, self, by_close ? "close" : "FREE", rounds);
}

TEST_F(foreign, by_free)
{
	let_go_while_mapped(_metadata, self, false, virtual_time() ? scale(10000, 100000) : scale(1000, 10000));
}

TEST_F(foreign, by_close)
{
	let_go_while_mapped(_metadata, self, true, virtual_time() ? scale(1000, 10000) : scale(200, 2000));
}

static void taken_while_mapped(struct __test_metadata *_metadata, FIXTURE_DATA(foreign) *self, enum way way, const char *what,
			       int rounds)
{
	for (int round = 0; round < rounds; round++) {
		pid_t child = virtual_time() && round % 4 ? 0 : reading_child(self);

		pause_us(random() % 5000);
		ASSERT_LE(0, go_away(self->address, way));
		ASSERT_EQ(0, others(self, turn(round)));
		for (int i = 0; i < SLOTS; i++)
			look_through(self, i, false);
		ASSERT_EQ(0, come_back(self->address, way));
		end(child);
		for (int i = 0; i < SLOTS; i++) {
			close(self->slots[i].fd);
			self->slots[i].fd = -1;
			/* The large ones stay unmapped for a while. */
			if (i < SMALL || round % 16 == 0) {
				ASSERT_EQ(0, renew(self, i));
			}
		}
	}
	EXPECT_LT(0, self->seen->refused);
	finish_reading(_metadata, self, what, rounds);
}

TEST_F(foreign, by_unbind)
{
	taken_while_mapped(_metadata, self, UNBIND, "unbind", virtual_time() ? scale(500, 5000) : scale(40, 500));
}

TEST_F(foreign, by_unplug)
{
	taken_while_mapped(_metadata, self, UNPLUG, "device_del", scale(10, 100));
}

TEST_HARNESS_MAIN
