// SPDX-License-Identifier: GPL-2.0
/*
 * How mappings are filled: with the pages around an access, 2 MiB at once if possible, and never before an access;
 * and that all operations on mappings work with both.
 */
#include "rdma_test.h"

#include <sys/resource.h>
#include <sys/wait.h>

/* What one page table covers, and twice of that, for the largest pages in use: 16 KiB. */
enum { MOST_PAGES = 4096 };

#define HUGE_PAGES (PAGE / sizeof(uint64_t))
#define PAGES (2 * HUGE_PAGES)
#define SIZE (PAGES * PAGE)
#define HUGE (HUGE_PAGES * PAGE)

/* What a fault loads, if it is not a huge page. */
#define WINDOW_PAGES ((1 << 20) / PAGE)

FIXTURE(loading)
{
	int fd;
	struct rdma_alloc buffer;
	unsigned char *bytes; /* the whole buffer; page n begins with tag(n) */
	unsigned char *other; /* a second mapping, for comparison */
	char address[32];
};

FIXTURE_VARIANT(loading)
{
	bool huge; /* at an address at which huge pages can be loaded */
};

FIXTURE_VARIANT_ADD(loading, huge) { .huge = true };
FIXTURE_VARIANT_ADD(loading, small) { .huge = false };

static uint64_t tag(size_t page)
{
	return 0x5a5a0000deadbe00 + page * 0x10001;
}

/* A free address with this alignment. */
static unsigned char *place(size_t size, bool huge)
{
	unsigned char *space = mmap(NULL, size + 2 * HUGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	munmap(space, size + 2 * HUGE);
	return (unsigned char *)(((uintptr_t)space + HUGE - 1) / HUGE * HUGE) + (huge ? 0 : PAGE);
}

static unsigned char *map_at(FIXTURE_DATA(loading) *self, bool huge, int protection, int flags)
{
	void *address = place(SIZE, huge), *bytes;

	bytes = mmap(address, SIZE, protection, MAP_SHARED | MAP_FIXED_NOREPLACE | flags, self->fd, self->buffer.mmap_offset);
	return bytes == MAP_FAILED ? NULL : bytes;
}

/* Number of loaded pages. */
static size_t loaded(const void *bytes, size_t pages)
{
	unsigned char resident[MOST_PAGES];

	if (pages > MOST_PAGES || mincore((void *)bytes, pages * PAGE, resident))
		return SIZE_MAX;
	return differing(resident, 0, pages);
}

static long faults(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_minflt;
}

/* KiB of page tables. */
static long page_tables(void)
{
	char status[8192], *line;

	if (read_text("/proc/self/status", status, sizeof(status)))
		return -1;
	line = strstr(status, "VmPTE:");
	return line ? strtol(line + 6, NULL, 10) : -1;
}

/* Number of pages in this range with wrong contents. */
static size_t wrong(const unsigned char *bytes, size_t first, size_t last)
{
	size_t count = 0;

	for (size_t page = first; page < last; page++)
		count += *(const volatile uint64_t *)(bytes + page * PAGE) != tag(page);
	return count;
}

/* Whether a byte can be written, in a child process. */
static bool writable(volatile unsigned char *byte)
{
	int status;

	if (!fork()) {
		*byte = *byte;
		_exit(0);
	}
	return wait(&status) > 0 && status == 0;
}

/* Real-time kernels are built without CONFIG_TRANSPARENT_HUGEPAGE. */
static bool kernel_has_huge_pages(void)
{
	return !access("/sys/kernel/mm/transparent_hugepage", F_OK);
}

static bool is_mapped(const void *page)
{
	unsigned char resident;

	return !mincore((void *)page, PAGE, &resident);
}

FIXTURE_SETUP(loading)
{
	self->fd = open_node(O_RDWR);
	ASSERT_LE(0, self->fd);
	self->buffer = (struct rdma_alloc){ .size = SIZE };
	ASSERT_EQ(0, call(self->fd, RDMA_IOC_ALLOC, &self->buffer));
	self->other = map_at(self, false, PROT_READ | PROT_WRITE, 0);
	ASSERT_NE(NULL, self->other);
	for (size_t page = 0; page < PAGES; page++)
		*(uint64_t *)(self->other + page * PAGE) = tag(page);
	self->bytes = map_at(self, variant->huge, PROT_READ | PROT_WRITE, 0);
	ASSERT_NE(NULL, self->bytes);
}

FIXTURE_TEARDOWN(loading)
{
	munmap(self->other, SIZE);
	close(self->fd);
}

/* Accesses to pages of a mapping, which can be compared with those to another one. */
struct access {
	long faults; /* of the whole process: also on its own code, if this runs for the first time */
	size_t loaded; /* pages after each access, in total */
	size_t wrong;
};

/* Reads every hundredth page. */
__attribute__((noinline)) static struct access read_some(unsigned char *bytes)
{
	struct access access = { .faults = -faults() };

	for (size_t page = 3; page < PAGES; page += 100) {
		access.wrong += *(volatile uint64_t *)(bytes + page * PAGE) != tag(page);
		access.loaded += loaded(bytes, PAGES);
	}
	access.faults += faults();
	return access;
}

/* Writes to each page. */
__attribute__((noinline)) static struct access write_all(unsigned char *bytes)
{
	struct access access = { .faults = -faults() };

	for (size_t page = 0; page < PAGES; page++)
		((volatile unsigned char *)bytes)[page * PAGE + 17] = page;
	access.faults += faults();
	return access;
}

/* MADV_RANDOM: an access loads no other pages, and no huge page. The advice can be undone. */
TEST_F(loading, one_page_if_told)
{
	size_t count = PAGES / 100 + 1;
	struct access access;

	ASSERT_EQ(0, madvise(self->bytes, SIZE, MADV_RANDOM));
	EXPECT_EQ(0, loaded(self->bytes, PAGES));
	read_some(self->other); /* loads the pages of this program that it needs */
	access = read_some(self->bytes);
	EXPECT_EQ(0, access.wrong);
	EXPECT_EQ(count * (count + 1) / 2, access.loaded);
	EXPECT_EQ(count, access.faults);
	EXPECT_EQ((unsigned char)tag(5), *(volatile unsigned char *)(self->bytes + 5 * PAGE));
	EXPECT_EQ(PAGES / 100 + 2, loaded(self->bytes, PAGES));

	ASSERT_EQ(0, madvise(self->bytes, SIZE, MADV_NORMAL));
	EXPECT_EQ(0, wrong(self->bytes, 0, PAGES));
	EXPECT_EQ(PAGES, loaded(self->bytes, PAGES));
	/* Loaded pages stay. */
	ASSERT_EQ(0, madvise(self->bytes, SIZE, MADV_RANDOM));
	EXPECT_EQ(PAGES, loaded(self->bytes, PAGES));
	EXPECT_EQ(0, wrong(self->bytes, 0, PAGES));
}

/* Advice for a part of a possible huge page: the rest is loaded as before. */
TEST_F(loading, part_of_it_page_by_page)
{
	ASSERT_EQ(0, madvise(self->bytes + 10 * PAGE, 20 * PAGE, MADV_RANDOM));
	EXPECT_EQ(tag(15), *(volatile uint64_t *)(self->bytes + 15 * PAGE));
	EXPECT_EQ(1, loaded(self->bytes, PAGES));
	EXPECT_EQ(tag(40), *(volatile uint64_t *)(self->bytes + 40 * PAGE));
	EXPECT_LT(WINDOW_PAGES * 2 / 5, loaded(self->bytes, PAGES));
	EXPECT_EQ(1, loaded(self->bytes + 10 * PAGE, 20));
	EXPECT_EQ(0, wrong(self->bytes, 0, PAGES));
}

/* A CPU may leave it to the kernel to note the first write to a page (arm64 before Armv8.1). */
TEST_F(loading, a_write_to_what_was_read)
{
	EXPECT_EQ(0, wrong(self->bytes, 0, PAGES));
	write_all(self->other); /* loads the pages of this program that it needs */
	EXPECT_EQ(0, write_all(self->bytes).faults);
}

TEST_F(loading, what_is_touched)
{
	long tables = page_tables(), before = faults();
	size_t count;

	if (variant->huge && !kernel_has_huge_pages())
		SKIP(return, "this kernel has no huge pages");
	EXPECT_EQ(0, loaded(self->bytes, PAGES));
	(void)*(volatile unsigned char *)(self->bytes + 3 * PAGE);
	count = loaded(self->bytes, PAGES);
	TH_LOG("%zu pages by one touch", count);
	EXPECT_LT(15, count);
	before = faults();
	EXPECT_EQ(0, wrong(self->bytes, 0, PAGES));
	TH_LOG("%ld more faults, %ld KiB of page tables", faults() - before, page_tables() - tables);
	EXPECT_EQ(PAGES, loaded(self->bytes, PAGES));
	EXPECT_GE(PAGES / (WINDOW_PAGES / 2), faults() - before);
	if (variant->huge) {
		EXPECT_GT(8, page_tables() - tables); /* not one for each 2 MiB */
		EXPECT_GE(2, faults() - before);
	}
}

/* The kernel chooses an address that is aligned for huge pages itself. */
TEST_F(loading, address)
{
	unsigned char *bytes = map(self->fd, self->buffer.mmap_offset, SIZE, PROT_READ);
	unsigned char *half = map(self->fd, self->buffer.mmap_offset + SIZE / 2 + PAGE, SIZE / 2 - PAGE, PROT_READ);

	if (!kernel_has_huge_pages())
		SKIP(return, "this kernel has no huge pages");
	ASSERT_NE(NULL, bytes);
	ASSERT_NE(NULL, half);
	EXPECT_EQ(0, (uintptr_t)bytes % HUGE);
	EXPECT_EQ(0, wrong(bytes, 0, PAGES));
	EXPECT_EQ(0, wrong(half - SIZE / 2 - PAGE, PAGES / 2 + 1, PAGES));
}

TEST_F(loading, read_then_write)
{
	EXPECT_EQ(0, wrong(self->bytes, 0, PAGES));
	for (size_t page = 0; page < PAGES; page += 7)
		self->bytes[page * PAGE + 9] = page;
	for (size_t page = 0; page < PAGES; page += 7)
		ASSERT_EQ((unsigned char)page, self->other[page * PAGE + 9]);
}

TEST_F(loading, partial_munmap)
{
	/* At all boundaries of what is loaded at once. */
	const struct { size_t first, last; } holes[] = {
		{ 0, 1 }, { 100, 101 }, { 255, 257 }, { 400, 520 }, { 700, 701 }, { PAGES - 24, PAGES },
	};

	EXPECT_EQ(0, wrong(self->bytes, 0, PAGES));
	for (size_t i = 0; i < ARRAY_SIZE(holes); i++) {
		ASSERT_EQ(0, munmap(self->bytes + holes[i].first * PAGE, (holes[i].last - holes[i].first) * PAGE));
		for (size_t j = 0, page = 0; j <= ARRAY_SIZE(holes); j++) {
			size_t end = j < ARRAY_SIZE(holes) && j <= i ? holes[j].first : PAGES;

			if (page < end) {
				EXPECT_EQ(0, wrong(self->bytes, page, end)) TH_LOG("hole %zu, from %zu", i, page);
			}
			if (end == PAGES)
				break;
			EXPECT_FALSE(is_mapped(self->bytes + holes[j].first * PAGE));
			EXPECT_FALSE(is_mapped(self->bytes + (holes[j].last - 1) * PAGE));
			page = holes[j].last;
		}
		self->bytes[50 * PAGE + 100] = i + 1;
		EXPECT_EQ(i + 1, self->other[50 * PAGE + 100]);
	}
	EXPECT_EQ(0, free_handle(self->fd, self->buffer.handle));
	EXPECT_EQ(0, wrong(self->bytes, 1, 100));
}

TEST_F(loading, mprotect)
{
	const struct { size_t first, last; } parts[] = { { 0, PAGES }, { 0, HUGE_PAGES }, { 100, 101 }, { 500, 530 } };

	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		unsigned char *begin = self->bytes + parts[i].first * PAGE;
		size_t length = (parts[i].last - parts[i].first) * PAGE;

		EXPECT_EQ(0, wrong(self->bytes, 0, PAGES));
		ASSERT_EQ(0, mprotect(begin, length, PROT_READ));
		EXPECT_EQ(0, wrong(self->bytes, 0, PAGES));
		EXPECT_FALSE(writable(begin));
		EXPECT_FALSE(writable(begin + length - 1));
		ASSERT_EQ(0, mprotect(begin, length, PROT_READ | PROT_WRITE));
		EXPECT_TRUE(writable(begin));
		begin[77] = i + 1;
		EXPECT_EQ(i + 1, self->other[parts[i].first * PAGE + 77]);

		ASSERT_EQ(0, mprotect(begin, length, PROT_NONE));
		EXPECT_FALSE(writable(begin));
		EXPECT_FALSE(writable(begin + length - 1));
		ASSERT_EQ(0, mprotect(begin, length, PROT_READ | PROT_WRITE));
		EXPECT_TRUE(writable(begin + length - 1));
		EXPECT_EQ(0, wrong(self->bytes, 0, PAGES));
	}
}

/* As a whole and in part, loaded or not, to places of either kind, on which page tables are left behind. */
TEST_F(loading, mremap)
{
	for (int to_huge = 0; to_huge < 2; to_huge++)
		for (size_t touched = 0; touched <= PAGES; touched += PAGES / 4) {
			unsigned char *target = place(SIZE, to_huge);

			EXPECT_EQ(0, wrong(self->bytes, 0, touched));
			ASSERT_EQ(target, mremap(self->bytes, SIZE, SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, target));
			EXPECT_FALSE(is_mapped(self->bytes));
			self->bytes = target;
			/* Written first, where there may be an empty page table. */
			self->bytes[(PAGES - 1) * PAGE + 123] = touched / 100;
			EXPECT_EQ((unsigned char)(touched / 100), self->other[(PAGES - 1) * PAGE + 123]);
			EXPECT_EQ(0, wrong(self->bytes, 0, PAGES));

			/* A part is moved away and back. */
			target = place(SIZE, to_huge);
			ASSERT_EQ(target, mremap(self->bytes + 300 * PAGE, 600 * PAGE, 600 * PAGE,
						 MREMAP_MAYMOVE | MREMAP_FIXED, target));
			EXPECT_EQ(0, wrong(target - 300 * PAGE, 300, 900));
			EXPECT_EQ(0, wrong(self->bytes, 0, 300));
			EXPECT_EQ(0, wrong(self->bytes, 900, PAGES));
			ASSERT_EQ(self->bytes + 300 * PAGE, mremap(target, 600 * PAGE, 600 * PAGE,
								   MREMAP_MAYMOVE | MREMAP_FIXED, self->bytes + 300 * PAGE));
			EXPECT_EQ(0, wrong(self->bytes, 0, PAGES));

			/* As one mapping again. */
			munmap(self->bytes, SIZE);
			self->bytes = map_at(self, variant->huge, PROT_READ | PROT_WRITE, 0);
			ASSERT_NE(NULL, self->bytes);
		}
}

TEST_F(loading, fork)
{
	int status;
	pid_t child;

	EXPECT_EQ(0, wrong(self->bytes, 0, PAGES));
	child = fork();
	if (!child) {
		size_t count = wrong(self->bytes, 0, PAGES);

		self->bytes[11] = 0x11;
		munmap(self->bytes + 10 * PAGE, 600 * PAGE);
		count += wrong(self->bytes, 0, 10) + wrong(self->bytes, 610, PAGES);
		self->bytes[700 * PAGE + 11] = 0x22;
		_exit(count ? 1 : 0);
	}
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(0x11, self->bytes[11]);
	EXPECT_EQ(0x22, self->bytes[700 * PAGE + 11]);
	EXPECT_EQ(0, wrong(self->bytes, 0, PAGES));
}

/*
 * A child does not inherit huge pages, because the copy could map one again after an unbind has removed all (copy_huge_pmd reads before it locks):
 * both fault again. (The same applies to small pages in the place of a huge one.)
 */
TEST_F(loading, forked_huge_pages_fault_anew)
{
	int status;
	pid_t child;

	EXPECT_EQ(0, wrong(self->bytes, 0, PAGES));
	ASSERT_EQ(PAGES, loaded(self->bytes, PAGES));
	child = fork();
	if (!child) {
		size_t copied = loaded(self->bytes, PAGES);

		_exit(wrong(self->bytes, 0, PAGES) ? 1 : copied ? 2 : 0);
	}
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, wrong(self->bytes, 0, PAGES));
}

/* Programs that track writes, such as CRIU, have all entries made read-only, so that writes fault. */
TEST_F(loading, soft_dirty)
{
	EXPECT_EQ(0, wrong(self->bytes, 0, PAGES));
	if (write_text("/proc/self/clear_refs", "4"))
		SKIP(return, "this kernel has no soft-dirty bits");
	for (size_t page = 0; page < PAGES; page += 100)
		self->bytes[page * PAGE + 13] = page;
	for (size_t page = 0; page < PAGES; page += 100)
		EXPECT_EQ((unsigned char)page, self->other[page * PAGE + 13]);
	EXPECT_EQ(0, wrong(self->bytes, 0, PAGES));
	munmap(self->bytes, SIZE);
}

TEST_F(loading, unbind)
{
	char address[32];

	ASSERT_EQ(0, pci_address("rdma0", address));
	EXPECT_EQ(0, wrong(self->bytes, 0, PAGES));
	ASSERT_EQ(0, write_text("/sys/bus/pci/drivers/rdma/unbind", address));
	for (size_t page = 0; page < PAGES; page += 51)
		EXPECT_FALSE(readable(self->bytes + page * PAGE));
	EXPECT_EQ(0, loaded(self->bytes, PAGES));
	/* A mapping that fails leaves nothing behind. */
	EXPECT_EQ(NULL, map_at(self, variant->huge, PROT_READ, MAP_POPULATE));
	EXPECT_EQ(ENODEV, errno);
	ASSERT_EQ(0, write_text("/sys/bus/pci/drivers/rdma/bind", address));
	for (int i = 0; i < 100 && access(NODE, F_OK); i++)
		pause_us(10000);
}

/* Calls that fill mappings of the page cache load nothing here, and do no harm. */
TEST_F(loading, not_before_it_is_touched)
{
	static const int flags[] = { MAP_POPULATE, MAP_POPULATE | MAP_NONBLOCK, MAP_LOCKED };

	for (size_t i = 0; i < ARRAY_SIZE(flags); i++) {
		unsigned char *bytes = map_at(self, variant->huge, PROT_READ | PROT_WRITE, flags[i]);

		ASSERT_NE(NULL, bytes);
		EXPECT_EQ(0, loaded(bytes, PAGES));
		EXPECT_EQ(0, mlock(bytes, SIZE));
		EXPECT_EQ(0, loaded(bytes, PAGES));
		EXPECT_EQ(-EINVAL, result(madvise(bytes, SIZE, 22 /* MADV_POPULATE_READ */)));
		EXPECT_EQ(-EINVAL, result(madvise(bytes, SIZE, 23 /* MADV_POPULATE_WRITE */)));
		EXPECT_EQ(0, loaded(bytes, PAGES));
		EXPECT_EQ(0, wrong(bytes, 0, PAGES));
		EXPECT_EQ(PAGES, loaded(bytes, PAGES));
		ASSERT_EQ(0, munmap(bytes, SIZE));
	}
}

/* Shared data of the threads below. */
static struct race {
	unsigned char *bytes;
	size_t pages;
	pthread_barrier_t barrier;
	bool end;
	size_t wrong;
} race;

static void *toucher(void *argument)
{
	size_t from = (size_t)argument;

	for (;;) {
		pthread_barrier_wait(&race.barrier);
		if (race.end)
			return NULL;
		for (size_t i = 0; i < race.pages; i += 61) {
			size_t page = (from + i) % race.pages;
			volatile uint64_t *word = (uint64_t *)(race.bytes + page * PAGE);

			if (from % 2)
				word[1] = page;
			if (*word != tag(page))
				__atomic_add_fetch(&race.wrong, 1, __ATOMIC_RELAXED);
		}
		pthread_barrier_wait(&race.barrier);
	}
}

/* Several threads access the same pages of a new mapping at once, while another one changes the rest of it. */
TEST_F_TIMEOUT(loading, threads_in_a_race, 120)
{
	enum { THREADS = 3, ROUNDS = 300 };
	pthread_t threads[THREADS];

	race = (struct race){ .pages = HUGE_PAGES };
	pthread_barrier_init(&race.barrier, NULL, THREADS + 1);
	for (size_t i = 0; i < THREADS; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, toucher, (void *)(i * 170 + i)));
	for (int round = 0; round < ROUNDS; round++) {
		unsigned char *bytes = map_at(self, variant->huge, PROT_READ | PROT_WRITE, 0);

		ASSERT_NE(NULL, bytes);
		race.bytes = bytes;
		pthread_barrier_wait(&race.barrier);
		switch (round % 4) {
		case 0:
			munmap(bytes + HUGE + 17 * PAGE, HUGE - 17 * PAGE);
			break;
		case 1:
			mprotect(bytes + HUGE, HUGE, PROT_READ);
			mprotect(bytes + (HUGE_PAGES - 1) * PAGE, PAGE, PROT_READ | PROT_WRITE);
			break;
		case 2:
			write_text("/sys/kernel/mm/transparent_hugepage/enabled", "never");
			write_text("/sys/kernel/mm/transparent_hugepage/enabled", "always");
			break;
		case 3:
			mremap(bytes + HUGE, HUGE, HUGE, MREMAP_MAYMOVE | MREMAP_FIXED, place(HUGE, round % 8 < 4));
			break;
		}
		pthread_barrier_wait(&race.barrier);
		munmap(bytes, SIZE);
	}
	race.end = true;
	pthread_barrier_wait(&race.barrier);
	for (size_t i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	EXPECT_EQ(0, race.wrong);
}

TEST_HARNESS_MAIN
