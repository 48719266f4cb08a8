// SPDX-License-Identifier: GPL-2.0
/* A context belongs to its open file: threads, children, executed programs and other users share it, mappings keep it. */
#include "pace.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { ALICE = 1001 };
#define SLACK_US (virtual_time() ? 10000 : transfer_us / 2)

/* --- This program as executed by a test: `sharing --executed FD HANDLE OFFSET` */

enum { SEED = 7, BEFORE = 3, IN_EXECUTED = 2 };

static int executed(int fd, uint32_t handle, uint64_t offset)
{
	struct buffer buffer = { .handle = handle, .size = 2 * PAGE + window(fd), .offset = offset };
	struct rdma_completion completions[BEFORE];
	unsigned char expected[DEVICE_MEMORY];
	struct rdma_device_info info;

	if (call(fd, RDMA_IOC_DEVICE_INFO, &info))
		return 1;
	buffer.bytes = map(fd, offset, 2 * PAGE, PROT_READ | PROT_WRITE);
	fill(expected, DEVICE_MEMORY, SEED);
	if (!buffer.bytes || memcmp(buffer.bytes, expected, DEVICE_MEMORY))
		return 2;
	/* Requests from before. */
	if (collect(fd, completions, BEFORE, BEFORE, FOREVER) != BEFORE)
		return 3;
	for (int i = 0; i < BEFORE; i++)
		if (completions[i].cookie != i || completions[i].status)
			return 4;
	if (submit_one(fd, copying(&buffer, DEVICE_MEMORY, &buffer, 0, DEVICE_MEMORY, 100)) != 1 || drain(fd, 1))
		return 5;
	if (memcmp(buffer.bytes + DEVICE_MEMORY, expected, DEVICE_MEMORY))
		return 6;
	/* And one for the process that collects later. */
	return submit_many(fd, &buffer, IN_EXECUTED, 200) == IN_EXECUTED ? 0 : 7;
}

/* Before the harness sees the arguments. */
__attribute__((constructor)) static void main_of_executed(int argc, char **argv)
{
	if (argc == 5 && !strcmp(argv[1], "--executed"))
		_exit(executed(atoi(argv[2]), atoi(argv[3]), strtoull(argv[4], NULL, 0)));
	if (argc == 3 && !strcmp(argv[1], "--is-open")) {
		struct rdma_device_info info;

		_exit(-call(atoi(argv[2]), RDMA_IOC_DEVICE_INFO, &info));
	}
	if (argc == 2 && !strcmp(argv[1], "--sleep")) {
		/* One byte signals that this program runs; the end of standard input asks it to exit. */
		char byte;

		_exit(write(STDOUT_FILENO, "", 1) != 1 || read(STDIN_FILENO, &byte, 1) != 0);
	}
}

/* Executes this program; returns only on failure. */
static void execute(const char *what, const char *one, const char *two, const char *three)
{
	execl("/proc/self/exe", "sharing", what, one, two, three, NULL);
	_exit(127);
}

static int status_of(pid_t child)
{
	int status;

	if (waitpid(child, &status, 0) != child)
		return -errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

FIXTURE(sharing)
{
	int fd;
	struct buffer buffer;
	/* Another process. */
	int other;
	struct buffer others;
	/* Shared with the children. */
	long *shared;
};

FIXTURE_SETUP(sharing)
{
	self->fd = open_node(O_RDWR);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, allocate(self->fd, 2 * PAGE + window(self->fd), &self->buffer));
	fill(self->buffer.bytes, 2 * DEVICE_MEMORY, SEED);
	self->other = open_node(O_RDWR);
	ASSERT_LE(0, self->other);
	ASSERT_EQ(0, allocate(self->other, 2 * PAGE + window(self->other), &self->others));
	ASSERT_EQ(0, settle(self->other, &self->others));
	self->shared = shared_memory(PAGE);
	ASSERT_NE(MAP_FAILED, self->shared);
}

FIXTURE_TEARDOWN(sharing)
{
	hurry();
	close(self->fd);
	close(self->other);
	munmap(self->shared, PAGE);
}

/* The time of one transfer of another process at this moment. */
static int64_t others_us(const FIXTURE_DATA(sharing) *self)
{
	int64_t began = now();
	int error = move_once(self->other, &self->others);

	return error ? error : now() - began;
}

/* Whether another process shares the engine, transfer by transfer. */
static bool is_shared(const FIXTURE_DATA(sharing) *self)
{
	others_us(self);
	return others_us(self) > transfer_us + SLACK_US;
}

/* --- Threads, and processes that inherit the file: each completion is collected once */

enum { COLLECTORS = 4, SUBMITTERS = 2, EACH = 4000 };

struct crowd {
	volatile long over, collected, wrong, too_few, submitted;
	volatile unsigned char seen[SUBMITTERS * EACH];
};

struct member {
	pthread_t thread;
	struct crowd *crowd;
	int fd, number;
	struct buffer buffer;
	/* One completion at a time, for which all collectors wait. */
	bool sparing;
};

static void *collector(void *argument)
{
	struct member *self = argument;
	struct crowd *crowd = self->crowd;
	unsigned int seed = self->number;

	for (;;) {
		struct rdma_completion completions[40];
		int min = self->sparing ? 1 : 1 + rand_r(&seed) % 8, max = min + rand_r(&seed) % 32;
		int64_t timeout_us = 500000, began = now();
		bool over = crowd->over;
		int got = collect(self->fd, completions, min, max, timeout_us * 1000);

		if (got < 0 || got > max)
			__sync_fetch_and_add(&crowd->wrong, 1);
		/* Fewer than requested are returned only at the timeout. */
		if (got < min && now() - began < timeout_us)
			__sync_fetch_and_add(&crowd->too_few, 1);
		for (int i = 0; i < got; i++) {
			uint64_t cookie = completions[i].cookie;

			if (cookie >= SUBMITTERS * EACH || __sync_fetch_and_add(&crowd->seen[cookie], 1))
				__sync_fetch_and_add(&crowd->wrong, 1);
		}
		if (got > 0)
			__sync_fetch_and_add(&crowd->collected, got);
		if (over && got <= 0)
			return NULL;
	}
}

/* Most are cancelled at once, to have many. */
static void *submitter(void *argument)
{
	struct member *self = argument;
	uint64_t first = (uint64_t)self->number * EACH;
	unsigned int seed = 100 + self->number;

	for (int done = 0; done < EACH;) {
		int wanted = self->sparing ? 1 : 1 + rand_r(&seed) % 64, answer;

		wanted = wanted > EACH - done ? EACH - done : wanted;
		answer = submit_many(self->fd, &self->buffer, wanted, first + done);
		if (answer > 0)
			done += answer;
		else if (answer != -EAGAIN)
			__sync_fetch_and_add(&self->crowd->wrong, 1);
		if (cancel_all(self->fd) < 0)
			__sync_fetch_and_add(&self->crowd->wrong, 1);
		if (answer == -EAGAIN)
			pause_us(100);
	}
	__sync_fetch_and_add(&self->crowd->submitted, EACH);
	return NULL;
}

/* Runs them all, as threads or as processes. */
static void run_crowd(struct __test_metadata *_metadata, FIXTURE_DATA(sharing) *self, bool processes, bool sparing)
{
	struct crowd *crowd = shared_memory(sizeof(*crowd));
	struct member members[COLLECTORS + SUBMITTERS];
	pid_t children[COLLECTORS + SUBMITTERS];

	ASSERT_NE(MAP_FAILED, crowd);
	/* Another process keeps the engine busy, so that submitted requests wait, and are cancelled. */
	ASSERT_EQ(DEPTH, submit_many(self->other, &self->others, DEPTH, 0));
	for (int i = 0; i < COLLECTORS + SUBMITTERS; i++) {
		bool collects = i < COLLECTORS;

		members[i] = (struct member){ .crowd = crowd,
					      .fd = self->fd,
					      .number = collects ? i : i - COLLECTORS,
					      .buffer = self->buffer,
					      .sparing = sparing };
		if (!processes) {
			ASSERT_EQ(0, pthread_create(&members[i].thread, NULL, collects ? collector : submitter,
						    &members[i]));
			continue;
		}
		children[i] = fork();
		if (!children[i]) {
			(collects ? collector : submitter)(&members[i]);
			_exit(0);
		}
	}
	/* The submitters first. */
	for (int i = COLLECTORS + SUBMITTERS - 1; i >= 0; i--) {
		crowd->over = i < COLLECTORS;
		if (processes) {
			EXPECT_EQ(0, status_of(children[i]));
		} else {
			pthread_join(members[i].thread, NULL);
		}
	}
	TH_LOG("%ld submitted, %ld collected; %ld wrong answers, %ld times too few", crowd->submitted, crowd->collected,
	       crowd->wrong, crowd->too_few);
	EXPECT_EQ(SUBMITTERS * EACH, crowd->submitted);
	EXPECT_EQ(SUBMITTERS * EACH, crowd->collected);
	EXPECT_EQ(0, differing((void *)crowd->seen, 1, sizeof(crowd->seen)));
	EXPECT_EQ(0, crowd->wrong);
	EXPECT_EQ(0, crowd->too_few);
	munmap(crowd, sizeof(*crowd));
	cancel_all(self->other);
}

TEST_F(sharing, by_threads)
{
	run_crowd(_metadata, self, false, false);
}

TEST_F(sharing, by_processes)
{
	run_crowd(_metadata, self, true, false);
}

TEST_F(sharing, by_threads_one_at_a_time)
{
	run_crowd(_metadata, self, false, true);
}

TEST_F(sharing, by_processes_one_at_a_time)
{
	run_crowd(_metadata, self, true, true);
}

/* All threads in poll(2) are woken, and one of them gets the completion. */
TEST_F(sharing, one_completion_for_many)
{
	enum { CHILDREN = 5 };
	pid_t children[CHILDREN];
	int got = 0;

	for (int i = 0; i < CHILDREN; i++) {
		children[i] = fork();
		if (!children[i]) {
			struct pollfd one = { .fd = self->fd, .events = POLLIN };
			struct rdma_completion completion;

			if (poll(&one, 1, 10000) != 1)
				_exit(100);
			_exit(take(self->fd, &completion, 1));
		}
	}
	ASSERT_EQ(1, submit_many(self->fd, &self->buffer, 1, 0));
	pause_us(2 * transfer_us);
	/* Those that came too late continue to wait: another one for each of them. */
	for (int i = 0; i < CHILDREN; i++) {
		int status;

		while (waitpid(children[i], &status, WNOHANG) == 0) {
			ASSERT_EQ(1, submit_many(self->fd, &self->buffer, 1, 0));
			got--;
			pause_us(2 * transfer_us);
		}
		ASSERT_TRUE(WIFEXITED(status));
		ASSERT_GE(1, WEXITSTATUS(status));
		got += WEXITSTATUS(status);
	}
	/* None was lost. */
	got = 1 - got;
	EXPECT_LE(0, got);
	EXPECT_EQ(0, drain(self->fd, got));
	EXPECT_EQ(0, polled(self->fd));
}

/* A file that one thread closes while another one waits with it: the call finishes. */
struct waiter {
	pthread_t thread;
	int fd, answer;
	struct rdma_completion completion;
};

static void *waiter(void *argument)
{
	struct waiter *self = argument;

	self->answer = collect(self->fd, &self->completion, 1, 1, FOREVER);
	return NULL;
}

TEST_F(sharing, closed_while_a_thread_waits)
{
	struct waiter waiting = { .fd = open_node(O_RDWR) };
	struct buffer buffer;

	ASSERT_EQ(0, allocate(waiting.fd, PAGE + window(waiting.fd), &buffer));
	ASSERT_EQ(0, munmap(buffer.bytes, buffer.size));
	ASSERT_EQ(1, submit_many(waiting.fd, &buffer, 1, 5));
	ASSERT_EQ(0, pthread_create(&waiting.thread, NULL, waiter, &waiting));
	pause_us(transfer_us / 4);
	ASSERT_EQ(0, close(waiting.fd));
	ASSERT_EQ(0, pthread_join(waiting.thread, NULL));
	EXPECT_EQ(1, waiting.answer);
	EXPECT_EQ(5, waiting.completion.cookie);
	EXPECT_EQ(0, waiting.completion.status);
}

/* --- fork */

/* The child submits and exits; its requests are executed, and collected here. */
TEST_F(sharing, a_child_submits_and_exits)
{
	struct rdma_completion completions[4];
	pid_t child = fork();

	if (!child) {
		struct rdma_request requests[] = {
			linked(storing(self->fd, &self->buffer, 0, DEVICE_MEMORY, 0)),
			linked(fetching(self->fd, &self->buffer, DEVICE_MEMORY, DEVICE_MEMORY, 1)),
			moving(self->fd, &self->buffer, 2),
		};

		/* Through the inherited mapping. */
		memset(self->buffer.bytes, 0x3c, DEVICE_MEMORY);
		_exit(submit(self->fd, requests, 3) == 3 ? 0 : 1);
	}
	EXPECT_EQ(0, status_of(child));
	ASSERT_EQ(3, collect(self->fd, completions, 3, 4, FOREVER));
	for (int i = 0; i < 3; i++) {
		EXPECT_EQ(i, completions[i].cookie);
		EXPECT_EQ(0, completions[i].status);
	}
	EXPECT_EQ(0, differing(self->buffer.bytes, 0x3c, 2 * DEVICE_MEMORY));
}

/* The same with a child that is killed by a signal while it waits. */
TEST_F(sharing, a_child_is_killed)
{
	pid_t child = fork();

	if (!child) {
		struct rdma_completion completion;

		submit_many(self->fd, &self->buffer, 3, 0);
		collect(self->fd, &completion, 100, 100, FOREVER);
		_exit(1);
	}
	pause_us(transfer_us / 2);
	ASSERT_EQ(0, kill(child, SIGKILL));
	EXPECT_EQ(-SIGKILL, status_of(child));
	EXPECT_EQ(0, drain(self->fd, 3));
}

/* The process that opened the file exits first. */
TEST_F(sharing, the_parent_exits_first)
{
	int report[2];
	long answer = -1;
	pid_t parent;

	ASSERT_EQ(0, pipe(report));
	parent = fork();
	if (!parent) {
		struct buffer buffer;
		int fd = open_node(O_RDWR);

		if (fd < 0 || allocate(fd, 2 * PAGE + window(fd), &buffer) || submit_many(fd, &buffer, 3, 0) != 3)
			_exit(1);
		fill(buffer.bytes, DEVICE_MEMORY, 9);
		if (fork())
			_exit(0);
		/* By now the parent has exited, and its descriptors and mappings are gone. */
		while (getppid() == parent)
			pause_us(1000);
		answer = drain(fd, 3);
		if (!answer && (submit_one(fd, copying(&buffer, DEVICE_MEMORY, &buffer, 0, DEVICE_MEMORY, 0)) != 1 || drain(fd, 1)))
			answer = 1;
		if (!answer && memcmp(buffer.bytes, buffer.bytes + DEVICE_MEMORY, DEVICE_MEMORY))
			answer = 2;
		_exit(write(report[1], &answer, sizeof(answer)) != sizeof(answer));
	}
	parent = status_of(parent);
	EXPECT_EQ(0, parent);
	close(report[1]);
	EXPECT_EQ(sizeof(answer), read(report[0], &answer, sizeof(answer)));
	EXPECT_EQ(0, answer);
	close(report[0]);
}

/* Handles belong to the context, not to a process. */
TEST_F(sharing, a_childs_handles_are_ours)
{
	struct rdma_buffer_info info = { 0 };
	struct buffer *made = (void *)self->shared;
	pid_t child = fork();

	if (!child)
		_exit(allocate(self->fd, PAGE, made) || free_handle(self->fd, self->buffer.handle));
	EXPECT_EQ(0, status_of(child));
	info.handle = made->handle;
	EXPECT_EQ(0, call(self->fd, RDMA_IOC_BUFFER_INFO, &info));
	EXPECT_EQ(0, info.mappings);
	EXPECT_EQ(made->offset, info.mmap_offset);
	EXPECT_EQ(0, move_once(self->fd, made));
	EXPECT_EQ(-EINVAL, move_once(self->fd, &self->buffer));
	EXPECT_EQ(-EINVAL, free_handle(self->fd, self->buffer.handle));
}

/* --- exec */

static int flags_of_exec(int fd, bool stays)
{
	return result(fcntl(fd, F_SETFD, stays ? 0 : FD_CLOEXEC));
}

TEST_F(sharing, goes_over_exec)
{
	struct rdma_completion completions[4];
	char fd[16], handle[16], offset[32];
	pid_t child;

	snprintf(fd, sizeof(fd), "%d", self->fd);
	snprintf(handle, sizeof(handle), "%u", self->buffer.handle);
	snprintf(offset, sizeof(offset), "%llu", (unsigned long long)self->buffer.offset);
	ASSERT_EQ(0, flags_of_exec(self->fd, true));
	ASSERT_EQ(BEFORE, submit_many(self->fd, &self->buffer, BEFORE, 0));
	child = fork();
	if (!child)
		execute("--executed", fd, handle, offset);
	EXPECT_EQ(0, status_of(child));
	EXPECT_EQ(0, memcmp(self->buffer.bytes, self->buffer.bytes + DEVICE_MEMORY, DEVICE_MEMORY));
	ASSERT_EQ(IN_EXECUTED, collect(self->fd, completions, IN_EXECUTED, 4, FOREVER));
	EXPECT_EQ(200, completions[0].cookie);
	EXPECT_EQ(0, completions[0].status);
}

TEST_F(sharing, does_not_go_over_exec_with_cloexec)
{
	char fd[16];
	pid_t child;

	snprintf(fd, sizeof(fd), "%d", self->fd);
	for (int stays = 0; stays < 2; stays++) {
		ASSERT_EQ(0, flags_of_exec(self->fd, stays));
		child = fork();
		if (!child)
			execute("--is-open", fd, NULL, NULL);
		EXPECT_EQ(stays ? 0 : EBADF, status_of(child));
	}
}

/* Nothing of a context is left when its only program has executed another one: neither the file nor the mappings. */
TEST_F(sharing, ends_with_exec)
{
	int here[2], wanted[2];
	char byte;
	pid_t child;

	ASSERT_EQ(0, pipe(here));
	ASSERT_EQ(0, pipe(wanted));
	child = fork();
	if (!child) {
		struct buffer buffer;
		int fd = open_node(O_RDWR);

		if (fd < 0 || allocate(fd, 2 * PAGE + window(fd), &buffer) || submit_many(fd, &buffer, DEPTH, 0) != DEPTH)
			_exit(1);
		dup2(wanted[0], STDIN_FILENO);
		dup2(here[1], STDOUT_FILENO);
		close(wanted[1]);
		/* While this process exists, the engine is shared. */
		*self->shared = is_shared(self);
		execute("--sleep", NULL, NULL, NULL);
	}
	close(here[1]);
	ASSERT_EQ(1, read(here[0], &byte, 1));
	EXPECT_TRUE(*self->shared);
	EXPECT_FALSE(is_shared(self));
	EXPECT_EQ(0, waitpid(child, NULL, WNOHANG));
	close(wanted[1]);
	EXPECT_EQ(0, status_of(child));
	close(here[0]);
	close(wanted[0]);
}

/* --- SCM_RIGHTS: to an unrelated process, and to another user */

static int send_fd(int socket, int fd)
{
	char byte = 0, control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec bytes = { &byte, 1 };
	struct msghdr message = {
		.msg_iov = &bytes,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);

	header->cmsg_len = CMSG_LEN(sizeof(int));
	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	memcpy(CMSG_DATA(header), &fd, sizeof(fd));
	return result(sendmsg(socket, &message, 0)) == 1 ? 0 : -errno;
}

static int receive_fd(int socket)
{
	char byte, control[CMSG_SPACE(sizeof(int))];
	struct iovec bytes = { &byte, 1 };
	struct msghdr message = {
		.msg_iov = &bytes,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	struct cmsghdr *header;
	int fd;

	if (recvmsg(socket, &message, MSG_CMSG_CLOEXEC) != 1)
		return -errno;
	header = CMSG_FIRSTHDR(&message);
	if (!header || header->cmsg_type != SCM_RIGHTS)
		return -EPROTO;
	memcpy(&fd, CMSG_DATA(header), sizeof(fd));
	return fd;
}

/* A process that exists before the file is opened, of another user, who may not open the node. */
struct stranger {
	int socket;
	pid_t pid;
};

typedef int deed(int fd, struct buffer *buffer);

static void begin_stranger(struct __test_metadata *_metadata, struct stranger *stranger, deed *deed)
{
	int sockets[2];

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sockets));
	stranger->socket = sockets[0];
	stranger->pid = fork();
	if (!stranger->pid) {
		struct buffer buffer;
		int fd;

		for (int i = 3; i < 64; i++)
			if (i != sockets[1])
				close(i);
		if (setresgid(ALICE, ALICE, ALICE) || setresuid(ALICE, ALICE, ALICE))
			_exit(101);
		if (open_node(O_RDWR) != -EACCES)
			_exit(102);
		fd = receive_fd(sockets[1]);
		if (fd < 0 || read(sockets[1], &buffer, sizeof(buffer)) != sizeof(buffer))
			_exit(103);
		buffer.bytes = map(fd, buffer.offset, buffer.size, PROT_READ | PROT_WRITE);
		if (!buffer.bytes)
			_exit(104);
		_exit(deed(fd, &buffer));
	}
	close(sockets[1]);
}

/* Passes the context and its buffer; returns the result of the call. */
static int hand_over(struct stranger *stranger, int fd, const struct buffer *buffer)
{
	int error = send_fd(stranger->socket, fd);

	if (!error && write(stranger->socket, buffer, sizeof(*buffer)) != sizeof(*buffer))
		error = -EIO;
	close(stranger->socket);
	return error ? error : status_of(stranger->pid);
}

/* What the receivers of a context do. 0xaa is what they find in the device memory, or none of it. */
static int sees_zeros(int fd, struct buffer *buffer)
{
	if (submit_one(fd, reading(buffer, 0, 0, DEVICE_MEMORY, 1)) != 1 || drain(fd, 1))
		return 1;
	if (differing(buffer->bytes, 0, DEVICE_MEMORY))
		return 2;
	memset(buffer->bytes, 0xff, DEVICE_MEMORY);
	return from_device(fd, buffer, 0, 0, DEVICE_MEMORY) || differing(buffer->bytes, 0, DEVICE_MEMORY) ? 3 : 0;
}

static int writes_and_sees_its_own(int fd, struct buffer *buffer)
{
	memset(buffer->bytes, 0xbb, DEVICE_MEMORY);
	if (submit_one(fd, writing(buffer, 0, 0, DEVICE_MEMORY, 1)) != 1 || drain(fd, 1))
		return 1;
	memset(buffer->bytes, 0, DEVICE_MEMORY);
	if (submit_one(fd, reading(buffer, 0, 0, DEVICE_MEMORY, 1)) != 1 || drain(fd, 1))
		return 2;
	return differing(buffer->bytes, 0xbb, DEVICE_MEMORY) ? 3 : 0;
}

static int submits_and_exits(int fd, struct buffer *buffer)
{
	return submit_one(fd, reading(buffer, 0, 0, DEVICE_MEMORY, 4711)) != 1;
}

static int submits_much_and_exits(int fd, struct buffer *buffer)
{
	return submit_many(fd, buffer, 20, 0) != 20;
}

static int makes_a_buffer(int fd, struct buffer *buffer)
{
	struct buffer another;

	(void)buffer;
	if (allocate(fd, PAGE, &another))
		return 1;
	another.bytes[0] = 1;
	return another.handle;
}

TEST_F(sharing, strangers_do_not_see_our_device_memory)
{
	struct stranger stranger;

	if (!has_memory(self->fd))
		SKIP(return, "the device has no memory");
	begin_stranger(_metadata, &stranger, sees_zeros);
	memset(self->buffer.bytes, 0xaa, DEVICE_MEMORY);
	ASSERT_EQ(0, to_device(self->fd, &self->buffer, 0, 0, DEVICE_MEMORY));
	EXPECT_EQ(0, hand_over(&stranger, self->fd, &self->buffer));
	EXPECT_EQ(0, differing(self->buffer.bytes, 0, DEVICE_MEMORY));
}

TEST_F(sharing, we_do_not_see_that_of_a_stranger)
{
	struct stranger stranger;

	if (!has_memory(self->fd))
		SKIP(return, "the device has no memory");
	begin_stranger(_metadata, &stranger, writes_and_sees_its_own);
	EXPECT_EQ(0, hand_over(&stranger, self->fd, &self->buffer));
	EXPECT_EQ(0, differing(self->buffer.bytes, 0xbb, DEVICE_MEMORY));
	ASSERT_EQ(0, from_device(self->fd, &self->buffer, 0, 0, DEVICE_MEMORY));
	EXPECT_EQ(0, differing(self->buffer.bytes, 0, DEVICE_MEMORY));
}

/* The user is the one that submitted it, not the one that collects it or that is active at that time. */
TEST_F(sharing, whose_request_it_is)
{
	struct rdma_completion completion;
	struct stranger stranger;
	pid_t child;

	if (!has_memory(self->fd))
		SKIP(return, "the device has no memory");
	begin_stranger(_metadata, &stranger, submits_and_exits);
	memset(self->buffer.bytes, 0xaa, DEVICE_MEMORY);
	ASSERT_EQ(0, to_device(self->fd, &self->buffer, 0, 0, DEVICE_MEMORY));
	/* So that the other user's requests wait for a while. */
	ASSERT_EQ(2, submit_many(self->fd, &self->buffer, 2, 0));
	EXPECT_EQ(0, hand_over(&stranger, self->fd, &self->buffer));
	ASSERT_EQ(0, drain(self->fd, 2));
	ASSERT_EQ(1, collect(self->fd, &completion, 1, 1, FOREVER));
	EXPECT_EQ(4711, completion.cookie);
	EXPECT_EQ(0, differing(self->buffer.bytes, 0, DEVICE_MEMORY));

	/* Root submits and becomes another user before the engine has started: the request is root's. */
	memset(self->buffer.bytes, 0xaa, DEVICE_MEMORY);
	ASSERT_EQ(0, to_device(self->fd, &self->buffer, 0, 0, DEVICE_MEMORY));
	ASSERT_EQ(2, submit_many(self->fd, &self->buffer, 2, 0));
	child = fork();
	if (!child)
		_exit(submit_one(self->fd, reading(&self->buffer, DEVICE_MEMORY, 0, DEVICE_MEMORY, 1)) != 1 ||
		      setresuid(ALICE, ALICE, ALICE) || drain(self->fd, 3));
	EXPECT_EQ(0, status_of(child));
	EXPECT_EQ(0, differing(self->buffer.bytes, 0xaa, 2 * DEVICE_MEMORY));
}

/* Requests of another user and our own in one queue, in order of submission. */
TEST_F(sharing, strangers_stand_in_the_same_queue)
{
	struct rdma_completion completions[32];
	struct stranger stranger;

	begin_stranger(_metadata, &stranger, submits_much_and_exits);
	ASSERT_EQ(4, submit_many(self->fd, &self->buffer, 4, 100));
	EXPECT_EQ(0, hand_over(&stranger, self->fd, &self->buffer));
	ASSERT_EQ(4, submit_many(self->fd, &self->buffer, 4, 200));
	ASSERT_EQ(28, collect(self->fd, completions, 28, 32, FOREVER));
	for (int i = 0; i < 28; i++) {
		EXPECT_EQ(i < 4 ? 100 + i : i < 24 ? i - 4 : 200 + i - 24, completions[i].cookie);
		EXPECT_EQ(0, completions[i].status);
	}
}

TEST_F(sharing, a_strangers_buffer_is_ours)
{
	struct buffer found = { 0 };
	struct stranger stranger;
	int answer;

	begin_stranger(_metadata, &stranger, makes_a_buffer);
	answer = hand_over(&stranger, self->fd, &self->buffer);
	ASSERT_LT(self->buffer.handle, answer);
	ASSERT_GT(100, answer);
	found.handle = answer;
	EXPECT_EQ(0, copy(self->fd, &self->buffer, 0, &found, 0, DEVICE_MEMORY));
	EXPECT_EQ(1, self->buffer.bytes[0]);
	EXPECT_EQ(0, free_handle(self->fd, found.handle));
}

/* A file in a message on a socket that no process reads is open. */
TEST_F(sharing, on_its_way)
{
	int sockets[2], fd = open_node(O_RDWR), received;
	struct buffer buffer;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sockets));
	ASSERT_EQ(0, allocate(fd, PAGE + window(fd), &buffer));
	ASSERT_EQ(0, munmap(buffer.bytes, buffer.size));
	ASSERT_EQ(DEPTH, submit_many(fd, &buffer, DEPTH, 0));
	ASSERT_EQ(0, send_fd(sockets[0], fd));
	close(fd);
	EXPECT_TRUE(is_shared(self));
	received = receive_fd(sockets[1]);
	ASSERT_LE(0, received);
	EXPECT_LE(DEPTH - 10, cancel_all(received));
	ASSERT_EQ(0, send_fd(sockets[0], received));
	close(received);
	/* And is closed with the socket. */
	close(sockets[0]);
	close(sockets[1]);
	EXPECT_FALSE(is_shared(self));
}

/* --- dup */

TEST_F(sharing, by_dup)
{
	struct rdma_completion completions[4];
	int fd = dup(self->fd), again = fcntl(self->fd, F_DUPFD_CLOEXEC, 100);
	struct buffer another;

	ASSERT_LE(0, fd);
	ASSERT_LE(100, again);
	ASSERT_EQ(2, submit_many(fd, &self->buffer, 2, 0));
	ASSERT_EQ(1, submit_many(again, &self->buffer, 1, 2));
	ASSERT_EQ(0, allocate(again, PAGE, &another));
	/* The flag belongs to the open file, too. */
	ASSERT_EQ(0, fcntl(fd, F_SETFL, O_NONBLOCK));
	EXPECT_EQ(-EAGAIN, collect(self->fd, completions, 1, 1, FOREVER));
	ASSERT_EQ(0, fcntl(self->fd, F_SETFL, 0));
	EXPECT_EQ(0, close(fd));
	ASSERT_EQ(3, collect(again, completions, 3, 4, FOREVER));
	for (int i = 0; i < 3; i++) {
		EXPECT_EQ(i, completions[i].cookie);
	}
	EXPECT_EQ(0, close(again));
	EXPECT_EQ(0, move_once(self->fd, &another));
	EXPECT_EQ(0, release(self->fd, &another));
}

/* --- Mappings keep the context */

/* A context without a descriptor that keeps the engine busy for long. */
static void busy_without_fd(struct __test_metadata *_metadata, struct buffer *buffer)
{
	int fd = open_node(O_RDWR);

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, allocate(fd, 4 * PAGE + window(fd), buffer));
	ASSERT_EQ(DEPTH, submit_many(fd, buffer, DEPTH, 0));
	ASSERT_EQ(0, close(fd));
}

TEST_F(sharing, a_mapping_keeps_the_context)
{
	struct buffer buffer;

	EXPECT_FALSE(is_shared(self));
	busy_without_fd(_metadata, &buffer);
	EXPECT_TRUE(is_shared(self));
	buffer.bytes[0] = 1;
	EXPECT_TRUE(is_shared(self));
	/* A mapping of a part is sufficient. */
	ASSERT_EQ(0, munmap(buffer.bytes, PAGE));
	ASSERT_EQ(0, munmap(buffer.bytes + 2 * PAGE, PAGE));
	EXPECT_TRUE(is_shared(self));
	ASSERT_EQ(0, munmap(buffer.bytes + PAGE, PAGE));
	EXPECT_TRUE(is_shared(self));
	ASSERT_EQ(0, munmap(buffer.bytes + 3 * PAGE, buffer.size - 3 * PAGE));
	EXPECT_FALSE(is_shared(self));
}

TEST_F(sharing, a_childs_mapping_keeps_the_context)
{
	struct buffer buffer;
	pid_t child;

	busy_without_fd(_metadata, &buffer);
	child = fork();
	if (!child)
		for (;;)
			pause();
	ASSERT_EQ(0, munmap(buffer.bytes, buffer.size));
	EXPECT_TRUE(is_shared(self));
	ASSERT_EQ(0, kill(child, SIGKILL));
	EXPECT_EQ(-SIGKILL, status_of(child));
	EXPECT_FALSE(is_shared(self));
}

/* Requests that were submitted before the file was closed are executed in order. */
TEST_F(sharing, requests_go_on_without_a_descriptor)
{
	struct rdma_request requests[] = {
		{ 0 },
		linked((struct rdma_request){ 0 }),
		{ 0 },
	};
	int fd = open_node(O_RDWR);
	bool memory = has_memory(fd);
	uint64_t length = memory ? DEVICE_MEMORY : WINDOW;
	/* A copy by way of the device memory is two transfers. */
	int64_t copy_us = memory ? 2 * transfer_us : transfer_us;
	struct buffer buffer;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, allocate(fd, 4 * (memory ? PAGE : length), &buffer));
	fill(buffer.bytes, length, 1);
	requests[0] = copying(&buffer, length, &buffer, 0, length, 0);
	requests[1] = linked(copying(&buffer, 2 * length, &buffer, length, length, 1));
	requests[2] = copying(&buffer, 3 * length, &buffer, 2 * length, length, 2);
	ASSERT_EQ(3, submit(fd, requests, 3));
	ASSERT_EQ(0, close(fd));
	pause_us(copy_us * 3 / 2);
	EXPECT_EQ(0, memcmp(buffer.bytes, buffer.bytes + length, length));
	EXPECT_EQ(0, differing(buffer.bytes + 3 * length, 0, length));
	pause_us(copy_us * 2);
	EXPECT_EQ(0, memcmp(buffer.bytes, buffer.bytes + 2 * length, length));
	EXPECT_EQ(0, memcmp(buffer.bytes, buffer.bytes + 3 * length, length));
	ASSERT_EQ(0, munmap(buffer.bytes, buffer.size));
}

/* An eventfd, too, is still signalled. */
TEST_F(sharing, the_eventfd_is_told_without_a_descriptor)
{
	int fd = open_node(O_RDWR), count = eventfd(0, EFD_CLOEXEC);
	struct buffer buffer;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, allocate(fd, PAGE + window(fd), &buffer));
	ASSERT_EQ(0, tell(fd, count));
	ASSERT_EQ(5, submit_many(fd, &buffer, 5, 0));
	ASSERT_EQ(0, close(fd));
	pause_us(6 * transfer_us);
	EXPECT_EQ(5, counted(count));
	ASSERT_EQ(0, munmap(buffer.bytes, buffer.size));
	/* Cancelled requests are not signalled. */
	pause_us(transfer_us);
	EXPECT_EQ(0, counted(count));
	close(count);
}

TEST_HARNESS_MAIN
