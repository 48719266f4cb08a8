// SPDX-License-Identifier: GPL-2.0
/* Copies by an I/OAT device: all lengths and alignments, in batches and alone, and what the device does for them. */
#include "ioat.h"
#include "registered.h"

enum { SIZE = 1 << 20 };

FIXTURE(ioat_copies)
{
	int fd;
	struct ioat ioat;
	struct buffer from, to;
	unsigned char *expected;
	struct rdma_completion completions[DEPTH];
	struct rdma_request requests[DEPTH];
};

FIXTURE_SETUP(ioat_copies)
{
	self->fd = open_node(O_RDWR);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, ioat_open(0, &self->ioat));
	ioat_clear(&self->ioat);
	ioat_timing(&self->ioat, 0, 0);
	ASSERT_EQ(0, allocate(self->fd, SIZE, &self->from));
	ASSERT_EQ(0, allocate(self->fd, SIZE, &self->to));
	fill(self->from.bytes, SIZE, 1);
	fill(self->to.bytes, SIZE, 2);
	self->expected = malloc(SIZE);
	memcpy(self->expected, self->to.bytes, SIZE);
}

FIXTURE_TEARDOWN(ioat_copies)
{
	ioat_clear(&self->ioat);
	ioat_timing(&self->ioat, 0, 0);
	close(self->fd);
}

static void expect(struct __test_metadata *_metadata, FIXTURE_DATA(ioat_copies) *self, uint64_t to, uint64_t from, uint64_t length)
{
	memcpy(self->expected + to, self->from.bytes + from, length);
	ASSERT_EQ(0, memcmp(self->expected, self->to.bytes, SIZE)) TH_LOG("%llu bytes from %llu to %llu", (unsigned long long)length,
									   (unsigned long long)from, (unsigned long long)to);
}

/* INFO: no device memory, and what the engine can do. */
TEST_F(ioat_copies, info)
{
	struct rdma_device_info info = {};

	ASSERT_EQ(0, call(self->fd, RDMA_IOC_DEVICE_INFO, &info));
	EXPECT_EQ(1 << RDMA_OP_COPY, info.operations);
	EXPECT_EQ(RDMA_CAP_DIRECT_COPY | RDMA_CAP_ABORT, info.capabilities);
	EXPECT_EQ(0, info.device_memory_size);
	EXPECT_EQ(1 << 20, info.max_transfer_size);
	EXPECT_EQ(128, info.engine_depth);
	EXPECT_EQ(64, info.dma_bits);
	EXPECT_TRUE(info.hardware_version == 0x302 || info.hardware_version == 0x303);
}

/* A device without memory is an empty file, and operations that need the memory are refused. */
TEST_F(ioat_copies, no_device_memory)
{
	char byte = 0;

	EXPECT_EQ(0, read(self->fd, &byte, 1));
	EXPECT_EQ(-1, write(self->fd, &byte, 1));
	EXPECT_EQ(ENOSPC, errno);
	EXPECT_EQ(0, pread(self->fd, &byte, 1, 0));
	EXPECT_EQ(0, lseek(self->fd, 0, SEEK_END));
	EXPECT_EQ(-EINVAL, to_device(self->fd, &self->from, 0, 0, 1));
	EXPECT_EQ(-EINVAL, from_device(self->fd, &self->to, 0, 0, 1));
	EXPECT_EQ(-EINVAL, submit_one(self->fd, writing(&self->from, 0, 0, 1, 1)));
}

/* Each length around powers of two, at odd addresses. */
TEST_F(ioat_copies, lengths)
{
	for (uint64_t power = 1; power <= SIZE / 2; power *= 2) {
		for (int around = -1; around <= 1; around++) {
			uint64_t length = power + around, from = power % 61, to = power % 59;

			if (!length)
				continue;
			ASSERT_EQ(0, copy(self->fd, &self->to, to, &self->from, from, length));
			expect(_metadata, self, to, from, length);
		}
	}
}

/* Each alignment of both ends, modulo 64. */
TEST_F(ioat_copies, alignments)
{
	for (int from = 0; from < 64; from += 7) {
		for (int to = 0; to < 64; to++) {
			ASSERT_EQ(0, copy(self->fd, &self->to, to, &self->from, from, 4096 - to));
			expect(_metadata, self, to, from, 4096 - to);
		}
	}
}

/* Random batches of each size: all are completed, in order, and the bytes are right. */
TEST_F(ioat_copies, batches)
{
	srand(1);
	for (uint32_t count = 1; count <= DEPTH; count = count * 3 + 1) {
		for (uint32_t i = 0; i < count; i++) {
			uint64_t length = 1 + rand() % 5000;
			uint64_t from = rand() % (SIZE - length), to = rand() % (SIZE - length);

			self->requests[i] = copying(&self->to, to, &self->from, from, length, i);
			memcpy(self->expected + to, self->from.bytes + from, length);
		}
		ASSERT_EQ(count, submit(self->fd, self->requests, count));
		ASSERT_EQ(count, collect(self->fd, self->completions, count, DEPTH, FOREVER));
		for (uint32_t i = 0; i < count; i++) {
			ASSERT_EQ(i, self->completions[i].cookie);
			ASSERT_EQ(0, self->completions[i].status);
			ASSERT_EQ(self->requests[i].length, self->completions[i].bytes);
		}
		ASSERT_EQ(0, memcmp(self->expected, self->to.bytes, SIZE));
	}
}

/* Many times more descriptors than the ring has, and than the count in the doorbell. */
TEST_F(ioat_copies, around_the_count)
{
	int rounds = scale(80, 800);

	for (int round = 0; round < rounds; round++) {
		for (uint32_t i = 0; i < DEPTH; i++)
			self->requests[i] = copying(&self->to, i * 8, &self->from, i * 8 + round % 8, 8, i);
		ASSERT_EQ(DEPTH, submit(self->fd, self->requests, DEPTH));
		ASSERT_EQ(0, drain(self->fd, DEPTH));
		ASSERT_EQ(0, memcmp(self->to.bytes, self->from.bytes + round % 8, DEPTH * 8));
	}
	FIGURE("%d copies", "all right", rounds * DEPTH);
}

/* A batch rings the doorbell once, and raises few interrupts. */
TEST_F(ioat_copies, one_doorbell)
{
	uint32_t doorbells, raised;

	ioat_timing(&self->ioat, 1000000, 0);
	doorbells = ioat_get(&self->ioat, IOAT_DOORBELLS);
	raised = ioat_get(&self->ioat, IOAT_INTERRUPTS);
	for (uint32_t i = 0; i < 64; i++)
		self->requests[i] = copying(&self->to, i * 4096, &self->from, i * 4096, 4096, i);
	ASSERT_EQ(64, submit(self->fd, self->requests, 64));
	ASSERT_EQ(0, drain(self->fd, 64));
	EXPECT_EQ(1, ioat_get(&self->ioat, IOAT_DOORBELLS) - doorbells);
	EXPECT_GE(2, ioat_get(&self->ioat, IOAT_INTERRUPTS) - raised);
}

/* Each byte of buffers that consist of several blocks of memory, whose boundaries are at different places of the source and the destination. */
TEST_F(ioat_copies, scattered)
{
	enum { PAGES = 1023, SHIFT = 5 * 4096 + 3 };
	const size_t size = PAGES * 4096, length = size - SHIFT;
	struct buffer from, to;

	ASSERT_EQ(0, allocate(self->fd, size, &from));
	ASSERT_EQ(0, allocate(self->fd, size, &to));
	fill(from.bytes, size, 3);
	memset(to.bytes, 0xee, size);
	ASSERT_EQ(0, copy(self->fd, &to, SHIFT, &from, 0, length));
	EXPECT_EQ(0, differing(to.bytes, 0xee, SHIFT));
	EXPECT_EQ(0, memcmp(to.bytes + SHIFT, from.bytes, length));
	memset(to.bytes, 0xee, size);
	ASSERT_EQ(0, copy(self->fd, &to, 0, &from, SHIFT, length));
	EXPECT_EQ(0, memcmp(to.bytes, from.bytes + SHIFT, length));
	EXPECT_EQ(0, differing(to.bytes + length, 0xee, SHIFT));
}

/* One request for each size; a number in each page tells whether it has arrived. */
static void copy_large(struct __test_metadata *_metadata, int fd, uint64_t size)
{
	struct buffer from, to;

	ASSERT_EQ(0, allocate(fd, size, &from)) TH_LOG("%llu MiB", (unsigned long long)size >> 20);
	ASSERT_EQ(0, allocate(fd, size, &to)) TH_LOG("%llu MiB", (unsigned long long)size >> 20);
	for (uint64_t at = 0; at < size; at += 4096)
		*(uint64_t *)(from.bytes + at) = at * 0x9e3779b97f4a7c15;
	ASSERT_EQ(0, copy(fd, &to, 0, &from, 0, size));
	for (uint64_t at = 0; at < size; at += 4096)
		ASSERT_EQ(at * 0x9e3779b97f4a7c15, *(uint64_t *)(to.bytes + at));
	ASSERT_EQ(0, release(fd, &from));
	ASSERT_EQ(0, release(fd, &to));
}

TEST_F(ioat_copies, large)
{
	copy_large(_metadata, self->fd, 3 << 20);
	copy_large(_metadata, self->fd, 64 << 20);
}

/* The device must not let the end of a transfer pass its bytes: Enable Relaxed Ordering of the PCI Express capability is off. */
TEST_F(ioat_copies, writes_in_order)
{
	EXPECT_EQ(0, ioat_get(&self->ioat, 0x48 - IOAT_BASE) & 0x10);
}

/* Each request of a batch copies what the one before it has written: they are executed one after the other. */
TEST_F(ioat_copies, in_order)
{
	for (uint32_t i = 0; i < 100; i++)
		self->requests[i] = i ? copying(&self->to, i * 1000, &self->to, (i - 1) * 1000, 1000, i) :
					copying(&self->to, 0, &self->from, 0, 1000, i);
	ASSERT_EQ(100, submit(self->fd, self->requests, 100));
	ASSERT_EQ(100, collect(self->fd, self->completions, 100, 100, FOREVER));
	for (uint32_t i = 0; i < 100; i++) {
		ASSERT_EQ(0, memcmp(self->from.bytes, self->to.bytes + i * 1000, 1000)) TH_LOG("request %u", i);
	}
}

/* Memory whose pages are not contiguous, so that a copy of it has a transfer for each page; NULL if there is none. */
static unsigned char *scattered_memory(size_t pages)
{
	int fd = memfd_create("scattered", MFD_CLOEXEC);
	unsigned char *bytes = memory_at(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
	unsigned char *zeros = calloc(1, PAGE);

	if (fd < 0 || !bytes || !zeros)
		return NULL;
	for (size_t i = 0; i < pages; i++) {
		if (write(fd, zeros, PAGE) != PAGE)
			return NULL;
	}
	/* The kernel allocates pages in ascending or descending order. */
	for (size_t i = 0; i < pages; i++) {
		size_t page = i % 2 * pages / 2 + i / 2;

		if (mmap(bytes + i * PAGE, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, page * PAGE) == MAP_FAILED)
			return NULL;
	}
	free(zeros);
	close(fd);
	return bytes;
}

/*
 * A long copy is cancelled before all of its transfers are posted. The next request, of which the transfers follow directly, copies what the last
 * one has written.
 */
TEST_F(ioat_copies, in_order_after_a_cancelled_one)
{
	enum { PAGES = 512, SLOTS = 128, TRIES = 20 };
	const uint64_t last = (SLOTS - 1) * PAGE;
	struct buffer from, to;
	int seen = 0;

	ASSERT_EQ(0, register_memory(self->fd, scattered_memory(PAGES), PAGES * PAGE, 0, &from));
	ASSERT_EQ(0, register_memory(self->fd, scattered_memory(PAGES), PAGES * PAGE, 0, &to));
	fill(from.bytes, PAGES * PAGE, 3);
	/* 320 ms until the slots of the first half are used again. */
	ioat_timing(&self->ioat, 5000000, 0);
	for (int i = 0; i < TRIES && seen < 2; i++) {
		memset(to.bytes, 0, PAGES * PAGE);
		memset(self->to.bytes, 0, PAGE);
		ASSERT_EQ(1, submit_one(self->fd, copying(&to, 0, &from, 0, PAGES * PAGE, 1)));
		if (cancel(self->fd, 1) != 1) {
			/* On a busy host, all of it may have been posted. */
			ASSERT_EQ(1, collect(self->fd, self->completions, 1, 1, FOREVER));
			ASSERT_EQ(0, self->completions[0].status);
			continue;
		}
		ASSERT_EQ(1, submit_one(self->fd, copying(&self->to, 0, &to, last, PAGE, 2)));
		ASSERT_EQ(2, collect(self->fd, self->completions, 2, 2, FOREVER));
		ASSERT_EQ(-ECANCELED, self->completions[0].status);
		ASSERT_EQ(0, self->completions[1].status);
		/* On a busy host, more may have been posted before it was cancelled. */
		if (self->completions[0].bytes != last + PAGE)
			continue;
		seen++;
		ASSERT_EQ(0, memcmp(from.bytes + last, self->to.bytes, PAGE));
	}
	EXPECT_LT(0, seen);
}

TEST_F(ioat_copies, gigabyte)
{
	copy_large(_metadata, self->fd, 1 << 30);
	FIGURE("a request of 1 GiB", "all pages right");
}

/* A long copy is cancelled while it runs: it ends soon, with the number of bytes that were moved. */
TEST_F(ioat_copies, cancelled_while_it_runs)
{
	const uint64_t size = 64 << 20;
	struct buffer from, to;
	int64_t began;

	ASSERT_EQ(0, allocate(self->fd, size, &from));
	ASSERT_EQ(0, allocate(self->fd, size, &to));
	ioat_timing(&self->ioat, 0, 100);
	ASSERT_EQ(1, submit_one(self->fd, copying(&to, 0, &from, 0, size, 7)));
	pause_us(50000);
	began = now();
	EXPECT_EQ(1, cancel(self->fd, 7));
	ASSERT_EQ(1, collect(self->fd, self->completions, 1, 1, FOREVER));
	EXPECT_GE(400000, now() - began);
	EXPECT_EQ(7, self->completions[0].cookie);
	EXPECT_EQ(-ECANCELED, self->completions[0].status);
	EXPECT_LT(0, self->completions[0].bytes);
	EXPECT_GT(size, self->completions[0].bytes);
	EXPECT_EQ(-ENOENT, cancel(self->fd, 7));
	ioat_timing(&self->ioat, 0, 0);
	EXPECT_EQ(0, copy(self->fd, &to, 0, &from, 0, size));
}

/* Another request begins before the cancelled one has ended. What is linked to the other one is executed. */
TEST_F(ioat_copies, cancelled_beside_a_link)
{
	const uint64_t size = 64 << 20;
	struct rdma_request requests[2];
	struct buffer from, to;

	ASSERT_EQ(0, allocate(self->fd, size, &from));
	ASSERT_EQ(0, allocate(self->fd, size, &to));
	/* 3 s: a busy host delays the cancellation, too. */
	ioat_timing(&self->ioat, 0, 20);
	ASSERT_EQ(1, submit_one(self->fd, copying(&to, 0, &from, 0, size, 7)));
	for (int i = 0; i < 2; i++)
		requests[i] = copying(&to, i * PAGE, &from, 0, PAGE, 8 + i);
	requests[0].flags = RDMA_REQUEST_LINK;
	ASSERT_EQ(2, submit(self->fd, requests, 2));
	pause_us(50000);
	EXPECT_EQ(1, cancel(self->fd, 7));
	for (int i = 0; i < 3; i++) {
		ASSERT_EQ(1, collect(self->fd, self->completions, 1, 1, FOREVER));
		EXPECT_EQ(7 + i, self->completions[0].cookie);
		EXPECT_EQ(i ? 0 : -ECANCELED, self->completions[0].status);
	}
}

TEST_HARNESS_MAIN
