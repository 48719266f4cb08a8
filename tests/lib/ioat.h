/* SPDX-License-Identifier: GPL-2.0 */
/* The model of an I/OAT device: faults, times and counters, in its configuration space (vm/ioat/src/control.rs). */
#ifndef IOAT_H
#define IOAT_H

#include "requests.h"

#include <glob.h>

/* Registers of the capability. */
enum {
	IOAT_BASE = 0x100,
	IOAT_ARGUMENT = 0x08,
	IOAT_FAULT = 0x10,
	IOAT_TIME = 0x14,
	IOAT_RATE = 0x18,
	IOAT_DESCRIPTORS = 0x1c,
	IOAT_DOORBELLS = 0x20,
	IOAT_INTERRUPTS = 0x24,
	IOAT_ERRORS = 0x28,
	IOAT_READS = 0x2c,
};

/* What goes wrong: vm/ioat/src/faults.rs. */
enum fault {
	LOST_INTERRUPT = 1,
	HANG = 2,
	WRONG_COMPLETION = 3,
	LOST_COMPLETION = 4,
	ERROR = 5,
	STUCK_RESET = 6,
	ALL_ONES = 7,
	CHANNEL_ONES = 8,
	WRONG_ADDRESS = 9,
	CHANGING_STATUS = 10,
};

/* Bits of CHANERR. */
enum { READ_ERROR = 0x100, WRITE_ERROR = 0x200 };

/* A device that the driver is bound to. */
struct ioat {
	char address[32];
	int config;
};

/* The PCI device behind a node. */
static inline int ioat_open(int number, struct ioat *ioat)
{
	char name[16], path[64];
	int error;

	snprintf(name, sizeof(name), "rdma%d", number);
	error = pci_address(name, ioat->address);
	if (error)
		return error;
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/config", ioat->address);
	ioat->config = open(path, O_RDWR | O_CLOEXEC);
	return ioat->config < 0 ? -errno : 0;
}

static inline void ioat_set(const struct ioat *ioat, int at, uint32_t value)
{
	if (pwrite(ioat->config, &value, sizeof(value), IOAT_BASE + at) != sizeof(value))
		abort();
}

static inline uint32_t ioat_get(const struct ioat *ioat, int at)
{
	uint32_t value;

	if (pread(ioat->config, &value, sizeof(value), IOAT_BASE + at) != sizeof(value))
		abort();
	return value;
}

/* The n-th time that this can go wrong in channel 0, it does; with `again`, from then on always. */
static inline void ioat_fault(const struct ioat *ioat, enum fault fault, uint16_t nth, bool again, uint64_t argument)
{
	ioat_set(ioat, IOAT_ARGUMENT, argument);
	ioat_set(ioat, IOAT_ARGUMENT + 4, argument >> 32);
	ioat_set(ioat, IOAT_FAULT, fault | again << 15 | nth << 16);
}

static inline void ioat_clear(const struct ioat *ioat)
{
	ioat_set(ioat, IOAT_FAULT, 0);
}

/* The time of a descriptor in nanoseconds, and its rate in MB/s; 0: none. */
static inline void ioat_timing(const struct ioat *ioat, uint32_t nanoseconds, uint32_t rate)
{
	ioat_set(ioat, IOAT_TIME, nanoseconds);
	ioat_set(ioat, IOAT_RATE, rate);
}

/* Sets the time of a copy by the device of the first node, in microseconds. */
static inline int ioat_copies_take(uint32_t us)
{
	struct ioat ioat;
	int error = ioat_open(0, &ioat);

	if (error)
		return error;
	ioat_timing(&ioat, us * 1000, 0);
	close(ioat.config);
	return 0;
}

/* Whether there is such a device at this address. */
static inline bool is_ioat(const char *address)
{
	char path[128], vendor[16];

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/vendor", address);
	return !read_text(path, vendor, sizeof(vendor)) && !strcmp(vendor, "0x8086\n");
}

/* A device at this address gets the driver, also after a rescan, which forgets driver_override. */
static inline int ioat_bind(const char *address)
{
	char path[128];

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/driver_override", address);
	return write_text(path, "rdma") ?: write_text("/sys/bus/pci/drivers_probe", address);
}

#endif
