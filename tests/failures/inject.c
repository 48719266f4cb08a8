// SPDX-License-Identifier: GPL-2.0
/*
 * Faults that the driver simulates (src/engines/edu/inject.rs), in kernels configured for it: those that lost.c,
 * misbehaving.c, blind.c and gone.c cannot cause from outside. Also under the sanitizers.
 */
#include "debugfs.h"
#include "registers.h"
#include "requests.h"

#include <sys/stat.h>

#define DRIVER "/sys/bus/pci/drivers/rdma/"

enum { LOOK_US = 450000, OVERDUE_US = 1000000, SLACK_US = 30000 };

FIXTURE(inject)
{
	int fd, log;
	struct buffer buffer; /* the first page is a pattern, and so is the device memory */
	char address[32];
};

static int inject(const char *command)
{
	return write_text(DEVICE_DEBUGFS "inject", command);
}

FIXTURE_SETUP(inject)
{
	if (access(DEVICE_DEBUGFS "inject", F_OK))
		SKIP(return, "this kernel has no fault injection");
	self->fd = open_node(O_RDWR);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, allocate(self->fd, 8 * PAGE, &self->buffer));
	fill(self->buffer.bytes, DEVICE_MEMORY, 1);
	ASSERT_EQ(0, to_device(self->fd, &self->buffer, 0, 0, DEVICE_MEMORY));
	ASSERT_EQ(0, pci_address("rdma0", self->address));
	self->log = open_log();
	ASSERT_LE(0, self->log);
}

/* After any of the faults, everything works. */
FIXTURE_TEARDOWN(inject)
{
	EXPECT_EQ(0, inject("clear"));
	EXPECT_EQ(0, to_device(self->fd, &self->buffer, 0, 0, DEVICE_MEMORY));
	EXPECT_EQ(0, from_device(self->fd, &self->buffer, DEVICE_MEMORY, 0, DEVICE_MEMORY));
	EXPECT_EQ(0, memcmp(self->buffer.bytes, self->buffer.bytes + DEVICE_MEMORY, DEVICE_MEMORY));
	close(self->fd);
}

static bool engine_is(const char *what)
{
	char text[256], wanted[32];

	snprintf(wanted, sizeof(wanted), "engine %s", what);
	return !read_text(DEVICE_DEBUGFS "state", text, sizeof(text)) && !strncmp(text, wanted, strlen(wanted));
}

static struct rdma_request into_page(FIXTURE_DATA(inject) *self, int page, uint64_t cookie)
{
	return reading(&self->buffer, page * DEVICE_MEMORY, 0, DEVICE_MEMORY, cookie);
}

static bool page_is_right(FIXTURE_DATA(inject) *self, int page)
{
	return !memcmp(self->buffer.bytes, self->buffer.bytes + page * DEVICE_MEMORY, DEVICE_MEMORY);
}

/* Unbinds and binds again, and opens a file and a buffer as before. */
static void bind_again(struct __test_metadata *_metadata, FIXTURE_DATA(inject) *self)
{
	ASSERT_EQ(0, write_text(DRIVER "bind", self->address));
	munmap(self->buffer.bytes, self->buffer.size);
	close(self->fd);
	self->fd = open_node(O_RDWR);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, allocate(self->fd, 8 * PAGE, &self->buffer));
	fill(self->buffer.bytes, DEVICE_MEMORY, 1);
}

TEST_F(inject, commands)
{
	static const char *const wrong[] = { " ", "lose", "lose x", "lose -1", "hang x", "gone -1", "unheard-of", "clear now" };
	struct stat status;

	ASSERT_EQ(0, stat(DEVICE_DEBUGFS "inject", &status));
	EXPECT_EQ(0200, status.st_mode & 07777);
	EXPECT_EQ(0, status.st_uid);
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		EXPECT_EQ(-EINVAL, inject(wrong[i])) TH_LOG("%s", wrong[i]);
	}
	EXPECT_EQ(0, inject("lose 0\n"));
}

/* Each interrupt of each half of each piece. */
TEST_F(inject, lost_in_a_copy)
{
	long recoveries = counter("watchdog_recoveries");
	int64_t began = now();

	ASSERT_EQ(0, inject("lose 1000"));
	for (int page = 1; page < 4; page++)
		memcpy(self->buffer.bytes + page * DEVICE_MEMORY, self->buffer.bytes, DEVICE_MEMORY);
	ASSERT_EQ(0, copy(self->fd, &self->buffer, 4 * DEVICE_MEMORY, &self->buffer, 0, 4 * DEVICE_MEMORY));
	EXPECT_LE(8 * 2 * TRANSFER_US - SLACK_US, now() - began);
	EXPECT_EQ(recoveries + 8, counter("watchdog_recoveries"));
	for (int page = 4; page < 8; page++)
		EXPECT_TRUE(page_is_right(self, page));
	ASSERT_EQ(0, inject("clear"));
	began = now();
	ASSERT_EQ(0, to_device(self->fd, &self->buffer, 0, 0, DEVICE_MEMORY));
	EXPECT_GE(TRANSFER_US + SLACK_US, now() - began);
	EXPECT_EQ(recoveries + 8, counter("watchdog_recoveries"));
}

TEST_F(inject, lost_a_hundred_times)
{
	enum { COUNT = 100 };
	long recoveries = counter("watchdog_recoveries");
	struct rdma_completion completions[COUNT];
	int done = 0;

	ASSERT_EQ(0, inject("lose 100"));
	for (int i = 0; i < COUNT; i++)
		ASSERT_EQ(1, submit_one(self->fd, into_page(self, 1 + i % 7, i)));
	ASSERT_EQ(COUNT, collect(self->fd, completions, COUNT, COUNT, FOREVER));
	for (int i = 0; i < COUNT; i++)
		done += completions[i].status == 0 && completions[i].cookie == (unsigned int)i;
	for (int page = 1; page < 8; page++)
		EXPECT_TRUE(page_is_right(self, page));
	recoveries = counter("watchdog_recoveries") - recoveries;
	EXPECT_EQ(COUNT, done);
	EXPECT_EQ(COUNT, recoveries);
	FIGURE("%d lost interrupts under the sanitizers", "%ld recovered", COUNT, recoveries);
}

/*
 * An interrupt that is delayed up to and beyond the time of the watchdog's check: it ends its own transfer, or
 * none, and never the next one.
 */
TEST_F(inject, late)
{
	for (int late_ms = 0; late_ms <= 200; late_ms += 10) {
		struct rdma_completion first, second;
		int64_t ended;

		memset(self->buffer.bytes + DEVICE_MEMORY, 0, 2 * DEVICE_MEMORY);
		ASSERT_EQ(0, inject("lose 1"));
		ASSERT_EQ(1, submit_one(self->fd, into_page(self, 1, 1)));
		ASSERT_EQ(1, submit_one(self->fd, into_page(self, 2, 2)));
		pause_us(TRANSFER_US + 2000 + late_ms * 1000);
		ASSERT_EQ(0, inject("raise 1"));
		ASSERT_EQ(1, collect(self->fd, &first, 1, 1, FOREVER));
		ended = now();
		EXPECT_EQ(0, first.status);
		EXPECT_EQ(1, first.cookie);
		EXPECT_TRUE(page_is_right(self, 1));
		ASSERT_EQ(1, collect(self->fd, &second, 1, 1, FOREVER));
		EXPECT_EQ(0, second.status);
		EXPECT_EQ(2, second.cookie);
		EXPECT_TRUE(page_is_right(self, 2));
		/* Before the check, the delayed interrupt ended the first transfer; then the second one began. */
		if (late_ms <= 70) {
			EXPECT_LE(TRANSFER_US - SLACK_US, now() - ended) TH_LOG("%d ms late", late_ms);
		}
		ASSERT_EQ(0, inject("clear"));
	}
}

TEST_F(inject, spurious)
{
	long before = counter("spurious_interrupts"), transfers = counter("transfers"), interrupts = counter("interrupts");
	struct pending pending;

	ASSERT_EQ(0, inject("raise 20"));
	pause_us(10000);
	EXPECT_LT(before, counter("spurious_interrupts"));
	EXPECT_EQ(transfers, counter("transfers"));
	/* The same with a running transfer, which it does not end. */
	ASSERT_EQ(0, begin(&pending, self->fd, into_page(self, 1, 0)));
	pause_us(20000);
	ASSERT_EQ(0, inject("raise 20"));
	ASSERT_EQ(0, finish(&pending));
	EXPECT_LE(TRANSFER_US - 1000, pending.ended - pending.began);
	EXPECT_TRUE(page_is_right(self, 1));
	EXPECT_EQ(transfers + 1, counter("transfers"));
	EXPECT_LT(interrupts + 2, counter("interrupts"));
	EXPECT_EQ(0, log_lines(self->log, "rdma 0000:"));
}

/* A transfer that never ends: all callers return in time, no request is accepted, and its memory is not freed until it ends. */
TEST_F(inject, hang)
{
	struct pending first, second;
	struct rdma_completion completion;
	int other = open_node(O_RDWR);
	long memory = device_state("memory"), quarantined = counter("quarantined");
	struct buffer buffer;
	int64_t began;

	ASSERT_LE(0, other);
	ASSERT_EQ(0, allocate(other, 4 * PAGE, &buffer));
	ASSERT_EQ(0, inject("hang"));
	ASSERT_EQ(0, begin(&first, other, reading(&buffer, 0, 0, DEVICE_MEMORY, 0)));
	pause_us(20000);
	ASSERT_EQ(1, submit_one(self->fd, into_page(self, 1, 5)));
	ASSERT_EQ(0, begin(&second, self->fd, into_page(self, 2, 0)));

	EXPECT_EQ(-ETIMEDOUT, finish(&first));
	EXPECT_LE(OVERDUE_US, first.ended - first.began);
	EXPECT_GE(OVERDUE_US + LOOK_US, first.ended - first.began);
	EXPECT_EQ(-EIO, finish(&second));
	ASSERT_EQ(1, collect(self->fd, &completion, 1, 1, 1000 * MS));
	EXPECT_EQ(5, completion.cookie);
	EXPECT_EQ(-EIO, completion.status);
	EXPECT_EQ(1, log_lines(self->log, "does not end"));
	EXPECT_TRUE(engine_is("stuck"));

	/* Closing does not wait for it. */
	began = now();
	EXPECT_EQ(-EIO, to_device(self->fd, &self->buffer, 0, 0, 1));
	ASSERT_EQ(0, release(other, &buffer));
	close(other);
	EXPECT_GE(SLACK_US, now() - began);
	EXPECT_EQ(memory + 4 * (long)DEVICE_MEMORY, device_state("memory"));
	EXPECT_EQ(quarantined + 1, counter("quarantined"));

	ASSERT_EQ(0, inject("clear"));
	for (began = now(); device_state("memory") != memory && now() - began < LOOK_US;)
		pause_us(1000);
	EXPECT_EQ(memory, device_state("memory"));
	EXPECT_TRUE(engine_is("idle"));
	EXPECT_EQ(0, log_lines(self->log, "rdma 0000:"));
}

/* Allocates a page without recording it. */
static int physical_page(uint64_t address, unsigned char bytes[DEVICE_MEMORY], bool write)
{
	int fd = open("/dev/mem", O_RDWR | O_CLOEXEC);
	long done = result(write ? pwrite(fd, bytes, DEVICE_MEMORY, address) : pread(fd, bytes, DEVICE_MEMORY, address));

	close(fd);
	return done == DEVICE_MEMORY ? 0 : done < 0 ? done : -EIO;
}

/* The driver can still be unbound, and memory that the device may still write to is never used again. */
TEST_F(inject, unbind_while_it_hangs)
{
	enum { COUNT = 128 };
	volatile void *registers = map_registers(self->address, PAGE);
	unsigned char canary[DEVICE_MEMORY];
	struct buffer fresh[COUNT];
	struct pending pending;
	int64_t began, took;
	uint64_t abandoned;

	ASSERT_NE(NULL, registers);
	ASSERT_EQ(0, inject("hang"));
	ASSERT_EQ(0, begin(&pending, self->fd, into_page(self, 1, 0)));
	pause_us(20000);
	abandoned = read64(registers, EDU_DMA_DESTINATION);
	/* The debugging of the DMA API reports memory that a driver does not free; this is intended here. */
	write_text("/sys/kernel/debug/dma-api/driver_filter", "none");
	began = now();
	ASSERT_EQ(0, write_text(DRIVER "unbind", self->address));
	took = now() - began;
	write_text("/sys/kernel/debug/dma-api/driver_filter", "\n");
	EXPECT_LE(OVERDUE_US - SLACK_US, took);
	EXPECT_GE(2 * OVERDUE_US, took); /* this kernel itself takes half a second for an unbind */
	EXPECT_EQ(-ENODEV, finish(&pending));
	EXPECT_EQ(1, log_lines(self->log, "its memory is never freed"));

	memset(canary, 0xa5, DEVICE_MEMORY);
	ASSERT_EQ(0, physical_page(abandoned, canary, true));
	bind_again(_metadata, self);
	for (int i = 0; i < COUNT; i++)
		ASSERT_EQ(0, allocate(self->fd, 8 * PAGE, &fresh[i]));
	ASSERT_EQ(0, physical_page(abandoned, canary, false));
	EXPECT_EQ(0, differing(canary, 0xa5, DEVICE_MEMORY));
	for (int i = 0; i < COUNT; i++)
		EXPECT_EQ(0, release(self->fd, &fresh[i]));
}

/* All ones: during a transfer, or before the next one. */
static void gone(struct __test_metadata *_metadata, FIXTURE_DATA(inject) *self, bool at_work)
{
	struct rdma_completion completions[4];
	struct buffer *buffer = &self->buffer;
	int64_t began;

	if (!at_work)
		ASSERT_EQ(0, inject("gone"));
	ASSERT_EQ(3, submit_many(self->fd, buffer, 3, 0));
	pause_us(20000);
	if (at_work)
		ASSERT_EQ(0, inject("gone"));
	began = now();
	EXPECT_EQ(3, collect(self->fd, completions, 3, 3, 2000 * MS));
	EXPECT_GE(LOOK_US, now() - began);
	for (int i = 0; i < 3; i++) {
		EXPECT_EQ(-ENODEV, completions[i].status);
		EXPECT_EQ(0, completions[i].bytes);
	}
	EXPECT_EQ(POLLHUP | POLLERR, polled(self->fd));
	EXPECT_EQ(-ENODEV, submit_many(self->fd, buffer, 1, 9));
	EXPECT_EQ(-ENODEV, to_device(self->fd, buffer, 0, 0, 1));
	EXPECT_EQ(-ENODEV, result(pwrite(self->fd, "x", 1, 0)));
	EXPECT_TRUE(engine_is("gone"));
	began = now();
	ASSERT_EQ(0, write_text(DRIVER "unbind", self->address));
	EXPECT_GE(OVERDUE_US - SLACK_US, now() - began);
	EXPECT_EQ(0, log_lines(self->log, "does not end"));
	bind_again(_metadata, self);
}

TEST_F(inject, gone_at_work)
{
	gone(_metadata, self, true);
}

TEST_F(inject, gone_at_rest)
{
	gone(_metadata, self, false);
}

TEST_HARNESS_MAIN
