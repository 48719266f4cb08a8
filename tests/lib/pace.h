/* SPDX-License-Identifier: GPL-2.0 */
/* Tests of requests that take a known time, on each engine: one runs (moving() in requests.h), and the others wait. */
#ifndef PACE_H
#define PACE_H

#include "ioat.h"

/*
 * The pace of the model of I/OAT, in MB/s. A window takes 161 ms. The driver collects half of it at a time, because its watchdog looks for transfers
 * that take longer than 100 ms. Before that, the engine has nothing but this request.
 */
enum { PACE = 13 };

/* How long a request takes, in microseconds. */
static int64_t transfer_us = TRANSFER_US;

/* What a busy host may add to a time that is measured in real time. */
static int64_t busy_us;

/* In real time: what five short programs take now, if that is more than 150 ms. */
static inline void measure_host(void)
{
	int64_t began = now();

	if (virtual_time())
		return;
	for (int i = 0; i < 5; i++)
		if (system("true"))
			break;
	busy_us = now() - began > 150000 ? now() - began : 150000;
}

/* Sets the pace, and waits for transfers of an earlier test; the buffer has window() bytes more than it needs. */
static inline int settle(int fd, const struct buffer *buffer)
{
	struct ioat ioat;
	int error;

	measure_host();
	if (has_memory(fd))
		return transfer_some(fd, buffer, 1);
	error = ioat_open(0, &ioat);
	if (error)
		return error;
	ioat_clear(&ioat);
	ioat_timing(&ioat, 0, PACE);
	close(ioat.config);
	transfer_us = WINDOW / PACE;
	return transfer_some(fd, buffer, 1);
}

/* For the next test. */
static inline void hurry(void)
{
	if (transfer_us != TRANSFER_US)
		ioat_copies_take(0);
}

/* The longest time of what takes at most this long in virtual time: in real time, a busy host needs longer. */
static inline int64_t slack_us(int64_t exact_us)
{
	return exact_us + busy_us;
}

/* Sleeps for as long as this many requests of the context take, and until they are completed: in real time, a busy host delays the engine. */
static inline void pause_until_completed(int fd, int count)
{
	int64_t longest = now() + 20 * count * transfer_us;
	char path[64], text[4096], *line;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	pause_us((count + 1) * transfer_us);
	while (now() < longest && !read_text(path, text, sizeof(text)) && (line = strstr(text, "rdma-completed:")) &&
	       atoi(line + strlen("rdma-completed:")) < count)
		pause_us(1000);
}

/* Number of repetitions: fewer in real time, in which each transfer takes its time. */
static inline int rounds(int in_virtual_time, int in_real_time)
{
	return virtual_time() ? in_virtual_time : in_real_time;
}

#endif
