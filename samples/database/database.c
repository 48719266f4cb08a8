/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * database [-n] FILE SQL... : a SQLite database in a DMA buffer, queried through the mapping: only the pages that a query needs are loaded.
 *
 * The results go to standard output, the cost of each query to stderr. SQLite's library uses the mapping as the
 * database (sqlite3_deserialize(3)), in place, without copying pages (PRAGMA mmap_size).
 *
 *   -n  without MADV_RANDOM: an access also loads the pages around it, which is better for a query that reads everything
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <rdma.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PAGE ((unsigned long)sysconf(_SC_PAGESIZE))

static void check(int good, const char *what)
{
	if (!good) {
		perror(what);
		exit(EXIT_FAILURE);
	}
}

static double milliseconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1e3 + now.tv_nsec / 1e6;
}

/*
 * The faults that the driver has handled on this device, from debugfs; without debugfs, all faults of this process
 * (getrusage(2)).
 */
static long faults(void)
{
	FILE *counters = fopen("/sys/kernel/debug/rust_dma/rdma0/counters", "r");
	struct rusage usage;
	char name[64];
	long value;

	getrusage(RUSAGE_SELF, &usage);
	while (counters && fscanf(counters, "%63s %ld", name, &value) == 2)
		if (!strcmp(name, "page_faults"))
			usage.ru_minflt = value;
	if (counters)
		fclose(counters);
	return usage.ru_minflt;
}

/* Loaded pages of a mapping: mincore(2). */
static unsigned long loaded(void *bytes, unsigned long size)
{
	unsigned long pages = size / PAGE, count = 0;
	unsigned char *resident = malloc(pages);

	check(resident && !mincore(bytes, size, resident), "mincore");
	for (unsigned long i = 0; i < pages; i++)
		count += resident[i] & 1;
	free(resident);
	return count;
}

/* Reads the file into a buffer, by a temporary mapping; whole pages. */
static unsigned long fill(int fd, int file, struct rdma_alloc *buffer)
{
	struct stat about;
	char *bytes;

	check(!fstat(file, &about), "the file");
	buffer->size = about.st_size;
	check(!ioctl(fd, RDMA_IOC_ALLOC, buffer), "a buffer for the file");
	bytes = mmap(NULL, buffer->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, buffer->mmap_offset);
	check(bytes != MAP_FAILED, "mmap");
	for (off_t done = 0; done < about.st_size;) {
		ssize_t count = read(file, bytes + done, about.st_size - done);

		if (count == 0)
			errno = EIO; /* it has become shorter */
		check(count > 0, "the file");
		done += count;
	}
	check(!munmap(bytes, buffer->size), "munmap");
	return about.st_size;
}

static int print(void *unused, int columns, char **values, char **names)
{
	(void)unused, (void)names;
	for (int i = 0; i < columns; i++)
		printf("%s%s", i ? "|" : "", values[i] ? values[i] : "");
	putchar('\n');
	return 0;
}

static void run(sqlite3 *database, const char *sql)
{
	char *error = NULL;

	if (sqlite3_exec(database, sql, print, NULL, &error) != SQLITE_OK) {
		fprintf(stderr, "%s: %s\n", sql, error);
		exit(EXIT_FAILURE);
	}
}

int main(int argc, char **argv)
{
	struct rdma_alloc buffer = { 0 };
	unsigned long size;
	double begin;
	sqlite3 *database;
	char pragma[64];
	void *bytes;
	int fd, file, normal = argc > 1 && !strcmp(argv[1], "-n");

	argc -= normal;
	argv += normal;
	if (argc < 3) {
		fprintf(stderr, "usage: database [-n] FILE SQL...\n");
		return 2;
	}
	fd = open("/dev/rdma0", O_RDWR);
	check(fd >= 0, "/dev/rdma0");
	file = open(argv[1], O_RDONLY);
	check(file >= 0, argv[1]);
	begin = milliseconds();
	size = fill(fd, file, &buffer);
	fprintf(stderr, "read(2) of the whole file: %lu pages, %.3f ms\n", (unsigned long)(buffer.size / PAGE), milliseconds() - begin);

	/* A mapping in which nothing is loaded yet. Queries access pages at random, so that loading the pages around them would be useless. */
	bytes = mmap(NULL, buffer.size, PROT_READ, MAP_SHARED, fd, buffer.mmap_offset);
	check(bytes != MAP_FAILED, "mmap");
	check(normal || !madvise(bytes, buffer.size, MADV_RANDOM), "madvise");

	if (sqlite3_open(":memory:", &database) != SQLITE_OK ||
	    sqlite3_deserialize(database, "main", bytes, size, size, SQLITE_DESERIALIZE_READONLY) != SQLITE_OK) {
		fprintf(stderr, "%s\n", sqlite3_errmsg(database));
		return EXIT_FAILURE;
	}
	snprintf(pragma, sizeof(pragma), "PRAGMA mmap_size = %lu", size);
	sqlite3_exec(database, pragma, NULL, NULL, NULL);
	fprintf(stderr, "In the mapping: %lu pages, of which %lu are loaded\n", (unsigned long)(buffer.size / PAGE), loaded(bytes, buffer.size));
	fprintf(stderr, "%8s %8s %8s %10s\n", "loaded", "in all", "faults", "ms");

	for (int i = 2; i < argc; i++) {
		unsigned long before = loaded(bytes, buffer.size), after;
		long faulted = faults();
		double took;

		begin = milliseconds();
		run(database, argv[i]);
		took = milliseconds() - begin;
		faulted = faults() - faulted;
		after = loaded(bytes, buffer.size);
		fprintf(stderr, "%8lu %8lu %8ld %10.3f  %s\n", after - before, after, faulted, took, argv[i]);
	}
	sqlite3_close(database);
	return EXIT_SUCCESS;
}
