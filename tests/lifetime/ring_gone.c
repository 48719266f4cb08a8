// SPDX-License-Identifier: GPL-2.0
/* Promise 7: a device is removed while completions are in a ring, and requests have not ended. Each completion can be read. */
#include "completion_ring.h"
#include "teardown.h"

enum { LEFT = 40, QUEUED = 100 };

FIXTURE(ring_gone)
{
	char address[32];
	int fd;
	struct buffer buffer;
	struct ring ring;
	struct rdma_completion completions[DEPTH];
	bool away;
};

FIXTURE_VARIANT(ring_gone)
{
	enum way way;
};

FIXTURE_VARIANT_ADD(ring_gone, unbind) { .way = UNBIND };
FIXTURE_VARIANT_ADD(ring_gone, unplug) { .way = UNPLUG };

FIXTURE_SETUP(ring_gone)
{
	ASSERT_EQ(0, pci_address("rdma0", self->address));
	self->fd = open_node(O_RDWR);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, allocate(self->fd, PAGE, &self->buffer));
	ASSERT_EQ(0, open_ring(self->fd, &self->ring));
	/* Completions that are not collected, and requests behind them. */
	ASSERT_EQ(LEFT, submit_many(self->fd, &self->buffer, LEFT, 0));
	ASSERT_LE(LEFT - 1, cancel_all(self->fd));
	ASSERT_EQ(LEFT, await_ring(self->fd, LEFT, FOREVER));
	ASSERT_EQ(QUEUED, submit_many(self->fd, &self->buffer, QUEUED, LEFT));
	self->away = true;
	ASSERT_LE(0, go_away(self->address, variant->way));
}

FIXTURE_TEARDOWN(ring_gone)
{
	if (self->away)
		come_back(self->address, variant->way);
	munmap(self->ring.bytes, self->ring.properties.size);
	close(self->fd);
}

TEST_F(ring_gone, completions_can_be_read)
{
	bool seen[LEFT + QUEUED] = { false };
	int failed = 0;

	EXPECT_FALSE(readable(self->buffer.bytes));
	EXPECT_EQ(LEFT + QUEUED, await_ring(self->fd, LEFT + QUEUED, FOREVER));
	/* No more can come. */
	EXPECT_EQ(LEFT + QUEUED, await_ring(self->fd, DEPTH, FOREVER));
	EXPECT_EQ(POLLIN | POLLRDNORM | POLLHUP | POLLERR, polled(self->fd));
	ASSERT_EQ(LEFT + QUEUED, gather(&self->ring, self->completions, DEPTH));
	for (int i = 0; i < LEFT + QUEUED; i++) {
		struct rdma_completion *completion = &self->completions[i];

		ASSERT_GT(LEFT + QUEUED, completion->cookie);
		EXPECT_FALSE(seen[completion->cookie]);
		seen[completion->cookie] = true;
		EXPECT_TRUE(i < LEFT ? completion->status == 0 || completion->status == -ECANCELED :
				       completion->status == 0 || completion->status == -ENODEV)
			TH_LOG("completion %d: %d", i, completion->status);
		failed += completion->status == -ENODEV;
	}
	EXPECT_LT(0, failed);
	EXPECT_EQ(-ENODEV, await_ring(self->fd, 0, 0));
	EXPECT_EQ(-ENODEV, await_ring(self->fd, 1, FOREVER));
	EXPECT_EQ(POLLHUP | POLLERR, polled(self->fd));
}

/* The ring is no memory of the device: it can still be mapped, and stays as it is when the device is back. */
TEST_F(ring_gone, mapped_later)
{
	struct ring again = { .properties = self->ring.properties };
	struct rdma_completion_ring properties;
	int fd;

	ASSERT_EQ(LEFT + QUEUED, await_ring(self->fd, LEFT + QUEUED, FOREVER));
	ASSERT_EQ(0, map_ring(self->fd, &again));
	EXPECT_EQ(LEFT + QUEUED, ready(&again));
	EXPECT_EQ(-ENODEV, create_ring(self->fd, &properties));
	ASSERT_EQ(0, come_back(self->address, variant->way));
	self->away = false;
	EXPECT_EQ(LEFT + QUEUED, gather(&again, self->completions, DEPTH));
	EXPECT_EQ(0, ready(&self->ring));
	munmap(again.bytes, again.properties.size);
	fd = open_node(O_RDWR);
	ASSERT_LE(0, fd);
	EXPECT_EQ(0, open_ring(fd, &again));
	EXPECT_EQ(0, ready(&again));
	munmap(again.bytes, again.properties.size);
	close(fd);
	EXPECT_TRUE(works());
}

/* Mappings and files of a device that is gone are dropped in each order. */
TEST_F(ring_gone, dropped)
{
	pid_t child = fork();
	int status;

	if (!child) {
		close(self->fd);
		_exit(ready(&self->ring) != LEFT + QUEUED);
	}
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_EQ(0, status);
	close(self->fd);
	EXPECT_EQ(LEFT + QUEUED, gather(&self->ring, self->completions, DEPTH));
	ASSERT_EQ(0, come_back(self->address, variant->way));
	self->away = false;
	EXPECT_EQ(0, ready(&self->ring));
	EXPECT_TRUE(works());
}

TEST_HARNESS_MAIN
