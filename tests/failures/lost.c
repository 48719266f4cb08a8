// SPDX-License-Identifier: GPL-2.0
/* Promise 6: a lost interrupt is detected in time, because the watchdog checks the device, and it is logged. */
#include "registers.h"

/* The watchdog checks the device this long after the start of a transfer at the latest. */
enum { LOOK_US = 450000, SLACK_US = 20000 };

FIXTURE(lost)
{
	int fd;
	int config;
	int log;
	struct buffer buffer;
	bool msi;
	int msi_flags; /* position in the configuration space */
};

FIXTURE_SETUP(lost)
{
	struct rdma_device_info info;
	char address[32];

	self->fd = open_node(O_RDWR);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, allocate(self->fd, 2 * PAGE, &self->buffer));
	fill(self->buffer.bytes, DEVICE_MEMORY, 1);
	ASSERT_EQ(0, call(self->fd, RDMA_IOC_DEVICE_INFO, &info));
	self->msi = info.interrupt == RDMA_INTERRUPT_MSI;
	ASSERT_EQ(0, pci_address("rdma0", address));
	self->config = open_config(address);
	ASSERT_LE(0, self->config);
	self->msi_flags = find_capability(self->config, PCI_CAP_ID_MSI) + PCI_MSI_FLAGS;
	ASSERT_LT(PCI_MSI_FLAGS, self->msi_flags);
	self->log = open_log();
	ASSERT_LE(0, self->log);
}

/* Enables or disables the device's interrupts. */
static void mute(FIXTURE_DATA(lost) *self, bool mute)
{
	int offset = self->msi ? self->msi_flags : PCI_COMMAND;
	uint16_t bit = self->msi ? PCI_MSI_FLAGS_ENABLE : PCI_COMMAND_INTX_DISABLE;
	uint16_t value = read_config(self->config, offset);

	write_config(self->config, offset, mute == self->msi ? value & ~bit : value | bit);
}

FIXTURE_TEARDOWN(lost)
{
	mute(self, false);
	close(self->fd);
}

/* The time of a transfer without an interrupt, or an error. */
static int64_t transfer_without(FIXTURE_DATA(lost) *self, int moment_us)
{
	struct pending pending;
	int error = begin(&pending, self->fd, (struct rdma_request){ .operation = RDMA_OP_FROM_DEVICE,
								     .destination = self->buffer.handle,
								     .destination_offset = DEVICE_MEMORY,
								     .length = DEVICE_MEMORY });

	if (error)
		return error;
	pause_us(moment_us);
	mute(self, true);
	error = finish(&pending);
	mute(self, false);
	return error ? error : pending.ended - pending.began;
}

TEST_F(lost, once)
{
	int64_t took, began;

	ASSERT_EQ(0, to_device(self->fd, &self->buffer, 0, 0, DEVICE_MEMORY));
	ASSERT_EQ(0, log_lines(self->log, "lost interrupt"));
	took = transfer_without(self, 20000);
	ASSERT_LE(TRANSFER_US - 1000, took);
	TH_LOG("took %lld us", (long long)took);
	EXPECT_GE(LOOK_US + SLACK_US, took);
	/* The check itself: the interrupt was lost. */
	EXPECT_LT(TRANSFER_US + SLACK_US, took);
	EXPECT_EQ(0, memcmp(self->buffer.bytes, self->buffer.bytes + DEVICE_MEMORY, DEVICE_MEMORY));
	EXPECT_EQ(1, log_lines(self->log, "lost interrupt"));

	/* Everything works as before. */
	began = now();
	ASSERT_EQ(0, to_device(self->fd, &self->buffer, 0, 0, DEVICE_MEMORY));
	EXPECT_GE(TRANSFER_US + SLACK_US, now() - began);
	EXPECT_EQ(0, log_lines(self->log, "lost interrupt"));
}

TEST_F(lost, a_hundred_times)
{
	int times = scale(100, 1000), recovered = 0, lines;

	ASSERT_EQ(0, to_device(self->fd, &self->buffer, 0, 0, DEVICE_MEMORY));
	for (int i = 0; i < times; i++) {
		int64_t took;

		memset(self->buffer.bytes + DEVICE_MEMORY, 0, DEVICE_MEMORY);
		took = transfer_without(self, i % 100);
		recovered += took > TRANSFER_US + SLACK_US && took <= LOOK_US + SLACK_US &&
			     !memcmp(self->buffer.bytes, self->buffer.bytes + DEVICE_MEMORY, DEVICE_MEMORY);
	}
	lines = log_lines(self->log, "lost interrupt");
	TH_LOG("%d lines in the log", lines);
	EXPECT_EQ(times, recovered);
	EXPECT_LE(1, lines);
	FIGURE("%d lost interrupts (%s)", "%d recovered", times, self->msi ? "MSI" : "INTx", recovered);
}

/* Requests that wait behind it are executed. */
TEST_F(lost, with_others_waiting)
{
	struct pending pending[3];
	int64_t first = 0, last = 0;

	for (int i = 0; i < 3; i++) {
		ASSERT_EQ(0, begin(&pending[i], self->fd, (struct rdma_request){ .operation = RDMA_OP_TO_DEVICE,
										.source = self->buffer.handle,
										.length = DEVICE_MEMORY }));
	}
	pause_us(20000);
	mute(self, true);
	pause_us(TRANSFER_US);
	mute(self, false);
	for (int i = 0; i < 3; i++) {
		ASSERT_EQ(0, finish(&pending[i]));
		first = !i || pending[i].began < first ? pending[i].began : first;
		last = pending[i].ended > last ? pending[i].ended : last;
	}
	EXPECT_GE(LOOK_US + 2 * TRANSFER_US + SLACK_US, last - first);
}

/* Interrupts never work: slow, but all requests are executed. */
TEST_F(lost, all_the_time)
{
	unsigned char bytes[DEVICE_MEMORY];
	struct rdma_request request = { .operation = RDMA_OP_COPY,
					.source = self->buffer.handle,
					.destination = self->buffer.handle,
					.destination_offset = DEVICE_MEMORY,
					.length = DEVICE_MEMORY };

	mute(self, true);
	EXPECT_EQ(0, call(self->fd, RDMA_IOC_TRANSFER, &request));
	EXPECT_EQ(0, memcmp(self->buffer.bytes, self->buffer.bytes + DEVICE_MEMORY, DEVICE_MEMORY));
	EXPECT_EQ(DEVICE_MEMORY, pwrite(self->fd, self->buffer.bytes, DEVICE_MEMORY, 0));
	EXPECT_EQ(DEVICE_MEMORY, pread(self->fd, bytes, DEVICE_MEMORY, 0));
	EXPECT_EQ(0, memcmp(self->buffer.bytes, bytes, DEVICE_MEMORY));
}

TEST_HARNESS_MAIN
