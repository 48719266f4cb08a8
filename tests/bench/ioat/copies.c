// SPDX-License-Identifier: GPL-2.0
/*
 * Copies by the model of an I/OAT device, by this driver or by a program with vfio: copies a second, doorbells and interrupts, latency, and
 * what is left of the CPU. With "count", the same for the counting plugin, whose figures tests/bench/ioat/run adds.
 *
 * copies count|time PEER ADDRESS GROUP [SIZE BATCH]; prints a line of JSON for each measurement.
 */
#include "copies.h"
#include "device.h"

#include <marker.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { ROUNDS = 5, ROUND_MS = 40, MOST_BATCHES = 2000 };

static const struct peer *peer;
static struct areas areas;
static struct device device;
static bool counting;

/* Copies of this size, in batches, of which a number are in flight at a time. */
struct plan {
	uint32_t size;
	int batch, flight;
};

static void do_batches(const struct plan *plan, int count)
{
	for (int i = 0; i < count + plan->flight - 1; i++) {
		if (i < count)
			peer->submit(plan->batch, plan->size);
		if (i >= plan->flight - 1)
			peer->collect(plan->batch);
	}
}

static int64_t timed(const struct plan *plan, int count)
{
	int64_t began = now();

	PHASE_BEGIN(WHOLE);
	do_batches(plan, count);
	PHASE_END(WHOLE);
	return now() - began;
}

/* How many batches take a round's time; all bytes arrive. */
static int rehearse(const struct plan *plan)
{
	static unsigned char value;
	size_t size = (size_t)plan->size * plan->batch < AREA ? (size_t)plan->size * plan->batch : AREA;
	int64_t took, count;

	PHASE_BEGIN(REHEARSAL);
	memset(areas.source, ++value, size);
	memset(areas.destination, 0, size);
	do_batches(plan, plan->flight);
	for (size_t i = 0; i < size; i++)
		if (areas.destination[i] != value)
			errx(1, "byte %zu is wrong after copies of %u bytes", i, plan->size);
	took = now();
	do_batches(plan, plan->flight);
	took = (now() - took) / plan->flight + 1;
	PHASE_END(REHEARSAL);
	count = ROUND_MS * 1000000LL / took;
	return count < plan->flight ? plan->flight : count < MOST_BATCHES ? count : MOST_BATCHES;
}

static void begin_line(const char *what)
{
	printf("{\"ioat\": \"%s\", \"peer\": \"%s\", \"time\": %u, \"rate\": %u", what, peer->name, device.time, device.rate);
}

static void measure(const struct plan *plan)
{
	int count = rehearse(plan);
	struct counters before = read_counters(&device), after;
	int64_t took[ROUNDS];
	double batches = (double)count * ROUNDS;

	for (int round = 0; round < ROUNDS; round++)
		took[round] = timed(plan, count);
	after = read_counters(&device);
	begin_line("copies");
	printf(", \"size\": %u, \"batch\": %d, \"flight\": %d, \"count\": %d, \"rounds\": %d", plan->size, plan->batch,
	       plan->flight, count * plan->batch, ROUNDS);
	if (!counting)
		printf(", \"per_second\": %.0f", 1e9 * count * plan->batch / least(took, ROUNDS));
	printf(", \"doorbells\": %.3f, \"interrupts\": %.3f, \"reads\": %.3f}\n", (after.doorbells - before.doorbells) / batches,
	       (after.interrupts - before.interrupts) / batches, (after.reads - before.reads) / batches);
}

static void tables(void)
{
	static const uint32_t sizes[] = { 64, 4 << 10, 64 << 10, 1 << 20 };
	static const int batches[] = { 1, 8, 64, 1024 };

	for (int i = 0; i < 4; i++)
		for (int j = 0; j < 4; j++)
			for (int flight = 1; flight <= 2; flight++)
				if (batches[j] * flight <= (peer->one_by_one ? 1 : LARGEST_BATCH))
					measure(&(struct plan){ sizes[i], batches[j], flight });
}

/* From the end of a copy to the program, which sleeps when it ends. */
static void latency(void)
{
	enum { COUNT = 101, LONG = 2000000 };
	static const struct plan plan = { 4096, 1, 1 };
	int64_t took[COUNT];

	set_timing(&device, LONG, 0);
	for (int i = 0; i < COUNT; i++) {
		int64_t began = now();

		PHASE_BEGIN(BATCH);
		do_batches(&plan, 1);
		PHASE_END(BATCH);
		took[i] = now() - began - LONG;
	}
	begin_line("latency");
	printf(", \"count\": %d", COUNT);
	if (!counting)
		printf(", \"ns\": %ld", (long)median(took, COUNT));
	printf("}\n");
}

/* --- What is left of the CPU: what a process gets done that runs only when nothing else does. */

static volatile uint64_t *turns;

static pid_t begin_idler(void)
{
	struct sched_param none = {};
	pid_t process = fork();

	if (process < 0)
		err(1, "fork");
	if (process)
		return process;
	if (sched_setscheduler(0, SCHED_IDLE, &none))
		err(1, "SCHED_IDLE");
	for (;;)
		++*turns;
}

/* Its turns a second, meanwhile. */
static double turns_of(const struct plan *plan)
{
	int64_t began = now();
	uint64_t before = *turns;

	if (plan)
		do_batches(plan, 64 * 4096 / plan->batch);
	else
		usleep(200000);
	return (*turns - before) * 1e9 / (now() - began);
}

static int compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void cpu_left(uint32_t size, int batch, int flight)
{
	struct plan plan = { size, batch, flight };
	double shares[ROUNDS];

	for (int round = 0; round < ROUNDS; round++) {
		double alone = turns_of(NULL), beside = turns_of(&plan);

		shares[round] = 2 * beside / (alone + turns_of(NULL));
	}
	qsort(shares, ROUNDS, sizeof(*shares), compare_doubles);
	begin_line("left");
	printf(", \"size\": %u, \"batch\": %d, \"flight\": %d, \"share\": %.4f}\n", size, batch, flight, shares[ROUNDS / 2]);
}

static void others(void)
{
	pid_t idler;

	turns = mmap(NULL, sizeof(*turns), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (turns == MAP_FAILED)
		err(1, "mmap");
	idler = begin_idler();
	cpu_left(4 << 10, 64, 2);
	cpu_left(4 << 10, 512, 2);
	kill(idler, SIGKILL);
}

int main(int argc, char **argv)
{
	if (argc != 5 && argc != 7)
		errx(2, "usage: copies count|time PEER ADDRESS GROUP [SIZE BATCH]");
	counting = !strcmp(argv[1], "count");
	for (int i = 0; peers[i]; i++)
		if (!strcmp(argv[2], peers[i]->name))
			peer = peers[i];
	if (!peer)
		errx(2, "%s is not among the peers", argv[2]);
	device = open_model(argv[3]);
	areas = peer->open(argv[3], argv[4]);
	if (argc == 7) {
		measure(&(struct plan){ atoi(argv[5]), atoi(argv[6]), 1 });
		return 0;
	}
	for (int i = 0; i < 2; i++) {
		set_timing(&device, i * 5000, i * 2000);
		tables();
	}
	if (!counting && !peer->polls)
		others();
	latency();
	set_timing(&device, 0, 0);
	return 0;
}
