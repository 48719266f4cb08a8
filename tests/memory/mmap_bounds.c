// SPDX-License-Identifier: GPL-2.0
/* Promise 4: mmap accepts exactly the ranges that lie within one buffer, and each shows the right pages. */
#include "rdma_test.h"

#include <sys/syscall.h>

enum { MOST_PAGES = 16, FURTHEST = 33 };

/* The positions of the context's buffers in the offsets of the node: the model. */
struct extent {
	uint64_t offset, length;
};

static bool inside(const struct extent *extents, size_t count, uint64_t offset, uint64_t length)
{
	for (size_t i = 0; i < count; i++)
		if (length && offset >= extents[i].offset && offset - extents[i].offset <= extents[i].length &&
		    length <= extents[i].length - (offset - extents[i].offset))
			return true;
	return false;
}

/* Page n of a buffer begins with its own tag. */
static void tag(unsigned char *bytes, uint64_t pages, uint32_t buffer)
{
	for (uint64_t i = 0; i < pages; i++)
		*(uint32_t *)(bytes + i * PAGE) = buffer << 16 | i;
}

/* The system call itself: glibc checks offsets. */
static unsigned char *raw_mmap(int fd, uint64_t offset, uint64_t length)
{
#ifdef __LP64__
	return (unsigned char *)syscall(SYS_mmap, NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, offset);
#else
	/* The largest offset of a 32-bit program. */
	if (offset % PAGE || offset / PAGE > UINT32_MAX || length > UINT32_MAX) {
		errno = EINVAL;
		return MAP_FAILED;
	}
	return (unsigned char *)syscall(SYS_mmap2, NULL, (size_t)length, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
					(unsigned long)(offset / PAGE));
#endif
}

FIXTURE(bounds)
{
	int fd;
	long cases;
	long wrong;
};

FIXTURE_SETUP(bounds)
{
	self->fd = open_node(O_RDWR);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(bounds)
{
	close(self->fd);
}

/* All small offsets and lengths around a buffer, which is the only one of its context. */
static void try_all(struct __test_metadata *_metadata, FIXTURE_DATA(bounds) *self, int fd, struct extent extent,
		    uint32_t number)
{
	for (uint64_t page = 0; page <= FURTHEST; page++)
		for (uint64_t pages = 0; pages <= FURTHEST; pages++) {
			bool wanted = inside(&extent, 1, extent.offset + page * PAGE, pages * PAGE);
			unsigned char *bytes = raw_mmap(fd, extent.offset + page * PAGE, pages * PAGE);
			bool right = (bytes != MAP_FAILED) == wanted && (wanted || errno == EINVAL);

			for (uint64_t i = 0; right && wanted && i < pages; i++)
				right = *(uint32_t *)(bytes + i * PAGE) == (number << 16 | (page + i));
			self->cases++;
			self->wrong += !right;
			EXPECT_TRUE(right)
				TH_LOG("%" PRIu64 " pages at page %" PRIu64 " of %" PRIu64 ": %p, errno %d", pages, page,
				       extent.length / PAGE, bytes, errno);
			if (bytes != MAP_FAILED)
				munmap(bytes, pages * PAGE);
		}
}

TEST_F(bounds, every_offset_and_length)
{
	for (uint64_t pages = 1; pages <= MOST_PAGES; pages++) {
		struct buffer buffer;

		ASSERT_EQ(0, allocate(self->fd, pages * PAGE, &buffer));
		tag(buffer.bytes, pages, pages);
		try_all(_metadata, self, self->fd, (struct extent){ buffer.offset, buffer.size }, pages);
		ASSERT_EQ(0, release(self->fd, &buffer));
	}
	FIGURE("%ld pairs of page offset and length, for buffers of 1 to %d pages", "%ld wrong accepts or rejects",
	       self->cases, MOST_PAGES, self->wrong);
	EXPECT_LT(17000, self->cases);
}

TEST_F(bounds, every_offset_and_length_of_the_first_buffer)
{
	for (uint64_t pages = 1; pages <= MOST_PAGES; pages++) {
		int fd = open_node(O_RDWR);
		unsigned char *bytes;

		ASSERT_LE(0, fd);
		bytes = map(fd, 0, pages * PAGE, PROT_READ | PROT_WRITE);
		ASSERT_NE(NULL, bytes);
		tag(bytes, pages, pages);
		try_all(_metadata, self, fd, (struct extent){ 0, pages * PAGE }, pages);
		munmap(bytes, pages * PAGE);
		close(fd);
	}
	FIGURE("%ld pairs, for a first buffer of 1 to %d pages", "%ld wrong accepts or rejects", self->cases, MOST_PAGES,
	       self->wrong);
	EXPECT_LT(17000, self->cases);
}

/* With neighbours: a range may not extend from one buffer into the next. */
TEST_F(bounds, several_buffers)
{
	static const uint64_t sizes[] = { 2, 3, 1, 4 };
	struct buffer buffers[ARRAY_SIZE(sizes)];
	struct extent extents[ARRAY_SIZE(sizes) + 1];
	unsigned char *first = map(self->fd, 0, 2 * PAGE, PROT_READ | PROT_WRITE);

	ASSERT_NE(NULL, first);
	tag(first, 2, 0);
	extents[ARRAY_SIZE(sizes)] = (struct extent){ 0, 2 * PAGE };
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		ASSERT_EQ(0, allocate(self->fd, sizes[i] * PAGE, &buffers[i]));
		tag(buffers[i].bytes, sizes[i], i + 1);
		extents[i] = (struct extent){ buffers[i].offset, buffers[i].size };
	}
	for (size_t i = 0; i < ARRAY_SIZE(extents); i++)
		for (int64_t page = -5; page <= 12; page++)
			for (uint64_t pages = 1; pages <= 12; pages++) {
				uint64_t offset = extents[i].offset + page * PAGE;
				bool wanted = inside(extents, ARRAY_SIZE(extents), offset, pages * PAGE);
				unsigned char *bytes = raw_mmap(self->fd, offset, pages * PAGE);

				self->cases++;
				EXPECT_EQ(wanted, bytes != MAP_FAILED)
					TH_LOG("%" PRIu64 " pages at %#" PRIx64, pages, offset);
				if (bytes != MAP_FAILED && page >= 0 && (uint64_t)page < extents[i].length / PAGE) {
					EXPECT_EQ((i + 1) % ARRAY_SIZE(extents) << 16 | page, *(uint32_t *)bytes);
				}
				if (bytes != MAP_FAILED)
					munmap(bytes, pages * PAGE);
			}
	EXPECT_LT(1000, self->cases);
}

/* Sums that overflow, in bytes and in pages. */
TEST_F(bounds, overflow)
{
	struct extent extents[2];
	struct buffer buffer;
	uint64_t offsets[256], lengths[80];
	size_t offset_count = 0, length_count = 0;

	ASSERT_NE(NULL, map(self->fd, 0, 2 * PAGE, PROT_READ));
	ASSERT_EQ(0, allocate(self->fd, 3 * PAGE, &buffer));
	extents[0] = (struct extent){ 0, 2 * PAGE };
	extents[1] = (struct extent){ buffer.offset, buffer.size };
	for (uint64_t distance = PAGE; distance; distance <<= 1) {
		offsets[offset_count++] = buffer.offset + distance;
		offsets[offset_count++] = distance;
		offsets[offset_count++] = -distance;
		offsets[offset_count++] = buffer.offset - distance;
		lengths[length_count++] = distance;
	}
	lengths[length_count++] = 0;
	lengths[length_count++] = 3 * PAGE;
	lengths[length_count++] = -buffer.offset;
	lengths[length_count++] = -buffer.offset - PAGE;
	lengths[length_count++] = (1ULL << 47) - PAGE;
	lengths[length_count++] = -(uint64_t)PAGE;
	lengths[length_count++] = UINT64_MAX;

	for (size_t i = 0; i < offset_count; i++)
		for (size_t j = 0; j < length_count; j++) {
			uint64_t length = (lengths[j] + PAGE - 1) & -PAGE;
			bool wanted = inside(extents, 2, offsets[i], length);
			unsigned char *bytes = raw_mmap(self->fd, offsets[i], lengths[j]);

			self->cases++;
			self->wrong += wanted != (bytes != MAP_FAILED);
			EXPECT_EQ(wanted, bytes != MAP_FAILED)
				TH_LOG("%#" PRIx64 " bytes at %#" PRIx64, lengths[j], offsets[i]);
			if (bytes == MAP_FAILED) {
				EXPECT_TRUE(errno == EINVAL || errno == EOVERFLOW || errno == ENOMEM)
					TH_LOG("errno %d", errno);
			} else {
				munmap(bytes, lengths[j]);
			}
		}
	FIGURE("%ld pairs whose sums overflow, or nearly", "%ld wrong accepts or rejects", self->cases, self->wrong);
	EXPECT_LT(10000, self->cases);
}

/* Offsets are whole pages. */
TEST_F(bounds, unaligned_offsets)
{
	struct buffer buffer;

	ASSERT_EQ(0, allocate(self->fd, 2 * PAGE, &buffer));
	for (uint64_t offset = 1; offset < PAGE; offset += offset) {
		EXPECT_EQ(MAP_FAILED, raw_mmap(self->fd, buffer.offset + offset, PAGE));
		EXPECT_EQ(EINVAL, errno);
	}
}

/* remap_file_pages(2) is another way to map. */
TEST_F(bounds, remap_file_pages)
{
	struct buffer buffer;

	ASSERT_EQ(0, allocate(self->fd, 4 * PAGE, &buffer));
	tag(buffer.bytes, 4, 1);
	for (uint64_t page = 0; page < 8; page++) {
		unsigned char *window = map(self->fd, buffer.offset, 2 * PAGE, PROT_READ | PROT_WRITE);
		long answer;

		ASSERT_NE(NULL, window);
		answer = result(syscall(SYS_remap_file_pages, window, 2 * PAGE, 0, buffer.offset / PAGE + page, 0));
		if (answer == -ENOSYS)
			SKIP(return, "this kernel has no remap_file_pages(2)");
		if (page <= 2) {
			EXPECT_EQ(0, answer);
			EXPECT_EQ(1 << 16 | page, *(uint32_t *)window);
		} else {
			EXPECT_EQ(-EINVAL, answer);
		}
		munmap(window, 2 * PAGE);
	}
}

TEST_HARNESS_MAIN
