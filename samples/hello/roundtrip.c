/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Transfers a file from a buffer to the device and back by DMA; its SHA-256 must be the same at both ends. */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <fcntl.h>
#include <rdma.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>

#include "sha256.h"

#define CHUNK (64 * 1024) /* bytes of each buffer; the file may be longer, or shorter */
#define PIECE RDMA_DEVICE_MEMORY_SIZE /* bytes that the device holds, and so of one transfer */

static void check(int good, const char *what)
{
	if (!good) {
		perror(what);
		exit(EXIT_FAILURE);
	}
}

struct buffer {
	__u32 handle;
	unsigned char *bytes;
};

static struct buffer allocate(int fd)
{
	struct rdma_alloc alloc = { .size = CHUNK };
	struct buffer buffer;

	check(ioctl(fd, RDMA_IOC_ALLOC, &alloc) == 0, "allocate");
	buffer.handle = alloc.handle;
	buffer.bytes = mmap(NULL, alloc.size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)alloc.mmap_offset);
	check(buffer.bytes != MAP_FAILED, "mmap");
	return buffer;
}

/* One transfer. A signal may interrupt it at any time; then it is repeated. */
static void transfer(int fd, struct rdma_request request)
{
	int answer;

	do {
		answer = ioctl(fd, RDMA_IOC_TRANSFER, &request);
	} while (answer < 0 && errno == EINTR);
	check(answer == 0, "transfer");
}

/* Fills the buffer from the file; returns the number of bytes, which is less than CHUNK only at the end of the file. */
static size_t fill(int file, unsigned char *bytes)
{
	size_t length = 0;
	ssize_t got;

	do {
		got = read(file, bytes + length, CHUNK - length);
		check(got >= 0 || errno == EINTR, "read");
		length += got > 0 ? (size_t)got : 0;
	} while (got != 0 && length < CHUNK);
	return length;
}

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
	unsigned char sent[SHA256_SIZE], received[SHA256_SIZE];
	unsigned long long total = 0;
	size_t length;

	if (argc < 2 || argc > 3) {
		fprintf(stderr, "usage: %s FILE [/dev/rdmaN]\n", argv[0]);
		return EXIT_FAILURE;
	}
	int file = open(argv[1], O_RDONLY);
	check(file >= 0, argv[1]);
	const char *node = argc > 2 ? argv[2] : "/dev/rdma0";
	int fd = open(node, O_RDWR);
	check(fd >= 0, node);
	struct buffer from = allocate(fd), to = allocate(fd);
	int sending = sha256_begin(), receiving = sha256_begin();
	check(sending >= 0 && receiving >= 0, "SHA-256 by the kernel (modprobe algif_hash)");
	double began = seconds();

	do {
		length = fill(file, from.bytes);
		check(sha256_add(sending, from.bytes, length) == 0, "hash");
		for (size_t at = 0; at < length; at += PIECE) {
			size_t piece = length - at < PIECE ? length - at : PIECE;

			transfer(fd, (struct rdma_request){ .operation = RDMA_OP_TO_DEVICE,
							    .source = from.handle,
							    .source_offset = at,
							    .length = piece });
			transfer(fd, (struct rdma_request){ .operation = RDMA_OP_FROM_DEVICE,
							    .destination = to.handle,
							    .destination_offset = at,
							    .length = piece });
			total += piece;
			if (isatty(STDERR_FILENO))
				fprintf(stderr, "\r%llu bytes, %.1f s ", total, seconds() - began);
		}
		check(sha256_add(receiving, to.bytes, length) == 0, "hash");
	} while (length == CHUNK);
	if (isatty(STDERR_FILENO))
		fputs("\r\033[K", stderr);

	check(sha256_end(sending, sent) == 0 && sha256_end(receiving, received) == 0, "hash");
	printf("%s: %llu bytes to the device and back in %.1f s\n", argv[1], total, seconds() - began);
	sha256_print("sent      ", sent);
	sha256_print("received  ", received);
	int same = memcmp(sent, received, SHA256_SIZE) == 0;
	puts(same ? "The same." : "NOT THE SAME!");
	return same ? EXIT_SUCCESS : EXIT_FAILURE;
}
