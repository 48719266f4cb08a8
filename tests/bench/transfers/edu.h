/* SPDX-License-Identifier: GPL-2.0 */
/* edu, driven by a program through vfio. Source of the registers: QEMU, docs/specs/edu.rst. */
#ifndef BENCH_EDU_H
#define BENCH_EDU_H

#include <vfio.h>

enum { INTERRUPT_STATUS = 0x24, INTERRUPT_ACKNOWLEDGE = 0x64, SOURCE = 0x80, DESTINATION = 0x88, COUNT = 0x90, COMMAND = 0x98 };
enum { DEVICE_MEMORY = 0x40000, START_WITH_INTERRUPT = 0x5 };

static inline void edu_start(struct vfio *vfio, uint64_t iova, uint64_t length)
{
	*(volatile uint64_t *)(vfio->bar + SOURCE) = iova;
	*(volatile uint64_t *)(vfio->bar + DESTINATION) = DEVICE_MEMORY;
	*(volatile uint64_t *)(vfio->bar + COUNT) = length;
	*(volatile uint64_t *)(vfio->bar + COMMAND) = START_WITH_INTERRUPT;
}

static inline void edu_acknowledge(struct vfio *vfio)
{
	*(volatile uint32_t *)(vfio->bar + INTERRUPT_ACKNOWLEDGE) = *(volatile uint32_t *)(vfio->bar + INTERRUPT_STATUS);
}

#endif
