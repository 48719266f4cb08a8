// SPDX-License-Identifier: GPL-2.0
/*
 * Copies by a program that has the device to itself, through vfio: a ring of descriptors, and one write to a register for each batch. It
 * sees the end in what the device writes to memory, which it polls, or reads after an interrupt for each batch.
 *
 * Source of the registers and descriptors: Linux, drivers/dma/ioat/{registers,hw}.h.
 */
#include "copies.h"

#include <marker.h>
#include <vfio.h>

enum { CHANNEL = 0x80, INTRCTRL = 0x03, VECTORS = 0x08 };
enum { CHANCTRL = CHANNEL + 0x00, CHANCMD = CHANNEL + 0x04, DMACOUNT = CHANNEL + 0x06, CHAINADDR = CHANNEL + 0x10 };
enum { CHANCMP = CHANNEL + 0x18, CHANERR = CHANNEL + 0x28 };
enum { REARM = 0x01, ERROR_COMPLETION = 0x04, RESET = 0x20, STATE = 0x07, HALTED = 3 };
enum { INTERRUPT = 0x1, COMPLETION = 0x8 };

struct descriptor {
	uint32_t size, control;
	uint64_t source, destination, next, reserved[4];
};

enum { RING = 2 * LARGEST_BATCH, RING_AT = 0x1000, SOURCE_AT = 0x100000, DESTINATION_AT = SOURCE_AT + AREA };

static struct vfio vfio;
static struct descriptor *ring;
static volatile uint64_t *completion; /* address of the last descriptor that has ended, and the state of the channel */
static unsigned int submitted, collected;

#define REGISTER(type, offset) (*(volatile type *)(vfio.bar + (offset)))

static void reset(void)
{
	REGISTER(uint32_t, CHANERR) = REGISTER(uint32_t, CHANERR);
	REGISTER(uint8_t, CHANCMD) = RESET;
	while (REGISTER(uint8_t, CHANCMD) & RESET)
		;
}

static struct areas open_device(const char *address, const char *group)
{
	vfio = vfio_open(address, group, DESTINATION_AT + AREA, VFIO_PCI_MSIX_IRQ_INDEX);
	completion = (volatile uint64_t *)vfio.memory;
	ring = (struct descriptor *)(vfio.memory + RING_AT);
	for (int i = 0; i < RING; i++)
		ring[i].next = IOVA + RING_AT + (i + 1) % RING * sizeof(*ring);
	reset();
	/* As if the last descriptor of the ring had ended. */
	*completion = IOVA + RING_AT + (RING - 1) * sizeof(*ring);
	REGISTER(uint8_t, INTRCTRL) = VECTORS;
	REGISTER(uint64_t, CHANCMP) = IOVA;
	REGISTER(uint16_t, CHANCTRL) = REARM | ERROR_COMPLETION;
	REGISTER(uint64_t, CHAINADDR) = IOVA + RING_AT;
	return (struct areas){ vfio.memory + SOURCE_AT, vfio.memory + DESTINATION_AT };
}

static inline void submit(int count, uint32_t size, uint32_t last)
{
	for (int i = 0; i < count; i++) {
		struct descriptor *descriptor = &ring[submitted++ % RING];

		descriptor->size = size;
		descriptor->control = i == count - 1 ? last : 0;
		descriptor->source = IOVA + SOURCE_AT + offset_of(i, size);
		descriptor->destination = IOVA + DESTINATION_AT + offset_of(i, size);
	}
	__asm__ volatile("" ::: "memory");
	REGISTER(uint16_t, DMACOUNT) = submitted;
}

/* Whether this number of further copies have ended. */
static inline bool ended(unsigned int count)
{
	uint64_t status = *completion;
	unsigned int next = ((status & ~(uint64_t)STATE) - IOVA - RING_AT) / sizeof(*ring) + 1;

	if ((status & STATE) == HALTED)
		errx(1, "the channel is halted: CHANERR is %#x", REGISTER(uint32_t, CHANERR));
	return (next - collected) % RING >= count;
}

static void submit_silent(int count, uint32_t size)
{
	submit(count, size, COMPLETION);
}

static void poll_memory(int count)
{
	PHASE_BEGIN(SPINNING);
	while (!ended(count))
		;
	PHASE_END(SPINNING);
	collected += count;
}

static void submit_with_interrupt(int count, uint32_t size)
{
	submit(count, size, COMPLETION | INTERRUPT);
}

static void read_eventfd(int count)
{
	uint64_t interrupts;

	/* After an interrupt there is no other one until it is asked for. */
	do {
		if (read(vfio.event, &interrupts, sizeof(interrupts)) != sizeof(interrupts))
			err(1, "the eventfd");
		REGISTER(uint16_t, CHANCTRL) = REARM | ERROR_COMPLETION;
	} while (!ended(count));
	collected += count;
}

const struct peer vfio_polling = { "polling", open_device, submit_silent, poll_memory, true, false };
const struct peer vfio_eventfd = { "eventfd", open_device, submit_with_interrupt, read_eventfd, false, false };
