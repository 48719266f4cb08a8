/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Operations on the driver, each a function that does it once, also on contexts that other threads use: for the tests that do
 * everything at the same time. Each answer is checked: the documented errors are in the table at the end.
 */
#ifndef OPERATIONS_H
#define OPERATIONS_H

#include "requests.h"

#include <sys/epoll.h>
#include <sys/syscall.h>

enum { SLOTS = 6, MOST_PAGES = 8 };

/* A context and its buffers by handle. When its device is removed, another context replaces it behind the same descriptor. */
struct place {
	int fd;
	int eventfd;
	volatile uint32_t handles[SLOTS];
	volatile uint64_t cookie;
};

struct worker;

struct operation {
	const char *name;
	void (*deed)(struct worker *worker);
	int errors[8]; /* that are allowed at any time */
	int without_device[4]; /* those while a device is removed and added, in addition to ENODEV */
};

/* Whether the device has memory. Set before there are threads. */
static bool with_memory = true;

/* A thread that executes operations. */
struct worker {
	const struct operation *operation;
	struct place *shared, own, *place;
	const char *address; /* PCI address of the device */
	bool device_goes; /* the device is removed by another process */
	bool gone; /* and this has been observed */
	unsigned int seed;
	timer_t alarm;
	long answers, refusals;
	const char *call; /* operations with a wrong answer */
	int unexpected;
};

static inline unsigned int any(struct worker *worker, unsigned int below)
{
	return rand_r(&worker->seed) % below;
}

static inline bool listed(const int *errors, size_t count, int error)
{
	for (size_t i = 0; i < count; i++)
		if (errors[i] == error)
			return true;
	return false;
}

/* Records an answer, and returns it. */
static inline long judge(struct worker *worker, const char *call, long answer)
{
	const struct operation *operation = worker->operation;
	int error = answer < 0 ? -answer : 0;

	worker->gone |= error == ENODEV;
	if (!error)
		worker->answers++;
	else if (listed(operation->errors, ARRAY_SIZE(operation->errors), error) ||
		 (worker->device_goes &&
		  (error == ENODEV || listed(operation->without_device, ARRAY_SIZE(operation->without_device), error))))
		worker->refusals++;
	else if (!worker->unexpected) {
		worker->call = call;
		worker->unexpected = answer;
	}
	return answer;
}

/* A new context in the same place; the old one stays as long as a call uses it. */
static inline void renew(struct place *place)
{
	int fd = open_node(O_RDWR);

	if (fd < 0)
		return;
	dup2(fd, place->fd);
	close(fd);
	for (int i = 0; i < SLOTS; i++) {
		struct rdma_alloc alloc = { .size = (1 + i) * PAGE };

		place->handles[i] = call(place->fd, RDMA_IOC_ALLOC, &alloc) ? 0 : alloc.handle;
	}
}

static inline int arrive(struct place *place)
{
	*place = (struct place){ .fd = open_node(O_RDWR), .eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) };
	if (place->fd < 0)
		return place->fd;
	renew(place);
	return place->eventfd < 0 ? -errno : 0;
}

static inline uint32_t some_handle(struct worker *worker)
{
	return worker->place->handles[any(worker, SLOTS)];
}

/* --- Memory that may be revoked */

static __thread sigjmp_buf escape;
static __thread volatile bool may_escape;

static inline void escape_handler(int signal)
{
	(void)signal;
	if (!may_escape)
		_exit(98);
	siglongjmp(escape, 1);
}

/* Adds 1 to a byte of each page; ENODEV if they are revoked. */
static inline int touch(unsigned char *bytes, size_t size)
{
	if (sigsetjmp(escape, 1)) {
		may_escape = false;
		return -ENODEV;
	}
	may_escape = true;
	for (size_t i = 0; i < size; i += DEVICE_MEMORY)
		((volatile unsigned char *)bytes)[i]++;
	may_escape = false;
	return 0;
}

/* Copies from or to memory that may be revoked; ENODEV if it is. */
static inline int move_bytes(void *to, const void *from, size_t length)
{
	if (sigsetjmp(escape, 1)) {
		may_escape = false;
		return -ENODEV;
	}
	may_escape = true;
	memcpy(to, from, length);
	may_escape = false;
	return 0;
}

/* A mapping of one of the buffers as a whole; NULL if there is none. */
static inline unsigned char *map_some(struct worker *worker, size_t *size)
{
	struct rdma_buffer_info info = { .handle = some_handle(worker) };
	unsigned char *bytes;

	if (judge(worker, "BUFFER", call(worker->place->fd, RDMA_IOC_BUFFER_INFO, &info)))
		return NULL;
	*size = info.size;
	bytes = map(worker->place->fd, info.mmap_offset, info.size, PROT_READ | PROT_WRITE);
	judge(worker, "mmap", bytes ? 0 : -errno);
	return bytes;
}

/* --- The operations */

static inline void opens(struct worker *worker)
{
	int fd = judge(worker, "open", open_node(O_RDWR | (any(worker, 2) ? O_NONBLOCK : 0)));
	struct rdma_device_info info;
	unsigned char *bytes;

	if (fd < 0)
		return;
	judge(worker, "INFO", call(fd, RDMA_IOC_DEVICE_INFO, &info));
	bytes = map(fd, 0, 2 * PAGE, PROT_READ | PROT_WRITE);
	judge(worker, "mmap at 0", bytes ? 0 : -errno);
	close(fd);
	if (bytes) {
		judge(worker, "touch", touch(bytes, 2 * DEVICE_MEMORY));
		munmap(bytes, 2 * PAGE);
	}
}

static inline void allocates(struct worker *worker)
{
	struct rdma_alloc alloc = { .size = (1 + any(worker, MOST_PAGES)) * PAGE };
	volatile uint32_t *slot = &worker->place->handles[any(worker, SLOTS)];
	uint32_t old;

	if (judge(worker, "ALLOC", call(worker->place->fd, RDMA_IOC_ALLOC, &alloc)))
		return;
	old = __atomic_exchange_n(slot, alloc.handle, __ATOMIC_RELAXED);
	judge(worker, "FREE", free_handle(worker->place->fd, old));
}

static inline void maps(struct worker *worker)
{
	size_t size;
	unsigned char *bytes = map_some(worker, &size);

	if (!bytes)
		return;
	judge(worker, "touch", touch(bytes, size));
	judge(worker, "munmap", result(munmap(bytes, size)));
}

static inline void forks(struct worker *worker)
{
	size_t size;
	unsigned char *bytes = map_some(worker, &size);
	int status, error;
	pid_t child;

	if (!bytes)
		return;
	judge(worker, "touch", touch(bytes, size));
	child = judge(worker, "fork", result(fork()));
	if (!child) {
		error = touch(bytes, size);
		munmap(bytes, size / 2);
		_exit(-error);
	}
	if (child > 0 && waitpid(child, &status, 0) == child)
		judge(worker, "a child's touch", WIFEXITED(status) ? -WEXITSTATUS(status) : -EFAULT);
	munmap(bytes, size);
}

/* A page of a mapping is unmapped, where no other thread's mapping can be created. */
static inline void cut_out(unsigned char *page)
{
	mmap(page, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
}

/* Moved, protected, split. */
static inline void remaps(struct worker *worker)
{
	unsigned char *moved = mmap(NULL, MOST_PAGES * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	size_t size;
	unsigned char *bytes = map_some(worker, &size);

	if (bytes) {
		if (any(worker, 2))
			judge(worker, "touch", touch(bytes, size));
		judge(worker, "mremap",
		      mremap(bytes, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, moved) == moved ? 0 : -errno);
		judge(worker, "touch when moved", touch(moved, size));
		judge(worker, "mprotect", result(mprotect(moved, PAGE, PROT_READ)));
		judge(worker, "madvise", result(madvise(moved, size, MADV_DONTFORK)));
		cut_out(moved);
		if (size > 2 * DEVICE_MEMORY) {
			cut_out(moved + size / 2 / DEVICE_MEMORY * DEVICE_MEMORY);
			judge(worker, "touch the rest", touch(moved + size - DEVICE_MEMORY, DEVICE_MEMORY));
		}
	}
	munmap(moved, MOST_PAGES * PAGE);
}

static inline struct rdma_request some_request(struct worker *worker)
{
	struct buffer one = { .handle = some_handle(worker) }, other = { .handle = some_handle(worker) };
	uint64_t cookie = worker->place->cookie++, length = 1 + any(worker, DEVICE_MEMORY);

	switch (with_memory ? any(worker, 4) : 0) {
	case 0:
		return copying(&one, any(worker, DEVICE_MEMORY), &other, any(worker, DEVICE_MEMORY), length, cookie);
	case 1:
		return linked(writing(&one, 0, 0, length, cookie));
	case 2:
		return reading(&one, any(worker, DEVICE_MEMORY), 0, length, cookie);
	default:
		return writing(&one, any(worker, DEVICE_MEMORY), 0, length, cookie);
	}
}

static inline void submits(struct worker *worker)
{
	struct rdma_request requests[8];
	unsigned int count = 1 + any(worker, ARRAY_SIZE(requests));

	for (unsigned int i = 0; i < count; i++)
		requests[i] = some_request(worker);
	requests[count - 1].flags = 0;
	/* Makes room: the engine is slow. */
	if (judge(worker, "SUBMIT", submit(worker->place->fd, requests, count)) == -EAGAIN && !any(worker, 16))
		cancel_all(worker->place->fd);
}

/* Of a byte. */
static inline struct rdma_request small_request(struct worker *worker)
{
	struct buffer one = { .handle = some_handle(worker) }, other = { .handle = some_handle(worker) };

	return with_memory ? writing(&one, 0, 0, 1, 0) : copying(&one, 0, &other, 1, 1, 0);
}

static inline void waits(struct worker *worker)
{
	struct rdma_completion completions[16];
	uint32_t min = any(worker, 3);
	int got = judge(worker, "WAIT", collect(worker->place->fd, completions, min, 16, any(worker, 3) * MS));

	for (int i = 0; i < got; i++)
		if (completions[i].status != -ENODEV || !worker->device_goes)
			judge(worker, "a completion's status",
			      completions[i].status == -ECANCELED ? 0 : completions[i].status);
	/* Submits something to wait for. */
	if (!got)
		judge(worker, "SUBMIT", submit_one(worker->place->fd, small_request(worker)));
}

static inline void cancels(struct worker *worker)
{
	struct rdma_request requests[3] = { some_request(worker), some_request(worker), some_request(worker) };

	requests[2].flags = 0;
	judge(worker, "SUBMIT", submit(worker->place->fd, requests, 3));
	if (any(worker, 2))
		judge(worker, "CANCEL", cancel(worker->place->fd, requests[any(worker, 3)].cookie));
	else
		judge(worker, "CANCEL of all", cancel_all(worker->place->fd));
}

static inline void sets_eventfds(struct worker *worker)
{
	int other = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	judge(worker, "EVENTFD", tell(worker->place->fd, other));
	close(other);
	judge(worker, "EVENTFD", tell(worker->place->fd, any(worker, 2) ? worker->place->eventfd : -1));
}

/*
 * A signal, at once or so late that a transfer can end before. It must arrive, because others may have queued many requests; and it is repeated,
 * because on a busy machine the first one may arrive before the call.
 */
static inline void alarm_soon(struct worker *worker)
{
	struct itimerspec when = {
		.it_value.tv_nsec = 1 + any(worker, any(worker, 2) ? 30 * MS : 500 * MS),
		.it_interval.tv_nsec = 500 * MS,
	};

	timer_settime(worker->alarm, 0, &when, NULL);
}

static inline void no_alarm(struct worker *worker)
{
	timer_settime(worker->alarm, 0, &(struct itimerspec){ 0 }, NULL);
}

static inline void transfers(struct worker *worker)
{
	struct rdma_request request = some_request(worker);

	request.flags = 0;
	alarm_soon(worker);
	judge(worker, "TRANSFER", call(worker->place->fd, RDMA_IOC_TRANSFER, &request));
	no_alarm(worker);
}

static inline void reads(struct worker *worker)
{
	unsigned char bytes[64] = { 0 };

	alarm_soon(worker);
	if (any(worker, 2))
		judge(worker, "pread", result(pread(worker->place->fd, bytes, sizeof(bytes), any(worker, 4000))));
	else if (with_memory)
		judge(worker, "pwrite", result(pwrite(worker->place->fd, bytes, sizeof(bytes), any(worker, 4000))));
	no_alarm(worker);
}

static inline void polls(struct worker *worker)
{
	struct pollfd one = { .fd = worker->place->fd, .events = POLLIN | (any(worker, 2) ? POLLOUT : 0) };
	struct epoll_event event = { .events = EPOLLIN | EPOLLOUT | EPOLLET };
	int set = epoll_create1(EPOLL_CLOEXEC);

	judge(worker, "poll", result(poll(&one, 1, any(worker, 3))));
	worker->gone |= (one.revents & POLLHUP) != 0;
	judge(worker, "epoll_ctl", result(epoll_ctl(set, EPOLL_CTL_ADD, worker->place->fd, &event)));
	judge(worker, "epoll_wait", result(epoll_wait(set, &event, 1, any(worker, 2))));
	close(set);
}

static inline void looks_at_fdinfo(struct worker *worker)
{
	struct rdma_device_info info;
	char path[64], text[4096];

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", worker->place->fd);
	judge(worker, "fdinfo", read_text(path, text, sizeof(text)));
	judge(worker, "INFO", call(worker->place->fd, RDMA_IOC_DEVICE_INFO, &info));
}

/* What root can read: debugfs, and the tracepoints while they are enabled and disabled. */
static inline void looks_as_root(struct worker *worker)
{
	static const char *const files[] = { "state", "counters", "latency" };
	char path[128], text[8192];

	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		snprintf(path, sizeof(path), "/sys/kernel/debug/rust_dma/rdma0/%s", files[i]);
		judge(worker, files[i], read_text(path, text, sizeof(text)));
	}
	if (any(worker, 8))
		return;
	judge(worker, "tracepoints", write_text("/sys/kernel/tracing/events/rust_dma/enable", any(worker, 2) ? "1" : "0"));
	judge(worker, "trace", read_text("/sys/kernel/tracing/trace", text, sizeof(text)));
}

/* Requests of SUBMIT, and those of TRANSFER without end. */
static inline void __attribute__((noreturn)) be_busy(int fd, const struct buffer *buffer)
{
	if (with_memory)
		submit_many(fd, buffer, 20, 0);
	for (int i = 0; i < 20 && !with_memory; i++)
		submit_one(fd, copying(buffer, PAGE, buffer, 0, PAGE, i));
	for (;;) {
		if (with_memory)
			from_device(fd, buffer, 0, 0, DEVICE_MEMORY);
		else
			copy(fd, buffer, PAGE, buffer, 0, PAGE);
	}
}

/* A process with all kinds of calls is killed. */
static inline void kills(struct worker *worker)
{
	pid_t child = judge(worker, "fork", result(fork()));
	int status;

	if (!child) {
		struct buffer buffer;
		int fd = open_node(O_RDWR);

		if (fd >= 0 && !allocate(fd, 2 * PAGE, &buffer)) {
			touch(buffer.bytes, buffer.size);
			be_busy(fd, &buffer);
		}
		for (;;)
			pause();
	}
	if (child < 0)
		return;
	pause_us(any(worker, 30000));
	kill(child, SIGKILL);
	judge(worker, "waitpid", waitpid(child, &status, 0) == child ? 0 : -errno);
}

static inline void rebinds(struct worker *worker)
{
	judge(worker, "unbind", write_text("/sys/bus/pci/drivers/rdma/unbind", worker->address));
	pause_us(any(worker, 2000));
	judge(worker, "bind", write_text("/sys/bus/pci/drivers/rdma/bind", worker->address));
	pause_us(any(worker, 50000));
	worker->gone = true;
}

/*
 * FREE and BUFFER of a handle that another thread has freed, and requests on its buffer, fail with EINVAL. The kernel itself
 * answers calls on a node that does not exist, and binding a device that another process has just bound.
 */
static const struct operation operations[] = {
	{ "open, close", opens, { ENOMEM, EDQUOT }, { ENOENT, ENXIO } },
	{ "ALLOC, FREE", allocates, { EINVAL, ENOMEM, EDQUOT } },
	{ "mmap, touch, munmap", maps, { EINVAL } },
	{ "fork", forks, { EINVAL } },
	{ "mremap, mprotect", remaps, { EINVAL } },
	{ "SUBMIT", submits, { EINVAL, EAGAIN } },
	{ "WAIT", waits, { EINVAL, EAGAIN, EINTR } },
	{ "CANCEL", cancels, { EINVAL, EAGAIN, EALREADY, ENOENT } },
	{ "EVENTFD", sets_eventfds },
	{ "TRANSFER", transfers, { EINVAL, EINTR } },
	{ "read, write", reads, { EINTR, ENOMEM, EDQUOT } },
	{ "poll, epoll", polls, { EINTR } },
	{ "fdinfo, INFO", looks_at_fdinfo },
	{ "debugfs, tracepoints", looks_as_root, { 0 }, { ENOENT, EIO } },
	{ "SIGKILL", kills },
	{ "unbind, bind", rebinds, { 0 }, { EBUSY } },
};

#define OPERATIONS ARRAY_SIZE(operations)

static inline bool takes_device_away(const struct operation *operation)
{
	return operation->deed == rebinds;
}

/* --- The threads */

static inline void wake_handler(int signal)
{
	(void)signal;
}

/* Once in each process. */
static inline void prepare_for_operations(void)
{
	struct sigaction bus = { .sa_handler = escape_handler, .sa_flags = SA_NODEFER };
	struct sigaction alarm = { .sa_handler = wake_handler };

	int fd = open_node(O_RDWR);

	sigaction(SIGBUS, &bus, NULL);
	sigaction(SIGUSR1, &alarm, NULL);
	with_memory = fd < 0 || has_memory(fd);
	close(fd);
}

/* Called by the thread itself; `own` exists. */
static inline int begin_work(struct worker *worker)
{
	struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR1 };

	event._sigev_un._tid = syscall(SYS_gettid);
	return result(timer_create(CLOCK_MONOTONIC, &event, &worker->alarm));
}

/* An operation, on the shared context or on the thread's own. */
static inline void work(struct worker *worker, const struct operation *operation)
{
	worker->operation = operation;
	worker->place = any(worker, 4) ? worker->shared : &worker->own;
	operation->deed(worker);
	if (worker->gone) {
		worker->gone = false;
		renew(worker->place);
	}
}

static inline void end_work(struct worker *worker)
{
	timer_delete(worker->alarm);
	close(worker->own.fd);
	close(worker->own.eventfd);
}

/* Logs the stacks of the tasks of a process, to find out why they do not end. */
static inline void tell_stacks(pid_t process)
{
	char command[256];

	snprintf(command, sizeof(command), "for t in /proc/%d/task/*; do echo $t; cat $t/wchan $t/stack; done >&2", process);
	if (system(command))
		fprintf(stderr, "no stacks\n");
}

#endif
