// SPDX-License-Identifier: GPL-2.0
/*
 * Copies by the I/OAT driver of the kernel's VFIO selftest, which does not come from this project. It has one descriptor, and polls a
 * register: one copy at a time. tests/ioat/Makefile builds it.
 */
#include <sys/mman.h>

#include <linux/sizes.h>

#include <libvfio.h>

#include "copies.h"

static struct vfio_pci_device *device;
static iova_t source, destination;

static void add_region(struct iommu *iommu, struct iova_allocator *allocator, struct dma_region *region, u64 size)
{
	region->vaddr = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	VFIO_ASSERT_NE(region->vaddr, MAP_FAILED);
	region->iova = iova_allocator_alloc(allocator, size);
	region->size = size;
	iommu_map(iommu, region);
}

static struct areas open_device(const char *address, const char *group)
{
	struct iommu *iommu = iommu_init(MODE_VFIO_TYPE1V2_IOMMU);
	struct iova_allocator *allocator;
	static struct dma_region areas;

	(void)group;
	device = vfio_pci_device_init(address, iommu);
	allocator = iova_allocator_init(iommu);
	add_region(iommu, allocator, &areas, 2 * AREA);
	add_region(iommu, allocator, &device->driver.region, SZ_2M);
	vfio_pci_driver_init(device);
	source = areas.iova;
	destination = areas.iova + AREA;
	return (struct areas){ areas.vaddr, areas.vaddr + AREA };
}

static void submit(int count, uint32_t size)
{
	(void)count;
	vfio_pci_driver_memcpy_start(device, source, destination, size, 1);
}

static void collect(int count)
{
	(void)count;
	VFIO_ASSERT_EQ(vfio_pci_driver_memcpy_wait(device), 0);
}

static const struct peer selftest = { "selftest", open_device, submit, collect, true, true };
const struct peer *const peers[] = { &selftest, NULL };
