// SPDX-License-Identifier: GPL-2.0
/* ALLOC and FREE: sizes, handles, zeroed memory, and invalid values of each argument. */
#include "requests.h"

FIXTURE(alloc)
{
	int fd;
};

FIXTURE_SETUP(alloc)
{
	self->fd = open_node(O_RDWR);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(alloc)
{
	close(self->fd);
}

TEST_F(alloc, sizes)
{
	const struct {
		uint64_t wanted, given;
	} sizes[] = {
		{ 1, PAGE },
		{ PAGE - 1, PAGE },
		{ PAGE, PAGE },
		{ PAGE + 1, 2 * PAGE },
		{ 5 * PAGE + 1, 6 * PAGE },
		{ 1 << 20, 1 << 20 },
		{ (1 << 20) + 1, (1 << 20) + PAGE },
	};

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct rdma_alloc alloc = { .size = sizes[i].wanted };

		ASSERT_EQ(0, call(self->fd, RDMA_IOC_ALLOC, &alloc));
		EXPECT_EQ(sizes[i].given, alloc.size);
		EXPECT_EQ(0, alloc.mmap_offset % PAGE);
		EXPECT_NE(RDMA_FIRST_BUFFER, alloc.handle);
		EXPECT_EQ(0, free_handle(self->fd, alloc.handle));
	}
}

TEST_F(alloc, impossible_sizes)
{
	const uint64_t sizes[] = {
		0, RDMA_MAX_BUFFER_SIZE + 1, 1ULL << 32, 1ULL << 63, -(uint64_t)PAGE, -(uint64_t)PAGE + 1, UINT64_MAX,
	};

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct rdma_alloc alloc = { .size = sizes[i] };

		EXPECT_EQ(-EINVAL, call(self->fd, RDMA_IOC_ALLOC, &alloc)) TH_LOG("size %#llx", alloc.size);
	}
}

/* Output fields may contain any value before the call. */
TEST_F(alloc, answers_need_no_values)
{
	struct rdma_alloc alloc = { .size = 1, .mmap_offset = UINT64_MAX, .handle = UINT32_MAX };

	EXPECT_EQ(0, call(self->fd, RDMA_IOC_ALLOC, &alloc));
	EXPECT_NE(UINT64_MAX, alloc.mmap_offset);
	EXPECT_EQ(0, free_handle(self->fd, alloc.handle));
}

TEST_F(alloc, reserved_fields)
{
	for (int bit = 0; bit < 64; bit++) {
		struct rdma_alloc alloc[] = {
			{ .size = PAGE, .flags = bit < 32 ? 1U << bit : 1 },
			{ .size = PAGE, .reserved[0] = 1ULL << bit },
			{ .size = PAGE, .reserved[1] = 1ULL << bit },
		};

		for (size_t i = 0; i < ARRAY_SIZE(alloc); i++) {
			EXPECT_EQ(-EINVAL, call(self->fd, RDMA_IOC_ALLOC, &alloc[i])) TH_LOG("bit %d", bit);
		}
	}
}

TEST_F(alloc, free_reserved_fields)
{
	struct buffer buffer;

	ASSERT_EQ(0, allocate(self->fd, PAGE, &buffer));
	for (int bit = 0; bit < 32; bit++) {
		struct rdma_free request = { .handle = buffer.handle, .flags = 1U << bit };

		EXPECT_EQ(-EINVAL, call(self->fd, RDMA_IOC_FREE, &request)) TH_LOG("bit %d", bit);
	}
	EXPECT_EQ(0, free_handle(self->fd, buffer.handle));
}

TEST_F(alloc, free_unknown)
{
	struct buffer buffer;

	EXPECT_EQ(-EINVAL, free_handle(self->fd, RDMA_FIRST_BUFFER));
	EXPECT_EQ(-EINVAL, free_handle(self->fd, 1));
	ASSERT_EQ(0, allocate(self->fd, PAGE, &buffer));
	EXPECT_EQ(-EINVAL, free_handle(self->fd, buffer.handle + 1));
	EXPECT_EQ(-EINVAL, free_handle(self->fd, buffer.handle ^ 0x80000000));
	EXPECT_EQ(-EINVAL, free_handle(self->fd, UINT32_MAX));
	EXPECT_EQ(0, free_handle(self->fd, buffer.handle));
}

TEST_F(alloc, free_twice)
{
	struct buffer buffer;

	ASSERT_EQ(0, allocate(self->fd, PAGE, &buffer));
	EXPECT_EQ(0, free_handle(self->fd, buffer.handle));
	EXPECT_EQ(-EINVAL, free_handle(self->fd, buffer.handle));
	EXPECT_EQ(NULL, map(self->fd, buffer.offset, PAGE, PROT_READ));
	EXPECT_EQ(EINVAL, errno);
}

/* A handle is not valid in another context: FREE, mmap and transfers refuse it. */
TEST_F(alloc, handles_are_the_context_s_own)
{
	int other = open_node(O_RDWR);
	struct buffer buffer;

	ASSERT_LE(0, other);
	ASSERT_EQ(0, allocate(self->fd, 2 * PAGE, &buffer));
	EXPECT_EQ(-EINVAL, free_handle(other, buffer.handle));
	EXPECT_EQ(-EINVAL, transfer_some(other, &buffer, 1));
	EXPECT_EQ(NULL, map(other, buffer.offset, PAGE, PROT_READ));
	EXPECT_EQ(EINVAL, errno);
	close(other);
	EXPECT_EQ(0, transfer_some(self->fd, &buffer, 1));
}

TEST_F(alloc, many)
{
	enum { COUNT = 1000 };
	static struct buffer buffers[COUNT];

	for (int i = 0; i < COUNT; i++) {
		ASSERT_EQ(0, allocate(self->fd, PAGE, &buffers[i])) TH_LOG("buffer %d", i);
		*(uint32_t *)buffers[i].bytes = i;
		for (int j = 0; j < i; j++) {
			ASSERT_NE(buffers[j].handle, buffers[i].handle);
			ASSERT_NE(buffers[j].offset, buffers[i].offset);
		}
	}
	/* Every other buffer is freed; the others do not change. */
	for (int i = 0; i < COUNT; i += 2) {
		ASSERT_EQ(0, release(self->fd, &buffers[i]));
	}
	for (int i = 1; i < COUNT; i += 2) {
		ASSERT_EQ(i, *(uint32_t *)buffers[i].bytes);
	}
	for (int i = 0; i < COUNT; i += 2) {
		ASSERT_EQ(0, allocate(self->fd, PAGE, &buffers[i]));
		ASSERT_EQ(0, *(uint32_t *)buffers[i].bytes);
	}
	for (int i = 1; i < COUNT; i += 2) {
		ASSERT_EQ(i, *(uint32_t *)buffers[i].bytes);
	}
	for (int i = 0; i < COUNT; i++) {
		ASSERT_EQ(0, free_handle(self->fd, buffers[i].handle));
	}
}

/* Promise 5: a new buffer contains no data of other users. */
TEST_F_TIMEOUT(alloc, zeroed, 240)
{
	int count = scale(1000, 10000);
	uint64_t looked_at = 0, foreign = 0;
	struct buffer buffer;

	for (int i = 0; i < count; i++) {
		uint64_t size = (1 + i % 16) * PAGE, found;

		ASSERT_EQ(0, allocate(self->fd, size, &buffer));
		found = differing(buffer.bytes, 0, size);
		ASSERT_EQ(0, found) TH_LOG("round %d, %llu bytes", i, (unsigned long long)size);
		looked_at += size;
		foreign += found;
		memset(buffer.bytes, 0xee, size);
		ASSERT_EQ(0, release(self->fd, &buffer));
	}
	FIGURE("%d new buffers, %llu bytes", "%llu bytes that are not zero", count, (unsigned long long)looked_at,
	       (unsigned long long)foreign);
}

TEST_F(alloc, first_buffer_zeroed)
{
	for (int i = 0; i < 100; i++) {
		int fd = open_node(O_RDWR);
		unsigned char *bytes;

		ASSERT_LE(0, fd);
		bytes = map(fd, 0, 8 * PAGE, PROT_READ | PROT_WRITE);
		ASSERT_NE(NULL, bytes);
		ASSERT_EQ(0, differing(bytes, 0, 8 * PAGE));
		memset(bytes, 0xee, 8 * PAGE);
		ASSERT_EQ(0, munmap(bytes, 8 * PAGE));
		close(fd);
	}
}

/* Closing the file frees all of its buffers: in total, this allocates many times the size of the memory. */
TEST_F(alloc, close_frees)
{
	for (int i = 0; i < 200; i++) {
		int fd = open_node(O_RDWR);
		struct buffer buffer;

		ASSERT_LE(0, fd);
		for (int j = 0; j < 4; j++) {
			ASSERT_EQ(0, allocate(fd, 1 << 20, &buffer)) TH_LOG("round %d", i);
			ASSERT_EQ(0, munmap(buffer.bytes, buffer.size));
		}
		close(fd);
	}
}

/* If the answer cannot be written, the buffer must not exist: here the argument is readable and not writable. */
TEST_F(alloc, what_cannot_be_answered_is_taken_back)
{
	struct rdma_alloc first = { .size = PAGE }, after = { .size = PAGE };
	struct rdma_alloc *argument = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ASSERT_NE(MAP_FAILED, argument);
	*argument = (struct rdma_alloc){ .size = PAGE };
	ASSERT_EQ(0, mprotect(argument, PAGE, PROT_READ));
	ASSERT_EQ(0, call(self->fd, RDMA_IOC_ALLOC, &first));
	for (int i = 0; i < 100; i++) {
		ASSERT_EQ(-EFAULT, call(self->fd, RDMA_IOC_ALLOC, argument));
	}
	/* Handles are reused, so that those 100 have been freed. */
	ASSERT_EQ(0, call(self->fd, RDMA_IOC_ALLOC, &after));
	EXPECT_EQ(first.handle + 1, after.handle);
	munmap(argument, PAGE);
}

FIXTURE(exhaustion)
{
	int fd;
	int log;
};

FIXTURE_VARIANT(exhaustion)
{
	uint64_t size;
};

FIXTURE_VARIANT_ADD(exhaustion, large) { .size = 1 << 20 };
FIXTURE_VARIANT_ADD(exhaustion, middling) { .size = 1 << 16 };

FIXTURE_SETUP(exhaustion)
{
	pause_us(6000000); /* the log is limited to a few lines in 5 s */
	self->fd = open_node(O_RDWR);
	ASSERT_LE(0, self->fd);
	self->log = open_log();
	ASSERT_LE(0, self->log);
}

FIXTURE_TEARDOWN(exhaustion)
{
	close(self->fd);
}

static long oom_kills(void)
{
	char text[16384], *line;

	return !read_text("/proc/vmstat", text, sizeof(text)) && (line = strstr(text, "\noom_kill ")) ?
		       atol(line + strlen("\noom_kill ")) :
		       -1;
}

/* Allocates all memory within the device's reach. Then ENOMEM, with a message; all memory is freed; no process is killed. */
TEST_F_TIMEOUT(exhaustion, and_recovery, 120)
{
	long killed = oom_kills();
	int counts[3];

	for (int round = 0; round < 3; round++) {
		int fd = open_node(O_RDWR);
		struct rdma_alloc alloc;
		int error;

		counts[round] = 0;
		ASSERT_LE(0, fd);
		do {
			alloc = (struct rdma_alloc){ .size = variant->size };
			error = call(fd, RDMA_IOC_ALLOC, &alloc);
		} while (!error && ++counts[round] < 100000);
		EXPECT_EQ(-ENOMEM, error);
		close(fd);
	}
	TH_LOG("%d, %d, %d buffers of %llu bytes", counts[0], counts[1], counts[2],
	       (unsigned long long)variant->size);
	EXPECT_LT(0, counts[0]);
	/* The first round may succeed by chance: free memory happens to have low addresses, and the kernel reclaims it only once. */
	EXPECT_GE(counts[2] + counts[2] / 4 + 2, counts[1]);
	EXPECT_LT(0, log_lines(self->log, "rdma 0000:"));
	ASSERT_LE(0, killed);
	EXPECT_EQ(killed, oom_kills());
	FIGURE("3 times all that a device can reach, in pieces of %llu kB: %d, %d, %d", "%ld OOM kills",
	       (unsigned long long)variant->size / 1024, counts[0], counts[1], counts[2], oom_kills() - killed);
}

/* More than the guest's memory. */
TEST_F(alloc, larger_than_memory)
{
	struct rdma_alloc alloc = { .size = RDMA_MAX_BUFFER_SIZE };
	struct buffer buffer;
	int log = open_log();

	if (sysconf(_SC_PHYS_PAGES) * (uint64_t)PAGE > RDMA_MAX_BUFFER_SIZE)
		SKIP(return, "this guest has more memory than the largest buffer");
	EXPECT_EQ(-ENOMEM, call(self->fd, RDMA_IOC_ALLOC, &alloc));
	EXPECT_LT(0, log_lines(log, "rdma 0000:"));
	EXPECT_EQ(0, allocate(self->fd, PAGE, &buffer));
}

/* One message in five seconds is logged, however often a program makes calls that fail. */
enum { MESSAGE_US = 5100000 };

TEST_F(alloc, refusals_do_not_flood_the_log)
{
	struct rdma_alloc alloc = { .size = RDMA_MAX_BUFFER_SIZE };
	int64_t began = now();
	int log = open_log();

	ASSERT_LE(0, log);
	pause_us(MESSAGE_US); /* since that of another test */
	for (int i = 0; i < 500 && now() - began < 2 * MESSAGE_US; i++)
		ASSERT_EQ(-ENOMEM, call(self->fd, RDMA_IOC_ALLOC, &alloc));
	EXPECT_EQ(1, log_lines(log, "rdma 0000:"));
	pause_us(MESSAGE_US);
	ASSERT_EQ(-ENOMEM, call(self->fd, RDMA_IOC_ALLOC, &alloc));
	EXPECT_EQ(1, log_lines(log, "rdma 0000:"));
}

TEST_HARNESS_MAIN
