/* SPDX-License-Identifier: GPL-2.0 */
/* The monitor of the guest's QEMU: adding and removing devices. */
#ifndef MONITOR_H
#define MONITOR_H

#include "rdma_test.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>

/* Maximum time in which QEMU and the kernel add or remove a device. */
#define PATIENCE_US 20000000

/*
 * QEMU works in real time, during which a virtual clock jumps from timer to timer while its CPU is idle: minutes pass in which no thread runs for
 * a millisecond. It does not jump while a thread runs, even one of the lowest priority.
 */
struct waking {
	pthread_t thread;
	volatile bool over;
};

static inline void *be_awake(void *argument)
{
	struct waking *self = argument;
	struct sched_param none = { 0 };

	pthread_setschedparam(pthread_self(), SCHED_IDLE, &none);
	while (!self->over)
		;
	return NULL;
}

static inline int keep_awake(struct waking *self)
{
	self->over = false;
	return virtual_time() ? -pthread_create(&self->thread, NULL, be_awake, self) : 0;
}

static inline void let_rest(struct waking *self)
{
	self->over = true;
	if (virtual_time())
		pthread_join(self->thread, NULL);
}

/* Whether QEMU sends something within a while. */
static inline bool speaks(FILE *port)
{
	struct pollfd one = { .fd = fileno(port), .events = POLLIN };

	return poll(&one, 1, PATIENCE_US / 1000) > 0;
}

/* Sends a command to QEMU's monitor; it is done when the answer has arrived, and `event`, if there is one to wait for. */
static inline int ask(FILE *port, const char *command, const char *event)
{
	static int number;
	char message[256], awaited[32], line[8192];
	bool answered = false, happened = !event;

	/* An error if this was negotiated before, which is ignored. */
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
	if (answered && !happened)
		return -ETIMEDOUT;
	return answered ? 0 : -EIO;
}

static inline int monitor(const char *command, const char *event)
{
	FILE *port = fopen("/dev/virtio-ports/qmp", "r+e");
	struct waking waking;
	int answer;

	if (!port)
		return -errno;
	setbuf(port, NULL);
	answer = keep_awake(&waking);
	if (!answer) {
		answer = ask(port, command, event);
		let_rest(&waking);
	}
	fclose(port);
	return answer;
}

/* Until the guest has released it. A request without effect is repeated once, with a message. */
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

/* An edu into a port; the driver binds to it after a moment. */
static inline int plug(const char *id, const char *port)
{
	char command[128];

	snprintf(command, sizeof(command),
		 "\"execute\": \"device_add\", \"arguments\": {\"driver\": \"edu\", \"id\": \"%s\", \"bus\": \"%s\"}", id, port);
	return monitor(command, NULL);
}

static inline int wait_for_node(const char *path)
{
	struct waking waking;
	int64_t began = now();

	if (!access(path, F_OK))
		return 0;
	if (keep_awake(&waking))
		return -EAGAIN;
	while (access(path, F_OK) && now() - began < PATIENCE_US)
		pause_us(10000);
	let_rest(&waking);
	return access(path, F_OK) ? -errno : 0;
}

#endif
