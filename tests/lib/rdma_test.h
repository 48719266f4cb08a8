/* SPDX-License-Identifier: GPL-2.0 */
/* Shared by the C tests: each call in one line; its result is a number, which is an error if it is negative. */
#ifndef RDMA_TEST_H
#define RDMA_TEST_H

#include "kselftest_harness.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <rdma.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define NODE "/dev/rdma0"
#define PAGE page_size() /* 4096 or more */
#define DEVICE_MEMORY RDMA_DEVICE_MEMORY_SIZE

/* No time limits per case, which would depend on the guest's clock: the host limits the test (tests.toml, vm/patience.py). */
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT (-1) /* for poll(2), in seconds: none */

static inline unsigned long page_size(void)
{
	static unsigned long size;

	if (!size)
		size = sysconf(_SC_PAGESIZE);
	return size;
}

/* Duration of a transfer, in microseconds. Source: QEMU, docs/specs/edu.rst, "DMA". */
#define TRANSFER_US 100000

/*
 * The whole program is in memory before it starts. In virtual time, the clock of a guest that waits for the host's disk jumps to
 * the next timer: loading a page of code during a transfer could end the transfer.
 */
__attribute__((constructor)) static void load_all(void)
{
	if (!mlockall(MCL_CURRENT))
		munlockall();
}

/* result(call(...)): the result of the call, or -errno. */
static inline long result(long answer)
{
	return answer < 0 ? -errno : answer;
}

static inline int open_node(int flags)
{
	return result(open(NODE, flags | O_CLOEXEC));
}

/* /dev/rdmaN */
static inline int open_number(int number)
{
	char path[32];

	snprintf(path, sizeof(path), "/dev/rdma%d", number);
	return result(open(path, O_RDWR | O_CLOEXEC));
}

static inline int call(int fd, unsigned long number, void *argument)
{
	return result(ioctl(fd, number, argument));
}

/* A buffer, mapped as a whole. */
struct buffer {
	uint32_t handle;
	uint64_t size;
	uint64_t offset; /* for mmap(2) */
	unsigned char *bytes;
};

/* mmap(2), with NULL in place of MAP_FAILED; errno does not change. */
static inline void *map(int fd, uint64_t offset, size_t length, int protection)
{
	void *address = mmap(NULL, length, protection, MAP_SHARED, fd, offset);

	return address == MAP_FAILED ? NULL : address;
}

static inline int allocate(int fd, uint64_t size, struct buffer *buffer)
{
	struct rdma_alloc alloc = { .size = size };
	int error = call(fd, RDMA_IOC_ALLOC, &alloc);

	if (error)
		return error;
	*buffer = (struct buffer){ alloc.handle, alloc.size, alloc.mmap_offset, NULL };
	buffer->bytes = map(fd, alloc.mmap_offset, alloc.size, PROT_READ | PROT_WRITE);
	return buffer->bytes ? 0 : -errno;
}

static inline int free_handle(int fd, uint32_t handle)
{
	struct rdma_free request = { .handle = handle };

	return call(fd, RDMA_IOC_FREE, &request);
}

/* Both the mapping and the handle. */
static inline int release(int fd, struct buffer *buffer)
{
	if (munmap(buffer->bytes, buffer->size))
		return -errno;
	return free_handle(fd, buffer->handle);
}

static inline int to_device(int fd, const struct buffer *from, uint64_t offset, uint64_t device_offset,
			    uint64_t length)
{
	struct rdma_request request = {
		.operation = RDMA_OP_TO_DEVICE,
		.source = from->handle,
		.source_offset = offset,
		.destination_offset = device_offset,
		.length = length,
	};

	return call(fd, RDMA_IOC_TRANSFER, &request);
}

static inline int from_device(int fd, const struct buffer *to, uint64_t offset, uint64_t device_offset,
			      uint64_t length)
{
	struct rdma_request request = {
		.operation = RDMA_OP_FROM_DEVICE,
		.destination = to->handle,
		.source_offset = device_offset,
		.destination_offset = offset,
		.length = length,
	};

	return call(fd, RDMA_IOC_TRANSFER, &request);
}

static inline int copy(int fd, const struct buffer *to, uint64_t to_offset, const struct buffer *from,
		       uint64_t from_offset, uint64_t length)
{
	struct rdma_request request = {
		.operation = RDMA_OP_COPY,
		.source = from->handle,
		.destination = to->handle,
		.source_offset = from_offset,
		.destination_offset = to_offset,
		.length = length,
	};

	return call(fd, RDMA_IOC_TRANSFER, &request);
}

/* Number of repetitions: more in `make test-long`, fewer if RDMA_SCALE divides it, for slow kernels. */
static inline int scale(int quick, int many)
{
	int count = getenv("RDMA_LONG") ? many : quick, divisor = atoi(getenv("RDMA_SCALE") ?: "1");

	return divisor > 1 ? (count + divisor - 1) / divisor : count;
}

/* For the table of `make guarantees`: what was run, and the result. FIGURE("%d kills", "gone in at most %d ms", 1000, 112) */
#define FIGURE(ran, came, ...) (printf("# figure: " ran " | " came "\n", ##__VA_ARGS__), fflush(stdout))

/* A pattern that depends on seed and position. */
static inline void fill(void *bytes, size_t length, unsigned int seed)
{
	unsigned char *byte = bytes;

	for (size_t i = 0; i < length; i++)
		byte[i] = seed * 29 + i * 7 + i / 251;
}

/* The number of bytes that are not `value`. */
static inline size_t differing(const void *bytes, unsigned char value, size_t length)
{
	const unsigned char *byte = bytes;
	size_t count = 0;

	for (size_t i = 0; i < length; i++)
		count += byte[i] != value;
	return count;
}

/* The guest's clock, in microseconds. */
static inline int64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000LL + time.tv_nsec / 1000;
}

/* Whether the clock of this guest advances only while it runs; such a guest has one CPU (see tests.toml). */
static inline bool virtual_time(void)
{
	return sysconf(_SC_NPROCESSORS_ONLN) == 1;
}

static inline void pause_us(int64_t microseconds)
{
	struct timespec time = { microseconds / 1000000, microseconds % 1000000 * 1000 };

	while (nanosleep(&time, &time) && errno == EINTR)
		;
}

static inline void *shared_memory(size_t size)
{
	return mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}

/* A request that a separate thread waits for. */
struct pending {
	pthread_t thread;
	int fd;
	struct rdma_request request;
	int answer;
	int64_t began, ended;
};

static inline void *pending_thread(void *argument)
{
	struct pending *pending = argument;

	pending->began = now();
	pending->answer = call(pending->fd, RDMA_IOC_TRANSFER, &pending->request);
	pending->ended = now();
	return NULL;
}

static inline int begin(struct pending *pending, int fd, struct rdma_request request)
{
	*pending = (struct pending){ .fd = fd, .request = request };
	return -pthread_create(&pending->thread, NULL, pending_thread, pending);
}

static inline int finish(struct pending *pending)
{
	int error = -pthread_join(pending->thread, NULL);

	return error ? error : pending->answer;
}

/* Whether a byte can be read; otherwise it raises SIGBUS. */
static sigjmp_buf touch_failed;

static inline void touch_handler(int signal)
{
	(void)signal;
	siglongjmp(touch_failed, 1);
}

static inline bool readable(const void *address)
{
	/* The handler belongs to the process: one thread at a time. */
	static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;
	struct sigaction action = { .sa_handler = touch_handler }, before;
	volatile bool readable = false;

	pthread_mutex_lock(&one_at_a_time);
	sigaction(SIGBUS, &action, &before);
	if (!sigsetjmp(touch_failed, 1)) {
		(void)*(const volatile unsigned char *)address;
		readable = true;
	}
	sigaction(SIGBUS, &before, NULL);
	pthread_mutex_unlock(&one_at_a_time);
	return readable;
}

/* Small files: those of sysfs and procfs. */
static inline int write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	long answer;

	if (fd < 0)
		return -errno;
	answer = result(write(fd, text, strlen(text)));
	close(fd);
	return answer < 0 ? answer : 0;
}

static inline int read_text(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t length = 0;
	long answer = 0;

	if (fd < 0)
		return -errno;
	while (length < size - 1 && (answer = result(read(fd, text + length, size - 1 - length))) > 0)
		length += answer;
	close(fd);
	text[length] = '\0';
	return answer < 0 ? answer : 0;
}

/* The kernel's log from here on: open it, make the call, search it. */
static inline int open_log(void)
{
	int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	if (fd >= 0)
		lseek(fd, 0, SEEK_END);
	return fd;
}

/* How many of the lines since the last call contain `text`. */
static inline int log_lines(int fd, const char *text)
{
	char line[2048];
	int count = 0;
	ssize_t length;

	while ((length = read(fd, line, sizeof(line) - 1)) > 0 || errno == EPIPE) {
		line[length > 0 ? length : 0] = '\0';
		count += strstr(line, text) != NULL;
	}
	return count;
}

/* The PCI address of a node, such as 0000:01:00.0. */
static inline int pci_address(const char *name, char address[32])
{
	char path[128], target[512];
	ssize_t length;

	snprintf(path, sizeof(path), "/sys/class/rust_dma/%s/device", name);
	length = readlink(path, target, sizeof(target) - 1);
	if (length < 0)
		return -errno;
	target[length] = '\0';
	snprintf(address, 32, "%s", strrchr(target, '/') + 1);
	return 0;
}

/* Makes the PCI core reset the device at this address. Source: Documentation/ABI/testing/sysfs-bus-pci */
static inline int reset_device(const char *address)
{
	char path[64];

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/reset", address);
	return write_text(path, "1");
}

/* Interrupts so far on all lines with this name in /proc/interrupts, or -1 if there is none. */
static inline long interrupts(const char *name)
{
	char line[4096];
	long total = -1;
	FILE *file = fopen("/proc/interrupts", "re");

	if (!file)
		return -1;
	while (fgets(line, sizeof(line), file)) {
		char *field = strchr(line, ':');

		if (!field || !strstr(line, name))
			continue;
		total += total < 0;
		for (field++;;) {
			char *end;
			long count = strtol(field, &end, 10);

			if (end == field || (*end != ' ' && *end != '\n'))
				break;
			total += count;
			field = end;
		}
	}
	fclose(file);
	return total;
}

#endif
