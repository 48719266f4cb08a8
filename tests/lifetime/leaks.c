// SPDX-License-Identifier: GPL-2.0
/* Promise 9: after thousands of repetitions of all calls, including failing ones, as much memory is free as before. */
#include "debugfs.h"
#include "memory.h"

/* Tolerance: the kernel's own caches change in size. A hundred rounds may leave an object. */
enum { SLACK_KB = 256, SLACK_OBJECTS = 20 };

/* RDMA_PERCENT for slow kernels. */
static int cycles(int quick)
{
	const char *percent = getenv("RDMA_PERCENT");

	return scale(quick, 10 * quick) * (percent ? atoi(percent) : 100) / 100;
}

FIXTURE(leaks)
{
	long mappings; /* of the driver itself */
};

FIXTURE_SETUP(leaks)
{
	self->mappings = live_mappings();
}

FIXTURE_TEARDOWN(leaks)
{
}

typedef void cycle(struct __test_metadata *_metadata, int round);

/* Some rounds to fill caches and pools, then the measured rounds. */
static void measure(struct __test_metadata *_metadata, const char *what, cycle *cycle, int rounds)
{
	struct memory before, after;
	long buffers;

	for (int i = 0; i < rounds / 10; i++)
		cycle(_metadata, i);
	before = memory();
	for (int i = 0; i < rounds; i++)
		cycle(_metadata, i);
	after = memory();
	buffers = device_state("buffers");
	FIGURE("%d cycles: %s", "drift of %ld kB and %ld objects; %ld buffers left", rounds, what,
	       before.free_kb - after.free_kb, after.objects - before.objects, buffers);
	ASSERT_LT(0, before.free_kb);
	ASSERT_LT(0, before.objects);
	EXPECT_GE(SLACK_KB, before.free_kb - after.free_kb);
	EXPECT_GE(rounds / 100 + SLACK_OBJECTS, after.objects - before.objects);
	EXPECT_EQ(0, buffers);
}

/* The same for a kernel that counts mappings. */
static void count_mappings(struct __test_metadata *_metadata, FIXTURE_DATA(leaks) *self, const char *what, cycle *cycle, int rounds)
{
	long mappings;

	for (int i = 0; i < rounds; i++)
		cycle(_metadata, i);
	/* The engine may still have the last transfer. */
	pause_us(3 * TRANSFER_US);
	mappings = live_mappings() - self->mappings;
	FIGURE("%d cycles: %s", "%ld live DMA mappings, %ld buffers left", rounds, what, mappings, device_state("buffers"));
	EXPECT_EQ(0, mappings);
	EXPECT_EQ(0, device_state("buffers"));
}

static void go_round(struct __test_metadata *_metadata, FIXTURE_DATA(leaks) *self, const char *what, cycle *cycle, int rounds)
{
	if (self->mappings < 0)
		measure(_metadata, what, cycle, rounds);
	else
		count_mappings(_metadata, self, what, cycle, rounds);
}

/* First, the check itself: held buffers are counted, and freed ones are not. */
TEST_F(leaks, what_is_held_is_seen)
{
	int fd = open_node(O_RDWR);
	struct buffer buffer;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, allocate(fd, PAGE, &buffer));
	EXPECT_EQ(1, device_state("buffers"));
	if (self->mappings >= 0) {
		EXPECT_LT(0, self->mappings);
		EXPECT_EQ(self->mappings + 1, live_mappings());
	}
	close(fd);
	munmap(buffer.bytes, PAGE);
	EXPECT_EQ(0, device_state("buffers"));
	EXPECT_EQ(self->mappings, live_mappings());
}

static void orderly(struct __test_metadata *_metadata, int round)
{
	int fd = open_node(O_RDWR);
	struct buffer buffer;
	unsigned char *first;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, allocate(fd, (1 + round % 8) * PAGE, &buffer));
	first = map(fd, 0, PAGE, PROT_READ | PROT_WRITE);
	ASSERT_NE(NULL, first);
	buffer.bytes[0] = first[0] = 1;
	ASSERT_EQ(0, release(fd, &buffer));
	ASSERT_EQ(0, munmap(first, PAGE));
	close(fd);
}

TEST_F(leaks, open_allocate_map_and_all_back)
{
	go_round(_metadata, self, "open, allocate, map, all given back", orderly, cycles(4000));
}

/* Buffers are freed only by close and by the end of the mapping. */
static void disorderly(struct __test_metadata *_metadata, int round)
{
	int fd = open_node(O_RDWR);
	struct buffer buffer;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, allocate(fd, (1 + round % 8) * PAGE, &buffer));
	buffer.bytes[0] = 1;
	close(fd);
	munmap(buffer.bytes, buffer.size);
}

TEST_F(leaks, closed_with_everything_open)
{
	go_round(_metadata, self, "closed with everything open", disorderly, cycles(4000));
}

static void failing(struct __test_metadata *_metadata, int round)
{
	int fd = open_node(O_RDWR);
	void *volatile nowhere = NULL;
	struct rdma_alloc alloc = { .size = round % 2 ? 0 : RDMA_MAX_BUFFER_SIZE };
	struct buffer buffer;

	ASSERT_LE(0, fd);
	ASSERT_GT(0, call(fd, RDMA_IOC_ALLOC, &alloc));
	ASSERT_EQ(-EFAULT, call(fd, RDMA_IOC_ALLOC, NULL));
	ASSERT_EQ(0, allocate(fd, PAGE, &buffer));
	ASSERT_EQ(NULL, map(fd, buffer.offset, 2 * PAGE, PROT_READ));
	ASSERT_EQ(NULL, map(fd, 0, PAGE, PROT_READ | PROT_EXEC));
	ASSERT_EQ(-EINVAL, to_device(fd, &buffer, 0, 0, DEVICE_MEMORY + 1));
	ASSERT_EQ(-EINVAL, copy(fd, &buffer, 0, &buffer, 0, 1));
	ASSERT_EQ(-EFAULT, result(pwrite(fd, nowhere, 16, 0)));
	ASSERT_EQ(-EINVAL, free_handle(fd, buffer.handle + 1));
	munmap(buffer.bytes, PAGE);
	close(fd);
}

TEST_F(leaks, failures)
{
	go_round(_metadata, self, "calls that fail", failing, cycles(1000));
}

static void transferring(struct __test_metadata *_metadata, int round)
{
	int fd = open_node(O_RDWR);
	struct buffer buffer;
	char byte;

	(void)round;
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, allocate(fd, 2 * PAGE, &buffer));
	ASSERT_EQ(0, to_device(fd, &buffer, 0, 0, DEVICE_MEMORY));
	ASSERT_EQ(0, copy(fd, &buffer, DEVICE_MEMORY, &buffer, 0, 1));
	ASSERT_EQ(1, read(fd, &byte, 1));
	close(fd);
	munmap(buffer.bytes, buffer.size);
}

TEST_F(leaks, transfers)
{
	go_round(_metadata, self, "transfers", transferring, cycles(400));
}

static void dying(struct __test_metadata *_metadata, int round)
{
	pid_t child = fork();

	if (!child) {
		struct buffer buffer;
		int fd = open_node(O_RDWR);

		if (!allocate(fd, 2 * PAGE, &buffer))
			from_device(fd, &buffer, 0, 0, DEVICE_MEMORY);
		_exit(0);
	}
	pause_us(1000 + round % 100 * 1000);
	kill(child, SIGKILL);
	ASSERT_EQ(child, waitpid(child, NULL, 0));
}

TEST_F(leaks, deaths_in_mid_transfer)
{
	go_round(_metadata, self, "killed in mid-transfer", dying, cycles(400));
}

/* A device that is removed and added with buffers held. */
static char address[32];

static void going(struct __test_metadata *_metadata, int round)
{
	int fd = open_node(O_RDWR);
	struct buffer buffer;

	(void)round;
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, allocate(fd, 2 * PAGE, &buffer));
	buffer.bytes[0] = 1;
	ASSERT_EQ(0, write_text("/sys/bus/pci/drivers/rdma/unbind", address));
	munmap(buffer.bytes, buffer.size);
	close(fd);
	ASSERT_EQ(0, write_text("/sys/bus/pci/drivers/rdma/bind", address));
}

TEST_F(leaks, unbind_and_bind)
{
	ASSERT_EQ(0, pci_address("rdma0", address));
	go_round(_metadata, self, "unbind and bind with everything held", going, cycles(300));
}

/* Some more of all of these; then the kernel searches for unreferenced memory. It does not track pages, but their descriptions. */
TEST_F(leaks, kmemleak)
{
	static cycle *const kinds[] = { orderly, disorderly, failing, transferring, dying, going };
	static char report[1 << 20];
	int count = 0;

	/* It fails otherwise if kmemleak has disabled itself. */
	if (write_text("/sys/kernel/debug/kmemleak", "scan") == -ENOENT)
		SKIP(return, "this kernel has no kmemleak");
	ASSERT_EQ(0, pci_address("rdma0", address));
	ASSERT_EQ(0, write_text("/sys/kernel/debug/kmemleak", "clear"));
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		for (int round = 0; round < 20; round++)
			kinds[i](_metadata, round);
	/* Objects younger than 5 s are not reported. Two scans, because of what was in use during the first one. */
	for (int i = 0; i < 2; i++) {
		pause_us(6000000);
		ASSERT_EQ(0, write_text("/sys/kernel/debug/kmemleak", "scan"));
	}
	ASSERT_EQ(0, read_text("/sys/kernel/debug/kmemleak", report, sizeof(report)));
	for (char *at = report; (at = strstr(at, "[rdma]")); at++)
		count++;
	EXPECT_EQ(0, count) TH_LOG("%s", report);
	FIGURE("20 cycles of each kind, then a scan by kmemleak", "%d lines of the driver's in its report", count);
}

TEST_HARNESS_MAIN
