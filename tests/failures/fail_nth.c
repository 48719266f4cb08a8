// SPDX-License-Identifier: GPL-2.0
/*
 * Promise 8: every failure path cleans up. Each call is repeated with its first, second, third ... allocation or copy failing, until
 * it succeeds without a failure: then each has failed once. A call that fails has a documented error and leaves the state unchanged.
 */
#include "dma_buf.h"
#include "fail_nth.h"
#include "registered.h"
#include "requests.h"
#include "uring.h"

#include <sys/epoll.h>
#include <sys/wait.h>

FIXTURE(fail_nth)
{
	struct scene scene;
};

FIXTURE_SETUP(fail_nth)
{
	struct scene *scene = &self->scene;

	scene->knob = open_knob();
	if (scene->knob < 0)
		SKIP(return, "this kernel has no fault injection");
	ASSERT_EQ(0, prepare_injection());
	scene->fd = open_node(O_RDWR);
	ASSERT_LE(0, scene->fd);
	ASSERT_EQ(0, allocate(scene->fd, 512 * PAGE, &scene->buffer));
	for (size_t page = 0; page < 512; page++)
		scene->buffer.bytes[page * PAGE] = page * 3 + 1;
	scene->fresh = -1;
}

FIXTURE_TEARDOWN(fail_nth)
{
	close(self->scene.fd);
}

#define CALL(name, before, call, after)                                                                                \
	TEST_F(fail_nth, name)                                                                                         \
	{                                                                                                              \
		const struct sweep what = { #name, self->scene.fd, 1, before, call, after };                            \
                                                                                                                       \
		sweep(_metadata, &self->scene, &what);                                                                  \
	}

/* --- open and close */

static long call_open(struct scene *self)
{
	(void)self;
	return open_node(O_RDWR);
}

static void close_opened(struct __test_metadata *_metadata, struct scene *self, long answer)
{
	(void)_metadata;
	(void)self;
	if (answer >= 0)
		close(answer);
}

CALL(open, NULL, call_open, close_opened)

static void open_fresh(struct __test_metadata *_metadata, struct scene *self)
{
	self->fresh = open_node(O_RDWR);
	ASSERT_LE(0, self->fresh);
}

static void open_and_use(struct __test_metadata *_metadata, struct scene *self)
{
	struct rdma_alloc alloc = { .size = 3 * PAGE };
	struct buffer buffer;

	open_fresh(_metadata, self);
	ASSERT_EQ(0, call(self->fresh, RDMA_IOC_ALLOC, &alloc));
	buffer = (struct buffer){ alloc.handle, alloc.size, alloc.mmap_offset, NULL };
	ASSERT_EQ(2, submit_many(self->fresh, &buffer, 2, 0));
}

static long call_close(struct scene *self)
{
	return result(close(self->fresh));
}

CALL(close, open_and_use, call_close, NULL)

/* --- Buffers */

static long alloc(struct scene *self, uint64_t size)
{
	struct rdma_alloc alloc = { .size = size };
	int error = call(self->fd, RDMA_IOC_ALLOC, &alloc);

	return error ? error : (long)alloc.handle;
}

static long alloc_page(struct scene *self)
{
	return alloc(self, DEVICE_MEMORY);
}

/* More than the largest block of the page allocator. */
static long alloc_pieces(struct scene *self)
{
	return alloc(self, 5 << 20);
}

static void free_allocated(struct __test_metadata *_metadata, struct scene *self, long answer)
{
	if (answer >= 0) {
		EXPECT_EQ(0, free_handle(self->fd, answer));
	}
}

CALL(alloc, NULL, alloc_page, free_allocated)
CALL(alloc_in_pieces, NULL, alloc_pieces, free_allocated)

/* More pages than are pinned at once, and with them the pages of this program, which are locked. */
enum { REGISTERED = 600 };

static long register_pages(struct scene *self)
{
	struct buffer buffer;
	int error = register_memory(self->fd, self->bytes, REGISTERED * PAGE, 0, &buffer);

	return error ? error : (long)buffer.handle;
}

static void free_registered(struct __test_metadata *_metadata, struct scene *self, long answer)
{
	free_allocated(_metadata, self, answer);
	EXPECT_EQ(0, pinned_pages());
}

TEST_F(fail_nth, register)
{
	struct scene *scene = &self->scene;
	const struct sweep what = { "register", scene->fd, 1, NULL, register_pages, free_registered };
	long handle;

	scene->bytes = memory_at(NULL, REGISTERED * PAGE, PROT_READ | PROT_WRITE, ANYWHERE | MAP_POPULATE);
	ASSERT_NE(NULL, scene->bytes);
	handle = register_pages(scene);
	if (handle == -EOPNOTSUPP)
		SKIP(return, "the device cannot access this memory");
	free_registered(_metadata, scene, handle);
	sweep(_metadata, scene, &what);
	EXPECT_LE(3, totals->refused);
}

static void allocate_other(struct __test_metadata *_metadata, struct scene *self)
{
	struct rdma_alloc alloc = { .size = PAGE };

	ASSERT_EQ(0, call(self->fd, RDMA_IOC_ALLOC, &alloc));
	self->other.handle = alloc.handle;
}

static long call_free(struct scene *self)
{
	return free_handle(self->fd, self->other.handle);
}

static void free_if_failed(struct __test_metadata *_metadata, struct scene *self, long answer)
{
	EXPECT_EQ(answer ? 0 : -EINVAL, free_handle(self->fd, self->other.handle));
}

CALL(free, allocate_other, call_free, free_if_failed)

static long call_info(struct scene *self)
{
	struct rdma_device_info info;

	return call(self->fd, RDMA_IOC_DEVICE_INFO, &info);
}

static long call_buffer(struct scene *self)
{
	struct rdma_buffer_info buffer = { .handle = self->buffer.handle };

	return call(self->fd, RDMA_IOC_BUFFER_INFO, &buffer);
}

CALL(info, NULL, call_info, NULL)
CALL(buffer, NULL, call_buffer, NULL)

/* --- dma-bufs */

static long call_export(struct scene *self)
{
	return export_buffer(self->fd, self->buffer.handle);
}

static long call_import(struct scene *self)
{
	int dma_buf = export_buffer(self->fd, self->buffer.handle);
	struct rdma_import import = { .fd = dma_buf };
	int error = dma_buf < 0 ? dma_buf : call(self->fd, RDMA_IOC_IMPORT, &import);

	close(dma_buf);
	return error ?: (long)import.handle;
}

CALL(export, NULL, call_export, close_opened)
CALL(import, NULL, call_import, free_allocated)

/* --- Mappings. Their state includes the buffer's number of mappings. */

static int mappings(struct scene *self)
{
	struct rdma_buffer_info buffer = { .handle = self->buffer.handle };

	return call(self->fd, RDMA_IOC_BUFFER_INFO, &buffer) ?: (int)buffer.mappings;
}

static unsigned char *map_buffer(struct scene *self, int flags)
{
	void *bytes = mmap(NULL, self->buffer.size, PROT_READ | PROT_WRITE, MAP_SHARED | flags, self->fd, self->buffer.offset);

	return bytes == MAP_FAILED ? NULL : bytes;
}

static size_t wrong_pages(const unsigned char *bytes)
{
	size_t count = 0;

	for (size_t page = 0; page < 512; page++)
		count += ((volatile const unsigned char *)bytes)[page * PAGE] != (unsigned char)(page * 3 + 1);
	return count;
}

static long mmap_first(struct scene *self)
{
	self->bytes = map(self->fresh, 0, 3 * PAGE, PROT_READ | PROT_WRITE);
	return self->bytes ? 0 : -errno;
}

static void unmap_and_close(struct __test_metadata *_metadata, struct scene *self, long answer)
{
	if (!answer) {
		EXPECT_EQ(0, differing(self->bytes, 0, 3 * DEVICE_MEMORY));
		munmap(self->bytes, 3 * PAGE);
	}
	close(self->fresh);
}

CALL(mmap_first, open_fresh, mmap_first, unmap_and_close)

static long mmap_handle(struct scene *self)
{
	self->bytes = map_buffer(self, 0);
	return self->bytes ? 0 : -errno;
}

static void unmap(struct __test_metadata *_metadata, struct scene *self, long answer)
{
	if (!answer) {
		EXPECT_EQ(0, wrong_pages(self->bytes));
		munmap(self->bytes, self->buffer.size);
	}
	EXPECT_EQ(1, mappings(self));
}

CALL(mmap_handle, NULL, mmap_handle, unmap)

static void map_fresh(struct __test_metadata *_metadata, struct scene *self)
{
	self->bytes = map_buffer(self, 0);
	ASSERT_NE(NULL, self->bytes);
}

/* Not aligned for a huge page. */
static void map_small(struct __test_metadata *_metadata, struct scene *self)
{
	unsigned char *space = mmap(NULL, self->buffer.size * 3, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	size_t size = self->buffer.size;

	munmap(space, size * 3);
	space = (unsigned char *)(((uintptr_t)space + size - 1) / size * size + DEVICE_MEMORY);
	self->bytes = mmap(space, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED_NOREPLACE, self->fd, self->buffer.offset);
	ASSERT_EQ(space, self->bytes);
}

/* The kernel retries if there is no memory for a page table. */
static long touch(struct scene *self)
{
	return ((volatile unsigned char *)self->bytes)[5 * DEVICE_MEMORY] == 16 ? 0 : -EIO;
}

CALL(page_fault, map_small, touch, unmap)
CALL(page_fault_huge, map_fresh, touch, unmap)

static long unmap_middle(struct scene *self)
{
	return result(munmap(self->bytes + 10 * PAGE, 5 * PAGE));
}

static void map_and_touch(struct __test_metadata *_metadata, struct scene *self)
{
	map_fresh(_metadata, self);
	ASSERT_EQ(0, wrong_pages(self->bytes));
}

static void unmap_rest(struct __test_metadata *_metadata, struct scene *self, long answer)
{
	/* A mapping that was split for it may stay split. */
	EXPECT_LE(answer ? 2 : 3, mappings(self));
	if (answer) {
		EXPECT_EQ(0, wrong_pages(self->bytes));
	}
	munmap(self->bytes, self->buffer.size);
	EXPECT_EQ(1, mappings(self));
}

CALL(munmap_middle, map_and_touch, unmap_middle, unmap_rest)

static long unmap_whole(struct scene *self)
{
	return result(munmap(self->bytes, self->buffer.size));
}

static void unmap_if_failed(struct __test_metadata *_metadata, struct scene *self, long answer)
{
	EXPECT_EQ(answer ? 2 : 1, mappings(self));
	if (answer)
		munmap(self->bytes, self->buffer.size);
}

CALL(munmap, map_and_touch, unmap_whole, unmap_if_failed)

static long protect_part(struct scene *self)
{
	return result(mprotect(self->bytes + 10 * PAGE, 5 * PAGE, PROT_READ));
}

static void unmap_protected(struct __test_metadata *_metadata, struct scene *self, long answer)
{
	(void)answer;
	EXPECT_EQ(0, wrong_pages(self->bytes));
	munmap(self->bytes, self->buffer.size);
	EXPECT_EQ(1, mappings(self));
}

CALL(mprotect, map_and_touch, protect_part, unmap_protected)

static long move(struct scene *self)
{
	size_t size = self->buffer.size;
	unsigned char *moved = mremap(self->bytes, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, self->bytes + 16 * size);

	if (moved == MAP_FAILED)
		return -errno;
	self->bytes = moved;
	return 0;
}

CALL(mremap, map_and_touch, move, unmap_protected)

static long call_fork(struct scene *self)
{
	pid_t child = fork();

	if (!child)
		_exit(wrong_pages(self->bytes) != 0);
	return result(child);
}

static void wait_and_unmap(struct __test_metadata *_metadata, struct scene *self, long answer)
{
	int status = 0;

	if (answer > 0) {
		EXPECT_EQ(answer, waitpid(answer, &status, 0));
	}
	EXPECT_EQ(0, status);
	EXPECT_EQ(2, mappings(self));
	unmap_protected(_metadata, self, 0);
}

CALL(fork, map_and_touch, call_fork, wait_and_unmap)

/* --- The engine */

static long call_transfer(struct scene *self)
{
	return transfer_some(self->fd, &self->buffer, 64);
}

static long call_read(struct scene *self)
{
	char bytes[64];

	return result(pread(self->fd, bytes, sizeof(bytes), 0));
}

/* A device without memory is an empty file, which cannot be written. */
static long call_write(struct scene *self)
{
	long answer = result(pwrite(self->fd, self->buffer.bytes, 64, 0));

	return answer == -ENOSPC && !has_memory(self->fd) ? 0 : answer;
}

CALL(transfer, NULL, call_transfer, NULL)
CALL(read, NULL, call_read, NULL)
CALL(write, NULL, call_write, NULL)

/* A command of io_uring. The ring is made before. */
static struct uring ring;

static void open_ring(struct __test_metadata *_metadata, struct scene *self)
{
	(void)self;
	ASSERT_EQ(0, uring_open(&ring, 4, 0));
}

static long call_command(struct scene *self)
{
	struct rdma_request request = copying(&self->buffer, PAGE, &self->buffer, 0, 64, 7);

	return uring_call(&ring, self->fd, RDMA_IOC_TRANSFER, &request);
}

static void close_ring(struct __test_metadata *_metadata, struct scene *self, long answer)
{
	(void)_metadata;
	(void)self;
	(void)answer;
	uring_close(&ring);
}

CALL(command, open_ring, call_command, close_ring)

static long submit_a_request(struct scene *self)
{
	return submit_many(self->fd, &self->buffer, 1, 7);
}

static long submit_64(struct scene *self)
{
	return submit_many(self->fd, &self->buffer, 64, 7);
}

static void collect_all(struct __test_metadata *_metadata, struct scene *self, long answer)
{
	if (answer > 0) {
		EXPECT_LE(0, cancel_all(self->fd));
		EXPECT_LE(0, drain(self->fd, answer));
	}
}

CALL(submit, NULL, submit_a_request, collect_all)
CALL(submit_64, NULL, submit_64, collect_all)

static void have_completions(struct __test_metadata *_metadata, struct scene *self)
{
	ASSERT_EQ(2, submit_many(self->fd, &self->buffer, 2, 7));
	EXPECT_LE(0, cancel_all(self->fd));
	while (polled(self->fd) != (POLLIN | POLLRDNORM))
		pause_us(1000);
	pause_us(TRANSFER_US * 2);
}

static long call_wait(struct scene *self)
{
	struct rdma_completion completions[4];

	return collect(self->fd, completions, 2, 4, FOREVER);
}

/* Completions that were not delivered can still be collected. */
static void collect_rest(struct __test_metadata *_metadata, struct scene *self, long answer)
{
	struct rdma_completion completions[4];
	int delivered = answer < 0 ? 0 : answer;

	EXPECT_EQ(2 - delivered, take(self->fd, completions, 4));
}

CALL(wait, have_completions, call_wait, collect_rest)

/* The number of requests of which the last one waits for a slot of the engine. */
static uint32_t more_than_slots(int fd)
{
	struct rdma_device_info info = { 0 };

	call(fd, RDMA_IOC_DEVICE_INFO, &info);
	return info.engine_depth + 1;
}

static uint32_t submitted;

static void submit_more_than_slots(struct __test_metadata *_metadata, struct scene *self)
{
	submitted = more_than_slots(self->fd);
	ASSERT_EQ(submitted, submit_many(self->fd, &self->buffer, submitted, 7));
}

static long call_cancel(struct scene *self)
{
	return cancel(self->fd, 7 + submitted - 1);
}

static void collect_submitted(struct __test_metadata *_metadata, struct scene *self, long answer)
{
	EXPECT_TRUE(answer == 1 || answer < 0);
	EXPECT_EQ(answer < 0 ? 0 : 1, drain(self->fd, submitted));
}

CALL(cancel, submit_more_than_slots, call_cancel, collect_submitted)

static void make_eventfd(struct __test_metadata *_metadata, struct scene *self)
{
	self->fresh = eventfd(0, EFD_CLOEXEC);
	ASSERT_LE(0, self->fresh);
}

static long call_eventfd(struct scene *self)
{
	return tell(self->fd, self->fresh);
}

static void forget_eventfd(struct __test_metadata *_metadata, struct scene *self, long answer)
{
	(void)answer;
	EXPECT_EQ(0, tell(self->fd, -1));
	close(self->fresh);
}

CALL(eventfd, make_eventfd, call_eventfd, forget_eventfd)

/* --- Notification and debugging */

static long call_poll(struct scene *self)
{
	struct pollfd one = { .fd = self->fd, .events = POLLIN };

	return result(poll(&one, 1, 1));
}

CALL(poll, NULL, call_poll, NULL)

static void make_epoll(struct __test_metadata *_metadata, struct scene *self)
{
	self->fresh = epoll_create1(EPOLL_CLOEXEC);
	ASSERT_LE(0, self->fresh);
}

static long call_epoll(struct scene *self)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLOUT };
	long answer = result(epoll_ctl(self->fresh, EPOLL_CTL_ADD, self->fd, &event));

	return answer ? answer : result(epoll_wait(self->fresh, &event, 1, 1));
}

static void close_fresh(struct __test_metadata *_metadata, struct scene *self, long answer)
{
	(void)_metadata;
	(void)answer;
	close(self->fresh);
}

CALL(epoll, make_epoll, call_epoll, close_fresh)

/* The completion ring of a new context. */
static long call_completion_ring(struct scene *self)
{
	self->ring = (struct rdma_completion_ring){ 0 };
	return call(self->fresh, RDMA_IOC_COMPLETION_RING, &self->ring);
}

CALL(completion_ring, open_fresh, call_completion_ring, close_fresh)

static void open_with_ring(struct __test_metadata *_metadata, struct scene *self)
{
	open_fresh(_metadata, self);
	ASSERT_EQ(0, call_completion_ring(self));
}

static long mmap_ring(struct scene *self)
{
	self->bytes = map(self->fresh, self->ring.mmap_offset, self->ring.size, PROT_READ | PROT_WRITE);
	return self->bytes ? 0 : -errno;
}

static void unmap_ring(struct __test_metadata *_metadata, struct scene *self, long answer)
{
	if (!answer) {
		const uint32_t *head = (const uint32_t *)(self->bytes + self->ring.head_offset);
		const uint32_t *tail = (const uint32_t *)(self->bytes + self->ring.tail_offset);

		EXPECT_EQ(*head, *tail);
		munmap(self->bytes, self->ring.size);
	}
	close(self->fresh);
}

CALL(mmap_ring, open_with_ring, mmap_ring, unmap_ring)

static long read_fdinfo(struct scene *self)
{
	char path[64], text[1024];

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", self->fd);
	return read_text(path, text, sizeof(text)) ?: strstr(text, "rdma-memlock:") ? 0 : -EIO;
}

static long read_debugfs(struct scene *self)
{
	static const char *const files[] = { DEBUGFS "rust_dma/rdma0/state", DEBUGFS "rust_dma/rdma0/counters", DEBUGFS "rust_dma/rdma0/latency" };
	char text[4096];
	long error = 0;

	(void)self;
	for (size_t i = 0; i < ARRAY_SIZE(files) && !error; i++)
		error = read_text(files[i], text, sizeof(text));
	return error;
}

CALL(fdinfo, NULL, read_fdinfo, NULL)
CALL(debugfs, NULL, read_debugfs, NULL)

TEST_F(fail_nth, nothing_is_left)
{
	expect_nothing_left(_metadata, 33, 150);
}

TEST_HARNESS_MAIN
