// SPDX-License-Identifier: GPL-2.0
/*
 * REGISTER: memory of the program as a buffer. It is exact, stays the program's own, and is given back; what cannot be registered is refused.
 * Runs on each device that can access all memory, or has an IOMMU.
 */
#include "ioat.h"
#include "registered.h"
#include "teardown.h"

#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { PAGES = 8 };
#define SIZE (PAGES * PAGE)

/* Bytes that are charged to the context. */
static long charged(int fd)
{
	char path[64], text[4096], *line;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	if (read_text(path, text, sizeof(text)))
		return -1;
	line = strstr(text, "rdma-memory:");
	return line ? atol(line + 12) : -1;
}

FIXTURE(registered)
{
	int fd;
	struct buffer coherent;
	unsigned char *bytes; /* SIZE, anonymous */
	unsigned char *expected;
};

FIXTURE_SETUP(registered)
{
	self->fd = open_node(O_RDWR);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, allocate(self->fd, SIZE, &self->coherent));
	fill(self->coherent.bytes, SIZE, 1);
	self->bytes = memory_at(NULL, SIZE, PROT_READ | PROT_WRITE, ANYWHERE);
	ASSERT_NE(NULL, self->bytes);
	fill(self->bytes, SIZE, 2);
	self->expected = malloc(SIZE);
	memcpy(self->expected, self->bytes, SIZE);
}

FIXTURE_TEARDOWN(registered)
{
	close(self->fd);
}

/* From coherent memory to the program's and back, at odd addresses and lengths; no other byte changes. */
TEST_F(registered, copies)
{
	const size_t lengths[] = { 1, 2, 63, 64, 1000, PAGE - 1, PAGE, PAGE + 1, 2 * PAGE + 17 };

	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
		size_t length = lengths[i], at = 123 + i * 77, from = i * 31;
		struct buffer buffer;

		/* It ends within a page, too. */
		ASSERT_EQ(0, register_memory(self->fd, self->bytes + at, length + 5, 0, &buffer));
		ASSERT_EQ(0, copy(self->fd, &buffer, 3, &self->coherent, from, length));
		memcpy(self->expected + at + 3, self->coherent.bytes + from, length);
		ASSERT_EQ(0, memcmp(self->expected, self->bytes, SIZE)) TH_LOG("%zu bytes", length);

		fill(self->bytes + at, length + 5, 40 + i);
		memcpy(self->expected, self->bytes, SIZE);
		ASSERT_EQ(0, copy(self->fd, &self->coherent, from, &buffer, 5, length));
		ASSERT_EQ(0, memcmp(self->coherent.bytes + from, self->bytes + at + 5, length)) TH_LOG("%zu bytes", length);
		ASSERT_EQ(0, memcmp(self->expected, self->bytes, SIZE));
		ASSERT_EQ(0, free_handle(self->fd, buffer.handle));
	}
}

/* From one registered buffer to another, and the bounds of each. */
TEST_F(registered, bounds)
{
	struct buffer one, other;

	ASSERT_EQ(0, register_memory(self->fd, self->bytes + 1, PAGE + 1, 0, &one));
	ASSERT_EQ(0, register_memory(self->fd, self->bytes + 4 * PAGE, PAGE, 0, &other));
	EXPECT_EQ(0, copy(self->fd, &other, 0, &one, 1, PAGE));
	EXPECT_EQ(0, memcmp(self->bytes + 4 * PAGE, self->bytes + 2, PAGE));
	EXPECT_EQ(-EINVAL, copy(self->fd, &other, 0, &one, 2, PAGE));
	EXPECT_EQ(-EINVAL, copy(self->fd, &other, 1, &one, 0, PAGE));
	EXPECT_EQ(-EINVAL, copy(self->fd, &one, 0, &one, 1, 2));
	EXPECT_EQ(0, copy(self->fd, &one, 0, &one, 2, 2));
}

/* Pages in any order, of anonymous and of shared memory. */
TEST_F(registered, scattered)
{
	const int order[PAGES] = { 5, 2, 7, 0, 3, 6, 1, 4 };
	int file = memfd_create("registered", MFD_CLOEXEC);
	struct buffer buffer;

	ASSERT_LE(0, file);
	ASSERT_EQ(0, ftruncate(file, SIZE));
	for (int page = 0; page < PAGES; page++)
		ASSERT_NE(MAP_FAILED, mmap(self->bytes + page * PAGE, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file,
					   order[page] * PAGE));
	ASSERT_EQ(0, register_memory(self->fd, self->bytes, SIZE, 0, &buffer));
	ASSERT_EQ(0, copy(self->fd, &buffer, 0, &self->coherent, 0, SIZE));
	EXPECT_EQ(0, memcmp(self->bytes, self->coherent.bytes, SIZE));
	/* The file has the bytes, too. */
	for (int page = 0; page < PAGES; page++) {
		ASSERT_EQ((ssize_t)PAGE, pread(file, self->expected, PAGE, order[page] * PAGE));
		EXPECT_EQ(0, memcmp(self->expected, self->coherent.bytes + page * PAGE, PAGE));
	}
	close(file);
}

/* A huge page, if the system has one. */
TEST_F(registered, huge_page)
{
	size_t huge = PAGE / 8 * PAGE;
	unsigned char *bytes;
	struct buffer buffer;
	long uncharged = charged(self->fd);
	char before[32];

	ASSERT_EQ(0, read_text("/proc/sys/vm/nr_hugepages", before, sizeof(before)));
	ASSERT_EQ(0, write_text("/proc/sys/vm/nr_hugepages", "1"));
	bytes = memory_at(NULL, huge, PROT_READ | PROT_WRITE, ANYWHERE | MAP_HUGETLB);
	if (!bytes)
		SKIP(goto out, "no huge page is free");
	memset(bytes, 0x3c, huge);
	EXPECT_EQ(0, register_memory(self->fd, bytes + PAGE + 1, PAGE, 0, &buffer));
	EXPECT_EQ(uncharged + (long)huge, charged(self->fd));
	EXPECT_EQ(0, copy(self->fd, &buffer, 0, &self->coherent, 0, PAGE));
	EXPECT_EQ(0, memcmp(bytes + PAGE + 1, self->coherent.bytes, PAGE));
	EXPECT_EQ(0, differing(bytes, 0x3c, PAGE + 1));
	EXPECT_EQ(0, differing(bytes + 2 * PAGE + 1, 0x3c, huge - 2 * PAGE - 1));
	EXPECT_EQ(0, free_handle(self->fd, buffer.handle));
	EXPECT_EQ(uncharged, charged(self->fd));
	munmap(bytes, huge);
out:
	write_text("/proc/sys/vm/nr_hugepages", before);
}

/* A part keeps all of a huge page. It is charged once, for as long as a buffer has a part, also when the program has unmapped it. */
TEST_F(registered, parts_of_a_huge_page)
{
	size_t huge = PAGE / 8 * PAGE;
	unsigned char *bytes = transparent_huge_page(huge);
	long before = charged(self->fd);
	struct buffer one, other, both;

	if (!bytes)
		SKIP(return, "no transparent huge page is free");
	ASSERT_EQ(0, register_memory(self->fd, bytes + 5, 1, 0, &one));
	EXPECT_EQ(before + (long)huge, charged(self->fd));
	ASSERT_EQ(0, register_memory(self->fd, bytes + huge - PAGE, PAGE, 0, &other));
	/* And small pages, which are charged apart. */
	memset(self->bytes, 2, SIZE);
	ASSERT_EQ(bytes + huge, mremap(self->bytes, SIZE, SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, bytes + huge));
	self->bytes = bytes + huge;
	ASSERT_EQ(0, register_memory(self->fd, bytes + huge - PAGE, 3 * PAGE, 0, &both));
	EXPECT_EQ(before + (long)(huge + 2 * PAGE), charged(self->fd));
	munmap(bytes, huge);
	EXPECT_EQ(0, free_handle(self->fd, one.handle));
	EXPECT_EQ(0, free_handle(self->fd, other.handle));
	EXPECT_EQ(before + (long)(huge + 2 * PAGE), charged(self->fd));
	EXPECT_EQ(0, free_handle(self->fd, both.handle));
	EXPECT_EQ(before, charged(self->fd));
}

/* Registrations of the same huge page take bus addresses, each of them, and are charged for what exceeds the page. */
TEST_F(registered, huge_page_again)
{
	size_t huge = PAGE / 8 * PAGE;
	unsigned char *bytes = transparent_huge_page(huge);
	long before = charged(self->fd);
	struct buffer half, whole, again;

	if (!bytes)
		SKIP(return, "no transparent huge page is free");
	ASSERT_EQ(0, register_memory(self->fd, bytes, huge / 2, 0, &half));
	EXPECT_EQ(before + (long)huge, charged(self->fd));
	ASSERT_EQ(0, register_memory(self->fd, bytes, huge, 0, &whole));
	EXPECT_EQ(before + (long)(huge + huge / 2), charged(self->fd));
	ASSERT_EQ(0, register_memory(self->fd, bytes, huge, 0, &again));
	EXPECT_EQ(before + (long)(2 * huge + huge / 2), charged(self->fd));
	EXPECT_EQ(0, free_handle(self->fd, half.handle));
	EXPECT_EQ(0, free_handle(self->fd, whole.handle));
	EXPECT_EQ(before + (long)(2 * huge), charged(self->fd));
	EXPECT_EQ(0, free_handle(self->fd, again.handle));
	EXPECT_EQ(before, charged(self->fd));
}

/* Each context is charged for a huge page; the end of one context does not change what another one is charged. */
TEST_F(registered, huge_page_of_two_contexts)
{
	size_t huge = PAGE / 8 * PAGE;
	unsigned char *bytes = transparent_huge_page(huge);
	int second = open_node(O_RDWR);
	long before = charged(second);
	struct buffer buffer;

	ASSERT_LE(0, second);
	if (!bytes)
		SKIP(return, "no transparent huge page is free");
	ASSERT_EQ(0, register_memory(self->fd, bytes, PAGE, 0, &buffer));
	ASSERT_EQ(0, register_memory(second, bytes, PAGE, 0, &buffer));
	EXPECT_EQ(before + (long)huge, charged(second));
	close(self->fd);
	self->fd = open_node(O_RDWR);
	ASSERT_LE(0, self->fd);
	EXPECT_EQ(before + (long)huge, charged(second));
	ASSERT_EQ(0, free_handle(second, buffer.handle));
	EXPECT_EQ(before, charged(second));
	close(second);
}

/* Memory that is read-only for the program, or for the device. */
TEST_F(registered, read_only)
{
	struct buffer buffer;

	ASSERT_EQ(0, mprotect(self->bytes, SIZE, PROT_READ));
	EXPECT_EQ(-EFAULT, register_memory(self->fd, self->bytes, SIZE, 0, &buffer));
	ASSERT_EQ(0, register_memory(self->fd, self->bytes, SIZE, RDMA_REGISTER_READ_ONLY, &buffer));
	EXPECT_EQ(0, copy(self->fd, &self->coherent, 0, &buffer, 0, PAGE + 1));
	EXPECT_EQ(0, memcmp(self->coherent.bytes, self->bytes, PAGE + 1));
	EXPECT_EQ(-EACCES, copy(self->fd, &buffer, 0, &self->coherent, 0, 1));
	EXPECT_EQ(0, memcmp(self->expected, self->bytes, SIZE));
}

/* The device reads what the program writes later, also to memory that it had never touched. */
TEST_F(registered, read_only_but_written)
{
	unsigned char *fresh = memory_at(NULL, SIZE, PROT_READ | PROT_WRITE, ANYWHERE);
	struct buffer buffer;

	ASSERT_NE(NULL, fresh);
	(void)*(volatile unsigned char *)fresh; /* the zero page */
	ASSERT_EQ(0, register_memory(self->fd, fresh, SIZE, RDMA_REGISTER_READ_ONLY, &buffer));
	memset(fresh, 0x77, SIZE);
	EXPECT_EQ(0, copy(self->fd, &self->coherent, 0, &buffer, 0, 3 * PAGE));
	EXPECT_EQ(0, differing(self->coherent.bytes, 0x77, 3 * PAGE));
	munmap(fresh, SIZE);
}

TEST_F(registered, refused)
{
	unsigned char *hole = memory_at(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, ANYWHERE);
	const struct {
		const void *address;
		uint64_t size;
		int error;
	} cases[] = {
		{ NULL, PAGE, -EFAULT },
		{ self->bytes, 0, -EINVAL },
		{ self->bytes, RDMA_MAX_BUFFER_SIZE + 1, -EINVAL },
		{ self->bytes, UINT64_MAX, -EINVAL },
		{ (void *)-PAGE, PAGE, -EFAULT },
		{ (void *)-1UL, 1, -EFAULT },
		{ (void *)(uintptr_t)(-1ULL << 47), PAGE, -EFAULT },
		{ hole, 4 * PAGE, -EFAULT },
		{ hole, 2 * PAGE + 1, -EFAULT },
		{ hole, 2 * PAGE, 0 },
		{ self->coherent.bytes, PAGE, -EFAULT }, /* memory of a device */
	};
	long before = charged(self->fd), pins = pinned_pages();
	struct buffer buffer;

	munmap(hole + 2 * PAGE, PAGE);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		EXPECT_EQ(cases[i].error, register_memory(self->fd, cases[i].address, cases[i].size, 0, &buffer)) TH_LOG("case %zu", i);
		if (!cases[i].error)
			EXPECT_EQ(0, free_handle(self->fd, buffer.handle));
	}
	/* Nothing is left of them. */
	EXPECT_EQ(before, charged(self->fd));
	EXPECT_EQ(pins, pinned_pages());
	munmap(hole, 4 * PAGE);
}

TEST_F(registered, reserved_fields)
{
	for (int bit = 0; bit < 64; bit++) {
		struct rdma_register requests[] = {
			{ .address = (uintptr_t)self->bytes, .size = PAGE, .flags = bit && bit < 32 ? 1U << bit : 2 },
			{ .address = (uintptr_t)self->bytes, .size = PAGE, .reserved[0] = 1ULL << bit },
			{ .address = (uintptr_t)self->bytes, .size = PAGE, .reserved[1] = 1ULL << bit },
		};

		for (size_t i = 0; i < ARRAY_SIZE(requests); i++)
			EXPECT_EQ(-EINVAL, call(self->fd, RDMA_IOC_REGISTER, &requests[i])) TH_LOG("bit %d", bit);
	}
}

/* The structure of an older or a newer program, and an argument that cannot be read or written; no handle is left. */
TEST_F(registered, argument)
{
	unsigned char *pages = memory_at(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, ANYWHERE);
	struct rdma_register *request = (struct rdma_register *)(pages + PAGE - sizeof(*request));
	long before = charged(self->fd), pins = pinned_pages();
	unsigned long larger = _IOWR(RDMA_IOC_MAGIC, 0x13, char[sizeof(*request) + 8]);

	ASSERT_NE(NULL, pages);
	*request = (struct rdma_register){ .address = (uintptr_t)self->bytes, .size = PAGE };
	EXPECT_EQ(-EINVAL, call(self->fd, _IOWR(RDMA_IOC_MAGIC, 0x13, char[sizeof(*request) - 1]), request));
	pages[PAGE] = 1;
	EXPECT_EQ(-E2BIG, call(self->fd, larger, request));
	ASSERT_EQ(0, munmap(pages + PAGE, PAGE));
	EXPECT_EQ(-EFAULT, call(self->fd, larger, request));
	EXPECT_EQ(-EFAULT, call(self->fd, RDMA_IOC_REGISTER, (char *)request + 1));
	ASSERT_EQ(0, mprotect(pages, PAGE, PROT_READ));
	EXPECT_EQ(-EFAULT, call(self->fd, RDMA_IOC_REGISTER, request));
	EXPECT_EQ(before, charged(self->fd));
	EXPECT_EQ(pins, pinned_pages());
	ASSERT_EQ(0, mprotect(pages, PAGE, PROT_READ | PROT_WRITE));
	EXPECT_EQ(0, call(self->fd, RDMA_IOC_REGISTER, request));
	EXPECT_EQ((uintptr_t)self->bytes, request->address);
	EXPECT_EQ(PAGE, request->size);
	EXPECT_EQ(0, free_handle(self->fd, request->handle));
	munmap(pages, PAGE);
}

/* A file on a disk must not be pinned for long: its changes are written back. */
TEST_F(registered, file)
{
	char command[] = "modprobe -a loop ext4 && cd /tmp && truncate -s 8M disk && mkfs.ext4 -q disk && mkdir -p mounted && mount -o loop disk mounted";
	unsigned char *bytes;
	struct buffer buffer;
	int file;

	ASSERT_EQ(0, system(command));
	file = open("/tmp/mounted/file", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	ASSERT_LE(0, file);
	ASSERT_EQ(0, ftruncate(file, PAGE));
	bytes = map(file, 0, PAGE, PROT_READ | PROT_WRITE);
	ASSERT_NE(NULL, bytes);
	EXPECT_EQ(-EFAULT, register_memory(self->fd, bytes, PAGE, 0, &buffer));
	/* The kernel permits reading. */
	memset(bytes, 7, PAGE);
	ASSERT_EQ(0, register_memory(self->fd, bytes, PAGE, RDMA_REGISTER_READ_ONLY, &buffer));
	EXPECT_EQ(0, copy(self->fd, &self->coherent, 0, &buffer, 0, PAGE));
	EXPECT_EQ(0, differing(self->coherent.bytes, 7, PAGE));
	EXPECT_EQ(-EACCES, copy(self->fd, &buffer, 0, &self->coherent, 0, PAGE));
	EXPECT_EQ(0, free_handle(self->fd, buffer.handle));
	memset(bytes, 0, PAGE);
	munmap(bytes, PAGE);
	/* A private copy of it is ordinary memory. */
	bytes = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
	ASSERT_NE(MAP_FAILED, bytes);
	EXPECT_EQ(0, register_memory(self->fd, bytes, PAGE, 0, &buffer));
	EXPECT_EQ(0, copy(self->fd, &buffer, 0, &self->coherent, 0, PAGE));
	EXPECT_EQ(0, memcmp(bytes, self->coherent.bytes, PAGE));
	ASSERT_EQ((ssize_t)PAGE, pread(file, self->expected, PAGE, 0));
	EXPECT_EQ(0, differing(self->expected, 0, PAGE));
	EXPECT_EQ(0, free_handle(self->fd, buffer.handle));
	munmap(bytes, PAGE);
	close(file);
	EXPECT_EQ(0, system("umount /tmp/mounted && rm /tmp/disk"));
}

/* The handle is that of a buffer, but the buffer cannot be mapped. */
TEST_F(registered, cannot_be_mapped)
{
	struct rdma_buffer_info info = {};
	struct buffer buffer;

	ASSERT_EQ(0, register_memory(self->fd, self->bytes + 9, PAGE, 0, &buffer));
	info.handle = buffer.handle;
	ASSERT_EQ(0, call(self->fd, RDMA_IOC_BUFFER_INFO, &info));
	EXPECT_EQ(PAGE, info.size);
	EXPECT_EQ(RDMA_NO_OFFSET, info.mmap_offset);
	EXPECT_EQ(0, info.mappings);
	EXPECT_EQ(0, info.requests);
	/* Each window is as large as the largest buffer. */
	EXPECT_EQ(NULL, map(self->fd, (buffer.handle - RDMA_FIRST_BUFFER) * (uint64_t)RDMA_MAX_BUFFER_SIZE, PAGE, PROT_READ));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(0, free_handle(self->fd, buffer.handle));
	EXPECT_EQ(-EINVAL, free_handle(self->fd, buffer.handle));
	EXPECT_EQ(-EINVAL, copy(self->fd, &buffer, 0, &self->coherent, 0, 1));
}

/* Charged and pinned in whole pages, until the handle is freed. */
TEST_F(registered, accounts)
{
	long before = charged(self->fd), pins = pinned_pages();
	struct buffer buffer, again;

	ASSERT_EQ(0, register_memory(self->fd, self->bytes + PAGE - 1, PAGE + 2, 0, &buffer));
	EXPECT_EQ(before + 3 * (long)PAGE, charged(self->fd));
	EXPECT_EQ(pins + 3, pinned_pages());
	ASSERT_EQ(0, register_memory(self->fd, self->bytes, PAGE, 0, &again));
	EXPECT_EQ(pins + 4, pinned_pages());
	EXPECT_EQ(0, free_handle(self->fd, buffer.handle));
	EXPECT_EQ(0, free_handle(self->fd, again.handle));
	EXPECT_EQ(before, charged(self->fd));
	EXPECT_EQ(pins, pinned_pages());
}

/* RLIMIT_MEMLOCK bounds what a user without CAP_IPC_LOCK can pin. */
TEST_F(registered, memlock)
{
	struct rlimit limit = { 4 * PAGE, 4 * PAGE };
	struct buffer buffer;
	int status;

	if (!fork()) {
		if (setrlimit(RLIMIT_MEMLOCK, &limit) || setuid(12345))
			_exit(1);
		if (register_memory(self->fd, self->bytes, 5 * PAGE, 0, &buffer) != -ENOMEM)
			_exit(2);
		if (register_memory(self->fd, self->bytes + 1, 4 * PAGE, 0, &buffer) != -ENOMEM)
			_exit(3);
		if (register_memory(self->fd, self->bytes, 4 * PAGE, 0, &buffer))
			_exit(4);
		if (free_handle(self->fd, buffer.handle) || register_memory(self->fd, self->bytes, 4 * PAGE, 0, &buffer))
			_exit(5);
		_exit(0);
	}
	ASSERT_LT(0, wait(&status));
	EXPECT_EQ(0, status);
}

/* A byte of a huge page counts as all of it. A call also needs room for its own pages. */
TEST_F(registered, memlock_of_a_huge_page)
{
	size_t huge = PAGE / 8 * PAGE;
	struct rlimit limit = { huge + PAGE, huge + PAGE };
	unsigned char *bytes;
	struct buffer buffer;
	int status;

	if (!fork()) {
		if (setrlimit(RLIMIT_MEMLOCK, &limit) || setuid(12345))
			_exit(1);
		bytes = transparent_huge_page(huge);
		if (!bytes)
			_exit(KSFT_SKIP);
		if (register_memory(self->fd, bytes + 5, 1, 0, &buffer) || register_memory(self->fd, bytes + huge - 1, 1, 0, &buffer))
			_exit(2);
		if (register_memory(self->fd, self->bytes, 2 * PAGE, 0, &buffer) != -ENOMEM)
			_exit(3);
		bytes = transparent_huge_page(huge);
		if (bytes && register_memory(self->fd, bytes, 1, 0, &buffer) != -ENOMEM)
			_exit(4);
		_exit(0);
	}
	ASSERT_LT(0, wait(&status));
	if (WIFEXITED(status) && WEXITSTATUS(status) == KSFT_SKIP)
		SKIP(return, "no transparent huge page is free");
	EXPECT_EQ(0, status);
}

/* A child that writes to its copy does not change what the device reads from the parent, nor the other way round. */
TEST_F(registered, fork)
{
	struct buffer buffer;
	int status;

	ASSERT_EQ(0, register_memory(self->fd, self->bytes, SIZE, 0, &buffer));
	if (!fork()) {
		memset(self->bytes, 0xee, SIZE);
		/* The parent's pages have the handle. */
		if (copy(self->fd, &self->coherent, 0, &buffer, 0, PAGE) || memcmp(self->coherent.bytes, self->expected, PAGE))
			_exit(1);
		_exit(differing(self->bytes, 0xee, SIZE) != 0);
	}
	ASSERT_LT(0, wait(&status));
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, memcmp(self->expected, self->bytes, SIZE));
	memset(self->bytes, 0x11, SIZE);
	EXPECT_EQ(0, copy(self->fd, &self->coherent, 0, &buffer, 0, PAGE));
	EXPECT_EQ(0, differing(self->coherent.bytes, 0x11, PAGE));
}

/* Memory that is unmapped stays the request's: what is mapped there instead is not written. */
TEST_F(registered, unmapped)
{
	struct buffer buffer;
	unsigned char *instead;

	ASSERT_EQ(0, register_memory(self->fd, self->bytes, SIZE, 0, &buffer));
	ASSERT_EQ(0, munmap(self->bytes, SIZE));
	instead = memory_at(self->bytes, SIZE, PROT_READ | PROT_WRITE, ANYWHERE | MAP_FIXED_NOREPLACE);
	ASSERT_EQ(self->bytes, instead);
	memset(instead, 0x99, SIZE);
	EXPECT_EQ(0, copy(self->fd, &buffer, 0, &self->coherent, 0, 2 * PAGE));
	EXPECT_EQ(0, differing(instead, 0x99, SIZE));
	memset(self->coherent.bytes, 0, SIZE);
	EXPECT_EQ(0, copy(self->fd, &self->coherent, 0, &buffer, PAGE, PAGE));
	fill(self->expected, SIZE, 1); /* as the coherent buffer was */
	EXPECT_EQ(0, memcmp(self->coherent.bytes, self->expected + PAGE, PAGE));
}

/* A freed handle with requests: the memory stays pinned until they have ended. */
TEST_F(registered, freed_with_requests)
{
	long pins = pinned_pages();
	struct rdma_completion completion;
	struct buffer buffer;

	ASSERT_EQ(0, register_memory(self->fd, self->bytes, SIZE, 0, &buffer));
	ASSERT_EQ(1, submit_one(self->fd, (struct rdma_request){ .operation = RDMA_OP_COPY, .source = self->coherent.handle,
								.destination = buffer.handle, .length = PAGE }));
	ASSERT_EQ(0, free_handle(self->fd, buffer.handle));
	ASSERT_EQ(1, collect(self->fd, &completion, 1, 1, FOREVER));
	EXPECT_EQ(0, completion.status);
	EXPECT_EQ(0, memcmp(self->bytes, self->coherent.bytes, PAGE));
	/* The last reference is dropped by the work item of the device. */
	for (int i = 0; i < 1000 && pinned_pages() != pins; i++)
		pause_us(1000);
	EXPECT_EQ(pins, pinned_pages());
}

/* The ways in which a process leaves its memory. */
enum end {
	KILLED,	   /* SIGKILL */
	EXITS,	   /* exit(2) */
	EXECUTES,  /* execve(2), which closes the file */
	KEEPS_FILE /* execve(2), and the next program has the file */
};

/* Has requests that write to its memory, until it ends; the parent writes a byte to end it. */
static void be_written(int ready, int go, enum end end)
{
	int fd = open_node(O_RDWR);
	unsigned char *bytes = memory_at(NULL, SIZE, PROT_READ | PROT_WRITE, ANYWHERE | MAP_POPULATE);
	struct buffer own, coherent;
	char byte;

	if (fd < 0 || allocate(fd, SIZE, &coherent) || register_memory(fd, bytes, SIZE, 0, &own))
		_exit(1);
	memset(coherent.bytes, 0xdd, SIZE);
	for (int i = 0; i < 50; i++)
		if (submit_one(fd, (struct rdma_request){ .operation = RDMA_OP_COPY, .source = coherent.handle,
							  .destination = own.handle, .length = SIZE }) != 1)
			_exit(2);
	if (end == KEEPS_FILE && fcntl(fd, F_SETFD, 0))
		_exit(3);
	if (write(ready, "", 1) != 1 || read(go, &byte, 1) != 1)
		_exit(4);
	if (end == EXITS)
		_exit(0);
	execl("/bin/sleep", "sleep", end == KEEPS_FILE ? "0.3" : "0", NULL);
	_exit(5);
}

FIXTURE_VARIANT(ending)
{
	enum end end;
};

FIXTURE(ending)
{
	int ready[2], go[2];
};

FIXTURE_SETUP(ending)
{
	ASSERT_EQ(0, pipe(self->ready));
	ASSERT_EQ(0, pipe(self->go));
}

FIXTURE_TEARDOWN(ending)
{
}

FIXTURE_VARIANT_ADD(ending, killed) { .end = KILLED };
FIXTURE_VARIANT_ADD(ending, exits) { .end = EXITS };
FIXTURE_VARIANT_ADD(ending, executes) { .end = EXECUTES };
FIXTURE_VARIANT_ADD(ending, keeps_file) { .end = KEEPS_FILE };

/* A process that leaves its memory with requests: its pages are used by others only after the device has released them. */
TEST_F(ending, with_requests)
{
	int rounds = scale(variant->end == KILLED ? 20 : 10, 500);
	long changed = 0;

	for (int round = 0; round < rounds; round++) {
		struct crop crop;
		pid_t child;
		int status;
		char byte;

		child = fork();
		if (!child)
			be_written(self->ready[1], self->go[0], variant->end);
		ASSERT_EQ(1, read(self->ready[0], &byte, 1));
		pause_us(round * 29989L % 220000); /* edu takes 200 ms for a piece, and writes in the second half */
		ASSERT_EQ(0, prepare(&crop, 0x42));
		if (variant->end == KILLED)
			kill(child, SIGKILL);
		else
			ASSERT_EQ(1, write(self->go[1], "", 1));
		/* The other program runs. */
		if (variant->end == KEEPS_FILE)
			pause_us(20000);
		else
			ASSERT_EQ(child, waitpid(child, &status, 0));
		ASSERT_EQ(0, plant(&crop, -1, 0));
		pause_us(250000);
		changed += harvest(&crop);
		if (variant->end == KEEPS_FILE)
			ASSERT_EQ(child, waitpid(child, &status, 0));
		ASSERT_EQ(variant->end == KILLED ? SIGKILL : 0, status) TH_LOG("status %#x", status);
	}
	EXPECT_EQ(0, changed);
	FIGURE("%d processes ended while the device writes to their memory", "%ld bytes of others changed", rounds, changed);
}

/* Such a call delays neither an unbind nor SIGKILL. */
TEST_F(registered, fault_that_never_ends)
{
	char address[32];
	int64_t took;
	int status;
	pid_t child;

	ASSERT_EQ(0, pci_address("rdma0", address));
	child = fork();
	if (!child)
		register_for_ever(self->fd, SIZE);
	pause_us(200000);
	ASSERT_EQ(0, waitpid(child, &status, WNOHANG)) TH_LOG("status %#x", status);
	took = go_away(address, UNBIND);
	EXPECT_LE(0, took);
	EXPECT_GT(limit_us(), took);
	EXPECT_EQ(0, waitpid(child, &status, WNOHANG)) TH_LOG("status %#x", status);
	kill(child, SIGKILL);
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_TRUE(WIFSIGNALED(status));
	ASSERT_EQ(0, come_back(address, UNBIND));
}

/* As register_for_ever(), behind a page of a huge page whose other pages are unmapped. */
static void register_behind_a_huge_page(int fd)
{
	size_t huge = PAGE / 8 * PAGE;
	unsigned char *bytes = memory_at(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, ANYWHERE), *from = transparent_huge_page(huge);
	int fault = syscall(SYS_userfaultfd, O_CLOEXEC);
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register range = { .range = { (uintptr_t)bytes + PAGE, PAGE }, .mode = UFFDIO_REGISTER_MODE_MISSING };
	struct buffer buffer;

	if (!from)
		_exit(KSFT_SKIP);
	if (fault < 0 || ioctl(fault, UFFDIO_API, &api) || ioctl(fault, UFFDIO_REGISTER, &range))
		_exit(1);
	if (mremap(from, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, bytes) != bytes || munmap(from + PAGE, huge - PAGE))
		_exit(2);
	register_memory(fd, bytes, 2 * PAGE, 0, &buffer);
	_exit(3);
}

/* What is pinned is charged before a page fault that never ends, not only afterwards. */
TEST_F(registered, charged_before_a_fault)
{
	long before = charged(self->fd), huge = PAGE / 8 * PAGE;
	pid_t child = fork();
	int status;

	if (!child)
		register_behind_a_huge_page(self->fd);
	/* For both pages before the call pins, and then for the huge page instead of its part. */
	for (int i = 0; i < 1000 && charged(self->fd) != before + huge + (long)PAGE; i++) {
		pause_us(10000);
		if (waitpid(child, &status, WNOHANG)) {
			ASSERT_EQ(KSFT_SKIP, WEXITSTATUS(status)) TH_LOG("status %#x", status);
			SKIP(return, "no transparent huge page is free");
		}
	}
	EXPECT_EQ(before + huge + (long)PAGE, charged(self->fd));
	kill(child, SIGKILL);
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_EQ(before, charged(self->fd));
}

/* With requests, the device goes away: the program keeps its memory, which is pinned no longer. */
static void lose(struct __test_metadata *_metadata, FIXTURE_DATA(registered) *self, const char *address, enum way way)
{
	long pins = pinned_pages();
	struct rdma_completion completions[32];
	struct buffer buffer;

	ASSERT_EQ(0, register_memory(self->fd, self->bytes, SIZE, 0, &buffer));
	for (int i = 0; i < 32; i++)
		ASSERT_EQ(1, submit_one(self->fd, (struct rdma_request){ .operation = RDMA_OP_COPY, .source = self->coherent.handle,
									 .destination = buffer.handle, .length = SIZE }));
	ASSERT_LE(0, go_away(address, way));
	EXPECT_EQ(pins, pinned_pages());
	memset(self->bytes, 0x21, SIZE);
	pause_us(250000);
	EXPECT_EQ(0, differing(self->bytes, 0x21, SIZE));
	EXPECT_EQ(32, take(self->fd, completions, 32));
	EXPECT_EQ(-ENODEV, free_handle(self->fd, buffer.handle));
	EXPECT_EQ(-ENODEV, register_memory(self->fd, self->bytes, SIZE, 0, &buffer));
}

TEST_F(registered, unbound)
{
	char address[32];

	ASSERT_EQ(0, pci_address("rdma0", address));
	lose(_metadata, self, address, UNBIND);
	ASSERT_EQ(0, come_back(address, UNBIND));
}

TEST_F(registered, removed)
{
	char address[32];

	ASSERT_EQ(0, pci_address("rdma0", address));
	lose(_metadata, self, address, REMOVE);
	ASSERT_EQ(0, come_back(address, REMOVE));
}

TEST_F(registered, unplugged)
{
	char address[32];

	if (!has_memory(self->fd))
		SKIP(return, "QEMU 11.1 ends if an I/OAT device with MSI-X is unplugged");
	ASSERT_EQ(0, pci_address("rdma0", address));
	lose(_metadata, self, address, UNPLUG);
	ASSERT_EQ(0, come_back(address, UNPLUG));
}

/* A TRANSFER in a thread of its own, and the memory as it is when the call returns. */
struct transfer {
	int fd;
	struct rdma_request request;
	const unsigned char *bytes;
	unsigned char *seen; /* SIZE */
	int answer;
};

static void *transfer_and_look(void *argument)
{
	struct transfer *self = argument;

	self->answer = call(self->fd, RDMA_IOC_TRANSFER, &self->request);
	memcpy(self->seen, self->bytes, SIZE);
	return NULL;
}

/* The device is unbound during a TRANSFER: when the call returns, no byte changes any more. */
TEST_F(registered, unbound_during_transfer)
{
	struct transfer call = { .fd = self->fd, .bytes = self->bytes, .seen = self->expected };
	struct buffer buffer;
	char address[32];
	pthread_t thread;

	ASSERT_EQ(0, pci_address("rdma0", address));
	ASSERT_EQ(0, register_memory(self->fd, self->bytes, SIZE, 0, &buffer));
	call.request = copying(&buffer, 0, &self->coherent, 0, SIZE, 0);
	ASSERT_EQ(0, pthread_create(&thread, NULL, transfer_and_look, &call));
	pause_us(has_memory(self->fd) ? 350000 : 0);
	ASSERT_LE(0, go_away(address, UNBIND));
	ASSERT_EQ(0, pthread_join(thread, NULL));
	EXPECT_TRUE(call.answer == -ENODEV || (!call.answer && !has_memory(self->fd))) TH_LOG("%d", call.answer);
	pause_us(250000);
	EXPECT_EQ(0, memcmp(self->expected, self->bytes, SIZE));
	ASSERT_EQ(0, come_back(address, UNBIND));
}

FIXTURE(unreachable)
{
	int fd;
};

FIXTURE_SETUP(unreachable)
{
	self->fd = open_node(O_RDWR);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(unreachable)
{
	close(self->fd);
}

/* A device that cannot access all memory, without an IOMMU: the call fails, and the log has the reason, but no warning. */
TEST_F(unreachable, refused)
{
	size_t size = 32 << 20; /* more than there is below 2^24 */
	unsigned char *bytes = memory_at(NULL, size, PROT_READ | PROT_WRITE, ANYWHERE | MAP_POPULATE);
	int log = open_log();
	struct buffer buffer;

	ASSERT_NE(NULL, bytes);
	EXPECT_EQ(-EOPNOTSUPP, register_memory(self->fd, bytes, size, 0, &buffer));
	EXPECT_EQ(1, log_lines(log, "memory to register is not below 2^24"));
	EXPECT_EQ(0, pinned_pages());
	EXPECT_EQ(0, charged(self->fd));
}

TEST_HARNESS_MAIN
