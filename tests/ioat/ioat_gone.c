// SPDX-License-Identifier: GPL-2.0
/*
 * Promise 7 for an I/OAT device: it is removed in each way, with files, mappings, waiters and copies held, or it is broken. The removal waits for
 * no process, and what was held answers as documented.
 */
#include "ioat.h"
#include "teardown.h"

enum { COUNT = 256, PAGES = 8, TIME_NS = 20000000 };

FIXTURE(ioat_gone)
{
	struct ioat ioat;
	int fd;
	struct buffer from, to;
	struct rdma_completion completions[COUNT];
};

FIXTURE_SETUP(ioat_gone)
{
	ASSERT_EQ(0, ioat_open(0, &self->ioat));
	ioat_clear(&self->ioat);
	ioat_timing(&self->ioat, TIME_NS, 0);
	self->fd = open_node(O_RDWR);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, allocate(self->fd, PAGES * PAGE, &self->from));
	ASSERT_EQ(0, allocate(self->fd, PAGES * PAGE, &self->to));
	fill(self->from.bytes, PAGES * PAGE, 1);
}

FIXTURE_TEARDOWN(ioat_gone)
{
	close(self->fd);
}

/* More copies than can be in flight. */
static int start(FIXTURE_DATA(ioat_gone) *self, int count)
{
	static struct rdma_request requests[COUNT];

	for (int i = 0; i < count; i++)
		requests[i] = copying(&self->to, i % PAGES * PAGE, &self->from, i % PAGES * PAGE, PAGE, i);
	return submit(self->fd, requests, count) == count ? 0 : -EPROTO;
}

/* A file that was held: all of it is revoked. */
static void expect_dead(struct __test_metadata *_metadata, FIXTURE_DATA(ioat_gone) *self)
{
	struct rdma_device_info info;
	struct rdma_alloc alloc = { .size = PAGE };

	EXPECT_EQ(-ENODEV, call(self->fd, RDMA_IOC_DEVICE_INFO, &info));
	EXPECT_EQ(-ENODEV, call(self->fd, RDMA_IOC_ALLOC, &alloc));
	EXPECT_EQ(-ENODEV, copy(self->fd, &self->to, 0, &self->from, 0, 1));
	EXPECT_EQ(-ENODEV, start(self, 1) ? -ENODEV : 0);
	EXPECT_EQ(-ENODEV, cancel_all(self->fd));
	EXPECT_EQ(-ENODEV, take(self->fd, self->completions, 1));
	EXPECT_EQ(POLLHUP | POLLERR, polled(self->fd));
	EXPECT_FALSE(readable(self->from.bytes));
	EXPECT_FALSE(readable(self->to.bytes + (PAGES - 1) * PAGE));
}

/* All requests end: the first ones may have succeeded, all others fail with ENODEV. */
static void expect_ended(struct __test_metadata *_metadata, FIXTURE_DATA(ioat_gone) *self, int count)
{
	int64_t began = now();
	bool seen[COUNT] = { false };

	ASSERT_EQ(count, collect(self->fd, self->completions, count, COUNT, FOREVER));
	EXPECT_GE(500000, now() - began);
	for (int i = 0; i < count; i++) {
		const struct rdma_completion *completion = &self->completions[i];

		ASSERT_GT(count, completion->cookie);
		ASSERT_FALSE(seen[completion->cookie]);
		seen[completion->cookie] = true;
		ASSERT_TRUE(completion->status == -ENODEV || !completion->status) TH_LOG("%d", completion->status);
		ASSERT_EQ(completion->status ? 0 : PAGE, completion->bytes);
	}
}

struct waiter {
	pthread_t thread;
	int fd, answer;
};

static void *wait_for_more(void *argument)
{
	struct waiter *self = argument;
	struct rdma_completion completions[16];

	self->answer = collect(self->fd, completions, 16, 16, FOREVER);
	return NULL;
}

/* Files, mappings, copies, a thread in WAIT and one in TRANSFER. */
static void remove_it(struct __test_metadata *_metadata, FIXTURE_DATA(ioat_gone) *self, enum way way)
{
	struct waiter waiter = { .fd = open_node(O_RDWR) };
	struct pending pending;
	int64_t took;

	ASSERT_LE(0, waiter.fd);
	ASSERT_EQ(0, pthread_create(&waiter.thread, NULL, wait_for_more, &waiter));
	ASSERT_EQ(0, start(self, COUNT));
	ASSERT_EQ(0, begin(&pending, self->fd, copying(&self->to, 0, &self->from, 0, PAGE, 0)));
	pause_us(50000);
	took = way == UNPLUG ? now() : 0;
	took = way == UNPLUG ? (unplug("ioat0") ? -1 : now() - took) : go_away(self->ioat.address, way);
	ASSERT_LE(0, took);
	TH_LOG("took %lld us", (long long)took);
	/* QEMU takes its time to unplug. */
	EXPECT_GE(way == UNPLUG ? 10000000 : 1500000, took);
	EXPECT_EQ(-ENODEV, finish(&pending));
	ASSERT_EQ(0, pthread_join(waiter.thread, NULL));
	EXPECT_EQ(-ENODEV, waiter.answer);
	expect_ended(_metadata, self, COUNT);
	EXPECT_NE(0, self->completions[COUNT - 1].status);
	expect_dead(_metadata, self);
	EXPECT_EQ(-ENOENT, open_node(O_RDWR));
	close(waiter.fd);
}

static void comes_back(struct __test_metadata *_metadata, FIXTURE_DATA(ioat_gone) *self)
{
	close(self->ioat.config);
	ASSERT_EQ(0, ioat_open(0, &self->ioat));
	ioat_clear(&self->ioat);
	ioat_timing(&self->ioat, 0, 0);
	EXPECT_TRUE(works());
	expect_dead(_metadata, self);
}

TEST_F(ioat_gone, unbound)
{
	remove_it(_metadata, self, UNBIND);
	ASSERT_EQ(0, come_back(self->ioat.address, UNBIND));
	comes_back(_metadata, self);
}

TEST_F(ioat_gone, removed)
{
	remove_it(_metadata, self, REMOVE);
	ASSERT_EQ(0, come_back(self->ioat.address, REMOVE));
	comes_back(_metadata, self);
}

/* The device reads as all ones in the middle of copies: they fail, and so does all that comes later. */
TEST_F(ioat_gone, pulled_out)
{
	int64_t began = now();

	ASSERT_EQ(0, start(self, COUNT));
	pause_us(50000);
	ioat_fault(&self->ioat, ALL_ONES, 1, false, 0);
	ASSERT_EQ(COUNT, collect(self->fd, self->completions, COUNT, COUNT, FOREVER));
	EXPECT_GE(1500000, now() - began);
	for (int i = 0; i < COUNT; i++) {
		ASSERT_TRUE(self->completions[i].status == -ENODEV || !self->completions[i].status)
			TH_LOG("%d", self->completions[i].status);
	}
	EXPECT_EQ(-ENODEV, copy(self->fd, &self->to, 0, &self->from, 0, 1));
	began = now();
	ASSERT_EQ(0, write_text("/sys/bus/pci/drivers/rdma/unbind", self->ioat.address));
	EXPECT_GE(1500000, now() - began);
	/* A driver that is given such a device refuses it. */
	EXPECT_EQ(-ENODEV, write_text("/sys/bus/pci/drivers/rdma/bind", self->ioat.address));
	ioat_clear(&self->ioat);
	ASSERT_EQ(0, come_back(self->ioat.address, UNBIND));
	comes_back(_metadata, self);
}

/*
 * A copy that does not end, in a channel that cannot be reset: its request times out, the others fail, and the driver releases the device. The
 * memory stays what it was, because the channel may still write to it.
 */
TEST_F(ioat_gone, cannot_be_stopped)
{
	struct crop crop;
	int64_t began = now();
	int timed_out = 0, log = open_log(), fd;

	ASSERT_EQ(0, prepare(&crop, 0x11));
	ioat_fault(&self->ioat, HANG, 5, false, 0);
	ioat_fault(&self->ioat, STUCK_RESET, 1, true, 0);
	ASSERT_EQ(0, start(self, COUNT));
	ASSERT_EQ(COUNT, collect(self->fd, self->completions, COUNT, COUNT, 10000 * MS));
	TH_LOG("all ended after %lld us", (long long)(now() - began));
	for (int i = 0; i < COUNT; i++) {
		int status = self->completions[i].status;

		ASSERT_TRUE(!status || status == -ETIMEDOUT || status == -EIO) TH_LOG("%d", status);
		timed_out += status == -ETIMEDOUT;
	}
	TH_LOG("%d timed out", timed_out);
	EXPECT_LE(1, timed_out);
	EXPECT_EQ(-EIO, copy(self->fd, &self->to, 0, &self->from, 0, 1));
	began = now();
	ASSERT_EQ(0, write_text("/sys/bus/pci/drivers/rdma/unbind", self->ioat.address));
	EXPECT_GE(3000000, now() - began);
	EXPECT_LE(1, log_lines(log, "its memory is never freed"));
	close(log);
	expect_dead(_metadata, self);
	close(self->fd);
	self->fd = -1;
	ioat_clear(&self->ioat);
	ASSERT_EQ(0, come_back(self->ioat.address, UNBIND));
	fd = open_node(O_RDWR);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, plant(&crop, fd, PAGES * PAGE));
	ioat_timing(&self->ioat, 0, 0);
	EXPECT_TRUE(works());
	EXPECT_EQ(0, harvest(&crop));
	close(fd);
}

/*
 * After an error, the channel does not store the address that it writes its status to: nothing is started, because it would write to memory of
 * others.
 */
TEST_F(ioat_gone, address_not_stored)
{
	uint32_t errors = ioat_get(&self->ioat, IOAT_ERRORS);
	int failed = 0;

	ioat_timing(&self->ioat, 1000, 0);
	/* The second write is that of the upper half. */
	ioat_fault(&self->ioat, WRONG_ADDRESS, 2, true, 1ULL << 40);
	ioat_fault(&self->ioat, ERROR, 5, false, READ_ERROR);
	ASSERT_EQ(0, start(self, COUNT));
	ASSERT_EQ(COUNT, collect(self->fd, self->completions, COUNT, COUNT, 10000 * MS));
	for (int i = 0; i < COUNT; i++) {
		int status = self->completions[i].status;

		ASSERT_TRUE(!status || status == -ETIMEDOUT || status == -EIO) TH_LOG("%d", status);
		failed += status == -EIO;
	}
	EXPECT_LE(1, failed);
	EXPECT_EQ(-EIO, copy(self->fd, &self->to, 0, &self->from, 0, 1));
	EXPECT_EQ(1, ioat_get(&self->ioat, IOAT_ERRORS) - errors);
	ASSERT_EQ(0, write_text("/sys/bus/pci/drivers/rdma/unbind", self->ioat.address));
	ioat_clear(&self->ioat);
	ASSERT_EQ(0, come_back(self->ioat.address, UNBIND));
	comes_back(_metadata, self);
}

/*
 * A copy that takes longer than a second ends while the channel is being stopped for that, and the channel cannot be reset. Returns whether this
 * was so: on a busy host, the copy may be found too late. The channel can be reset after this.
 */
static bool ends_while_stopped(struct __test_metadata *_metadata, FIXTURE_DATA(ioat_gone) *self)
{
	int log = open_log();
	bool ended;

	ioat_timing(&self->ioat, 1070000000, 0);
	ioat_fault(&self->ioat, STUCK_RESET, 1, true, 0);
	EXPECT_EQ(0, start(self, 1));
	EXPECT_EQ(1, collect(self->fd, self->completions, 1, 1, 10000 * MS));
	pause_us(400000);
	ended = !self->completions[0].status && log_lines(log, "the engine does not stop");
	if (ended)
		EXPECT_EQ(-EIO, copy(self->fd, &self->to, 0, &self->from, 0, 1));
	close(log);
	ioat_clear(&self->ioat);
	ioat_timing(&self->ioat, 0, 0);
	return ended;
}

/* A reset of the device makes the channel usable again. */
TEST_F(ioat_gone, ends_while_it_is_stopped)
{
	int ended = 0;

	for (int i = 0; i < 10 && !ended; i++) {
		ended = ends_while_stopped(_metadata, self);
		ASSERT_EQ(0, reset_device(self->ioat.address));
		EXPECT_EQ(0, copy(self->fd, &self->to, 0, &self->from, 0, PAGE));
	}
	EXPECT_TRUE(ended);
}

/* Without a reset of the device, the driver resets the channel again, although it has no copy. */
TEST_F(ioat_gone, is_restarted_while_it_is_idle)
{
	int ended = 0;

	for (int i = 0; i < 10 && !ended; i++) {
		int64_t end;

		ended = ends_while_stopped(_metadata, self);
		end = now() + 5000000;
		while (now() < end && copy(self->fd, &self->to, 0, &self->from, 0, PAGE))
			pause_us(50000);
		EXPECT_EQ(0, copy(self->fd, &self->to, 0, &self->from, 0, PAGE));
	}
	EXPECT_TRUE(ended);
}

/* A copy that ends while its channel is being suspended, because it was late, has lost no interrupt. */
TEST_F(ioat_gone, ends_while_it_is_suspended)
{
	int ended = 0;

	for (int i = 0; i < 10 && !ended; i++) {
		int log = open_log();

		ioat_timing(&self->ioat, 1070000000, 0);
		ASSERT_EQ(0, start(self, 1));
		ASSERT_EQ(1, collect(self->fd, self->completions, 1, 1, 10000 * MS));
		ended = !self->completions[0].status;
		EXPECT_EQ(0, log_lines(log, "lost interrupt"));
		close(log);
		ioat_timing(&self->ioat, 0, 0);
		EXPECT_EQ(0, copy(self->fd, &self->to, 0, &self->from, 0, PAGE));
	}
	EXPECT_TRUE(ended);
}

/* A channel that cannot be reset, but the copies only take long: they end after the driver has stopped waiting. */
TEST_F(ioat_gone, cannot_be_stopped_and_ends_later)
{
	struct crop crop;
	int fd;

	ASSERT_EQ(0, prepare(&crop, 0x11));
	ioat_timing(&self->ioat, 2500000000, 0);
	ioat_fault(&self->ioat, STUCK_RESET, 1, true, 0);
	memset(self->from.bytes, 0xee, PAGES * PAGE);
	ASSERT_EQ(0, start(self, 1));
	pause_us(100000);
	ASSERT_EQ(0, write_text("/sys/bus/pci/drivers/rdma/unbind", self->ioat.address));
	munmap(self->from.bytes, PAGES * PAGE);
	munmap(self->to.bytes, PAGES * PAGE);
	close(self->fd);
	self->fd = -1;
	ASSERT_EQ(0, plant(&crop, -1, 0));
	pause_us(2000000);
	EXPECT_EQ(0, harvest(&crop));
	ioat_clear(&self->ioat);
	ioat_timing(&self->ioat, 0, 0);
	ASSERT_EQ(0, come_back(self->ioat.address, UNBIND));
	fd = open_node(O_RDWR);
	ASSERT_LE(0, fd);
	EXPECT_TRUE(works());
	close(fd);
}

/* Unplugged: QEMU can do this only without MSI-X. The last test, because the device is not plugged in again. */
TEST_F(ioat_gone, unplugged)
{
	struct rdma_device_info info;

	ASSERT_EQ(0, call(self->fd, RDMA_IOC_DEVICE_INFO, &info));
	if (info.interrupt != RDMA_INTERRUPT_INTX)
		SKIP(return, "QEMU 11.1 ends if an I/OAT device with MSI-X is unplugged");
	remove_it(_metadata, self, UNPLUG);
}

TEST_HARNESS_MAIN
