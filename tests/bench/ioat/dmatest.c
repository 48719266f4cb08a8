// SPDX-License-Identifier: GPL-2.0
/*
 * Copies by the kernel's driver ioatdma, through dmaengine: the kernel's test module dmatest, of which each thread does one copy after the
 * other. The measurement includes that its threads begin and end. dmatest count|time ADDRESS
 */
#include "device.h"

#include <marker.h>
#include <stdbool.h>
#include <string.h>

enum { WHOLE = 1, ROUNDS = 3 };

static void set(const char *name, const char *value)
{
	char path[64];
	FILE *file;

	snprintf(path, sizeof(path), "/sys/module/dmatest/parameters/%s", name);
	file = fopen(path, "we");
	if (!file || fprintf(file, "%s\n", value) < 0 || fclose(file))
		err(1, "%s", path);
}

static void parameter(const char *name, int value)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", value);
	set(name, text);
}

/* Waits for the end of the test, after its threads have begun: until then, dmatest believes that there is nothing to wait for. */
static void wait_for_end(void)
{
	char text[8];
	FILE *file;

	usleep(1000);
	file = fopen("/sys/module/dmatest/parameters/wait", "re");

	if (!file || !fgets(text, sizeof(text), file))
		err(1, "the end of dmatest");
	fclose(file);
}

static int64_t timed(void)
{
	int64_t began;

	/* This creates the threads, and ioatdma's ring. */
	set("channel", "dma0chan0");
	began = now();
	PHASE_BEGIN(WHOLE);
	parameter("run", 1);
	wait_for_end();
	PHASE_END(WHOLE);
	return now() - began;
}

static void measure(const struct device *device, int threads, int size, bool counting)
{
	int each = (size < 1 << 20 ? 2000 : 200) / threads + 1;
	struct counters before = read_counters(device), after;
	int64_t took[ROUNDS];
	double copies = (double)each * threads;

	parameter("threads_per_chan", threads);
	parameter("iterations", each);
	parameter("test_buf_size", size + 64);
	parameter("transfer_size", size);
	for (int round = 0; round < ROUNDS; round++)
		took[round] = timed();
	after = read_counters(device);
	if (after.descriptors - before.descriptors < copies * ROUNDS || after.errors != before.errors)
		errx(1, "%u of %.0f copies", after.descriptors - before.descriptors, copies * ROUNDS);
	printf("{\"ioat\": \"copies\", \"peer\": \"ioatdma\", \"time\": %u, \"rate\": %u, \"size\": %d, \"batch\": %d, \"flight\": 1, \"count\": %.0f, "
	       "\"rounds\": %d",
	       device->time, device->rate, size, threads, copies, ROUNDS);
	if (!counting)
		printf(", \"per_second\": %.0f", 1e9 * copies / least(took, ROUNDS));
	copies *= ROUNDS;
	printf(", \"doorbells\": %.3f, \"interrupts\": %.3f, \"reads\": %.3f}\n",
	       threads * (after.doorbells - before.doorbells) / copies, threads * (after.interrupts - before.interrupts) / copies,
	       threads * (after.reads - before.reads) / copies);
}

int main(int argc, char **argv)
{
	static const int sizes[] = { 64, 4 << 10, 64 << 10, 1 << 20 };
	struct device device;

	if (argc != 3)
		errx(2, "usage: dmatest count|time ADDRESS");
	device = open_model(argv[2]);
	parameter("timeout", 10000);
	parameter("noverify", 1);
	parameter("norandom", 1);
	for (int i = 0; i < 2; i++) {
		set_timing(&device, i * 5000, i * 2000);
		for (int j = 0; j < 4; j++)
			for (int threads = 1; threads <= (sizes[j] < 1 << 20 ? 64 : 8); threads *= 8)
				measure(&device, threads, sizes[j], !strcmp(argv[1], "count"));
	}
	return 0;
}
