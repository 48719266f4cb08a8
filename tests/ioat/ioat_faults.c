// SPDX-License-Identifier: GPL-2.0
/* Faults of an I/OAT device: the request that they concern fails, with the documented status, and all others are executed. */
#include "debugfs.h"
#include "ioat.h"

enum { SIZE = 64 * 4096, COUNT = 64 };

FIXTURE(ioat_faults)
{
	int fd;
	struct ioat ioat;
	struct buffer from, to;
	struct rdma_completion completions[DEPTH];
};

FIXTURE_SETUP(ioat_faults)
{
	self->fd = open_node(O_RDWR);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, ioat_open(0, &self->ioat));
	ioat_clear(&self->ioat);
	ioat_timing(&self->ioat, 1000, 0);
	ASSERT_EQ(0, allocate(self->fd, SIZE, &self->from));
	ASSERT_EQ(0, allocate(self->fd, SIZE, &self->to));
	fill(self->from.bytes, SIZE, 1);
}

FIXTURE_TEARDOWN(ioat_faults)
{
	ioat_clear(&self->ioat);
	ioat_timing(&self->ioat, 0, 0);
	close(self->fd);
}

/*
 * Submits a batch, and checks that the n-th request, counted from 1, has this status, and all others have succeeded and
 * moved their bytes; 0: all have.
 */
static void batch(struct __test_metadata *_metadata, FIXTURE_DATA(ioat_faults) *self, uint32_t nth, int status)
{
	struct rdma_request requests[COUNT];

	memset(self->to.bytes, 0, SIZE);
	for (uint32_t i = 0; i < COUNT; i++)
		requests[i] = copying(&self->to, i * 4096, &self->from, i * 4096, 4096, i + 1);
	ASSERT_EQ(COUNT, submit(self->fd, requests, COUNT));
	ASSERT_EQ(COUNT, collect(self->fd, self->completions, COUNT, COUNT, FOREVER));
	for (uint32_t i = 0; i < COUNT; i++) {
		struct rdma_completion *completion = &self->completions[i];
		bool failed = completion->cookie == nth;
		uint64_t at = (completion->cookie - 1) * 4096;

		ASSERT_EQ(failed ? status : 0, completion->status) TH_LOG("request %llu", (unsigned long long)completion->cookie);
		ASSERT_EQ(failed ? 0 : 4096, completion->bytes);
		if (!failed)
			ASSERT_EQ(0, memcmp(self->to.bytes + at, self->from.bytes + at, 4096));
	}
}

/* An error at each position of a batch: of reading the source, and of writing the destination. */
TEST_F(ioat_faults, errors)
{
	for (uint32_t nth = 1; nth <= COUNT; nth += nth < 4 || nth > 60 ? 1 : 7) {
		ioat_fault(&self->ioat, ERROR, nth, false, nth % 2 ? READ_ERROR : WRITE_ERROR);
		batch(_metadata, self, nth, -EREMOTEIO);
	}
	batch(_metadata, self, 0, 0);
}

/* Each bit of CHANERR. */
TEST_F(ioat_faults, all_errors)
{
	for (int bit = 0; bit < 32; bit++) {
		ioat_fault(&self->ioat, ERROR, 5, false, 1UL << bit);
		batch(_metadata, self, 5, -EREMOTEIO);
		/* CHANERR_INT, where the device has it. */
		ASSERT_EQ(0, ioat_get(&self->ioat, 0x180 - IOAT_BASE));
	}
}

/* A request of TRANSFER. */
TEST_F(ioat_faults, error_of_transfer)
{
	ioat_fault(&self->ioat, ERROR, 1, false, READ_ERROR);
	EXPECT_EQ(-EREMOTEIO, copy(self->fd, &self->to, 0, &self->from, 0, 4096));
	EXPECT_EQ(0, copy(self->fd, &self->to, 0, &self->from, 0, 4096));
}

/* The log has what the engine reported. */
TEST_F(ioat_faults, errors_are_logged)
{
	int log = open_log();

	/* At most one message in five seconds. */
	pause_us(5100000);
	ioat_fault(&self->ioat, ERROR, 1, false, READ_ERROR);
	EXPECT_EQ(-EREMOTEIO, copy(self->fd, &self->to, 0, &self->from, 0, 4096));
	EXPECT_EQ(1, log_lines(log, "reports errors 0x100"));
	close(log);
}

/* An error whose completion cannot be written is found by its interrupt. */
TEST_F(ioat_faults, error_without_completion)
{
	long recoveries = counter("watchdog_recoveries"), spurious = counter("spurious_interrupts");
	int64_t least = INT64_MAX;

	for (int i = 0; i < 10; i++) {
		int64_t began = now();

		ioat_fault(&self->ioat, ERROR, 1, false, WRITE_ERROR);
		ioat_fault(&self->ioat, LOST_COMPLETION, 1, false, 0);
		EXPECT_EQ(-EREMOTEIO, copy(self->fd, &self->to, 0, &self->from, 0, 4096));
		least = now() - began < least ? now() - began : least;
	}
	EXPECT_GT(50000, least);
	EXPECT_EQ(recoveries, counter("watchdog_recoveries"));
	EXPECT_EQ(spurious, counter("spurious_interrupts"));
}

/* Also if another copy has ended by the same interrupt: of a batch, only the last one raises one. */
TEST_F(ioat_faults, error_without_completion_of_a_batch)
{
	long recoveries = counter("watchdog_recoveries"), spurious = counter("spurious_interrupts");
	int64_t least = INT64_MAX;

	for (int i = 0; i < 10; i++) {
		struct rdma_request requests[2];
		int64_t began = now();

		for (int j = 0; j < 2; j++)
			requests[j] = copying(&self->to, j * 4096, &self->from, j * 4096, 4096, j);
		ioat_fault(&self->ioat, ERROR, 2, false, WRITE_ERROR);
		ioat_fault(&self->ioat, LOST_COMPLETION, 2, false, 0);
		ASSERT_EQ(2, submit(self->fd, requests, 2));
		ASSERT_EQ(2, collect(self->fd, self->completions, 2, 2, FOREVER));
		EXPECT_EQ(0, self->completions[0].status);
		EXPECT_EQ(-EREMOTEIO, self->completions[1].status);
		least = now() - began < least ? now() - began : least;
	}
	EXPECT_GT(50000, least);
	EXPECT_EQ(recoveries, counter("watchdog_recoveries"));
	EXPECT_EQ(spurious, counter("spurious_interrupts"));
}

/* A device that contradicts itself delays no timeout: that a copy has ended, and that it has not. */
TEST_F(ioat_faults, contradicts_itself)
{
	int64_t began = now();
	int status;

	ioat_fault(&self->ioat, HANG, 1, false, 0);
	ioat_fault(&self->ioat, CHANGING_STATUS, 1, true, 0);
	status = copy(self->fd, &self->to, 0, &self->from, 0, 4096);
	EXPECT_TRUE(!status || status == -ETIMEDOUT) TH_LOG("%d", status);
	EXPECT_GT(3000000, now() - began);
	ioat_clear(&self->ioat);
	batch(_metadata, self, 0, 0);
}

/* What is linked to a request that fails is cancelled, and the rest is executed. */
TEST_F(ioat_faults, links)
{
	struct rdma_request requests[4];

	for (int i = 0; i < 4; i++)
		requests[i] = copying(&self->to, i * 4096, &self->from, i * 4096, 4096, i);
	requests[0] = linked(requests[0]);
	requests[1] = linked(requests[1]);
	ioat_fault(&self->ioat, ERROR, 1, false, WRITE_ERROR);
	ASSERT_EQ(4, submit(self->fd, requests, 4));
	ASSERT_EQ(4, collect(self->fd, self->completions, 4, 4, FOREVER));
	for (int i = 0; i < 4; i++) {
		static const int status[] = { -EREMOTEIO, -ECANCELED, -ECANCELED, 0 };

		EXPECT_EQ(status[self->completions[i].cookie], self->completions[i].status);
	}
}

/* A transfer that never ends is stopped after a second, and those behind it are executed. */
TEST_F(ioat_faults, hangs)
{
	int64_t began = now();

	ioat_fault(&self->ioat, HANG, 10, false, 0);
	batch(_metadata, self, 10, -ETIMEDOUT);
	EXPECT_LE(1000000, now() - began);
	EXPECT_GE(2500000, now() - began);
	batch(_metadata, self, 0, 0);
}

/*
 * The engine hangs again after each restart. None of the requests succeeds by what the channel has completed before, even though the ring of 256
 * descriptors has been written to more than once.
 */
TEST_F(ioat_faults, hangs_again_and_again)
{
	enum { HANGS = 4 };
	struct rdma_request requests[DEPTH];
	int timed_out = 0;

	ASSERT_EQ(0, copy(self->fd, &self->to, 0, &self->from, 0, 64));
	memset(self->to.bytes, 0, SIZE);
	ioat_fault(&self->ioat, HANG, 1, true, 0);
	for (int i = 0; i < DEPTH; i++)
		requests[i] = copying(&self->to, i * 64, &self->from, i * 64, 64, i);
	ASSERT_EQ(DEPTH, submit(self->fd, requests, DEPTH));
	ASSERT_EQ(HANGS, collect(self->fd, self->completions, HANGS, HANGS, FOREVER));
	for (int i = 0; i < HANGS; i++)
		EXPECT_EQ(-ETIMEDOUT, self->completions[i].status);
	ioat_clear(&self->ioat);
	ASSERT_EQ(DEPTH - HANGS, collect(self->fd, self->completions, DEPTH - HANGS, DEPTH, FOREVER));
	for (int i = 0; i < DEPTH - HANGS; i++) {
		uint64_t at = self->completions[i].cookie * 64;

		/* The one that hung when the fault was cleared. */
		timed_out += self->completions[i].status == -ETIMEDOUT;
		if (!self->completions[i].status)
			ASSERT_EQ(0, memcmp(self->to.bytes + at, self->from.bytes + at, 64));
	}
	EXPECT_GE(1, timed_out);
}

/* The device is reset by the PCI core while a transfer hangs. It times out, or is executed again; each of the others succeeds. */
TEST_F(ioat_faults, hangs_at_a_reset)
{
	struct rdma_request requests[COUNT];
	int hung = 0;

	memset(self->to.bytes, 0, SIZE);
	for (int i = 0; i < COUNT; i++)
		requests[i] = copying(&self->to, i * 4096, &self->from, i * 4096, 4096, i);
	ioat_fault(&self->ioat, HANG, 10, false, 0);
	ASSERT_EQ(COUNT, submit(self->fd, requests, COUNT));
	ASSERT_EQ(0, reset_device(self->ioat.address));
	ASSERT_EQ(COUNT, collect(self->fd, self->completions, COUNT, COUNT, 5000 * MS));
	for (int i = 0; i < COUNT; i++) {
		uint64_t at = self->completions[i].cookie * 4096;

		if (self->completions[i].status == -ETIMEDOUT && !hung++)
			continue;
		ASSERT_EQ(0, self->completions[i].status);
		ASSERT_EQ(0, memcmp(self->to.bytes + at, self->from.bytes + at, 4096));
	}
	batch(_metadata, self, 0, 0);
}

/* After a restart, interrupts arrive: the driver does not find transfers that have ended without one. */
TEST_F(ioat_faults, interrupts_after_a_restart)
{
	long recoveries;

	ioat_fault(&self->ioat, ERROR, 1, false, READ_ERROR);
	batch(_metadata, self, 1, -EREMOTEIO);
	recoveries = counter("watchdog_recoveries");
	for (int i = 0; i < 8; i++)
		batch(_metadata, self, 0, 0);
	EXPECT_EQ(recoveries, counter("watchdog_recoveries"));
}

/* Interrupts that are lost only take time. */
TEST_F(ioat_faults, lost_interrupts)
{
	long recoveries;

	ioat_fault(&self->ioat, LOST_INTERRUPT, 1, true, 0);
	batch(_metadata, self, 0, 0);
	ioat_clear(&self->ioat);
	/* The channel raises no other interrupt before the driver has enabled it, which the watchdog does. */
	recoveries = counter("watchdog_recoveries");
	EXPECT_LT(0, recoveries);
	batch(_metadata, self, 0, 0);
	EXPECT_EQ(recoveries, counter("watchdog_recoveries"));
}

/* Interrupts are lost one by one, and each time the watchdog finds the end of the copy. */
TEST_F(ioat_faults, lost_one_by_one)
{
	long recoveries = counter("watchdog_recoveries");
	int times = scale(100, 1000), recovered = 0;

	for (int i = 0; i < times; i++) {
		fill(self->from.bytes, 4096, i);
		ioat_fault(&self->ioat, LOST_INTERRUPT, 1, false, 0);
		ASSERT_EQ(0, copy(self->fd, &self->to, 0, &self->from, 0, 4096));
		recovered += !memcmp(self->to.bytes, self->from.bytes, 4096);
	}
	EXPECT_EQ(times, recovered);
	EXPECT_LE(times, counter("watchdog_recoveries") - recoveries);
	FIGURE("%d lost interrupts (I/OAT)", "%d recovered", times, recovered);
}

/*
 * A reset that has failed: copies that only take long have timed out then, and end in a channel that is suspended. The channel is reset before it
 * is used again, and also if others of them never end, because of that.
 */
TEST_F(ioat_faults, reset_again)
{
	for (int count = 1; count <= 10; count += 9) {
		struct rdma_request requests[10];
		int64_t began = now();
		int status;

		for (int i = 0; i < count; i++)
			requests[i] = copying(&self->to, i * 4096, &self->from, i * 4096, 4096, i);
		ioat_timing(&self->ioat, 1500000000, 0);
		ioat_fault(&self->ioat, STUCK_RESET, 1, false, 0);
		ASSERT_EQ(count, submit(self->fd, requests, count));
		ASSERT_EQ(count, collect(self->fd, self->completions, count, count, 5000 * MS));
		EXPECT_EQ(-ETIMEDOUT, self->completions[0].status);
		ioat_timing(&self->ioat, 1000, 0);
		while ((status = copy(self->fd, &self->to, 0, &self->from, 0, 4096)) == -EIO && now() - began < 10000000)
			pause_us(100000);
		EXPECT_EQ(0, status);
		batch(_metadata, self, 0, 0);
		TH_LOG("%d copies: %lld ms", count, (long long)(now() - began) / 1000);
	}
}

/* A transfer that never ends is stopped in time also if others are posted meanwhile. */
TEST_F(ioat_faults, hangs_among_others)
{
	struct rdma_request requests[20];
	int64_t began = now();
	int collected = 0;

	for (uint32_t i = 0; i < ARRAY_SIZE(requests); i++)
		requests[i] = copying(&self->to, i * 4096, &self->from, i * 4096, 4096, i + 1);
	ioat_fault(&self->ioat, HANG, 1, false, 0);
	for (uint32_t i = 0; i < ARRAY_SIZE(requests) && !collected; i++) {
		ASSERT_EQ(1, submit(self->fd, &requests[i], 1));
		collected = collect(self->fd, self->completions, 1, 1, 150000000);
	}
	ASSERT_EQ(1, collected);
	EXPECT_EQ(1, self->completions[0].cookie);
	EXPECT_EQ(-ETIMEDOUT, self->completions[0].status);
	EXPECT_GE(2500000, now() - began);
}

/* Completions that are not written: the register has them, too. */
TEST_F(ioat_faults, lost_completions)
{
	ioat_fault(&self->ioat, LOST_COMPLETION, 1, true, 0);
	batch(_metadata, self, 0, 0);
	ioat_clear(&self->ioat);
	batch(_metadata, self, 0, 0);
}

/* Completions with each bit flipped. A wrong address or state is not believed, or it fails a request; no request is lost. */
TEST_F(ioat_faults, wrong_completions)
{
	struct rdma_request requests[COUNT];
	int failed = 0;

	for (uint32_t i = 0; i < COUNT; i++)
		requests[i] = copying(&self->to, i * 4096, &self->from, i * 4096, 4096, i + 1);
	for (int bit = 0; bit < 64; bit++) {
		ioat_fault(&self->ioat, WRONG_COMPLETION, 1 + bit % COUNT, false, 1ULL << bit);
		ASSERT_EQ(COUNT, submit(self->fd, requests, COUNT));
		ASSERT_EQ(COUNT, collect(self->fd, self->completions, COUNT, COUNT, FOREVER));
		for (uint32_t i = 0; i < COUNT; i++) {
			int status = self->completions[i].status;

			ASSERT_TRUE(status == 0 || status == -EREMOTEIO || status == -ETIMEDOUT) TH_LOG("bit %d: %d", bit, status);
			failed += status != 0;
		}
	}
	ioat_clear(&self->ioat);
	batch(_metadata, self, 0, 0);
	FIGURE("64 completions with a flipped bit", "%d requests failed, none was lost", failed);
}

TEST_HARNESS_MAIN
