// SPDX-License-Identifier: GPL-2.0
/* Invalid arguments: bad pointers, partly readable arrays, undefined bits, arguments that change during a call. */
#include "pace.h"

#include <stddef.h>
#include <linux/userfaultfd.h>
#include <sys/epoll.h>
#include <sys/syscall.h>

enum { FILL = 0xa5 };

FIXTURE(hostile)
{
	int fd, eventfd, dma_buf;
	struct buffer buffer;
	/* Two pages, and the end of them, where an unmapped page begins. */
	unsigned char *page, *edge;
};

FIXTURE_SETUP(hostile)
{
	struct rdma_export export;

	self->fd = open_node(O_RDWR);
	ASSERT_LE(0, self->fd);
	self->eventfd = eventfd(0, EFD_CLOEXEC);
	ASSERT_LE(0, self->eventfd);
	ASSERT_EQ(0, allocate(self->fd, 2 * PAGE + window(self->fd), &self->buffer));
	export = (struct rdma_export){ .handle = self->buffer.handle };
	ASSERT_EQ(0, call(self->fd, RDMA_IOC_EXPORT, &export));
	self->dma_buf = export.fd;
	ASSERT_EQ(0, settle(self->fd, &self->buffer));
	self->page = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->page);
	self->edge = self->page + 2 * PAGE;
	ASSERT_EQ(0, munmap(self->edge, PAGE));
}

FIXTURE_TEARDOWN(hostile)
{
	hurry();
	close(self->fd);
	close(self->eventfd);
	close(self->dma_buf);
}

/* --- Each call, with a valid argument */

struct subject {
	const char *name;
	unsigned long number;
	bool writes; /* the call writes its argument */
	/* The bytes of the argument that must be 0. */
	struct {
		size_t offset, size;
	} zeros[2];
	uint32_t known_flags; /* the flags that may be set */
};

#define ZERO(type, member) { offsetof(struct type, member), sizeof(((struct type *)0)->member) }

static const struct subject subjects[] = {
	{ "DEVICE_INFO", RDMA_IOC_DEVICE_INFO, true },
	{ "ALLOC", RDMA_IOC_ALLOC, true, { ZERO(rdma_alloc, flags), ZERO(rdma_alloc, reserved) } },
	{ "REGISTER",
	  RDMA_IOC_REGISTER,
	  true,
	  { ZERO(rdma_register, flags), ZERO(rdma_register, reserved) },
	  RDMA_REGISTER_READ_ONLY },
	{ "FREE", RDMA_IOC_FREE, false, { ZERO(rdma_free, flags), ZERO(rdma_free, reserved) } },
	{ "BUFFER_INFO", RDMA_IOC_BUFFER_INFO, true, { ZERO(rdma_buffer_info, flags), ZERO(rdma_buffer_info, reserved) } },
	{ "EXPORT", RDMA_IOC_EXPORT, true, { ZERO(rdma_export, flags), ZERO(rdma_export, reserved) } },
	{ "IMPORT",
	  RDMA_IOC_IMPORT,
	  true,
	  { ZERO(rdma_import, flags), ZERO(rdma_import, reserved) },
	  RDMA_IMPORT_READ_ONLY },
	{ "TRANSFER", RDMA_IOC_TRANSFER, false, { ZERO(rdma_request, flags), ZERO(rdma_request, reserved) } },
	{ "SUBMIT", RDMA_IOC_SUBMIT, false, { ZERO(rdma_submit, flags), ZERO(rdma_submit, reserved) } },
	{ "WAIT", RDMA_IOC_WAIT, false, { ZERO(rdma_wait, flags), ZERO(rdma_wait, reserved) } },
	{ "CANCEL",
	  RDMA_IOC_CANCEL,
	  false,
	  { ZERO(rdma_cancel, flags), ZERO(rdma_cancel, reserved) },
	  RDMA_CANCEL_ALL },
	{ "EVENTFD", RDMA_IOC_EVENTFD, false, { ZERO(rdma_eventfd, flags), ZERO(rdma_eventfd, reserved) } },
	{ "COMPLETION_RING",
	  RDMA_IOC_COMPLETION_RING,
	  true,
	  { ZERO(rdma_completion_ring, flags), ZERO(rdma_completion_ring, reserved) } },
};

union argument {
	struct rdma_device_info info;
	struct rdma_alloc alloc;
	struct rdma_register registered;
	struct rdma_free free;
	struct rdma_buffer_info buffer;
	struct rdma_export export;
	struct rdma_import import;
	struct rdma_request request;
	struct rdma_submit submit;
	struct rdma_wait wait;
	struct rdma_cancel cancel;
	struct rdma_eventfd eventfd;
	struct rdma_completion_ring ring;
};

static unsigned char own_memory[100];
static struct rdma_request one_request;
static struct rdma_completion one_completion;

static union argument right(const FIXTURE_DATA(hostile) *self, unsigned long number)
{
	union argument argument = { 0 };

	one_request = moving(self->fd, &self->buffer, 77);
	switch (number) {
	case RDMA_IOC_ALLOC:
		argument.alloc = (struct rdma_alloc){ .size = PAGE };
		break;
	case RDMA_IOC_REGISTER:
		argument.registered = (struct rdma_register){ .address = (uintptr_t)own_memory, .size = sizeof(own_memory) };
		break;
	case RDMA_IOC_FREE:
		argument.free = (struct rdma_free){ .handle = self->buffer.handle };
		break;
	case RDMA_IOC_BUFFER_INFO:
		argument.buffer = (struct rdma_buffer_info){ .handle = self->buffer.handle };
		break;
	case RDMA_IOC_EXPORT:
		argument.export = (struct rdma_export){ .handle = self->buffer.handle };
		break;
	case RDMA_IOC_IMPORT:
		argument.import = (struct rdma_import){ .fd = self->dma_buf };
		break;
	case RDMA_IOC_TRANSFER:
		argument.request = one_request;
		break;
	case RDMA_IOC_SUBMIT:
		argument.submit = (struct rdma_submit){
			.requests = (uintptr_t)&one_request, .count = 1, .request_size = sizeof(one_request),
		};
		break;
	case RDMA_IOC_WAIT:
		argument.wait = (struct rdma_wait){
			.completions = (uintptr_t)&one_completion, .max = 1, .completion_size = sizeof(one_completion),
		};
		break;
	case RDMA_IOC_CANCEL:
		argument.cancel = (struct rdma_cancel){ .cookie = 4711 };
		break;
	case RDMA_IOC_EVENTFD:
		argument.eventfd = (struct rdma_eventfd){ .fd = self->eventfd };
		break;
	}
	return argument;
}

/* State that refused calls must not change. */
struct witness {
	uint32_t next_handle;
	int eventfd;
};

/* Creates one completion, sets an eventfd, and records the handle that the next buffer will have. */
static void record_state(struct __test_metadata *_metadata, FIXTURE_DATA(hostile) *self, struct witness *witness)
{
	struct rdma_alloc alloc = { .size = PAGE };

	witness->eventfd = eventfd(0, EFD_CLOEXEC);
	ASSERT_LE(0, witness->eventfd);
	ASSERT_EQ(0, tell(self->fd, witness->eventfd));
	ASSERT_EQ(1, submit_one(self->fd, moving(self->fd, &self->buffer, 42)));
	pause_us(2 * transfer_us);
	ASSERT_EQ(1, counted(witness->eventfd));
	ASSERT_EQ(0, call(self->fd, RDMA_IOC_ALLOC, &alloc));
	ASSERT_EQ(0, free_handle(self->fd, alloc.handle));
	witness->next_handle = alloc.handle;
}

static void check_state(struct __test_metadata *_metadata, FIXTURE_DATA(hostile) *self, struct witness *witness)
{
	struct rdma_completion completions[2];
	struct rdma_buffer_info info = { .handle = self->buffer.handle };
	struct rdma_alloc alloc = { .size = PAGE };

	/* Nothing was queued, cancelled or collected. */
	pause_us(2 * transfer_us);
	EXPECT_EQ(0, counted(witness->eventfd));
	EXPECT_EQ(1, take(self->fd, completions, 2));
	EXPECT_EQ(42, completions[0].cookie);
	/* No buffer was allocated or freed. */
	EXPECT_EQ(0, call(self->fd, RDMA_IOC_BUFFER_INFO, &info));
	EXPECT_EQ(self->buffer.size, info.size);
	EXPECT_EQ(0, info.requests);
	EXPECT_EQ(0, call(self->fd, RDMA_IOC_ALLOC, &alloc));
	EXPECT_EQ(witness->next_handle, alloc.handle);
	EXPECT_EQ(0, free_handle(self->fd, alloc.handle));
	/* The eventfd is the same. */
	EXPECT_EQ(1, submit_one(self->fd, moving(self->fd, &self->buffer, 43)));
	EXPECT_EQ(0, drain(self->fd, 1));
	EXPECT_EQ(1, counted(witness->eventfd));
	close(witness->eventfd);
}

/* --- Pointers */

#ifdef __LP64__
#define HIGH_POINTERS                                                            \
	0x00007ffffffff000UL,	    /* the page after the last user page */      \
		0x00007fffffffffffUL, /* the last byte of the lower half */        \
		0x0000800000000000UL, /* not canonical */                          \
		0x8000000000000000UL, 0xffff800000000000UL,                      \
		0xffff888000000000UL, /* the kernel's memory */                    \
		0xffffffff81000000UL, /* the kernel's code */                      \
		0xffffffffff600000UL, /* the vsyscall page */                      \
		0xffffffffff5fffffUL,
#else
#define HIGH_POINTERS 0xc0000000UL, 0xffffe000UL,
#endif

TEST_F(hostile, pointers_to_nothing)
{
	struct witness witness;

	record_state(_metadata, self, &witness);
	for (size_t i = 0; i < ARRAY_SIZE(subjects); i++) {
		size_t size = _IOC_SIZE(subjects[i].number);
		union argument argument = right(self, subjects[i].number);
		uintptr_t bad[] = {
			0,
			1,
			PAGE - 1,
			(uintptr_t)self->edge,
			(uintptr_t)self->edge - 1,
			(uintptr_t)self->edge - size / 2,
			(uintptr_t)self->edge - size + 1,
			HIGH_POINTERS(uintptr_t) - 1,
			(uintptr_t)-size,
		};

		for (size_t j = 0; j < ARRAY_SIZE(bad); j++) {
			/* Where the argument is readable, it is valid. */
			memset(self->page, 0, 2 * PAGE);
			if (bad[j] > (uintptr_t)self->page && bad[j] < (uintptr_t)self->edge)
				memcpy((void *)bad[j], &argument, (uintptr_t)self->edge - bad[j]);
			EXPECT_EQ(-EFAULT, call(self->fd, subjects[i].number, (void *)bad[j]))
				TH_LOG("%s at %#lx", subjects[i].name, (unsigned long)bad[j]);
		}
	}
	check_state(_metadata, self, &witness);
}

/* Whether the device can access the memory that is registered here. If not, the argument is not written. */
static bool can_register(const FIXTURE_DATA(hostile) *self)
{
	union argument argument = right(self, RDMA_IOC_REGISTER);

	return !call(self->fd, RDMA_IOC_REGISTER, &argument) && !free_handle(self->fd, argument.registered.handle);
}

/* An argument may extend into a read-only page, except for calls that write their argument. */
TEST_F(hostile, pointers_into_read_only_memory)
{
	unsigned char *boundary = self->page + PAGE;
	struct witness witness;

	record_state(_metadata, self, &witness);
	for (size_t i = 0; i < ARRAY_SIZE(subjects); i++) {
		size_t size = _IOC_SIZE(subjects[i].number);
		union argument argument = right(self, subjects[i].number);
		int fd = self->fd;

		if (!subjects[i].writes || (subjects[i].number == RDMA_IOC_REGISTER && !can_register(self)))
			continue;
		/* Only an idle context gets a ring. */
		if (subjects[i].number == RDMA_IOC_COMPLETION_RING)
			fd = open_node(O_RDWR);
		for (size_t inside = 0; inside < size; inside++) {
			ASSERT_EQ(0, mprotect(boundary, PAGE, PROT_READ | PROT_WRITE));
			memcpy(boundary - inside, &argument, size);
			ASSERT_EQ(0, mprotect(boundary, PAGE, PROT_READ));
			EXPECT_EQ(-EFAULT, call(fd, subjects[i].number, boundary - inside))
				TH_LOG("%s, %zu bytes can be written", subjects[i].name, inside);
		}
		if (fd != self->fd)
			close(fd);
	}
	check_state(_metadata, self, &witness);
}

/* Pointers to a page that is read-only, write-only, or not yet populated. */
TEST_F(hostile, pointers_to_pages_of_all_kinds)
{
	static const int forbidden[] = { PROT_NONE, PROT_EXEC };
	struct rdma_device_info *info;

	for (size_t i = 0; i < ARRAY_SIZE(forbidden); i++) {
		ASSERT_EQ(0, mprotect(self->page, PAGE, forbidden[i]));
		EXPECT_EQ(-EFAULT, call(self->fd, RDMA_IOC_DEVICE_INFO, self->page));
	}
	ASSERT_EQ(0, mprotect(self->page, PAGE, PROT_READ | PROT_WRITE));
	ASSERT_EQ(0, madvise(self->page, PAGE, MADV_DONTNEED));
	info = (void *)(self->page + PAGE - 8);
	EXPECT_EQ(0, call(self->fd, RDMA_IOC_DEVICE_INFO, info));
	EXPECT_EQ(RDMA_ABI_VERSION, info->abi_version);
}

/* --- Undefined bits */

TEST_F(hostile, each_bit_that_must_be_zero)
{
	struct witness witness;
	int tried = 0;

	record_state(_metadata, self, &witness);
	for (size_t i = 0; i < ARRAY_SIZE(subjects); i++)
		for (size_t j = 0; j < ARRAY_SIZE(subjects[i].zeros); j++)
			for (size_t bit = 0; bit < 8 * subjects[i].zeros[j].size; bit++) {
				union argument argument = right(self, subjects[i].number);
				unsigned char *field = (unsigned char *)&argument + subjects[i].zeros[j].offset;

				if (j == 0 && bit < 32 && subjects[i].known_flags & 1U << bit)
					continue;
				field[bit / 8] |= 1 << bit % 8;
				EXPECT_EQ(-EINVAL, call(self->fd, subjects[i].number, &argument))
					TH_LOG("%s, bit %zu of what must be 0, number %zu", subjects[i].name, bit, j);
				tried++;
			}
	/* The cookie is a reserved field when all requests are cancelled. */
	for (int bit = 0; bit < 64; bit++) {
		struct rdma_cancel all = { .cookie = 1ULL << bit, .flags = RDMA_CANCEL_ALL };

		EXPECT_EQ(-EINVAL, call(self->fd, RDMA_IOC_CANCEL, &all));
	}
	/* Undefined bits of a request in an array. */
	for (size_t bit = 1; bit < 32 + 128; bit++) {
		struct rdma_request request = moving(self->fd, &self->buffer, 77);

		if (bit < 32)
			request.flags = 1U << bit;
		else
			request.reserved[(bit - 32) / 64] = 1ULL << bit % 64;
		EXPECT_EQ(-EINVAL, submit_one(self->fd, request)) TH_LOG("bit %zu of a request", bit);
	}
	TH_LOG("%d bits", tried);
	check_state(_metadata, self, &witness);
}

/* --- Arrays that end in unmapped memory */

/* Writes `whole` requests with cookies from `first` on, and the first `part` bytes of another one, up to `edge`. */
static struct rdma_request *array_of_requests(FIXTURE_DATA(hostile) *self, unsigned char *edge, int whole, int part,
					      uint64_t first, uint32_t flags)
{
	struct rdma_request *array = (void *)(edge - part - whole * sizeof(*array));
	struct rdma_request last = moving(self->fd, &self->buffer, first + whole);

	for (int i = 0; i < whole; i++) {
		array[i] = moving(self->fd, &self->buffer, first + i);
		array[i].flags = flags;
	}
	memcpy(array + whole, &last, part);
	return array;
}

/* Cancels the queued requests, collects all completions, and checks that they have `count` cookies from `first` on. */
static void expect_queued(struct __test_metadata *_metadata, int fd, uint64_t first, int count)
{
	static struct rdma_completion completions[DEPTH];
	bool seen[DEPTH] = { false };
	int got;

	ASSERT_LE(0, cancel_all(fd));
	got = collect(fd, completions, count, DEPTH, 3 * transfer_us * 1000);
	ASSERT_EQ(count, got);
	for (int i = 0; i < got; i++) {
		ASSERT_LE(first, completions[i].cookie);
		ASSERT_GT(first + count, completions[i].cookie);
		EXPECT_FALSE(seen[completions[i].cookie - first]);
		seen[completions[i].cookie - first] = true;
	}
	EXPECT_EQ(0, take(fd, completions, 1));
}

TEST_F(hostile, submit_of_an_array_that_ends_early)
{
	static const int parts[] = { 0, 1, 8, 32, sizeof(struct rdma_request) - 1 };
	static const int wholes[] = { 0, 1, 2, 31, 32, 33, 64 };
	uint64_t first = 1000;

	for (size_t i = 0; i < ARRAY_SIZE(wholes); i++)
		for (size_t j = 0; j < ARRAY_SIZE(parts); j++) {
			struct rdma_request *array =
				array_of_requests(self, self->edge, wholes[i], parts[j], first, 0);
			int counts[] = { wholes[i] + 1, wholes[i] + 2, DEPTH };

			for (size_t k = 0; k < ARRAY_SIZE(counts); k++) {
				EXPECT_EQ(wholes[i] ? wholes[i] : -EFAULT, submit(self->fd, array, counts[k]));
				expect_queued(_metadata, self->fd, first, wholes[i]);
			}
			first += 1000;
		}
}

/* A chain whose end is not readable is not accepted. Requests before the chain are accepted. */
TEST_F(hostile, submit_of_a_chain_that_ends_early)
{
	struct rdma_request *array = array_of_requests(self, self->edge, 20, 0, 0, RDMA_REQUEST_LINK);

	EXPECT_EQ(-EFAULT, submit(self->fd, array, 21));
	expect_queued(_metadata, self->fd, 0, 0);
	array[7].flags = 0;
	EXPECT_EQ(8, submit(self->fd, array, 21));
	expect_queued(_metadata, self->fd, 0, 8);
}

/* An unmapped page within a large array. */
TEST_F(hostile, submit_of_an_array_with_a_hole)
{
	const int before = 2 * PAGE / sizeof(struct rdma_request);
	size_t bytes = DEPTH * sizeof(struct rdma_request);
	unsigned char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ASSERT_NE(MAP_FAILED, memory);
	array_of_requests(self, memory + bytes, DEPTH, 0, 0, 0);
	ASSERT_EQ(0, munmap(memory + 2 * PAGE, PAGE));
	EXPECT_EQ(before, submit(self->fd, (void *)memory, DEPTH));
	expect_queued(_metadata, self->fd, 0, before);
	/* Submitting the remaining requests again returns the error. */
	EXPECT_EQ(-EFAULT, submit(self->fd, (struct rdma_request *)memory + before, DEPTH - before));
	expect_queued(_metadata, self->fd, 0, 0);
	munmap(memory, bytes);
}

TEST_F(hostile, submit_from_read_only_memory)
{
	struct rdma_request *array = array_of_requests(self, self->edge, 40, 0, 0, 0);

	ASSERT_EQ(0, mprotect(self->page, 2 * PAGE, PROT_READ));
	EXPECT_EQ(40, submit(self->fd, array, 40));
	expect_queued(_metadata, self->fd, 0, 40);
}

/* Creates `count` completions with cookies from `first` on, in this order, followed by one with the cookie 0. */
static void make_completions(struct __test_metadata *_metadata, FIXTURE_DATA(hostile) *self, uint64_t first, int count)
{
	ASSERT_EQ(1, submit_one(self->fd, moving(self->fd, &self->buffer, 0)));
	ASSERT_EQ(count, submit_many(self->fd, &self->buffer, count, first));
	/* All requests but the one that the engine has begun. */
	ASSERT_EQ(count, cancel_all(self->fd));
	pause_us(2 * transfer_us);
}

/* With room for `whole` completions and `part` bytes, WAIT collects `whole` ones. Later calls collect the others in order. */
static void wait_into(struct __test_metadata *_metadata, FIXTURE_DATA(hostile) *self, unsigned char *edge, int whole,
		      int part, int total)
{
	static struct rdma_completion rest[DEPTH];
	struct rdma_completion *array = (void *)(edge - part - whole * sizeof(*array));
	int got = 0;

	make_completions(_metadata, self, 1000, total - 1);
	memset(self->page, FILL, PAGE);
	EXPECT_EQ(whole ? whole : -EFAULT, collect(self->fd, array, 0, DEPTH, 0))
		TH_LOG("room for %d and %d bytes", whole, part);
	EXPECT_EQ(POLLIN | POLLRDNORM, polled(self->fd));
	for (int i = 0; i < whole; i++) {
		EXPECT_EQ(1000 + i, array[i].cookie);
		EXPECT_EQ(-ECANCELED, array[i].status);
	}
	/* Calls that fail lose no completion. */
	EXPECT_EQ(-EFAULT, collect(self->fd, (void *)edge, 0, DEPTH, 0));
	EXPECT_EQ(-EFAULT, collect(self->fd, NULL, 1, 1, FOREVER));
	got = collect(self->fd, rest, 0, DEPTH, 0);
	EXPECT_EQ(total - whole, got);
	for (int i = 0; i < got - 1; i++) {
		EXPECT_EQ(1000 + whole + i, rest[i].cookie);
	}
	EXPECT_EQ(0, rest[got - 1].cookie);
	EXPECT_EQ(0, rest[got - 1].status);
	EXPECT_EQ(0, take(self->fd, rest, 1));
}

static const int parts[] = { 0, 1, 8, sizeof(struct rdma_completion) - 1 };
static const int wholes[] = { 0, 1, 5, 31, 32, 33, 63, 64, 65, 100 };

TEST_F(hostile, wait_into_an_array_that_ends_early)
{
	for (size_t i = 0; i < ARRAY_SIZE(wholes); i++)
		for (size_t j = 0; j < ARRAY_SIZE(parts); j++)
			wait_into(_metadata, self, self->edge, wholes[i], parts[j], 130);
}

TEST_F(hostile, wait_into_an_array_that_becomes_read_only)
{
	ASSERT_EQ(0, mprotect(self->page + PAGE, PAGE, PROT_READ));
	for (size_t i = 0; i < ARRAY_SIZE(wholes); i++)
		wait_into(_metadata, self, self->page + PAGE, wholes[i], parts[i % ARRAY_SIZE(parts)], 130);
}

/* Completions that could not be written still count against the depth. */
TEST_F(hostile, depth_after_a_wait_into_nothing)
{
	static struct rdma_completion completions[DEPTH];
	struct rdma_completion *three = (void *)(self->edge - 3 * sizeof(*three));

	ASSERT_EQ(DEPTH, submit_many(self->fd, &self->buffer, DEPTH, 0));
	ASSERT_LE(DEPTH - 1, cancel_all(self->fd));
	for (int i = 0; i < 20; i++) {
		ASSERT_EQ(-EFAULT, collect(self->fd, (void *)self->edge, 0, DEPTH, 0));
	}
	EXPECT_EQ(-EAGAIN, submit_many(self->fd, &self->buffer, 1, 0));
	EXPECT_EQ(3, collect(self->fd, three, 0, DEPTH, 0));
	EXPECT_EQ(3, submit_many(self->fd, &self->buffer, 5, 0));
	EXPECT_EQ(-EAGAIN, submit_many(self->fd, &self->buffer, 1, 0));
	ASSERT_LE(0, cancel_all(self->fd));
	EXPECT_EQ(DEPTH, collect(self->fd, completions, DEPTH, DEPTH, 10 * transfer_us * 1000));
	EXPECT_EQ(DEPTH, submit_many(self->fd, &self->buffer, DEPTH, 0));
}

/* WAIT writes nothing after the collected completions, although the array is larger. */
TEST_F(hostile, wait_writes_what_it_says)
{
	struct rdma_completion *array = (void *)self->page;
	struct rdma_wait wait = {
		.completions = (uintptr_t)array, .max = UINT32_MAX, .completion_size = sizeof(*array),
	};

	make_completions(_metadata, self, 1000, 9);
	memset(self->page, FILL, 2 * PAGE);
	EXPECT_EQ(4, collect(self->fd, array, 0, 4, 0));
	EXPECT_EQ(0, differing(array + 4, FILL, 2 * PAGE - 4 * sizeof(*array)));
	EXPECT_EQ(6, call(self->fd, RDMA_IOC_WAIT, &wait));
	EXPECT_EQ(0, differing(array + 6, FILL, 2 * PAGE - 6 * sizeof(*array)));
	memset(self->page, FILL, 2 * PAGE);
	EXPECT_EQ(0, call(self->fd, RDMA_IOC_WAIT, &wait));
	EXPECT_EQ(0, differing(array, FILL, 2 * PAGE));
}

/* Arrays whose end address overflows, or that are not in user space. */
TEST_F(hostile, arrays_elsewhere)
{
	const uint64_t size = sizeof(struct rdma_request);
	uint64_t bad[] = {
		0,
		1,
		UINT64_MAX,
		-size,
		-size + 1,
		-2 * size,
		0 - DEPTH * size,
		1ULL << 63,
		INT64_MAX,
#ifndef __LP64__
		/* These are not 32-bit addresses, although their lower halves are valid addresses. */
		(1ULL << 32) + (uintptr_t)self->page,
		(1ULL << 63) + (uintptr_t)self->page,
#endif
		HIGH_POINTERS(uintptr_t) self->edge,
	};
	struct witness witness;

	memset(self->page, FILL, 2 * PAGE);
	*(struct rdma_request *)self->page = moving(self->fd, &self->buffer, 1);
	record_state(_metadata, self, &witness);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		for (uint32_t count = 1; count <= DEPTH; count *= 32) {
			struct rdma_submit submit = { .requests = bad[i], .count = count, .request_size = size };
			struct rdma_wait wait = {
				.completions = bad[i], .max = count, .completion_size = sizeof(struct rdma_completion),
			};

			EXPECT_EQ(-EFAULT, call(self->fd, RDMA_IOC_SUBMIT, &submit))
				TH_LOG("%#llx", (unsigned long long)bad[i]);
			EXPECT_EQ(-EFAULT, call(self->fd, RDMA_IOC_WAIT, &wait))
				TH_LOG("%#llx", (unsigned long long)bad[i]);
		}
	EXPECT_EQ(0, differing(self->page + size, FILL, 2 * PAGE - size));
	check_state(_metadata, self, &witness);
}

/* --- Numbers that are too large or too small */

TEST_F(hostile, counts)
{
	static const uint32_t wrong[] = { 0, DEPTH + 1, 1U << 26, 1U << 31, UINT32_MAX };
	static const struct {
		uint32_t min, max;
	} pairs[] = {
		{ 0, 0 }, { 1, 0 }, { 2, 1 }, { DEPTH + 1, DEPTH + 1 }, { UINT32_MAX, UINT32_MAX }, { UINT32_MAX, 1 },
		{ 1U << 31, UINT32_MAX },
	};
	struct witness witness;

	record_state(_metadata, self, &witness);
	array_of_requests(self, self->edge, 100, 0, 0, 0);
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		EXPECT_EQ(-EINVAL, submit(self->fd, (void *)self->page, wrong[i]));
	}
	for (size_t i = 0; i < ARRAY_SIZE(pairs); i++) {
		EXPECT_EQ(-EINVAL, collect(self->fd, (void *)self->page, pairs[i].min, pairs[i].max, 0))
			TH_LOG("min %u, max %u", pairs[i].min, pairs[i].max);
		EXPECT_EQ(-EINVAL, collect(self->fd, (void *)self->page, pairs[i].min, pairs[i].max, FOREVER));
	}
	check_state(_metadata, self, &witness);
}

TEST_F(hostile, deadlines)
{
	static const int64_t far[] = { INT64_MAX, INT64_MAX - 1, 1LL << 62 };
	static const int64_t past[] = { INT64_MIN, INT64_MIN + 1, -1, 0, 1 };
	struct rdma_completion completion;
	int64_t began;

	for (size_t i = 0; i < ARRAY_SIZE(far); i++) {
		ASSERT_EQ(1, submit_many(self->fd, &self->buffer, 1, 0));
		began = now();
		EXPECT_EQ(1, collect_until(self->fd, &completion, 1, 1, far[i])) TH_LOG("%lld ns", (long long)far[i]);
		EXPECT_LE(transfer_us / 2, now() - began);
	}
	for (size_t i = 0; i < ARRAY_SIZE(past); i++) {
		began = now();
		EXPECT_EQ(0, collect_until(self->fd, &completion, 1, 1, past[i])) TH_LOG("%lld ns", (long long)past[i]);
		EXPECT_GE(transfer_us, now() - began);
	}
}

TEST_F(hostile, ranges)
{
	const uint64_t numbers[] = {
		0,	    1,		PAGE,		  2 * PAGE - 1, 2 * PAGE,  2 * PAGE + 1, 1ULL << 31,
		1ULL << 32, (1ULL << 32) + 1, 1ULL << 63, INT64_MAX,	-0x1000LL, -0x1fffLL,	 UINT64_MAX,
	};
	static const uint32_t operations[] = { RDMA_OP_TO_DEVICE, RDMA_OP_FROM_DEVICE, RDMA_OP_COPY, 0, 4, UINT32_MAX };
	int refused = 0, accepted = 0, wrong = 0;
	bool memory = has_memory(self->fd);
	struct buffer buffer;

	ASSERT_EQ(0, allocate(self->fd, 2 * PAGE, &buffer));
	for (size_t i = 0; i < ARRAY_SIZE(operations); i++)
		for (size_t j = 0; j < ARRAY_SIZE(numbers); j++)
			for (size_t k = 0; k < ARRAY_SIZE(numbers); k++)
				for (size_t l = 0; l < ARRAY_SIZE(numbers); l++) {
					uint32_t operation = operations[i], handle = buffer.handle;
					uint64_t from = numbers[j], to = numbers[k], length = numbers[l];
					uint64_t of_source = operation == RDMA_OP_FROM_DEVICE ? DEVICE_MEMORY : 2 * PAGE;
					uint64_t of_destination = operation == RDMA_OP_TO_DEVICE ? DEVICE_MEMORY : 2 * PAGE;
					struct rdma_request request = {
						.operation = operation,
						.source = operation == RDMA_OP_FROM_DEVICE ? 0 : handle,
						.destination = operation == RDMA_OP_TO_DEVICE ? 0 : handle,
						.source_offset = from,
						.destination_offset = to,
						.length = length,
					};
					bool good = operation >= 1 && operation <= 3 && length > 0 && from <= of_source &&
						    length <= of_source - from && to <= of_destination &&
						    length <= of_destination - to &&
						    !(operation == RDMA_OP_COPY && from < to + length && to < from + length) &&
						    (memory || operation == RDMA_OP_COPY);
					int answer = submit_one(self->fd, request);

					accepted += good;
					refused += !good;
					wrong += answer != (good ? 1 : -EINVAL);
					if (good)
						cancel_all(self->fd);
				}
	EXPECT_EQ(0, wrong);
	TH_LOG("%d accepted, %d refused", accepted, refused);
	EXPECT_LT(10, accepted);
}

TEST_F(hostile, descriptors_that_are_no_eventfds)
{
	struct witness witness;
	int pipes[2], epoll = epoll_create1(EPOLL_CLOEXEC);

	ASSERT_EQ(0, pipe(pipes));
	record_state(_metadata, self, &witness);
	EXPECT_EQ(-EBADF, tell(self->fd, -2));
	EXPECT_EQ(-EBADF, tell(self->fd, INT32_MIN));
	EXPECT_EQ(-EBADF, tell(self->fd, INT32_MAX));
	EXPECT_EQ(-EBADF, tell(self->fd, 1000));
	EXPECT_EQ(-EINVAL, tell(self->fd, self->fd));
	EXPECT_EQ(-EINVAL, tell(self->fd, pipes[0]));
	EXPECT_EQ(-EINVAL, tell(self->fd, pipes[1]));
	EXPECT_EQ(-EINVAL, tell(self->fd, epoll));
	check_state(_metadata, self, &witness);
	close(pipes[0]);
	close(pipes[1]);
	close(epoll);
}

/* --- Arguments in a buffer of the driver */

TEST_F(hostile, arguments_in_a_buffer)
{
	struct rdma_request *requests = (void *)self->buffer.bytes;
	struct rdma_completion *completions = (void *)(self->buffer.bytes + PAGE);
	struct rdma_submit *submit = (void *)(completions + 70);
	struct rdma_alloc *alloc = (void *)(self->buffer.bytes + 2 * PAGE - sizeof(*alloc));
	unsigned char *fresh;

	for (int i = 0; i < 64; i++)
		requests[i] = storing(self->fd, &self->buffer, 0, DEVICE_MEMORY, i);
	*submit = (struct rdma_submit){
		.requests = (uintptr_t)requests, .count = 64, .request_size = sizeof(*requests),
	};
	EXPECT_EQ(64, call(self->fd, RDMA_IOC_SUBMIT, submit));
	/* A page that has not been accessed through this mapping. */
	fresh = map(self->fd, self->buffer.offset, 2 * PAGE, PROT_READ | PROT_WRITE);
	ASSERT_NE(NULL, fresh);
	EXPECT_EQ(64, collect(self->fd, (void *)(fresh + PAGE), 64, 64, FOREVER));
	for (int i = 0; i < 64; i++) {
		EXPECT_EQ(i, completions[i].cookie);
		EXPECT_EQ(DEVICE_MEMORY, completions[i].bytes);
	}
	*alloc = (struct rdma_alloc){ .size = 1 };
	EXPECT_EQ(0, call(self->fd, RDMA_IOC_ALLOC, alloc));
	EXPECT_EQ(PAGE, alloc->size);
	EXPECT_EQ(0, free_handle(self->fd, alloc->handle));
	munmap(fresh, 2 * PAGE);
}

/* --- Slow memory: two pages. An access to the second one waits until the test populates it (userfaultfd(2)). */

FIXTURE(slow)
{
	int fd, faults;
	struct buffer buffer;
	unsigned char *page, *missing;
	pthread_t thread;
	struct rdma_request *requests;
	struct rdma_completion *completions;
	uint32_t count;
	int answer;
};

FIXTURE_SETUP(slow)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register range = { .range.len = PAGE, .mode = UFFDIO_REGISTER_MODE_MISSING };

	self->fd = open_node(O_RDWR);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, allocate(self->fd, PAGE + window(self->fd), &self->buffer));
	ASSERT_EQ(0, settle(self->fd, &self->buffer));
	self->page = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->page);
	self->missing = self->page + PAGE;
	self->faults = syscall(SYS_userfaultfd, O_CLOEXEC);
	ASSERT_LE(0, self->faults);
	ASSERT_EQ(0, ioctl(self->faults, UFFDIO_API, &api));
	range.range.start = (uintptr_t)self->missing;
	ASSERT_EQ(0, ioctl(self->faults, UFFDIO_REGISTER, &range));
}

FIXTURE_TEARDOWN(slow)
{
	hurry();
	close(self->faults);
	close(self->fd);
}

static void *submits_slowly(void *argument)
{
	FIXTURE_DATA(slow) *self = argument;

	self->answer = submit(self->fd, self->requests, self->count);
	return NULL;
}

static void *collects_slowly(void *argument)
{
	FIXTURE_DATA(slow) *self = argument;

	self->answer = take(self->fd, self->completions, self->count);
	return NULL;
}

/* Waits until the thread has accessed the missing page. */
static void wait_for_fault(struct __test_metadata *_metadata, FIXTURE_DATA(slow) *self)
{
	struct uffd_msg message;

	ASSERT_EQ(sizeof(message), read(self->faults, &message, sizeof(message)));
	ASSERT_EQ(UFFD_EVENT_PAGEFAULT, message.event);
}

/* Populates the missing page with `bytes`, or unmaps it (NULL), and waits until the thread has ended. */
static void end_fault(struct __test_metadata *_metadata, FIXTURE_DATA(slow) *self, const void *bytes)
{
	struct uffdio_copy filled = {
		.dst = (uintptr_t)self->missing,
		.src = (uintptr_t)bytes,
		.len = PAGE,
	};
	struct uffdio_range range = { .start = (uintptr_t)self->missing, .len = PAGE };

	if (bytes) {
		ASSERT_EQ(0, ioctl(self->faults, UFFDIO_COPY, &filled));
	} else {
		ASSERT_EQ(0, munmap(self->missing, PAGE));
		ASSERT_EQ(0, ioctl(self->faults, UFFDIO_WAKE, &range));
	}
	ASSERT_EQ(0, pthread_join(self->thread, NULL));
}

/* A call is delayed after five readable requests. Other calls do not wait for it, and the unused room is released afterwards. */
TEST_F(slow, submit)
{
	enum { READ = 5, COUNT = 12 };

	for (int ends = 0; ends < 3; ends++) {
		struct rdma_request page[PAGE / sizeof(struct rdma_request)];
		static struct rdma_completion completions[DEPTH];
		struct buffer another;
		int expected;

		ASSERT_EQ(0, madvise(self->missing, PAGE, MADV_DONTNEED));
		ASSERT_EQ(0, allocate(self->fd, PAGE, &another));
		self->requests = (struct rdma_request *)self->missing - READ;
		self->count = COUNT;
		for (int i = 0; i < READ; i++)
			self->requests[i] = moving(self->fd, &another, i);
		for (int i = 0; i < COUNT - READ; i++)
			page[i] = moving(self->fd, &another, READ + i);
		ASSERT_EQ(0, pthread_create(&self->thread, NULL, submits_slowly, self));
		wait_for_fault(_metadata, self);
		/* Room is reserved for all requests of the call, and no more. */
		EXPECT_EQ(DEPTH - COUNT, submit_many(self->fd, &self->buffer, DEPTH, 100));
		EXPECT_EQ(-EAGAIN, submit_many(self->fd, &self->buffer, 1, 0));
		EXPECT_EQ(DEPTH - COUNT - 1, cancel_all(self->fd));
		EXPECT_EQ(DEPTH - COUNT, collect(self->fd, completions, DEPTH - COUNT, DEPTH, FOREVER));
		EXPECT_EQ(0, move_once(self->fd, &self->buffer));
		/* 0: all requests are readable; 1: the last ones are not; 2: the handle is freed before the last ones are read. */
		expected = ends ? READ : COUNT;
		if (ends == 2) {
			ASSERT_EQ(0, release(self->fd, &another));
		}
		end_fault(_metadata, self, ends == 1 ? NULL : page);
		EXPECT_EQ(expected, self->answer);
		EXPECT_EQ(expected, collect(self->fd, completions, expected, DEPTH, FOREVER));
		for (int i = 0; i < expected; i++) {
			EXPECT_EQ(i, completions[i].cookie);
			EXPECT_EQ(0, completions[i].status);
		}
		if (ends == 1) {
			/* The page is mapped again for the last round. */
			struct uffdio_register range = { .range = { (uintptr_t)self->missing, PAGE },
							 .mode = UFFDIO_REGISTER_MODE_MISSING };

			ASSERT_EQ(self->missing, mmap(self->missing, PAGE, PROT_READ | PROT_WRITE,
						      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
			ASSERT_EQ(0, ioctl(self->faults, UFFDIO_REGISTER, &range));
		}
	}
}

/* A completion that is being written still counts against the depth, and is put back if it cannot be written. */
TEST_F(slow, wait)
{
	enum { THERE = 200, COUNT = 64 };
	static struct rdma_completion completions[DEPTH];
	int others;

	ASSERT_EQ(1, submit_many(self->fd, &self->buffer, 1, THERE - 1));
	ASSERT_EQ(THERE - 1, submit_many(self->fd, &self->buffer, THERE - 1, 0));
	ASSERT_EQ(THERE - 1, cancel_all(self->fd));
	pause_us(2 * transfer_us);

	self->completions = (struct rdma_completion *)self->missing;
	self->count = COUNT;
	ASSERT_EQ(0, pthread_create(&self->thread, NULL, collects_slowly, self));
	wait_for_fault(_metadata, self);
	/* There is no additional room yet. */
	EXPECT_EQ(DEPTH - THERE, submit_many(self->fd, &self->buffer, DEPTH, THERE));
	/* Other threads can collect the completions that this thread does not collect. */
	EXPECT_EQ(POLLIN | POLLRDNORM, polled(self->fd));
	others = take(self->fd, completions, THERE - COUNT);
	EXPECT_EQ(THERE - COUNT, others);
	for (int i = 0; i < others; i++) {
		EXPECT_EQ(COUNT + i, completions[i].cookie);
	}
	end_fault(_metadata, self, NULL);
	EXPECT_EQ(-EFAULT, self->answer);
	ASSERT_LE(0, cancel_all(self->fd));
	EXPECT_EQ(DEPTH - others, collect(self->fd, completions, DEPTH - others, DEPTH, 10 * transfer_us * 1000));
	for (int i = 0; i < COUNT; i++) {
		EXPECT_EQ(i, completions[i].cookie);
	}
	/* There are no other completions. */
	EXPECT_EQ(0, take(self->fd, completions, DEPTH));
}

static void *allocates_slowly(void *argument)
{
	FIXTURE_DATA(slow) *self = argument;

	self->answer = call(self->fd, RDMA_IOC_ALLOC, self->missing);
	return NULL;
}

/* While ALLOC writes its result, the handle is neither valid nor free. If this write fails, no other buffer loses its handle. */
TEST_F(slow, alloc)
{
	struct uffdio_register range = { .range = { (uintptr_t)self->missing, PAGE }, .mode = UFFDIO_REGISTER_MODE_WP };
	struct uffdio_writeprotect protect = { .range = range.range, .mode = UFFDIO_WRITEPROTECT_MODE_WP };
	struct rdma_alloc *slow = (struct rdma_alloc *)self->missing;
	struct rdma_buffer_info asked = {};
	struct uffdio_writeprotect permit = { .range = range.range };
	struct buffer another;
	uint32_t next;

	for (int answered = 0; answered < 2; answered++) {
		ASSERT_EQ(0, ioctl(self->faults, UFFDIO_UNREGISTER, &range.range));
		*slow = (struct rdma_alloc){ .size = PAGE };
		ASSERT_EQ(0, ioctl(self->faults, UFFDIO_REGISTER, &range));
		ASSERT_EQ(0, ioctl(self->faults, UFFDIO_WRITEPROTECT, &protect));
		/* The next handle is the one that was freed last. */
		ASSERT_EQ(0, allocate(self->fd, PAGE, &another));
		ASSERT_EQ(0, release(self->fd, &another));
		next = another.handle;
		ASSERT_EQ(0, pthread_create(&self->thread, NULL, allocates_slowly, self));
		wait_for_fault(_metadata, self);

		asked.handle = next;
		EXPECT_EQ(-EINVAL, call(self->fd, RDMA_IOC_BUFFER_INFO, &asked));
		EXPECT_EQ(-EINVAL, free_handle(self->fd, next));
		ASSERT_EQ(0, allocate(self->fd, PAGE, &another));
		EXPECT_NE(next, another.handle);
		if (answered) {
			ASSERT_EQ(0, ioctl(self->faults, UFFDIO_WRITEPROTECT, &permit));
		} else {
			ASSERT_EQ(0, mprotect(self->missing, PAGE, PROT_READ));
			ASSERT_EQ(0, ioctl(self->faults, UFFDIO_WAKE, &range.range));
		}
		ASSERT_EQ(0, pthread_join(self->thread, NULL));
		EXPECT_EQ(answered ? 0 : -EFAULT, self->answer);
		EXPECT_EQ(0, move_once(self->fd, &another));
		EXPECT_EQ(0, release(self->fd, &another));
		ASSERT_EQ(0, mprotect(self->missing, PAGE, PROT_READ | PROT_WRITE));
	}
	EXPECT_EQ(next, slow->handle);
	EXPECT_EQ(0, free_handle(self->fd, next));
	EXPECT_EQ(-EINVAL, free_handle(self->fd, next));
}

/* The file is closed during a call. The call finishes, and nothing is leaked. */
TEST_F(slow, closed_meanwhile)
{
	struct rdma_request page[PAGE / sizeof(struct rdma_request)];
	int fd = self->fd;
	int64_t began;

	self->requests = (void *)self->missing;
	self->count = ARRAY_SIZE(page);
	for (size_t i = 0; i < ARRAY_SIZE(page); i++)
		page[i] = moving(self->fd, &self->buffer, i);
	ASSERT_EQ(0, munmap(self->buffer.bytes, self->buffer.size));
	ASSERT_EQ(0, pthread_create(&self->thread, NULL, submits_slowly, self));
	wait_for_fault(_metadata, self);
	ASSERT_EQ(0, close(fd));
	end_fault(_metadata, self, page);
	EXPECT_EQ(ARRAY_SIZE(page), self->answer);
	self->fd = open_node(O_RDWR);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, allocate(self->fd, PAGE + window(self->fd), &self->buffer));
	began = now();
	EXPECT_EQ(0, move_once(self->fd, &self->buffer));
	EXPECT_GE(2 * transfer_us + slack_us(transfer_us / 10), now() - began);
}

/* --- Arguments that change while they are read */

enum { BATCH = 48, VALUES = 8, STEPS = 40, STEP_US = 100000, FLIPS = 1000000, FLIPPED = 4 };

/* Memory that the flipping thread writes to, and that is the argument of calls. */
struct target {
	struct rdma_submit submit;
	struct rdma_wait wait;
	struct rdma_cancel cancel;
	struct rdma_eventfd eventfd;
	struct rdma_alloc alloc;
	struct rdma_free free;
	struct rdma_buffer_info buffer;
	struct rdma_request transfer;
	struct rdma_request requests[BATCH];
};

FIXTURE(flipped)
{
	struct target *target;
	/* Two arrays for the maximum number of completions, in memory that must not change elsewhere. */
	unsigned char *memory, *arrays[2];
	int fd, eventfd;
	struct buffer buffers[FLIPPED];
	/* Buffers of another file, which must not change. */
	int other;
	struct buffer others[FLIPPED];
};

/* The size of the two arrays and of the pages around them. */
#define ARRAY_BYTES (DEPTH * sizeof(struct rdma_completion))
#define ALL_BYTES (2 * ARRAY_BYTES + 6 * PAGE)

FIXTURE_SETUP(flipped)
{
	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		SKIP(return, "races need more than one CPU");
	self->fd = open_node(O_RDWR);
	ASSERT_LE(0, self->fd);
	self->other = open_node(O_RDWR);
	ASSERT_LE(0, self->other);
	self->eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	ASSERT_LE(0, self->eventfd);
	for (int i = 0; i < FLIPPED; i++) {
		ASSERT_EQ(0, allocate(self->fd, 2 * PAGE, &self->buffers[i]));
		ASSERT_EQ(0, allocate(self->other, 2 * PAGE, &self->others[i]));
		memset(self->others[i].bytes, FILL, 2 * PAGE);
		memset(self->buffers[i].bytes, 0x11, 2 * PAGE);
	}
	self->target = mmap(NULL, sizeof(*self->target), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->target);
	self->memory = mmap(NULL, ALL_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->memory);
	memset(self->memory, FILL, ALL_BYTES);
	self->arrays[0] = self->memory + 2 * PAGE;
	self->arrays[1] = self->arrays[0] + ARRAY_BYTES + 2 * PAGE;
}

FIXTURE_TEARDOWN(flipped)
{
	close(self->fd);
	close(self->other);
	close(self->eventfd);
}

struct flipping {
	pthread_t thread;
	FIXTURE_DATA(flipped) *self;
	volatile bool *over;
	unsigned int seed;
	volatile long calls, succeeded, accepted;
	long collected;
	int unexpected;
	volatile bool done;
};

static struct target right_target(const FIXTURE_DATA(flipped) *self)
{
	bool memory = has_memory(self->fd);
	struct target target = {
		.submit = {
			.requests = (uintptr_t)self->target->requests,
			.count = BATCH,
			.request_size = sizeof(struct rdma_request),
		},
		.wait = {
			.completions = (uintptr_t)self->arrays[0],
			.max = DEPTH,
			.completion_size = sizeof(struct rdma_completion),
		},
		.cancel = { .flags = RDMA_CANCEL_ALL },
		.eventfd = { .fd = self->eventfd },
		.alloc = { .size = PAGE },
		.free = { .handle = 1000 },
		.buffer = { .handle = self->buffers[0].handle },
	};

	for (int i = 0; i < BATCH; i++) {
		const struct buffer *buffer = &self->buffers[i % FLIPPED];

		target.requests[i] = !memory	? copying(buffer, PAGE, buffer, 0, PAGE, i) :
				     i % 3 == 0 ? writing(buffer, 0, 0, DEVICE_MEMORY, i) :
				     i % 3 == 1 ? reading(buffer, 0, 0, DEVICE_MEMORY, i) :
						  copying(buffer, PAGE, buffer, 0, PAGE, i);
	}
	target.transfer = target.requests[0];
	return target;
}

/* Changes one field of a request. Each value is valid by itself, or together with another field. */
static void flip_request(FIXTURE_DATA(flipped) *self, volatile struct rdma_request *request, unsigned int *seed)
{
	const uint64_t numbers[VALUES] = {
		0, 1, DEVICE_MEMORY - 1, DEVICE_MEMORY, 2 * PAGE - 1, 2 * PAGE, 1ULL << 32, UINT64_MAX,
	};
	uint32_t handles[VALUES] = { 0, 1000, UINT32_MAX, 9 };

	for (int i = 0; i < FLIPPED; i++)
		handles[VALUES - 1 - i] = self->buffers[i].handle;
	switch (rand_r(seed) % 9) {
	case 0:
		request->operation = rand_r(seed) % 5;
		break;
	case 1:
		request->flags = rand_r(seed) % 3;
		break;
	case 2:
		request->source = handles[rand_r(seed) % VALUES];
		break;
	case 3:
		request->destination = handles[rand_r(seed) % VALUES];
		break;
	case 4:
		request->source_offset = numbers[rand_r(seed) % VALUES];
		break;
	case 5:
		request->destination_offset = numbers[rand_r(seed) % VALUES];
		break;
	case 6:
		request->length = numbers[rand_r(seed) % VALUES];
		break;
	case 7:
		request->cookie = rand_r(seed);
		break;
	default:
		request->reserved[0] = rand_r(seed) % 2;
	}
}

static void *flipper(void *argument)
{
	struct flipping *flipping = argument;
	FIXTURE_DATA(flipped) *self = flipping->self;
	volatile struct target *target = self->target;
	static const int64_t timeouts[] = { 0, 10 * MS, FOREVER };
	static const uint32_t sizes[VALUES] = { 0, 23, 24, 25, 63, 64, 65, UINT32_MAX };
	static const uint32_t counts[VALUES] = { 0, 1, BATCH, BATCH, DEPTH, DEPTH + 1, UINT32_MAX, 1U << 31 };
	uint64_t addresses[VALUES] = {
		(uintptr_t)self->arrays[0],
		(uintptr_t)self->arrays[1],
		0,
		1,
		PAGE,
		1ULL << 63,
		-0x1000LL,
		UINT64_MAX,
	};
	int fds[4] = { self->eventfd, -1, self->fd, 999 };
	struct target template = right_target(self);
	unsigned int seed = flipping->seed;

	while (!*flipping->over) {
		flipping->calls++;
		switch (rand_r(&seed) % 13) {
		case 0:
			target->submit.count = counts[rand_r(&seed) % VALUES];
			break;
		case 1:
			target->submit.requests = rand_r(&seed) % 2 ? template.submit.requests :
								      addresses[2 + rand_r(&seed) % (VALUES - 2)];
			break;
		case 2:
			target->wait.completions = addresses[rand_r(&seed) % VALUES];
			break;
		case 3:
			target->wait.max = counts[rand_r(&seed) % VALUES];
			break;
		case 4:
			target->wait.min = rand_r(&seed) % 4;
			break;
		case 5:
			target->wait.deadline_ns = deadline(timeouts[rand_r(&seed) % 3]);
			break;
		case 6:
			target->cancel.flags = rand_r(&seed) % 3;
			target->cancel.cookie = rand_r(&seed) % 2 ? 0 : rand_r(&seed) % BATCH;
			break;
		case 7:
			target->eventfd.fd = fds[rand_r(&seed) % 4];
			break;
		case 8:
			target->alloc.size = rand_r(&seed) % 2 ? PAGE * (1 + rand_r(&seed) % 4) : UINT64_MAX;
			target->alloc.flags = rand_r(&seed) % 4 == 0;
			/* Not a handle of the buffers that the requests use. */
			target->free.handle = 6 + rand_r(&seed) % 8;
			break;
		case 9:
			flip_request(self, &target->transfer, &seed);
			break;
		case 10:
			target->submit.request_size = sizes[rand_r(&seed) % VALUES];
			/* Not larger than the arrays have room for. */
			target->wait.completion_size = sizes[rand_r(&seed) % 3];
			break;
		default:
			flip_request(self, &target->requests[rand_r(&seed) % BATCH], &seed);
		}
		/* A permanently invalid value would make all calls fail. */
		if (rand_r(&seed) % 8 == 0)
			memcpy((void *)target, &template, sizeof(template));
	}
	return NULL;
}

static void *caller(void *argument)
{
	static const unsigned long numbers[] = {
		RDMA_IOC_SUBMIT, RDMA_IOC_SUBMIT, RDMA_IOC_SUBMIT,  RDMA_IOC_SUBMIT, RDMA_IOC_WAIT, RDMA_IOC_WAIT,
		RDMA_IOC_WAIT,	 RDMA_IOC_CANCEL, RDMA_IOC_EVENTFD, RDMA_IOC_ALLOC,  RDMA_IOC_FREE, RDMA_IOC_BUFFER_INFO,
	};
	static const int known[] = { E2BIG, EFAULT, EINVAL, EAGAIN, EINTR, ENOMEM, EALREADY, ENOENT, EDQUOT, EBADF };
	struct flipping *flipping = argument;
	FIXTURE_DATA(flipped) *self = flipping->self;
	struct target *target = self->target;
	unsigned int seed = flipping->seed;

	while (!*flipping->over) {
		unsigned long number = numbers[rand_r(&seed) % ARRAY_SIZE(numbers)];
		void *argument = number == RDMA_IOC_SUBMIT  ? (void *)&target->submit :
				 number == RDMA_IOC_WAIT    ? (void *)&target->wait :
				 number == RDMA_IOC_CANCEL  ? (void *)&target->cancel :
				 number == RDMA_IOC_EVENTFD ? (void *)&target->eventfd :
				 number == RDMA_IOC_ALLOC   ? (void *)&target->alloc :
				 number == RDMA_IOC_FREE    ? (void *)&target->free :
							      (void *)&target->buffer;
		int answer;

		if (rand_r(&seed) % 512 == 0) {
			number = RDMA_IOC_TRANSFER;
			argument = &target->transfer;
		}
		answer = call(self->fd, number, argument);
		flipping->calls++;
		flipping->succeeded += answer >= 0;
		if (number == RDMA_IOC_SUBMIT && answer > 0)
			flipping->accepted += answer;
		if (number == RDMA_IOC_WAIT && answer > 0)
			flipping->collected += answer;
		for (size_t i = 0; answer < 0 && i <= ARRAY_SIZE(known); i++) {
			if (i == ARRAY_SIZE(known))
				flipping->unexpected = answer;
			else if (answer == -known[i])
				break;
		}
	}
	flipping->done = true;
	return NULL;
}

static void interrupt(int signal)
{
	(void)signal;
}

TEST_F(flipped, arguments_under_way)
{
	enum { CALLERS = 3 };
	static struct rdma_completion completions[DEPTH];
	struct sigaction action = { .sa_handler = interrupt };
	struct flipping threads[1 + CALLERS];
	volatile bool over = false;
	long accepted = 0, collected = 0, calls = 0, succeeded = 0;
	int got;

	ASSERT_EQ(0, sigaction(SIGUSR1, &action, NULL));
	*self->target = right_target(self);
	for (int i = 0; i <= CALLERS; i++) {
		threads[i] = (struct flipping){ .self = self, .over = &over, .seed = i };
		ASSERT_EQ(0, pthread_create(&threads[i].thread, NULL, i ? caller : flipper, &threads[i]));
	}
	/* Continue for a minimum time and numbers of calls. At the end of each step, a signal ends a WAIT that no request would end. */
	for (int step = 0; step < STEPS || threads[0].calls < scale(FLIPS, 20 * FLIPS) || succeeded <= 1000 || accepted <= 1000; step++) {
		pause_us(STEP_US);
		succeeded = accepted = 0;
		for (int i = 1; i <= CALLERS; i++) {
			succeeded += threads[i].succeeded;
			accepted += threads[i].accepted;
			pthread_kill(threads[i].thread, SIGUSR1);
		}
	}
	over = true;
	succeeded = accepted = 0;
	for (int i = 0; i <= CALLERS; i++) {
		/* The call may have no deadline. */
		while (i && !threads[i].done) {
			pthread_kill(threads[i].thread, SIGUSR1);
			pause_us(1000);
		}
		ASSERT_EQ(0, pthread_join(threads[i].thread, NULL));
		EXPECT_EQ(0, threads[i].unexpected);
		accepted += threads[i].accepted;
		collected += threads[i].collected;
		calls += i ? threads[i].calls : 0;
		succeeded += threads[i].succeeded;
	}
	EXPECT_LT(1000, succeeded);
	EXPECT_LT(1000, accepted);

	/* The number of completions is the number of requests. */
	ASSERT_LE(0, cancel_all(self->fd));
	while ((got = collect(self->fd, completions, 1, DEPTH, 3000 * MS)) > 0)
		collected += got;
	EXPECT_EQ(0, got);
	EXPECT_EQ(accepted, collected);
	FIGURE("%ld flips of arguments during %ld calls, of which %ld succeeded",
	       "%ld requests accepted and %ld collected, nothing written elsewhere", threads[0].calls, calls, succeeded, accepted,
	       collected);

	/* Nothing was written elsewhere. */
	EXPECT_EQ(0, differing(self->memory, FILL, 2 * PAGE));
	EXPECT_EQ(0, differing(self->arrays[0] + ARRAY_BYTES, FILL, 2 * PAGE));
	EXPECT_EQ(0, differing(self->arrays[1] + ARRAY_BYTES, FILL, 2 * PAGE));
	for (int i = 0; i < FLIPPED; i++) {
		EXPECT_EQ(0, differing(self->others[i].bytes, FILL, 2 * PAGE));
	}

	/* Everything works as at the start. */
	ASSERT_EQ(DEPTH, submit_many(self->fd, &self->buffers[0], DEPTH, 0));
	ASSERT_EQ(-EAGAIN, submit_many(self->fd, &self->buffers[0], 1, 0));
	ASSERT_LE(0, cancel_all(self->fd));
	fill(self->buffers[0].bytes, 2 * PAGE, 5);
	ASSERT_EQ(0, copy(self->fd, &self->buffers[1], 0, &self->buffers[0], 0, 2 * PAGE));
	EXPECT_EQ(0, memcmp(self->buffers[0].bytes, self->buffers[1].bytes, 2 * PAGE));
}

TEST_HARNESS_MAIN
