// SPDX-License-Identifier: GPL-2.0
/* Two devices: two nodes, two engines, two memories; each is removed and added independently, and numbers are reused. */
#include "monitor.h"

enum { SLACK_US = 10000 };

FIXTURE(two)
{
	char addresses[2][32];
	int fds[2];
	struct buffer buffers[2];
};

FIXTURE_SETUP(two)
{
	for (int i = 0; i < 2; i++) {
		char name[16];

		snprintf(name, sizeof(name), "rdma%d", i);
		ASSERT_EQ(0, pci_address(name, self->addresses[i]));
		self->fds[i] = open_number(i);
		ASSERT_LE(0, self->fds[i]);
		ASSERT_EQ(0, allocate(self->fds[i], 2 * PAGE, &self->buffers[i]));
		fill(self->buffers[i].bytes, DEVICE_MEMORY, i);
	}
}

FIXTURE_TEARDOWN(two)
{
	close(self->fds[0]);
	close(self->fds[1]);
}

static int unbind(const char *address)
{
	return write_text("/sys/bus/pci/drivers/rdma/unbind", address);
}

static int bind(const char *address)
{
	return write_text("/sys/bus/pci/drivers/rdma/bind", address);
}

TEST_F(two, are_two)
{
	EXPECT_STRNE(self->addresses[0], self->addresses[1]);
	EXPECT_EQ(-ENOENT, open_number(2));
}

TEST_F(two, have_memories_of_their_own)
{
	for (int i = 0; i < 2; i++) {
		ASSERT_EQ(0, to_device(self->fds[i], &self->buffers[i], 0, 0, DEVICE_MEMORY));
	}
	for (int i = 0; i < 2; i++) {
		ASSERT_EQ(0, from_device(self->fds[i], &self->buffers[i], DEVICE_MEMORY, 0, DEVICE_MEMORY));
		EXPECT_EQ(0, memcmp(self->buffers[i].bytes, self->buffers[i].bytes + DEVICE_MEMORY, DEVICE_MEMORY));
	}
}

/* Ten transfers on each take as long as ten on one. */
TEST_F(two, work_at_the_same_time)
{
	enum { COUNT = 10 };
	struct pending pending[2];
	int64_t began = now(), took;

	for (int i = 0; i < COUNT; i++) {
		for (int j = 0; j < 2; j++) {
			ASSERT_EQ(0, begin(&pending[j], self->fds[j],
					   (struct rdma_request){ .operation = RDMA_OP_TO_DEVICE,
								  .source = self->buffers[j].handle,
								  .length = DEVICE_MEMORY }));
		}
		for (int j = 0; j < 2; j++) {
			ASSERT_EQ(0, finish(&pending[j]));
		}
	}
	took = now() - began;
	TH_LOG("2 times %d transfers: %lld us", COUNT, (long long)took);
	EXPECT_GE(COUNT * (TRANSFER_US + 2000), took);
}

/* A handle or an offset of a context on one device is not valid on the other. */
TEST_F(two, share_no_handles)
{
	struct rdma_alloc alloc;

	for (int i = 0; i < 10; i++) {
		alloc = (struct rdma_alloc){ .size = PAGE };
		ASSERT_EQ(0, call(self->fds[0], RDMA_IOC_ALLOC, &alloc));
	}
	EXPECT_EQ(-EINVAL, free_handle(self->fds[1], alloc.handle));
	EXPECT_EQ(NULL, map(self->fds[1], alloc.mmap_offset, PAGE, PROT_READ));
}

TEST_F(two, one_goes_and_the_other_works_on)
{
	struct pending pending;

	ASSERT_EQ(0, begin(&pending, self->fds[1], (struct rdma_request){ .operation = RDMA_OP_TO_DEVICE,
									 .source = self->buffers[1].handle,
									 .length = DEVICE_MEMORY }));
	pause_us(20000);
	ASSERT_EQ(0, unbind(self->addresses[0]));
	EXPECT_EQ(-ENOENT, open_number(0));
	EXPECT_EQ(0, finish(&pending));
	EXPECT_GE(TRANSFER_US + SLACK_US, pending.ended - pending.began);
	EXPECT_FALSE(readable(self->buffers[0].bytes));
	EXPECT_TRUE(readable(self->buffers[1].bytes));
	EXPECT_EQ(0, from_device(self->fds[1], &self->buffers[1], DEVICE_MEMORY, 0, DEVICE_MEMORY));
	EXPECT_EQ(0, memcmp(self->buffers[1].bytes, self->buffers[1].bytes + DEVICE_MEMORY, DEVICE_MEMORY));

	/* The lowest free number is 0 again. */
	close(self->fds[0]);
	ASSERT_EQ(0, bind(self->addresses[0]));
	self->fds[0] = open_number(0);
	EXPECT_LE(0, self->fds[0]);
}

/* Numbers depend on the order in which devices are added. */
TEST_F(two, numbers_go_round)
{
	char address[32];

	close(self->fds[0]);
	close(self->fds[1]);
	ASSERT_EQ(0, unbind(self->addresses[0]));
	ASSERT_EQ(0, unbind(self->addresses[1]));
	ASSERT_EQ(0, bind(self->addresses[1]));
	ASSERT_EQ(0, bind(self->addresses[0]));
	EXPECT_EQ(0, pci_address("rdma0", address));
	EXPECT_STREQ(self->addresses[1], address);
	EXPECT_EQ(0, pci_address("rdma1", address));
	EXPECT_STREQ(self->addresses[0], address);

	ASSERT_EQ(0, unbind(self->addresses[0]));
	ASSERT_EQ(0, unbind(self->addresses[1]));
	ASSERT_EQ(0, bind(self->addresses[0]));
	ASSERT_EQ(0, bind(self->addresses[1]));
	self->fds[0] = open_number(0);
	self->fds[1] = open_number(1);
	EXPECT_LE(0, self->fds[0]);
	EXPECT_LE(0, self->fds[1]);
}

/* A third one, added and removed while the others work. */
TEST_F(two, and_a_third)
{
	struct buffer buffer;
	int fd;

	ASSERT_EQ(0, plug("third", "spare0"));
	ASSERT_EQ(0, wait_for_node("/dev/rdma2"));
	fd = open_number(2);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, allocate(fd, 2 * PAGE, &buffer));
	fill(buffer.bytes, DEVICE_MEMORY, 2);
	EXPECT_EQ(0, copy(fd, &buffer, DEVICE_MEMORY, &buffer, 0, DEVICE_MEMORY));
	EXPECT_EQ(0, memcmp(buffer.bytes, buffer.bytes + DEVICE_MEMORY, DEVICE_MEMORY));
	ASSERT_EQ(0, unplug("third"));
	EXPECT_EQ(-ENODEV, to_device(fd, &buffer, 0, 0, 1));
	EXPECT_FALSE(readable(buffer.bytes));
	EXPECT_EQ(-ENOENT, open_number(2));
	close(fd);
	EXPECT_EQ(0, to_device(self->fds[0], &self->buffers[0], 0, 0, 1));
}

/* Repeated unbind and bind, while transfers run on the second device. */
TEST_F(two, many_goings)
{
	for (int i = 0; i < 20; i++) {
		struct pending pending;

		ASSERT_EQ(0, begin(&pending, self->fds[1], (struct rdma_request){ .operation = RDMA_OP_TO_DEVICE,
										 .source = self->buffers[1].handle,
										 .length = DEVICE_MEMORY }));
		ASSERT_EQ(0, unbind(self->addresses[0]));
		ASSERT_EQ(0, bind(self->addresses[0]));
		ASSERT_EQ(0, finish(&pending));
	}
}

TEST_HARNESS_MAIN
