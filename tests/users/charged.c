// SPDX-License-Identifier: GPL-2.0
/*
 * Promise 19: a buffer is charged for exactly what it occupies. Compares the quota, RLIMIT_MEMLOCK and the memory cgroup with the
 * page allocator, for buffers of all sizes.
 */
#include "completion_ring.h"
#include "memory.h"
#include "memory_cgroup.h"

#include <sched.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum {
	SIZES = 260, /* pages of the largest buffer; above 64, selected sizes only */
	RINGS = 32,
	TOGETHER = 64, /* the largest one that is allocated together with others */
	EACH = 8, /* buffers of each size, to reduce the influence of other allocations */
	ALICE = 1001,
	BATCH = 64, /* pages that a CPU charges to a memory cgroup in advance; source: MEMCG_CHARGE_BATCH */
};

/* A number from fdinfo, in pages. */
static long told(int fd, const char *name)
{
	char path[64], text[4096], *line;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	if (read_text(path, text, sizeof(text)) || !(line = strstr(text, name)))
		return -1;
	return atol(line + strlen(name)) / (long)PAGE;
}

/* Free pages, including those in the lists of each CPU. */
static long free_now(void)
{
	char text[8192];

	refresh_counts();
	if (read_text("/proc/meminfo", text, sizeof(text)))
		return -1;
	return (meminfo_kb(text, "\nMemFree:") + kept_by_cpus_kb()) * 1024 / PAGE;
}

static int make(int fd, size_t pages)
{
	struct rdma_alloc alloc = { .size = pages * PAGE };
	int error = call(fd, RDMA_IOC_ALLOC, &alloc);

	return error ?: alloc.size == pages * PAGE ? 0 : -EPROTO;
}

FIXTURE(charged)
{
	int fd;
};

FIXTURE_SETUP(charged)
{
	self->fd = open_node(O_RDWR);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, chmod(NODE, 0666));
}

FIXTURE_TEARDOWN(charged)
{
	close(self->fd);
}

/* --- The page allocator. */

/* Finds out how many pages `EACH` buffers of this size occupy beyond their own. Returns an error, or 0. */
static int taken_beyond(int fd, size_t pages, long *beyond)
{
	int error;
	long before;

	/* The first buffer allocates what the file needs besides. */
	error = make(fd, pages);
	if (error)
		return error;
	/* Slabs of the buffers that were freed before are freed after a grace period of RCU. */
	pause_us(50000);
	before = free_now();
	for (int i = 0; i < EACH && !error; i++)
		error = make(fd, pages);
	*beyond = before - free_now() - (long)pages * EACH;
	return error ?: told(fd, "rdma-memory:") == (long)(pages * (EACH + 1)) ? 0 : -EPROTO;
}

/* In a file of its own, as the first buffer of a file must be allocated before the others are counted. */
static int taken_beyond_in_new_file(size_t pages, long *beyond)
{
	int fd = open_node(O_RDWR), error;

	if (fd < 0)
		return fd;
	error = taken_beyond(fd, pages, beyond);
	close(fd);
	return error;
}

static bool has_iommu(void)
{
	return !access("/sys/class/rust_dma/rdma0/device/iommu_group", F_OK);
}

/*
 * One page per buffer for its description. With an IOMMU, the DMA API uses 24 bytes per page in addition: a pointer, an
 * entry in the IOMMU's page table, and one in the kernel's.
 */
static void expect_exact(struct __test_metadata *_metadata, size_t pages, long *most)
{
	long beyond = 0, allowed = EACH * (1 + (has_iommu() ? pages * 24 / PAGE : 0));
	int error = taken_beyond_in_new_file(pages, &beyond);

	/* Another process may have allocated memory in the meantime. */
	for (int i = 0; i < 10 && !error && labs(beyond) > allowed; i++)
		error = taken_beyond_in_new_file(pages, &beyond);
	ASSERT_EQ(0, error) TH_LOG("%d buffers of %zu pages", EACH + 1, pages);
	EXPECT_GE(allowed, labs(beyond)) TH_LOG("%d buffers of %zu pages take %ld pages more than they have", EACH, pages, beyond);
	*most = labs(beyond) > *most ? labs(beyond) : *most;
}

TEST_F_TIMEOUT(charged, every_size, 300)
{
	static const size_t larger[] = { 511, 513, 768, 1023, 1025 };
	long most = 0;

	for (size_t pages = 1; pages <= SIZES; pages++)
		expect_exact(_metadata, pages, &most);
	for (size_t i = 0; i < ARRAY_SIZE(larger); i++)
		expect_exact(_metadata, larger[i], &most);
	FIGURE("%d buffers of each of %zu sizes", "at most %.2f pages a buffer besides what is charged", EACH, SIZES + ARRAY_SIZE(larger),
	       (double)most / EACH);
}

/* --- The memory cgroup. */

static long cgroup_says(const char *name, const char *key)
{
	char path[128], text[4096], *line;

	snprintf(path, sizeof(path), "%s/%s", CGROUP, name);
	if (read_text(path, text, sizeof(text)) || !(line = strstr(text, key)))
		return -1;
	return atol(line + strlen(key));
}

/* Results of a child process. */
struct story {
	long pages, buffers; /* pages that it allocated */
	long charged, locked; /* pages according to fdinfo */
	long more; /* pages that the cgroup is charged for in addition */
	int error; /* pages of the first buffer that failed */
	bool told; /* all of it; through memory, as even a byte in a pipe would take a page of the cgroup's */
};

FIXTURE(cgroup)
{
	struct story *story;
	int fd;
	int go[2];
	pid_t child;
};

FIXTURE_SETUP(cgroup)
{
	ASSERT_EQ(0, create_cgroup());
	ASSERT_EQ(0, chmod(NODE, 0666));
	self->story = shared_memory(PAGE);
	memset(self->story, 0, PAGE);
	self->fd = open_node(O_RDWR);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, pipe2(self->go, O_CLOEXEC));
	self->child = 0;
}

FIXTURE_TEARDOWN(cgroup)
{
	if (self->child) {
		kill(self->child, SIGKILL);
		waitpid(self->child, NULL, 0);
	}
	close(self->fd);
	close(self->go[0]);
	close(self->go[1]);
	remove_cgroup();
}

/* Allocates up to this many buffers of this many pages; everything else that the child needs is allocated before. */
static void make_as_many(struct story *story, int fd, size_t pages, long most)
{
	while (story->buffers < most && !(story->error = make(fd, pages))) {
		story->buffers++;
		story->pages += pages;
	}
}

/* In a process in the cgroup, as another user, which then sleeps. */
static int in_cgroup(FIXTURE_DATA(cgroup) *self, const char *max, void (*deed)(FIXTURE_DATA(cgroup) *))
{
	volatile bool *told = &self->story->told;
	char pid[16], byte;
	int error = write_text(CGROUP "/memory.max", max);

	if (error)
		return error;
	self->child = fork();
	if (!self->child) {
		struct rlimit limit = { RLIM_INFINITY, RLIM_INFINITY };
		cpu_set_t one;

		/* Each CPU charges pages in advance. */
		CPU_ZERO(&one);
		CPU_SET(0, &one);
		if (sched_setaffinity(0, sizeof(one), &one) || setrlimit(RLIMIT_MEMLOCK, &limit) || mlockall(MCL_CURRENT) || read(self->go[0], &byte, 1) != 1 ||
		    setresgid(ALICE, ALICE, ALICE) || setresuid(ALICE, ALICE, ALICE))
			_exit(1);
		deed(self);
		*told = true;
		for (;;)
			pause();
	}
	snprintf(pid, sizeof(pid), "%d", self->child);
	error = write_text(CGROUP "/cgroup.procs", pid);
	if (error || write(self->go[1], "", 1) != 1)
		return error ?: -errno;
	while (!*told && !waitpid(self->child, NULL, WNOHANG))
		pause_us(1000);
	return *told ? 0 : -ECHILD;
}

/* One buffer of each size, all at the same time. */
static void one_of_each(FIXTURE_DATA(cgroup) *self)
{
	long before = cgroup_says("memory.current", "");

	for (size_t pages = 1; pages <= TOGETHER; pages++)
		make_as_many(self->story, self->fd, pages, pages);
	self->story->more = (cgroup_says("memory.current", "") - before) / (long)PAGE;
	self->story->charged = told(self->fd, "rdma-memory:");
	self->story->locked = told(self->fd, "rdma-memlock:");
}

TEST_F(cgroup, has_what_is_charged)
{
	struct story *story = self->story;
	long before = free_now();

	ASSERT_EQ(0, in_cgroup(self, "max", one_of_each));
	ASSERT_EQ(TOGETHER, story->buffers);
	ASSERT_EQ(TOGETHER * (TOGETHER + 1) / 2, story->pages);
	EXPECT_EQ(story->pages, story->charged);
	EXPECT_EQ(story->pages, story->locked);
	EXPECT_LE(story->pages - BATCH, story->more);
	EXPECT_GE(story->pages + TOGETHER + 2 * BATCH, story->more);
	FIGURE("%ld pages in %ld buffers", "charged: %ld; RLIMIT_MEMLOCK: %ld; memory cgroup: %ld; taken: %ld with the process", story->pages,
	       story->buffers, story->charged, story->locked, story->more, before - free_now());
}

/* Rings of as many contexts, which are open already. */
static int contexts[RINGS];

static void make_rings(FIXTURE_DATA(cgroup) *self)
{
	struct story *story = self->story;
	struct rdma_completion_ring properties;

	while (story->buffers < RINGS && !(story->error = create_ring(contexts[story->buffers], &properties))) {
		story->buffers++;
		story->pages += properties.size / PAGE;
	}
}

static void rings(FIXTURE_DATA(cgroup) *self)
{
	struct story *story = self->story;
	long before = cgroup_says("memory.current", "");

	make_rings(self);
	story->more = (cgroup_says("memory.current", "") - before) / (long)PAGE;
}

/* Completion rings are charged to the memory cgroup, until their contexts are closed. */
TEST_F(cgroup, has_rings)
{
	struct story *story = self->story;

	for (int i = 0; i < RINGS; i++) {
		contexts[i] = open_node(O_RDWR);
		ASSERT_LE(0, contexts[i]);
	}
	ASSERT_EQ(0, in_cgroup(self, "max", rings));
	ASSERT_EQ(RINGS, story->buffers);
	EXPECT_LE(story->pages - BATCH, story->more);
	EXPECT_GE(story->pages + 2 * BATCH, story->more);
	/* What the process has is in the cgroup, too. */
	kill(self->child, SIGKILL);
	ASSERT_EQ(self->child, waitpid(self->child, NULL, 0));
	self->child = 0;
	EXPECT_LE(story->pages * (long)PAGE, cgroup_says("memory.current", ""));
	for (int i = 0; i < RINGS; i++)
		close(contexts[i]);
	pause_us(100000);
	EXPECT_GE(2 * BATCH * (long)PAGE, cgroup_says("memory.current", ""));
	FIGURE("%ld pages in %d rings", "memory cgroup: %ld", story->pages, RINGS, story->more);
}

/* A refused allocation is not in the log: a user could fill it. */
TEST_F(cgroup, refuses_rings_without_a_message)
{
	char max[24];
	int log;

	for (int i = 0; i < RINGS; i++) {
		contexts[i] = open_node(O_RDWR);
		ASSERT_LE(0, contexts[i]);
	}
	/* For the process and some of them: each has several pages. */
	snprintf(max, sizeof(max), "%ld", 6 * RINGS * (long)PAGE);
	log = open_log();
	ASSERT_EQ(0, in_cgroup(self, max, make_rings));
	EXPECT_EQ(-ENOMEM, self->story->error);
	EXPECT_EQ(0, log_lines(log, "vmalloc error"));
	close(log);
	for (int i = 0; i < RINGS; i++)
		close(contexts[i]);
}

static void large_ones(FIXTURE_DATA(cgroup) *self)
{
	make_as_many(self->story, self->fd, 16, 4096);
}

static void small_ones(FIXTURE_DATA(cgroup) *self)
{
	/* With room for other allocations: objects, page tables. */
	make_as_many(self->story, self->fd, 3, 4096);
}

/* Of memory in the cgroup, in bytes. */
enum { LIMIT = 3 << 20 };

/* A user can allocate up to the limit of the cgroup, then gets ENOMEM; no process is killed. */
static void expect_limited(struct __test_metadata *_metadata, FIXTURE_DATA(cgroup) *self, void (*deed)(FIXTURE_DATA(cgroup) *), long max)
{
	char text[24];
	struct story *story = self->story;
	int status;

	snprintf(text, sizeof(text), "%ld", max);
	ASSERT_EQ(0, in_cgroup(self, text, deed));
	TH_LOG("%ld KiB in %ld buffers, in a cgroup with memory.max of %ld KiB", story->pages * 4, story->buffers, max / 1024);
	EXPECT_EQ(-ENOMEM, story->error);
	EXPECT_GE(max / PAGE, story->pages);
	EXPECT_LE(max / PAGE / 2, story->pages);
	EXPECT_EQ(0, cgroup_says("memory.events", "oom_kill "));
	/* Other processes can still allocate buffers. */
	EXPECT_EQ(0, make(self->fd, 256));
	/* All charges are removed, although a process outside of the cgroup closes the file last. */
	kill(self->child, SIGKILL);
	ASSERT_EQ(self->child, waitpid(self->child, &status, 0));
	self->child = 0;
	EXPECT_LE(story->pages * (long)PAGE, cgroup_says("memory.current", ""));
	close(self->fd);
	self->fd = -1;
	pause_us(100000);
	EXPECT_GE(2 * BATCH * PAGE, cgroup_says("memory.current", ""));
}

TEST_F(cgroup, limits)
{
	expect_limited(_metadata, self, large_ones, LIMIT);
}

TEST_F(cgroup, limits_small_ones)
{
	expect_limited(_metadata, self, small_ones, LIMIT);
}

/* With each limit, another allocation exceeds it: that of the memory, or of one of the objects of a buffer. */
TEST_F(cgroup, limits_each_allocation)
{
	for (int pages = 1; pages <= scale(40, 400); pages++) {
		memset(self->story, 0, PAGE);
		expect_limited(_metadata, self, small_ones, LIMIT + pages * (long)PAGE);
		self->fd = open_node(O_RDWR);
		ASSERT_LE(0, self->fd);
	}
}

TEST_HARNESS_MAIN
