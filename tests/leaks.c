// SPDX-License-Identifier: GPL-2.0
/* Promise 9: thousands of times everything, also what fails, and as much memory is free afterwards as before. */
#include "rdma_test.h"

/* What may be missing afterwards: the kernel's own caches breathe. */
enum { CYCLES = 4000, TRANSFER_CYCLES = 300, SLACK_KB = 1024 };

struct memory {
	long free_kb;
	long objects; /* in the kernel's slabs */
};

static long free_kb(void)
{
	char text[4096], *line;

	return !read_text("/proc/meminfo", text, sizeof(text)) && (line = strstr(text, "MemFree:")) ?
		       atol(line + strlen("MemFree:")) :
		       -1;
}

/* Objects in all kmalloc caches: what a driver's structures are made of. */
static long kmalloc_objects(void)
{
	char line[512], name[64];
	long active, total = 0;
	FILE *file = fopen("/proc/slabinfo", "re");

	if (!file)
		return -1;
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "%63s %ld", name, &active) == 2 && strstr(name, "kmalloc"))
			total += active;
	fclose(file);
	return total;
}

static struct memory memory(void)
{
	/* What was freed by RCU and by other CPUs is free a moment later. */
	pause_us(500000);
	sync();
	write_text("/proc/sys/vm/drop_caches", "3");
	write_text("/proc/sys/vm/compact_memory", "1");
	pause_us(500000);
	return (struct memory){ free_kb(), kmalloc_objects() };
}

FIXTURE(leaks)
{
};

typedef void cycle(struct __test_metadata *_metadata, int round);

/* Some rounds to fill caches and pools; then the rounds that count. */
static void measure(struct __test_metadata *_metadata, cycle *cycle, int rounds)
{
	struct memory before, after;

	for (int i = 0; i < rounds / 10; i++)
		cycle(_metadata, i);
	before = memory();
	for (int i = 0; i < rounds; i++)
		cycle(_metadata, i);
	after = memory();
	TH_LOG("%d rounds: %ld kB and %ld objects less", rounds, before.free_kb - after.free_kb,
	       after.objects - before.objects);
	ASSERT_LT(0, before.free_kb);
	ASSERT_LT(0, before.objects);
	EXPECT_GE(SLACK_KB, before.free_kb - after.free_kb);
	EXPECT_GE(rounds / 4, after.objects - before.objects);
}

FIXTURE_SETUP(leaks)
{
}

FIXTURE_TEARDOWN(leaks)
{
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

TEST_F_TIMEOUT(leaks, open_allocate_map_and_all_back, 300)
{
	measure(_metadata, orderly, CYCLES);
}

/* Nothing is given back but by closing, and by the end of the mapping. */
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

TEST_F_TIMEOUT(leaks, closed_with_everything_open, 300)
{
	measure(_metadata, disorderly, CYCLES);
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

TEST_F_TIMEOUT(leaks, failures, 300)
{
	measure(_metadata, failing, CYCLES / 4);
}

static void transferring(struct __test_metadata *_metadata, int round)
{
	int fd = open_node(O_RDWR);
	struct buffer buffer;
	char byte;

	(void)round;
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, allocate(fd, 2 * PAGE, &buffer));
	ASSERT_EQ(0, to_device(fd, &buffer, 0, 0, PAGE));
	ASSERT_EQ(0, copy(fd, &buffer, PAGE, &buffer, 0, 1));
	ASSERT_EQ(1, read(fd, &byte, 1));
	close(fd);
	munmap(buffer.bytes, buffer.size);
}

TEST_F_TIMEOUT(leaks, transfers, 300)
{
	measure(_metadata, transferring, TRANSFER_CYCLES);
}

static void dying(struct __test_metadata *_metadata, int round)
{
	pid_t child = fork();

	if (!child) {
		struct buffer buffer;
		int fd = open_node(O_RDWR);

		if (!allocate(fd, 2 * PAGE, &buffer))
			from_device(fd, &buffer, 0, 0, PAGE);
		_exit(0);
	}
	pause_us(1000 + round % 100 * 1000);
	kill(child, SIGKILL);
	ASSERT_EQ(child, waitpid(child, NULL, 0));
}

TEST_F_TIMEOUT(leaks, deaths_in_mid_transfer, 300)
{
	measure(_metadata, dying, TRANSFER_CYCLES);
}

/* A device that comes and goes with things held. */
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

TEST_F_TIMEOUT(leaks, unbind_and_bind, 300)
{
	ASSERT_EQ(0, pci_address("rdma0", address));
	measure(_metadata, going, TRANSFER_CYCLES);
}

TEST_HARNESS_MAIN
