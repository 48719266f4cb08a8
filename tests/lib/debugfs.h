/* SPDX-License-Identifier: GPL-2.0 */
/* The files of the first device in debugfs. Each line is a name and a value. */
#ifndef DEBUGFS_H
#define DEBUGFS_H

#include "rdma_test.h"

#define DEVICE_DEBUGFS "/sys/kernel/debug/rust_dma/rdma0/"

/* A number in a file; -1 if it does not exist. */
static inline long number_in(const char *file, const char *name)
{
	char text[4096] = "\n", wanted[64], *line;

	snprintf(wanted, sizeof(wanted), "\n%s ", name);
	if (read_text(file, text + 1, sizeof(text) - 1))
		return -1;
	line = strstr(text, wanted);
	return line ? atol(line + strlen(wanted)) : -1;
}

static inline long device_state(const char *name)
{
	return number_in(DEVICE_DEBUGFS "state", name);
}

static inline long counter(const char *name)
{
	return number_in(DEVICE_DEBUGFS "counters", name);
}

#endif
