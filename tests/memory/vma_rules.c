// SPDX-License-Identifier: GPL-2.0
/* Promise 10, as a table: each operation on a mapping, and its documented result. vma.c has those that take more than a call. */
#include "rdma_test.h"

#include <linux/userfaultfd.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>

enum { PAGES = 8 };
#define SIZE (PAGES * PAGE)

/* What a rule is applied to. */
struct subject {
	int fd;
	struct buffer buffer; /* mapped as a whole, and filled with a pattern */
	unsigned char *bytes;
	unsigned char pattern[PAGES << 16]; /* of the largest pages */
};

/* For rules without an error. */
#define GOOD(condition) ((condition) ? 0 : -EPROTO)

static long map_as(struct subject *s, int protection, int flags, uint64_t offset, size_t length)
{
	void *address = mmap(NULL, length, protection, flags, s->fd, s->buffer.offset + offset);

	return address == MAP_FAILED ? -errno : 0;
}

static long private(struct subject *s) { return map_as(s, PROT_READ, MAP_PRIVATE, 0, PAGE); }
static long private_for_writing(struct subject *s) { return map_as(s, PROT_READ | PROT_WRITE, MAP_PRIVATE, 0, PAGE); }
static long executable(struct subject *s) { return map_as(s, PROT_READ | PROT_EXEC, MAP_SHARED, 0, PAGE); }
static long executable_only(struct subject *s) { return map_as(s, PROT_EXEC, MAP_SHARED, 0, PAGE); }
static long past_the_end(struct subject *s) { return map_as(s, PROT_READ, MAP_SHARED, PAGE, SIZE); }
static long behind_the_end(struct subject *s) { return map_as(s, PROT_READ, MAP_SHARED, SIZE, PAGE); }
static long synchronous(struct subject *s) { return map_as(s, PROT_READ, MAP_SHARED_VALIDATE | 0x80000 /* MAP_SYNC */, 0, PAGE); }

static long to_executable(struct subject *s) { return result(mprotect(s->bytes, SIZE, PROT_READ | PROT_EXEC)); }
static long to_all(struct subject *s) { return result(mprotect(s->bytes, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC)); }
static long to_none(struct subject *s)
{
	return mprotect(s->bytes, PAGE, PROT_NONE) || mprotect(s->bytes, PAGE, PROT_READ | PROT_WRITE) ? -errno : 0;
}

static long with_a_key(struct subject *s)
{
	return result(syscall(SYS_pkey_mprotect, s->bytes, PAGE, PROT_READ | PROT_EXEC, -1));
}

static long remap(struct subject *s, size_t from, size_t to, int flags)
{
	return mremap(s->bytes, from, to, flags) == MAP_FAILED ? -errno : 0;
}

static long grow(struct subject *s) { return remap(s, SIZE, SIZE + PAGE, MREMAP_MAYMOVE); }
static long grow_in_place(struct subject *s) { return remap(s, SIZE, SIZE + PAGE, 0); }
static long grow_a_part(struct subject *s) { return remap(s, PAGE, 2 * PAGE, MREMAP_MAYMOVE); }
static long duplicate(struct subject *s) { return remap(s, 0, SIZE, MREMAP_MAYMOVE); }
static long move_and_leave(struct subject *s) { return remap(s, SIZE, SIZE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP); }

static long move(struct subject *s)
{
	unsigned char *to = mmap(NULL, SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (mremap(s->bytes, SIZE, SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, to) != to)
		return -errno;
	s->bytes = to;
	return 0;
}

static long shrink(struct subject *s)
{
	if (mremap(s->bytes, SIZE, PAGE, 0) != s->bytes)
		return -errno;
	return GOOD(!memcmp(s->bytes, s->pattern, PAGE) && map(s->fd, s->buffer.offset, SIZE, PROT_READ));
}

static long split(struct subject *s)
{
	if (munmap(s->bytes + 3 * PAGE, PAGE))
		return -errno;
	return GOOD(!memcmp(s->bytes, s->pattern, 3 * PAGE) &&
		    !memcmp(s->bytes + 4 * PAGE, s->pattern + 4 * PAGE, SIZE - 4 * PAGE));
}

/* In the child: the state of the mapping there. */
static long in_a_child(struct subject *s, int advice, bool (*as_it_should_be)(struct subject *s))
{
	int status = -1;
	pid_t child;

	if (advice >= 0 && madvise(s->bytes, SIZE, advice))
		return -errno;
	child = fork();
	if (!child)
		_exit(!as_it_should_be(s));
	waitpid(child, &status, 0);
	if (advice == MADV_DONTFORK && WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV)
		return 0;
	return GOOD(!status);
}

static bool inherited(struct subject *s)
{
	bool same = !memcmp(s->bytes, s->pattern, SIZE);

	s->bytes[0] ^= 1;
	s->bytes[0] ^= 1;
	return same;
}

static bool not_there(struct subject *s)
{
	(void)*(volatile unsigned char *)s->bytes;
	return false;
}

static long fork_hands_on(struct subject *s) { return in_a_child(s, -1, inherited); }
static long fork_does_not_if_told(struct subject *s) { return in_a_child(s, MADV_DONTFORK, not_there); }

static long read_by_process_vm(struct subject *s)
{
	char bytes[64];
	struct iovec local = { bytes, 64 }, remote = { s->bytes, 64 };

	return result(process_vm_readv(getpid(), &local, 1, &remote, 1, 0));
}

static long write_by_process_vm(struct subject *s)
{
	char bytes[64] = { 0 };
	struct iovec local = { bytes, 64 }, remote = { s->bytes, 64 };

	return result(process_vm_writev(getpid(), &local, 1, &remote, 1, 0));
}

static long by_proc_mem(struct subject *s, bool writing)
{
	int fd = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
	char bytes[64] = { 0 };
	long answer = writing ? result(pwrite(fd, bytes, 64, (uintptr_t)s->bytes)) :
				result(pread(fd, bytes, 64, (uintptr_t)s->bytes));

	close(fd);
	return answer;
}

static long read_by_proc_mem(struct subject *s) { return by_proc_mem(s, false); }
static long write_by_proc_mem(struct subject *s) { return by_proc_mem(s, true); }

/* As debuggers do. */
static long by_ptrace(struct subject *s)
{
	pid_t child = fork();
	long answer;
	int status;

	if (!child) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		raise(SIGSTOP);
		_exit(0);
	}
	waitpid(child, &status, 0);
	errno = 0;
	answer = ptrace(PTRACE_PEEKDATA, child, s->bytes, 0);
	answer = errno ? -errno : 0;
	kill(child, SIGKILL);
	waitpid(child, &status, 0);
	return answer;
}

static long by_vmsplice(struct subject *s)
{
	struct iovec part = { s->bytes, PAGE };
	int ends[2];
	long answer;

	if (pipe(ends))
		return -errno;
	answer = result(vmsplice(ends[1], &part, 1, 0));
	close(ends[0]);
	close(ends[1]);
	return answer;
}

/* A disk in memory, if this kernel has one (-EXDEV); direct reads and writes pin the memory. */
static long direct(struct subject *s, bool writing)
{
	int fd = open("/dev/ram0", O_RDWR | O_DIRECT | O_CLOEXEC);
	long answer;

	if (fd < 0)
		return -EXDEV;
	answer = writing ? result(pwrite(fd, s->bytes, PAGE, 0)) : result(pread(fd, s->bytes, PAGE, 0));
	close(fd);
	return answer;
}

static long direct_write(struct subject *s) { return direct(s, true); }
static long direct_read(struct subject *s) { return direct(s, false); }

static long advise(struct subject *s, int advice) { return result(madvise(s->bytes, SIZE, advice)); }
static long advise_dump(struct subject *s) { return advise(s, MADV_DODUMP); }
static long advise_dofork(struct subject *s) { return advise(s, MADV_DOFORK); }
static long advise_remove(struct subject *s) { return advise(s, MADV_REMOVE); }
static long advise_free(struct subject *s) { return advise(s, MADV_FREE); }
static long advise_wipe(struct subject *s) { return advise(s, MADV_WIPEONFORK); }
static long advise_cold(struct subject *s) { return advise(s, 20 /* MADV_COLD */); }
static long advise_pageout(struct subject *s) { return advise(s, 21 /* MADV_PAGEOUT */); }
static long advise_dontneed(struct subject *s) { return advise(s, MADV_DONTNEED); }
static long advise_populate(struct subject *s) { return advise(s, 22 /* MADV_POPULATE_READ */); }
static long advise_populate_for_writing(struct subject *s) { return advise(s, 23 /* MADV_POPULATE_WRITE */); }
static long advise_collapse(struct subject *s) { return advise(s, 25 /* MADV_COLLAPSE */); }
static long advise_guard(struct subject *s) { return advise(s, 102 /* MADV_GUARD_INSTALL */); }
static long advise_willneed(struct subject *s) { return advise(s, MADV_WILLNEED); }

/* Tracking of writes, which works for any memory that has pages (UFFD_FEATURE_WP_ASYNC). */
static long track_writes(struct subject *s)
{
	int fd = syscall(SYS_userfaultfd, UFFD_USER_MODE_ONLY | O_CLOEXEC);
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED };
	struct uffdio_register range = { .range = { (uintptr_t)s->bytes, SIZE }, .mode = UFFDIO_REGISTER_MODE_WP };
	long answer;

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api))
		return -EXDEV;
	answer = result(ioctl(fd, UFFDIO_REGISTER, &range));
	close(fd);
	return answer;
}

static long lock(struct subject *s) { return mlock(s->bytes, SIZE) || munlock(s->bytes, SIZE) ? -errno : 0; }
static long sync_it(struct subject *s) { return result(msync(s->bytes, SIZE, MS_SYNC)); }
static long populate(struct subject *s) { return map_as(s, PROT_READ, MAP_SHARED | MAP_POPULATE, 0, SIZE); }

struct rule {
	const char *what;
	long (*deed)(struct subject *subject);
	int answer;
};

/*
 * Sources of the results: docs/rdma.4 for mmap, mremap and calls that pin memory; mmap(2), mprotect(2), madvise(2), mremap(2) for shared
 * mappings without pages of their own that cannot be expanded; fallocate(2) for a device node (MADV_REMOVE); rdma(4) (msync).
 */
static const struct rule rules[] = {
	{ "MAP_PRIVATE", private, EINVAL },
	{ "MAP_PRIVATE for writing", private_for_writing, EINVAL },
	{ "MAP_SYNC", synchronous, EOPNOTSUPP },
	{ "PROT_EXEC", executable, EPERM },
	{ "PROT_EXEC alone", executable_only, EPERM },
	{ "more than the buffer", past_the_end, EINVAL },
	{ "behind the buffer", behind_the_end, EINVAL },
	{ "MAP_POPULATE", populate, 0 },
	{ "mprotect to executable", to_executable, EACCES },
	{ "mprotect of a page to everything", to_all, EACCES },
	{ "pkey_mprotect to executable", with_a_key, EACCES },
	{ "mprotect to nothing and back", to_none, 0 },
	{ "mremap to more", grow, EFAULT },
	{ "mremap to more, in place", grow_in_place, EFAULT },
	{ "mremap of a part to more", grow_a_part, EFAULT },
	{ "mremap of nothing, to duplicate", duplicate, EFAULT },
	{ "mremap that leaves the old one", move_and_leave, EINVAL },
	{ "mremap to elsewhere", move, 0 },
	{ "mremap to less", shrink, 0 },
	{ "munmap of the middle", split, 0 },
	{ "fork", fork_hands_on, 0 },
	{ "fork after MADV_DONTFORK", fork_does_not_if_told, 0 },
	{ "process_vm_readv", read_by_process_vm, EFAULT },
	{ "process_vm_writev", write_by_process_vm, EFAULT },
	{ "read of /proc/PID/mem", read_by_proc_mem, EIO },
	{ "write to /proc/PID/mem", write_by_proc_mem, EIO },
	{ "PTRACE_PEEKDATA", by_ptrace, EIO },
	{ "vmsplice", by_vmsplice, EFAULT },
	{ "O_DIRECT write from it", direct_write, EFAULT },
	{ "O_DIRECT read into it", direct_read, EFAULT },
	{ "MADV_DODUMP", advise_dump, EINVAL },
	{ "MADV_DOFORK", advise_dofork, EINVAL },
	{ "MADV_REMOVE", advise_remove, ENODEV },
	{ "MADV_FREE", advise_free, EINVAL },
	{ "MADV_WIPEONFORK", advise_wipe, EINVAL },
	{ "MADV_COLD", advise_cold, EINVAL },
	{ "MADV_PAGEOUT", advise_pageout, EINVAL },
	{ "MADV_DONTNEED", advise_dontneed, EINVAL },
	{ "MADV_POPULATE_READ", advise_populate, EINVAL },
	{ "MADV_POPULATE_WRITE", advise_populate_for_writing, EINVAL },
	{ "MADV_COLLAPSE", advise_collapse, EINVAL },
	{ "MADV_GUARD_INSTALL", advise_guard, EINVAL },
	{ "MADV_WILLNEED", advise_willneed, 0 },
	{ "userfaultfd", track_writes, EINVAL },
	{ "mlock, munlock", lock, 0 },
	{ "msync", sync_it, 0 },
};

/* One rule, on a separate mapping, a part of which is loaded; its contents are the same afterwards. */
static long try_rule(struct __test_metadata *_metadata, const struct rule *rule)
{
	struct subject *subject = calloc(1, sizeof(*subject));
	long answer;

	ASSERT_NE(NULL, subject);
	subject->fd = open_node(O_RDWR);
	ASSERT_LE(0, subject->fd);
	ASSERT_EQ(0, allocate(subject->fd, SIZE, &subject->buffer));
	subject->bytes = subject->buffer.bytes;
	fill(subject->pattern, SIZE, 7);
	memcpy(subject->bytes, subject->pattern, SIZE);
	answer = rule->deed(subject);
	if (answer && rule->answer) {
		EXPECT_EQ(0, memcmp(subject->bytes, subject->pattern, SIZE)) TH_LOG("%s", rule->what);
	}
	close(subject->fd);
	return answer;
}

TEST(vma_rules)
{
	int right = 0, wrong = 0;

	if (system("modprobe -q brd rd_nr=1 rd_size=64"))
		TH_LOG("no disk in memory");
	for (size_t i = 0; i < ARRAY_SIZE(rules); i++) {
		long answer = try_rule(_metadata, &rules[i]);

		if (answer == -EXDEV) {
			TH_LOG("%s: this kernel has none", rules[i].what);
			continue;
		}
		EXPECT_EQ(-rules[i].answer, answer) TH_LOG("%s", rules[i].what);
		right += answer == -rules[i].answer;
		wrong += answer != -rules[i].answer;
	}
	EXPECT_LE(20, right);
	FIGURE("%d things to do with a mapping", "%d answered as documented, %d not", right + wrong, right, wrong);
}

TEST_HARNESS_MAIN
