/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Fault injection by number: the n-th memory allocation or copy from or to user space of the next call fails (/proc/PID/fail-nth; in the kernel:
 * Documentation/fault-injection/fault-injection.rst). Slab objects, pages and copies of this thread are counted.
 */
#ifndef FAIL_NTH_H
#define FAIL_NTH_H

#include "rdma_test.h"

#include <dirent.h>

#define DEBUGFS "/sys/kernel/debug/"
#define PCI "/sys/bus/pci/"

#define KNOB "/proc/thread-self/fail-nth"

/* Allocations of the kernel's debugging features only, which disable themselves without memory. The first is that of the DMA API. */
static const char *const spared[] = { "radix_tree_node", "kmemleak_object", "kmemleak_scan_area", "debug_objects_cache" };

static inline int set_each_cache(const char *value)
{
	DIR *caches = opendir("/sys/kernel/slab");
	struct dirent *cache;
	int count = 0;

	if (!caches)
		return -errno;
	while ((cache = readdir(caches))) {
		char path[sizeof(cache->d_name) + 64];
		bool spare = cache->d_name[0] == '.';

		for (size_t i = 0; i < ARRAY_SIZE(spared); i++)
			spare |= !strncmp(cache->d_name, spared[i], strlen(spared[i]));
		snprintf(path, sizeof(path), "/sys/kernel/slab/%s/failslab", cache->d_name);
		count += !spare && !write_text(path, value);
	}
	closedir(caches);
	return count;
}

/* Lets everything fail that can, without a message, since a message would be taken for an error of the kernel. Returns 0 or an error. */
static inline int prepare_injection(void)
{
	static const struct { const char *knob, *value; } knobs[] = {
		{ "failslab/ignore-gfp-wait", "N" },	    { "failslab/cache-filter", "Y" },
		{ "failslab/verbose", "0" },		    { "fail_page_alloc/ignore-gfp-wait", "N" },
		{ "fail_page_alloc/ignore-gfp-highmem", "N" }, { "fail_page_alloc/min-order", "0" },
		{ "fail_page_alloc/verbose", "0" },	    { "fail_usercopy/verbose", "0" },
	};
	int count;

	for (size_t i = 0; i < ARRAY_SIZE(knobs); i++) {
		char path[128];
		int error;

		snprintf(path, sizeof(path), "/sys/kernel/debug/%s", knobs[i].knob);
		error = write_text(path, knobs[i].value);
		if (error)
			return error;
	}
	/* So that no page of this program has to be loaded during the call. */
	if (mlockall(MCL_CURRENT))
		return -errno;
	count = set_each_cache("1");
	return count < 0 ? count : count < 50 ? -ENODATA : 0;
}

static inline int open_knob(void)
{
	return result(open(KNOB, O_RDWR | O_CLOEXEC));
}

/* From now on, the n-th one fails. */
static inline void arm(int knob, unsigned int n)
{
	char text[16];
	int length = snprintf(text, sizeof(text), "%u", n);

	if (pwrite(knob, text, length, 0) != length)
		abort();
}

/* Nothing fails any more. Returns the remaining count, 0 if the n-th has failed. */
static inline unsigned int disarm(int knob)
{
	char text[16];
	ssize_t length = pread(knob, text, sizeof(text) - 1, 0);

	/* A failure within this function, or within the code that disables it, is not one of the call. */
	(void)!pwrite(knob, "0", 1, 0);
	if (length < 0)
		return 1;
	text[length] = '\0';
	return strtoul(text, NULL, 10);
}

/* Of all tests together; each is a process. */
static struct totals {
	int calls, sites, refused;
} *totals;

__attribute__((constructor)) static void make_totals(void)
{
	totals = shared_memory(sizeof(*totals));
}

/* What the calls use. */
struct scene {
	int fd, knob;
	struct buffer buffer; /* two megabytes, aligned: a huge page */
	int fresh;	      /* created again for each call */
	struct buffer other;
	unsigned char *bytes;
	struct rdma_completion_ring ring; /* of `fresh` */
};

/* --- State that must not change */

/* All of the driver's state that is visible. */
static inline void describe(char *text, size_t size, int fd)
{
	static const char *const files[] = { DEBUGFS "rust_dma/rdma0/state", DEBUGFS "dma-api/num_free_entries", "/proc/devices" };
	static const char *const places[] = { NODE, "/sys/class/rust_dma", "/sys/class/rust_dma/rdma0", PCI "drivers/rdma", DEBUGFS "rust_dma",
					      DEBUGFS "rust_dma/rdma0", "/sys/module/rdma" };
	int next = dup(STDIN_FILENO);
	size_t length = snprintf(text, size, "next descriptor %d, interrupts %d\n", next, interrupts("rdma") >= 0);

	close(next);
	for (size_t i = 0; i < ARRAY_SIZE(places); i++)
		length += snprintf(text + length, size - length, "%s %d\n", places[i], access(places[i], F_OK));
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		if (!read_text(files[i], text + length, size - length))
			length += strlen(text + length);
	}
	if (fd >= 0) {
		char path[64];

		snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
		if (!read_text(path, text + length, size - length))
			length += strlen(text + length);
	}
}

/* Whether it is the same within two seconds: a transfer may have to end first. */
static inline bool is_as_before(const char *before, char *text, size_t size, int fd)
{
	for (int64_t began = now(); describe(text, size, fd), strcmp(before, text);) {
		if (now() - began > 2000000)
			return false;
		pause_us(10000);
	}
	return true;
}

/* If a device is refused, the error is ENODEV, and the log states the reason. `also`: a different error of the kernel around the driver. */
static inline bool is_documented(long answer, int also)
{
	return answer >= 0 || answer == -ENOMEM || answer == -EFAULT || answer == -ENODEV || answer == -also;
}

/* --- The sweep */

typedef void before_call(struct __test_metadata *_metadata, struct scene *self);
typedef long the_call(struct scene *self);
typedef void after_call(struct __test_metadata *_metadata, struct scene *self, long answer);

struct sweep {
	const char *name;
	int fd; /* an open file whose fdinfo is compared, or -1 */
	unsigned int first;
	before_call *before;
	the_call *call;
	after_call *after;
	int also; /* an additional error that is allowed */
};

static inline void sweep(struct __test_metadata *_metadata, struct scene *self, const struct sweep *what)
{
	static char before[8192], after[8192];
	int sites = 0, refused = 0;
	bool failed = true;

	describe(before, sizeof(before), what->fd);
	for (unsigned int n = what->first; failed; n++) {
		long answer;

		if (what->before)
			what->before(_metadata, self);
		arm(self->knob, n);
		answer = what->call(self);
		failed = disarm(self->knob) == 0;
		ASSERT_TRUE(is_documented(answer, what->also)) TH_LOG("%s, site %u: answer %ld", what->name, n, answer);
		ASSERT_TRUE(failed || answer >= 0) TH_LOG("%s: answer %ld without a failure", what->name, answer);
		if (what->after)
			what->after(_metadata, self, answer);
		ASSERT_TRUE(is_as_before(before, after, sizeof(after), what->fd))
			TH_LOG("%s, site %u, answer %ld:\n%s--- was:\n%s", what->name, n, answer, after, before);
		sites += failed;
		refused += answer < 0;
	}
	TH_LOG("%s: %d sites failed, %d of them failed the call", what->name, sites, refused);
	totals->calls++;
	totals->sites += sites;
	totals->refused += refused;
}

/* --- After the tests */

/* The number of objects allocated by this driver that nothing refers to. */
static inline int lost_objects(void)
{
	FILE *file = fopen(DEBUGFS "kmemleak", "re");
	char line[256];
	int count = 0;
	bool ours = false;

	if (!file)
		return -errno;
	while (fgets(line, sizeof(line), file)) {
		if (!strncmp(line, "unreferenced", 12))
			ours = false;
		if (strstr(line, "[rdma]") && !ours) {
			ours = true;
			count++;
		}
		if (ours)
			printf("# %s", line);
	}
	fclose(file);
	return count;
}

/* Nothing has leaked, and there were at least this many calls, of which at least this many failed. */
static inline void expect_nothing_left(struct __test_metadata *_metadata, int calls, int refused)
{
	char text[16];

	EXPECT_EQ(0, read_text(DEBUGFS "dma-api/disabled", text, sizeof(text)));
	EXPECT_STREQ("N\n", text);
	/* kmemleak does not report objects younger than five seconds. */
	for (int i = 0; i < 2; i++) {
		pause_us(6000000);
		ASSERT_EQ(0, write_text(DEBUGFS "kmemleak", "scan"));
	}
	ASSERT_EQ(0, lost_objects());
	EXPECT_LE(calls, totals->calls);
	EXPECT_LE(refused, totals->refused);
	FIGURE("%d sites of %d calls failed, each once", "%d answers were errors, all documented; 0 leaks", totals->sites, totals->calls,
	       totals->refused);
}

#endif
