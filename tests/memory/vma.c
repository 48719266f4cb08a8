// SPDX-License-Identifier: GPL-2.0
/* Promise 10: properties of a mapping, from MAP_PRIVATE to core dumps; and it holds its memory. */
#include "rdma_test.h"

#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>

enum { PAGES = 8 };

FIXTURE(vma)
{
	int fd;
	struct buffer buffer; /* of PAGES pages, filled with a pattern */
	unsigned char pattern[PAGES << 16]; /* of the largest pages */
};

FIXTURE_SETUP(vma)
{
	self->fd = open_node(O_RDWR);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, allocate(self->fd, PAGES * PAGE, &self->buffer));
	fill(self->pattern, PAGES * PAGE, 3);
	memcpy(self->buffer.bytes, self->pattern, PAGES * PAGE);
}

FIXTURE_TEARDOWN(vma)
{
	close(self->fd);
}

TEST_F(vma, private)
{
	EXPECT_EQ(MAP_FAILED, mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, self->fd, self->buffer.offset));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(MAP_FAILED,
		  mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, self->fd, self->buffer.offset));
	EXPECT_EQ(EINVAL, errno);
}

TEST_F(vma, executable)
{
	EXPECT_EQ(NULL, map(self->fd, self->buffer.offset, PAGE, PROT_READ | PROT_EXEC));
	EXPECT_EQ(EPERM, errno);
	EXPECT_EQ(NULL, map(self->fd, self->buffer.offset, PAGE, PROT_EXEC));
	EXPECT_EQ(EPERM, errno);
	EXPECT_EQ(-EACCES, result(mprotect(self->buffer.bytes, PAGE, PROT_READ | PROT_EXEC)));
}

/* The personality in which all readable mappings are executable has no effect. */
TEST_F(vma, read_implies_exec)
{
	char maps[65536], line[64], *found;
	unsigned char *bytes;

	ASSERT_LE(0, syscall(SYS_personality, 0x0400000 /* READ_IMPLIES_EXEC */));
	bytes = map(self->fd, self->buffer.offset, PAGE, PROT_READ);
	if (!bytes) {
		EXPECT_EQ(EPERM, errno);
		return;
	}
	ASSERT_EQ(0, read_text("/proc/self/maps", maps, sizeof(maps)));
	snprintf(line, sizeof(line), "%lx-", (unsigned long)bytes);
	found = strstr(maps, line);
	ASSERT_NE(NULL, found);
	found = strchr(found, ' ');
	EXPECT_EQ('-', found[3]) TH_LOG("%.5s", found);
}

TEST_F(vma, write_needs_a_writable_file)
{
	int fd = open_node(O_RDONLY);
	struct rdma_alloc alloc = { .size = PAGE };
	unsigned char *bytes;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, call(fd, RDMA_IOC_ALLOC, &alloc));
	EXPECT_EQ(NULL, map(fd, alloc.mmap_offset, PAGE, PROT_READ | PROT_WRITE));
	EXPECT_EQ(EACCES, errno);
	bytes = map(fd, alloc.mmap_offset, PAGE, PROT_READ);
	ASSERT_NE(NULL, bytes);
	EXPECT_EQ(-EACCES, result(mprotect(bytes, PAGE, PROT_READ | PROT_WRITE)));
	EXPECT_EQ(0, bytes[0]);
	close(fd);

	fd = open_node(O_WRONLY);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, call(fd, RDMA_IOC_ALLOC, &alloc));
	EXPECT_EQ(NULL, map(fd, alloc.mmap_offset, PAGE, PROT_WRITE));
	EXPECT_EQ(EACCES, errno);
	close(fd);
}

TEST_F(vma, mprotect)
{
	unsigned char *bytes = self->buffer.bytes;
	int status;

	ASSERT_EQ(0, mprotect(bytes, PAGE, PROT_READ));
	EXPECT_EQ(self->pattern[0], bytes[0]);
	if (!fork()) {
		bytes[0] = 1;
		_exit(0);
	}
	ASSERT_LT(0, wait(&status));
	EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
	bytes[PAGE] ^= 0xff;
	ASSERT_EQ(0, mprotect(bytes, PAGE, PROT_READ | PROT_WRITE));
	bytes[0] ^= 0xff;
	EXPECT_EQ(self->pattern[0] ^ 0xff, bytes[0]);
}

/* Two mappings of the same pages are the same memory, which is also what the device accesses. */
TEST_F(vma, twice)
{
	unsigned char *again = map(self->fd, self->buffer.offset + PAGE, 2 * PAGE, PROT_READ | PROT_WRITE);

	ASSERT_NE(NULL, again);
	EXPECT_EQ(0, memcmp(again, self->pattern + PAGE, 2 * PAGE));
	again[0] = 0x12;
	EXPECT_EQ(0x12, self->buffer.bytes[PAGE]);
	ASSERT_EQ(0, copy(self->fd, &self->buffer, 2 * PAGE, &self->buffer, PAGE, 1));
	EXPECT_EQ(0x12, again[PAGE]);
}

TEST_F(vma, fixed_over_another)
{
	unsigned char *place = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	memset(place, 0x99, 3 * PAGE);
	ASSERT_EQ(place + PAGE, mmap(place + PAGE, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, self->fd,
				     self->buffer.offset + 3 * PAGE));
	EXPECT_EQ(0, differing(place, 0x99, PAGE));
	EXPECT_EQ(0, memcmp(place + PAGE, self->pattern + 3 * PAGE, PAGE));
	EXPECT_EQ(0, differing(place + 2 * PAGE, 0x99, PAGE));

	/* The reverse: another mapping in the middle of this one. */
	ASSERT_EQ(self->buffer.bytes + PAGE, mmap(self->buffer.bytes + PAGE, PAGE, PROT_READ | PROT_WRITE,
						  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	EXPECT_EQ(0, differing(self->buffer.bytes + PAGE, 0, PAGE));
	EXPECT_EQ(0, memcmp(self->buffer.bytes + 2 * PAGE, self->pattern + 2 * PAGE, PAGE));
}

TEST_F(vma, fork_inherits)
{
	unsigned char *bytes = self->buffer.bytes;
	int status;
	pid_t child = fork();

	if (!child) {
		bool same = !memcmp(bytes, self->pattern, PAGES * PAGE);

		memset(bytes, 0x42, PAGE);
		_exit(same ? 0 : 1);
	}
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, differing(bytes, 0x42, PAGE));
	EXPECT_EQ(0, memcmp(bytes + PAGE, self->pattern + PAGE, PAGE));
}

/* The child's mapping holds the memory after the parent has released everything. */
TEST_F(vma, fork_outlives_the_parent_s)
{
	int go[2], status;
	pid_t child;
	char byte;

	ASSERT_EQ(0, pipe(go));
	child = fork();
	if (!child) {
		close(self->fd);
		_exit(read(go[0], &byte, 1) != 1 || memcmp(self->buffer.bytes, self->pattern, PAGES * PAGE));
	}
	ASSERT_EQ(0, release(self->fd, &self->buffer));
	close(self->fd);
	self->fd = open_node(O_RDWR);
	ASSERT_LE(0, self->fd);
	for (int i = 0; i < 64; i++) {
		struct buffer other;

		ASSERT_EQ(0, allocate(self->fd, PAGES * PAGE, &other));
		memset(other.bytes, 0xdd, other.size);
	}
	ASSERT_EQ(1, write(go[1], "", 1));
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_EQ(0, status);
}

TEST_F(vma, partial_munmap)
{
	unsigned char *bytes = self->buffer.bytes;

	ASSERT_EQ(0, munmap(bytes + 2 * PAGE, 3 * PAGE));
	EXPECT_EQ(0, memcmp(bytes, self->pattern, 2 * PAGE));
	EXPECT_EQ(0, memcmp(bytes + 5 * PAGE, self->pattern + 5 * PAGE, 3 * PAGE));
	ASSERT_EQ(0, munmap(bytes, PAGE));
	EXPECT_EQ(0, memcmp(bytes + PAGE, self->pattern + PAGE, PAGE));
	ASSERT_EQ(0, munmap(bytes + 7 * PAGE, PAGE));
	EXPECT_EQ(0, memcmp(bytes + 5 * PAGE, self->pattern + 5 * PAGE, 2 * PAGE));

	/* The rest holds the buffer. */
	EXPECT_EQ(0, free_handle(self->fd, self->buffer.handle));
	close(self->fd);
	self->fd = open_node(O_RDWR);
	EXPECT_EQ(0, memcmp(bytes + PAGE, self->pattern + PAGE, PAGE));
	EXPECT_EQ(0, memcmp(bytes + 5 * PAGE, self->pattern + 5 * PAGE, 2 * PAGE));
}

TEST_F(vma, mremap_moves)
{
	unsigned char *target = mmap(NULL, PAGES * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	/* Some pages loaded, some not. */
	ASSERT_EQ(0, munmap(self->buffer.bytes, PAGES * PAGE));
	self->buffer.bytes = map(self->fd, self->buffer.offset, PAGES * PAGE, PROT_READ | PROT_WRITE);
	ASSERT_NE(NULL, self->buffer.bytes);
	EXPECT_EQ(self->pattern[PAGE], self->buffer.bytes[PAGE]);

	ASSERT_EQ(target,
		  mremap(self->buffer.bytes, PAGES * PAGE, PAGES * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, target));
	EXPECT_EQ(0, memcmp(target, self->pattern, PAGES * PAGE));
	target[0] ^= 0xff;
	EXPECT_EQ(0, copy(self->fd, &self->buffer, PAGE, &self->buffer, 0, 1));
	EXPECT_EQ(target[0], target[PAGE]);
}

TEST_F(vma, mremap_shrinks)
{
	ASSERT_EQ(self->buffer.bytes, mremap(self->buffer.bytes, PAGES * PAGE, 2 * PAGE, 0));
	EXPECT_EQ(0, memcmp(self->buffer.bytes, self->pattern, 2 * PAGE));
	/* A part must not grow either, although the buffer is larger. */
	EXPECT_EQ(MAP_FAILED, mremap(self->buffer.bytes, 2 * PAGE, 4 * PAGE, MREMAP_MAYMOVE));
	EXPECT_EQ(EFAULT, errno);
}

TEST_F(vma, mremap_does_not_grow)
{
	EXPECT_EQ(MAP_FAILED, mremap(self->buffer.bytes, PAGES * PAGE, (PAGES + 1) * PAGE, MREMAP_MAYMOVE));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(MAP_FAILED, mremap(self->buffer.bytes, PAGE, 2 * PAGE, MREMAP_MAYMOVE));
	EXPECT_EQ(EFAULT, errno);
	/* An old length of 0 asks for a second mapping. */
	EXPECT_EQ(MAP_FAILED, mremap(self->buffer.bytes, 0, PAGES * PAGE, MREMAP_MAYMOVE));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(MAP_FAILED, mremap(self->buffer.bytes, PAGES * PAGE, PAGES * PAGE,
				     MREMAP_MAYMOVE | MREMAP_DONTUNMAP));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(0, memcmp(self->buffer.bytes, self->pattern, PAGES * PAGE));
}

/* The memory stays while it is mapped, and is not used for a new buffer. */
TEST_F(vma, outlives_handle_and_file)
{
	struct buffer other;

	EXPECT_EQ(0, free_handle(self->fd, self->buffer.handle));
	EXPECT_EQ(0, memcmp(self->buffer.bytes, self->pattern, PAGES * PAGE));
	close(self->fd);
	EXPECT_EQ(0, memcmp(self->buffer.bytes, self->pattern, PAGES * PAGE));

	self->fd = open_node(O_RDWR);
	ASSERT_LE(0, self->fd);
	for (int i = 0; i < 64; i++) {
		ASSERT_EQ(0, allocate(self->fd, PAGES * PAGE, &other));
		memset(other.bytes, 0xdd, other.size);
		ASSERT_EQ(0, to_device(self->fd, &other, 0, 0, 1));
	}
	EXPECT_EQ(0, memcmp(self->buffer.bytes, self->pattern, PAGES * PAGE));
	memset(self->buffer.bytes, 0x21, PAGES * PAGE);
	EXPECT_EQ(0, differing(other.bytes, 0xdd, other.size));
}

/* A page that is first accessed after handle and file are closed. */
TEST_F(vma, loads_after_the_file_is_closed)
{
	unsigned char *fresh = map(self->fd, self->buffer.offset, PAGES * PAGE, PROT_READ);

	ASSERT_NE(NULL, fresh);
	EXPECT_EQ(0, release(self->fd, &self->buffer));
	close(self->fd);
	self->fd = open_node(O_RDWR);
	EXPECT_EQ(0, memcmp(fresh, self->pattern, PAGES * PAGE));
}

/* Calls in which the kernel pins or reads memory on behalf of others are refused. */
TEST_F(vma, not_readable_by_other_means)
{
	char bytes[64];
	struct iovec local = { bytes, sizeof(bytes) }, remote = { self->buffer.bytes, sizeof(bytes) };
	int memory = open("/proc/self/mem", O_RDWR | O_CLOEXEC), ends[2];

	EXPECT_EQ(-EFAULT, result(process_vm_readv(getpid(), &local, 1, &remote, 1, 0)));
	EXPECT_EQ(-EFAULT, result(process_vm_writev(getpid(), &local, 1, &remote, 1, 0)));
	ASSERT_LE(0, memory);
	EXPECT_EQ(-EIO, result(pread(memory, bytes, sizeof(bytes), (uintptr_t)self->buffer.bytes)));
	EXPECT_EQ(-EIO, result(pwrite(memory, bytes, sizeof(bytes), (uintptr_t)self->buffer.bytes)));
	ASSERT_EQ(0, pipe(ends));
	EXPECT_EQ(-EFAULT, result(vmsplice(ends[1], &remote, 1, 0)));
	EXPECT_EQ(0, memcmp(self->buffer.bytes, self->pattern, PAGES * PAGE));
}

/* Ordinary reading and writing with the mapping as the program's memory works. */
TEST_F(vma, is_memory_for_system_calls)
{
	unsigned char bytes[PAGE];
	int ends[2];

	ASSERT_EQ(0, pipe(ends));
	EXPECT_EQ(PAGE, write(ends[1], self->buffer.bytes, PAGE));
	EXPECT_EQ(PAGE, read(ends[0], bytes, PAGE));
	EXPECT_EQ(0, memcmp(bytes, self->pattern, PAGE));
	EXPECT_EQ(PAGE, write(ends[1], bytes, PAGE));
	EXPECT_EQ(PAGE, read(ends[0], self->buffer.bytes + PAGE, PAGE));
	EXPECT_EQ(0, memcmp(self->buffer.bytes + PAGE, self->pattern, PAGE));
}

/* The driver's own calls with an argument in a mapping that is not loaded yet: no deadlock. */
TEST_F(vma, is_memory_for_the_driver_s_own_calls)
{
	unsigned char *fresh = map(self->fd, self->buffer.offset, PAGES * PAGE, PROT_READ | PROT_WRITE);
	struct rdma_alloc *alloc;

	ASSERT_NE(NULL, fresh);
	EXPECT_EQ(0, call(self->fd, RDMA_IOC_DEVICE_INFO, fresh));
	EXPECT_EQ(RDMA_ABI_VERSION, ((struct rdma_device_info *)fresh)->abi_version);

	fresh = map(self->fd, self->buffer.offset + PAGE, PAGE, PROT_READ | PROT_WRITE);
	ASSERT_NE(NULL, fresh);
	memset(self->buffer.bytes + PAGE, 0, PAGE);
	alloc = (struct rdma_alloc *)fresh;
	((struct rdma_alloc *)(self->buffer.bytes + PAGE))->size = PAGE;
	EXPECT_EQ(0, call(self->fd, RDMA_IOC_ALLOC, alloc));
	EXPECT_NE(0, alloc->handle);

	fresh = map(self->fd, self->buffer.offset + 2 * PAGE, 2 * PAGE, PROT_READ | PROT_WRITE);
	ASSERT_NE(NULL, fresh);
	EXPECT_EQ(DEVICE_MEMORY, pwrite(self->fd, fresh, DEVICE_MEMORY, 0));
	EXPECT_EQ(DEVICE_MEMORY, pread(self->fd, fresh + PAGE, DEVICE_MEMORY, 0));
	EXPECT_EQ(0, memcmp(fresh, fresh + PAGE, DEVICE_MEMORY));

	fresh = map(self->fd, self->buffer.offset + 4 * PAGE, PAGE, PROT_READ | PROT_WRITE);
	ASSERT_NE(NULL, fresh);
	*(struct rdma_request *)(self->buffer.bytes + 4 * PAGE) = (struct rdma_request){
		.operation = RDMA_OP_TO_DEVICE, .source = self->buffer.handle, .length = DEVICE_MEMORY,
	};
	EXPECT_EQ(0, call(self->fd, RDMA_IOC_TRANSFER, fresh));
}

/* madvise(2) cannot change the properties of the mapping. */
TEST_F(vma, madvise)
{
	unsigned char *bytes = self->buffer.bytes;

	EXPECT_EQ(-EINVAL, result(madvise(bytes, PAGE, MADV_DODUMP)));
	EXPECT_NE(0, madvise(bytes, PAGE, MADV_REMOVE));
	EXPECT_NE(0, madvise(bytes, PAGE, MADV_FREE));
	EXPECT_NE(0, madvise(bytes, PAGE, MADV_POPULATE_WRITE));
	madvise(bytes, PAGES * PAGE, MADV_DONTNEED);
	madvise(bytes, PAGES * PAGE, MADV_PAGEOUT);
	madvise(bytes, PAGES * PAGE, MADV_HUGEPAGE);
	madvise(bytes, PAGES * PAGE, MADV_MERGEABLE);
	EXPECT_EQ(0, memcmp(bytes, self->pattern, PAGES * PAGE));
}

TEST_F(vma, locked_memory)
{
	EXPECT_EQ(0, mlock(self->buffer.bytes, PAGES * PAGE));
	EXPECT_EQ(0, memcmp(self->buffer.bytes, self->pattern, PAGES * PAGE));
	EXPECT_EQ(0, munlock(self->buffer.bytes, PAGES * PAGE));
	ASSERT_EQ(0, mlockall(MCL_CURRENT | MCL_FUTURE));
	EXPECT_NE(NULL, map(self->fd, self->buffer.offset, PAGES * PAGE, PROT_READ));
}

TEST_F(vma, populate)
{
	unsigned char *bytes = mmap(NULL, PAGES * PAGE, PROT_READ, MAP_SHARED | MAP_POPULATE, self->fd,
				    self->buffer.offset);

	ASSERT_NE(MAP_FAILED, bytes);
	EXPECT_EQ(0, memcmp(bytes, self->pattern, PAGES * PAGE));
}

/* Only accessed pages are loaded, with at most two huge pages around them. */
TEST_F(vma, loads_what_is_touched)
{
	const size_t pair = 2 * PAGE / sizeof(uint64_t), large = 2 * pair;
	unsigned char resident[large];
	struct buffer buffer;
	size_t count;

	ASSERT_EQ(0, allocate(self->fd, large * PAGE, &buffer));
	ASSERT_EQ(0, mincore(buffer.bytes, large * PAGE, resident));
	EXPECT_EQ(0, differing(resident, 0, large));

	buffer.bytes[0] = 1;
	ASSERT_EQ(0, mincore(buffer.bytes, large * PAGE, resident));
	count = differing(resident, 0, large);
	TH_LOG("%zu pages loaded by one touch", count);
	EXPECT_EQ(1, resident[0] & 1);
	EXPECT_GE(pair, count);
	EXPECT_EQ(0, resident[large - 1] & 1);

	memset(buffer.bytes, 1, large * PAGE);
	ASSERT_EQ(0, mincore(buffer.bytes, large * PAGE, resident));
	EXPECT_EQ(large, differing(resident, 0, large));
}

/* The kernel's description of the mapping. */
TEST_F(vma, flags)
{
	char smaps[262144], start[32], *flags;

	ASSERT_EQ(0, read_text("/proc/self/smaps", smaps, sizeof(smaps)));
	snprintf(start, sizeof(start), "%lx-", (unsigned long)self->buffer.bytes);
	flags = strstr(smaps, start);
	ASSERT_NE(NULL, flags);
	flags = strstr(flags, "VmFlags:");
	ASSERT_NE(NULL, flags);
	*strchr(flags, '\n') = '\0';
	TH_LOG("%s", flags);
	EXPECT_NE(NULL, strstr(flags, " rd"));
	EXPECT_NE(NULL, strstr(flags, " wr"));
	EXPECT_NE(NULL, strstr(flags, " sh")); /* shared */
	EXPECT_NE(NULL, strstr(flags, " dd")); /* not in core dumps */
	EXPECT_NE(NULL, strstr(flags, " de")); /* not expandable */
	EXPECT_EQ(NULL, strstr(flags, " ex"));
	EXPECT_EQ(NULL, strstr(flags, " me")); /* never executable */
	EXPECT_EQ(NULL, strstr(flags, " dc")); /* inherited by fork */
}

/* A real core dump of a real crash. */
TEST_F(vma, core_dump)
{
	static const char core[] = "/tmp/rdma-core";
	unsigned char secret[256], *bytes = self->buffer.bytes, *dump;
	unsigned char *ordinary = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct rlimit unlimited = { RLIM_INFINITY, RLIM_INFINITY };
	char pattern[256];
	struct stat stat;
	int status, fd;
	pid_t child;

	ASSERT_EQ(0, read_text("/proc/sys/kernel/core_pattern", pattern, sizeof(pattern)));
	ASSERT_EQ(0, write_text("/proc/sys/kernel/core_pattern", core));
	child = fork();
	if (!child) {
		/* In its own directory, so that the child has it nowhere else. */
		for (int i = 0; i < 256; i++) {
			((volatile unsigned char *)bytes)[i] = i * 167 + 13;
			((volatile unsigned char *)ordinary)[i] = i * 163 + 11;
		}
		setrlimit(RLIMIT_CORE, &unlimited);
		prctl(PR_SET_DUMPABLE, 1);
		raise(SIGQUIT);
		_exit(0);
	}
	ASSERT_EQ(child, waitpid(child, &status, 0));
	write_text("/proc/sys/kernel/core_pattern", pattern);
	ASSERT_TRUE(WIFSIGNALED(status) && WCOREDUMP(status));

	fd = open(core, O_RDONLY);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, fstat(fd, &stat));
	dump = mmap(NULL, stat.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	ASSERT_NE(MAP_FAILED, dump);
	for (int i = 0; i < 256; i++)
		secret[i] = i * 163 + 11;
	EXPECT_NE(NULL, memmem(dump, stat.st_size, secret, 64)) TH_LOG("the dump lacks ordinary memory");
	for (int i = 0; i < 256; i++)
		secret[i] = i * 167 + 13;
	EXPECT_EQ(NULL, memmem(dump, stat.st_size, secret, 64));
	unlink(core);
}

TEST_HARNESS_MAIN
