/* SPDX-License-Identifier: GPL-2.0 */
/* The QEMU around this guest: plug and unplug. */
#ifndef MONITOR_H
#define MONITOR_H

#include "rdma_test.h"

#include <poll.h>

/* How long QEMU and the kernel may take to plug and unplug. */
#define PATIENCE_US 20000000

/* Whether QEMU says something within a while. QEMU does its part in real time, over which a virtual clock leaps unless something runs. */
static inline bool speaks(FILE *port)
{
	struct pollfd one = { .fd = fileno(port), .events = POLLIN };
	int64_t began = now();

	while (!poll(&one, 1, virtual_time() ? 0 : 100))
		if (now() - began > PATIENCE_US)
			return false;
	return true;
}

/* Tell QEMU's monitor something; it has done so when it has answered, and `event` has come, if there is one to wait for. */
static inline int monitor(const char *command, const char *event)
{
	static int number;
	char message[256], awaited[32], line[8192];
	FILE *port = fopen("/dev/virtio-ports/qmp", "r+e");
	bool answered = false, happened = !event;

	if (!port)
		return -errno;
	setbuf(port, NULL);
	/* It is an error if that was negotiated before, and no matter. */
	fputs("{\"execute\": \"qmp_capabilities\"}\n", port);
	snprintf(awaited, sizeof(awaited), "\"id\": \"%d-%d\"", getpid(), number++);
	snprintf(message, sizeof(message), "{%s, %s}\n", awaited, command);
	fputs(message, port);
	while ((!answered || !happened) && speaks(port) && fgets(line, sizeof(line), port)) {
		if (strstr(line, awaited) && strstr(line, "\"error\""))
			break;
		answered |= strstr(line, awaited) != NULL;
		happened |= event && strstr(line, event);
	}
	fclose(port);
	if (answered && !happened)
		return -ETIMEDOUT;
	return answered ? 0 : -EIO;
}

/* Until the guest has let go of it. A request that came to nothing is made once more, and told of. */
static inline int unplug(const char *id)
{
	char command[128];
	int error;

	snprintf(command, sizeof(command), "\"execute\": \"device_del\", \"arguments\": {\"id\": \"%s\"}", id);
	error = monitor(command, "DEVICE_DELETED");
	if (error != -ETIMEDOUT)
		return error;
	printf("# %s was to be unplugged, and is not: once more\n", id);
	return monitor(command, "DEVICE_DELETED");
}

/* An edu into a port; the driver has it a moment later. */
static inline int plug(const char *id, const char *port)
{
	char command[128];

	snprintf(command, sizeof(command),
		 "\"execute\": \"device_add\", \"arguments\": {\"driver\": \"edu\", \"id\": \"%s\", \"bus\": \"%s\"}", id, port);
	return monitor(command, NULL);
}

static inline int wait_for_node(const char *path)
{
	int64_t began = now();

	/* As in speaks(). */
	while (access(path, F_OK) && now() - began < PATIENCE_US)
		if (!virtual_time())
			pause_us(10000);
	return access(path, F_OK) ? -errno : 0;
}

#endif
