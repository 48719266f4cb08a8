// SPDX-License-Identifier: GPL-2.0
/*
 * The total cost of a transfer for the CPU, with this driver and with a program that drives the device through vfio: phases of 64
 * transfers, between marks for the counting plugin. transfers VFIO-ADDRESS VFIO-GROUP ROUNDS SETTLE-SECONDS
 *
 * Prints a line for each phase: its number and its name.
 */
#define _GNU_SOURCE
#include "edu.h"
#include "uring.h"

#include <marker.h>
#include <poll.h>
#include <rdma.h>
#include <stdlib.h>
#include <time.h>

enum { TRANSFERS = 64, SIZE = 1 << 20, PAGE = 4096, TRANSFER_MS = 100, LOOPS = 1000000 };

static int fd, fd_with_ring, event;
static struct vfio vfio;
static struct rdma_request requests[TRANSFERS], one_copy;
static struct rdma_completion completions[TRANSFERS];

static void nap(int ms)
{
	struct timespec time = { ms / 1000, ms % 1000 * 1000000L };

	nanosleep(&time, NULL);
}

static void submit(int count)
{
	struct rdma_submit argument = {
		.requests = (uintptr_t)requests,
		.count = count,
		.request_size = sizeof(*requests),
	};

	if (ioctl(fd, RDMA_IOC_SUBMIT, &argument) != count)
		err(1, "SUBMIT");
}

static int collect(int min, int max)
{
	struct rdma_wait argument = {
		.completions = (uintptr_t)completions,
		.min = min,
		.max = max,
		.completion_size = sizeof(*completions),
		.deadline_ns = min ? RDMA_WAIT_FOREVER : 0,
	};
	int got = ioctl(fd, RDMA_IOC_WAIT, &argument);

	if (got < min)
		err(1, "WAIT");
	return got;
}

static void transfer(struct rdma_request *request)
{
	if (ioctl(fd, RDMA_IOC_TRANSFER, request))
		err(1, "TRANSFER");
}

static uint64_t read_event(int event)
{
	uint64_t count;

	if (read(event, &count, sizeof(count)) != sizeof(count))
		err(1, "read of an eventfd");
	return count;
}

/* --- Not counted */

static void nothing(void)
{
}

static void loop(void)
{
	for (long i = LOOPS; i; i--)
		__asm__ volatile("" : "+r"(i));
}

static void sleep_once(void)
{
	nap(TRANSFERS * TRANSFER_MS);
}

static void sleep_for_each(void)
{
	for (int i = 0; i < TRANSFERS; i++)
		nap(TRANSFER_MS);
}

/* --- The program with vfio */

static void vfio_read(void)
{
	for (int i = 0; i < TRANSFERS; i++) {
		edu_start(&vfio, IOVA + i * PAGE, PAGE);
		read_event(vfio.event);
		edu_acknowledge(&vfio);
	}
}

static void vfio_poll(void)
{
	struct pollfd file = { .fd = vfio.event, .events = POLLIN };

	for (int i = 0; i < TRANSFERS; i++) {
		edu_start(&vfio, IOVA + i * PAGE, PAGE);
		if (poll(&file, 1, -1) != 1)
			err(1, "poll");
		read_event(vfio.event);
		edu_acknowledge(&vfio);
	}
}

/* --- This driver */

static void one_by_one(void)
{
	for (int i = 0; i < TRANSFERS; i++)
		transfer(&requests[i]);
}

static void submit_and_wait(void)
{
	for (int i = 0; i < TRANSFERS; i++) {
		submit(1);
		collect(1, 1);
	}
}

static void batch(void)
{
	submit(TRANSFERS);
	collect(TRANSFERS, TRANSFERS);
}

/* Woken by the eventfd for each, and collecting all completions. */
static void batch_by_eventfd(void)
{
	submit(TRANSFERS);
	for (int left = TRANSFERS; left > 0;) {
		read_event(event);
		left -= collect(0, TRANSFERS);
	}
}

static void depth(void)
{
	for (int i = 0; i < TRANSFERS / 16; i++) {
		collect(16, 16);
		submit(16);
	}
}

static struct rdma_completion_ring ring;
static unsigned char *ring_bytes;

/* Woken once, when all are in the ring. */
static void batch_by_ring(void)
{
	uint32_t *head = (uint32_t *)(ring_bytes + ring.head_offset), *tail = (uint32_t *)(ring_bytes + ring.tail_offset);
	struct rdma_wait argument = { .min = TRANSFERS, .deadline_ns = RDMA_WAIT_FOREVER };

	submit(TRANSFERS);
	if (ioctl(fd, RDMA_IOC_WAIT, &argument) != TRANSFERS || __atomic_load_n(tail, __ATOMIC_ACQUIRE) - *head != TRANSFERS)
		err(1, "WAIT for the ring");
	for (uint32_t at = *head; at != *head + TRANSFERS; at++) {
		const unsigned char *entry = ring_bytes + ring.completions_offset + at % ring.entries * ring.completion_size;

		memcpy(&completions[at % TRANSFERS], entry, sizeof(*completions));
	}
	__atomic_store_n(head, *head + TRANSFERS, __ATOMIC_RELEASE);
}

static void copy(void)
{
	transfer(&one_copy);
}

/* Exchanges the file. */
static void use_file(int *other)
{
	int before = fd;

	fd = *other;
	*other = before;
}

/* Commands of io_uring: one by one, and all at once. */
static struct uring uring;

static void command(int index)
{
	uring_command(&uring, fd, RDMA_IOC_TRANSFER, &requests[index], index);
}

static void end_commands(int count)
{
	while (count--)
		if (uring_wait(&uring, NULL))
			errx(1, "a command failed");
}

static void commands_one_by_one(void)
{
	for (int i = 0; i < TRANSFERS; i++) {
		command(i);
		if (uring_submit(&uring, 1) != 1)
			errx(1, "io_uring_enter");
		end_commands(1);
	}
}

static void commands_at_once(void)
{
	for (int i = 0; i < TRANSFERS; i++)
		command(i);
	if (uring_submit(&uring, TRANSFERS) != TRANSFERS)
		errx(1, "io_uring_enter");
	end_commands(TRANSFERS);
}

static void use_eventfd(int wanted)
{
	struct rdma_eventfd argument = { .fd = wanted };

	if (ioctl(fd, RDMA_IOC_EVENTFD, &argument))
		err(1, "EVENTFD");
}

static void open_ring(void)
{
	if (ioctl(fd, RDMA_IOC_COMPLETION_RING, &ring))
		err(1, "COMPLETION_RING");
	ring_bytes = mmap(NULL, ring.size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, ring.mmap_offset);
	if (ring_bytes == MAP_FAILED)
		err(1, "mmap of the ring");
}

/* The first buffer of each context has the same handle. */
static void rdma_open(void)
{
	struct rdma_alloc alloc = { .size = SIZE };
	unsigned char *bytes;

	fd = open("/dev/rdma0", O_RDWR | O_CLOEXEC);
	if (fd < 0 || ioctl(fd, RDMA_IOC_ALLOC, &alloc))
		err(1, "/dev/rdma0");
	bytes = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, alloc.mmap_offset);
	if (bytes == MAP_FAILED)
		err(1, "mmap");
	memset(bytes, 1, SIZE);
	for (int i = 0; i < TRANSFERS; i++)
		requests[i] = (struct rdma_request){
			.operation = RDMA_OP_TO_DEVICE,
			.source = alloc.handle,
			.source_offset = i * PAGE,
			.length = PAGE,
			.cookie = i,
		};
	/* 32 pieces of two transfers each. */
	one_copy = (struct rdma_request){
		.operation = RDMA_OP_COPY,
		.source = alloc.handle,
		.destination = alloc.handle,
		.destination_offset = SIZE / 2,
		.length = TRANSFERS / 2 * PAGE,
	};
	event = eventfd(0, EFD_CLOEXEC);
}

#define PHASE(number, name, call)                                                                                                 \
	do {                                                                                                                      \
		PHASE_BEGIN(number);                                                                                              \
		call();                                                                                                           \
		PHASE_END(number);                                                                                                \
		if (!round)                                                                                                       \
			printf("%d\t%s\n", number, name);                                                                         \
		nap(500);                                                                                                         \
	} while (0)

static void do_round(int round)
{
	PHASE(1, "nothing", nothing);
	PHASE(2, "a loop of a million turns, of 2 instructions", loop);
	PHASE(3, "asleep, once for 6.4 s", sleep_once);
	PHASE(4, "asleep, 64 times for 100 ms", sleep_for_each);
	PHASE(10, "vfio program, blocking read of the eventfd", vfio_read);
	PHASE(11, "vfio program, poll and read", vfio_poll);
	PHASE(20, "TRANSFER, one by one", one_by_one);
	PHASE(21, "SUBMIT 1 and WAIT, one by one", submit_and_wait);
	PHASE(22, "SUBMIT 64, WAIT for 64", batch);
	use_eventfd(event);
	PHASE(23, "SUBMIT 64, the eventfd and WAIT for each", batch_by_eventfd);
	use_eventfd(-1);
	submit(TRANSFERS);
	PHASE(24, "64 kept in the queue, WAIT for 16", depth);
	collect(TRANSFERS, TRANSFERS);
	PHASE(25, "one COPY of 128 KiB", copy);
	use_file(&fd_with_ring);
	PHASE(26, "SUBMIT 64, WAIT for 64 in the ring", batch_by_ring);
	use_file(&fd_with_ring);
	PHASE(27, "io_uring, one by one", commands_one_by_one);
	PHASE(28, "io_uring, 64 commands at once", commands_at_once);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	int rounds, seconds;

	if (argc != 5)
		errx(2, "usage: transfers VFIO-ADDRESS VFIO-GROUP ROUNDS SETTLE-SECONDS");
	rounds = atoi(argv[3]);
	seconds = atoi(argv[4]);
	rdma_open();
	open_ring();
	batch_by_ring();
	use_file(&fd_with_ring);
	rdma_open();
	vfio = vfio_open(argv[1], argv[2], SIZE, VFIO_PCI_MSI_IRQ_INDEX);
	/* What is done once is done. */
	if (uring_open(&uring, TRANSFERS, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN))
		errx(1, "io_uring_setup");
	vfio_read();
	batch();
	commands_at_once();
	nap(seconds * 1000);
	for (int round = 0; round < rounds; round++)
		do_round(round);
	return 0;
}
