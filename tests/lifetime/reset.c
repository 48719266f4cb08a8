// SPDX-License-Identifier: GPL-2.0
/* Resets of the device by the PCI core: requests wait until it is over, and none fails. */
#include "debugfs.h"
#include "requests.h"

enum { COUNT = 16 };

FIXTURE(reset)
{
	int fd;
	char address[32];
	struct buffer from, to;
};

FIXTURE_SETUP(reset)
{
	ASSERT_EQ(0, pci_address("rdma0", self->address));
	self->fd = open_node(O_RDWR);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, allocate(self->fd, COUNT * PAGE, &self->from));
	ASSERT_EQ(0, allocate(self->fd, COUNT * PAGE, &self->to));
	fill(self->from.bytes, COUNT * PAGE, 1);
	memset(self->to.bytes, 0, COUNT * PAGE);
}

FIXTURE_TEARDOWN(reset)
{
	close(self->fd);
}

static int submit_all(FIXTURE_DATA(reset) *self)
{
	struct rdma_request requests[COUNT];

	for (int i = 0; i < COUNT; i++)
		requests[i] = copying(&self->to, i * PAGE, &self->from, i * PAGE, PAGE, i);
	return submit(self->fd, requests, COUNT);
}

/* The registers were lost. No request waits for the watchdog, or fails, until the driver restarts the engine. */
TEST_F(reset, of_an_idle_device)
{
	long recoveries = counter("watchdog_recoveries");

	for (int i = 0; i < 3; i++) {
		ASSERT_EQ(0, copy(self->fd, &self->to, 0, &self->from, 0, PAGE));
		ASSERT_EQ(0, reset_device(self->address));
	}
	ASSERT_EQ(COUNT, submit_all(self));
	EXPECT_EQ(0, drain(self->fd, COUNT));
	EXPECT_EQ(0, memcmp(self->to.bytes, self->from.bytes, COUNT * PAGE));
	EXPECT_EQ(recoveries, counter("watchdog_recoveries"));
}

/* What a user had in the device memory is lost. */
TEST_F(reset, the_device_memory_is_zero)
{
	if (!has_memory(self->fd))
		SKIP(return, "the device has no memory");
	ASSERT_EQ(0, to_device(self->fd, &self->from, 0, 0, DEVICE_MEMORY));
	ASSERT_EQ(0, reset_device(self->address));
	memset(self->to.bytes, 1, DEVICE_MEMORY);
	ASSERT_EQ(0, from_device(self->fd, &self->to, 0, 0, DEVICE_MEMORY));
	EXPECT_EQ(0, differing(self->to.bytes, 0, DEVICE_MEMORY));
}

/* The transfer in flight ends before the reset, and those that wait are executed after it. */
TEST_F(reset, with_requests_in_the_queue)
{
	ASSERT_EQ(COUNT, submit_all(self));
	ASSERT_EQ(0, reset_device(self->address));
	EXPECT_EQ(0, drain(self->fd, COUNT));
	EXPECT_EQ(0, memcmp(self->to.bytes, self->from.bytes, COUNT * PAGE));
}

/* What is submitted during the reset is executed after it. */
TEST_F(reset, beside_a_program)
{
	pid_t child = fork();
	int status = -1;

	if (!child) {
		for (int i = 0; i < 5; i++)
			if (reset_device(self->address))
				_exit(1);
		_exit(0);
	}
	while (waitpid(child, &status, WNOHANG) == 0) {
		ASSERT_EQ(0, copy(self->fd, &self->to, 0, &self->from, 0, PAGE));
	}
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, memcmp(self->to.bytes, self->from.bytes, PAGE));
}

TEST_HARNESS_MAIN
