// SPDX-License-Identifier: GPL-2.0
/*
 * EXPORT: a buffer as a dma-buf, for other drivers and other programs. It is the same memory; it exists as long as anything of it does; and
 * unbinding the device ends all accesses, or never frees the memory.
 */
#include "dma_buf.h"
#include "teardown.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { PAGES = 8 };
#define SIZE (PAGES * PAGE)

FIXTURE(exported)
{
	char address[32];
	int fd;
	struct buffer buffer;
	int dma_buf;
};

FIXTURE_SETUP(exported)
{
	ASSERT_EQ(0, pci_address("rdma0", self->address));
	self->fd = open_node(O_RDWR);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, allocate(self->fd, SIZE, &self->buffer));
	fill(self->buffer.bytes, SIZE, 1);
	self->dma_buf = export_buffer(self->fd, self->buffer.handle);
	ASSERT_LE(0, self->dma_buf);
}

FIXTURE_TEARDOWN(exported)
{
	close(self->fd);
	close(self->dma_buf);
}

static ino_t inode(int fd)
{
	struct stat status;

	return fstat(fd, &status) ? 0 : status.st_ino;
}

/* The same bytes, at any page, for the program and the device. */
TEST_F(exported, same_memory)
{
	unsigned char *all = map(self->dma_buf, 0, SIZE, PROT_READ | PROT_WRITE);
	unsigned char *some = map(self->dma_buf, 3 * PAGE, 2 * PAGE, PROT_READ);
	struct buffer other;

	ASSERT_NE(NULL, all);
	ASSERT_NE(NULL, some);
	EXPECT_EQ((off_t)SIZE, lseek(self->dma_buf, 0, SEEK_END));
	EXPECT_EQ(0, memcmp(self->buffer.bytes, all, SIZE));
	EXPECT_EQ(0, memcmp(self->buffer.bytes + 3 * PAGE, some, 2 * PAGE));
	fill(all, SIZE, 2);
	EXPECT_EQ(0, memcmp(self->buffer.bytes, all, SIZE));

	/* The second buffer of the file is not the first one. */
	ASSERT_EQ(0, allocate(self->fd, SIZE, &other));
	EXPECT_EQ(0, differing(other.bytes, 0, SIZE));
	ASSERT_EQ(0, copy(self->fd, &self->buffer, 3 * PAGE + 5, &other, 0, PAGE));
	EXPECT_EQ(0, differing(some + 5, 0, PAGE));
	EXPECT_EQ(0, memcmp(self->buffer.bytes, all, SIZE));
}

/* Mappings of both kinds are counted, and have the same rules. */
TEST_F(exported, mappings)
{
	struct rdma_buffer_info info = { .handle = self->buffer.handle };
	int read_only, readable_dma_buf;
	struct buffer buffer;
	void *mapping = map(self->dma_buf, PAGE, PAGE, PROT_READ);

	ASSERT_NE(NULL, mapping);
	ASSERT_EQ(0, call(self->fd, RDMA_IOC_BUFFER_INFO, &info));
	EXPECT_EQ(2, info.mappings);
	ASSERT_EQ(0, munmap(mapping, PAGE));
	ASSERT_EQ(0, call(self->fd, RDMA_IOC_BUFFER_INFO, &info));
	EXPECT_EQ(1, info.mappings);

	EXPECT_EQ(NULL, map(self->dma_buf, 0, SIZE + PAGE, PROT_READ));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(NULL, map(self->dma_buf, SIZE, PAGE, PROT_READ));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(NULL, map(self->dma_buf, 0, PAGE, PROT_READ | PROT_EXEC));
	EXPECT_EQ(EPERM, errno);
	EXPECT_EQ(MAP_FAILED, mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, self->dma_buf, 0));
	EXPECT_EQ(EINVAL, errno);
	mapping = map(self->dma_buf, 0, SIZE, PROT_READ);
	ASSERT_NE(NULL, mapping);
	EXPECT_EQ(MAP_FAILED, mremap(mapping, SIZE, SIZE + PAGE, MREMAP_MAYMOVE));
	EXPECT_EQ(-1, mprotect(mapping, PAGE, PROT_READ | PROT_EXEC));

	/* The access mode is that of the node. */
	read_only = open_node(O_RDONLY);
	ASSERT_LE(0, read_only);
	EXPECT_EQ(-EACCES, allocate(read_only, PAGE, &buffer));
	ASSERT_NE(NULL, map(read_only, 0, PAGE, PROT_READ));
	readable_dma_buf = export_buffer(read_only, RDMA_FIRST_BUFFER);
	ASSERT_LE(0, readable_dma_buf);
	EXPECT_EQ(NULL, map(readable_dma_buf, 0, PAGE, PROT_READ | PROT_WRITE));
	EXPECT_EQ(EACCES, errno);
	mapping = map(readable_dma_buf, 0, PAGE, PROT_READ);
	ASSERT_NE(NULL, mapping);
	EXPECT_EQ(-1, mprotect(mapping, PAGE, PROT_READ | PROT_WRITE));
	close(readable_dma_buf);
	close(read_only);
}

TEST_F(exported, refused)
{
	struct rdma_export request = { .handle = self->buffer.handle, .flags = 1 };
	struct rdma_register registered = { .address = (uintptr_t)self, .size = 1 };

	EXPECT_EQ(-EINVAL, call(self->fd, RDMA_IOC_EXPORT, &request));
	request = (struct rdma_export){ .handle = self->buffer.handle, .reserved = 1 };
	EXPECT_EQ(-EINVAL, call(self->fd, RDMA_IOC_EXPORT, &request));
	EXPECT_EQ(-EINVAL, export_buffer(self->fd, RDMA_NO_BUFFER));
	EXPECT_EQ(-EINVAL, export_buffer(self->fd, RDMA_FIRST_BUFFER));
	EXPECT_EQ(-EINVAL, export_buffer(self->fd, self->buffer.handle + 1));
	EXPECT_EQ(-EFAULT, call(self->fd, RDMA_IOC_EXPORT, (void *)8));
	if (!call(self->fd, RDMA_IOC_REGISTER, &registered))
		EXPECT_EQ(-EOPNOTSUPP, export_buffer(self->fd, registered.handle));
}

/* The answer cannot be written, or there is no descriptor: nothing is left. */
TEST_F(exported, not_reported)
{
	struct rdma_export *request = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct rlimit limit, none;
	int before = dup(self->fd);

	ASSERT_NE(MAP_FAILED, request);
	close(before);
	request->handle = self->buffer.handle;
	ASSERT_EQ(0, mprotect(request, PAGE, PROT_READ));
	EXPECT_EQ(-EFAULT, call(self->fd, RDMA_IOC_EXPORT, request));
	EXPECT_EQ(before, dup(self->fd));
	close(before);

	ASSERT_EQ(0, getrlimit(RLIMIT_NOFILE, &limit));
	none = (struct rlimit){ before, limit.rlim_max };
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &none));
	EXPECT_EQ(-EMFILE, export_buffer(self->fd, self->buffer.handle));
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &limit));
}

/* One dma-buf for a buffer, so that all importers see the same fences; another one after it. */
TEST_F(exported, one_at_a_time)
{
	int second = export_buffer(self->fd, self->buffer.handle), third;
	ino_t first = inode(self->dma_buf);

	ASSERT_LE(0, second);
	EXPECT_EQ(FD_CLOEXEC, fcntl(second, F_GETFD));
	EXPECT_EQ(first, inode(second));
	close(self->dma_buf);
	third = export_buffer(self->fd, self->buffer.handle);
	EXPECT_EQ(first, inode(third));
	close(second);
	close(third);
	self->dma_buf = export_buffer(self->fd, self->buffer.handle);
	ASSERT_LE(0, self->dma_buf);
	EXPECT_NE(first, inode(self->dma_buf));
}

/*
 * A path keeps a dma-buf after its file is freed, whose memory the next file that is opened has. EXPORT creates another dma-buf, and does not
 * return that file.
 */
TEST_F(exported, path_without_file)
{
	enum { FILES = 64 };
	char name[64];
	int files[FILES], path;

	snprintf(name, sizeof(name), "/proc/self/fd/%d", self->dma_buf);
	path = open(name, O_PATH | O_CLOEXEC);
	ASSERT_LE(0, path);
	close(self->dma_buf);
	for (int i = 0; i < FILES; i++)
		files[i] = open("/proc/version", O_RDONLY | O_CLOEXEC);
	self->dma_buf = export_buffer(self->fd, self->buffer.handle);
	ASSERT_LE(0, self->dma_buf);
	EXPECT_EQ((off_t)SIZE, lseek(self->dma_buf, 0, SEEK_END));
	EXPECT_EQ(0, sync_buffer(self->dma_buf, DMA_BUF_SYNC_RW | DMA_BUF_SYNC_START));
	EXPECT_EQ(0, sync_buffer(self->dma_buf, DMA_BUF_SYNC_RW | DMA_BUF_SYNC_END));
	EXPECT_NE(inode(path), inode(self->dma_buf));
	for (int i = 0; i < FILES; i++)
		close(files[i]);
	close(path);
	/* The first one was freed. This one is still found. */
	path = export_buffer(self->fd, self->buffer.handle);
	EXPECT_EQ(inode(self->dma_buf), inode(path));
	close(path);
}

/* Another driver maps it, and its requests are waited for. */
TEST_F(exported, fences)
{
	int vgem = open_vgem();
	uint32_t handle, fence;

	if (vgem < 0)
		SKIP(return, "this kernel has no vgem");
	EXPECT_EQ(0, sync_buffer(self->dma_buf, DMA_BUF_SYNC_RW | DMA_BUF_SYNC_START));
	EXPECT_EQ(0, sync_buffer(self->dma_buf, DMA_BUF_SYNC_RW | DMA_BUF_SYNC_END));
	EXPECT_TRUE(signalled(self->dma_buf, POLLIN));
	ASSERT_EQ(0, vgem_import(vgem, self->dma_buf, &handle));
	ASSERT_EQ(0, vgem_begin_write(vgem, handle, &fence));
	EXPECT_FALSE(signalled(self->dma_buf, POLLIN));
	/* Requests are not ordered by fences. */
	EXPECT_EQ(0, copy(self->fd, &self->buffer, 0, &self->buffer, PAGE, PAGE));
	ASSERT_EQ(0, vgem_end_write(vgem, fence));
	EXPECT_TRUE(signalled(self->dma_buf, POLLIN));
	EXPECT_EQ(0, vgem_release(vgem, handle));
	close(vgem);
}

/* What may hold the memory, and the order in which it is released: each of them. */
enum hold { HANDLE, NODE_FILE, NODE_MAPPING, DMA_BUF, DMA_BUF_MAPPING, IMPORTER, HOLDS };
enum { ORDERS = 720 };

struct holds {
	bool has[HOLDS];
	int fd, dma_buf, vgem;
	struct buffer buffer;
	void *mapping;
};

static int take_all(struct holds *holds)
{
	uint32_t handle;
	int error;

	holds->fd = open_node(O_RDWR);
	holds->vgem = open_vgem();
	if (holds->fd < 0 || (error = allocate(holds->fd, SIZE, &holds->buffer)))
		return -EIO;
	holds->dma_buf = export_buffer(holds->fd, holds->buffer.handle);
	if (holds->dma_buf < 0)
		return holds->dma_buf;
	holds->mapping = map(holds->dma_buf, 0, SIZE, PROT_READ | PROT_WRITE);
	if (!holds->mapping)
		return -errno;
	memset(holds->mapping, 1, SIZE);
	memset(holds->has, true, sizeof(holds->has));
	holds->has[IMPORTER] = holds->vgem >= 0;
	return holds->vgem < 0 ? 0 : vgem_import(holds->vgem, holds->dma_buf, &handle);
}

static int drop(struct holds *holds, enum hold hold)
{
	bool had = holds->has[hold];

	holds->has[hold] = false;
	switch (hold) {
	case HANDLE:
		/* It can be freed only with the descriptor. */
		holds->has[HANDLE] = !holds->has[NODE_FILE];
		return holds->has[NODE_FILE] ? free_handle(holds->fd, holds->buffer.handle) : 0;
	case NODE_FILE:
		return close(holds->fd);
	case NODE_MAPPING:
		return munmap(holds->buffer.bytes, SIZE);
	case DMA_BUF:
		return close(holds->dma_buf);
	case DMA_BUF_MAPPING:
		return munmap(holds->mapping, SIZE);
	default:
		return had ? close(holds->vgem) : 0;
	}
}

static bool any_left(const struct holds *holds)
{
	bool context = holds->has[NODE_FILE] || holds->has[NODE_MAPPING];

	return (context && holds->has[HANDLE]) || holds->has[NODE_MAPPING] || holds->has[DMA_BUF] || holds->has[DMA_BUF_MAPPING] ||
	       holds->has[IMPORTER];
}

static void order_of(int nth, enum hold order[HOLDS])
{
	for (int i = 0; i < HOLDS; i++)
		order[i] = i;
	for (int left = HOLDS; left > 1; nth /= left--) {
		enum hold chosen = order[nth % left];

		order[nth % left] = order[left - 1];
		order[left - 1] = chosen;
	}
}

TEST_F(exported, released_in_any_order)
{
	/* Not a divisor of the number of orders, so that each hold comes last in some. */
	int step = scale(1, 7) > 1 ? 1 : 7, tried = 0;
	bool last[HOLDS] = { false };

	close(self->fd);
	close(self->dma_buf);
	munmap(self->buffer.bytes, SIZE);
	ASSERT_EQ(0, device_state("buffers"));
	for (int nth = 0; nth < ORDERS; nth += step) {
		enum hold order[HOLDS];
		struct holds holds;

		ASSERT_EQ(0, take_all(&holds));
		order_of(nth, order);
		tried++;
		last[order[HOLDS - 1]] = true;
		for (int i = 0; i < HOLDS; i++) {
			ASSERT_EQ(0, drop(&holds, order[i])) TH_LOG("order %d, step %d", nth, i);
			ASSERT_EQ(any_left(&holds), device_state("buffers")) TH_LOG("order %d, step %d", nth, i);
		}
	}
	for (int i = 0; i < HOLDS; i++) {
		EXPECT_TRUE(last[i]) TH_LOG("hold %d", i);
	}
	FIGURE("%d orders of release", "the memory is freed with the last", tried);
	self->fd = self->dma_buf = -1;
}

/* Each creation of a dma-buf that is released leaves nothing. */
TEST_F(exported, many_times)
{
	for (int i = 0; i < scale(1000, 20000); i++) {
		close(self->dma_buf);
		self->dma_buf = export_buffer(self->fd, self->buffer.handle);
		ASSERT_LE(0, self->dma_buf);
	}
	EXPECT_EQ(1, device_state("buffers"));
}

/* A child has the mappings, and the parent may end. */
TEST_F(exported, fork)
{
	unsigned char *bytes = map(self->dma_buf, 0, SIZE, PROT_READ | PROT_WRITE);
	int status;
	pid_t child;

	ASSERT_NE(NULL, bytes);
	ASSERT_TRUE(readable(bytes));
	child = fork();
	ASSERT_LE(0, child);
	if (!child) {
		fill(bytes, SIZE, 9);
		_exit(memcmp(self->buffer.bytes, bytes, SIZE) != 0);
	}
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, memcmp(self->buffer.bytes, bytes, SIZE));
}

/* Removal of the device while a process that never ends holds descriptor and mapping, and has accessed the memory. */
TEST_F(exported, removed)
{
	unsigned char *bytes = map(self->dma_buf, 0, SIZE, PROT_READ | PROT_WRITE);
	int status, log = open_log();
	pid_t child;

	ASSERT_NE(NULL, bytes);
	ASSERT_TRUE(readable(bytes));
	child = fork();
	ASSERT_LE(0, child);
	if (!child) {
		if (!readable(bytes + SIZE - 1))
			_exit(1);
		pause();
	}
	expect_unbound(_metadata, self->address);
	EXPECT_FALSE(readable(bytes));
	EXPECT_FALSE(readable(bytes + SIZE - 1));
	EXPECT_EQ(-ENODEV, sync_buffer(self->dma_buf, DMA_BUF_SYNC_RW | DMA_BUF_SYNC_START));
	EXPECT_EQ(NULL, map(self->dma_buf, 0, PAGE, PROT_READ));
	EXPECT_EQ(ENODEV, errno);
	EXPECT_EQ(-ENODEV, export_buffer(self->fd, self->buffer.handle));
	EXPECT_EQ(0, log_lines(log, "never freed"));

	/* The device can be used again while it is held. */
	ASSERT_EQ(0, come_back(self->address, UNBIND));
	EXPECT_EQ(0, device_state("buffers"));
	EXPECT_EQ(-EWOULDBLOCK, unload());
	EXPECT_FALSE(readable(bytes));
	EXPECT_EQ(0, kill(child, SIGKILL));
	ASSERT_EQ(child, waitpid(child, &status, 0));
	ASSERT_EQ(0, munmap(bytes, SIZE));
	close(log);
}

/* The holder of nothing but a descriptor, and of nothing but a mapping, keeps the module. */
TEST_F(exported, unloaded)
{
	const char *module = light_module();
	unsigned char *bytes = map(self->dma_buf, 0, PAGE, PROT_READ);

	ASSERT_NE(NULL, module);
	ASSERT_NE(NULL, bytes);
	ASSERT_EQ(0, munmap(self->buffer.bytes, SIZE));
	close(self->fd);
	EXPECT_EQ(-EWOULDBLOCK, unload());
	close(self->dma_buf);
	EXPECT_EQ(-EWOULDBLOCK, unload());
	EXPECT_TRUE(readable(bytes));
	ASSERT_EQ(0, munmap(bytes, PAGE));
	ASSERT_EQ(0, unload());
	ASSERT_EQ(0, load(module));
	self->fd = self->dma_buf = -1;
}

/* A driver that has released the memory before the device is removed: all is freed. It may import the dma-buf, without memory, afterwards. */
TEST_F(exported, removed_after_import)
{
	int vgem = open_vgem(), log = open_log();
	uint32_t handle;

	if (vgem < 0)
		SKIP(return, "this kernel has no vgem");
	ASSERT_EQ(0, vgem_import(vgem, self->dma_buf, &handle));
	ASSERT_EQ(0, vgem_release(vgem, handle));
	expect_unbound(_metadata, self->address);
	EXPECT_EQ(0, log_lines(log, "never freed"));
	EXPECT_EQ(0, vgem_import(vgem, self->dma_buf, &handle));
	EXPECT_EQ(0, vgem_release(vgem, handle));
	ASSERT_EQ(0, come_back(self->address, UNBIND));
	close(vgem);
	close(log);
}

/* A driver that has imported the dma-buf, and not mapped it: the memory is freed, and its fences are not waited for. */
TEST_F(exported, removed_during_import)
{
	int vgem = open_vgem(), log = open_log();
	uint32_t handle, fence;

	if (vgem < 0)
		SKIP(return, "this kernel has no vgem");
	ASSERT_EQ(0, vgem_import(vgem, self->dma_buf, &handle));
	ASSERT_EQ(0, vgem_begin_write(vgem, handle, &fence));
	expect_unbound(_metadata, self->address);
	EXPECT_EQ(0, log_lines(log, "never freed"));
	EXPECT_EQ(-ENODEV, sync_buffer(self->dma_buf, DMA_BUF_SYNC_RW | DMA_BUF_SYNC_START));
	close(self->dma_buf);
	close(self->fd);
	self->dma_buf = self->fd = -1;
	EXPECT_EQ(0, vgem_end_write(vgem, fence));
	EXPECT_EQ(0, vgem_release(vgem, handle));
	ASSERT_EQ(0, come_back(self->address, UNBIND));
	close(vgem);
	close(log);
}

TEST_HARNESS_MAIN
