/* SPDX-License-Identifier: GPL-2.0 */
/* The control registers of the model of an I/OAT device (vm/ioat/src/control.rs), in configuration space, and the time. */
#ifndef BENCH_DEVICE_H
#define BENCH_DEVICE_H

#include <err.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { CONTROL_TIME = 0x114, CONTROL_COUNTERS = 0x11c };

struct device {
	int config;
	uint32_t time, rate; /* nanoseconds of a descriptor; megabytes a second, or 0 */
};

struct counters {
	uint32_t descriptors, doorbells, interrupts, errors, reads;
};

static inline struct device open_model(const char *address)
{
	char path[64];
	struct device device = {};

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/config", address);
	device.config = open(path, O_RDWR | O_CLOEXEC);
	if (device.config < 0)
		err(1, "%s", path);
	return device;
}

static inline void set_timing(struct device *device, uint32_t time, uint32_t rate)
{
	uint32_t values[] = { time, rate };

	if (pwrite(device->config, values, sizeof(values), CONTROL_TIME) != sizeof(values))
		err(1, "the timing of the model");
	device->time = time;
	device->rate = rate;
}

static inline struct counters read_counters(const struct device *device)
{
	struct counters counters;

	if (pread(device->config, &counters, sizeof(counters), CONTROL_COUNTERS) != sizeof(counters))
		err(1, "the counters of the model");
	return counters;
}

static inline int64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static inline int compare_times(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

static inline int64_t median(int64_t *values, int count)
{
	qsort(values, count, sizeof(*values), compare_times);
	return values[count / 2];
}

/* Of times: the others were lengthened by other programs of the host. */
static inline int64_t least(int64_t *values, int count)
{
	qsort(values, count, sizeof(*values), compare_times);
	return values[0];
}

#endif
