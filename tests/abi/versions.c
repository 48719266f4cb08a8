// SPDX-License-Identifier: GPL-2.0
/*
 * Programs that were built with another version of the header than the driver: without fields, which the first version does not allow,
 * and with additional fields, in the argument of each call and in the elements of arrays.
 */
#include "requests.h"

#include <sys/eventfd.h>

enum { FILL = 0xa5 };

/* Sizes of the structures in the first version, which are the minimum. Later versions are larger. */
enum {
	FIRST_DEVICE_INFO = 80,
	FIRST_ALLOC = 40,
	FIRST_FREE = 16,
	FIRST_REGISTER = 40,
	FIRST_BUFFER_INFO = 48,
	FIRST_REQUEST = 64,
	FIRST_SUBMIT = 24,
	FIRST_WAIT = 40,
	FIRST_COMPLETION = 24,
	FIRST_CANCEL = 16,
	FIRST_EVENTFD = 16,
	FIRST_COMPLETION_RING = 64,
	FIRST_EXPORT = 16,
	FIRST_IMPORT = 32,
};

/* Sizes that later versions may have; the last one is the maximum of a request number. */
static const int added[] = { 1, 4, 8, 24, 512, 4096, _IOC_SIZEMASK };

FIXTURE(versions)
{
	int fd, eventfd;
	struct buffer buffer, another;
	struct rdma_request requests[3];
	struct rdma_completion completions[3];
	unsigned char *argument; /* of 16 KiB, with unreadable memory behind them */
};

FIXTURE_VARIANT(versions)
{
	unsigned long number;
	size_t first;
	bool reads, writes; /* the argument */
	long answer;
};

#define VARIANT(name, NAME, reads_it, writes_it, answers)                                                      \
	FIXTURE_VARIANT_ADD(versions, name)                                                                    \
	{                                                                                                      \
		.number = RDMA_IOC_##NAME, .first = FIRST_##NAME, .reads = reads_it, .writes = writes_it, .answer = answers, \
	}
#define FIRST_TRANSFER FIRST_REQUEST
VARIANT(device_info, DEVICE_INFO, false, true, 0);
VARIANT(alloc, ALLOC, true, true, 0);
VARIANT(free, FREE, true, false, 0);
VARIANT(register, REGISTER, true, true, 0);
VARIANT(buffer_info, BUFFER_INFO, true, true, 0);
VARIANT(transfer, TRANSFER, true, false, 0);
VARIANT(submit, SUBMIT, true, false, 1);
VARIANT(wait, WAIT, true, false, 1);
VARIANT(cancel, CANCEL, true, false, 1);
VARIANT(eventfd, EVENTFD, true, false, 0);
VARIANT(completion_ring, COMPLETION_RING, true, true, 0);
VARIANT(export_, EXPORT, true, true, 0);
VARIANT(import_, IMPORT, true, true, 0);

#define ARGUMENT_BYTES (4 * PAGE)

FIXTURE_SETUP(versions)
{
	self->fd = open_node(O_RDWR);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, allocate(self->fd, PAGE, &self->buffer));
	self->eventfd = eventfd(0, EFD_CLOEXEC);
	ASSERT_LE(0, self->eventfd);
	self->argument = mmap(NULL, ARGUMENT_BYTES + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->argument);
	ASSERT_EQ(0, mprotect(self->argument + ARGUMENT_BYTES, PAGE, PROT_NONE));
}

FIXTURE_TEARDOWN(versions)
{
	close(self->fd);
	close(self->eventfd);
	munmap(self->argument, ARGUMENT_BYTES + PAGE);
}

/* For REGISTER. */
static unsigned char memory[100];

/* Prepares the call, and stores a valid argument this number of bytes before the end of the memory; its other fields are 0. */
static unsigned char *prepare(struct __test_metadata *_metadata, FIXTURE_DATA(versions) *self, unsigned long number, size_t size)
{
	unsigned char *place = self->argument + ARGUMENT_BYTES - size;
	union {
		struct rdma_alloc alloc;
		struct rdma_register registered;
		struct rdma_free free;
		struct rdma_buffer_info info;
		struct rdma_export export;
		struct rdma_import import;
		struct rdma_request request;
		struct rdma_submit submit;
		struct rdma_wait wait;
		struct rdma_cancel cancel;
		struct rdma_eventfd eventfd;
	} argument = { 0 };

	self->requests[0] = writing(&self->buffer, 0, 0, 1, 77);
	switch (number) {
	case RDMA_IOC_ALLOC:
		argument.alloc.size = 1;
		break;
	case RDMA_IOC_REGISTER:
		argument.registered = (struct rdma_register){ .address = (uintptr_t)memory, .size = sizeof(memory) };
		break;
	case RDMA_IOC_FREE:
		if (!self->another.handle) {
			ASSERT_EQ(0, allocate(self->fd, PAGE, &self->another));
		}
		argument.free.handle = self->another.handle;
		break;
	case RDMA_IOC_BUFFER_INFO:
		argument.info.handle = self->buffer.handle;
		break;
	case RDMA_IOC_EXPORT:
		argument.export.handle = self->buffer.handle;
		break;
	case RDMA_IOC_IMPORT: {
		struct rdma_export export = { .handle = self->buffer.handle };

		ASSERT_EQ(0, call(self->fd, RDMA_IOC_EXPORT, &export));
		argument.import.fd = export.fd;
		break;
	}
	case RDMA_IOC_TRANSFER:
		argument.request = self->requests[0];
		break;
	case RDMA_IOC_SUBMIT:
		argument.submit = (struct rdma_submit){
			.requests = (uintptr_t)self->requests, .count = 1, .request_size = sizeof(self->requests[0]),
		};
		break;
	case RDMA_IOC_WAIT:
		ASSERT_EQ(1, submit_one(self->fd, self->requests[0]));
		argument.wait = (struct rdma_wait){
			.completions = (uintptr_t)self->completions, .min = 1, .max = 1,
			.completion_size = sizeof(self->completions[0]), .deadline_ns = RDMA_WAIT_FOREVER,
		};
		break;
	case RDMA_IOC_CANCEL:
		ASSERT_EQ(2, submit_many(self->fd, &self->buffer, 2, 500));
		argument.cancel.cookie = 501;
		break;
	case RDMA_IOC_EVENTFD:
		argument.eventfd.fd = self->eventfd;
		break;
	}
	memset(self->argument, FILL, ARGUMENT_BYTES);
	memset(place, 0, size);
	memcpy(place, &argument, size < sizeof(argument) ? size : sizeof(argument));
	return place;
}

/* Undoes it: no request is queued or in flight, and the context has no ring. */
static void forget(FIXTURE_DATA(versions) *self)
{
	static struct rdma_completion completions[DEPTH];
	struct rdma_wait for_ring = { 0 };

	if (call(self->fd, RDMA_IOC_WAIT, &for_ring) == 0) {
		close(self->fd);
		self->fd = open_node(O_RDWR);
		return;
	}
	cancel_all(self->fd);
	while (collect(self->fd, completions, 1, DEPTH, 2 * TRANSFER_US * 1000LL) > 0)
		;
	if (self->another.handle)
		release(self->fd, &self->another);
	self->another.handle = RDMA_NO_BUFFER;
}

static int call_sized(const FIXTURE_DATA(versions) *self, unsigned long number, size_t size, void *argument)
{
	unsigned long mask = (unsigned long)_IOC_SIZEMASK << _IOC_SIZESHIFT;

	return call(self->fd, (number & ~mask) | size << _IOC_SIZESHIFT, argument);
}

/* A program older than the first version is refused, and nothing is written. */
TEST_F(versions, smaller_than_the_first)
{
	const size_t sizes[] = { 0, 1, 8, variant->first - 8, variant->first - 1 };

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		unsigned char *argument = prepare(_metadata, self, variant->number, sizes[i]);

		EXPECT_EQ(-EINVAL, call_sized(self, variant->number, sizes[i], argument)) TH_LOG("%zu bytes", sizes[i]);
		EXPECT_EQ(0, differing(self->argument, FILL, ARGUMENT_BYTES - sizes[i]));
		forget(self);
	}
}

/* A program of the first version works: the answer has the size of its structure, and nothing behind it is written. */
TEST_F(versions, of_the_first)
{
	unsigned char *argument = prepare(_metadata, self, variant->number, variant->first);

	EXPECT_EQ(variant->answer, call_sized(self, variant->number, variant->first, argument));
	EXPECT_EQ(0, differing(self->argument, FILL, ARGUMENT_BYTES - variant->first));
}

/* A newer program works as long as it uses nothing new; fields that the driver does not know are 0 in the answer. */
TEST_F(versions, larger)
{
	size_t known = _IOC_SIZE(variant->number);

	for (size_t i = 0; i < ARRAY_SIZE(added); i++) {
		size_t size = known + added[i] < _IOC_SIZEMASK ? known + added[i] : _IOC_SIZEMASK;
		unsigned char *argument = prepare(_metadata, self, variant->number, size);

		if (!variant->reads)
			memset(argument, FILL, size);
		EXPECT_EQ(variant->answer, call_sized(self, variant->number, size, argument)) TH_LOG("%zu bytes", size);
		EXPECT_EQ(0, differing(self->argument, FILL, ARGUMENT_BYTES - size));
		EXPECT_EQ(0, differing(argument + known, 0, size - known));
		if (variant->writes) {
			EXPECT_LT(0, differing(argument, 0, known));
		}
		forget(self);
	}
}

/* A program that uses a new field gets an error, wherever the field is, and the call has no effect. */
TEST_F(versions, larger_and_not_zero)
{
	size_t known = _IOC_SIZE(variant->number);

	if (!variant->reads)
		SKIP(return, "it reads no argument");
	for (size_t i = 0; i < ARRAY_SIZE(added); i++) {
		size_t size = known + added[i] < _IOC_SIZEMASK ? known + added[i] : _IOC_SIZEMASK;
		size_t places[] = { known, known + (size - known) / 2, size - 1 };

		for (size_t j = 0; j < ARRAY_SIZE(places); j++) {
			unsigned char *argument = prepare(_metadata, self, variant->number, size), before[ARGUMENT_BYTES];

			argument[places[j]] = 1;
			memcpy(before, self->argument, ARGUMENT_BYTES);
			EXPECT_EQ(-E2BIG, call_sized(self, variant->number, size, argument))
				TH_LOG("%zu bytes, of which number %zu", size, places[j]);
			EXPECT_EQ(0, memcmp(before, self->argument, ARGUMENT_BYTES));
			if (variant->number == RDMA_IOC_FREE) {
				EXPECT_EQ(0, to_device(self->fd, &self->another, 0, 0, 1));
			}
			forget(self);
		}
	}
}

/* The program's structure ends where nothing is mapped, or what is beyond the driver's is not mapped. */
TEST_F(versions, larger_than_what_is_there)
{
	size_t known = _IOC_SIZE(variant->number);
	unsigned char *argument = prepare(_metadata, self, variant->number, known);

	EXPECT_EQ(-EFAULT, call_sized(self, variant->number, known + 8, argument));
}

/* --- Elements of arrays */

FIXTURE(elements)
{
	int fd;
	struct buffer buffer;
	unsigned char *array; /* of 16 KiB, with unreadable memory behind them */
};

FIXTURE_SETUP(elements)
{
	self->fd = open_node(O_RDWR);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, allocate(self->fd, PAGE, &self->buffer));
	self->array = mmap(NULL, ARGUMENT_BYTES + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->array);
	ASSERT_EQ(0, mprotect(self->array + ARGUMENT_BYTES, PAGE, PROT_NONE));
}

FIXTURE_TEARDOWN(elements)
{
	close(self->fd);
	munmap(self->array, ARGUMENT_BYTES + PAGE);
}

enum { COUNT = 3 };

/* Requests of this size, which end at an unmapped page. */
static unsigned char *requests_of(FIXTURE_DATA(elements) *self, size_t size, uint64_t cookie)
{
	unsigned char *array = self->array + ARGUMENT_BYTES - COUNT * size;

	memset(array, 0, COUNT * size);
	for (int i = 0; i < COUNT; i++) {
		struct rdma_request request = writing(&self->buffer, 0, 0, 1, cookie + i);

		memcpy(array + i * size, &request, size < sizeof(request) ? size : sizeof(request));
	}
	return array;
}

static int submit_sized(const FIXTURE_DATA(elements) *self, const unsigned char *array, uint32_t size)
{
	struct rdma_submit submit = { .requests = (uintptr_t)array, .count = COUNT, .request_size = size };

	return call(self->fd, RDMA_IOC_SUBMIT, &submit);
}

static int wait_sized(const FIXTURE_DATA(elements) *self, const unsigned char *array, uint32_t size)
{
	struct rdma_wait wait = {
		.completions = (uintptr_t)array, .min = COUNT, .max = COUNT, .completion_size = size,
		.deadline_ns = RDMA_WAIT_FOREVER,
	};

	return call(self->fd, RDMA_IOC_WAIT, &wait);
}

static const uint32_t too_large[] = { RDMA_MAX_ELEMENT_SIZE + 1, 2 * RDMA_MAX_ELEMENT_SIZE, INT32_MAX, 1U << 31, UINT32_MAX };
static const uint32_t request_sizes[] = { FIRST_REQUEST, sizeof(struct rdma_request), sizeof(struct rdma_request) + 1,
					  sizeof(struct rdma_request) + 8, 1000, RDMA_MAX_ELEMENT_SIZE };
static const uint32_t completion_sizes[] = { FIRST_COMPLETION, sizeof(struct rdma_completion),
					     sizeof(struct rdma_completion) + 1, sizeof(struct rdma_completion) + 8, 1000,
					     RDMA_MAX_ELEMENT_SIZE };

TEST_F(elements, requests)
{
	struct rdma_completion completions[COUNT];

	for (size_t i = 0; i < ARRAY_SIZE(request_sizes); i++) {
		ASSERT_EQ(COUNT, submit_sized(self, requests_of(self, request_sizes[i], 10 * i), request_sizes[i]))
			TH_LOG("%u bytes each", request_sizes[i]);
		ASSERT_EQ(COUNT, collect(self->fd, completions, COUNT, COUNT, FOREVER));
		for (int j = 0; j < COUNT; j++) {
			EXPECT_EQ(10 * i + j, completions[j].cookie);
			EXPECT_EQ(0, completions[j].status);
		}
	}
}

/* A request with a new field is refused; those before it are accepted. */
TEST_F(elements, requests_with_something_new)
{
	struct rdma_completion completions[COUNT];

	for (size_t i = 0; i < ARRAY_SIZE(request_sizes); i++)
		for (int j = 0; j < COUNT && request_sizes[i] > sizeof(struct rdma_request); j++) {
			unsigned char *array = requests_of(self, request_sizes[i], 0);

			array[(j + 1) * request_sizes[i] - 1] = 1;
			EXPECT_EQ(j ?: -E2BIG, submit_sized(self, array, request_sizes[i]))
				TH_LOG("%u bytes each", request_sizes[i]);
			ASSERT_EQ(j, collect(self->fd, completions, j, COUNT, FOREVER));
		}
}

TEST_F(elements, completions)
{
	for (size_t i = 0; i < ARRAY_SIZE(completion_sizes); i++) {
		size_t size = completion_sizes[i];
		unsigned char *array = self->array + ARGUMENT_BYTES - COUNT * size;

		ASSERT_EQ(COUNT, submit_many(self->fd, &self->buffer, COUNT, 10 * i));
		memset(self->array, FILL, ARGUMENT_BYTES);
		ASSERT_EQ(COUNT, wait_sized(self, array, size)) TH_LOG("%zu bytes each", size);
		EXPECT_EQ(0, differing(self->array, FILL, ARGUMENT_BYTES - COUNT * size));
		for (int j = 0; j < COUNT; j++) {
			struct rdma_completion completion = { 0 };
			size_t known = size < sizeof(completion) ? size : sizeof(completion);

			memcpy(&completion, array + j * size, known);
			EXPECT_EQ(10 * i + j, completion.cookie);
			EXPECT_EQ(1, completion.bytes);
			EXPECT_EQ(0, completion.status);
			EXPECT_EQ(0, differing(array + j * size + known, 0, size - known));
		}
	}
}

TEST_F(elements, sizes_that_are_none)
{
	struct rdma_completion completions[COUNT];
	unsigned char *array = requests_of(self, RDMA_MAX_ELEMENT_SIZE, 0);

	for (uint32_t size = 0; size < FIRST_REQUEST; size++) {
		EXPECT_EQ(-EINVAL, submit_sized(self, array, size)) TH_LOG("%u", size);
	}
	for (size_t i = 0; i < ARRAY_SIZE(too_large); i++) {
		EXPECT_EQ(-E2BIG, submit_sized(self, array, too_large[i])) TH_LOG("%u", too_large[i]);
	}
	ASSERT_EQ(COUNT, submit_many(self->fd, &self->buffer, COUNT, 0));
	for (uint32_t size = 0; size < FIRST_COMPLETION; size++) {
		EXPECT_EQ(-EINVAL, wait_sized(self, array, size)) TH_LOG("%u", size);
	}
	for (size_t i = 0; i < ARRAY_SIZE(too_large); i++) {
		EXPECT_EQ(-E2BIG, wait_sized(self, array, too_large[i])) TH_LOG("%u", too_large[i]);
	}
	EXPECT_EQ(COUNT, collect(self->fd, completions, COUNT, COUNT, FOREVER));
}

/* An element with an unmapped end: those before it are returned, and none is lost. */
TEST_F(elements, that_end_outside)
{
	struct rdma_completion completions[COUNT];
	size_t size = sizeof(struct rdma_completion) + 8;

	ASSERT_EQ(COUNT, submit_many(self->fd, &self->buffer, COUNT, 30));
	EXPECT_EQ(2, wait_sized(self, self->array + ARGUMENT_BYTES - COUNT * size + 4, size));
	ASSERT_EQ(1, take(self->fd, completions, COUNT));
	EXPECT_EQ(32, completions[0].cookie);
	size = sizeof(struct rdma_request) + 8;
	requests_of(self, size, 40);
	memmove(self->array + ARGUMENT_BYTES - COUNT * size + 4, self->array + ARGUMENT_BYTES - COUNT * size, COUNT * size - 4);
	EXPECT_EQ(2, submit_sized(self, self->array + ARGUMENT_BYTES - COUNT * size + 4, size));
	EXPECT_EQ(2, collect(self->fd, completions, 2, COUNT, FOREVER));
}

TEST_HARNESS_MAIN
