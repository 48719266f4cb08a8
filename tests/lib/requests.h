/* SPDX-License-Identifier: GPL-2.0 */
/* Submitted requests and their completions: each call in one line. */
#ifndef REQUESTS_H
#define REQUESTS_H

#include "rdma_test.h"

#include <poll.h>
#include <sys/eventfd.h>

#define DEPTH RDMA_QUEUE_DEPTH
#define MS 1000000LL /* in nanoseconds */
#define FOREVER INT64_MAX

static inline int submit(int fd, const struct rdma_request *requests, uint32_t count)
{
	struct rdma_submit argument = {
		.requests = (uintptr_t)requests,
		.count = count,
		.request_size = sizeof(*requests),
	};

	return call(fd, RDMA_IOC_SUBMIT, &argument);
}

static inline int submit_one(int fd, struct rdma_request request)
{
	return submit(fd, &request, 1);
}

/* When a time from now is over, as rdma_wait.deadline_ns has it; 0 and FOREVER are what they are there. */
static inline int64_t deadline(int64_t timeout_ns)
{
	struct timespec time;

	if (timeout_ns == 0 || timeout_ns == FOREVER)
		return timeout_ns ? RDMA_WAIT_FOREVER : 0;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000 * MS + time.tv_nsec + timeout_ns;
}

static inline int collect_until(int fd, struct rdma_completion *completions, uint32_t min, uint32_t max, int64_t deadline_ns)
{
	struct rdma_wait argument = {
		.completions = (uintptr_t)completions,
		.min = min,
		.max = max,
		.completion_size = sizeof(*completions),
		.deadline_ns = deadline_ns,
	};

	return call(fd, RDMA_IOC_WAIT, &argument);
}

static inline int collect(int fd, struct rdma_completion *completions, uint32_t min, uint32_t max, int64_t timeout_ns)
{
	return collect_until(fd, completions, min, max, deadline(timeout_ns));
}

/* Collects what is completed now, up to this many. */
static inline int take(int fd, struct rdma_completion *completions, uint32_t max)
{
	return collect(fd, completions, 0, max, 0);
}

/* Waits for this many completions and drops them; returns how many did not succeed, or an error. */
static inline int drain(int fd, uint32_t count)
{
	static __thread struct rdma_completion completions[DEPTH];
	int bad = 0;

	while (count) {
		uint32_t wanted = count < DEPTH ? count : DEPTH;
		int got = collect(fd, completions, wanted, wanted, FOREVER);

		if (got <= 0)
			return got ? got : -EPROTO;
		for (int i = 0; i < got; i++)
			bad += completions[i].status != 0;
		count -= got;
	}
	return bad;
}

static inline int cancel(int fd, uint64_t cookie)
{
	struct rdma_cancel argument = { .cookie = cookie };

	return call(fd, RDMA_IOC_CANCEL, &argument);
}

static inline int cancel_all(int fd)
{
	struct rdma_cancel argument = { .flags = RDMA_CANCEL_ALL };

	return call(fd, RDMA_IOC_CANCEL, &argument);
}

static inline int tell(int fd, int eventfd)
{
	struct rdma_eventfd argument = { .fd = eventfd };

	return call(fd, RDMA_IOC_EVENTFD, &argument);
}

/* The count of an eventfd since the last call. */
static inline long counted(int eventfd)
{
	uint64_t count;
	struct pollfd poll_one = { .fd = eventfd, .events = POLLIN };

	if (poll(&poll_one, 1, 0) < 1)
		return 0;
	return read(eventfd, &count, sizeof(count)) == sizeof(count) ? (long)count : -errno;
}

/* The events that poll(2) returns now, without POLLOUT. */
static inline int polled(int fd)
{
	struct pollfd one = { .fd = fd, .events = POLLIN | POLLRDNORM | POLLPRI | POLLRDHUP };
	int answer = poll(&one, 1, 0);

	return answer < 0 ? -errno : one.revents;
}

static inline struct rdma_request writing(const struct buffer *from, uint64_t offset, uint64_t device_offset,
					  uint64_t length, uint64_t cookie)
{
	return (struct rdma_request){
		.operation = RDMA_OP_TO_DEVICE,
		.source = from->handle,
		.source_offset = offset,
		.destination_offset = device_offset,
		.length = length,
		.cookie = cookie,
	};
}

static inline struct rdma_request reading(const struct buffer *to, uint64_t offset, uint64_t device_offset,
					  uint64_t length, uint64_t cookie)
{
	return (struct rdma_request){
		.operation = RDMA_OP_FROM_DEVICE,
		.destination = to->handle,
		.source_offset = device_offset,
		.destination_offset = offset,
		.length = length,
		.cookie = cookie,
	};
}

static inline struct rdma_request copying(const struct buffer *to, uint64_t to_offset, const struct buffer *from,
					  uint64_t from_offset, uint64_t length, uint64_t cookie)
{
	return (struct rdma_request){
		.operation = RDMA_OP_COPY,
		.source = from->handle,
		.destination = to->handle,
		.source_offset = from_offset,
		.destination_offset = to_offset,
		.length = length,
		.cookie = cookie,
	};
}

static inline struct rdma_request linked(struct rdma_request request)
{
	request.flags = RDMA_REQUEST_LINK;
	return request;
}

/* Whether the device has memory; others only copy. */
static inline bool has_memory(int fd)
{
	struct rdma_device_info info = { 0 };

	return !call(fd, RDMA_IOC_DEVICE_INFO, &info) && info.device_memory_size;
}

/* A transfer of this many bytes: to the device memory, if there is any, otherwise to the buffer's second page. */
static inline int transfer_some(int fd, const struct buffer *from, uint64_t length)
{
	return has_memory(fd) ? to_device(fd, from, 0, 0, length) : copy(fd, from, PAGE, from, 0, length);
}

/* A round trip through a new file: by way of the device memory, if there is any, otherwise a copy. */
static inline bool works(void)
{
	struct buffer buffer;
	int fd = open_node(O_RDWR), error;
	bool good;

	if (fd < 0 || allocate(fd, 2 * PAGE, &buffer)) {
		close(fd);
		return false;
	}
	fill(buffer.bytes, DEVICE_MEMORY, now());
	if (has_memory(fd))
		error = to_device(fd, &buffer, 0, 0, DEVICE_MEMORY) ?: from_device(fd, &buffer, DEVICE_MEMORY, 0, DEVICE_MEMORY);
	else
		error = copy(fd, &buffer, DEVICE_MEMORY, &buffer, 0, DEVICE_MEMORY);
	good = !error && !memcmp(buffer.bytes, buffer.bytes + DEVICE_MEMORY, DEVICE_MEMORY);
	release(fd, &buffer);
	close(fd);
	return good;
}

/* Bytes of the copies that are all an engine of I/OAT has at a time: IN_FLIGHT_BYTE_LIMIT in src/engines/ioat.rs. */
#define WINDOW (2UL << 20)

/* What a buffer must have behind its other bytes, so that its requests are as moving() describes. */
static inline uint64_t window(int fd)
{
	return has_memory(fd) ? 0 : 2 * WINDOW;
}

/*
 * A request that is all the engine has while it runs: all others wait. A byte to the device memory, if there is any, otherwise a copy of the window
 * at the buffer's end. In a buffer without window(), it is a copy of a byte, and the engine has many of them.
 */
static inline struct rdma_request moving(int fd, const struct buffer *buffer, uint64_t cookie)
{
	if (has_memory(fd))
		return writing(buffer, 0, 0, 1, cookie);
	if (buffer->size <= 2 * WINDOW)
		return copying(buffer, 1, buffer, 0, 1, cookie);
	return copying(buffer, buffer->size - WINDOW, buffer, buffer->size - 2 * WINDOW, WINDOW, cookie);
}

/* The number of bytes of such a request. */
static inline uint64_t moved(int fd, const struct buffer *buffer)
{
	return moving(fd, buffer, 0).length;
}

/* To the device memory, if there is any, otherwise to the window of the buffer; and from there. */
static inline struct rdma_request storing(int fd, const struct buffer *buffer, uint64_t offset, uint64_t length, uint64_t cookie)
{
	if (has_memory(fd))
		return writing(buffer, offset, 0, length, cookie);
	return copying(buffer, buffer->size - 2 * WINDOW, buffer, offset, length, cookie);
}

static inline struct rdma_request fetching(int fd, const struct buffer *buffer, uint64_t offset, uint64_t length, uint64_t cookie)
{
	if (has_memory(fd))
		return reading(buffer, offset, 0, length, cookie);
	return copying(buffer, offset, buffer, buffer->size - 2 * WINDOW, length, cookie);
}

static inline int move_once(int fd, const struct buffer *buffer)
{
	struct rdma_request request = moving(fd, buffer, 0);

	return call(fd, RDMA_IOC_TRANSFER, &request);
}

/* This many of them, with cookies from `cookie` on. */
static inline int submit_many(int fd, const struct buffer *buffer, uint32_t count, uint64_t cookie)
{
	static __thread struct rdma_request requests[DEPTH];
	struct rdma_request request = moving(fd, buffer, cookie);

	for (uint32_t i = 0; i < count; i++, request.cookie++)
		requests[i] = request;
	return submit(fd, requests, count);
}

#endif
