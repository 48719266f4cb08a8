// SPDX-License-Identifier: GPL-2.0
/* The channels of an I/OAT device: engines that serve the open files side by side, and fail one by one. */
#include "ioat.h"

enum { CHANNELS = 8, COPIES = 20, TIME_NS = 50000000 };

FIXTURE(ioat_channels)
{
	int fds[CHANNELS];
	struct ioat ioat;
	struct buffer from[CHANNELS], to[CHANNELS];
};

FIXTURE_SETUP(ioat_channels)
{
	for (int i = 0; i < CHANNELS; i++) {
		self->fds[i] = open_node(O_RDWR);
		ASSERT_LE(0, self->fds[i]);
		ASSERT_EQ(0, allocate(self->fds[i], PAGE, &self->from[i]));
		ASSERT_EQ(0, allocate(self->fds[i], PAGE, &self->to[i]));
		fill(self->from[i].bytes, PAGE, i);
	}
	ASSERT_EQ(0, ioat_open(0, &self->ioat));
	ioat_clear(&self->ioat);
	ioat_timing(&self->ioat, TIME_NS, 0);
}

FIXTURE_TEARDOWN(ioat_channels)
{
	ioat_clear(&self->ioat);
	ioat_timing(&self->ioat, 0, 0);
	for (int i = 0; i < CHANNELS; i++)
		close(self->fds[i]);
}

static void start(struct __test_metadata *_metadata, FIXTURE_DATA(ioat_channels) *self)
{
	for (int i = 0; i < CHANNELS; i++) {
		for (int n = 0; n < COPIES; n++)
			ASSERT_EQ(1, submit_one(self->fds[i], copying(&self->to[i], 0, &self->from[i], 0, PAGE, n)));
	}
}

/* Each channel has an interrupt of its own. */
TEST_F(ioat_channels, interrupts)
{
	char text[65536], *at = text;
	int count = 0;

	ASSERT_EQ(0, read_text("/proc/interrupts", text, sizeof(text)));
	while ((at = strstr(at, "rdma\n"))) {
		at++;
		count++;
	}
	EXPECT_EQ(CHANNELS, count);
}

/* As many files as channels: they do not wait for each other. */
TEST_F(ioat_channels, side_by_side)
{
	int64_t alone = COPIES * (TIME_NS / 1000), began = now(), took;

	start(_metadata, self);
	for (int i = 0; i < CHANNELS; i++) {
		ASSERT_EQ(0, drain(self->fds[i], COPIES));
		ASSERT_EQ(0, memcmp(self->from[i].bytes, self->to[i].bytes, PAGE));
	}
	took = now() - began;
	EXPECT_LE(alone, took);
	EXPECT_GE(alone * CHANNELS / 2, took);
	FIGURE("%d files on %d channels", "%lld ms for what takes one of them %lld ms", CHANNELS, CHANNELS, (long long)took / 1000,
	       (long long)alone / 1000);
}

/* A transfer that hangs in one channel fails, and all others of all channels are executed. */
TEST_F(ioat_channels, hangs_alone)
{
	struct rdma_completion completions[COPIES];
	int failed = 0;

	ioat_timing(&self->ioat, 0, 0);
	ioat_fault(&self->ioat, HANG, 3, false, 0);
	start(_metadata, self);
	for (int i = 0; i < CHANNELS; i++) {
		ASSERT_EQ(COPIES, collect(self->fds[i], completions, COPIES, COPIES, FOREVER));
		for (int n = 0; n < COPIES; n++) {
			failed += completions[n].status == -ETIMEDOUT;
			ASSERT_TRUE(completions[n].status == 0 || completions[n].status == -ETIMEDOUT);
		}
	}
	EXPECT_EQ(1, failed);
}

/* One channel says that the device is gone. The driver disables bus mastering, so that it is gone for all of them. */
TEST_F(ioat_channels, gone_together)
{
	struct rdma_completion completion;

	ioat_fault(&self->ioat, HANG, 1, true, 0);
	ioat_fault(&self->ioat, CHANNEL_ONES, 1, true, 0);
	start(_metadata, self);
	for (int i = 0; i < CHANNELS; i++) {
		int count = 0, failed = 0;

		while (collect(self->fds[i], &completion, 1, 1, FOREVER) == 1) {
			EXPECT_TRUE(completion.status == 0 || completion.status == -ENODEV) TH_LOG("%d: %d", i, completion.status);
			failed += completion.status == -ENODEV;
			count++;
		}
		EXPECT_EQ(COPIES, count);
		EXPECT_LT(0, failed);
	}
	ASSERT_EQ(0, write_text("/sys/bus/pci/drivers/rdma/unbind", self->ioat.address));
	ioat_clear(&self->ioat);
	ASSERT_EQ(0, write_text("/sys/bus/pci/drivers/rdma/bind", self->ioat.address));
}

/* All engines are stopped by an unbind, and come back. */
TEST_F(ioat_channels, unbind)
{
	struct rdma_completion completion;
	int64_t began = now();

	ioat_timing(&self->ioat, 1000000000, 0);
	start(_metadata, self);
	ASSERT_EQ(0, write_text("/sys/bus/pci/drivers/rdma/unbind", self->ioat.address));
	EXPECT_GE(1500000, now() - began);
	for (int i = 0; i < CHANNELS; i++) {
		int count = 0;

		while (collect(self->fds[i], &completion, 1, 1, FOREVER) == 1) {
			EXPECT_EQ(-ENODEV, completion.status);
			count++;
		}
		EXPECT_EQ(COPIES, count);
	}
	ioat_timing(&self->ioat, 0, 0);
	ASSERT_EQ(0, write_text("/sys/bus/pci/drivers/rdma/bind", self->ioat.address));
}

TEST_HARNESS_MAIN
