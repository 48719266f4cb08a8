// SPDX-License-Identifier: GPL-2.0
/*
 * Promise 1 for an I/OAT device: no DMA lands after close, FREE, SIGKILL, unbind or rmmod. Copies that take long, or that hang, lose their
 * owner at any moment. Other programs allocate all memory that becomes free, and it must keep their data.
 */
#include "ioat.h"
#include "teardown.h"

#include <sys/wait.h>

enum { COPIES = 8, PAGES = 8, TIME_NS = 5000000, CANARY = 0x11, OTHER_CANARY = 0x22, PAYLOAD = 0xee };

/* The time of all copies, that after which a transfer that hangs is stopped, and that of one that ends only after this. */
enum { ALL_US = COPIES * (TIME_NS / 1000), STOPPED_US = 1300000, OVERDUE_NS = 1900000000 };

enum path { CLOSED, FREED, KILLED, UNBOUND, UNLOADED };

FIXTURE(ioat_late)
{
	struct ioat ioat;
	const char *module;
	struct crop crop, second;
	volatile bool *ready; /* shared with the owner */
};

FIXTURE_VARIANT(ioat_late)
{
	enum path path;
	bool hangs;
	const char *what;
};

FIXTURE_VARIANT_ADD(ioat_late, closed) { CLOSED, false, "close" };
FIXTURE_VARIANT_ADD(ioat_late, freed) { FREED, false, "FREE" };
FIXTURE_VARIANT_ADD(ioat_late, killed) { KILLED, false, "SIGKILL" };
FIXTURE_VARIANT_ADD(ioat_late, unbound) { UNBOUND, false, "unbind" };
FIXTURE_VARIANT_ADD(ioat_late, unloaded) { UNLOADED, false, "rmmod" };
FIXTURE_VARIANT_ADD(ioat_late, closed_and_hangs) { CLOSED, true, "close" };
FIXTURE_VARIANT_ADD(ioat_late, killed_and_hangs) { KILLED, true, "SIGKILL" };
FIXTURE_VARIANT_ADD(ioat_late, unbound_and_hangs) { UNBOUND, true, "unbind" };

FIXTURE_SETUP(ioat_late)
{
	ASSERT_EQ(0, ioat_open(0, &self->ioat));
	ioat_clear(&self->ioat);
	ioat_timing(&self->ioat, TIME_NS, 0);
	ASSERT_EQ(0, prepare(&self->crop, CANARY));
	ASSERT_EQ(0, prepare(&self->second, OTHER_CANARY));
	self->ready = shared_memory(PAGE);
	ASSERT_NE(MAP_FAILED, self->ready);
	self->module = light_module();
	ASSERT_NE(NULL, self->module);
	srandom(variant->path);
}

FIXTURE_TEARDOWN(ioat_late)
{
	ioat_clear(&self->ioat);
	ioat_timing(&self->ioat, 0, 0);
}

/* The owner of the copies. */
struct victim {
	int fd;
	struct buffer from, to;
};

static int start(struct victim *victim, int copies)
{
	struct rdma_request requests[COPIES];
	int error;

	victim->fd = open_node(O_RDWR);
	if (victim->fd < 0)
		return victim->fd;
	error = allocate(victim->fd, PAGES * PAGE, &victim->from) ?: allocate(victim->fd, PAGES * PAGE, &victim->to);
	if (error)
		return error;
	memset(victim->from.bytes, PAYLOAD, PAGES * PAGE);
	for (int i = 0; i < copies; i++)
		requests[i] = copying(&victim->to, i % PAGES * PAGE, &victim->from, 0, PAGE, i);
	return submit(victim->fd, requests, copies) == copies ? 0 : -EPROTO;
}

static void __attribute__((noreturn)) be_owner(volatile bool *ready)
{
	struct victim victim;

	if (start(&victim, COPIES))
		_exit(1);
	*ready = true;
	drain(victim.fd, COPIES);
	for (;;)
		copy(victim.fd, &victim.to, 0, &victim.from, 0, PAGES * PAGE);
}

static int kill_owner(volatile bool *ready, int64_t moment_us)
{
	pid_t owner;

	*ready = false;
	owner = fork();
	if (!owner)
		be_owner(ready);
	while (!*ready)
		pause_us(100);
	pause_us(moment_us);
	kill(owner, SIGKILL);
	return waitpid(owner, NULL, 0) == owner ? 0 : -ECHILD;
}

/* How the owner ends, except by a kill. Its mappings end with it, or are revoked. */
static int tear_down(FIXTURE_DATA(ioat_late) *self, enum path path, struct victim *victim)
{
	int error = 0;

	if (path == FREED)
		error = free_handle(victim->fd, victim->to.handle);
	if (path == UNBOUND)
		error = write_text("/sys/bus/pci/drivers/rdma/unbind", self->ioat.address);
	munmap(victim->to.bytes, PAGES * PAGE);
	munmap(victim->from.bytes, PAGES * PAGE);
	if (path == CLOSED || path == UNLOADED)
		close(victim->fd);
	return error ?: path == UNLOADED ? unload() : 0;
}

static int bring_back(FIXTURE_DATA(ioat_late) *self, enum path path)
{
	return path == UNBOUND ? come_back(self->ioat.address, UNBIND) : path == UNLOADED ? load(self->module) : 0;
}

/* How many canary bytes have changed in one round, or an error. */
static long one_round(FIXTURE_DATA(ioat_late) *self, enum path path, bool hangs)
{
	struct victim victim = { .fd = -1 };
	int64_t moment_us = random() % ALL_US;
	long strays, more;
	int fd;

	ioat_clear(&self->ioat);
	if (hangs)
		ioat_fault(&self->ioat, HANG, 1 + random() % COPIES, false, 0);
	if (path == KILLED) {
		if (kill_owner(self->ready, moment_us))
			return -ECHILD;
	} else {
		if (start(&victim, COPIES))
			return -EPROTO;
		pause_us(moment_us);
		if (tear_down(self, path, &victim))
			return -EPROTO;
	}
	if (bring_back(self, path))
		return -ENODEV;
	fd = open_node(O_RDWR);
	/* Two, because the source of the copies may become a canary, too. */
	if (fd < 0 || plant(&self->crop, fd, PAGES * PAGE) || plant(&self->second, fd, PAGES * PAGE))
		return -ENOMEM;
	pause_us(ALL_US + 20000 + (hangs && path != UNBOUND ? STOPPED_US : 0));
	strays = harvest(&self->crop);
	more = harvest(&self->second);
	if (path == UNBOUND || path == FREED)
		close(victim.fd);
	close(fd);
	return strays < 0 || more < 0 ? -EIO : strays + more;
}

TEST_F(ioat_late, never)
{
	int rounds = variant->hangs ? scale(6, 60) : scale(40, 2000);
	long strays = 0;

	for (int round = 0; round < rounds; round++) {
		long found = one_round(self, variant->path, variant->hangs);

		ASSERT_LE(0, found) TH_LOG("round %d", round);
		strays += found;
	}
	EXPECT_EQ(0, strays);
	ioat_clear(&self->ioat);
	EXPECT_TRUE(works());
	FIGURE("%d x %s while I/OAT %s", "%ld canary bytes changed", rounds, variant->what, variant->hangs ? "hangs" : "copies", strays);
}

/* A copy that takes longer than the driver waits is stopped: it does not land in memory that is freed after that. */
TEST(ioat_overdue)
{
	struct rdma_completion completion;
	struct crop crop;
	struct ioat ioat;
	struct victim victim;
	int64_t began;
	int fd = open_node(O_RDWR);

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ioat_open(0, &ioat));
	ASSERT_EQ(0, prepare(&crop, CANARY));
	ioat_clear(&ioat);
	ioat_timing(&ioat, OVERDUE_NS, 0);
	began = now();
	ASSERT_EQ(0, start(&victim, 1));
	ASSERT_EQ(1, collect(victim.fd, &completion, 1, 1, FOREVER));
	EXPECT_EQ(-ETIMEDOUT, completion.status);
	EXPECT_GT(OVERDUE_NS / 1000, now() - began);
	ASSERT_EQ(0, release(victim.fd, &victim.to));
	ASSERT_EQ(0, plant(&crop, fd, PAGES * PAGE));
	pause_us(OVERDUE_NS / 1000);
	EXPECT_EQ(0, harvest(&crop));
	ioat_timing(&ioat, 0, 0);
	close(victim.fd);
	close(fd);
	EXPECT_TRUE(works());
}

TEST_HARNESS_MAIN
