// SPDX-License-Identifier: GPL-2.0
/* Resets of a device with several channels that fail. Each test has a guest of its own, whose model has the faults. */
#include "debugfs.h"
#include "ioat.h"

#define TRACING "/sys/kernel/tracing/"

/* More than the driver gives to a channel at a time. */
enum { CHANNELS = 2, COPIES = 16, SIZE = 1 << 20, RATE = 100 };

enum { HUNG = 8, OVERDUE_US = 1000000 };

static int transfers_in_trace(void)
{
	FILE *file = fopen(TRACING "trace", "re");
	char line[512];
	int count = 0;

	if (!file)
		return -errno;
	while (fgets(line, sizeof(line), file))
		count += strstr(line, "rdma_start: ") != NULL;
	fclose(file);
	return count;
}

/* The second channel does not end its second reset; the first one is that of the probe. The device is closed, and the first channel copies nothing. */
TEST(no_channel_copies_unless_all_are_restarted)
{
	struct buffer from[CHANNELS], to[CHANNELS];
	struct rdma_completion completion;
	int fds[CHANNELS];
	struct ioat ioat;
	uint16_t command = 0xffff;
	long ended = counter("transfers");

	ASSERT_EQ(0, ioat_open(0, &ioat));
	ioat_timing(&ioat, 0, RATE);
	ASSERT_EQ(0, write_text(TRACING "events/rust_dma/rdma_start/enable", "1"));
	for (int i = 0; i < CHANNELS; i++) {
		fds[i] = open_node(O_RDWR);
		ASSERT_LE(0, fds[i]);
		ASSERT_EQ(0, allocate(fds[i], SIZE, &from[i]));
		ASSERT_EQ(0, allocate(fds[i], SIZE, &to[i]));
		for (int n = 0; n < COPIES; n++) {
			ASSERT_EQ(1, submit_one(fds[i], copying(&to[i], 0, &from[i], 0, SIZE, n)));
		}
	}
	ASSERT_EQ(0, reset_device(ioat.address));
	EXPECT_EQ(-ENODEV, submit_one(fds[0], copying(&to[0], 0, &from[0], 0, SIZE, 0)));
	for (int i = 0; i < CHANNELS; i++) {
		int failed = 0;

		for (int n = 0; n < COPIES; n++) {
			ASSERT_EQ(1, collect(fds[i], &completion, 1, 1, FOREVER));
			EXPECT_TRUE(completion.status == 0 || completion.status == -ENODEV) TH_LOG("%d: %d", i, completion.status);
			failed += completion.status == -ENODEV;
		}
		EXPECT_LT(0, failed) TH_LOG("all copies of channel %d had ended before the reset", i);
	}
	EXPECT_EQ(counter("transfers") - ended, transfers_in_trace());
	ASSERT_EQ(2, pread(ioat.config, &command, 2, 4));
	EXPECT_EQ(0, command & 4) TH_LOG("Bus Master is on");
	EXPECT_EQ(0, write_text(TRACING "events/enable", "0"));
	for (int i = 0; i < CHANNELS; i++)
		close(fds[i]);
	/* What is bound again works. */
	ioat_timing(&ioat, 0, 0);
	ASSERT_EQ(0, write_text("/sys/bus/pci/drivers/rdma/unbind", ioat.address));
	ASSERT_EQ(0, write_text("/sys/bus/pci/drivers/rdma/bind", ioat.address));
	fds[0] = open_node(O_RDWR);
	ASSERT_EQ(0, allocate(fds[0], PAGE, &from[0]));
	ASSERT_EQ(0, allocate(fds[0], PAGE, &to[0]));
	EXPECT_EQ(0, copy(fds[0], &to[0], 0, &from[0], 0, PAGE));
	close(fds[0]);
}

/* The first transfer of each channel hangs. The driver waits for all of them at the same time, and not for one after the other. */
TEST(hung_channels_are_waited_for_together)
{
	struct buffer from[HUNG], to[HUNG];
	struct rdma_completion completion;
	int fds[HUNG], timed_out = 0;
	struct ioat ioat;
	int64_t began;

	ASSERT_EQ(0, ioat_open(0, &ioat));
	for (int i = 0; i < HUNG; i++) {
		fds[i] = open_node(O_RDWR);
		ASSERT_LE(0, fds[i]);
		ASSERT_EQ(0, allocate(fds[i], PAGE, &from[i]));
		ASSERT_EQ(0, allocate(fds[i], PAGE, &to[i]));
		fill(from[i].bytes, PAGE, i);
		ASSERT_EQ(1, submit_one(fds[i], copying(&to[i], 0, &from[i], 0, PAGE, 0)));
	}
	began = now();
	ASSERT_EQ(0, reset_device(ioat.address));
	FIGURE("a reset while %d channels hang", "%lld ms, of which each takes %d", HUNG, (long long)(now() - began) / 1000,
	       OVERDUE_US / 1000);
	EXPECT_LE(OVERDUE_US / 2, now() - began);
	EXPECT_GE(HUNG * OVERDUE_US / 2, now() - began);
	for (int i = 0; i < HUNG; i++) {
		ASSERT_EQ(1, collect(fds[i], &completion, 1, 1, FOREVER));
		EXPECT_TRUE(completion.status == 0 || completion.status == -ETIMEDOUT) TH_LOG("%d: %d", i, completion.status);
		timed_out += completion.status != 0;
		EXPECT_EQ(0, copy(fds[i], &to[i], 0, &from[i], 0, PAGE));
		EXPECT_EQ(0, memcmp(from[i].bytes, to[i].bytes, PAGE));
		close(fds[i]);
	}
	printf("# %d of %d timed out\n", timed_out, HUNG);
}

TEST_HARNESS_MAIN
