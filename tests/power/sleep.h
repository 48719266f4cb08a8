/* SPDX-License-Identifier: GPL-2.0 */
/* Suspending this guest, and the kernel's trace of the engine in that time. In a guest that is in memory only. */
#ifndef SLEEP_H
#define SLEEP_H

#include "registers.h"
#include "requests.h"

#include <sys/mount.h>

#define TRACING "/sys/kernel/tracing/"
#define ADDRESS "0000:01:00.0"

/*
 * State of the chipset that is lost in QEMU's S3, without firmware that would restore it, and without which a second suspend fails: the addresses of the
 * registers of power management and of the configuration space, and the routing of interrupt lines. Source: QEMU, hw/isa/lpc_ich9.c
 */
static const struct lost {
	const char *address;
	int offset, size;
} lost[] = {
	{ "0000:00:1f.0", 0x40, 8 },
	{ "0000:00:1f.0", 0x60, 12 },
	{ "0000:00:1f.0", 0xf0, 4 },
	{ "0000:00:00.0", 0x60, 8 },
};

#define LOST (sizeof(lost) / sizeof(lost[0]))

static inline int move_chipset(unsigned char bytes[LOST][16], bool restore)
{
	long wrong = 0;

	for (size_t i = 0; i < LOST; i++) {
		int config = open_config(lost[i].address);

		wrong |= config < 0 || lost[i].size != (restore ? pwrite(config, bytes[i], lost[i].size, lost[i].offset) :
								 pread(config, bytes[i], lost[i].size, lost[i].offset));
		close(config);
	}
	return wrong ? -EIO : 0;
}

/*
 * Suspends to `level` of /sys/power/pm_test, and resumes at once; "none" is a real suspend, until tests/power/run
 * wakes the guest. `how` is "mem", or "disk" for creating an image.
 */
static inline int go_to_sleep(const char *how, const char *level)
{
	unsigned char chipset[LOST][16];

	return move_chipset(chipset, false) ?: write_text("/sys/power/pm_test", level) ?: write_text("/sys/power/state", how) ?:
	       move_chipset(chipset, true);
}

/* Time for which pm_test keeps the machine suspended, instead of 5 s. */
static inline int sleep_for(const char *seconds)
{
	return write_text("/sys/module/suspend/parameters/pm_test_delay", seconds);
}

/* How many milliseconds it may take to freeze all threads, which would be 20 s. */
static inline int freeze_within(const char *ms)
{
	return write_text("/sys/power/pm_freeze_timeout", ms);
}

/* From now on. */
static inline int start_tracing(void)
{
	if (mount("tracefs", TRACING, "tracefs", 0, NULL) && errno != EBUSY)
		return -errno;
	close(open(TRACING "trace", O_WRONLY | O_TRUNC | O_CLOEXEC));
	return write_text(TRACING "events/rust_dma/enable", "1") ?:
	       write_text(TRACING "events/power/device_pm_callback_start/enable", "1") ?:
	       write_text(TRACING "events/power/device_pm_callback_end/enable", "1");
}

/* The state of the driver's callback. */
enum phase { AWAKE, FALLING_ASLEEP, ASLEEP, WAKING_UP };

static inline enum phase next_phase(enum phase phase, const char *line)
{
	bool begins = strstr(line, "device_pm_callback_start: rdma " ADDRESS);

	if (begins && strstr(line, ", bus [suspend]"))
		return FALLING_ASLEEP;
	if (begins && strstr(line, ", bus [resume]"))
		return WAKING_UP;
	if (strstr(line, "device_pm_callback_end: rdma " ADDRESS))
		return phase == FALLING_ASLEEP ? ASLEEP : phase == WAKING_UP ? AWAKE : phase;
	return phase;
}

/*
 * Checks the trace of requests that are one transfer each: a transfer that runs while the device is suspended,
 * one that is started in that time, or an interrupt is wrong. Returns that, or NULL; `sleeps` is the number of suspends.
 */
static inline const char *trace_complaint(int *sleeps)
{
	static char line[1024];
	enum phase phase = AWAKE;
	int running = 0;
	FILE *trace = fopen(TRACING "trace", "re");
	const char *complaint = trace ? NULL : "there is no trace";

	*sleeps = 0;
	while (trace && !complaint && fgets(line, sizeof(line), trace)) {
		enum phase next = next_phase(phase, line);
		bool asleep = phase == ASLEEP;

		running += strstr(line, "rdma_start:") != NULL;
		running -= strstr(line, "rdma_complete:") != NULL;
		if (next == ASLEEP && phase != ASLEEP) {
			++*sleeps;
			asleep = running > 0;
		}
		if (asleep && (next != phase || strstr(line, "rdma_start:") || strstr(line, "ours=1")))
			complaint = next == WAKING_UP ? NULL : line;
		phase = next;
	}
	if (trace)
		fclose(trace);
	return complaint;
}

#endif
