// SPDX-License-Identifier: GPL-2.0
/* Promise 9: after thousands of repetitions of all calls, including failing ones, as much memory is free as before. */
#include "completion_ring.h"
#include "debugfs.h"
#include "dma_buf.h"
#include "memory.h"
#include "registered.h"
#include "uring.h"

#include <sys/resource.h>

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
static void count_mappings(struct __test_metadata *_metadata, long before, const char *what, cycle *cycle, int rounds)
{
	long mappings;

	for (int i = 0; i < rounds; i++)
		cycle(_metadata, i);
	/* The engine may still have the last transfer. */
	pause_us(3 * TRANSFER_US);
	mappings = live_mappings() - before;
	FIGURE("%d cycles: %s", "%ld live DMA mappings, %ld buffers left", rounds, what, mappings, device_state("buffers"));
	EXPECT_EQ(0, mappings);
	EXPECT_EQ(0, device_state("buffers"));
}

/* `mappings`: those of the driver itself. */
static void go_round(struct __test_metadata *_metadata, long mappings, const char *what, cycle *cycle, int rounds)
{
	if (mappings < 0)
		measure(_metadata, what, cycle, rounds);
	else
		count_mappings(_metadata, mappings, what, cycle, rounds);
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
	go_round(_metadata, self->mappings, "open, allocate, map, all given back", orderly, cycles(4000));
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
	go_round(_metadata, self->mappings, "closed with everything open", disorderly, cycles(4000));
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
	go_round(_metadata, self->mappings, "calls that fail", failing, cycles(1000));
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
	go_round(_metadata, self->mappings, "transfers", transferring, cycles(400));
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
	go_round(_metadata, self->mappings, "killed in mid-transfer", dying, cycles(400));
}

/* The result of a call whose argument can be read and not written: what it has created must be given back. */
static int call_unwritable(int fd, unsigned long number, const void *argument)
{
	unsigned char *page = memory_at(NULL, PAGE, PROT_READ | PROT_WRITE, ANYWHERE);
	int answer;

	memcpy(page, argument, _IOC_SIZE(number));
	mprotect(page, PAGE, PROT_READ);
	answer = call(fd, number, page);
	munmap(page, PAGE);
	return answer;
}

/* A device imports its own buffers also if it does not reach other memory. */
static void sharing(struct __test_metadata *_metadata, int round)
{
	int fd = open_node(O_RDWR), dma_buf, again;
	struct buffer buffer, imported;
	unsigned char *bytes;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, allocate(fd, 2 * PAGE, &buffer));
	dma_buf = export_buffer(fd, buffer.handle);
	again = export_buffer(fd, buffer.handle);
	ASSERT_LE(0, dma_buf);
	ASSERT_LE(0, again);
	bytes = map(dma_buf, 0, 2 * PAGE, PROT_READ | PROT_WRITE);
	ASSERT_NE(NULL, bytes);
	bytes[0] = 1;
	ASSERT_EQ(0, import_buffer(fd, dma_buf, round % 3 ? 0 : RDMA_IMPORT_READ_ONLY, &imported));
	if (round % 2)
		ASSERT_EQ(0, free_handle(fd, imported.handle));
	close(again);
	/* The buffer is freed with the last of these. */
	if (round % 4 < 2) {
		ASSERT_EQ(0, release(fd, &buffer));
		close(fd);
		close(dma_buf);
		munmap(bytes, 2 * PAGE);
	} else {
		munmap(bytes, 2 * PAGE);
		close(dma_buf);
		munmap(buffer.bytes, buffer.size);
		close(fd);
	}
}

TEST_F(leaks, exported_and_imported)
{
	go_round(_metadata, self->mappings, "EXPORT and IMPORT", sharing, cycles(1000));
}

static void completing(struct __test_metadata *_metadata, int round)
{
	struct rdma_completion completions[8];
	int fd = open_node(O_RDWR);
	struct buffer buffer;
	struct ring ring;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, allocate(fd, PAGE, &buffer));
	ASSERT_EQ(0, open_ring(fd, &ring));
	ASSERT_EQ(8, submit_many(fd, &buffer, 8, 0));
	/* The engine may have begun the first one. */
	ASSERT_LE(7, cancel_all(fd));
	ASSERT_LE(7, await_ring(fd, 7, FOREVER));
	ASSERT_LE(7, gather(&ring, completions, 8));
	munmap(buffer.bytes, buffer.size);
	if (round % 2)
		close(fd);
	munmap(ring.bytes, ring.properties.size);
	if (round % 2 == 0)
		close(fd);
}

TEST_F(leaks, completion_rings)
{
	go_round(_metadata, self->mappings, "completion rings", completing, cycles(1000));
}

/* One that fails, one that is cancelled, one that ends; the others are cancelled with their ring. */
static void commanding(struct __test_metadata *_metadata, int round)
{
	struct rdma_request requests[5], wrong = { 0 };
	struct rdma_submit batch = { .requests = (uintptr_t)requests, .count = 2, .request_size = sizeof(*requests) };
	int fd = open_node(O_RDWR);
	struct buffer buffer;
	struct uring ring;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, allocate(fd, PAGE, &buffer));
	ASSERT_EQ(0, uring_open(&ring, 8, round % 2 ? 0 : IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN));
	uring_command(&ring, fd, RDMA_IOC_TRANSFER, &wrong, 0);
	for (int i = 0; i < 5; i++) {
		requests[i] = moving(fd, &buffer, i);
		uring_command(&ring, fd, RDMA_IOC_TRANSFER, &requests[i], i);
	}
	uring_command(&ring, fd, RDMA_IOC_SUBMIT, &batch, 5);
	ASSERT_EQ(7, uring_submit(&ring, 0));
	ASSERT_EQ(-EINVAL, uring_wait(&ring, NULL));
	ASSERT_EQ(2, uring_wait(&ring, NULL));
	ASSERT_EQ(1, cancel(fd, 4));
	ASSERT_EQ(-ECANCELED, uring_wait(&ring, NULL));
	ASSERT_EQ(0, uring_wait(&ring, NULL));
	munmap(buffer.bytes, buffer.size);
	if (round % 3)
		close(fd);
	uring_close(&ring);
	if (round % 3 == 0)
		close(fd);
}

TEST_F(leaks, commands)
{
	go_round(_metadata, self->mappings, "commands of io_uring, of which most are cancelled", commanding, cycles(400));
}

/* Each of them before and after it has created something. */
static void refusing(struct __test_metadata *_metadata, int round)
{
	int fd = open_node(O_RDWR), reader = open_node(O_RDONLY), dma_buf, unwritable;
	struct rdma_completion_ring properties = { 0 };
	struct rlimit limit, none;
	struct buffer buffer, imported;
	struct ring ring;
	void *first;

	(void)round;
	ASSERT_LE(0, fd);
	ASSERT_LE(0, reader);
	ASSERT_EQ(0, allocate(fd, PAGE, &buffer));
	ASSERT_EQ(-EINVAL, export_buffer(fd, buffer.handle + 1));
	ASSERT_EQ(-EFAULT, call_unwritable(fd, RDMA_IOC_EXPORT, &(struct rdma_export){ .handle = buffer.handle }));
	ASSERT_EQ(0, getrlimit(RLIMIT_NOFILE, &limit));
	none = (struct rlimit){ 0, limit.rlim_max };
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &none));
	ASSERT_EQ(-EMFILE, export_buffer(fd, buffer.handle));
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &limit));

	dma_buf = export_buffer(fd, buffer.handle);
	ASSERT_LE(0, dma_buf);
	first = map(reader, 0, PAGE, PROT_READ);
	ASSERT_NE(NULL, first);
	unwritable = export_buffer(reader, RDMA_FIRST_BUFFER);
	ASSERT_LE(0, unwritable);
	ASSERT_EQ(-EBADF, import_buffer(fd, -1, 0, &imported));
	ASSERT_EQ(-EINVAL, import_buffer(fd, fd, 0, &imported));
	ASSERT_EQ(-EACCES, import_buffer(fd, unwritable, 0, &imported));
	ASSERT_EQ(-EFAULT, call_unwritable(fd, RDMA_IOC_IMPORT, &(struct rdma_import){ .fd = dma_buf }));
	ASSERT_EQ(0, import_buffer(fd, dma_buf, 0, &imported));
	ASSERT_EQ(-EOPNOTSUPP, export_buffer(fd, imported.handle));

	ASSERT_EQ(-EFAULT, call_unwritable(fd, RDMA_IOC_COMPLETION_RING, &properties));
	ASSERT_EQ(1, submit_many(fd, &buffer, 1, 0));
	ASSERT_EQ(-EBUSY, create_ring(fd, &properties));
	ASSERT_EQ(0, drain(fd, 1));
	ASSERT_EQ(0, open_ring(fd, &ring));
	ASSERT_EQ(-EEXIST, create_ring(fd, &properties));

	munmap(ring.bytes, ring.properties.size);
	munmap(first, PAGE);
	munmap(buffer.bytes, PAGE);
	close(unwritable);
	close(dma_buf);
	close(reader);
	close(fd);
}

TEST_F(leaks, refused)
{
	go_round(_metadata, self->mappings, "EXPORT, IMPORT and COMPLETION_RING that fail", refusing, cycles(400));
}

/* A device that is removed and added with all of this held. */
static char address[32];

static void going(struct __test_metadata *_metadata, int round)
{
	struct rdma_completion_ring properties;
	int fd = open_node(O_RDWR), dma_buf;
	struct buffer buffer, imported;
	struct rdma_request request;
	struct uring commands;
	struct ring ring;

	(void)round;
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, allocate(fd, 2 * PAGE, &buffer));
	buffer.bytes[0] = 1;
	dma_buf = export_buffer(fd, buffer.handle);
	ASSERT_LE(0, dma_buf);
	ASSERT_EQ(0, import_buffer(fd, dma_buf, 0, &imported));
	ASSERT_EQ(0, open_ring(fd, &ring));
	ASSERT_EQ(0, uring_open(&commands, 8, 0));
	request = moving(fd, &buffer, 0);
	for (int i = 0; i < 2; i++)
		uring_command(&commands, fd, RDMA_IOC_TRANSFER, &request, i);
	ASSERT_EQ(2, uring_submit(&commands, 0));
	ASSERT_EQ(2, submit_many(fd, &buffer, 2, 0));
	ASSERT_EQ(0, write_text("/sys/bus/pci/drivers/rdma/unbind", address));
	ASSERT_EQ(-ENODEV, export_buffer(fd, buffer.handle));
	ASSERT_EQ(-ENODEV, import_buffer(fd, dma_buf, 0, &imported));
	ASSERT_EQ(-ENODEV, create_ring(fd, &properties));
	munmap(buffer.bytes, buffer.size);
	munmap(ring.bytes, ring.properties.size);
	close(fd);
	close(dma_buf);
	uring_close(&commands);
	ASSERT_EQ(0, write_text("/sys/bus/pci/drivers/rdma/bind", address));
}

TEST_F(leaks, unbind_and_bind)
{
	ASSERT_EQ(0, pci_address("rdma0", address));
	go_round(_metadata, self->mappings, "unbind and bind with everything held", going, cycles(300));
}

/* Some more of all of these; then the kernel searches for unreferenced memory. It does not track pages, but their descriptions. */
static void search(struct __test_metadata *_metadata, cycle *const *kinds, size_t count)
{
	static char report[1 << 20];
	int lines = 0;

	ASSERT_EQ(0, pci_address("rdma0", address));
	ASSERT_EQ(0, write_text("/sys/kernel/debug/kmemleak", "clear"));
	for (size_t i = 0; i < count; i++)
		for (int round = 0; round < 20; round++)
			kinds[i](_metadata, round);
	/* Objects younger than 5 s are not reported. Two scans, because of what was in use during the first one. */
	for (int i = 0; i < 2; i++) {
		pause_us(6000000);
		ASSERT_EQ(0, write_text("/sys/kernel/debug/kmemleak", "scan"));
	}
	ASSERT_EQ(0, read_text("/sys/kernel/debug/kmemleak", report, sizeof(report)));
	for (char *at = report; (at = strstr(at, "[rdma]")); at++)
		lines++;
	EXPECT_EQ(0, lines) TH_LOG("%s", report);
	FIGURE("20 cycles of each kind, then a scan by kmemleak", "%d lines of the driver's in its report", lines);
}

/* It fails otherwise if kmemleak has disabled itself. */
static bool has_kmemleak(void)
{
	return write_text("/sys/kernel/debug/kmemleak", "scan") != -ENOENT;
}

TEST_F(leaks, kmemleak)
{
	static cycle *const kinds[] = {
		orderly, disorderly, failing, transferring, dying, sharing, completing, commanding, refusing, going,
	};

	if (!has_kmemleak())
		SKIP(return, "this kernel has no kmemleak");
	search(_metadata, kinds, ARRAY_SIZE(kinds));
}

/* Memory of programs and of other drivers, on a device that reaches it. */
FIXTURE(foreign)
{
	long mappings; /* of the driver itself */
};

/* A buffer of a part of it keeps all of it. NULL if the kernel gives none. */
static unsigned char *huge_page;

FIXTURE_SETUP(foreign)
{
	self->mappings = live_mappings();
	huge_page = transparent_huge_page(PAGE / 8 * PAGE);
	if (!huge_page)
		TH_LOG("no transparent huge page is free: none is registered");
}

FIXTURE_TEARDOWN(foreign)
{
}

static void registering(struct __test_metadata *_metadata, int round)
{
	unsigned char *bytes = memory_at(NULL, 10 * PAGE, PROT_READ | PROT_WRITE, ANYWHERE);
	int fd = open_node(O_RDWR);
	struct buffer buffer, part;

	ASSERT_NE(NULL, bytes);
	ASSERT_LE(0, fd);
	/* Some of the pages are there, and the others are loaded. */
	bytes[0] = 1;
	ASSERT_EQ(0, register_memory(fd, bytes + round % PAGE, (1 + round % 8) * PAGE, 0, &buffer));
	ASSERT_EQ(0, copy(fd, &buffer, 1, &buffer, 0, 1));
	if (huge_page)
		ASSERT_EQ(0, register_memory(fd, huge_page + PAGE, PAGE, RDMA_REGISTER_READ_ONLY, &part));
	/* Requests, the handle, the program, the file: the memory is given back with the last of them. */
	ASSERT_EQ(1, submit_one(fd, copying(&buffer, 1, &buffer, 0, 1, 0)));
	if (round % 2)
		ASSERT_EQ(0, free_handle(fd, buffer.handle));
	if (round % 4 < 2)
		munmap(bytes, 10 * PAGE);
	close(fd);
	if (round % 4 >= 2)
		munmap(bytes, 10 * PAGE);
}

TEST_F(foreign, registered)
{
	go_round(_metadata, self->mappings, "REGISTER", registering, cycles(1000));
	EXPECT_EQ(0, pinned_pages());
}

static void importing(struct __test_metadata *_metadata, int round)
{
	int fd = open_node(O_RDWR), dma_buf = round % 2 ? memory_file_buffer(2 * PAGE) : heap_buffer(2 * PAGE, O_RDWR);
	struct buffer buffer;

	ASSERT_LE(0, fd);
	ASSERT_LE(0, dma_buf);
	ASSERT_EQ(0, import_buffer(fd, dma_buf, 0, &buffer));
	ASSERT_EQ(0, copy(fd, &buffer, 1, &buffer, 0, 1));
	ASSERT_EQ(1, submit_one(fd, copying(&buffer, 1, &buffer, 0, 1, 0)));
	if (round % 4 < 2)
		ASSERT_EQ(0, free_handle(fd, buffer.handle));
	if (round % 8 < 4)
		close(dma_buf);
	close(fd);
	if (round % 8 >= 4)
		close(dma_buf);
}

TEST_F(foreign, imported)
{
	go_round(_metadata, self->mappings, "IMPORT of memory files and of the system's heap", importing, cycles(1000));
}

/* Calls that exceed RLIMIT_MEMLOCK, of a page; they are made without CAP_IPC_LOCK. */
static void exceeding(struct __test_metadata *_metadata, int fd, const unsigned char *bytes, int dma_buf)
{
	struct rlimit limit = { PAGE, PAGE };
	struct buffer buffer;

	ASSERT_EQ(0, setrlimit(RLIMIT_MEMLOCK, &limit));
	ASSERT_EQ(0, seteuid(12345));
	ASSERT_EQ(-ENOMEM, register_memory(fd, bytes, 2 * PAGE, 0, &buffer));
	/* The page is pinned before it is known to be a part of a huge one. */
	if (huge_page)
		ASSERT_EQ(-ENOMEM, register_memory(fd, huge_page, 1, 0, &buffer));
	ASSERT_EQ(-ENOMEM, import_buffer(fd, dma_buf, 0, &buffer));
	ASSERT_EQ(0, seteuid(0));
}

static void refusing_foreign(struct __test_metadata *_metadata, int round)
{
	unsigned char *bytes = memory_at(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, ANYWHERE);
	int fd = open_node(O_RDWR), dma_buf = memory_file_buffer(2 * PAGE), unwritable = heap_buffer(PAGE, O_RDONLY);
	struct buffer coherent, buffer;

	(void)round;
	ASSERT_NE(NULL, bytes);
	ASSERT_LE(0, fd);
	ASSERT_LE(0, dma_buf);
	ASSERT_LE(0, unwritable);
	ASSERT_EQ(0, allocate(fd, PAGE, &coherent));
	ASSERT_EQ(-EINVAL, register_memory(fd, bytes, 0, 0, &buffer));
	ASSERT_EQ(-EINVAL, register_memory(fd, bytes, PAGE, 2, &buffer));
	ASSERT_EQ(-EFAULT, register_memory(fd, NULL, PAGE, 0, &buffer));
	ASSERT_EQ(-EFAULT, register_memory(fd, coherent.bytes, PAGE, 0, &buffer));
	/* With the coherent buffer, the limit of the context (context_mib). */
	ASSERT_EQ(-EDQUOT, register_memory(fd, bytes, RDMA_MAX_BUFFER_SIZE, 0, &buffer));
	/* The first pages are pinned, and the last one is not there, or must not be written. */
	memset(bytes, 1, 4 * PAGE);
	ASSERT_EQ(0, mprotect(bytes + 3 * PAGE, PAGE, PROT_READ));
	ASSERT_EQ(-EFAULT, register_memory(fd, bytes, 4 * PAGE, 0, &buffer));
	munmap(bytes + 3 * PAGE, PAGE);
	ASSERT_EQ(-EFAULT, register_memory(fd, bytes, 4 * PAGE, 0, &buffer));
	ASSERT_EQ(-EFAULT,
		  call_unwritable(fd, RDMA_IOC_REGISTER, &(struct rdma_register){ .address = (uintptr_t)bytes, .size = 2 * PAGE }));

	ASSERT_EQ(-EINVAL, import_buffer(fd, dma_buf, 2, &buffer));
	ASSERT_EQ(-EACCES, import_buffer(fd, unwritable, 0, &buffer));
	ASSERT_EQ(-EFAULT, call_unwritable(fd, RDMA_IOC_IMPORT, &(struct rdma_import){ .fd = dma_buf }));
	exceeding(_metadata, fd, bytes, dma_buf);
	munmap(bytes, 3 * PAGE);
	munmap(coherent.bytes, PAGE);
	close(unwritable);
	close(dma_buf);
	close(fd);
}

TEST_F(foreign, refused)
{
	go_round(_metadata, self->mappings, "REGISTER and IMPORT that fail", refusing_foreign, cycles(1000));
	EXPECT_EQ(0, pinned_pages());
}

/* In a page fault that never ends. */
static void dying_in_register(struct __test_metadata *_metadata, int round)
{
	pid_t child = fork();
	int status;

	if (!child)
		register_for_ever(open_node(O_RDWR), 4 * PAGE);
	pause_us(1000 + round % 100 * 1000);
	kill(child, SIGKILL);
	ASSERT_EQ(child, waitpid(child, &status, 0));
	ASSERT_TRUE(WIFSIGNALED(status)) TH_LOG("status %#x", status);
}

TEST_F(foreign, deaths_in_register)
{
	go_round(_metadata, self->mappings, "killed in REGISTER", dying_in_register, cycles(400));
}

static void losing(struct __test_metadata *_metadata, int round)
{
	unsigned char *bytes = memory_at(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, ANYWHERE);
	int fd = open_node(O_RDWR), dma_buf = memory_file_buffer(2 * PAGE);
	struct buffer registered, imported;

	(void)round;
	ASSERT_NE(NULL, bytes);
	ASSERT_LE(0, fd);
	ASSERT_LE(0, dma_buf);
	ASSERT_EQ(0, register_memory(fd, bytes, 2 * PAGE, 0, &registered));
	ASSERT_EQ(0, import_buffer(fd, dma_buf, 0, &imported));
	for (int i = 0; i < 2; i++)
		ASSERT_EQ(1, submit_one(fd, copying(&imported, 0, &registered, 0, PAGE, 0)));
	ASSERT_EQ(0, write_text("/sys/bus/pci/drivers/rdma/unbind", address));
	ASSERT_EQ(-ENODEV, register_memory(fd, bytes, 2 * PAGE, 0, &registered));
	ASSERT_EQ(-ENODEV, import_buffer(fd, dma_buf, 0, &imported));
	munmap(bytes, 2 * PAGE);
	close(dma_buf);
	close(fd);
	ASSERT_EQ(0, write_text("/sys/bus/pci/drivers/rdma/bind", address));
}

TEST_F(foreign, unbind_and_bind)
{
	ASSERT_EQ(0, pci_address("rdma0", address));
	go_round(_metadata, self->mappings, "unbind and bind with registered and imported memory", losing, cycles(300));
	EXPECT_EQ(0, pinned_pages());
}

TEST_F(foreign, kmemleak)
{
	/* Without the removal, which takes long, and leaves here what it leaves of other buffers. */
	static cycle *const kinds[] = { registering, importing, refusing_foreign, dying_in_register };

	if (!has_kmemleak())
		SKIP(return, "this kernel has no kmemleak");
	search(_metadata, kinds, ARRAY_SIZE(kinds));
}

/* A device that reaches no such memory. */
FIXTURE(unreachable)
{
	long mappings; /* of the driver itself */
};

FIXTURE_SETUP(unreachable)
{
	self->mappings = live_mappings();
}

FIXTURE_TEARDOWN(unreachable)
{
}

static void unreachable(struct __test_metadata *_metadata, int round)
{
	unsigned char *bytes = memory_at(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, ANYWHERE);
	int fd = open_node(O_RDWR), dma_buf = memory_file_buffer(PAGE);
	struct buffer buffer;

	ASSERT_NE(NULL, bytes);
	ASSERT_LE(0, fd);
	ASSERT_LE(0, dma_buf);
	ASSERT_EQ(-EOPNOTSUPP, register_memory(fd, bytes, (1 + round % 8) * PAGE, 0, &buffer));
	ASSERT_EQ(-EOPNOTSUPP, import_buffer(fd, dma_buf, 0, &buffer));
	munmap(bytes, 8 * PAGE);
	close(dma_buf);
	close(fd);
}

TEST_F(unreachable, refused)
{
	go_round(_metadata, self->mappings, "REGISTER and IMPORT of memory that the device does not reach", unreachable,
		 cycles(1000));
	EXPECT_EQ(0, pinned_pages());
}

TEST_HARNESS_MAIN
