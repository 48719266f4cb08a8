// SPDX-License-Identifier: GPL-2.0
/*
 * IMPORT: memory of another driver as a buffer: of a memory file (udmabuf), of the system's heap, and of a second device of this driver, which
 * both move the same bytes. It stays as long as requests need it, and no longer.
 */
#include "debugfs.h"
#include "dma_buf.h"
#include "teardown.h"

#include <sys/wait.h>

enum { PAGES = 4 };
#define SIZE (PAGES * PAGE)

static int from_memory_file(int flags)
{
	(void)flags; /* It is always open for reading and writing. */
	return memory_file_buffer(SIZE);
}

static int from_heap(int flags)
{
	return heap_buffer(SIZE, flags);
}

/* A buffer of the second device. */
static int from_other_device(int flags)
{
	char path[] = "/dev/rdma1";
	int fd = open(path, flags | O_CLOEXEC), dma_buf;
	void *mapping = map(fd, 0, SIZE, PROT_READ);

	dma_buf = mapping ? export_buffer(fd, RDMA_FIRST_BUFFER) : -errno;
	if (mapping)
		munmap(mapping, SIZE);
	close(fd);
	return dma_buf;
}

/* The number of dma-bufs in the system. */
static long dma_bufs(void)
{
	static char text[1 << 16];
	char *line;

	if (read_text("/sys/kernel/debug/dma_buf/bufinfo", text, sizeof(text)) || !(line = strstr(text, "\nTotal ")))
		return -1;
	for (char *next; (next = strstr(line + 1, "\nTotal "));)
		line = next;
	return atol(line + strlen("\nTotal "));
}

FIXTURE(imported)
{
	char address[32];
	int fd, dma_buf;
	long before;
	struct buffer coherent, buffer;
	unsigned char *bytes; /* of the dma-buf */
};

FIXTURE_VARIANT(imported)
{
	int (*create)(int flags);
};

FIXTURE_VARIANT_ADD(imported, memory_file)
{
	.create = from_memory_file,
};

FIXTURE_VARIANT_ADD(imported, heap)
{
	.create = from_heap,
};

FIXTURE_VARIANT_ADD(imported, other_device)
{
	.create = from_other_device,
};

FIXTURE_SETUP(imported)
{
	ASSERT_EQ(0, pci_address("rdma0", self->address));
	self->before = dma_bufs();
	ASSERT_LE(0, self->before);
	self->fd = open_node(O_RDWR);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, allocate(self->fd, SIZE, &self->coherent));
	fill(self->coherent.bytes, SIZE, 1);
	self->dma_buf = variant->create(O_RDWR);
	ASSERT_LE(0, self->dma_buf);
	self->bytes = map(self->dma_buf, 0, SIZE, PROT_READ | PROT_WRITE);
	ASSERT_NE(NULL, self->bytes);
	ASSERT_EQ(0, import_buffer(self->fd, self->dma_buf, 0, &self->buffer));
}

FIXTURE_TEARDOWN(imported)
{
	close(self->fd);
	close(self->dma_buf);
	munmap(self->bytes, SIZE);
	/* It keeps the context. */
	munmap(self->coherent.bytes, SIZE);
	EXPECT_EQ(self->before, dma_bufs());
}

static int begin_access(int dma_buf)
{
	return sync_buffer(dma_buf, DMA_BUF_SYNC_RW | DMA_BUF_SYNC_START);
}

static int end_access(int dma_buf)
{
	return sync_buffer(dma_buf, DMA_BUF_SYNC_RW | DMA_BUF_SYNC_END);
}

/* There and back, at odd addresses and lengths; no other byte changes. */
TEST_F(imported, copies)
{
	const size_t lengths[] = { 1, 63, PAGE - 1, PAGE, 2 * PAGE + 17 };
	unsigned char *expected = malloc(SIZE);

	ASSERT_EQ(SIZE, self->buffer.size);
	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
		size_t length = lengths[i], at = 123 + i * 77, from = i * 31;

		ASSERT_EQ(0, begin_access(self->dma_buf));
		fill(self->bytes, SIZE, 20 + i);
		memcpy(expected, self->bytes, SIZE);
		ASSERT_EQ(0, end_access(self->dma_buf));
		ASSERT_EQ(0, copy(self->fd, &self->buffer, at, &self->coherent, from, length));
		memcpy(expected + at, self->coherent.bytes + from, length);
		ASSERT_EQ(0, begin_access(self->dma_buf));
		EXPECT_EQ(0, memcmp(expected, self->bytes, SIZE)) TH_LOG("%zu bytes", length);
		ASSERT_EQ(0, end_access(self->dma_buf));

		ASSERT_EQ(0, copy(self->fd, &self->coherent, from, &self->buffer, at + 1, length));
		EXPECT_EQ(0, memcmp(self->coherent.bytes + from, expected + at + 1, length)) TH_LOG("%zu bytes", length);
	}
	EXPECT_EQ(-EINVAL, copy(self->fd, &self->buffer, SIZE - 5, &self->coherent, 0, 6));
}

/* What is not possible with it, and what is counted. */
TEST_F(imported, properties)
{
	struct rdma_buffer_info info = { .handle = self->buffer.handle };
	char path[64], text[4096], *line;

	ASSERT_EQ(0, call(self->fd, RDMA_IOC_BUFFER_INFO, &info));
	EXPECT_EQ(SIZE, info.size);
	EXPECT_EQ(RDMA_NO_OFFSET, info.mmap_offset);
	EXPECT_EQ(NULL, map(self->fd, (self->buffer.handle - RDMA_FIRST_BUFFER) * RDMA_MAX_BUFFER_SIZE, PAGE, PROT_READ));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-EOPNOTSUPP, export_buffer(self->fd, self->buffer.handle));
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", self->fd);
	ASSERT_EQ(0, read_text(path, text, sizeof(text)));
	line = strstr(text, "rdma-memory:");
	ASSERT_NE(NULL, line);
	EXPECT_EQ(2 * (long)SIZE, atol(line + 12));
}

/* The memory stays without its descriptor and its mapping, until the handle is freed. */
TEST_F(imported, stays)
{
	close(self->dma_buf);
	ASSERT_EQ(0, munmap(self->bytes, SIZE));
	EXPECT_EQ(self->before + 1, dma_bufs());
	ASSERT_EQ(0, copy(self->fd, &self->buffer, 0, &self->coherent, 0, PAGE));
	memset(self->coherent.bytes, 0, PAGE);
	ASSERT_EQ(0, copy(self->fd, &self->coherent, PAGE, &self->buffer, 0, PAGE));
	EXPECT_LT(PAGE / 2, differing(self->coherent.bytes + PAGE, 0, PAGE));
	ASSERT_EQ(0, free_handle(self->fd, self->buffer.handle));
	EXPECT_EQ(self->before, dma_bufs());
	self->dma_buf = -1;
	self->bytes = NULL;
}

/* A request that has not ended keeps it, although its handle, its descriptor and the file are gone. */
TEST_F(imported, kept_by_requests)
{
	struct rdma_request request = reading(&self->buffer, 0, 0, DEVICE_MEMORY, 0);
	int64_t until = now() + 20 * TRANSFER_US;

	ASSERT_EQ(1, submit_one(self->fd, request));
	ASSERT_EQ(0, free_handle(self->fd, self->buffer.handle));
	close(self->dma_buf);
	close(self->fd);
	ASSERT_EQ(0, munmap(self->coherent.bytes, SIZE));
	ASSERT_EQ(0, munmap(self->bytes, SIZE));
	EXPECT_EQ(self->before + 1, dma_bufs());
	while (dma_bufs() > self->before && now() < until)
		pause_us(1000);
	EXPECT_EQ(self->before, dma_bufs());
	self->dma_buf = self->fd = -1;
	self->bytes = self->coherent.bytes = NULL;
}

/* The device is removed during a transfer: the import ends, and the memory is its exporter's. */
TEST_F(imported, removed)
{
	int log = open_log();

	ASSERT_EQ(1, submit_one(self->fd, reading(&self->buffer, 0, 0, DEVICE_MEMORY, 0)));
	expect_unbound(_metadata, self->address);
	EXPECT_EQ(0, log_lines(log, "never freed"));
	EXPECT_EQ(-ENODEV, copy(self->fd, &self->buffer, 0, &self->coherent, 0, 1));
	EXPECT_TRUE(readable(self->bytes));
	close(self->dma_buf);
	ASSERT_EQ(0, munmap(self->bytes, SIZE));
	EXPECT_EQ(self->before, dma_bufs());
	ASSERT_EQ(0, come_back(self->address, UNBIND));
	self->dma_buf = -1;
	self->bytes = NULL;
	close(log);
}

/* The device is removed with a transfer that never ends: the memory and what describes it stay. */
TEST_F(imported, removed_in_use)
{
	int log = open_log();

	if (variant->create == from_other_device)
		SKIP(return, "what is leaked is a dma-buf of the driver, which could not be unloaded after this");
	if (write_text(DEVICE_DEBUGFS "inject", "hang"))
		SKIP(return, "this kernel has no fault injection");
	ASSERT_EQ(1, submit_one(self->fd, reading(&self->buffer, 0, 0, DEVICE_MEMORY, 0)));
	/* The debugging of the DMA API reports memory that a driver does not free; this is intended here. */
	write_text("/sys/kernel/debug/dma-api/driver_filter", "none");
	ASSERT_LE(0, go_away(self->address, REMOVE));
	write_text("/sys/kernel/debug/dma-api/driver_filter", "\n");
	EXPECT_EQ(1, log_lines(log, "its memory is never freed"));
	/* The exporter accesses the device of the attachment. */
	EXPECT_EQ(0, begin_access(self->dma_buf));
	EXPECT_EQ(0, end_access(self->dma_buf));
	EXPECT_LE(self->before + 1, dma_bufs());
	ASSERT_EQ(0, come_back(self->address, REMOVE));
	self->before++;
	close(log);
}

/* A descriptor that is open for reading only. */
TEST_F(imported, read_only)
{
	int dma_buf = variant->create(O_RDONLY);
	struct buffer buffer;

	if (variant->create == from_memory_file)
		SKIP(close(dma_buf); return, "udmabuf has none");
	ASSERT_LE(0, dma_buf);
	EXPECT_EQ(-EACCES, import_buffer(self->fd, dma_buf, 0, &buffer));
	ASSERT_EQ(0, import_buffer(self->fd, dma_buf, RDMA_IMPORT_READ_ONLY, &buffer));
	EXPECT_EQ(0, copy(self->fd, &self->coherent, 0, &buffer, 0, PAGE));
	EXPECT_EQ(0, differing(self->coherent.bytes, 0, PAGE));
	EXPECT_EQ(-EACCES, copy(self->fd, &buffer, 0, &self->coherent, 0, PAGE));
	close(dma_buf);
}

FIXTURE(import)
{
	int fd;
};

FIXTURE_SETUP(import)
{
	self->fd = open_node(O_RDWR);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(import)
{
	close(self->fd);
}

TEST_F(import, refused)
{
	struct rdma_import request = { .fd = -1 };
	int dma_buf = from_heap(O_RDWR), empty = memfd_create("none", MFD_CLOEXEC);
	struct buffer buffer;

	EXPECT_EQ(-EBADF, call(self->fd, RDMA_IOC_IMPORT, &request));
	EXPECT_EQ(-EINVAL, import_buffer(self->fd, self->fd, 0, &buffer));
	EXPECT_EQ(-EINVAL, import_buffer(self->fd, empty, 0, &buffer));
	EXPECT_EQ(-EINVAL, import_buffer(self->fd, dma_buf, 2, &buffer));
	request = (struct rdma_import){ .fd = dma_buf, .reserved[2] = 1 };
	EXPECT_EQ(-EINVAL, call(self->fd, RDMA_IOC_IMPORT, &request));
	EXPECT_EQ(-EFAULT, call(self->fd, RDMA_IOC_IMPORT, (void *)8));
	close(empty);
	close(dma_buf);
}

/* Two devices move the bytes of one buffer, and the CPU none. */
TEST_F(import, two_devices)
{
	struct buffer source, shared, imported, target;
	int other = open_number(1), dma_buf;

	ASSERT_LE(0, other);
	ASSERT_EQ(0, allocate(self->fd, SIZE, &source));
	ASSERT_EQ(0, allocate(other, SIZE, &shared));
	ASSERT_EQ(0, allocate(other, SIZE, &target));
	fill(source.bytes, SIZE, 3);
	dma_buf = export_buffer(other, shared.handle);
	ASSERT_EQ(0, import_buffer(self->fd, dma_buf, 0, &imported));
	close(dma_buf);
	ASSERT_EQ(0, copy(self->fd, &imported, 0, &source, 0, SIZE));
	ASSERT_EQ(0, copy(other, &target, 0, &shared, 0, SIZE));
	EXPECT_EQ(0, memcmp(source.bytes, target.bytes, SIZE));
	close(other);
}

/* A buffer of the same device: the import ends before its memory is freed. */
TEST_F(import, own_buffer)
{
	int log = open_log(), dma_buf;
	struct buffer buffer, imported;
	char address[32];

	ASSERT_EQ(0, pci_address("rdma0", address));
	ASSERT_EQ(0, allocate(self->fd, SIZE, &buffer));
	dma_buf = export_buffer(self->fd, buffer.handle);
	ASSERT_EQ(0, import_buffer(self->fd, dma_buf, 0, &imported));
	expect_unbound(_metadata, address);
	EXPECT_EQ(0, log_lines(log, "never freed"));
	ASSERT_EQ(0, come_back(address, UNBIND));
	close(dma_buf);
	close(log);
}

/* The exporting device is removed, and the other one writes to the memory, which is nobody's from then on. */
TEST_F(import, exporter_removed)
{
	int other = open_number(1), log = open_log(), dma_buf;
	struct buffer shared, source, imported;
	struct crop crop;
	char address[32];

	ASSERT_EQ(0, pci_address("rdma1", address));
	ASSERT_EQ(0, allocate(other, SIZE, &shared));
	ASSERT_EQ(0, allocate(self->fd, SIZE, &source));
	dma_buf = export_buffer(other, shared.handle);
	ASSERT_EQ(0, import_buffer(self->fd, dma_buf, 0, &imported));
	close(dma_buf);
	memset(source.bytes, 0x11, SIZE);
	ASSERT_EQ(0, prepare(&crop, 0xee));
	expect_unbound(_metadata, address);
	EXPECT_EQ(1, log_lines(log, "other drivers still access 1 exported buffers"));
	ASSERT_EQ(0, plant(&crop, self->fd, SIZE));
	EXPECT_EQ(0, copy(self->fd, &imported, 0, &source, 0, SIZE));
	EXPECT_EQ(0, harvest(&crop));
	EXPECT_EQ(0, free_handle(self->fd, imported.handle));
	ASSERT_EQ(0, write_text("/sys/bus/pci/drivers/rdma/bind", address));
	close(other);
	close(log);
}

/* With few address bits: what the exporter would have to bounce is refused, and what this driver exports is within them. */
TEST_F(import, unreachable)
{
	int heap = from_heap(O_RDWR), own, log = open_log();
	struct buffer buffer, imported;

	EXPECT_EQ(-EOPNOTSUPP, import_buffer(self->fd, heap, 0, &imported));
	EXPECT_EQ(1, log_lines(log, "a dma-buf may be beyond 2^24"));
	ASSERT_EQ(0, allocate(self->fd, SIZE, &buffer));
	own = export_buffer(self->fd, buffer.handle);
	EXPECT_EQ(0, import_buffer(self->fd, own, 0, &imported));
	close(own);
	close(heap);
	close(log);
}

TEST_HARNESS_MAIN
