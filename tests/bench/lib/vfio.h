/* SPDX-License-Identifier: GPL-2.0 */
/* A device that a program drives through vfio. Source: the kernel's Documentation/driver-api/vfio.rst. */
#ifndef BENCH_VFIO_H
#define BENCH_VFIO_H

#include <err.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

enum { IOVA = 0x100000 };

struct vfio {
	volatile unsigned char *bar;
	unsigned char *memory; /* at IOVA for the device */
	int event; /* an eventfd, signalled by the interrupt */
};

static inline int vfio_device(const char *address, const char *group_number, int *container)
{
	char path[64];
	int group, device;

	snprintf(path, sizeof(path), "/dev/vfio/%s", group_number);
	*container = open("/dev/vfio/vfio", O_RDWR);
	group = open(path, O_RDWR);
	if (*container < 0 || group < 0)
		err(1, "%s", path);
	if (ioctl(group, VFIO_GROUP_SET_CONTAINER, container) || ioctl(*container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU))
		err(1, "the IOMMU by vfio");
	device = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, address);
	if (device < 0)
		err(1, "%s by vfio", address);
	return device;
}

static inline void vfio_enable(int device)
{
	struct vfio_region_info config = { .argsz = sizeof(config), .index = VFIO_PCI_CONFIG_REGION_INDEX };
	uint16_t command;

	/* Memory space and Bus Master. */
	if (ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &config) || pread(device, &command, 2, config.offset + 4) != 2)
		err(1, "the configuration space by vfio");
	command |= 0x6;
	if (pwrite(device, &command, 2, config.offset + 4) != 2)
		err(1, "the configuration space by vfio");
}

static inline int vfio_interrupt(int device, int index)
{
	char room[sizeof(struct vfio_irq_set) + sizeof(int)];
	struct vfio_irq_set *set = (void *)room;
	int event = eventfd(0, EFD_CLOEXEC);

	*set = (struct vfio_irq_set){
		.argsz = sizeof(room),
		.flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
		.index = index,
		.count = 1,
	};
	memcpy(set->data, &event, sizeof(event));
	if (ioctl(device, VFIO_DEVICE_SET_IRQS, set))
		err(1, "the interrupt by vfio");
	return event;
}

/*
 * Opens the device, with this many bytes of memory mapped for it at IOVA. Its first interrupt of this kind (VFIO_PCI_MSI_IRQ_INDEX,
 * VFIO_PCI_MSIX_IRQ_INDEX) signals the eventfd.
 */
static inline struct vfio vfio_open(const char *address, const char *group, size_t size, int interrupt)
{
	int container, device = vfio_device(address, group, &container);
	struct vfio_region_info region = { .argsz = sizeof(region), .index = VFIO_PCI_BAR0_REGION_INDEX };
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	struct vfio_iommu_type1_dma_map dma = {
		.argsz = sizeof(dma),
		.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.vaddr = (uintptr_t)memory,
		.iova = IOVA,
		.size = size,
	};
	struct vfio vfio = { .memory = memory };

	if (memory == MAP_FAILED || ioctl(container, VFIO_IOMMU_MAP_DMA, &dma) ||
	    ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &region))
		err(1, "memory by vfio");
	vfio.bar = mmap(NULL, region.size, PROT_READ | PROT_WRITE, MAP_SHARED, device, region.offset);
	if (vfio.bar == MAP_FAILED)
		err(1, "BAR 0 by vfio");
	vfio_enable(device);
	vfio.event = vfio_interrupt(device, interrupt);
	return vfio;
}

#endif
