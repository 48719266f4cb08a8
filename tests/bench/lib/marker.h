/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Marks for the counting plugin at the beginning and end of a phase: an instruction without an effect that nothing else uses,
 * `nopl 0x5da0IIEE(%rax)`. II is the number of the phase, EE is 0 at its beginning and 1 at its end.
 */
#ifndef MARKER_H
#define MARKER_H

#define MARK(phase, end) __asm__ volatile(".byte 0x0f, 0x1f, 0x80, %c1, %c0, 0xa0, 0x5d" ::"i"(phase), "i"(end) : "memory")
#define PHASE_BEGIN(phase) MARK(phase, 0)
#define PHASE_END(phase) MARK(phase, 1)

#endif
