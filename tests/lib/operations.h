/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Operations on the driver, each a function that does it once, also on contexts that other threads use: for the tests that do
 * everything at the same time. Each answer is checked: the documented errors are in the table at the end.
 */
#ifndef OPERATIONS_H
#define OPERATIONS_H

#include "completion_ring.h"
#include "dma_buf.h"
#include "registered.h"
#include "uring.h"

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

/* Whether the device has memory, reaches that of programs, and can import that of udmabuf. Set before there are threads. */
static bool with_memory = true, with_reach, with_udmabuf;

/* A thread that executes operations. */
struct worker {
	const struct operation *operation;
	struct place *shared, own, *place;
	const char *address; /* PCI address of the device */
	bool device_goes; /* the device is removed by another process */
	bool gone; /* and this has been observed */
	unsigned int seed;
	unsigned char *memory; /* MOST_PAGES, parts of which are registered */
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

/* A new buffer in place of another one. */
static inline void replace(struct worker *worker, uint32_t handle)
{
	volatile uint32_t *slot = &worker->place->handles[any(worker, SLOTS)];

	judge(worker, "FREE", free_handle(worker->place->fd, __atomic_exchange_n(slot, handle, __ATOMIC_RELAXED)));
}

static inline void allocates(struct worker *worker)
{
	struct rdma_alloc alloc = { .size = (1 + any(worker, MOST_PAGES)) * PAGE };

	if (!judge(worker, "ALLOC", call(worker->place->fd, RDMA_IOC_ALLOC, &alloc)))
		replace(worker, alloc.handle);
}

/* Parts that overlap, of pages that are there or not. Without the program, a buffer keeps its pages. */
static inline void registers(struct worker *worker)
{
	size_t size = MOST_PAGES * PAGE, from = any(worker, size);
	struct buffer buffer;
	int error = register_memory(worker->place->fd, worker->memory + from, 1 + any(worker, size - from), 0, &buffer);

	/* The program does not choose the pages. */
	if (error != -EOPNOTSUPP || with_reach)
		judge(worker, "REGISTER", error);
	if (!error)
		replace(worker, buffer.handle);
	if (any(worker, 2))
		judge(worker, "madvise", result(madvise(worker->memory, size, MADV_DONTNEED)));
}

static inline void import(struct worker *worker, int dma_buf)
{
	struct buffer buffer;

	if (!judge(worker, "IMPORT", import_buffer(worker->place->fd, dma_buf, 0, &buffer)))
		replace(worker, buffer.handle);
}

static inline void takes_memory(struct worker *worker)
{
	int dma_buf;

	if (!with_udmabuf || any(worker, 2)) {
		registers(worker);
		return;
	}
	dma_buf = judge(worker, "udmabuf", memory_file_buffer((1 + any(worker, MOST_PAGES)) * PAGE));
	if (dma_buf < 0)
		return;
	import(worker, dma_buf);
	close(dma_buf);
}

/* A device can import its own buffers, with any DMA mask. */
static inline void exports(struct worker *worker)
{
	int dma_buf = judge(worker, "EXPORT", export_buffer(worker->place->fd, some_handle(worker)));
	unsigned char *bytes;

	if (dma_buf < 0)
		return;
	bytes = map(dma_buf, 0, PAGE, PROT_READ | PROT_WRITE);
	judge(worker, "mmap of a dma-buf", bytes ? 0 : -errno);
	if (any(worker, 2))
		import(worker, dma_buf);
	judge(worker, "DMA_BUF_SYNC_START", sync_buffer(dma_buf, DMA_BUF_SYNC_RW | DMA_BUF_SYNC_START));
	close(dma_buf);
	if (bytes) {
		judge(worker, "touch of a dma-buf", touch(bytes, PAGE));
		munmap(bytes, PAGE);
	}
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

static inline void judge_completions(struct worker *worker, const struct rdma_completion *completions, int count)
{
	for (int i = 0; i < count; i++)
		if (completions[i].status != -ENODEV || !worker->device_goes)
			judge(worker, "a completion's status", completions[i].status == -ECANCELED ? 0 : completions[i].status);
}

static inline void waits(struct worker *worker)
{
	struct rdma_completion completions[16];
	uint32_t min = any(worker, 3);
	int got = judge(worker, "WAIT", collect(worker->place->fd, completions, min, 16, any(worker, 3) * MS));

	judge_completions(worker, completions, got);
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

/* Of a ring of its own, which is removed before most of them have ended. The ring has copies of what threads of the kernel read later. */
static inline void commands(struct worker *worker)
{
	unsigned int flags = any(worker, 2) ? IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN : 0;
	unsigned int count = 1 + any(worker, 4);
	struct rdma_request request, last = small_request(worker);
	struct rdma_submit batch = { .requests = (uintptr_t)&last, .count = 1, .request_size = sizeof(last) };
	struct io_uring_cqe completion;
	struct uring ring;

	if (judge(worker, "io_uring_setup", uring_open(&ring, 8, flags | IORING_SETUP_SQE128)))
		return;
	for (unsigned int i = 0; i < count; i++) {
		request = some_request(worker);
		request.flags = 0;
		uring_inline(&ring, worker->place->fd, RDMA_IOC_TRANSFER, &request, i)->flags = any(worker, 4) ? 0 : IOSQE_ASYNC;
	}
	uring_command(&ring, worker->place->fd, RDMA_IOC_SUBMIT, &batch, count);
	judge(worker, "io_uring_enter", uring_submit(&ring, 0));
	if (any(worker, 2))
		judge(worker, "CANCEL of a command", cancel(worker->place->fd, request.cookie));
	pause_us(any(worker, 500));
	uring_turn(&ring);
	while (uring_take(&ring, &completion))
		judge(worker, "a command", completion.res);
	uring_close(&ring);
}

/*
 * A context in whose place there is another one before and after this: it must have no requests when it gets its ring, and the other operations do
 * not collect from a ring. For the most part not the shared one, whose requests are lost with it.
 */
static inline void makes_rings(struct worker *worker)
{
	struct place *place = any(worker, 4) ? &worker->own : worker->place;
	struct rdma_completion completions[16];
	struct ring ring;

	worker->place = place;
	renew(place);
	if (judge(worker, "COMPLETION_RING", create_ring(place->fd, &ring.properties)))
		return;
	if (!judge(worker, "mmap of a ring", map_ring(place->fd, &ring))) {
		judge(worker, "SUBMIT", submit_one(place->fd, small_request(worker)));
		judge(worker, "WAIT with a ring", await_ring(place->fd, 1, any(worker, 3) * MS));
		judge_completions(worker, completions, gather(&ring, completions, ARRAY_SIZE(completions)));
		munmap(ring.bytes, ring.properties.size);
	}
	renew(place);
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
 * FREE and BUFFER of a handle that another thread has freed, and requests on its buffer, fail with EINVAL; so does what is done with a context
 * in whose place there is another one. Registered and imported memory cannot be exported. The kernel itself answers calls on a node that does not
 * exist, and binding a device that another process has just bound.
 */
static const struct operation operations[] = {
	{ "open, close", opens, { ENOMEM, EDQUOT }, { ENOENT, ENXIO } },
	{ "ALLOC, FREE", allocates, { EINVAL, ENOMEM, EDQUOT } },
	{ "REGISTER, IMPORT", takes_memory, { EINVAL, ENOMEM, EDQUOT } },
	{ "EXPORT", exports, { EINVAL, ENOMEM, EDQUOT, EOPNOTSUPP } },
	{ "mmap, touch, munmap", maps, { EINVAL } },
	{ "fork", forks, { EINVAL } },
	{ "mremap, mprotect", remaps, { EINVAL } },
	{ "SUBMIT", submits, { EINVAL, EAGAIN } },
	{ "WAIT", waits, { EINVAL, EAGAIN, EINTR } },
	{ "CANCEL", cancels, { EINVAL, EAGAIN, EALREADY, ENOENT } },
	{ "io_uring", commands, { EINVAL, EAGAIN, ECANCELED, EALREADY, ENOENT } },
	{ "COMPLETION_RING", makes_rings, { EINVAL, EAGAIN, EBUSY, EEXIST } },
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

/* The guests of these tests have less than 4 GiB of memory, and no IOMMU. */
static inline void look_at_device(void)
{
	struct rdma_device_info info = { 0 };
	int fd = open_node(O_RDWR);

	with_memory = fd < 0 || has_memory(fd);
	with_reach = !call(fd, RDMA_IOC_DEVICE_INFO, &info) && info.dma_bits >= 32;
	with_udmabuf = with_reach && !access(UDMABUF, F_OK);
	close(fd);
}

/* For the log of a test: what is not done in this guest. */
static inline const char *left_out(void)
{
	look_at_device();
	if (with_udmabuf)
		return "nothing";
	return with_reach ? "IMPORT from udmabuf" : "IMPORT from udmabuf, and REGISTER of what the device does not reach";
}

/* Once in each process. */
static inline void prepare_for_operations(void)
{
	struct sigaction bus = { .sa_handler = escape_handler, .sa_flags = SA_NODEFER };
	struct sigaction alarm = { .sa_handler = wake_handler };

	sigaction(SIGBUS, &bus, NULL);
	sigaction(SIGUSR1, &alarm, NULL);
	look_at_device();
}

/* Called by the thread itself; `own` exists. */
static inline int begin_work(struct worker *worker)
{
	struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR1 };

	worker->memory = memory_at(NULL, MOST_PAGES * PAGE, PROT_READ | PROT_WRITE, ANYWHERE);
	if (!worker->memory)
		return -errno;
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
	munmap(worker->memory, MOST_PAGES * PAGE);
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
