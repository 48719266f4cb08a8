// SPDX-License-Identifier: GPL-2.0
/* A device that misbehaves: spurious interrupts, a transfer that does not end. Simulated by writing to its registers without the driver. */
#include "debugfs.h"
#include "registers.h"
#include "requests.h"

enum { SLACK_US = 10000, OVERDUE_US = 1000000, LOOK_US = 250000 };

FIXTURE(misbehaving)
{
	int fd;
	struct buffer buffer;
	char address[32];
	volatile void *registers;
	int log;
};

FIXTURE_SETUP(misbehaving)
{
	self->fd = open_node(O_RDWR);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, allocate(self->fd, 2 * PAGE, &self->buffer));
	fill(self->buffer.bytes, DEVICE_MEMORY, 1);
	ASSERT_EQ(0, pci_address("rdma0", self->address));
	self->registers = map_registers(self->address, PAGE);
	ASSERT_NE(NULL, self->registers) TH_LOG("this needs a kernel with iomem=relaxed");
	ASSERT_EQ(0xed, read32(self->registers, EDU_IDENTIFICATION) & 0xff);
	self->log = open_log();
	ASSERT_LE(0, self->log);
}

/* After any of these, everything works. */
FIXTURE_TEARDOWN(misbehaving)
{
	EXPECT_EQ(0, to_device(self->fd, &self->buffer, 0, 0, DEVICE_MEMORY));
	EXPECT_EQ(0, from_device(self->fd, &self->buffer, DEVICE_MEMORY, 0, DEVICE_MEMORY));
	EXPECT_EQ(0, memcmp(self->buffer.bytes, self->buffer.bytes + DEVICE_MEMORY, DEVICE_MEMORY));
	close(self->fd);
}

static struct rdma_request into_the_second_page(FIXTURE_DATA(misbehaving) *self)
{
	return (struct rdma_request){ .operation = RDMA_OP_FROM_DEVICE,
				      .destination = self->buffer.handle,
				      .destination_offset = DEVICE_MEMORY,
				      .length = DEVICE_MEMORY };
}

/* The interrupt reports the end while the engine still works. The driver checks the engine. */
TEST_F(misbehaving, interrupts_too_early)
{
	struct pending pending;

	ASSERT_EQ(0, to_device(self->fd, &self->buffer, 0, 0, DEVICE_MEMORY));
	ASSERT_EQ(0, begin(&pending, self->fd, into_the_second_page(self)));
	for (int i = 0; i < 8; i++) {
		pause_us(10000);
		write32(self->registers, EDU_INTERRUPT_RAISE, EDU_INTERRUPT_DMA);
	}
	ASSERT_EQ(0, finish(&pending));
	EXPECT_LE(TRANSFER_US - 1000, pending.ended - pending.began);
	EXPECT_EQ(0, memcmp(self->buffer.bytes, self->buffer.bytes + DEVICE_MEMORY, DEVICE_MEMORY));
	EXPECT_EQ(0, log_lines(self->log, "rdma 0000:"));
}

/* Interrupts for other reasons, with and without a running transfer. */
TEST_F(misbehaving, interrupts_for_nothing)
{
	struct pending pending;
	long before = interrupts("rdma");

	for (int bit = 0; bit < 32; bit++)
		write32(self->registers, EDU_INTERRUPT_RAISE, 1U << bit);
	ASSERT_EQ(0, begin(&pending, self->fd, into_the_second_page(self)));
	for (int bit = 0; bit < 32; bit++)
		write32(self->registers, EDU_INTERRUPT_RAISE, 1U << bit);
	ASSERT_EQ(0, finish(&pending));
	EXPECT_GE(TRANSFER_US + SLACK_US, pending.ended - pending.began);
	EXPECT_LT(before + 1, interrupts("rdma")); /* the check itself: there were some */
	EXPECT_EQ(0, log_lines(self->log, "rdma 0000:"));
}

/* An interrupt storm during a whole transfer. */
TEST_F(misbehaving, interrupts_without_end)
{
	struct pending pending;
	int64_t began = now();

	ASSERT_EQ(0, begin(&pending, self->fd, into_the_second_page(self)));
	while (now() - began < TRANSFER_US * 2) {
		write32(self->registers, EDU_INTERRUPT_RAISE, EDU_INTERRUPT_DMA);
		pause_us(500);
	}
	ASSERT_EQ(0, finish(&pending));
	EXPECT_GE(TRANSFER_US + SLACK_US, pending.ended - pending.began);
}

/* The engine never finishes: callers get an error in time, and nothing is accepted until the device works again. */
TEST_F(misbehaving, transfer_without_end)
{
	struct pending first, second;
	struct hog hog;
	int64_t began;

	ASSERT_EQ(0, start_hog(&hog, self->registers));
	pause_us(5000);
	ASSERT_EQ(0, begin(&first, self->fd, into_the_second_page(self)));
	pause_us(5000);
	ASSERT_EQ(0, begin(&second, self->fd, into_the_second_page(self)));

	EXPECT_EQ(-ETIMEDOUT, finish(&first));
	EXPECT_LE(OVERDUE_US, first.ended - first.began);
	EXPECT_GE(OVERDUE_US + LOOK_US, first.ended - first.began);
	EXPECT_EQ(-EIO, finish(&second));
	EXPECT_GE(OVERDUE_US + LOOK_US, second.ended - second.began);
	EXPECT_EQ(1, log_lines(self->log, "does not end"));

	began = now();
	EXPECT_EQ(-EIO, to_device(self->fd, &self->buffer, 0, 0, DEVICE_MEMORY));
	EXPECT_EQ(-EIO, result(pwrite(self->fd, "x", 1, 0)));
	EXPECT_GE(SLACK_US, now() - began);
	EXPECT_EQ(0, log_lines(self->log, "rdma 0000:"));

	stop_hog(&hog);
	pause_us(TRANSFER_US + LOOK_US);
}

/* Submitted requests complete, too: linked ones, waiting ones, and those of other contexts. */
TEST_F(misbehaving, submitted_with_a_transfer_without_end)
{
	struct rdma_request requests[] = {
		linked(writing(&self->buffer, 0, 0, 1, 0)), linked(writing(&self->buffer, 0, 0, 1, 1)),
		writing(&self->buffer, 0, 0, 1, 2),	    writing(&self->buffer, 0, 0, 1, 3),
	};
	int other = open_node(O_RDWR), event = eventfd(0, EFD_CLOEXEC);
	struct rdma_completion completions[8];
	struct buffer buffer;
	struct hog hog;
	int64_t began;

	ASSERT_LE(0, other);
	ASSERT_EQ(0, allocate(other, PAGE, &buffer));
	ASSERT_EQ(0, tell(self->fd, event));
	ASSERT_EQ(0, start_hog(&hog, self->registers));
	pause_us(5000);
	began = now();
	ASSERT_EQ(4, submit(self->fd, requests, 4));
	ASSERT_EQ(2, submit_many(other, &buffer, 2, 10));
	ASSERT_EQ(4, collect(self->fd, completions, 4, 8, FOREVER));
	EXPECT_LE(OVERDUE_US, now() - began);
	EXPECT_GE(OVERDUE_US + LOOK_US, now() - began);
	for (int i = 0; i < 4; i++) {
		bool broken = completions[i].cookie == 1 || completions[i].cookie == 2;

		EXPECT_EQ(i, completions[i].cookie);
		EXPECT_TRUE(completions[i].status == (i ? -EIO : -ETIMEDOUT) || (broken && completions[i].status == -ECANCELED))
			TH_LOG("request %d: %d", i, completions[i].status);
		EXPECT_EQ(0, completions[i].bytes);
	}
	EXPECT_LE(1, counted(event));
	ASSERT_EQ(2, take(other, completions, 8));
	EXPECT_EQ(-EIO, completions[0].status);
	EXPECT_EQ(-EIO, completions[1].status);
	EXPECT_EQ(-EIO, submit_many(self->fd, &self->buffer, 1, 0));
	/* The device is still bound; it may recover. */
	EXPECT_EQ(0, polled(self->fd) & (POLLHUP | POLLERR | POLLIN));
	EXPECT_EQ(1, log_lines(self->log, "does not end"));
	stop_hog(&hog);
	pause_us(TRANSFER_US + LOOK_US);
	ASSERT_EQ(3, submit_many(self->fd, &self->buffer, 3, 0));
	EXPECT_EQ(0, drain(self->fd, 3));
	close(event);
	close(other);
}

/* The buffer of such a transfer stays allocated until the transfer ends, which may still write to it. */
TEST_F(misbehaving, memory_of_a_transfer_without_end)
{
	enum { COUNT = 64 };
	long memory = device_state("memory"), quarantined = counter("quarantined");
	struct buffer buffer, others[COUNT];
	struct pending pending;
	struct hog hog;

	ASSERT_EQ(0, start_hog(&hog, self->registers));
	pause_us(5000);
	ASSERT_EQ(0, allocate(self->fd, PAGE, &buffer));
	ASSERT_EQ(0, begin(&pending, self->fd, (struct rdma_request){ .operation = RDMA_OP_FROM_DEVICE,
								     .destination = buffer.handle,
								     .length = DEVICE_MEMORY }));
	ASSERT_EQ(-ETIMEDOUT, finish(&pending));
	ASSERT_EQ(0, release(self->fd, &buffer));
	EXPECT_EQ(memory + (long)PAGE, device_state("memory"));
	EXPECT_EQ(quarantined + 1, counter("quarantined"));
	for (int i = 0; i < COUNT; i++) {
		ASSERT_EQ(0, allocate(self->fd, PAGE, &others[i]));
		memset(others[i].bytes, 0x11, DEVICE_MEMORY);
	}
	stop_hog(&hog);
	while (read64(self->registers, EDU_DMA_COMMAND) & EDU_START)
		pause_us(1000);
	pause_us(TRANSFER_US + LOOK_US);
	EXPECT_EQ(memory + COUNT * (long)PAGE, device_state("memory"));
	for (int i = 0; i < COUNT; i++) {
		EXPECT_EQ(0, differing(others[i].bytes, 0x11, DEVICE_MEMORY));
	}
}

/* A device whose transfer never ends can be unbound. */
TEST_F(misbehaving, unbind_with_a_transfer_without_end)
{
	struct pending pending;
	struct hog hog;
	int64_t began, took;

	ASSERT_EQ(0, start_hog(&hog, self->registers));
	pause_us(5000);
	ASSERT_EQ(0, begin(&pending, self->fd, into_the_second_page(self)));
	pause_us(20000);
	began = now();
	ASSERT_EQ(0, write_text("/sys/bus/pci/drivers/rdma/unbind", self->address));
	took = now() - began;
	TH_LOG("took %lld us", (long long)took);
	EXPECT_GE(OVERDUE_US + LOOK_US, took);
	EXPECT_EQ(-ENODEV, finish(&pending));
	EXPECT_EQ(1, log_lines(self->log, "does not end"));

	/* While it runs, no driver binds to the device; afterwards it works. */
	EXPECT_GT(0, write_text("/sys/bus/pci/drivers/rdma/bind", self->address));
	EXPECT_EQ(1, log_lines(self->log, "does not end"));
	stop_hog(&hog);
	pause_us(TRANSFER_US);
	ASSERT_EQ(0, write_text("/sys/bus/pci/drivers/rdma/bind", self->address));
	close(self->fd);
	self->fd = open_node(O_RDWR);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, allocate(self->fd, 2 * PAGE, &self->buffer));
	fill(self->buffer.bytes, DEVICE_MEMORY, 1);
}

TEST_HARNESS_MAIN
