// SPDX-License-Identifier: GPL-2.0
/*
 * The cost of a mapping: mmap with one store to each page, and munmap. For this driver and for others that map kernel memory.
 *
 * In a guest with --icount, nanoseconds are instructions. mapping [--json FILE]
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/dma-heap.h>
#include <linux/udmabuf.h>
#include <rdma.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096UL
#define HUGE (2UL << 20)
#define REPETITIONS 20

/* Kernel memory that can be mapped. */
struct source {
	int fd;
	off_t offset;
};

/*
 * Where it is mapped. If it is aligned to 2 MiB, huge pages are possible. Small mappings have neighbours in most programs, with
 * which they share a page table: without them, each round would allocate and free one.
 */
enum place { ANYWHERE, UNALIGNED, BESIDE };

static struct source rdma(size_t size)
{
	struct rdma_alloc alloc = { .size = size };
	int fd = open("/dev/rdma0", O_RDWR | O_CLOEXEC);

	if (fd >= 0 && ioctl(fd, RDMA_IOC_ALLOC, &alloc)) {
		close(fd);
		fd = -1;
	}
	return (struct source){ fd, alloc.mmap_offset };
}

static struct source dma_heap(size_t size)
{
	struct dma_heap_allocation_data data = { .len = size, .fd_flags = O_RDWR | O_CLOEXEC };
	int heap = open("/dev/dma_heap/system", O_RDWR | O_CLOEXEC);

	if (heap < 0)
		return (struct source){ -1, 0 };
	if (ioctl(heap, DMA_HEAP_IOCTL_ALLOC, &data))
		data.fd = -1U;
	close(heap);
	return (struct source){ data.fd, 0 };
}

static struct source udmabuf(size_t size)
{
	int memory = memfd_create("mapping", MFD_ALLOW_SEALING | MFD_CLOEXEC);
	int node = open("/dev/udmabuf", O_RDWR | O_CLOEXEC), fd = -1;
	void *bytes;

	if (memory >= 0 && node >= 0 && !ftruncate(memory, size) && !fcntl(memory, F_ADD_SEALS, F_SEAL_SHRINK)) {
		struct udmabuf_create create = { .memfd = memory, .flags = UDMABUF_FLAGS_CLOEXEC, .size = size };

		bytes = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
		if (bytes != MAP_FAILED) {
			memset(bytes, 1, size);
			munmap(bytes, size);
		}
		fd = ioctl(node, UDMABUF_CREATE, &create);
	}
	close(memory);
	close(node);
	return (struct source){ fd, 0 };
}

static int64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000LL + time.tv_nsec;
}

/* A free address at this distance from a multiple of 2 MiB. */
static char *behind(size_t distance, size_t size)
{
	char *space = mmap(NULL, size + 2 * HUGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (space == MAP_FAILED)
		err(1, "mmap");
	munmap(space, size + 2 * HUGE);
	return (char *)(((uintptr_t)space + HUGE - 1) / HUGE * HUGE + distance);
}

static void *free_address(enum place place, size_t size)
{
	char *address;

	if (place == ANYWHERE)
		return NULL;
	if (place == UNALIGNED)
		return behind(PAGE, size);
	address = behind(HUGE / 2, size);
	*(volatile char *)mmap(address - HUGE / 2, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) = 1;
	return address;
}

/* The minimum of several rounds, to exclude interrupts. */
static int measure(struct source source, size_t size, enum place place, int advice, int64_t *map, int64_t *unmap)
{
	void *hint = free_address(place, size);

	*map = *unmap = INT64_MAX;
	for (int i = 0; i <= REPETITIONS; i++) {
		int64_t begin = now(), mapped, end;
		volatile char *bytes = mmap(hint, size, PROT_READ | PROT_WRITE, MAP_SHARED, source.fd, source.offset);

		if (bytes == MAP_FAILED)
			return -1;
		if (advice != MADV_NORMAL)
			madvise((void *)bytes, size, advice);
		for (size_t offset = 0; offset < size; offset += PAGE)
			bytes[offset] = 1;
		mapped = now();
		munmap((void *)bytes, size);
		end = now();
		if (!i)
			continue; /* to warm up */
		if (hint && bytes != hint)
			errx(1, "%p is taken", hint);
		*map = mapped - begin < *map ? mapped - begin : *map;
		*unmap = end - mapped < *unmap ? end - mapped : *unmap;
	}
	return 0;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		struct source (*make)(size_t size);
		enum place place;
		size_t size;
		int advice;
	} rows[] = {
		{ "rdma", rdma, BESIDE, 64 << 10 },
		{ "dma_heap system", dma_heap, BESIDE, 64 << 10 },
		{ "udmabuf", udmabuf, BESIDE, 64 << 10 },
		{ "rdma, 4 KiB entries", rdma, UNALIGNED, 4 << 20 },
		{ "rdma, 2 MiB entries", rdma, ANYWHERE, 4 << 20 },
		{ "rdma, MADV_RANDOM", rdma, ANYWHERE, 4 << 20, MADV_RANDOM },
		{ "dma_heap system", dma_heap, ANYWHERE, 4 << 20 },
		{ "udmabuf", udmabuf, ANYWHERE, 4 << 20 },
	};
	static const struct option options[] = { { "json", required_argument, NULL, 'j' }, {} };
	FILE *json = NULL;

	for (int option; (option = getopt_long(argc, argv, "", options, NULL)) >= 0;) {
		if (option != 'j')
			return 2;
		json = fopen(optarg, "we");
		if (!json)
			err(1, "%s", optarg);
	}

	printf("%-20s %8s %14s %8s %10s %8s\n", "ns", "size", "mmap + stores", "a page", "munmap", "a page");
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		size_t pages = rows[i].size / PAGE;
		struct source source = rows[i].make(rows[i].size);
		int64_t map, unmap;

		if (source.fd < 0 || measure(source, rows[i].size, rows[i].place, rows[i].advice, &map, &unmap)) {
			printf("%-20s %4zu KiB not here (%m)\n", rows[i].name, rows[i].size >> 10);
			continue;
		}
		printf("%-20s %4zu KiB %14ld %8ld %10ld %8ld\n", rows[i].name, rows[i].size >> 10, map, map / pages, unmap,
		       unmap / pages);
		if (json)
			fprintf(json, "{\"mapping\": \"%s\", \"bytes\": %zu, \"map_ns\": %ld, \"unmap_ns\": %ld}\n",
				rows[i].name, rows[i].size, map, unmap);
		close(source.fd);
	}
	return json && fclose(json);
}
