// SPDX-License-Identifier: GPL-2.0
/* The machine suspends while an I/OAT device copies: each copy is executed once, and the device works afterwards. */
#include "ioat.h"
#include "sleep.h"

enum { COPIES = 256, SIZE = 4096, TIME_NS = 1000000 };

static const char *const levels[] = { "devices", "platform", "processors", "core" };

FIXTURE(suspend_ioat)
{
	int fd;
	struct ioat ioat;
	struct buffer from, to;
	struct rdma_request requests[COPIES];
	struct rdma_completion completions[COPIES + 1];
};

FIXTURE_SETUP(suspend_ioat)
{
	ASSERT_EQ(0, sleep_for("0"));
	self->fd = open_node(O_RDWR);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, ioat_open(0, &self->ioat));
	ioat_timing(&self->ioat, TIME_NS, 0);
	ASSERT_EQ(0, allocate(self->fd, COPIES * SIZE, &self->from));
	ASSERT_EQ(0, allocate(self->fd, COPIES * SIZE, &self->to));
	for (int i = 0; i < COPIES; i++)
		self->requests[i] = copying(&self->to, i * SIZE, &self->from, i * SIZE, SIZE, i);
}

FIXTURE_TEARDOWN(suspend_ioat)
{
	close(self->fd);
}

/* More copies than there are slots, which take a quarter of a second: the suspend begins at a random moment of this time. */
static void sleep_at_work(struct __test_metadata *_metadata, FIXTURE_DATA(suspend_ioat) *self, const char *level, int round)
{
	fill(self->from.bytes, COPIES * SIZE, round);
	memset(self->to.bytes, 0xee, COPIES * SIZE);
	ASSERT_EQ(COPIES, submit(self->fd, self->requests, COPIES));
	pause_us(random() % (COPIES * (TIME_NS / 1000)));
	ASSERT_EQ(0, go_to_sleep("mem", level)) TH_LOG("%s", level);
	ASSERT_EQ(COPIES, collect(self->fd, self->completions, COPIES, COPIES + 1, FOREVER));
	for (int i = 0; i < COPIES; i++) {
		ASSERT_EQ(i, self->completions[i].cookie);
		ASSERT_EQ(0, self->completions[i].status);
	}
	ASSERT_EQ(0, memcmp(self->from.bytes, self->to.bytes, COPIES * SIZE));
	ASSERT_EQ(0, take(self->fd, self->completions, 1));
}

TEST_F(suspend_ioat, goes_on_where_it_was)
{
	int count = scale(20, 100);

	for (int round = 0; round < count; round++)
		sleep_at_work(_metadata, self, levels[round % ARRAY_SIZE(levels)], round);
	FIGURE("%d suspends (pm_test) of an I/OAT device at work", "all %d copies completed once, in order, data right", count,
	       count * COPIES);
}

/* The device is reset. */
TEST_F(suspend_ioat, goes_on_after_real_sleep)
{
	for (int round = 0; round < 3; round++)
		sleep_at_work(_metadata, self, "none", 1000 + round);
}

/* A copy hangs that was started shortly before. The watchdog stops it, and the suspend waits for this. */
TEST_F(suspend_ioat, waits_for_the_watchdog)
{
	for (int round = 0; round < 3; round++) {
		ioat_fault(&self->ioat, HANG, 1, false, 0);
		ASSERT_EQ(COPIES, submit(self->fd, self->requests, COPIES));
		ASSERT_EQ(0, go_to_sleep("mem", "devices")) TH_LOG("round %d", round);
		ASSERT_EQ(COPIES, collect(self->fd, self->completions, COPIES, COPIES, FOREVER));
		for (int i = 0; i < COPIES; i++) {
			ASSERT_EQ(i ? 0 : -ETIMEDOUT, self->completions[i].status) TH_LOG("copy %d of round %d", i, round);
		}
	}
	ioat_clear(&self->ioat);
}

TEST_HARNESS_MAIN
