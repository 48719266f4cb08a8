// SPDX-License-Identifier: GPL-2.0
/*
 * Promise 7: unbind never waits for user space. In each round, a file, mappings and transfers are held while the device is removed, at any
 * moment of a transfer. The removal must end in time, and calls must return the right errors. (gone.c has the single cases; this is the volume.)
 */
#include "pace.h"
#include "teardown.h"

#include <sys/wait.h>

enum { MOMENTS_US = 110000 };

FIXTURE(held)
{
	char address[32];
	bool memory;
};

FIXTURE_SETUP(held)
{
	struct buffer buffer;
	int fd = open_node(O_RDWR);

	ASSERT_EQ(0, pci_address("rdma0", self->address));
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, allocate(fd, 2 * PAGE, &buffer));
	ASSERT_EQ(0, settle(fd, &buffer));
	self->memory = has_memory(fd);
	munmap(buffer.bytes, buffer.size);
	close(fd);
	srandom(7);
}

FIXTURE_TEARDOWN(held)
{
	hurry();
}

/* What a program holds of the device. */
struct holder {
	int fd;
	struct buffer buffer;
	unsigned char *untouched; /* a second mapping */
	pthread_t thread;
	bool waits; /* a thread waits for more completions than there will be */
	int collected;
	struct pending pending;
};

static void *waiter(void *argument)
{
	struct holder *holder = argument;
	struct rdma_completion completions[8];

	holder->collected = collect(holder->fd, completions, 8, 8, FOREVER);
	return NULL;
}

/* Opens, maps, submits; every fifth time, threads also wait in TRANSFER and WAIT. */
static int hold(struct holder *holder, int round)
{
	*holder = (struct holder){ .fd = open_node(O_RDWR), .waits = round % 5 == 0 };
	if (holder->fd < 0 || allocate(holder->fd, 2 * PAGE + window(holder->fd), &holder->buffer))
		return -EIO;
	memset(holder->buffer.bytes, 0x5d, DEVICE_MEMORY);
	holder->untouched = map(holder->fd, holder->buffer.offset, 2 * PAGE, PROT_READ);
	if (!holder->untouched || submit_many(holder->fd, &holder->buffer, 3, 0) != 3)
		return -EIO;
	if (!holder->waits)
		return 0;
	if (pthread_create(&holder->thread, NULL, waiter, holder))
		return -EAGAIN;
	return begin(&holder->pending, holder->fd, fetching(holder->fd, &holder->buffer, 0, DEVICE_MEMORY, 0));
}

/* Returns what is wrong, or NULL. With `ended`, transfers may have ended before. */
static const char *wrong_answer(struct holder *holder, bool ended)
{
	struct rdma_completion completions[8];
	struct rdma_device_info info;
	struct rdma_alloc alloc = { .size = PAGE };
	int collected;

	if (holder->waits) {
		int answer = finish(&holder->pending);

		if (answer != -ENODEV && (answer || !ended))
			return "a TRANSFER that waited";
		pthread_join(holder->thread, NULL);
		collected = holder->collected;
	} else {
		if (polled(holder->fd) != (POLLIN | POLLRDNORM | POLLHUP | POLLERR))
			return "poll, with completions";
		collected = take(holder->fd, completions, 8);
	}
	if (collected != 3)
		return "WAIT";
	if (polled(holder->fd) != (POLLHUP | POLLERR))
		return "poll";
	if (take(holder->fd, completions, 8) != -ENODEV || call(holder->fd, RDMA_IOC_DEVICE_INFO, &info) != -ENODEV ||
	    call(holder->fd, RDMA_IOC_ALLOC, &alloc) != -ENODEV || transfer_some(holder->fd, &holder->buffer, 1) != -ENODEV ||
	    submit_many(holder->fd, &holder->buffer, 1, 0) != -ENODEV)
		return "an ioctl";
	if (readable(holder->buffer.bytes) || readable(holder->buffer.bytes + DEVICE_MEMORY) || readable(holder->untouched))
		return "a mapping";
	return NULL;
}

static void let_go(struct holder *holder)
{
	munmap(holder->buffer.bytes, holder->buffer.size);
	munmap(holder->untouched, 2 * PAGE);
	close(holder->fd);
}

static void again_and_again(struct __test_metadata *_metadata, FIXTURE_DATA(held) *self, enum way way, const char *what, int rounds)
{
	/* QEMU unplugs in real time, during which a virtual clock jumps: transfers may have ended. */
	bool timed = way != UNPLUG || !virtual_time();
	int64_t slowest = 0;

	for (int round = 0; round < rounds; round++) {
		struct holder holder;
		const char *wrong;
		int64_t took;

		ASSERT_EQ(0, hold(&holder, round)) TH_LOG("round %d", round);
		pause_us(random() % MOMENTS_US);
		took = go_away(self->address, way);
		ASSERT_LE(0, took);
		if (timed) {
			ASSERT_GE(limit_us(), took);
		}
		slowest = took > slowest ? took : slowest;
		wrong = wrong_answer(&holder, way == UNPLUG);
		ASSERT_EQ(NULL, wrong) TH_LOG("round %d: %s", round, wrong);
		/* Some are still held when the device is added again. */
		if (round % 2)
			let_go(&holder);
		ASSERT_EQ(0, come_back(self->address, way));
		if (round % 2 == 0)
			let_go(&holder);
	}
	EXPECT_TRUE(works());
	if (timed) {
		FIGURE("%d x %s with file, mapping and transfer held", "each as it must; the longest took %lld ms", rounds, what,
		       (long long)slowest / 1000);
	} else {
		FIGURE("%d x %s with file, mapping and transfer held", "each as it must", rounds, what);
	}
}

TEST_F(held, unbind)
{
	again_and_again(_metadata, self, UNBIND, "unbind", virtual_time() ? scale(1000, 10000) : scale(40, 1000));
}

TEST_F(held, remove)
{
	again_and_again(_metadata, self, REMOVE, "remove and rescan", virtual_time() ? scale(300, 3000) : scale(10, 300));
}

TEST_F(held, unplug)
{
	if (!self->memory)
		SKIP(return, "QEMU 11.1 ends if an I/OAT device with MSI-X is unplugged: see ioat_gone.c");
	again_and_again(_metadata, self, UNPLUG, "device_del", virtual_time() ? scale(100, 1000) : scale(10, 100));
}

/* Assigned to a driver that does not exist: no driver binds until the override is removed. */
TEST_F(held, driver_override)
{
	int rounds = virtual_time() ? scale(40, 400) : scale(5, 50);
	char path[128];

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/driver_override", self->address);
	for (int round = 0; round < rounds; round++) {
		struct holder holder;

		ASSERT_EQ(0, hold(&holder, round));
		ASSERT_EQ(0, write_text(path, "nobody"));
		pause_us(random() % MOMENTS_US);
		ASSERT_LE(0, go_away(self->address, UNBIND));
		ASSERT_EQ(NULL, wrong_answer(&holder, false)) TH_LOG("round %d", round);
		EXPECT_EQ(-ENODEV, write_text("/sys/bus/pci/drivers/rdma/bind", self->address));
		EXPECT_EQ(0, write_text("/sys/bus/pci/drivers_probe", self->address));
		EXPECT_NE(0, access(NODE, F_OK));
		ASSERT_EQ(0, write_text(path, self->memory ? "\n" : "rdma"));
		let_go(&holder);
		ASSERT_EQ(0, write_text("/sys/bus/pci/drivers_probe", self->address));
		ASSERT_EQ(0, wait_for_node(NODE));
	}
	EXPECT_TRUE(works());
	FIGURE("%d x driver_override with file, mapping and transfer held", "each as it must", rounds);
}

/* A module cannot be unloaded while a file is open or only its mapping is left. Without both, it can, although their transfer has not ended. */
TEST_F(held, rmmod)
{
	int rounds = virtual_time() ? scale(200, 2000) : scale(20, 200);
	const char *module = light_module();

	ASSERT_NE(NULL, module);
	for (int round = 0; round < rounds; round++) {
		struct holder holder;

		ASSERT_EQ(0, hold(&holder, 1));
		pause_us(random() % MOMENTS_US);
		ASSERT_EQ(-EWOULDBLOCK, unload());
		munmap(holder.untouched, 2 * PAGE);
		close(holder.fd);
		ASSERT_EQ(-EWOULDBLOCK, unload());
		ASSERT_TRUE(readable(holder.buffer.bytes));
		munmap(holder.buffer.bytes, holder.buffer.size);
		if (round % 20)
			continue;
		ASSERT_EQ(0, unload());
		ASSERT_EQ(0, load(module));
	}
	EXPECT_TRUE(works());
	FIGURE("%d x rmmod with file, mapping and transfer held", "refused each time as busy", rounds);
}

TEST_HARNESS_MAIN
