// SPDX-License-Identifier: GPL-2.0
/* SUBMIT: each operation is executed, the call does not wait, and count and error report what was not accepted. */
#include "requests.h"

enum { SLACK_US = 10000, AT_ONCE_US = 20000 };
#define SIZE (4 * PAGE)

FIXTURE(submit)
{
	int fd;
	struct buffer one, two;
	struct rdma_completion completions[DEPTH];
	struct rdma_request *page; /* readable and writable, with an unmapped page behind it */
};

FIXTURE_SETUP(submit)
{
	self->fd = open_node(O_RDWR);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, allocate(self->fd, SIZE, &self->one));
	ASSERT_EQ(0, allocate(self->fd, SIZE, &self->two));
	fill(self->one.bytes, SIZE, 1);
	fill(self->two.bytes, SIZE, 2);
	memset(self->completions, 0xa5, sizeof(self->completions));
	self->page = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->page);
	ASSERT_EQ(0, munmap((char *)self->page + PAGE, PAGE));
}

FIXTURE_TEARDOWN(submit)
{
	close(self->fd);
}

TEST_F(submit, one_of_each)
{
	struct rdma_request requests[] = {
		writing(&self->one, 100, 7, 3000, 0xfedcba9876543210),
		reading(&self->two, 5001, 7, 3000, 0),
		copying(&self->two, 9000, &self->one, 3, 7001, UINT64_MAX),
	};

	ASSERT_EQ(3, submit(self->fd, requests, 3));
	ASSERT_EQ(3, collect(self->fd, self->completions, 3, 3, FOREVER));
	for (int i = 0; i < 3; i++) {
		EXPECT_EQ(requests[i].cookie, self->completions[i].cookie);
		EXPECT_EQ(requests[i].length, self->completions[i].bytes);
		EXPECT_EQ(0, self->completions[i].status);
		EXPECT_EQ(0, self->completions[i].reserved);
	}
	EXPECT_EQ(0xa5, ((unsigned char *)&self->completions[3])[0]);
	EXPECT_EQ(0, memcmp(self->two.bytes + 5001, self->one.bytes + 100, 3000));
	EXPECT_EQ(0, memcmp(self->two.bytes + 9000, self->one.bytes + 3, 7001));
	EXPECT_EQ(0, take(self->fd, self->completions, 1));
}

/* The call does not wait for the engine, however much is queued. */
TEST_F(submit, waits_for_nothing)
{
	int64_t began = now(), slowest = 0;

	for (int i = 0; i < 64; i++) {
		int64_t called = now();

		ASSERT_EQ(1, submit_one(self->fd, copying(&self->two, 0, &self->one, 0, SIZE, i)));
		slowest = now() - called > slowest ? now() - called : slowest;
	}
	TH_LOG("64 calls: %lld us, the slowest %lld us", (long long)(now() - began), (long long)slowest);
	EXPECT_GE(AT_ONCE_US, now() - began);
	EXPECT_EQ(0, take(self->fd, self->completions, 1));
}

/* Batches of each size are executed in order, with 100 ms and one interrupt per transfer. */
static void batch(struct __test_metadata *_metadata, FIXTURE_DATA(submit) *self, int count)
{
	long before = interrupts("rdma");
	int64_t began = now(), took;

	ASSERT_EQ(count, submit_many(self->fd, &self->one, count, 1000));
	ASSERT_EQ(count, collect(self->fd, self->completions, count, DEPTH, FOREVER));
	took = now() - began;
	for (int i = 0; i < count; i++) {
		ASSERT_EQ(1000 + i, self->completions[i].cookie);
		ASSERT_EQ(0, self->completions[i].status);
	}
	TH_LOG("%d requests: %lld us", count, (long long)took);
	EXPECT_EQ(count, interrupts("rdma") - before);
	EXPECT_GE((int64_t)count * (TRANSFER_US + 10) + SLACK_US, took);
	EXPECT_LE((int64_t)count * (TRANSFER_US - 1000), took);
}

TEST_F(submit, batches)
{
	/* Waits for transfers of an earlier test. */
	ASSERT_EQ(1, submit_many(self->fd, &self->one, 1, 0));
	ASSERT_EQ(0, drain(self->fd, 1));
	batch(_metadata, self, 1);
	batch(_metadata, self, 2);
	batch(_metadata, self, 64);
	batch(_metadata, self, DEPTH);
}

/* Submitting continues while the engine works: there is no gap between old and new requests. */
TEST_F(submit, while_others_are_done)
{
	int64_t began = now();

	for (int i = 0; i < 20; i++) {
		ASSERT_EQ(2, submit_many(self->fd, &self->one, 2, 2 * i));
		pause_us(TRANSFER_US);
	}
	EXPECT_EQ(0, drain(self->fd, 40));
	EXPECT_GE(40 * TRANSFER_US + SLACK_US, now() - began);
}

/* The buffers stay until the engine is done with them, independent of handles and mappings. */
TEST_F(submit, freed_with_requests_waiting)
{
	struct rdma_request requests[] = {
		writing(&self->one, 0, 0, DEVICE_MEMORY, 1),
		reading(&self->two, DEVICE_MEMORY, 0, DEVICE_MEMORY, 2),
		copying(&self->two, 0, &self->one, DEVICE_MEMORY, DEVICE_MEMORY, 3),
	};
	unsigned char expected[2 * DEVICE_MEMORY];

	memcpy(expected, self->one.bytes, 2 * DEVICE_MEMORY);
	ASSERT_EQ(3, submit(self->fd, requests, 3));
	ASSERT_EQ(0, release(self->fd, &self->one));
	ASSERT_EQ(0, free_handle(self->fd, self->two.handle));
	EXPECT_EQ(-EINVAL, submit_one(self->fd, requests[0]));
	EXPECT_EQ(-EINVAL, submit_one(self->fd, requests[1]));
	EXPECT_EQ(0, drain(self->fd, 3));
	EXPECT_EQ(0, memcmp(self->two.bytes, expected + DEVICE_MEMORY, DEVICE_MEMORY));
	EXPECT_EQ(0, memcmp(self->two.bytes + DEVICE_MEMORY, expected, DEVICE_MEMORY));
}

TEST_F(submit, the_first_buffer_too)
{
	unsigned char *first = map(self->fd, 0, 2 * PAGE, PROT_READ | PROT_WRITE);
	struct buffer buffer = { .handle = RDMA_FIRST_BUFFER };

	ASSERT_NE(NULL, first);
	fill(first, DEVICE_MEMORY, 9);
	ASSERT_EQ(1, submit_one(self->fd, copying(&buffer, DEVICE_MEMORY, &buffer, 0, DEVICE_MEMORY, 1)));
	EXPECT_EQ(0, drain(self->fd, 1));
	EXPECT_EQ(0, memcmp(first, first + DEVICE_MEMORY, DEVICE_MEMORY));
}

/* --- Requests that are not accepted */

/* Requests with one invalid field each, all of them EINVAL. */
static size_t bad_requests(FIXTURE_DATA(submit) *self, struct rdma_request *bad)
{
	struct buffer unknown = { .handle = 0x7fffffff }, none = { .handle = RDMA_FIRST_BUFFER };
	const struct rdma_request good = writing(&self->one, 0, 0, 1, 0);
	struct rdma_request request;
	size_t count = 0;

#define BAD(request) bad[count++] = (request)
	for (int operation = 0; operation < 256; operation++)
		if (operation < RDMA_OP_TO_DEVICE || operation > RDMA_OP_COPY) {
			request = good;
			request.operation = operation;
			BAD(request);
		}
	for (int bit = 1; bit < 32; bit++) {
		request = good;
		request.flags = 1U << bit;
		BAD(request);
	}
	for (int bit = 0; bit < 64; bit++)
		for (size_t i = 0; i < ARRAY_SIZE(request.reserved); i++) {
			request = good;
			request.reserved[i] = 1ULL << bit;
			BAD(request);
		}
	BAD(writing(&unknown, 0, 0, 1, 0));
	BAD(writing(&none, 0, 0, 1, 0));
	BAD(reading(&unknown, 0, 0, 1, 0));
	BAD(copying(&unknown, 0, &self->one, 0, 1, 0));
	BAD(copying(&self->one, 0, &unknown, 0, 1, 0));
	BAD(writing(&self->one, 0, 0, 0, 0));
	BAD(writing(&self->one, 0, 1, DEVICE_MEMORY, 0));
	BAD(writing(&self->one, 0, DEVICE_MEMORY, 1, 0));
	BAD(writing(&self->one, SIZE, 0, 1, 0));
	BAD(writing(&self->one, SIZE - 1, 0, 2, 0));
	BAD(writing(&self->one, UINT64_MAX, 0, 2, 0));
	BAD(writing(&self->one, 0, UINT64_MAX, 2, 0));
	BAD(writing(&self->one, 2, 2, UINT64_MAX, 0));
	BAD(reading(&self->one, 0, 0, DEVICE_MEMORY + 1, 0));
	BAD(reading(&self->one, 1ULL << 63, 0, 1, 0));
	BAD(copying(&self->two, 0, &self->one, 1, SIZE, 0));
	BAD(copying(&self->two, 1, &self->one, 0, SIZE, 0));
	BAD(copying(&self->two, 0, &self->one, 0, 0, 0));
	BAD(copying(&self->one, 0, &self->one, 0, 1, 0));
	BAD(copying(&self->one, 99, &self->one, 0, 100, 0));
	request = good;
	request.destination = self->two.handle;
	BAD(request);
	request = reading(&self->one, 0, 0, 1, 0);
	request.source = self->two.handle;
	BAD(request);
#undef BAD
	return count;
}

TEST_F(submit, bad_requests)
{
	static struct rdma_request bad[1024];
	size_t count = bad_requests(self, bad);

	EXPECT_LT(350, count);
	for (size_t i = 0; i < count; i++) {
		EXPECT_EQ(-EINVAL, submit_one(self->fd, bad[i])) TH_LOG("request %zu", i);
	}
	EXPECT_EQ(0, take(self->fd, self->completions, 1));
}

/* Requests before an invalid one are accepted, and those behind it are not. */
TEST_F(submit, bad_requests_among_good_ones)
{
	static struct rdma_request bad[1024];
	size_t count = bad_requests(self, bad);

	for (size_t i = 0; i < count; i += 37) {
		struct rdma_request requests[5];

		for (int at = 1; at < 5; at++) {
			for (int j = 0; j < 5; j++)
				requests[j] = writing(&self->one, 0, 0, 1, 100 * at + j);
			requests[at] = bad[i];
			ASSERT_EQ(at, submit(self->fd, requests, 5)) TH_LOG("request %zu as number %d", i, at);
			EXPECT_EQ(-EINVAL, submit(self->fd, requests + at, 5 - at));
			ASSERT_EQ(at, collect(self->fd, self->completions, at, DEPTH, FOREVER));
			for (int j = 0; j < at; j++) {
				EXPECT_EQ(100 * at + j, self->completions[j].cookie);
			}
		}
	}
	pause_us(2 * TRANSFER_US);
	EXPECT_EQ(0, take(self->fd, self->completions, 1));
}

TEST_F(submit, needs_a_file_opened_for_it)
{
	int read_only = open_node(O_RDONLY), write_only = open_node(O_WRONLY);
	struct rdma_alloc alloc = { .size = PAGE };
	struct buffer buffer = { 0 };

	ASSERT_LE(0, read_only);
	ASSERT_LE(0, write_only);
	ASSERT_EQ(0, call(read_only, RDMA_IOC_ALLOC, &alloc));
	buffer.handle = alloc.handle;
	EXPECT_EQ(-EBADF, submit_one(read_only, writing(&buffer, 0, 0, 1, 0)));
	EXPECT_EQ(-EBADF, submit_one(read_only, copying(&buffer, 0, &buffer, 1, 1, 0)));
	EXPECT_EQ(1, submit_one(read_only, reading(&buffer, 0, 0, 1, 0)));
	EXPECT_EQ(0, drain(read_only, 1));

	ASSERT_EQ(0, call(write_only, RDMA_IOC_ALLOC, &alloc));
	buffer.handle = alloc.handle;
	EXPECT_EQ(-EBADF, submit_one(write_only, reading(&buffer, 0, 0, 1, 0)));
	EXPECT_EQ(1, submit_one(write_only, writing(&buffer, 0, 0, 1, 0)));
	EXPECT_EQ(1, submit_one(write_only, copying(&buffer, 0, &buffer, 1, 1, 0)));
	EXPECT_EQ(0, drain(write_only, 2));
	close(read_only);
	close(write_only);
}

TEST_F(submit, bad_counts)
{
	static struct rdma_request requests[DEPTH + 1];
	static const uint32_t counts[] = { 0, DEPTH + 1, 1U << 16, 1U << 31, UINT32_MAX };

	for (int i = 0; i <= DEPTH; i++)
		requests[i] = writing(&self->one, 0, 0, 1, i);
	for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
		EXPECT_EQ(-EINVAL, submit(self->fd, requests, counts[i])) TH_LOG("count %u", counts[i]);
	}
	EXPECT_EQ(0, take(self->fd, self->completions, 1));
}

#define SUBMIT_ONE(request) .requests = (uintptr_t)&request, .count = 1, .request_size = sizeof(request)

TEST_F(submit, reserved_fields)
{
	const struct rdma_request request = writing(&self->one, 0, 0, 1, 0);

	for (int bit = 0; bit < 32; bit++) {
		struct rdma_submit flag = { SUBMIT_ONE(request), .flags = 1U << bit };
		struct rdma_submit reserved = { SUBMIT_ONE(request), .reserved = 1U << bit };

		EXPECT_EQ(-EINVAL, call(self->fd, RDMA_IOC_SUBMIT, &flag)) TH_LOG("bit %d", bit);
		EXPECT_EQ(-EINVAL, call(self->fd, RDMA_IOC_SUBMIT, &reserved)) TH_LOG("bit %d", bit);
	}
	EXPECT_EQ(0, take(self->fd, self->completions, 1));
}

TEST_F(submit, bad_arrays)
{
	static const uint64_t bad[] = {
		0, 1, 0x7fffffffffff, 0x800000000000, 0xffff888000000000, 0xffffffff81000000, UINT64_MAX - 79, UINT64_MAX,
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		for (uint32_t count = 1; count <= DEPTH; count *= 32) {
			struct rdma_submit argument = {
				.requests = bad[i], .count = count, .request_size = sizeof(struct rdma_request),
			};

			EXPECT_EQ(-EFAULT, call(self->fd, RDMA_IOC_SUBMIT, &argument))
				TH_LOG("%u at %#" PRIx64, count, bad[i]);
		}
	}
	EXPECT_EQ(0, take(self->fd, self->completions, 1));
}

/*
 * The array extends into an unmapped page, with each number of whole requests before it, and with a request across the boundary: the readable
 * ones are accepted, and the next call returns the error.
 */
TEST_F(submit, arrays_that_end_early)
{
	const uint32_t most = PAGE / sizeof(struct rdma_request);

	for (uint32_t whole = 1; whole <= most; whole += whole < 4 ? 1 : 16)
		for (uint32_t part = 0; part < sizeof(struct rdma_request); part += 40) {
			char *end = (char *)self->page + PAGE;
			struct rdma_request *requests = (void *)(end - part - whole * sizeof(*requests));
			uint32_t accepted = 0;
			int answer;

			if ((char *)requests < (char *)self->page)
				continue;
			for (uint32_t i = 0; i < whole; i++)
				requests[i] = writing(&self->one, 0, 0, 1, i);
			while ((answer = submit(self->fd, requests + accepted, whole + 3 - accepted)) > 0)
				accepted += answer;
			EXPECT_EQ(-EFAULT, answer);
			EXPECT_EQ(whole, accepted) TH_LOG("%u whole ones and %u bytes", whole, part);
			ASSERT_EQ(accepted, collect(self->fd, self->completions, accepted, DEPTH, FOREVER));
			for (uint32_t i = 0; i < accepted; i++) {
				EXPECT_EQ(i, self->completions[i].cookie);
			}
		}
}

/* The array is only read: it need not be writable or aligned, and does not change. */
TEST_F(submit, array_is_only_read)
{
	struct rdma_request *unaligned = (void *)((char *)self->page + 3), request = writing(&self->one, 0, 0, 1, 77);

	memcpy(unaligned, &request, sizeof(request));
	ASSERT_EQ(0, mprotect(self->page, PAGE, PROT_READ));
	EXPECT_EQ(1, submit(self->fd, unaligned, 1));
	ASSERT_EQ(1, collect(self->fd, self->completions, 1, 1, FOREVER));
	EXPECT_EQ(77, self->completions[0].cookie);
	EXPECT_EQ(0, memcmp(unaligned, &request, sizeof(request)));
}

/* In a mapping of a buffer that is not loaded yet. */
TEST_F(submit, array_in_a_buffer)
{
	struct rdma_request *requests = map(self->fd, self->two.offset, SIZE, PROT_READ | PROT_WRITE);

	ASSERT_NE(NULL, requests);
	for (int i = 0; i < 50; i++)
		((struct rdma_request *)self->two.bytes)[i] = writing(&self->one, 0, 0, 1, i);
	ASSERT_EQ(50, submit(self->fd, requests, 50));
	requests = map(self->fd, self->two.offset, SIZE, PROT_READ | PROT_WRITE);
	ASSERT_NE(NULL, requests);
	ASSERT_EQ(50, collect(self->fd, (struct rdma_completion *)requests, 50, 50, FOREVER));
	EXPECT_EQ(49, ((struct rdma_completion *)self->two.bytes)[49].cookie);
}

/* --- BUFFER. */

static int ask(int fd, struct rdma_buffer_info *answer, uint32_t handle)
{
	*answer = (struct rdma_buffer_info){ .handle = handle };
	return call(fd, RDMA_IOC_BUFFER_INFO, answer);
}

TEST_F(submit, what_a_buffer_is_doing)
{
	struct rdma_request requests[] = {
		writing(&self->one, 0, 0, 1, 1),
		copying(&self->two, 0, &self->one, 0, 1, 2),
		copying(&self->two, 0, &self->two, 1, 1, 3),
	};
	struct rdma_buffer_info buffer;
	unsigned char *another;

	ASSERT_EQ(0, ask(self->fd, &buffer, self->one.handle));
	EXPECT_EQ(self->one.handle, buffer.handle);
	EXPECT_EQ(SIZE, buffer.size);
	EXPECT_EQ(self->one.offset, buffer.mmap_offset);
	EXPECT_EQ(1, buffer.mappings);
	EXPECT_EQ(0, buffer.requests);
	EXPECT_EQ(0, buffer.reserved[0] | buffer.reserved[1]);

	another = map(self->fd, self->one.offset + PAGE, PAGE, PROT_READ);
	ASSERT_NE(NULL, another);
	ASSERT_EQ(3, submit(self->fd, requests, 3));
	ASSERT_EQ(0, ask(self->fd, &buffer, self->one.handle));
	EXPECT_EQ(2, buffer.mappings);
	EXPECT_EQ(2, buffer.requests);
	ASSERT_EQ(0, ask(self->fd, &buffer, self->two.handle));
	EXPECT_EQ(1, buffer.mappings);
	/* A request on two ranges of a buffer counts once. */
	EXPECT_EQ(2, buffer.requests);

	ASSERT_EQ(0, munmap(another, PAGE));
	ASSERT_EQ(0, munmap(self->one.bytes, SIZE));
	ASSERT_EQ(3, collect(self->fd, self->completions, 3, 3, FOREVER));
	ASSERT_EQ(0, ask(self->fd, &buffer, self->one.handle));
	EXPECT_EQ(0, buffer.mappings);
	EXPECT_EQ(0, buffer.requests);
	ASSERT_EQ(0, ask(self->fd, &buffer, self->two.handle));
	EXPECT_EQ(0, buffer.requests);

	/* Each part of a mapping that was split is a mapping; and so is that of a child. */
	ASSERT_EQ(0, munmap(self->two.bytes + PAGE, PAGE));
	ASSERT_EQ(0, ask(self->fd, &buffer, self->two.handle));
	EXPECT_EQ(2, buffer.mappings);
}

TEST_F(submit, what_no_buffer_is_doing)
{
	struct rdma_buffer_info buffer;
	uint32_t handles[] = { RDMA_FIRST_BUFFER, self->two.handle + 1, UINT32_MAX, 0x80000000 };

	for (size_t i = 0; i < ARRAY_SIZE(handles); i++) {
		EXPECT_EQ(-EINVAL, ask(self->fd, &buffer, handles[i]));
	}
	for (int bit = 0; bit < 64; bit++) {
		buffer = (struct rdma_buffer_info){ .handle = self->one.handle, .flags = 1U << bit % 32 };
		EXPECT_EQ(-EINVAL, call(self->fd, RDMA_IOC_BUFFER_INFO, &buffer)) TH_LOG("bit %d", bit);
		for (size_t i = 0; i < ARRAY_SIZE(buffer.reserved); i++) {
			buffer = (struct rdma_buffer_info){ .handle = self->one.handle };
			buffer.reserved[i] = 1ULL << bit;
			EXPECT_EQ(-EINVAL, call(self->fd, RDMA_IOC_BUFFER_INFO, &buffer)) TH_LOG("bit %d", bit);
		}
	}
	ASSERT_EQ(0, free_handle(self->fd, self->one.handle));
	EXPECT_EQ(-EINVAL, ask(self->fd, &buffer, self->one.handle));
}

TEST_HARNESS_MAIN
