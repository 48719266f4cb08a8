// SPDX-License-Identifier: GPL-2.0
/* No invalid range reaches the device: all offsets and lengths at the boundaries, by each call that moves bytes. */
#include "requests.h"

#define SIZE (2 * PAGE)

static const uint64_t values[] = {
	0, 1, 4094, 4095, 4096, 4097, (1ULL << 32) - 1, 1ULL << 63, UINT64_MAX,
};

#define COUNT ARRAY_SIZE(values)

static int cases, right, wrong;

/* Counts a case, and whether it was wrong. */
#define JUDGE(expected, seen, ...) ({						\
	long judged_expected = (expected), judged_seen = (seen);		\
										\
	cases++;								\
	right += judged_expected > 0;						\
	wrong += judged_expected != judged_seen;				\
	EXPECT_EQ(judged_expected, judged_seen)					\
		TH_LOG(__VA_ARGS__);						\
})

FIXTURE(ranges)
{
	int fd;
	struct buffer one, two;
	unsigned char bytes[2 << 16]; /* two of the largest pages */
};

FIXTURE_SETUP(ranges)
{
	cases = right = wrong = 0;
	self->fd = open_node(O_RDWR);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, allocate(self->fd, SIZE, &self->one));
	ASSERT_EQ(0, allocate(self->fd, SIZE, &self->two));
}

FIXTURE_TEARDOWN(ranges)
{
	close(self->fd);
}

/* Whether there are `length` bytes at `offset` of `size`. */
static bool inside(uint64_t offset, uint64_t length, uint64_t size)
{
	return length && length <= size && offset <= size - length;
}

/* How many bytes a blocking request has moved, or its error. */
static long transferred(int fd, struct rdma_request request)
{
	int answer = call(fd, RDMA_IOC_TRANSFER, &request);

	return answer ? answer : (long)request.length;
}

/* The same for a submitted request. */
static long submitted(int fd, struct rdma_request request)
{
	struct rdma_completion completion;
	int answer = submit_one(fd, request);

	if (answer != 1)
		return answer;
	answer = collect(fd, &completion, 1, 1, FOREVER);
	if (answer != 1)
		return answer;
	return completion.status ? completion.status : (long)completion.bytes;
}

static void every_range(struct __test_metadata *_metadata, FIXTURE_DATA(ranges) *self, int operation,
			long (*move)(int, struct rdma_request))
{
	bool copies = operation == RDMA_OP_COPY;
	uint64_t source_size = operation == RDMA_OP_FROM_DEVICE ? DEVICE_MEMORY : SIZE;
	uint64_t destination_size = operation == RDMA_OP_TO_DEVICE ? DEVICE_MEMORY : SIZE;

	for (size_t i = 0; i < COUNT; i++)
		for (size_t j = 0; j < COUNT; j++)
			for (size_t k = 0; k < COUNT; k++) {
				struct rdma_request request = {
					.operation = operation,
					.source = operation == RDMA_OP_FROM_DEVICE ? 0 : self->one.handle,
					.destination = operation == RDMA_OP_TO_DEVICE ? 0 : self->two.handle,
					.source_offset = values[i],
					.destination_offset = values[j],
					.length = values[k],
				};
				bool good = inside(values[i], values[k], source_size) &&
					    inside(values[j], values[k], destination_size);

				JUDGE(good ? (long)values[k] : -EINVAL, move(self->fd, request),
				      "%s%#" PRIx64 " bytes from %#" PRIx64 " to %#" PRIx64,
				      copies ? "copied, " : "", values[k], values[i], values[j]);
			}
}

#define EVERY_RANGE(name, operation, move)					\
	TEST_F(ranges, name)					\
	{									\
		every_range(_metadata, self, operation, move);			\
		EXPECT_LT(10, right);						\
		FIGURE("%d ranges: " #name, "%d wrong", cases, wrong);		\
	}

EVERY_RANGE(transfer_to_device, RDMA_OP_TO_DEVICE, transferred)
EVERY_RANGE(transfer_from_device, RDMA_OP_FROM_DEVICE, transferred)
EVERY_RANGE(transfer_copy, RDMA_OP_COPY, transferred)
EVERY_RANGE(submit_to_device, RDMA_OP_TO_DEVICE, submitted)
EVERY_RANGE(submit_from_device, RDMA_OP_FROM_DEVICE, submitted)
EVERY_RANGE(submit_copy, RDMA_OP_COPY, submitted)

/* Expected results of read(2) and write(2). The kernel refuses negative positions and lengths. */
static long file_answer(bool writes, uint64_t position, uint64_t length)
{
	if ((int64_t)position < 0)
		return -EINVAL;
	if ((int64_t)length < 0)
		return -EFAULT;
	if (!length)
		return 0;
	if (position >= DEVICE_MEMORY)
		return writes ? -ENOSPC : 0;
	return length < DEVICE_MEMORY - position ? length : DEVICE_MEMORY - position;
}

TEST_F(ranges, positions)
{
	/* The kernel refuses a length beyond a program's address space, which 32 bits cannot exceed from here: a stack or a mapping may be too high. */
	static unsigned char bytes[DEVICE_MEMORY];

	for (size_t i = 0; i < COUNT; i++)
		for (size_t j = 0; j < COUNT; j++)
			for (int writes = 0; writes < 2; writes++) {
				uint64_t at = values[i], length = values[j];
				long seen = result(writes ? pwrite(self->fd, bytes, length, at) :
							    pread(self->fd, bytes, length, at));

				JUDGE(file_answer(writes, at, length), seen, "%s: %#" PRIx64 " bytes at %#" PRIx64,
				      writes ? "pwrite" : "pread", length, at);
				/* There is no position beyond the end to seek to. */
				seen = result(lseek(self->fd, at, SEEK_SET));
				if (at > DEVICE_MEMORY) {
					JUDGE(-EINVAL, seen, "lseek: %#" PRIx64, at);
					continue;
				}
				ASSERT_EQ((long)at, seen);
				seen = result(writes ? write(self->fd, bytes, length) :
						       read(self->fd, bytes, length));
				JUDGE(file_answer(writes, at, length), seen, "%s: %#" PRIx64 " bytes at %#" PRIx64,
				      writes ? "write" : "read", length, at);
			}
	EXPECT_LT(10, right);
	FIGURE("%d positions", "%d wrong", cases, wrong);
}

TEST_HARNESS_MAIN
