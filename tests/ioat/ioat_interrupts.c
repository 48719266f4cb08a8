// SPDX-License-Identifier: GPL-2.0
/*
 * Promise 17 for an I/OAT device: an interrupt handles the ends of as many transfers as the device has slots, however fast the device is. The
 * device is held up while the queues are filled, and then takes no time for the rest.
 */
#include "debugfs.h"
#include "ioat.h"
#include "monitor.h"

#define TRACING "/sys/kernel/tracing/"

/* The slots of the device, and what the last step of the driver may exceed them by. */
enum { SLOTS = 128, STEP = 32, MAX_ENDS = SLOTS + STEP - 1 };
enum { CONTEXTS = 6, BATCH = 1024, CPUS = 8, TIME_NS = 1000000000 };
enum { ROUNDS = 20, SOON_NS = 2000000 };
enum { DELAY_US = 10000 };
enum { SLOW_BATCH = 6, SLOW_NS = 70000000, SLOW_TRIES = 5 };

FIXTURE(ioat_interrupts)
{
	struct ioat ioat;
	int fds[CONTEXTS];
	struct buffer buffers[CONTEXTS];
};

FIXTURE_SETUP(ioat_interrupts)
{
	ASSERT_EQ(0, ioat_open(0, &self->ioat));
	ioat_clear(&self->ioat);
	for (int i = 0; i < CONTEXTS; i++) {
		self->fds[i] = open_node(O_RDWR);
		ASSERT_LE(0, self->fds[i]);
		ASSERT_EQ(0, allocate(self->fds[i], 2 * PAGE, &self->buffers[i]));
	}
	ASSERT_EQ(0, write_text(TRACING "buffer_size_kb", "8192"));
	ASSERT_EQ(0, write_text(TRACING "trace", ""));
}

FIXTURE_TEARDOWN(ioat_interrupts)
{
	write_text(TRACING "events/enable", "0");
	write_text(TRACING "trace", "");
	write_text(TRACING "buffer_size_kb", "1408");
	ioat_timing(&self->ioat, 0, 0);
	for (int i = 0; i < CONTEXTS; i++)
		close(self->fds[i]);
}

static int trace(const char *on)
{
	return write_text(TRACING "events/rust_dma/rdma_complete/enable", on)	     ?:
		       write_text(TRACING "events/irq/irq_handler_entry/enable", on) ?:
		       write_text(TRACING "events/irq/irq_handler_exit/enable", on);
}

static int submit_all(int fd, struct buffer *buffer)
{
	static struct rdma_request requests[BATCH];

	for (int i = 0; i < BATCH; i++)
		requests[i] = copying(buffer, PAGE, buffer, 0, 64, i);
	return submit(fd, requests, BATCH) == BATCH ? 0 : -EPROTO;
}

/* The ends in the trace: all of them, those outside of the handler, and the most in one call of it. */
struct ends {
	int all, outside, most;
};

static int read_trace(struct ends *ends)
{
	int in_handler[CPUS];
	FILE *file = fopen(TRACING "trace", "re");
	char line[512];

	*ends = (struct ends){ 0 };
	for (int i = 0; i < CPUS; i++)
		in_handler[i] = -1;
	if (!file)
		return -errno;
	while (fgets(line, sizeof(line), file)) {
		const char *cpu = strstr(line, " ["), *event = cpu ? strstr(cpu, ": ") : NULL;
		int *ended;

		if (line[0] == '#' || !event)
			continue;
		ended = &in_handler[atoi(cpu + 2) % CPUS];
		event += 2;
		if (!strncmp(event, "irq_handler_entry", 17)) {
			*ended = strstr(event, "name=rdma") ? 0 : -1;
		} else if (!strncmp(event, "irq_handler_exit", 16)) {
			*ended = -1;
		} else if (!strncmp(event, "rdma_complete", 13)) {
			ends->all++;
			ends->outside += *ended < 0;
			*ended += *ended >= 0;
			ends->most = *ended > ends->most ? *ended : ends->most;
		}
	}
	fclose(file);
	return 0;
}

TEST_F(ioat_interrupts, bounded)
{
	struct ends ends;

	ASSERT_EQ(0, trace("1"));
	ioat_timing(&self->ioat, TIME_NS, 0);
	ASSERT_EQ(1, submit_one(self->fds[0], copying(&self->buffers[0], PAGE, &self->buffers[0], 0, 64, BATCH)));
	ioat_timing(&self->ioat, 0, 0);
	for (int i = 1; i < CONTEXTS; i++)
		ASSERT_EQ(0, submit_all(self->fds[i], &self->buffers[i]));
	ASSERT_EQ(0, drain(self->fds[0], 1));
	for (int i = 1; i < CONTEXTS; i++)
		ASSERT_EQ(0, drain(self->fds[i], BATCH));
	ASSERT_EQ(0, trace("0"));
	ASSERT_EQ(0, read_trace(&ends));
	EXPECT_EQ(1 + (CONTEXTS - 1) * BATCH, ends.all);
	EXPECT_LE(1, ends.most);
	EXPECT_GE(MAX_ENDS, ends.most);
	FIGURE("ends of transfers in one interrupt", "%d at most, of %d; %d by the work item", ends.most, ends.all, ends.outside);
}

/*
 * Transfers of two files, each with an interrupt, so that one ends a little after the other: the channel receives the acknowledgement of the
 * first interrupt before the driver decides that the second one has not ended.
 */
TEST_F(ioat_interrupts, soon_after_another)
{
	long recoveries = counter("watchdog_recoveries");
	int64_t began = now();

	ioat_timing(&self->ioat, SOON_NS, 0);
	for (int round = 0; round < ROUNDS; round++) {
		for (int i = 0; i < 2; i++)
			ASSERT_EQ(1, submit_one(self->fds[i], copying(&self->buffers[i], PAGE, &self->buffers[i], 0, 64, round)));
		for (int i = 0; i < 2; i++)
			ASSERT_EQ(0, drain(self->fds[i], 1));
	}
	EXPECT_EQ(recoveries, counter("watchdog_recoveries"));
	TH_LOG("%d rounds in %lld ms", ROUNDS, (long long)(now() - began) / 1000);
}

/*
 * The last transfer of a batch reports the others. A batch that takes longer than the watchdog waits has lost no interrupt. On a busy host, the
 * watchdog can find the last end before the interrupt arrives; not each time.
 */
TEST_F(ioat_interrupts, of_a_slow_batch)
{
	struct rdma_request requests[SLOW_BATCH];
	bool exact = false;

	for (int i = 0; i < SLOW_BATCH; i++)
		requests[i] = copying(&self->buffers[0], PAGE, &self->buffers[0], 0, 64, i);
	ioat_timing(&self->ioat, SLOW_NS, 0);
	for (int i = 0; i < SLOW_TRIES && !exact; i++) {
		long recoveries = counter("watchdog_recoveries"), interrupts = counter("interrupts");

		ASSERT_EQ(SLOW_BATCH, submit(self->fds[0], requests, SLOW_BATCH));
		ASSERT_EQ(0, drain(self->fds[0], SLOW_BATCH));
		pause_us(SLOW_NS / 1000);
		exact = recoveries == counter("watchdog_recoveries") && interrupts + 1 == counter("interrupts");
	}
	EXPECT_TRUE(exact);
}

/* After the driver is unbound, the device does not assert its line, also if it has used MSI-X. */
TEST_F(ioat_interrupts, none_after_the_unbind)
{
	enum { STATUS = 6, STATUS_INTERRUPT = 8 };
	uint16_t status = 0;

	ASSERT_EQ(0, copy(self->fds[0], &self->buffers[0], PAGE, &self->buffers[0], 0, 64));
	ASSERT_EQ(0, write_text("/sys/bus/pci/drivers/rdma/unbind", self->ioat.address));
	EXPECT_EQ(2, pread(self->ioat.config, &status, 2, STATUS));
	EXPECT_EQ(0, status & STATUS_INTERRUPT) TH_LOG("status %#x", status);
	ASSERT_EQ(0, write_text("/sys/bus/pci/drivers/rdma/bind", self->ioat.address));
	ASSERT_EQ(0, wait_for_node(NODE));
}

/* With interrupt_delay_us, an interrupt comes that much later, and those of two files are one. */
TEST_F(ioat_interrupts, delayed)
{
	const char *parameters = getenv("RDMA_PARAMETERS");
	bool is_delayed = parameters && strstr(parameters, "interrupt_delay_us=10000");
	int64_t least = INT64_MAX;
	long interrupts;

	for (int round = 0; round < ROUNDS; round++) {
		int64_t began = now();

		ASSERT_EQ(0, copy(self->fds[0], &self->buffers[0], PAGE, &self->buffers[0], 0, 64));
		least = now() - began < least ? now() - began : least;
	}
	EXPECT_EQ(is_delayed, least >= DELAY_US) TH_LOG("the fastest copy took %lld us", (long long)least);

	interrupts = counter("interrupts");
	for (int round = 0; round < ROUNDS; round++) {
		for (int i = 0; i < 2; i++)
			ASSERT_EQ(1, submit_one(self->fds[i], copying(&self->buffers[i], PAGE, &self->buffers[i], 0, 64, round)));
		for (int i = 0; i < 2; i++)
			ASSERT_EQ(0, drain(self->fds[i], 1));
	}
	interrupts = counter("interrupts") - interrupts;
	/* A busy host may stop the guest between two calls, so that not all are one. */
	if (is_delayed)
		EXPECT_GT(ROUNDS * 3 / 2, interrupts) TH_LOG("%ld interrupts of %d transfers", interrupts, 2 * ROUNDS);
}

TEST_HARNESS_MAIN
