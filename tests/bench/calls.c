// SPDX-License-Identifier: GPL-2.0
/*
 * The cost of calls that take something, and of those that give it back: an open file, a buffer, registered memory, a dma-buf, the access to its
 * bytes. For this driver, and for others that do the same.
 *
 * In a guest with --icount, nanoseconds are instructions. calls [--json FILE]
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <linux/dma-buf.h>
#include <linux/dma-heap.h>
#include <linux/io_uring.h>
#include <linux/udmabuf.h>
#include <rdma.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096UL
#define HUGE (2UL << 20)
#define REPETITIONS 20

static int64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000LL + time.tv_nsec;
}

/* What a call gets. */
struct given {
	int fd;
	void *bytes;
	size_t size;
	long what; /* a handle or a descriptor */
};

/* The first of each pair returns what the second one gives back, or -1. */
static long open_rdma(const struct given *given)
{
	(void)given;
	return open("/dev/rdma0", O_RDWR | O_CLOEXEC);
}

static long open_zero(const struct given *given)
{
	(void)given;
	return open("/dev/zero", O_RDWR | O_CLOEXEC);
}

static long close_it(const struct given *given, long fd)
{
	(void)given;
	return close(fd);
}

static long alloc_rdma(const struct given *given)
{
	struct rdma_alloc request = { .size = given->size };

	return ioctl(given->fd, RDMA_IOC_ALLOC, &request) ? -1 : (long)request.handle;
}

static long alloc_heap(const struct given *given)
{
	struct dma_heap_allocation_data data = { .len = given->size, .fd_flags = O_RDWR | O_CLOEXEC };

	return ioctl(given->fd, DMA_HEAP_IOCTL_ALLOC, &data) ? -1 : (long)data.fd;
}

static long register_rdma(const struct given *given)
{
	struct rdma_register request = { .address = (uintptr_t)given->bytes, .size = given->size };

	return ioctl(given->fd, RDMA_IOC_REGISTER, &request) ? -1 : (long)request.handle;
}

static long free_rdma(const struct given *given, long handle)
{
	struct rdma_free request = { .handle = handle };

	return ioctl(given->fd, RDMA_IOC_FREE, &request);
}

static long register_uring(const struct given *given)
{
	struct iovec buffer = { given->bytes, given->size };

	return syscall(SYS_io_uring_register, given->fd, IORING_REGISTER_BUFFERS, &buffer, 1);
}

static long free_uring(const struct given *given, long state)
{
	(void)state;
	return syscall(SYS_io_uring_register, given->fd, IORING_UNREGISTER_BUFFERS, NULL, 0);
}

static long export_rdma(const struct given *given)
{
	struct rdma_export request = { .handle = given->what, .fd = -1 };

	return ioctl(given->fd, RDMA_IOC_EXPORT, &request) ? -1 : (long)request.fd;
}

static long create_udmabuf(const struct given *given)
{
	struct udmabuf_create request = { .memfd = given->what, .flags = UDMABUF_FLAGS_CLOEXEC, .size = given->size };

	return ioctl(given->fd, UDMABUF_CREATE, &request);
}

static long import_rdma(const struct given *given)
{
	struct rdma_import request = { .fd = given->what };

	return ioctl(given->fd, RDMA_IOC_IMPORT, &request) ? -1 : (long)request.handle;
}

static long begin_access(const struct given *given)
{
	struct dma_buf_sync sync = { .flags = DMA_BUF_SYNC_RW | DMA_BUF_SYNC_START };

	return ioctl(given->fd, DMA_BUF_IOCTL_SYNC, &sync);
}

static long end_access(const struct given *given, long state)
{
	struct dma_buf_sync sync = { .flags = DMA_BUF_SYNC_RW | DMA_BUF_SYNC_END };

	(void)state;
	return ioctl(given->fd, DMA_BUF_IOCTL_SYNC, &sync);
}

/* A memory file that cannot shrink, as udmabuf requires. Its pages are allocated. */
static int memory_file(size_t size)
{
	int fd = memfd_create("pages", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0 || fallocate(fd, 0, 0, size) || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK))
		err(1, "memfd_create");
	return fd;
}

/* Memory at a multiple of 2 MiB, each page of it written. */
static unsigned char *memory(bool huge)
{
	unsigned char *space = mmap(NULL, 2 * HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (space == MAP_FAILED)
		err(1, "mmap");
	space = (unsigned char *)(((uintptr_t)space + HUGE - 1) / HUGE * HUGE);
	if (madvise(space, HUGE, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE))
		err(1, "madvise");
	memset(space, 1, HUGE);
	return space;
}

struct row {
	const char *name, *by;
	long (*take)(const struct given *given);
	long (*give_back)(const struct given *given, long what);
	struct given given;
};

/* The minimum of several rounds, to exclude interrupts. */
static int measure(const struct row *row, int64_t *take, int64_t *give_back)
{
	*take = *give_back = INT64_MAX;
	for (int i = 0; i <= REPETITIONS; i++) {
		int64_t begin = now(), taken, end;
		long what = row->take(&row->given);

		taken = now();
		if (what < 0 || row->give_back(&row->given, what))
			return -1;
		end = now();
		if (!i)
			continue; /* to warm up */
		*take = taken - begin < *take ? taken - begin : *take;
		*give_back = end - taken < *give_back ? end - taken : *give_back;
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct io_uring_params parameters = {};
	int rdma = open("/dev/rdma0", O_RDWR | O_CLOEXEC), heap = open("/dev/dma_heap/system", O_RDWR | O_CLOEXEC);
	int uring = syscall(SYS_io_uring_setup, 1, &parameters);
	unsigned char *pages = memory(false), *huge = memory(true);
	struct given buffer = { .fd = rdma, .size = HUGE }, file = { .fd = open("/dev/udmabuf", O_RDWR | O_CLOEXEC), .size = HUGE };
	int exported, from_file, from_heap;

	buffer.what = alloc_rdma(&buffer);
	file.what = memory_file(HUGE);
	exported = export_rdma(&buffer);
	/* Another buffer, whose dma-buf is made again each time. */
	buffer.what = alloc_rdma(&buffer);
	from_file = create_udmabuf(&file);
	from_heap = alloc_heap(&(struct given){ .fd = heap, .size = HUGE });

	const struct row rows[] = {
		{ "open file", "rdma", open_rdma, close_it },
		{ "open file", "/dev/zero", open_zero, close_it },
		{ "buffer, 4 KiB", "rdma", alloc_rdma, free_rdma, { rdma, NULL, PAGE } },
		{ "buffer, 4 KiB", "dma_heap system", alloc_heap, close_it, { heap, NULL, PAGE } },
		{ "buffer, 2 MiB", "rdma", alloc_rdma, free_rdma, { rdma, NULL, HUGE } },
		{ "buffer, 2 MiB", "dma_heap system", alloc_heap, close_it, { heap, NULL, HUGE } },
		{ "registered page", "rdma", register_rdma, free_rdma, { rdma, pages, PAGE } },
		{ "registered page", "io_uring", register_uring, free_uring, { uring, pages, PAGE } },
		{ "512 registered pages", "rdma", register_rdma, free_rdma, { rdma, pages, HUGE } },
		{ "512 registered pages", "io_uring", register_uring, free_uring, { uring, pages, HUGE } },
		{ "registered huge page", "rdma", register_rdma, free_rdma, { rdma, huge, HUGE } },
		{ "registered huge page", "io_uring", register_uring, free_uring, { uring, huge, HUGE } },
		{ "dma-buf, 2 MiB", "rdma", export_rdma, close_it, buffer },
		{ "dma-buf, 2 MiB", "udmabuf", create_udmabuf, close_it, file },
		{ "imported, 2 MiB", "rdma", import_rdma, free_rdma, { rdma, .what = from_file } },
		{ "access by the CPU", "rdma", begin_access, end_access, { exported } },
		{ "access by the CPU", "udmabuf", begin_access, end_access, { from_file } },
		{ "access by the CPU", "dma_heap system", begin_access, end_access, { from_heap } },
	};
	FILE *json = argc == 3 && !strcmp(argv[1], "--json") ? fopen(argv[2], "we") : NULL;

	printf("%-21s %-16s %8s %10s\n", "ns", "", "take", "give back");
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		int64_t take, give_back;

		if (measure(&rows[i], &take, &give_back)) {
			printf("%-21s %-16s not here (%m)\n", rows[i].name, rows[i].by);
			continue;
		}
		printf("%-21s %-16s %8ld %10ld\n", rows[i].name, rows[i].by, take, give_back);
		if (json)
			fprintf(json, "{\"call\": \"%s\", \"by\": \"%s\", \"take_ns\": %ld, \"give_back_ns\": %ld}\n", rows[i].name, rows[i].by,
				take, give_back);
	}
	return json && fclose(json);
}
