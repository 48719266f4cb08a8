// SPDX-License-Identifier: GPL-2.0
/* The machine suspends while requests are queued and one is running: each is executed exactly once, and no program notices. */
#include "sleep.h"

#define REQUESTS 6
#define SLOT 512U
#define OTHER "0000:00:10.0" /* a pci-testdev: its memory is smaller than an edu's registers */

static const char *const levels[] = { "devices", "platform", "processors", "core" };

FIXTURE(suspend)
{
	int fd;
	struct buffer from, to;
	unsigned int seed;
};

FIXTURE_SETUP(suspend)
{
	const char *seed = getenv("RDMA_SEED");

	self->seed = seed ? strtoul(seed, NULL, 10) : 1;
	mount("debugfs", "/sys/kernel/debug", "debugfs", 0, NULL);
	ASSERT_EQ(0, sleep_for("0"));
	/* Half of what a transfer takes: a thread that waits for one is frozen before it ends. */
	ASSERT_EQ(0, freeze_within("50"));
	self->fd = open_node(O_RDWR);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, allocate(self->fd, PAGE, &self->from));
	ASSERT_EQ(0, allocate(self->fd, PAGE, &self->to));
}

FIXTURE_TEARDOWN(suspend)
{
	close(self->fd);
}

static int64_t moment(unsigned int *seed)
{
	return rand_r(seed) % TRANSFER_US;
}

/* Half of them to the device and half of them back, alternating. */
static int submit_work(int fd, const struct buffer *from, const struct buffer *to, uint64_t cookie)
{
	struct rdma_request requests[REQUESTS];

	for (int i = 0; i < REQUESTS; i++) {
		uint64_t at = i / 2 * SLOT;

		requests[i] = i % 2 ? reading(to, at, at, SLOT, cookie + i) : writing(from, at, at, SLOT, cookie + i);
	}
	return submit(fd, requests, REQUESTS);
}

/* Checks the completions, one per request and in order; returns what is wrong, or NULL. */
static const char *check_work(int fd, uint64_t cookie)
{
	static char complaint[1024];
	struct rdma_completion completions[REQUESTS + 1];
	int count = collect(fd, completions, REQUESTS, REQUESTS + 1, 5000 * MS), length;
	bool good = count == REQUESTS;

	length = snprintf(complaint, sizeof(complaint), "%d completions:", count);
	for (int i = 0; i < count; i++) {
		good &= completions[i].cookie == cookie + i && !completions[i].status && completions[i].bytes == SLOT;
		length += snprintf(complaint + length, sizeof(complaint) - length, " %lld: %d, %llu bytes;",
				   (long long)(completions[i].cookie - cookie), completions[i].status,
				   (unsigned long long)completions[i].bytes);
	}
	pause_us(2 * TRANSFER_US);
	if (take(fd, completions, 1)) {
		snprintf(complaint + length, sizeof(complaint) - length, " and one more");
		good = false;
	}
	return good ? NULL : complaint;
}

/* Suspends at a random moment of the work; returns what is wrong, or NULL. */
static const char *sleep_at_work(FIXTURE_DATA(suspend) * self, const char *level, uint64_t round)
{
	static char complaint[2048];
	const char *wrong, *traced;
	int error, sleeps;

	fill(self->from.bytes, DEVICE_MEMORY, round);
	memset(self->to.bytes, 0xee, DEVICE_MEMORY);
	if (start_tracing())
		return "no tracing";
	if (submit_work(self->fd, &self->from, &self->to, round * REQUESTS) != REQUESTS)
		return "not submitted";
	pause_us(moment(&self->seed));
	error = go_to_sleep("mem", level);
	if (error) {
		snprintf(complaint, sizeof(complaint), "%s: did not sleep: %s", level, strerror(-error));
		return complaint;
	}
	wrong = check_work(self->fd, round * REQUESTS);
	if (!wrong && memcmp(self->from.bytes, self->to.bytes, REQUESTS / 2 * SLOT))
		wrong = "the data is wrong";
	if (wrong) {
		snprintf(complaint, sizeof(complaint), "%s: %s", level, wrong);
		return complaint;
	}
	traced = trace_complaint(&sleeps);
	if (traced || sleeps != 1) {
		snprintf(complaint, sizeof(complaint), "%s: %d sleeps; in the trace: %s", level, sleeps, traced ?: "");
		return complaint;
	}
	return NULL;
}

TEST_F(suspend, goes_on_where_it_was)
{
	int count = scale(20, 100);

	for (int round = 0; round < count; round++) {
		const char *wrong = sleep_at_work(self, levels[round % 4], round);

		ASSERT_EQ(NULL, wrong) {
			TH_LOG("round %d: %s", round, wrong);
		}
	}
	FIGURE("%d suspends (pm_test) in mid-transfer, %d more queued", "all %d completed once, in order, data right", count,
	       REQUESTS - 1, count * REQUESTS);
}

/* Power is switched off as far as QEMU simulates it: all devices are reset. */
TEST_F(suspend, goes_on_after_real_sleep)
{
	unsigned char bytes[DEVICE_MEMORY], before[DEVICE_MEMORY];
	int count = scale(5, 20);

	for (int round = 0; round < count; round++) {
		const char *wrong = sleep_at_work(self, "none", 1000 + round);

		ASSERT_EQ(NULL, wrong) {
			TH_LOG("round %d: %s", round, wrong);
		}
	}
	/* The device memory has kept its contents. */
	fill(before, DEVICE_MEMORY, 77);
	ASSERT_EQ(DEVICE_MEMORY, pwrite(self->fd, before, DEVICE_MEMORY, 0));
	ASSERT_EQ(0, go_to_sleep("mem", "none"));
	ASSERT_EQ(DEVICE_MEMORY, pread(self->fd, bytes, DEVICE_MEMORY, 0));
	EXPECT_EQ(0, memcmp(before, bytes, DEVICE_MEMORY));
	FIGURE("%d suspends to RAM in mid-transfer", "all %d completed once, in order, data right", count, count * REQUESTS);
}

/* Pieces of two transfers, with a pause between any of them. */
TEST_F(suspend, a_copy_goes_on)
{
	struct buffer from, to;

	ASSERT_EQ(0, allocate(self->fd, 3 * PAGE, &from));
	ASSERT_EQ(0, allocate(self->fd, 3 * PAGE, &to));
	for (int round = 0; round < 6; round++) {
		struct rdma_completion completion;

		fill(from.bytes, 3 * DEVICE_MEMORY, round);
		ASSERT_EQ(1, submit_one(self->fd, copying(&to, 0, &from, 0, 3 * DEVICE_MEMORY, round)));
		pause_us(rand_r(&self->seed) % (5 * TRANSFER_US));
		ASSERT_EQ(0, go_to_sleep("mem", round % 2 ? "none" : "devices"));
		ASSERT_EQ(1, collect(self->fd, &completion, 1, 1, 5000 * MS));
		EXPECT_EQ(0, completion.status);
		EXPECT_EQ(3 * DEVICE_MEMORY, completion.bytes);
		EXPECT_EQ(0, memcmp(from.bytes, to.bytes, 3 * DEVICE_MEMORY));
	}
}

/* A thread that waits when the machine suspends. */
struct waiter {
	pthread_t thread;
	int fd, answer;
	struct rdma_completion completion;
};

static void *wait_for_completion(void *argument)
{
	struct waiter *self = argument;

	self->answer = collect(self->fd, &self->completion, 1, 1, FOREVER);
	return NULL;
}

static void *wait_in_poll(void *argument)
{
	struct waiter *self = argument;
	struct pollfd one = { .fd = self->fd, .events = POLLIN };

	self->answer = result(poll(&one, 1, -1));
	return NULL;
}

static void *read_device_memory(void *argument)
{
	struct waiter *self = argument;
	unsigned char bytes[DEVICE_MEMORY];

	self->answer = result(pread(self->fd, bytes, DEVICE_MEMORY, 0));
	return NULL;
}

/* Waits repeatedly for short times, to be caught between two of them. */
static volatile bool over;

static void *wait_again_and_again(void *argument)
{
	struct waiter *self = argument;

	while (!over && !self->answer)
		self->answer = collect(self->fd, &self->completion, 1, 1, MS / 5);
	return NULL;
}

TEST_F(suspend, who_waits_is_not_told)
{
	static void *(*const bodies[])(void *) = { wait_for_completion, wait_in_poll, read_device_memory };

	int rounds = scale(8, 1000);

	for (int round = 0; round < rounds; round++) {
		struct waiter waiters[3], restless = { .fd = open_node(O_RDWR) };
		struct pending pending;

		over = false;
		ASSERT_EQ(0, pthread_create(&restless.thread, NULL, wait_again_and_again, &restless));
		ASSERT_EQ(0, begin(&pending, self->fd, copying(&self->to, 0, &self->from, 0, DEVICE_MEMORY, 0)));
		for (int i = 0; i < 3; i++) {
			waiters[i] = (struct waiter){ .fd = open_node(O_RDWR) };
			struct buffer buffer;

			ASSERT_EQ(0, allocate(waiters[i].fd, PAGE, &buffer));
			if (i < 2)
				ASSERT_EQ(1, submit_many(waiters[i].fd, &buffer, 1, i));
			ASSERT_EQ(0, pthread_create(&waiters[i].thread, NULL, bodies[i], &waiters[i]));
		}
		pause_us(moment(&self->seed));
		ASSERT_EQ(0, go_to_sleep("mem", round % 2 ? "core" : "devices"));
		EXPECT_EQ(0, finish(&pending));
		for (int i = 0; i < 3; i++) {
			ASSERT_EQ(0, pthread_join(waiters[i].thread, NULL));
			EXPECT_EQ(i < 2 ? 1 : DEVICE_MEMORY, waiters[i].answer);
			close(waiters[i].fd);
		}
		over = true;
		ASSERT_EQ(0, pthread_join(restless.thread, NULL));
		EXPECT_EQ(0, restless.answer);
		close(restless.fd);
	}
	FIGURE("%d suspends (pm_test) while threads wait in WAIT, poll, read and TRANSFER", "none of the calls ended by it", rounds);
}

/*
 * An image of the memory is created, and the machine continues as if it had been loaded: in between, another kernel may have used the device. The
 * contents of the device memory are not shown, and a copy that was half done is nevertheless right.
 */
TEST_F(suspend, goes_on_from_an_image)
{
	unsigned char bytes[DEVICE_MEMORY];
	char states[64];

	if (read_text("/sys/power/state", states, sizeof(states)) || !strstr(states, "disk"))
		SKIP(return, "this kernel makes no images");
	/* The kernel waits for 5 s each time. */
	for (int round = 0; round < scale(1, 5); round++) {
		fill(self->from.bytes, DEVICE_MEMORY, round);
		for (int i = 0; i < 4; i++)
			ASSERT_EQ(1, submit_one(self->fd, copying(&self->to, i * 1024, &self->from, i * 1024, 1024, i)));
		pause_us(rand_r(&self->seed) % (4 * TRANSFER_US));
		ASSERT_EQ(0, go_to_sleep("disk", "devices"));
		EXPECT_EQ(0, drain(self->fd, 4));
		EXPECT_EQ(0, memcmp(self->from.bytes, self->to.bytes, DEVICE_MEMORY));
		ASSERT_EQ(DEVICE_MEMORY, pread(self->fd, bytes, DEVICE_MEMORY, 0));
		EXPECT_EQ(0, differing(bytes, 0, DEVICE_MEMORY));
	}
}

/* The driver binds to its device again, which works as before. */
static void serve_again(struct __test_metadata *_metadata, FIXTURE_DATA(suspend) * self)
{
	ASSERT_EQ(0, write_text("/sys/bus/pci/drivers/rdma/bind", ADDRESS));
	close(self->fd);
	self->fd = open_node(O_RDWR);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, allocate(self->fd, PAGE, &self->from));
	EXPECT_EQ(0, to_device(self->fd, &self->from, 0, 0, DEVICE_MEMORY));
}

/* The callbacks of a device without a driver, and of one that was refused. */
TEST_F(suspend, without_a_device)
{
	struct rdma_completion completions[REQUESTS];

	ASSERT_EQ(0, write_text("/sys/bus/pci/devices/" OTHER "/driver_override", "rdma"));
	ASSERT_EQ(-ENODEV, write_text("/sys/bus/pci/drivers/rdma/bind", OTHER));
	ASSERT_EQ(REQUESTS, submit_work(self->fd, &self->from, &self->to, 0));
	ASSERT_EQ(0, write_text("/sys/bus/pci/drivers/rdma/unbind", ADDRESS));
	for (int i = 0; i < 4; i++)
		ASSERT_EQ(0, go_to_sleep("mem", levels[i]));
	ASSERT_EQ(0, go_to_sleep("mem", "none"));
	EXPECT_EQ(REQUESTS, take(self->fd, completions, REQUESTS));
	EXPECT_EQ(-ENODEV, take(self->fd, completions, REQUESTS));
	serve_again(_metadata, self);
}

/* Its registers do not exist any more when the machine suspends. */
TEST_F(suspend, a_device_that_is_gone)
{
	struct rdma_completion completions[REQUESTS];
	int config = open_config(ADDRESS);
	uint16_t command = read_config(config, PCI_COMMAND);

	ASSERT_EQ(REQUESTS, submit_work(self->fd, &self->from, &self->to, 0));
	pause_us(moment(&self->seed));
	ASSERT_EQ(0, write_config(config, PCI_COMMAND, command & ~PCI_COMMAND_MEMORY));
	ASSERT_EQ(0, go_to_sleep("mem", "devices"));
	ASSERT_EQ(REQUESTS, collect(self->fd, completions, REQUESTS, REQUESTS, 5000 * MS));
	/* The first transfer may have ended by then: QEMU times it in whole milliseconds. */
	for (int i = completions[0].status ? 0 : 1; i < REQUESTS; i++)
		EXPECT_EQ(-ENODEV, completions[i].status);
	EXPECT_EQ(-ENODEV, submit_one(self->fd, writing(&self->from, 0, 0, 1, 0)));
	EXPECT_EQ(-ENODEV, take(self->fd, completions, 1));
	/* Its memory must not be reused until its transfer has ended. */
	ASSERT_EQ(0, write_config(config, PCI_COMMAND, command | PCI_COMMAND_MEMORY));
	pause_us(TRANSFER_US);
	ASSERT_EQ(0, write_text("/sys/bus/pci/drivers/rdma/unbind", ADDRESS));
	ASSERT_EQ(0, write_text("/sys/bus/pci/drivers/rdma/bind", ADDRESS));
	close(config);
}

static int inject(const char *command)
{
	return write_text("/sys/kernel/debug/rust_dma/rdma0/inject", command);
}

/* src/engines/edu/inject.rs: the suspend fails, because aborting a transfer would look like success. */
TEST_F(suspend, a_transfer_that_does_not_end)
{
	struct rdma_completion completions[REQUESTS];
	const char *wrong;

	if (inject("hang"))
		SKIP(return, "this kernel has no fault injection");
	ASSERT_EQ(REQUESTS, submit_work(self->fd, &self->from, &self->to, 0));
	pause_us(moment(&self->seed));
	EXPECT_EQ(-EBUSY, go_to_sleep("mem", "devices"));
	ASSERT_EQ(REQUESTS, collect(self->fd, completions, REQUESTS, REQUESTS, 5000 * MS));
	for (int i = 0; i < REQUESTS; i++)
		EXPECT_EQ(completions[i].cookie ? -EIO : -ETIMEDOUT, completions[i].status);
	ASSERT_EQ(0, inject("clear"));
	pause_us(2 * TRANSFER_US);
	/* Everything works again, and the machine can suspend. The end of a transfer is noticed even if its interrupt is lost. */
	ASSERT_EQ(0, inject("lose 1"));
	ASSERT_EQ(REQUESTS, submit_work(self->fd, &self->from, &self->to, 0));
	pause_us(moment(&self->seed) / 2);
	ASSERT_EQ(0, go_to_sleep("mem", "devices"));
	wrong = check_work(self->fd, 0);
	EXPECT_EQ(NULL, wrong) {
		TH_LOG("%s", wrong);
	}
}

/* The device is removed, or a transfer hangs, while the machine suspends: finished requests succeed, and no others. */
static void wake_up_to(struct __test_metadata *_metadata, FIXTURE_DATA(suspend) * self, const char *fault, int64_t at_most_us)
{
	struct rdma_completion completions[REQUESTS];
	int64_t began;
	int done = 0;

	if (inject(fault))
		SKIP(return, "this kernel has no fault injection");
	ASSERT_EQ(0, sleep_for("1"));
	ASSERT_EQ(REQUESTS, submit_work(self->fd, &self->from, &self->to, 0));
	pause_us(moment(&self->seed));
	began = now();
	ASSERT_EQ(0, go_to_sleep("mem", "devices"));
	EXPECT_GE(at_most_us, now() - began);
	ASSERT_EQ(REQUESTS, collect(self->fd, completions, REQUESTS, REQUESTS, 0));
	while (done < REQUESTS && !completions[done].status)
		EXPECT_EQ(SLOT, completions[done++].bytes);
	EXPECT_LT(0, done);
	EXPECT_GT(REQUESTS, done);
	for (int i = 0; i < REQUESTS; i++) {
		EXPECT_EQ(i, completions[i].cookie);
		EXPECT_EQ(i < done ? 0 : -ENODEV, completions[i].status);
	}
	EXPECT_EQ(POLLHUP | POLLERR, polled(self->fd));
	EXPECT_EQ(-ENODEV, submit_one(self->fd, writing(&self->from, 0, 0, 1, 0)));
	EXPECT_EQ(-ENODEV, to_device(self->fd, &self->from, 0, 0, 1));
	EXPECT_EQ(-ENODEV, take(self->fd, completions, 1));
	/* Also when it is back: what it has done in between is unknown. It works when the driver has bound to it again. */
	ASSERT_EQ(0, inject("clear"));
	pause_us(2 * TRANSFER_US);
	EXPECT_EQ(-ENODEV, submit_one(self->fd, writing(&self->from, 0, 0, 1, 0)));
	ASSERT_EQ(0, write_text("/sys/bus/pci/drivers/rdma/unbind", ADDRESS));
	serve_again(_metadata, self);
}

/* The machine suspends for 1 s, and the device is idle within 0.1 s. */
TEST_F(suspend, a_device_that_goes_meanwhile)
{
	wake_up_to(_metadata, self, "gone 600", 2000000);
}

/* The driver waits for a running transfer for 1 s, then fails. */
TEST_F(suspend, a_device_that_wakes_up_at_work)
{
	wake_up_to(_metadata, self, "hang 600", 3000000);
}

TEST_HARNESS_MAIN
