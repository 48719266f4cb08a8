/* SPDX-License-Identifier: GPL-2.0 */
/* The ways in which a device, or the driver, is removed and added; and allocations that reuse freed memory. */
#ifndef TEARDOWN_H
#define TEARDOWN_H

#include "debugfs.h"
#include "ioat.h"
#include "monitor.h"

#include <sys/syscall.h>

/*
 * Maximum time for removing a device: the promise is a second, including a running transfer. In
 * real time, a busy host makes each guest slower: there it is three times what ten short programs
 * take now, if that is more than three seconds.
 */
static inline int64_t limit_us(void)
{
	int64_t began = now(), limit = 3000000;

	if (virtual_time())
		return 1000000;
	for (int i = 0; i < 10; i++)
		if (system("true"))
			return limit;
	return 3 * (now() - began) > limit ? 3 * (now() - began) : limit;
}

enum way { UNBIND, REMOVE, UNPLUG };

/*
 * Which of QEMU's edus it is: each is alone on the bus behind its port, in order (vm/boot). The numbers of the nodes
 * depend on the order of plugging.
 */
static inline int edu_at(const char *address)
{
	unsigned int bus = 0;

	sscanf(address, "%*x:%x", &bus);
	return bus - 1;
}

/* Removes the device at this address; returns how long it took, or an error. */
static inline int64_t go_away(const char *address, enum way way)
{
	char path[128], id[16];
	int64_t began = now();
	int error = -1;

	switch (way) {
	case UNBIND:
		error = write_text("/sys/bus/pci/drivers/rdma/unbind", address);
		break;
	case REMOVE:
		snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/remove", address);
		error = write_text(path, "1");
		break;
	case UNPLUG:
		snprintf(id, sizeof(id), "edu%d", edu_at(address));
		error = unplug(id);
		break;
	}
	return error ? error : now() - began;
}

/* Unbinds the device at this address, in time. */
static inline void expect_unbound(struct __test_metadata *_metadata, const char *address)
{
	int64_t limit = limit_us(), took = go_away(address, UNBIND);

	ASSERT_LE(0, took);
	EXPECT_GE(limit, took);
}

/* Adds it again, as /dev/rdma0. */
static inline int come_back(const char *address, enum way way)
{
	char id[16], port[16];
	int error = -1;

	switch (way) {
	case UNBIND:
		error = write_text("/sys/bus/pci/drivers/rdma/bind", address);
		break;
	case REMOVE:
		error = write_text("/sys/bus/pci/rescan", "1");
		if (!error && is_ioat(address))
			error = ioat_bind(address);
		break;
	case UNPLUG:
		snprintf(id, sizeof(id), "edu%d", edu_at(address));
		snprintf(port, sizeof(port), "rp%d", edu_at(address));
		error = plug(id, port);
		break;
	}
	return error ? error : wait_for_node(NODE);
}

/* The module without debug information, which can be loaded faster, or as it is if there is no strip(1); NULL if there is none. */
static inline const char *light_module(void)
{
	static const char path[] = "/tmp/rdma-light.ko";
	char command[256];

	if (system("command -v strip >/dev/null"))
		return getenv("RDMA_MODULE");
	snprintf(command, sizeof(command), "strip --strip-unneeded -R .BTF -R .BTF.base -o %s %s", path, getenv("RDMA_MODULE"));
	return system(command) ? NULL : path;
}

static inline int load(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	int error = fd < 0 ? -errno : result(syscall(SYS_finit_module, fd, getenv("RDMA_PARAMETERS") ?: "", 0));

	close(fd);
	return error ? error : wait_for_node(NODE);
}

/* -EWOULDBLOCK while the module is in use (rmmod(8) reports EBUSY). */
static inline int unload(void)
{
	return result(syscall(SYS_delete_module, "rdma", O_NONBLOCK));
}

/*
 * Memory that is allocated just after something was freed, to get the same pages: buffers of another file, and pipes, whose pages are
 * taken one by one from the same lists of free pages (ordinary memory comes from the lists for movable pages). All of it is filled
 * with one byte, and checked later.
 */
enum { CROP_BUFFERS = 16, CROP_PIPES = 6, CROP_ORDINARY = 64 };
#define PIPE_BYTES (16 * PAGE)

struct crop {
	unsigned char byte;
	int fd, pipes[CROP_PIPES][2], count;
	struct buffer buffers[CROP_BUFFERS];
	unsigned char *ordinary, *full;
};

/* Buffers are allocated with this file; -1 for none. */
static inline int prepare(struct crop *crop, unsigned char byte)
{
	*crop = (struct crop){ .byte = byte, .fd = -1, .full = malloc(PIPE_BYTES) };
	memset(crop->full, byte, PIPE_BYTES);
	for (int i = 0; i < CROP_PIPES; i++)
		if (pipe(crop->pipes[i]))
			return -errno;
	return 0;
}

/* The first four are of this size. */
static inline int plant(struct crop *crop, int fd, size_t size)
{
	crop->fd = fd;
	for (crop->count = 0; fd >= 0 && crop->count < CROP_BUFFERS; crop->count++) {
		struct buffer *buffer = &crop->buffers[crop->count];
		int error = allocate(fd, crop->count < 4 ? size : PAGE, buffer);

		if (error)
			return error;
		memset(buffer->bytes, crop->byte, buffer->size);
	}
	for (int i = 0; i < CROP_PIPES; i++)
		if (write(crop->pipes[i][1], crop->full, PIPE_BYTES) != PIPE_BYTES)
			return -EIO;
	crop->ordinary = mmap(NULL, CROP_ORDINARY * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (crop->ordinary == MAP_FAILED)
		return -errno;
	memset(crop->ordinary, crop->byte, CROP_ORDINARY * PAGE);
	return 0;
}

static inline long changed(const struct crop *crop, const unsigned char *bytes, size_t length)
{
	return memcmp(bytes, crop->full, length) ? differing(bytes, crop->byte, length) : 0;
}

/* How many bytes have changed, or an error; frees all of it. */
static inline long harvest(struct crop *crop)
{
	unsigned char bytes[PIPE_BYTES];
	long count = 0;

	for (int i = 0; i < crop->count; i++) {
		struct buffer *buffer = &crop->buffers[i];

		for (size_t at = 0; at < buffer->size; at += DEVICE_MEMORY)
			count += changed(crop, buffer->bytes + at, DEVICE_MEMORY);
		if (release(crop->fd, buffer))
			return -EIO;
	}
	for (int i = 0; i < CROP_PIPES; i++) {
		if (read(crop->pipes[i][0], bytes, PIPE_BYTES) != PIPE_BYTES)
			return -EIO;
		count += changed(crop, bytes, PIPE_BYTES);
	}
	for (size_t at = 0; at < CROP_ORDINARY * PAGE; at += PAGE)
		count += changed(crop, crop->ordinary + at, DEVICE_MEMORY);
	munmap(crop->ordinary, CROP_ORDINARY * PAGE);
	return count;
}

#endif
