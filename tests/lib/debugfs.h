/* SPDX-License-Identifier: GPL-2.0 */
/* The files of the first device in debugfs. */
#ifndef DEBUGFS_H
#define DEBUGFS_H

#include "rdma_test.h"

#define DEVICE_DEBUGFS "/sys/kernel/debug/rust_dma/rdma0/"

/* A number in a file, by name; -1 if it does not exist. */
static inline long number_in(const char *file, const char *name)
{
	char text[4096], wanted[64], *line;

	snprintf(wanted, sizeof(wanted), "%s ", name);
	if (read_text(file, text, sizeof(text)))
		return -1;
	line = strstr(text, wanted);
	return line ? atol(line + strlen(wanted)) : -1;
}

static inline long counter(const char *name)
{
	return number_in(DEVICE_DEBUGFS "counters", name);
}

#endif
