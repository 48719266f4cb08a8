// SPDX-License-Identifier: GPL-2.0
/* poll, select, epoll and io_uring: readable while completions can be collected, hung up when the device is removed; no event is lost. */
#include "pace.h"

#include <linux/io_uring.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/syscall.h>

enum { EARLY_US = 20000, IN = POLLIN | POLLRDNORM, OUT = POLLOUT | POLLWRNORM, GONE = POLLHUP | POLLERR };
#define SLACK_US slack_us(5000)

FIXTURE(poll)
{
	int fd;
	int epoll;
	char address[32];
	bool away;
	struct buffer buffer;
	struct rdma_completion completions[DEPTH];
};

FIXTURE_SETUP(poll)
{
	ASSERT_EQ(0, pci_address("rdma0", self->address));
	self->fd = open_node(O_RDWR);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, allocate(self->fd, PAGE + window(self->fd), &self->buffer));
	ASSERT_EQ(0, settle(self->fd, &self->buffer));
	self->epoll = epoll_create1(EPOLL_CLOEXEC);
	ASSERT_LE(0, self->epoll);
}

FIXTURE_TEARDOWN(poll)
{
	hurry();
	close(self->epoll);
	close(self->fd);
	if (self->away)
		write_text("/sys/bus/pci/drivers/rdma/bind", self->address);
}

static int go_away(FIXTURE_DATA(poll) *self)
{
	self->away = true;
	return write_text("/sys/bus/pci/drivers/rdma/unbind", self->address);
}

static int watch(int epoll, int fd, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.fd = fd };

	return result(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event));
}

/* The events of the watched file; 0 after the timeout. */
static int happened(int epoll, int timeout_ms)
{
	struct epoll_event event;
	int answer = result(epoll_wait(epoll, &event, 1, timeout_ms));

	return answer == 1 ? (int)event.events : answer;
}

struct sleeper {
	pthread_t thread;
	int fd, epoll;
	short events;
	int answer, revents;
	int64_t woken;
};

static void *sleeps_in_poll(void *argument)
{
	struct sleeper *self = argument;
	struct pollfd one = { .fd = self->fd, .events = self->events };

	self->answer = poll(&one, 1, 5000);
	self->revents = one.revents;
	self->woken = now();
	return NULL;
}

static void *sleeps_in_epoll(void *argument)
{
	struct sleeper *self = argument;
	struct epoll_event event = { 0 };

	self->answer = epoll_wait(self->epoll, &event, 1, 1000);
	self->revents = event.events;
	self->woken = now();
	return NULL;
}

/* --- poll and select. */

TEST_F(poll, says_what_is_so)
{
	EXPECT_EQ(0, polled(self->fd));
	ASSERT_EQ(2, submit_many(self->fd, &self->buffer, 2, 0));
	EXPECT_EQ(0, polled(self->fd));
	pause_us(transfer_us + EARLY_US);
	EXPECT_EQ(IN, polled(self->fd));
	EXPECT_EQ(IN, polled(self->fd));
	ASSERT_EQ(1, take(self->fd, self->completions, 8));
	EXPECT_EQ(0, polled(self->fd));
	pause_us(transfer_us);
	EXPECT_EQ(IN, polled(self->fd));
	ASSERT_EQ(1, take(self->fd, self->completions, 8));
	EXPECT_EQ(0, polled(self->fd));
}

/* Until all of them are collected. */
TEST_F(poll, as_long_as_there_are_any)
{
	ASSERT_EQ(5, submit_many(self->fd, &self->buffer, 5, 0));
	pause_until_completed(self->fd, 5);
	for (int i = 0; i < 5; i++) {
		EXPECT_EQ(IN, polled(self->fd));
		ASSERT_EQ(1, take(self->fd, self->completions, 1));
	}
	EXPECT_EQ(0, polled(self->fd));
	/* A completion that could not be written can still be collected. */
	ASSERT_EQ(1, submit_many(self->fd, &self->buffer, 1, 0));
	pause_us(2 * transfer_us);
	EXPECT_EQ(-EFAULT, take(self->fd, NULL, 1));
	EXPECT_EQ(IN, polled(self->fd));
}

/* Only requested events are returned. */
TEST_F(poll, what_is_asked_for)
{
	static const short asked[] = { 0, POLLOUT, POLLIN, POLLRDNORM, POLLPRI, POLLIN | POLLOUT };

	ASSERT_EQ(1, submit_many(self->fd, &self->buffer, 1, 0));
	pause_us(2 * transfer_us);
	for (size_t i = 0; i < ARRAY_SIZE(asked); i++) {
		struct pollfd one = { .fd = self->fd, .events = asked[i] };

		EXPECT_EQ(!!(asked[i] & (IN | POLLOUT)), poll(&one, 1, 0));
		EXPECT_EQ(asked[i] & (IN | POLLOUT), one.revents);
	}
}

static int room_for_one(int fd)
{
	struct pollfd one = { .fd = fd, .events = OUT };
	int answer = poll(&one, 1, 0);

	return answer < 0 ? -errno : one.revents;
}

/* POLLOUT: there is room for requests. It ends with the last one, and begins with the first that is collected. */
TEST_F(poll, room)
{
	struct sleeper sleeper = { .fd = self->fd, .events = POLLOUT };

	EXPECT_EQ(OUT, room_for_one(self->fd));
	ASSERT_EQ(DEPTH - 1, submit_many(self->fd, &self->buffer, DEPTH - 1, 0));
	EXPECT_EQ(OUT, room_for_one(self->fd));
	ASSERT_EQ(1, submit_many(self->fd, &self->buffer, 1, DEPTH));
	EXPECT_EQ(0, room_for_one(self->fd));
	/* Completed requests that are not collected take room. */
	ASSERT_LE(DEPTH - 1, cancel_all(self->fd));
	EXPECT_EQ(0, room_for_one(self->fd));

	ASSERT_EQ(0, pthread_create(&sleeper.thread, NULL, sleeps_in_poll, &sleeper));
	pause_us(EARLY_US);
	EXPECT_EQ(0, sleeper.woken);
	ASSERT_EQ(1, take(self->fd, (struct rdma_completion[1]){ 0 }, 1));
	ASSERT_EQ(0, pthread_join(sleeper.thread, NULL));
	EXPECT_EQ(1, sleeper.answer);
	EXPECT_EQ(POLLOUT, sleeper.revents);
	EXPECT_EQ(OUT, room_for_one(self->fd));
}

TEST_F(poll, wakes_when_it_is_done)
{
	struct pollfd one = { .fd = self->fd, .events = POLLIN };
	int64_t began = now();

	ASSERT_EQ(1, submit_many(self->fd, &self->buffer, 1, 0));
	EXPECT_EQ(1, poll(&one, 1, -1));
	EXPECT_EQ(POLLIN, one.revents);
	EXPECT_GE(transfer_us + SLACK_US, now() - began);
	EXPECT_LE(transfer_us - 2000, now() - began);
	EXPECT_EQ(0, drain(self->fd, 1));

	/* And not before, and never without a completion. */
	began = now();
	ASSERT_EQ(1, submit_many(self->fd, &self->buffer, 1, 0));
	EXPECT_EQ(0, poll(&one, 1, 50));
	EXPECT_LE(50000, now() - began);
	EXPECT_EQ(0, drain(self->fd, 1));
	EXPECT_EQ(0, poll(&one, 1, 300));
}

TEST_F(poll, select)
{
	struct timeval no_time = { 0 };
	fd_set readable, writable, exceptional;
	int64_t began;

	FD_ZERO(&readable);
	FD_SET(self->fd, &readable);
	EXPECT_EQ(0, select(self->fd + 1, &readable, NULL, NULL, &no_time));
	ASSERT_EQ(1, submit_many(self->fd, &self->buffer, 1, 0));
	began = now();
	FD_SET(self->fd, &readable);
	EXPECT_EQ(1, select(self->fd + 1, &readable, NULL, NULL, NULL));
	EXPECT_TRUE(FD_ISSET(self->fd, &readable));
	EXPECT_GE(transfer_us + SLACK_US, now() - began);

	FD_ZERO(&writable);
	FD_ZERO(&exceptional);
	FD_SET(self->fd, &writable);
	FD_SET(self->fd, &exceptional);
	EXPECT_EQ(1, select(self->fd + 1, NULL, &writable, &exceptional, &no_time));
	EXPECT_TRUE(FD_ISSET(self->fd, &writable));
	EXPECT_EQ(0, drain(self->fd, 1));
}

/* Several threads wait for one completion: all are woken, as in poll(2), and one collects it. */
TEST_F(poll, wakes_all)
{
	struct sleeper sleepers[6];

	for (int i = 0; i < 6; i++) {
		sleepers[i] = (struct sleeper){ .fd = self->fd, .events = POLLIN };
		ASSERT_EQ(0, pthread_create(&sleepers[i].thread, NULL, sleeps_in_poll, &sleepers[i]));
	}
	pause_us(EARLY_US);
	ASSERT_EQ(1, submit_many(self->fd, &self->buffer, 1, 0));
	for (int i = 0; i < 6; i++) {
		ASSERT_EQ(0, pthread_join(sleepers[i].thread, NULL));
		EXPECT_EQ(1, sleepers[i].answer);
		EXPECT_EQ(POLLIN, sleepers[i].revents);
	}
	EXPECT_EQ(0, drain(self->fd, 1));
}

/* The end of a blocking transfer is not a completion. */
TEST_F(poll, not_for_blocking_transfers)
{
	struct sleeper sleeper = { .fd = self->fd, .events = POLLIN };

	ASSERT_EQ(0, pthread_create(&sleeper.thread, NULL, sleeps_in_poll, &sleeper));
	for (int i = 0; i < 3; i++) {
		ASSERT_EQ(0, transfer_some(self->fd, &self->buffer, 1));
		EXPECT_EQ(0, polled(self->fd));
	}
	ASSERT_EQ(1, submit_many(self->fd, &self->buffer, 1, 0));
	ASSERT_EQ(0, pthread_join(sleeper.thread, NULL));
	EXPECT_EQ(1, sleeper.answer);
}

/* --- epoll. */

TEST_F(poll, level_triggered)
{
	ASSERT_EQ(0, watch(self->epoll, self->fd, EPOLLIN));
	EXPECT_EQ(0, happened(self->epoll, 0));
	ASSERT_EQ(2, submit_many(self->fd, &self->buffer, 2, 0));
	EXPECT_EQ(EPOLLIN, happened(self->epoll, -1));
	EXPECT_EQ(EPOLLIN, happened(self->epoll, 0));
	ASSERT_EQ(1, take(self->fd, self->completions, 1));
	EXPECT_EQ(0, happened(self->epoll, 0));
	EXPECT_EQ(EPOLLIN, happened(self->epoll, -1));
	EXPECT_EQ(EPOLLIN, happened(self->epoll, 0));
	ASSERT_EQ(1, take(self->fd, self->completions, 1));
	EXPECT_EQ(0, happened(self->epoll, 200));
}

/* Completions from before the file was added are reported, too. */
TEST_F(poll, watched_late)
{
	ASSERT_EQ(1, submit_many(self->fd, &self->buffer, 1, 0));
	pause_us(2 * transfer_us);
	ASSERT_EQ(0, watch(self->epoll, self->fd, EPOLLIN | EPOLLET));
	EXPECT_EQ(EPOLLIN, happened(self->epoll, 0));
	EXPECT_EQ(0, happened(self->epoll, 200));
}

/* Each completion is reported once, whether or not the previous one was collected; collecting reports nothing. */
TEST_F(poll, edge_triggered)
{
	ASSERT_EQ(0, watch(self->epoll, self->fd, EPOLLIN | EPOLLET));
	EXPECT_EQ(0, happened(self->epoll, 0));
	ASSERT_EQ(4, submit_many(self->fd, &self->buffer, 4, 0));
	EXPECT_EQ(EPOLLIN, happened(self->epoll, -1));
	EXPECT_EQ(0, happened(self->epoll, 0));
	EXPECT_EQ(EPOLLIN, happened(self->epoll, -1));
	EXPECT_EQ(0, happened(self->epoll, 0));
	ASSERT_EQ(1, take(self->fd, self->completions, 1));
	EXPECT_EQ(0, happened(self->epoll, 0));
	ASSERT_EQ(1, take(self->fd, self->completions, 1));
	EXPECT_EQ(0, happened(self->epoll, 0));
	EXPECT_EQ(EPOLLIN, happened(self->epoll, -1));
	ASSERT_EQ(1, take(self->fd, self->completions, DEPTH));
	EXPECT_EQ(EPOLLIN, happened(self->epoll, -1));
	ASSERT_EQ(1, take(self->fd, self->completions, DEPTH));
	EXPECT_EQ(0, happened(self->epoll, 300));
}

/* The usual loop: wait for an event, collect until nothing is left. No event is lost in between. */
TEST_F(poll, edge_triggered_loop)
{
	uint32_t count = rounds(300, 60), submitted = 0, got = 0, events = 0;

	ASSERT_EQ(0, watch(self->epoll, self->fd, EPOLLIN | EPOLLET));
	while (got < count) {
		int taken;

		while (submitted < count && submitted - got < 3)
			ASSERT_EQ(1, submit_many(self->fd, &self->buffer, 1, submitted++));
		ASSERT_EQ(EPOLLIN, happened(self->epoll, 2000)) TH_LOG("%u of %u", got, submitted);
		events++;
		while ((taken = take(self->fd, self->completions, 1)) > 0) {
			ASSERT_EQ(got, self->completions[0].cookie);
			got += taken;
		}
		ASSERT_EQ(0, taken);
	}
	TH_LOG("%u completions in %u events", got, events);
}

/* The same with completions that come in groups and from other threads, at any moment, as fast as possible. */
struct storm {
	pthread_t thread;
	int fd;
	struct buffer *buffer;
	uint64_t count;
	volatile uint64_t submitted;
	bool failed;
};

static void *storm(void *argument)
{
	struct storm *self = argument;

	while (self->submitted < self->count && !self->failed) {
		int accepted = submit_many(self->fd, self->buffer, 1 + self->submitted % 5, self->submitted);

		if (accepted > 0)
			self->submitted += accepted;
		self->failed = accepted < 0 && accepted != -EAGAIN;
		/* Waiting requests are completed by this at once. */
		self->failed |= cancel_all(self->fd) < 0;
	}
	return NULL;
}

TEST_F(poll, edge_triggered_in_a_storm)
{
	struct storm storming = { .fd = self->fd, .buffer = &self->buffer, .count = 20000 };
	uint64_t got = 0, events = 0;

	ASSERT_EQ(0, watch(self->epoll, self->fd, EPOLLIN | EPOLLET));
	ASSERT_EQ(0, pthread_create(&storming.thread, NULL, storm, &storming));
	do {
		int taken, happening = happened(self->epoll, 3000);

		ASSERT_EQ(EPOLLIN, happening) TH_LOG("%" PRIu64 " of %" PRIu64, got, storming.submitted);
		events++;
		while ((taken = take(self->fd, self->completions, 64)) > 0)
			got += taken;
		ASSERT_EQ(0, taken);
	} while (got < storming.count);
	pthread_join(storming.thread, NULL);
	EXPECT_FALSE(storming.failed);
	if (storming.submitted > got) {
		uint32_t left = storming.submitted - got;

		EXPECT_EQ(left, collect(self->fd, self->completions, left, DEPTH, FOREVER));
	}
	EXPECT_EQ(0, take(self->fd, self->completions, 1));
	TH_LOG("%" PRIu64 " completions in %" PRIu64 " events", got, events);
}

TEST_F(poll, one_shot)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLONESHOT };

	ASSERT_EQ(0, watch(self->epoll, self->fd, EPOLLIN | EPOLLONESHOT));
	ASSERT_EQ(3, submit_many(self->fd, &self->buffer, 3, 0));
	EXPECT_EQ(EPOLLIN, happened(self->epoll, -1));
	EXPECT_EQ(0, happened(self->epoll, 250));
	/* Re-arming reports existing completions at once. */
	ASSERT_EQ(0, epoll_ctl(self->epoll, EPOLL_CTL_MOD, self->fd, &event));
	EXPECT_EQ(EPOLLIN, happened(self->epoll, 0));
	ASSERT_LT(0, take(self->fd, self->completions, DEPTH));
	ASSERT_EQ(0, epoll_ctl(self->epoll, EPOLL_CTL_MOD, self->fd, &event));
	EXPECT_EQ(0, happened(self->epoll, 0));
}

/* One event and two waiting threads: at least one is woken, and none sleeps while there is a completion. */
TEST_F(poll, exclusive)
{
	struct sleeper sleepers[2];

	for (int i = 0; i < 2; i++) {
		sleepers[i].epoll = epoll_create1(EPOLL_CLOEXEC);
		ASSERT_EQ(0, watch(sleepers[i].epoll, self->fd, EPOLLIN | EPOLLEXCLUSIVE));
	}
	for (int round = 0; round < 10; round++) {
		int64_t began = now();
		int woken = 0;

		for (int i = 0; i < 2; i++) {
			ASSERT_EQ(0, pthread_create(&sleepers[i].thread, NULL, sleeps_in_epoll, &sleepers[i]));
		}
		pause_us(EARLY_US);
		ASSERT_EQ(1, submit_many(self->fd, &self->buffer, 1, 0));
		for (int i = 0; i < 2; i++) {
			ASSERT_EQ(0, pthread_join(sleepers[i].thread, NULL));
			woken += sleepers[i].answer == 1 && sleepers[i].woken - began < 3 * transfer_us;
		}
		EXPECT_LE(1, woken);
		EXPECT_EQ(0, drain(self->fd, 1));
	}
	close(sleepers[0].epoll);
	close(sleepers[1].epoll);
}

TEST_F(poll, two_epolls)
{
	int other = epoll_create1(EPOLL_CLOEXEC);

	ASSERT_EQ(0, watch(self->epoll, self->fd, EPOLLIN | EPOLLET));
	ASSERT_EQ(0, watch(other, self->fd, EPOLLIN));
	ASSERT_EQ(1, submit_many(self->fd, &self->buffer, 1, 0));
	EXPECT_EQ(EPOLLIN, happened(self->epoll, -1));
	EXPECT_EQ(EPOLLIN, happened(other, 0));
	EXPECT_EQ(0, happened(self->epoll, 0));
	EXPECT_EQ(EPOLLIN, happened(other, 0));
	EXPECT_EQ(0, drain(self->fd, 1));
	EXPECT_EQ(0, happened(other, 0));
	close(other);
}

/* An epoll in an epoll, together with the eventfd of the same context. */
TEST_F(poll, nested)
{
	int outer = epoll_create1(EPOLL_CLOEXEC), event = eventfd(0, EFD_CLOEXEC);

	ASSERT_EQ(0, tell(self->fd, event));
	ASSERT_EQ(0, watch(self->epoll, self->fd, EPOLLIN | EPOLLET));
	ASSERT_EQ(0, watch(self->epoll, event, EPOLLIN | EPOLLET));
	ASSERT_EQ(0, watch(outer, self->epoll, EPOLLIN));
	ASSERT_EQ(1, submit_many(self->fd, &self->buffer, 1, 0));
	EXPECT_EQ(EPOLLIN, happened(outer, 5000));
	EXPECT_EQ(EPOLLIN, happened(self->epoll, 0));
	EXPECT_EQ(1, counted(event));
	EXPECT_EQ(0, drain(self->fd, 1));
	close(outer);
	close(event);
}

/* Removed or closed during a transfer: no more events. */
TEST_F(poll, no_longer_watched)
{
	int copied = dup(self->fd);

	ASSERT_EQ(0, watch(self->epoll, self->fd, EPOLLIN));
	ASSERT_EQ(0, watch(self->epoll, copied, EPOLLIN));
	ASSERT_EQ(1, submit_many(self->fd, &self->buffer, 1, 0));
	ASSERT_EQ(0, epoll_ctl(self->epoll, EPOLL_CTL_DEL, self->fd, NULL));
	EXPECT_EQ(EPOLLIN, happened(self->epoll, 5000));
	ASSERT_EQ(0, epoll_ctl(self->epoll, EPOLL_CTL_DEL, copied, NULL));
	EXPECT_EQ(0, happened(self->epoll, 0));
	close(copied);
}

TEST_F(poll, closed_while_watched)
{
	for (int i = 0; i < 20; i++) {
		int fd = open_node(O_RDWR);
		struct buffer buffer;

		ASSERT_LE(0, fd);
		ASSERT_EQ(0, allocate(fd, PAGE + window(fd), &buffer));
		ASSERT_EQ(0, watch(self->epoll, fd, EPOLLIN));
		ASSERT_EQ(3, submit_many(fd, &buffer, 3, 0));
		pause_us(i * 10000);
		munmap(buffer.bytes, buffer.size);
		close(fd);
	}
	EXPECT_EQ(0, happened(self->epoll, 200));
}

/* --- io_uring, without its library */

struct ring {
	int fd;
	unsigned int *tail, *mask, *array, *done_head, *done_tail, *done_mask;
	struct io_uring_sqe *entries;
	struct io_uring_cqe *done;
};

static int make_ring(struct ring *ring)
{
	struct io_uring_params parameters = { 0 };
	char *sent, *done;

	ring->fd = result(syscall(__NR_io_uring_setup, 8, &parameters));
	if (ring->fd < 0)
		return ring->fd;
	sent = mmap(NULL, parameters.sq_off.array + 8 * sizeof(unsigned int), PROT_READ | PROT_WRITE, MAP_SHARED, ring->fd,
		    IORING_OFF_SQ_RING);
	done = mmap(NULL, parameters.cq_off.cqes + 16 * sizeof(struct io_uring_cqe), PROT_READ | PROT_WRITE, MAP_SHARED,
		    ring->fd, IORING_OFF_CQ_RING);
	ring->entries = mmap(NULL, 8 * sizeof(struct io_uring_sqe), PROT_READ | PROT_WRITE, MAP_SHARED, ring->fd,
			     IORING_OFF_SQES);
	if (sent == MAP_FAILED || done == MAP_FAILED || ring->entries == MAP_FAILED)
		return -errno;
	ring->tail = (unsigned int *)(sent + parameters.sq_off.tail);
	ring->mask = (unsigned int *)(sent + parameters.sq_off.ring_mask);
	ring->array = (unsigned int *)(sent + parameters.sq_off.array);
	ring->done_head = (unsigned int *)(done + parameters.cq_off.head);
	ring->done_tail = (unsigned int *)(done + parameters.cq_off.tail);
	ring->done_mask = (unsigned int *)(done + parameters.cq_off.ring_mask);
	ring->done = (struct io_uring_cqe *)(done + parameters.cq_off.cqes);
	return 0;
}

/* Requests one notification, or repeated notifications. */
static int ask_ring(struct ring *ring, int fd, unsigned int flags)
{
	unsigned int index = *ring->tail & *ring->mask;

	ring->entries[index] = (struct io_uring_sqe){
		.opcode = IORING_OP_POLL_ADD, .fd = fd, .poll32_events = POLLIN, .len = flags, .user_data = 42
	};
	ring->array[index] = index;
	__atomic_store_n(ring->tail, *ring->tail + 1, __ATOMIC_RELEASE);
	return result(syscall(__NR_io_uring_enter, ring->fd, 1, 0, 0, NULL, 0));
}

/* Waits for the next notification; its result. */
static int next_of_ring(struct ring *ring)
{
	int answer;

	if (*ring->done_head == __atomic_load_n(ring->done_tail, __ATOMIC_ACQUIRE)) {
		answer = result(syscall(__NR_io_uring_enter, ring->fd, 0, 1, IORING_ENTER_GETEVENTS, NULL, 0));
		if (answer < 0)
			return answer;
	}
	if (*ring->done_head == __atomic_load_n(ring->done_tail, __ATOMIC_ACQUIRE))
		return -EAGAIN;
	answer = ring->done[*ring->done_head & *ring->done_mask].res;
	__atomic_store_n(ring->done_head, *ring->done_head + 1, __ATOMIC_RELEASE);
	return answer;
}

TEST_F(poll, io_uring)
{
	struct ring ring;
	int error = make_ring(&ring);

	if (error == -ENOSYS || error == -EPERM)
		SKIP(return, "this kernel has no io_uring");
	ASSERT_EQ(0, error);
	/* Before and after a completion. */
	ASSERT_EQ(1, ask_ring(&ring, self->fd, 0));
	ASSERT_EQ(2, submit_many(self->fd, &self->buffer, 2, 0));
	EXPECT_EQ(POLLIN, next_of_ring(&ring));
	ASSERT_EQ(1, ask_ring(&ring, self->fd, 0));
	EXPECT_EQ(POLLIN, next_of_ring(&ring));
	ASSERT_EQ(0, drain(self->fd, 2));

	/* Repeated: each completion is a notification of its own, if they come one by one. */
	ASSERT_EQ(1, ask_ring(&ring, self->fd, IORING_POLL_ADD_MULTI));
	for (int i = 0; i < 5; i++) {
		ASSERT_EQ(1, submit_many(self->fd, &self->buffer, 1, i));
		EXPECT_EQ(POLLIN, next_of_ring(&ring));
		ASSERT_EQ(1, take(self->fd, self->completions, 8));
	}
	/* And so is the removal of the device. */
	ASSERT_EQ(0, go_away(self));
	EXPECT_EQ(GONE, next_of_ring(&ring) & GONE);
	close(ring.fd);
}

/* --- Removal of the device */

TEST_F(poll, hang_up)
{
	EXPECT_EQ(0, polled(self->fd));
	ASSERT_EQ(0, go_away(self));
	EXPECT_EQ(GONE, polled(self->fd));
	EXPECT_EQ(GONE, polled(self->fd));
}

TEST_F(poll, hang_up_wakes_sleepers)
{
	static const short asked[] = { POLLIN, 0, POLLPRI };
	struct sleeper in_poll[ARRAY_SIZE(asked)], in_epoll[2];
	int64_t began;

	for (size_t i = 0; i < ARRAY_SIZE(asked); i++) {
		in_poll[i] = (struct sleeper){ .fd = self->fd, .events = asked[i] };
		ASSERT_EQ(0, pthread_create(&in_poll[i].thread, NULL, sleeps_in_poll, &in_poll[i]));
	}
	for (int i = 0; i < 2; i++) {
		in_epoll[i].epoll = epoll_create1(EPOLL_CLOEXEC);
		ASSERT_EQ(0, watch(in_epoll[i].epoll, self->fd, i ? EPOLLIN | EPOLLET : EPOLLIN));
		ASSERT_EQ(0, pthread_create(&in_epoll[i].thread, NULL, sleeps_in_epoll, &in_epoll[i]));
	}
	pause_us(EARLY_US);
	began = now();
	ASSERT_EQ(0, go_away(self));
	for (size_t i = 0; i < ARRAY_SIZE(asked); i++) {
		ASSERT_EQ(0, pthread_join(in_poll[i].thread, NULL));
		EXPECT_EQ(1, in_poll[i].answer);
		EXPECT_EQ(GONE, in_poll[i].revents);
		TH_LOG("woken after %lld us", (long long)(in_poll[i].woken - began));
		/* On a busy host, real time passes. */
		EXPECT_GE(sysconf(_SC_NPROCESSORS_ONLN) == 1 ? transfer_us / 2 : 10 * transfer_us, in_poll[i].woken - began);
	}
	for (int i = 0; i < 2; i++) {
		ASSERT_EQ(0, pthread_join(in_epoll[i].thread, NULL));
		EXPECT_EQ(1, in_epoll[i].answer);
		EXPECT_EQ(GONE, in_epoll[i].revents);
		close(in_epoll[i].epoll);
	}
}

/* Completions are reported in addition, until they are collected. */
TEST_F(poll, hang_up_with_completions)
{
	ASSERT_EQ(0, watch(self->epoll, self->fd, EPOLLIN));
	ASSERT_EQ(3, submit_many(self->fd, &self->buffer, 3, 0));
	pause_us(transfer_us + EARLY_US);
	ASSERT_EQ(0, go_away(self));
	EXPECT_EQ(IN | GONE, polled(self->fd));
	EXPECT_EQ((EPOLLIN | EPOLLHUP | EPOLLERR), happened(self->epoll, 0));
	ASSERT_EQ(3, collect(self->fd, self->completions, 3, 3, FOREVER));
	EXPECT_EQ(GONE, polled(self->fd));
	EXPECT_EQ((EPOLLHUP | EPOLLERR), happened(self->epoll, 0));
}

/* A device that is added again is a new one. */
TEST_F(poll, hang_up_is_for_ever)
{
	ASSERT_EQ(0, go_away(self));
	ASSERT_EQ(0, write_text("/sys/bus/pci/drivers/rdma/bind", self->address));
	self->away = false;
	EXPECT_EQ(GONE, polled(self->fd));
}

TEST_HARNESS_MAIN
