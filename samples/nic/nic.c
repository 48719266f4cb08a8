/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * nic [interrupt|poll|copy] NETNS/TAP NETNS/TAP : a network of two hosts, through the device.
 *
 * A frame from one side is read from its TAP interface into a ring of mapped buffers. An engine copies it from there
 * to the other ring, through the device memory; from there it is written to the other side's TAP interface. There are two directions, each
 * with its own device (/dev/rdma0, /dev/rdma1).
 *
 *   interrupt  sleeps until there are frames or the engine is done
 *   poll       asks for both in a loop
 *   copy       as interrupt, but without mapped buffers: frames are written to the device by write(2), and read by read(2)
 *
 * On SIGTERM it prints what it has done, and the CPU time that it took.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <pthread.h>
#include <rdma.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#define BURST RDMA_DEVICE_MEMORY_SIZE /* bytes that go through the engine together: frames, each after its length */
#define RING 16			      /* bursts of a ring */
#define FRAME 1514		      /* bytes of the largest frame */

enum way { INTERRUPT, POLL, COPY };

/* Frames from one TAP interface to the other. */
struct direction {
	const char *node;
	enum way way;
	int from, to; /* TAP interfaces */
	int device;
	/* The first ring is for incoming frames; the engine copies burst n of it to burst n of the second ring, for outgoing frames. */
	unsigned char *in, *out;
	unsigned int length[RING];
	unsigned int filling; /* the burst that frames are added to; those before it, */
	unsigned int oldest;  /* from here on, are in use by the engine */
	unsigned long frames, bytes, bursts;
};

static void check(int good, const char *what)
{
	if (!good) {
		perror(what);
		exit(EXIT_FAILURE);
	}
}

/* An existing TAP interface, in a network namespace of ip-netns(8). */
static int open_tap(const char *name)
{
	struct ifreq request = { .ifr_flags = IFF_TAP | IFF_NO_PI };
	int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), there, tap;
	char path[64] = "/run/netns/";
	const char *slash = strchr(name, '/');

	if (!slash || slash - name > 32) {
		fprintf(stderr, "%s is not NETNS/TAP\n", name);
		exit(2);
	}
	strncat(path, name, slash - name);
	strncpy(request.ifr_name, slash + 1, IFNAMSIZ - 1);
	there = open(path, O_RDONLY | O_CLOEXEC);
	check(there >= 0 && !setns(there, CLONE_NEWNET), path);
	tap = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	check(tap >= 0, "/dev/net/tun");
	check(!ioctl(tap, TUNSETIFF, &request), name);
	check(!setns(home, CLONE_NEWNET), "back to the own network namespace");
	close(there);
	close(home);
	return tap;
}

static void prepare(struct direction *d)
{
	size_t size = 2 * RING * BURST;

	d->device = open(d->node, O_RDWR | O_CLOEXEC);
	check(d->device >= 0, d->node);
	if (d->way == COPY) {
		d->in = malloc(size);
		check(d->in != NULL, "memory");
	} else {
		d->in = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, d->device, 0);
		check(d->in != MAP_FAILED, "mmap");
	}
	d->out = d->in + RING * BURST;
}

static int has_room(const struct direction *d)
{
	return d->length[d->filling % RING] + 2 + FRAME <= BURST;
}

static int is_ring_full(const struct direction *d)
{
	return d->filling - d->oldest == RING - 1;
}

/* Reads frames from the TAP interface into the burst, as many as there are and fit. */
static void take_frames(struct direction *d)
{
	unsigned int slot = d->filling % RING, *length = &d->length[slot];
	unsigned char *burst = d->in + slot * BURST;

	while (has_room(d)) {
		ssize_t got = read(d->from, burst + *length + 2, FRAME);

		if (got <= 0)
			return; /* none (EAGAIN); or the interface is down */
		burst[*length] = got & 0xff;
		burst[*length + 1] = got >> 8;
		*length += 2 + got;
	}
}

/* Writes the frames of a burst to the other TAP interface. Frames that it does not accept are lost, as in any network. */
static void put_frames(struct direction *d, unsigned int slot)
{
	const unsigned char *burst = d->out + slot * BURST;

	for (unsigned int at = 0; at < d->length[slot];) {
		unsigned int length = burst[at] | burst[at + 1] << 8;

		if (write(d->to, burst + at + 2, length) > 0) {
			d->frames++;
			d->bytes += length;
		}
		at += 2 + length;
	}
	d->bursts++;
	d->length[slot] = 0;
}

/* Has the engine copy the burst from one ring to the other, without the CPU. */
static void send_burst(struct direction *d)
{
	unsigned int slot = d->filling++ % RING;
	struct rdma_request request = {
		.operation = RDMA_OP_COPY,
		.source = RDMA_FIRST_BUFFER,
		.source_offset = slot * BURST,
		.destination = RDMA_FIRST_BUFFER,
		.destination_offset = (RING + slot) * BURST,
		.length = d->length[slot],
		.cookie = slot,
	};
	struct rdma_submit submit = { .requests = (unsigned long)&request, .count = 1, .request_size = sizeof(request) };

	if (d->way == COPY) {
		check(pwrite(d->device, d->in + slot * BURST, d->length[slot], 0) == d->length[slot], d->node);
		check(pread(d->device, d->out + slot * BURST, d->length[slot], 0) == d->length[slot], d->node);
		put_frames(d, slot);
		d->oldest++;
	} else {
		check(ioctl(d->device, RDMA_IOC_SUBMIT, &submit) == 1, "submit");
	}
}

/* Handles completions, in the order of submission. */
static void take_bursts(struct direction *d)
{
	struct rdma_completion done[RING];
	struct rdma_wait wait = { .completions = (unsigned long)done, .max = RING, .completion_size = sizeof(*done) };
	int count = ioctl(d->device, RDMA_IOC_WAIT, &wait);

	check(count >= 0, "wait");
	for (int i = 0; i < count; i++, d->oldest++) {
		if (done[i].status) {
			errno = -done[i].status;
			check(0, d->node);
		}
		put_frames(d, done[i].cookie);
	}
}

/* CPU time of this process so far, in milliseconds. */
static double cpu_time(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e3 + (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e3;
}

static void *forward(void *argument)
{
	struct direction *d = argument;

	for (;;) {
		struct pollfd files[] = {
			{ .fd = has_room(d) && !is_ring_full(d) ? d->from : -1, .events = POLLIN },
			{ .fd = d->oldest != d->filling ? d->device : -1, .events = POLLIN },
		};

		check(poll(files, 2, d->way == POLL ? 0 : -1) >= 0, "poll");
		if (files[0].revents)
			take_frames(d);
		if (files[1].revents)
			take_bursts(d);
		/* A burst is sent when the engine is idle, or when it is full. */
		if (d->length[d->filling % RING] && !is_ring_full(d) && (d->oldest == d->filling || !has_room(d)))
			send_burst(d);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	static struct direction directions[2] = { { .node = "/dev/rdma0" }, { .node = "/dev/rdma1" } };
	static const char *const ways[] = { "interrupt", "poll", "copy" };
	unsigned long frames = 0, bytes = 0, bursts = 0;
	double cpu;
	int way = 0, signal, taps[2];
	sigset_t end;

	while (argc == 4 && way < 3 && strcmp(argv[1], ways[way]))
		way++;
	if (argc != 4 || way == 3) {
		fprintf(stderr, "usage: nic interrupt|poll|copy NETNS/TAP NETNS/TAP\n");
		return 2;
	}
	for (int i = 0; i < 2; i++)
		taps[i] = open_tap(argv[2 + i]);
	sigemptyset(&end);
	sigaddset(&end, SIGTERM);
	sigaddset(&end, SIGINT);
	sigprocmask(SIG_BLOCK, &end, NULL);
	for (int i = 0; i < 2; i++) {
		struct direction *d = &directions[i];

		d->way = way;
		d->from = taps[i];
		d->to = taps[1 - i];
		prepare(d);
	}
	check(!mlockall(MCL_CURRENT), "mlockall"); /* all pages of this program are loaded before the first frame */
	cpu = cpu_time();
	for (int i = 0; i < 2; i++) {
		pthread_t thread;

		errno = pthread_create(&thread, NULL, forward, &directions[i]);
		check(!errno, "a thread");
	}

	printf("ready\n");
	fflush(stdout);
	sigwait(&end, &signal);
	cpu = cpu_time() - cpu;
	for (int i = 0; i < 2; i++) {
		frames += directions[i].frames;
		bytes += directions[i].bytes;
		bursts += directions[i].bursts;
	}
	printf("%-9s  %lu frames, %lu bytes, in %lu bursts; %.3f ms of CPU time, %.1f us a frame\n", argv[1], frames, bytes, bursts, cpu,
	       frames ? cpu * 1e3 / frames : 0);
	return EXIT_SUCCESS;
}
