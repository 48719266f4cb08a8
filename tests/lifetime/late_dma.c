// SPDX-License-Identifier: GPL-2.0
/*
 * Promise 1: no DMA lands after close, FREE, SIGKILL, unbind or rmmod. A transfer from the device to memory loses its owner at any
 * moment. Other programs allocate all memory that becomes free, and it must keep their data.
 */
#include "requests.h"
#include "teardown.h"

#include <sys/time.h>
#include <sys/wait.h>

/* Longer than a transfer, so that some have ended. */
enum { MOMENTS_US = 110000, CANARY = 0x11, PAYLOAD = 0xee };

enum path { CLOSED, FREED, KILLED, UNBOUND, UNLOADED };

FIXTURE(late)
{
	char address[32];
	const char *module;
	struct crop crop, second;
	volatile bool *ready; /* shared with the owner */
};

FIXTURE_VARIANT(late)
{
	enum path path;
	const char *what;
};

FIXTURE_VARIANT_ADD(late, closed) { CLOSED, "close" };
FIXTURE_VARIANT_ADD(late, freed) { FREED, "FREE" };
FIXTURE_VARIANT_ADD(late, killed) { KILLED, "SIGKILL" };
FIXTURE_VARIANT_ADD(late, unbound) { UNBOUND, "unbind" };
FIXTURE_VARIANT_ADD(late, unloaded) { UNLOADED, "rmmod" };

static void on_signal(int signal)
{
	(void)signal;
}

FIXTURE_SETUP(late)
{
	struct sigaction action = { .sa_handler = on_signal };

	ASSERT_EQ(0, pci_address("rdma0", self->address));
	ASSERT_EQ(0, prepare(&self->crop, CANARY));
	ASSERT_EQ(0, prepare(&self->second, CANARY));
	self->ready = shared_memory(PAGE);
	ASSERT_NE(MAP_FAILED, self->ready);
	ASSERT_EQ(0, sigaction(SIGALRM, &action, NULL));
	self->module = light_module();
	ASSERT_NE(NULL, self->module);
	srandom(variant->path);
}

FIXTURE_TEARDOWN(late)
{
}

/* One round: which process owns the transfer, and its place in the buffer. */
struct victim {
	int fd;
	size_t size, at;
	struct buffer buffer;
};

/* The device memory is filled with bytes that no canary contains. */
static int payload(void)
{
	int fd = open_node(O_RDWR), answer;
	struct buffer buffer;

	if (fd < 0 || allocate(fd, PAGE, &buffer))
		return -EIO;
	memset(buffer.bytes, PAYLOAD, DEVICE_MEMORY);
	answer = to_device(fd, &buffer, 0, 0, DEVICE_MEMORY);
	munmap(buffer.bytes, PAGE);
	close(fd);
	return answer;
}

static int open_victim(struct victim *victim)
{
	int error;

	victim->fd = open_node(O_RDWR);
	if (victim->fd < 0)
		return victim->fd;
	error = allocate(victim->fd, victim->size, &victim->buffer);
	if (!error)
		memset(victim->buffer.bytes, PAYLOAD, victim->size);
	return error;
}

static struct rdma_request into(const struct victim *victim)
{
	return reading(&victim->buffer, victim->at, 0, DEVICE_MEMORY, 0);
}

/* Starts the transfer, and returns at that moment. */
static int start_and_leave(const struct victim *victim, int64_t moment_us, bool by_signal)
{
	struct itimerval soon = { .it_value.tv_usec = moment_us + 1 }, never = { 0 };
	struct rdma_request request = into(victim);
	int answer;

	if (!by_signal) {
		answer = submit_one(victim->fd, request);
		pause_us(moment_us);
		return answer == 1 ? 0 : -EPROTO;
	}
	setitimer(ITIMER_REAL, &soon, NULL);
	answer = call(victim->fd, RDMA_IOC_TRANSFER, &request);
	setitimer(ITIMER_REAL, &never, NULL);
	return answer == -EINTR ? 0 : answer;
}

/* Never returns: it is in a call when the signal arrives, in one of the ways in which the device writes to memory. */
static void __attribute__((noreturn)) be_owner(struct victim victim, int way, volatile bool *ready)
{
	struct buffer source;
	unsigned char bytes[DEVICE_MEMORY];

	if (open_victim(&victim) || allocate(victim.fd, PAGE, &source))
		_exit(1);
	memset(source.bytes, PAYLOAD, DEVICE_MEMORY);
	*ready = true;
	for (;;) {
		struct rdma_request request = into(&victim);

		switch (way) {
		case 0:
			call(victim.fd, RDMA_IOC_TRANSFER, &request);
			break;
		case 1:
			submit_one(victim.fd, request);
			drain(victim.fd, 1);
			break;
		case 2:
			copy(victim.fd, &victim.buffer, victim.at, &source, 0, DEVICE_MEMORY);
			break;
		case 3:
			pread(victim.fd, bytes, sizeof(bytes), 0);
			break;
		}
	}
}

static int killed(FIXTURE_DATA(late) *self, struct victim victim, int way, int64_t moment_us)
{
	pid_t owner;

	*self->ready = false;
	owner = fork();
	if (!owner)
		be_owner(victim, way, self->ready);
	while (!*self->ready)
		pause_us(100);
	pause_us(moment_us);
	kill(owner, SIGKILL);
	return waitpid(owner, NULL, 0) == owner ? 0 : -ECHILD;
}

/* How the owner ends, except by a kill. */
static int tear_down(FIXTURE_DATA(late) *self, enum path path, struct victim *victim)
{
	switch (path) {
	case FREED:
		return release(victim->fd, &victim->buffer);
	case UNBOUND:
		return go_away(self->address, UNBIND) < 0 ? -EIO : 0;
	default:
		munmap(victim->buffer.bytes, victim->buffer.size);
		close(victim->fd);
		victim->fd = -1;
		return path == UNLOADED ? unload() : 0;
	}
}

/* Allocates all memory of the device again, at once. */
static int bring_back(FIXTURE_DATA(late) *self, enum path path)
{
	return path == UNBOUND ? come_back(self->address, UNBIND) : path == UNLOADED ? load(self->module) : 0;
}

/* How many canary bytes have changed in one round, or an error. */
static long one_round(FIXTURE_DATA(late) *self, enum path path, int round)
{
	size_t pages = 1 << random() % 4;
	struct victim victim = { .fd = -1, .size = pages * PAGE, .at = random() % pages * PAGE };
	int64_t moment_us = random() % MOMENTS_US;
	long strays, more;
	int fd, again;

	if (payload())
		return -EIO;
	if (path == KILLED) {
		if (killed(self, victim, round % 4, moment_us))
			return -ECHILD;
	} else if (open_victim(&victim) || start_and_leave(&victim, moment_us, path != UNBOUND && round % 2) ||
		   tear_down(self, path, &victim)) {
		return -EPROTO;
	}
	/* The other device stays, except with rmmod. */
	fd = path == UNLOADED ? -1 : open_number(1);
	if (plant(&self->crop, fd, victim.size) || bring_back(self, path))
		return -ENOMEM;
	again = open_node(O_RDWR);
	if (again < 0 || plant(&self->second, again, victim.size))
		return -ENOMEM;
	pause_us(MOMENTS_US + TRANSFER_US / 2);
	strays = harvest(&self->crop);
	more = harvest(&self->second);
	if (path == UNBOUND || path == FREED) {
		munmap(victim.buffer.bytes, victim.buffer.size);
		close(victim.fd);
	}
	close(again);
	close(fd);
	return strays < 0 || more < 0 ? -EIO : strays + more;
}

TEST_F(late, never)
{
	int rounds = scale(200, 2000);
	long strays = 0;

	for (int round = 0; round < rounds; round++) {
		long found = one_round(self, variant->path, round);

		ASSERT_LE(0, found) TH_LOG("round %d", round);
		if (found && !strays)
			TH_LOG("round %d: %ld bytes", round, found);
		strays += found;
	}
	EXPECT_EQ(0, strays);
	EXPECT_TRUE(works());
	FIGURE("%d x %s in mid-transfer", "%ld canary bytes changed", rounds, variant->what, strays);
}

TEST_HARNESS_MAIN
