// SPDX-License-Identifier: GPL-2.0
/*
 * Promise 21: page tables never show an earlier rule. Random sequences of faults, advice, protection, fork, mremap, munmap and mmap, in
 * pages and in 2 MiB, compared with a model of what each place of an arena must show: a byte of the buffer, zero, or a signal.
 *
 * RDMA_SEED=N runs other sequences; RDMA_SEQUENCE=N runs one only. Failures are printed with both, and with the steps.
 */
#include "rdma_test.h"

#include <sys/wait.h>

enum {
	HUGE_PAGES = 512,
	BUFFER_PAGES = 3 * HUGE_PAGES, /* more than one piece of memory */
	ARENA_PAGES = 5 * HUGE_PAGES,
	STEPS = 14,
};

#define HUGE (HUGE_PAGES * PAGE)
#define BUFFER (BUFFER_PAGES * PAGE)
#define ARENA (ARENA_PAGES * PAGE)

/* An address that the kernel does not choose itself, below its base for mmap(2). */
#define ARENA_ADDRESS ((unsigned char *)(1UL << 45))

enum kind { HOLE, OURS, ANONYMOUS };

/* The state of a page of the arena. */
struct place {
	enum kind kind;
	int protection;
	int page; /* of the buffer, if it is OURS */
	int vma; /* pages with the same number are in one VMA */
};

static struct walk {
	uint64_t random;
	int fd;
	uint64_t offset; /* of the buffer in the file */
	bool gone; /* the device is removed: accesses to the buffer raise SIGBUS */
	struct place place[ARENA_PAGES];
	int vmas;
	unsigned char *shadow; /* the buffer's contents; shared with children */
	char log[16384];
	size_t logged;
	long reads, writes, signals, forks;
} walk;

static uint64_t next_random(void)
{
	/* xorshift64*; source: Vigna, "An experimental exploration of Marsaglia's xorshift generators" */
	walk.random ^= walk.random >> 12;
	walk.random ^= walk.random << 25;
	walk.random ^= walk.random >> 27;
	return walk.random * 0x2545f4914f6cdd1d;
}

static int below(int limit)
{
	return (next_random() >> 33) % limit;
}

static bool once_in(int times)
{
	return !below(times);
}

#define LOG(...) do { \
	int length_ = snprintf(walk.log + walk.logged, sizeof(walk.log) - walk.logged, __VA_ARGS__); \
	walk.logged += walk.logged + length_ < sizeof(walk.log) ? length_ : 0; \
} while (0)

/* --- The arena */

struct range {
	int first, count; /* in pages */
};

static unsigned char *at(int page)
{
	return ARENA_ADDRESS + page * PAGE;
}

/* A range in the arena: some pages, or some 2 MiB. */
static struct range any_range(void)
{
	struct range range;

	if (once_in(2)) {
		range.first = below(ARENA_PAGES / HUGE_PAGES) * HUGE_PAGES;
		range.count = (1 + below(ARENA_PAGES / HUGE_PAGES - range.first / HUGE_PAGES)) * HUGE_PAGES;
	} else {
		range.first = below(ARENA_PAGES);
		range.count = 1 + below(once_in(2) ? 8 : ARENA_PAGES);
		if (range.count > ARENA_PAGES - range.first)
			range.count = ARENA_PAGES - range.first;
	}
	return range;
}

static bool same_vma(int one, int other)
{
	return walk.place[one].kind == OURS && walk.place[other].kind == OURS && walk.place[one].vma == walk.place[other].vma;
}

/* A page that shows the buffer; -1 if there is none close by. */
static int any_of_ours(void)
{
	int start = below(ARENA_PAGES);

	for (int i = 0; i < ARENA_PAGES; i += 16)
		if (walk.place[(start + i) % ARENA_PAGES].kind == OURS)
			return (start + i) % ARENA_PAGES;
	return -1;
}

/* A part of one mapping of the buffer, or all of it; no pages if there is none. */
static struct range any_mapping(void)
{
	int page = any_of_ours(), first = page, end = page + 1;
	struct range range = { 0, 0 };

	if (page < 0)
		return range;
	while (first > 0 && same_vma(first - 1, page))
		first--;
	while (end < ARENA_PAGES && same_vma(end, page))
		end++;
	range = (struct range){ first, end - first };
	if (once_in(3)) {
		range.first = page;
		range.count = 1 + below(end - page);
	} else if (once_in(2)) {
		int aligned = (first + HUGE_PAGES - 1) / HUGE_PAGES * HUGE_PAGES;

		if (aligned + HUGE_PAGES <= end)
			range = (struct range){ aligned, (1 + below((end - aligned) / HUGE_PAGES)) * HUGE_PAGES };
	}
	return range;
}

/* Splits VMAs at the boundaries of the change. The kernel may split fewer; it never merges these. */
static void split(struct range range)
{
	int before = 0, end = range.first + range.count;

	for (int page = range.first; page < ARENA_PAGES; page++) {
		int vma = walk.place[page].vma;

		if (page >= end && vma != before)
			break;
		if (page == range.first || page == end || vma != before)
			walk.vmas++;
		before = vma;
		walk.place[page].vma = walk.vmas;
	}
}

static void become(struct range range, struct place place)
{
	split(range);
	for (int page = range.first; page < range.first + range.count; page++) {
		place.vma = walk.place[page].vma;
		walk.place[page] = place;
		place.page++;
	}
}

/* --- Accesses */

static __thread sigjmp_buf touch_jump;
static __thread volatile sig_atomic_t touch_signal;

static void touched(int signal)
{
	touch_signal = signal;
	siglongjmp(touch_jump, 1);
}

static void catch_signals(void)
{
	struct sigaction action = { .sa_handler = touched, .sa_flags = SA_NODEFER };

	sigaction(SIGSEGV, &action, NULL);
	sigaction(SIGBUS, &action, NULL);
}

/* The result of reading or writing a byte there: the signal, or 0. */
static int touch(volatile unsigned char *byte, bool writing, unsigned char *value)
{
	touch_signal = 0;
	if (!sigsetjmp(touch_jump, 0)) {
		if (writing)
			*byte = *value;
		else
			*value = *byte;
	}
	return touch_signal;
}

/* Accesses a page and returns whether it matches the model. */
static bool touch_page(int page, bool writing)
{
	struct place *place = &walk.place[page];
	int offset = below(PAGE), expected = 0, signal;
	unsigned char value = next_random() >> 40, should = 0;

	if (place->kind == HOLE || !(place->protection & (writing ? PROT_WRITE : PROT_READ)))
		expected = SIGSEGV;
	else if (place->kind == OURS && walk.gone)
		expected = SIGBUS;
	if (place->kind == OURS)
		should = walk.shadow[place->page * PAGE + offset];
	else
		value = 0;
	signal = touch(at(page) + offset, writing, &value);
	walk.reads += !writing;
	walk.writes += writing;
	walk.signals += signal != 0;
	if (signal != expected) {
		LOG("  %s page %d: signal %d and not %d\n", writing ? "writing" : "reading", page, signal, expected);
		return false;
	}
	if (signal)
		return true;
	if (writing && place->kind == OURS) {
		walk.shadow[place->page * PAGE + offset] = value;
	} else if (!writing && value != should) {
		LOG("  page %d, byte %d: %02x and not %02x\n", page, offset, value, should);
		return false;
	}
	return true;
}

/* --- The steps. Each returns whether its result was right. */

static bool step_touch(void)
{
	int page = once_in(8) ? below(ARENA_PAGES) : any_of_ours();
	bool writing = once_in(2);

	if (page < 0)
		return true;
	LOG("  %s page %d\n", writing ? "write" : "read", page);
	return touch_page(page, writing);
}

static bool step_sweep(void)
{
	bool writing = once_in(3);

	LOG("  %s every 61st page\n", writing ? "write" : "read");
	for (int page = below(61); page < ARENA_PAGES; page += 61)
		if (!touch_page(page, writing))
			return false;
	return true;
}

/* Its result is checked in vma_rules.c; here it must not change anything. */
static bool step_advise(void)
{
	static const int advices[] = {
		MADV_NORMAL, MADV_RANDOM, MADV_RANDOM, MADV_RANDOM, MADV_SEQUENTIAL, MADV_HUGEPAGE, MADV_NOHUGEPAGE, MADV_WILLNEED,
		MADV_DONTNEED, 20 /* MADV_COLD */, 21 /* MADV_PAGEOUT */, 22 /* MADV_POPULATE_READ */, 23 /* MADV_POPULATE_WRITE */,
		24 /* MADV_DONTNEED_LOCKED */, 25 /* MADV_COLLAPSE */,
	};
	struct range range = once_in(2) ? any_mapping() : any_range();
	int advice = advices[below(ARRAY_SIZE(advices))];

	LOG("  advise %d+%d: %d\n", range.first, range.count, advice);
	split(range);
	madvise(at(range.first), range.count * PAGE, advice);
	return true;
}

/* As CRIU does: all entries become read-only, so that writes fault. */
static bool step_clear_refs(void)
{
	char what[2] = { once_in(4) ? '1' + below(3) : '4' };

	LOG("  clear_refs %s\n", what);
	return !write_text("/proc/self/clear_refs", what);
}

static bool step_protect(void)
{
	static const int protections[] = { PROT_NONE, PROT_READ, PROT_READ, PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE };
	struct range range = any_mapping();
	int protection = protections[below(ARRAY_SIZE(protections))];

	LOG("  mprotect %d+%d: %d\n", range.first, range.count, protection);
	split(range);
	for (int page = range.first; page < range.first + range.count; page++)
		walk.place[page].protection = protection;
	return !mprotect(at(range.first), range.count * PAGE, protection);
}

static bool step_map(void)
{
	struct range range = any_range();
	struct place place = { .kind = OURS, .protection = once_in(3) ? PROT_READ : PROT_READ | PROT_WRITE };

	if (range.count > BUFFER_PAGES)
		range.count = BUFFER_PAGES;
	place.page = below(BUFFER_PAGES - range.count + 1);
	if (!once_in(4)) /* aligned as the address is */
		place.page = place.page / HUGE_PAGES * HUGE_PAGES + range.first % HUGE_PAGES;
	if (range.count > BUFFER_PAGES - place.page)
		range.count = BUFFER_PAGES - place.page;
	LOG("  mmap %d+%d: page %d, %d\n", range.first, range.count, place.page, place.protection);
	become(range, place);
	return mmap(at(range.first), range.count * PAGE, place.protection, MAP_SHARED | MAP_FIXED, walk.fd,
		    walk.offset + place.page * PAGE) == at(range.first);
}

static bool step_cover(void)
{
	struct range range = any_range();

	LOG("  something else over %d+%d\n", range.first, range.count);
	become(range, (struct place){ .kind = ANONYMOUS, .protection = PROT_READ | PROT_WRITE });
	return mmap(at(range.first), range.count * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
	       at(range.first);
}

static bool step_unmap(void)
{
	struct range range = any_range();

	LOG("  munmap %d+%d\n", range.first, range.count);
	become(range, (struct place){ .kind = HOLE });
	return !munmap(at(range.first), range.count * PAGE);
}

static bool step_move(void)
{
	struct range from = any_mapping(), to = { below(ARENA_PAGES), from.count };
	static struct place moved[ARENA_PAGES];

	if (!once_in(4)) /* the same distance from a multiple of 2 MiB */
		to.first = to.first / HUGE_PAGES * HUGE_PAGES + from.first % HUGE_PAGES;
	if (!from.count || to.first + to.count > ARENA_PAGES ||
	    (to.first < from.first + from.count && from.first < to.first + to.count))
		return true;
	LOG("  mremap %d+%d to %d\n", from.first, from.count, to.first);
	memcpy(moved, walk.place + from.first, from.count * sizeof(*moved));
	become(from, (struct place){ .kind = HOLE });
	become(to, (struct place){ .kind = OURS });
	for (int i = 0; i < to.count; i++) {
		moved[i].vma = walk.place[to.first + i].vma;
		walk.place[to.first + i] = moved[i];
	}
	return mremap(at(from.first), from.count * PAGE, to.count * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, at(to.first)) ==
	       at(to.first);
}

static bool step_shrink(void)
{
	struct range range = any_mapping();
	int left;

	if (range.count < 2)
		return true;
	left = 1 + below(range.count - 1);
	LOG("  mremap %d+%d to %d pages\n", range.first, range.count, left);
	become((struct range){ range.first + left, range.count - left }, (struct place){ .kind = HOLE });
	return mremap(at(range.first), range.count * PAGE, left * PAGE, 0) == at(range.first);
}

static bool random_step(void);

/* A child takes steps of its own; its writes are visible here, its changes of mappings are not. */
static bool step_fork(void)
{
	pid_t child;
	int status;

	LOG("  fork\n");
	walk.forks++;
	child = fork();
	if (!child) {
		bool right = step_sweep();

		for (int i = 0; right && i < 3; i++)
			right = random_step();
		if (!right)
			printf("# in the child:\n%s", walk.log), fflush(stdout);
		_exit(!right);
	}
	next_random(); /* not as the child */
	return waitpid(child, &status, 0) == child && !status;
}

static bool random_step(void)
{
	static const struct { int weight; bool (*step)(void); } steps[] = {
		{ 30, step_touch }, { 4, step_sweep }, { 20, step_advise }, { 10, step_clear_refs }, { 12, step_protect },
		{ 8, step_map }, { 3, step_cover }, { 4, step_unmap }, { 8, step_move }, { 3, step_shrink }, { 3, step_fork },
	};
	int sum = 0, chosen;

	for (size_t i = 0; i < ARRAY_SIZE(steps); i++)
		sum += steps[i].weight;
	chosen = below(sum);
	for (size_t i = 0;; i++) {
		chosen -= steps[i].weight;
		if (chosen < 0)
			return steps[i].step();
	}
}

/* --- Sequences */

static uint64_t seed(void)
{
	return strtoull(getenv("RDMA_SEED") ?: "1", NULL, 0);
}

/* A sequence from an empty arena, most of which begin with the whole buffer mapped where huge pages are possible. */
static bool walk_sequence(uint64_t number)
{
	walk.random = (seed() << 32) + number * 2 + 1;
	for (int i = 0; i < 8; i++)
		next_random();
	walk.logged = 0;
	munmap(ARENA_ADDRESS, ARENA);
	become((struct range){ 0, ARENA_PAGES }, (struct place){ .kind = HOLE });
	if (!once_in(4)) {
		struct place place = { .kind = OURS, .protection = once_in(2) ? PROT_READ : PROT_READ | PROT_WRITE };

		LOG("  mmap 0+%d: page 0, %d\n", BUFFER_PAGES, place.protection);
		become((struct range){ 0, BUFFER_PAGES }, place);
		if (mmap(ARENA_ADDRESS, BUFFER, place.protection, MAP_SHARED | MAP_FIXED, walk.fd, walk.offset) != ARENA_ADDRESS)
			return false;
	}
	for (int i = 0; i < STEPS; i++)
		if (!random_step())
			return false;
	return step_sweep();
}

static void report(uint64_t number)
{
	printf("# RDMA_SEED=%" PRIu64 " RDMA_SEQUENCE=%" PRIu64 ":\n%s", seed(), number, walk.log);
	fflush(stdout);
}

static bool open_buffer(void)
{
	struct rdma_alloc alloc = { .size = BUFFER };

	walk.fd = open_node(O_RDWR);
	if (walk.fd < 0 || call(walk.fd, RDMA_IOC_ALLOC, &alloc))
		return false;
	walk.offset = alloc.mmap_offset;
	return true;
}

/* The buffer's bytes, and their expected values. */
static bool fill_buffer(void)
{
	unsigned char *bytes = map(walk.fd, walk.offset, BUFFER, PROT_READ | PROT_WRITE);
	uint64_t *words = (uint64_t *)walk.shadow;

	walk.random = seed();
	for (size_t i = 0; i < BUFFER / sizeof(*words); i++)
		words[i] = next_random();
	if (bytes)
		memcpy(bytes, walk.shadow, BUFFER);
	return bytes && !munmap(bytes, BUFFER);
}

FIXTURE(walk) {};

FIXTURE_SETUP(walk)
{
	walk.shadow = shared_memory(BUFFER);
	ASSERT_NE(MAP_FAILED, walk.shadow);
	ASSERT_EQ(true, open_buffer());
	ASSERT_EQ(true, fill_buffer());
	catch_signals();
}

FIXTURE_TEARDOWN(walk)
{
	munmap(ARENA_ADDRESS, ARENA);
	close(walk.fd);
}

/* All of them, or the selected one; returns how many were right. */
static int walk_all(struct __test_metadata *_metadata, int sequences)
{
	const char *one = getenv("RDMA_SEQUENCE");
	int right = 0;

	if (one) {
		EXPECT_EQ(true, walk_sequence(strtoull(one, NULL, 0)));
		report(strtoull(one, NULL, 0));
		return 1;
	}
	while (right < sequences && walk_sequence(right))
		right++;
	EXPECT_EQ(sequences, right);
	if (right < sequences)
		report(right);
	return right;
}

TEST_F_TIMEOUT(walk, sequences, 40000)
{
	int sequences = scale(10000, 1000000), right = walk_all(_metadata, sequences);

	FIGURE("%d random sequences of faults, advice, protection, fork and remapping",
	       "%d right; %ld reads, %ld writes, %ld signals, %ld children", sequences, right, walk.reads, walk.writes, walk.signals,
	       walk.forks);
}

/* What another thread does at the same time: faults of either kind everywhere, which change nothing. */
static void *touch_all_over(void *stop)
{
	volatile uint64_t random = 1;

	while (!*(volatile bool *)stop) {
		unsigned char *byte;

		random = random * 6364136223846793005 + 1442695040888963407;
		byte = ARENA_ADDRESS + (random >> 33) % ARENA;
		if (sigsetjmp(touch_jump, 0))
			continue;
		if (random >> 32 & 1)
			__atomic_fetch_or(byte, 0, __ATOMIC_RELAXED);
		else
			(void)*(volatile unsigned char *)byte;
	}
	return NULL;
}

TEST_F_TIMEOUT(walk, beside_another_thread, 40000)
{
	int sequences = scale(1000, 100000), right;
	bool stop = false;
	pthread_t thread;

	ASSERT_EQ(0, pthread_create(&thread, NULL, touch_all_over, &stop));
	right = walk_all(_metadata, sequences);
	stop = true;
	pthread_join(thread, NULL);
	FIGURE("%d such sequences while another thread touches pages", "%d right", sequences, right);
}

/* After any sequence, an unbind removes all pages from the mappings. */
TEST_F_TIMEOUT(walk, then_unbind, 4000)
{
	int sequences = scale(50, 1000);
	char address[32];

	ASSERT_EQ(0, pci_address("rdma0", address));
	for (int i = 0; i < sequences; i++) {
		bool right = walk_sequence(1000000000 + i);

		ASSERT_EQ(0, write_text("/sys/bus/pci/drivers/rdma/unbind", address));
		walk.gone = true;
		for (int page = 0; right && page < ARENA_PAGES; page += 7)
			right = touch_page(page, page % 2);
		walk.gone = false;
		EXPECT_EQ(true, right);
		if (!right)
			report(1000000000 + i);
		close(walk.fd);
		ASSERT_EQ(0, write_text("/sys/bus/pci/drivers/rdma/bind", address));
		for (int tries = 0; tries < 100 && access(NODE, F_OK); tries++)
			pause_us(10000);
		ASSERT_EQ(true, open_buffer());
		ASSERT_EQ(true, fill_buffer());
	}
	FIGURE("%d such sequences, each ended by an unbind", "no page was left", sequences);
}

TEST_HARNESS_MAIN
