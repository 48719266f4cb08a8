// SPDX-License-Identifier: GPL-2.0
/* Each bus address that the device gets is within its range, and a wider range is used. Read from the device's registers. */
#include "registers.h"

enum { MAX = 100, SIZE = 4 << 20 };

FIXTURE(reach)
{
	int fd;
	struct rdma_device_info info;
	volatile void *registers;
};

FIXTURE_SETUP(reach)
{
	char address[32];

	self->fd = open_node(O_RDWR);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, call(self->fd, RDMA_IOC_DEVICE_INFO, &self->info));
	ASSERT_EQ(0, pci_address("rdma0", address));
	self->registers = map_registers(address, PAGE);
	ASSERT_NE(NULL, self->registers) TH_LOG("this needs a kernel with iomem=relaxed");
}

FIXTURE_TEARDOWN(reach)
{
	close(self->fd);
}

TEST_F_TIMEOUT(reach, of_all_buffers, 120)
{
	uint64_t limit = 1ULL << self->info.dma_bits, highest = 0;
	struct buffer buffer;
	int count = 0;

	for (; count < MAX && !allocate(self->fd, SIZE, &buffer); count++) {
		uint64_t first, last;

		ASSERT_EQ(0, to_device(self->fd, &buffer, 0, 0, 1));
		first = read64(self->registers, EDU_DMA_SOURCE);
		ASSERT_EQ(0, to_device(self->fd, &buffer, SIZE - 1, 0, 1));
		last = read64(self->registers, EDU_DMA_SOURCE);
		EXPECT_GT(limit, first);
		EXPECT_GT(limit, last);
		highest = last > highest ? last : highest;

		/* Data at high addresses arrives, too. */
		fill(buffer.bytes, 64, count);
		ASSERT_EQ(0, copy(self->fd, &buffer, SIZE - 64, &buffer, 0, 64));
		ASSERT_EQ(0, memcmp(buffer.bytes, buffer.bytes + SIZE - 64, 64));
	}
	TH_LOG("%d buffers, highest address %#llx, %u bits", count, (unsigned long long)highest, self->info.dma_bits);
	EXPECT_LT(0, count);
	/* The check itself: without the limit, this many buffers would not fit below it. */
	if (self->info.dma_bits > 28) {
		EXPECT_LT(1ULL << 28, highest);
	}
}

TEST_HARNESS_MAIN
