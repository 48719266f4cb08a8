/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The smallest program: transfers a message from a mapped buffer to the device and back by DMA. */
#include <fcntl.h>
#include <rdma.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

static const char message[] = "Hello from userspace, through the device and back!";

static void check(int good, const char *what)
{
	if (!good) {
		perror(what);
		exit(EXIT_FAILURE);
	}
}

int main(int argc, char **argv)
{
	const char *node = argc > 1 ? argv[1] : "/dev/rdma0";

	/* An open file is a context: what it owns is freed when it is closed. */
	int fd = open(node, O_RDWR);
	check(fd >= 0, node);
	printf("open    %s\n", node);

	/* Mapping at offset 0 allocates the context's first buffer, with this length. */
	char *buffer = mmap(NULL, RDMA_DEVICE_MEMORY_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	check(buffer != MAP_FAILED, "mmap");
	printf("mmap    a buffer of %d bytes for DMA\n", RDMA_DEVICE_MEMORY_SIZE);

	/* It is ordinary memory. */
	strcpy(buffer, message);
	printf("write   \"%s\"\n", buffer);

	/* The device reads the whole buffer; the call returns at the end. */
	struct rdma_request out = {
		.operation = RDMA_OP_TO_DEVICE,
		.source = RDMA_FIRST_BUFFER,
		.length = RDMA_DEVICE_MEMORY_SIZE,
	};
	check(ioctl(fd, RDMA_IOC_TRANSFER, &out) == 0, "transfer to the device");
	printf("DMA     buffer -> device\n");

	memset(buffer, 0, RDMA_DEVICE_MEMORY_SIZE);
	printf("clear   \"%s\"\n", buffer);

	/* The device writes its memory back. */
	struct rdma_request back = {
		.operation = RDMA_OP_FROM_DEVICE,
		.destination = RDMA_FIRST_BUFFER,
		.length = RDMA_DEVICE_MEMORY_SIZE,
	};
	check(ioctl(fd, RDMA_IOC_TRANSFER, &back) == 0, "transfer from the device");
	printf("DMA     device -> buffer\n");

	printf("read    \"%s\"\n", buffer);
	int same = strcmp(buffer, message) == 0;
	puts(same ? "It is the same." : "IT IS NOT THE SAME!");
	return same ? EXIT_SUCCESS : EXIT_FAILURE;
}
