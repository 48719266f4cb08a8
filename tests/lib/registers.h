/* SPDX-License-Identifier: GPL-2.0 */
/* Access to the device without the driver: its configuration space and its registers, through sysfs. */
#ifndef REGISTERS_H
#define REGISTERS_H

#include "rdma_test.h"

#include <linux/pci_regs.h>

/* Source: QEMU, docs/specs/edu.rst */
enum {
	EDU_IDENTIFICATION = 0x00,
	EDU_INTERRUPT_RAISE = 0x60,
	EDU_INTERRUPT_ACKNOWLEDGE = 0x64,
	EDU_DMA_SOURCE = 0x80,
	EDU_DMA_DESTINATION = 0x88,
	EDU_DMA_COUNT = 0x90,
	EDU_DMA_COMMAND = 0x98,
};

#define EDU_START 1UL
#define EDU_INTERRUPT_DMA 0x100
#define EDU_DEVICE_MEMORY 0x40000UL

static inline int open_config(const char *address)
{
	char path[128];

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/config", address);
	return result(open(path, O_RDWR | O_CLOEXEC));
}

static inline uint16_t read_config(int config, int offset)
{
	uint16_t value = 0;

	return pread(config, &value, sizeof(value), offset) == sizeof(value) ? value : 0;
}

static inline int write_config(int config, int offset, uint16_t value)
{
	return pwrite(config, &value, sizeof(value), offset) == sizeof(value) ? 0 : -errno;
}

/* Position of a capability in the configuration space; 0 if there is none. */
static inline int find_capability(int config, int id)
{
	for (int at = read_config(config, PCI_CAPABILITY_LIST) & 0xfc; at; at = read_config(config, at) >> 8 & 0xfc)
		if ((read_config(config, at) & 0xff) == id)
			return at;
	return 0;
}

/* The device's first BAR, mapped; NULL and errno on failure. */
static inline volatile void *map_registers(const char *address, size_t size)
{
	char path[128];
	void *registers;
	int fd;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/resource0", address);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return NULL;
	registers = map(fd, 0, size, PROT_READ | PROT_WRITE);
	close(fd);
	return registers;
}

static inline uint32_t read32(volatile void *registers, int offset)
{
	return *(volatile uint32_t *)((volatile char *)registers + offset);
}

static inline void write32(volatile void *registers, int offset, uint32_t value)
{
	*(volatile uint32_t *)((volatile char *)registers + offset) = value;
}

static inline uint64_t read64(volatile void *registers, int offset)
{
	return *(volatile uint64_t *)((volatile char *)registers + offset);
}

static inline void write64(volatile void *registers, int offset, uint64_t value)
{
	*(volatile uint64_t *)((volatile char *)registers + offset) = value;
}

/* A transfer that the driver has not started: 4 bytes of the lowest memory, which is not used, to the device. */
static inline void start_alien_transfer(volatile void *registers)
{
	write64(registers, EDU_DMA_SOURCE, 0x1000);
	write64(registers, EDU_DMA_DESTINATION, EDU_DEVICE_MEMORY);
	write64(registers, EDU_DMA_COUNT, 4);
	write64(registers, EDU_DMA_COMMAND, EDU_START);
}

/* Keeps the engine busy until it is stopped: a transfer that never ends, as seen by the driver. */
struct hog {
	pthread_t thread;
	volatile void *registers;
	volatile bool over;
};

static inline void *hog_thread(void *argument)
{
	struct hog *hog = argument;

	while (!hog->over) {
		while (read64(hog->registers, EDU_DMA_COMMAND) & EDU_START)
			;
		start_alien_transfer(hog->registers);
		pause_us(TRANSFER_US * 97 / 100);
	}
	return NULL;
}

static inline int start_hog(struct hog *hog, volatile void *registers)
{
	*hog = (struct hog){ .registers = registers };
	return -pthread_create(&hog->thread, NULL, hog_thread, hog);
}

static inline void stop_hog(struct hog *hog)
{
	hog->over = true;
	pthread_join(hog->thread, NULL);
}

#endif
