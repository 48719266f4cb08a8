// SPDX-License-Identifier: GPL-2.0
/* TRANSFER: each operation is executed, with the time and the interrupt of one transfer, and invalid arguments are refused. */
#include "rdma_test.h"

#define SIZE (2 * PAGE)

FIXTURE(transfer)
{
	int fd;
	struct buffer one, two;
};

FIXTURE_SETUP(transfer)
{
	self->fd = open_node(O_RDWR);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, allocate(self->fd, SIZE, &self->one));
	ASSERT_EQ(0, allocate(self->fd, SIZE, &self->two));
	fill(self->one.bytes, SIZE, 1);
	fill(self->two.bytes, SIZE, 2);
}

FIXTURE_TEARDOWN(transfer)
{
	close(self->fd);
}

TEST_F(transfer, to_device_and_from_device)
{
	unsigned char before[SIZE];

	memcpy(before, self->two.bytes, SIZE);
	ASSERT_EQ(0, to_device(self->fd, &self->one, 100, 7, 3000));
	ASSERT_EQ(0, from_device(self->fd, &self->two, 5001, 7, 3000));
	EXPECT_EQ(0, memcmp(self->two.bytes, before, 5001));
	EXPECT_EQ(0, memcmp(self->two.bytes + 5001, self->one.bytes + 100, 3000));
	EXPECT_EQ(0, memcmp(self->two.bytes + 8001, before + 8001, SIZE - 8001));
}

TEST_F(transfer, copy)
{
	unsigned char before[SIZE];

	memcpy(before, self->two.bytes, SIZE);
	ASSERT_EQ(0, copy(self->fd, &self->two, 1000, &self->one, 3, 7001));
	EXPECT_EQ(0, memcmp(self->two.bytes, before, 1000));
	EXPECT_EQ(0, memcmp(self->two.bytes + 1000, self->one.bytes + 3, 7001));
	EXPECT_EQ(0, memcmp(self->two.bytes + 8001, before + 8001, SIZE - 8001));
}

TEST_F(transfer, copy_within_a_buffer)
{
	unsigned char before[SIZE];

	memcpy(before, self->one.bytes, SIZE);
	/* Two adjacent ranges, in either order, do not overlap. */
	ASSERT_EQ(0, copy(self->fd, &self->one, 1000, &self->one, 0, 1000));
	memcpy(before + 1000, before, 1000);
	EXPECT_EQ(0, memcmp(self->one.bytes, before, SIZE));
	ASSERT_EQ(0, copy(self->fd, &self->one, 2000, &self->one, 5000, 3000));
	memcpy(before + 2000, before + 5000, 3000);
	EXPECT_EQ(0, memcmp(self->one.bytes, before, SIZE));
}

TEST_F(transfer, overlapping_copies)
{
	const struct {
		uint64_t to, from, length;
	} ranges[] = {
		{ 0, 0, 1 },	  { 0, 0, SIZE },    { 1, 0, 2 },	   { 0, 1, 2 },
		{ 999, 0, 1000 }, { 0, 999, 1000 },  { 100, 0, SIZE - 100 }, { 10, 20, 11 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(ranges); i++) {
		EXPECT_EQ(-EINVAL, copy(self->fd, &self->one, ranges[i].to, &self->one, ranges[i].from,
					ranges[i].length))
			TH_LOG("range %zu", i);
	}
	/* The same positions in two buffers do not overlap. */
	EXPECT_EQ(0, copy(self->fd, &self->two, 0, &self->one, 0, SIZE));
	EXPECT_EQ(0, memcmp(self->two.bytes, self->one.bytes, SIZE));
}

/* Each transfer takes one interrupt and 100 ms: there is no unnecessary wait, and no interrupt is lost. */
TEST_F(transfer, costs_one_interrupt_and_100_ms)
{
	enum { COUNT = 20 };
	long before = interrupts("rdma"), after;
	int64_t began = now(), took;

	ASSERT_LE(0, before);
	for (int i = 0; i < COUNT; i++) {
		ASSERT_EQ(0, to_device(self->fd, &self->one, 0, 0, DEVICE_MEMORY));
	}
	took = now() - began;
	after = interrupts("rdma");
	TH_LOG("%d transfers: %ld interrupts, %lld us", COUNT, after - before, (long long)took);
	EXPECT_EQ(COUNT, after - before);
	EXPECT_LE(COUNT * (TRANSFER_US - 1000), took);
	EXPECT_GE(COUNT * (TRANSFER_US + 2000), took);
}

TEST_F(transfer, every_range)
{
	static const uint64_t values[] = {
		0, 1, 4094, 4095, 4096, 4097, (1ULL << 32) - 1, 1ULL << 63, UINT64_MAX,
	};
	int valid = 0, wrong = 0, cases = 0;

	for (size_t i = 0; i < ARRAY_SIZE(values); i++)
		for (size_t j = 0; j < ARRAY_SIZE(values); j++)
			for (size_t k = 0; k < ARRAY_SIZE(values); k++) {
				uint64_t offset = values[i], device_offset = values[j], length = values[k];
				bool good = length && length <= SIZE && offset <= SIZE - length &&
					    length <= DEVICE_MEMORY && device_offset <= DEVICE_MEMORY - length;
				int wanted = good ? 0 : -EINVAL;
				int to = to_device(self->fd, &self->one, offset, device_offset, length);
				int from = from_device(self->fd, &self->two, offset, device_offset, length);

				EXPECT_EQ(wanted, to)
					TH_LOG("to device: %#" PRIx64 " bytes, %#" PRIx64 " to %#" PRIx64,
					       length, offset, device_offset);
				EXPECT_EQ(wanted, from)
					TH_LOG("from device: %#" PRIx64 " bytes, %#" PRIx64 " to %#" PRIx64,
					       length, device_offset, offset);
				if (good) {
					EXPECT_EQ(0, memcmp(self->one.bytes + offset, self->two.bytes + offset, length));
				}
				cases += 2;
				valid += good;
				wrong += (to != wanted) + (from != wanted);
			}
	TH_LOG("%d cases, %d valid ranges, %d wrong", cases, valid, wrong);
	EXPECT_LT(10, valid);
}

TEST_F(transfer, every_range_of_a_copy)
{
	const uint64_t values[] = {
		0, 1, 4096, SIZE - 1, SIZE, SIZE + 1, (1ULL << 32) - 1, 1ULL << 63, UINT64_MAX,
	};

	for (size_t i = 0; i < ARRAY_SIZE(values); i++)
		for (size_t j = 0; j < ARRAY_SIZE(values); j++)
			for (size_t k = 0; k < ARRAY_SIZE(values); k++) {
				uint64_t to = values[i], from = values[j], length = values[k];
				bool good = length && length <= SIZE && to <= SIZE - length && from <= SIZE - length;

				EXPECT_EQ(good ? 0 : -EINVAL,
					  copy(self->fd, &self->two, to, &self->one, from, length))
					TH_LOG("%#" PRIx64 " bytes, %#" PRIx64 " to %#" PRIx64, length, from, to);
				if (good) {
					EXPECT_EQ(0, memcmp(self->two.bytes + to, self->one.bytes + from, length));
				}
			}
}

TEST_F(transfer, unknown_operations)
{
	static const uint32_t operations[] = { 0, 4, 5, 0x10001, 0x80000001, UINT32_MAX };

	for (size_t i = 0; i < ARRAY_SIZE(operations); i++) {
		struct rdma_request request = {
			.operation = operations[i],
			.source = self->one.handle,
			.destination = self->two.handle,
			.length = 1,
		};

		EXPECT_EQ(-EINVAL, call(self->fd, RDMA_IOC_TRANSFER, &request)) TH_LOG("operation %u", operations[i]);
	}
}

TEST_F(transfer, reserved_fields)
{
	const struct rdma_request good = { .operation = RDMA_OP_TO_DEVICE, .source = self->one.handle, .length = 1 };
	struct rdma_request request = good;

	for (int bit = 0; bit < 64; bit++) {
		for (size_t i = 0; i < ARRAY_SIZE(request.reserved); i++) {
			request = good;
			request.reserved[i] = 1ULL << bit;
			EXPECT_EQ(-EINVAL, call(self->fd, RDMA_IOC_TRANSFER, &request)) TH_LOG("bit %d", bit);
		}
		request = good;
		request.flags = 1U << bit % 32;
		EXPECT_EQ(-EINVAL, call(self->fd, RDMA_IOC_TRANSFER, &request)) TH_LOG("bit %d", bit);
	}
	request = good;
	EXPECT_EQ(0, call(self->fd, RDMA_IOC_TRANSFER, &request));
	EXPECT_EQ(0, memcmp(&request, &good, sizeof(good)));
}

/* An unused handle must be 0. */
TEST_F(transfer, unused_handles)
{
	struct rdma_request request = {
		.operation = RDMA_OP_TO_DEVICE,
		.source = self->one.handle,
		.destination = self->two.handle,
		.length = 1,
	};

	EXPECT_EQ(-EINVAL, call(self->fd, RDMA_IOC_TRANSFER, &request));
	request.operation = RDMA_OP_FROM_DEVICE;
	EXPECT_EQ(-EINVAL, call(self->fd, RDMA_IOC_TRANSFER, &request));
	request.destination_offset = 1;
	request.operation = RDMA_OP_COPY;
	EXPECT_EQ(0, call(self->fd, RDMA_IOC_TRANSFER, &request));
}

TEST_F(transfer, unknown_handles)
{
	struct buffer gone, unknown = { .handle = 0x7fffffff }, none = { .handle = RDMA_FIRST_BUFFER },
		      nothing = { .handle = RDMA_NO_BUFFER };

	ASSERT_EQ(0, allocate(self->fd, PAGE, &gone));
	ASSERT_EQ(0, release(self->fd, &gone));
	EXPECT_EQ(-EINVAL, to_device(self->fd, &gone, 0, 0, 1));
	EXPECT_EQ(-EINVAL, from_device(self->fd, &gone, 0, 0, 1));
	EXPECT_EQ(-EINVAL, copy(self->fd, &gone, 0, &self->one, 0, 1));
	EXPECT_EQ(-EINVAL, copy(self->fd, &self->one, 0, &gone, 0, 1));
	EXPECT_EQ(-EINVAL, to_device(self->fd, &unknown, 0, 0, 1));
	EXPECT_EQ(-EINVAL, to_device(self->fd, &none, 0, 0, 1));
	EXPECT_EQ(-EINVAL, copy(self->fd, &self->one, 0, &none, 0, 1));
	EXPECT_EQ(-EINVAL, to_device(self->fd, &nothing, 0, 0, 1));
	EXPECT_EQ(-EINVAL, from_device(self->fd, &nothing, 0, 0, 1));
	EXPECT_EQ(-EINVAL, copy(self->fd, &self->one, 0, &nothing, 0, 1));
	EXPECT_EQ(-EINVAL, copy(self->fd, &nothing, 0, &self->one, 0, 1));
	EXPECT_EQ(0, to_device(self->fd, &self->one, 0, 0, 1));
}

/* A refused request moves nothing. */
TEST_F(transfer, refusals_leave_all_as_it_was)
{
	unsigned char before[SIZE];

	memcpy(before, self->two.bytes, SIZE);
	ASSERT_EQ(0, to_device(self->fd, &self->one, 0, 0, DEVICE_MEMORY));
	EXPECT_EQ(-EINVAL, to_device(self->fd, &self->two, 0, 1, DEVICE_MEMORY));
	EXPECT_EQ(-EINVAL, from_device(self->fd, &self->two, SIZE - 1, 0, 2));
	EXPECT_EQ(-EINVAL, copy(self->fd, &self->two, 1, &self->one, 0, SIZE));
	EXPECT_EQ(0, memcmp(self->two.bytes, before, SIZE));
	ASSERT_EQ(0, from_device(self->fd, &self->two, 0, 0, DEVICE_MEMORY));
	EXPECT_EQ(0, memcmp(self->two.bytes, self->one.bytes, DEVICE_MEMORY));
}

TEST_F(transfer, needs_a_file_opened_for_it)
{
	int read_only = open_node(O_RDONLY), write_only = open_node(O_WRONLY);
	struct rdma_alloc alloc = { .size = PAGE };
	struct buffer buffer = { 0 };

	ASSERT_LE(0, read_only);
	ASSERT_LE(0, write_only);

	ASSERT_EQ(0, call(read_only, RDMA_IOC_ALLOC, &alloc));
	buffer.handle = alloc.handle;
	EXPECT_EQ(-EBADF, to_device(read_only, &buffer, 0, 0, 1));
	EXPECT_EQ(-EBADF, copy(read_only, &buffer, 0, &buffer, 1, 1));
	EXPECT_EQ(0, from_device(read_only, &buffer, 0, 0, 1));

	ASSERT_EQ(0, call(write_only, RDMA_IOC_ALLOC, &alloc));
	buffer.handle = alloc.handle;
	EXPECT_EQ(-EBADF, from_device(write_only, &buffer, 0, 0, 1));
	EXPECT_EQ(0, to_device(write_only, &buffer, 0, 0, 1));
	EXPECT_EQ(0, copy(write_only, &buffer, 0, &buffer, 1, 1));
	close(read_only);
	close(write_only);
}

TEST_HARNESS_MAIN
