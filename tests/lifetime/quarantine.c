// SPDX-License-Identifier: GPL-2.0
/* Promise 1: a transfer whose owner is gone writes to memory that has not been allocated again. */
#include "rdma_test.h"

enum { ROUNDS = 50, BUFFERS = 48, CANARY = 0x11, PAYLOAD = 0xee };

/* How the owner of a transfer to its buffer ends. */
enum end { KILLED, EXITS, FREES, CLOSES };

FIXTURE(quarantine)
{
	int fd;
	struct buffer payload;
	volatile bool *ready;
};

FIXTURE_VARIANT(quarantine)
{
	enum end end;
};

FIXTURE_VARIANT_ADD(quarantine, killed) { .end = KILLED };
FIXTURE_VARIANT_ADD(quarantine, exits) { .end = EXITS };
FIXTURE_VARIANT_ADD(quarantine, frees) { .end = FREES };
FIXTURE_VARIANT_ADD(quarantine, closes) { .end = CLOSES };

FIXTURE_SETUP(quarantine)
{
	self->fd = open_node(O_RDWR);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, allocate(self->fd, PAGE, &self->payload));
	self->ready = shared_memory(PAGE);
	ASSERT_NE(MAP_FAILED, self->ready);
}

FIXTURE_TEARDOWN(quarantine)
{
	close(self->fd);
}

static void on_signal(int signal)
{
	(void)signal;
}

/* The owner: stops waiting for its transfer at the signal, and then frees its buffer, in the requested way. */
static void __attribute__((noreturn)) be_owner(volatile bool *ready, enum end end)
{
	struct sigaction action = { .sa_handler = on_signal };
	int fd = open_node(O_RDWR);
	struct buffer buffer;

	sigaction(SIGUSR1, &action, NULL);
	if (fd < 0 || allocate(fd, PAGE, &buffer))
		_exit(1);
	*ready = true;
	if (from_device(fd, &buffer, 0, 0, DEVICE_MEMORY) != -EINTR)
		_exit(2);
	if (end == FREES)
		release(fd, &buffer);
	if (end == CLOSES) {
		munmap(buffer.bytes, PAGE);
		close(fd);
	}
	*ready = false;
	if (end == EXITS)
		_exit(0);
	for (;;)
		pause();
}

/* Allocates the memory that may just have become free: as buffers, and as ordinary pages. */
static size_t strays(struct __test_metadata *_metadata, FIXTURE_DATA(quarantine) *self)
{
	enum { ORDINARY = 256 };
	struct buffer buffers[BUFFERS];
	unsigned char *ordinary =
		mmap(NULL, ORDINARY * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	size_t count = 0;

	for (int i = 0; i < BUFFERS; i++) {
		ASSERT_EQ(0, allocate(self->fd, PAGE, &buffers[i]));
		count += differing(buffers[i].bytes, 0, DEVICE_MEMORY);
		memset(buffers[i].bytes, CANARY, DEVICE_MEMORY);
	}
	memset(ordinary, CANARY, ORDINARY * DEVICE_MEMORY);
	pause_us(TRANSFER_US + TRANSFER_US / 2);
	for (int i = 0; i < BUFFERS; i++) {
		count += differing(buffers[i].bytes, CANARY, DEVICE_MEMORY);
		ASSERT_EQ(0, release(self->fd, &buffers[i]));
	}
	count += differing(ordinary, CANARY, ORDINARY * DEVICE_MEMORY);
	munmap(ordinary, ORDINARY * PAGE);
	return count;
}

TEST_F(quarantine, holds)
{
	size_t count = 0;
	int interrupted = 0;

	memset(self->payload.bytes, PAYLOAD, DEVICE_MEMORY);
	srandom(variant->end);
	for (int i = 0; i < ROUNDS; i++) {
		pid_t owner;

		ASSERT_EQ(0, to_device(self->fd, &self->payload, 0, 0, DEVICE_MEMORY));
		*self->ready = false;
		owner = fork();
		if (!owner)
			be_owner(self->ready, variant->end);
		while (!*self->ready)
			pause_us(100);
		pause_us(5000 + random() % 85000);
		kill(owner, variant->end == KILLED ? SIGKILL : SIGUSR1);
		if (variant->end == KILLED || variant->end == EXITS) {
			int status;

			ASSERT_EQ(owner, waitpid(owner, &status, 0));
			/* Otherwise the transfer had ended before. */
			interrupted += variant->end == KILLED ? WIFSIGNALED(status) : !status;
		} else {
			while (*self->ready)
				pause_us(100);
			interrupted++;
		}
		count += strays(_metadata, self);
		if (variant->end == FREES || variant->end == CLOSES) {
			kill(owner, SIGKILL);
			waitpid(owner, NULL, 0);
		}
	}
	TH_LOG("%d rounds, %d interrupted, %zu stray bytes", ROUNDS, interrupted, count);
	EXPECT_EQ(0, count);
	EXPECT_LT(ROUNDS / 2, interrupted);
}

/* A mapping that stays is the only place where the bytes may arrive, and they do. */
TEST_F(quarantine, mapping_still_gets_the_bytes)
{
	struct sigaction action = { .sa_handler = on_signal };
	struct buffer buffer;
	struct itimerspec soon = { .it_value.tv_nsec = 20000000 };
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 };
	timer_t timer;

	sigaction(SIGUSR1, &action, NULL);
	memset(self->payload.bytes, PAYLOAD, DEVICE_MEMORY);
	ASSERT_EQ(0, to_device(self->fd, &self->payload, 0, 0, DEVICE_MEMORY));
	ASSERT_EQ(0, allocate(self->fd, PAGE, &buffer));
	ASSERT_EQ(0, timer_create(CLOCK_MONOTONIC, &event, &timer));
	ASSERT_EQ(0, timer_settime(timer, 0, &soon, NULL));
	ASSERT_EQ(-EINTR, from_device(self->fd, &buffer, 0, 0, DEVICE_MEMORY));
	EXPECT_EQ(0, free_handle(self->fd, buffer.handle));
	EXPECT_EQ(0, differing(buffer.bytes, 0, DEVICE_MEMORY));
	pause_us(TRANSFER_US);
	EXPECT_EQ(0, differing(buffer.bytes, PAYLOAD, DEVICE_MEMORY));
}

TEST_HARNESS_MAIN
