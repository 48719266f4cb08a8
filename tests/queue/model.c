// SPDX-License-Identifier: GPL-2.0
/*
 * Random operations on several contexts of one device, and a model that must agree with it in everything that is
 * visible: answers, completions, their order and time, counts, and each byte that was moved.
 *
 * Time is virtual, so that the model knows the state of the engine. No operation begins close to the end of a
 * transfer, where their order is not defined. RDMA_SEED= repeats a run.
 */
#include "requests.h"

#include <sys/wait.h>

#ifndef SEED_DEFAULT
#define SEED_DEFAULT ((uint64_t)time(NULL) << 20 | getpid())
#endif

enum {
	CONTEXTS = 4,
	SLOTS = 5,
	PAGES = 4, /* of the largest buffer */
	LONGEST_BATCH = 80,
	COOKIES = 12, /* that are used repeatedly */
	REQUESTS = 1400, /* besides those that fill a queue, 1,000 each time */
	MARGIN_US = 5000,
};

/* A buffer: the driver's, and its expected contents. */
struct memory {
	struct buffer buffer;
	unsigned char *model;
	bool has_handle;
	int requests; /* waiting or running */
	struct memory *next_retired;
};

struct job {
	struct job *next;
	struct rdma_request request;
	struct memory *source, *destination;
	uint64_t bytes;
	int status;
	bool linked, doomed;
	bool called; /* by RDMA_IOC_TRANSFER, not submitted */
	bool over;
	int64_t ended;
};

struct list {
	struct job *first, *last;
	int length;
};

struct context {
	int fd;
	bool nonblocking;
	struct memory *slots[SLOTS];
	struct list waiting, completed;
	int pending;
	bool in_turn;
	int eventfd;
	long told; /* completions that the eventfd signals; those at the same time may count as one */
	struct pending thread;
	struct job *called; /* what the thread waits for */
};

enum step { FIRST, SECOND };

static struct {
	uint64_t random;
	struct context contexts[CONTEXTS];
	/* The engine. */
	struct job *running;
	struct context *served; /* NULL if no thread waits for it */
	enum step step;
	uint64_t piece;
	int64_t until, period; /* in microseconds */
	unsigned char device[DEVICE_MEMORY];
	/* Whose turn is next. */
	struct context *turns[CONTEXTS];
	int turns_length;
	/* The array for SUBMIT: two pages and one that is not accessible. */
	unsigned char *page;
	/* Buffers without references, to be checked. */
	struct memory *retired;
	/* Numbers of operations. */
	long operations, accepted, filling, spared, refused, succeeded, cancelled, calls, full, worst_us;
} m;

/* xorshift64 */
static uint64_t any(uint64_t below)
{
	m.random ^= m.random << 13;
	m.random ^= m.random >> 7;
	m.random ^= m.random << 17;
	return (m.random >> 11) % below;
}

static bool chance(int percent)
{
	return any(100) < percent;
}

/* --- Lists */

static void push(struct list *list, struct job *job)
{
	job->next = NULL;
	*(list->first ? &list->last->next : &list->first) = job;
	list->last = job;
	list->length++;
}

static void push_first(struct list *list, struct job *job)
{
	job->next = list->first;
	list->first = job;
	if (!job->next)
		list->last = job;
	list->length++;
}

static struct job *pop(struct list *list)
{
	struct job *job = list->first;

	if (job) {
		list->first = job->next;
		list->length--;
	}
	return job;
}

/* --- Buffers */

/* It is freed with its handle and its last request; when the driver has done the same, it is checked. */
static void forget_memory(struct memory *memory)
{
	if (memory->has_handle || memory->requests)
		return;
	memory->next_retired = m.retired;
	m.retired = memory;
}

static bool differs(const struct memory *memory)
{
	return memory->buffer.bytes && memcmp(memory->buffer.bytes, memory->model, memory->buffer.size);
}

static void hold(struct job *job, int count)
{
	if (job->source)
		job->source->requests += count;
	if (job->destination && job->destination != job->source)
		job->destination->requests += count;
}

static void look_at_retired(struct __test_metadata *_metadata)
{
	struct memory *memory;

	while ((memory = m.retired)) {
		ASSERT_EQ(0, differs(memory));
		if (memory->buffer.bytes)
			munmap(memory->buffer.bytes, memory->buffer.size);
		m.retired = memory->next_retired;
		free(memory->model);
		free(memory);
	}
}

/* A request has ended: it releases its buffers. */
static void let_go(struct job *job)
{
	struct memory *source = job->source, *destination = job->destination;

	hold(job, -1);
	job->source = job->destination = NULL;
	if (source)
		forget_memory(source);
	if (destination && destination != source)
		forget_memory(destination);
}

/* --- The model of the queue and of the engine */

static void take_turn(struct context *context)
{
	/* The context that is being served has its next turn after this one. */
	if (context->in_turn || m.served == context || !context->waiting.first)
		return;
	context->in_turn = true;
	m.turns[m.turns_length++] = context;
}

static void leave_turns(struct context *context)
{
	int kept = 0;

	for (int i = 0; i < m.turns_length; i++)
		if (m.turns[i] != context)
			m.turns[kept++] = m.turns[i];
	m.turns_length = kept;
	context->in_turn = false;
}

static void complete(struct context *context, struct job *job, int status, int64_t time)
{
	job->status = status;
	job->over = true;
	job->ended = time;
	let_go(job);
	if (job->called)
		return;
	push(&context->completed, job);
	context->told += context->eventfd >= 0;
}

static uint64_t piece_of(const struct job *job)
{
	uint64_t left = job->request.length - job->bytes;

	return left < DEVICE_MEMORY ? left : DEVICE_MEMORY;
}

/* Starts the next transfer, at this time. */
static void start(int64_t time)
{
	struct context *context;

	if (m.running || !m.turns_length)
		return;
	context = m.turns[0];
	leave_turns(context);
	m.running = pop(&context->waiting);
	m.served = context;
	m.step = FIRST;
	m.piece = piece_of(m.running);
	m.until = time + m.period;
}

/* The bytes that one transfer moves. */
static void move_bytes(struct job *job)
{
	const struct rdma_request *request = &job->request;
	bool copies = request->operation == RDMA_OP_COPY;

	if (request->operation == RDMA_OP_TO_DEVICE || (copies && m.step == FIRST))
		memcpy(m.device + (copies ? 0 : request->destination_offset),
		       job->source->model + request->source_offset + job->bytes, m.piece);
	else
		memcpy(job->destination->model + request->destination_offset + job->bytes,
		       m.device + (copies ? 0 : request->source_offset), m.piece);
}

/* The engine's transfer ends. */
static void end_transfer(void)
{
	struct context *context = m.served;
	struct job *job = m.running;
	int64_t time = m.until;

	move_bytes(job);
	if (context && job->request.operation == RDMA_OP_COPY && m.step == FIRST) {
		m.step = SECOND;
		m.until += m.period;
		return;
	}
	m.running = NULL;
	m.served = NULL;
	job->bytes += m.piece;
	if (!context) {
		let_go(job);
		free(job);
	} else if (job->bytes == job->request.length) {
		complete(context, job, 0, time);
	} else {
		push_first(&context->waiting, job);
	}
	if (context)
		take_turn(context);
	start(time);
}

static void run_until(int64_t time)
{
	while (m.running && m.until <= time)
		end_transfer();
}

static void queue_job(struct context *context, struct job *job, int64_t time)
{
	push(&context->waiting, job);
	take_turn(context);
	start(time);
}

static bool is_called(const struct job *job, bool all, uint64_t cookie)
{
	return !job->called && (all || job->request.cookie == cookie);
}

/* The expected answer of CANCEL, and its effect. */
static int model_cancel(struct context *context, bool all, uint64_t cookie, int64_t time)
{
	bool begun = m.served == context && is_called(m.running, all, cookie);
	struct list before = context->waiting;
	struct job *job, *next;
	int count = 0;

	context->waiting = (struct list){ 0 };
	for (job = before.first; job; job = next) {
		bool wanted = is_called(job, all, cookie);

		m.spared += wanted && job->bytes;
		next = job->next;
		begun = begun || (wanted && job->bytes);
		if (!job->doomed && (!wanted || job->bytes)) {
			push(&context->waiting, job);
			continue;
		}
		if (next)
			next->doomed = next->linked;
		complete(context, job, -ECANCELED, time);
		count++;
	}
	if (!context->waiting.first)
		leave_turns(context);
	return count || all ? count : begun ? -EALREADY : -ENOENT;
}

/* --- The operations */

static struct memory *any_memory(struct context *context)
{
	struct memory *memory = context->slots[any(SLOTS)];

	return memory ? memory : context->slots[0];
}

static uint64_t any_cookie(void)
{
	return chance(50) ? any(COOKIES) : (any(1ULL << 32) << 32 | any(1ULL << 32)) | COOKIES;
}

static uint64_t any_length(uint64_t most)
{
	uint64_t length = chance(30) ? DEVICE_MEMORY : 1 + any(most);

	return length > most ? most : length;
}

/* A valid request, and the model's job for it. */
static struct job *any_request(struct context *context)
{
	struct job *job = calloc(1, sizeof(*job));
	struct rdma_request *request = &job->request;
	struct memory *one = any_memory(context), *other = any_memory(context);
	uint64_t size = one->buffer.size;

	request->operation = 1 + any(3);
	request->cookie = any_cookie();
	switch (request->operation) {
	case RDMA_OP_TO_DEVICE:
		job->source = one;
		request->length = any_length(DEVICE_MEMORY);
		request->source_offset = any(size - request->length + 1);
		request->destination_offset = any(DEVICE_MEMORY - request->length + 1);
		break;
	case RDMA_OP_FROM_DEVICE:
		job->destination = one;
		request->length = any_length(DEVICE_MEMORY);
		request->source_offset = any(DEVICE_MEMORY - request->length + 1);
		request->destination_offset = any(size - request->length + 1);
		break;
	default:
		job->source = one;
		job->destination = other;
		size = size < other->buffer.size ? size : other->buffer.size;
		/* Within one buffer, from its first half to its second one. */
		if (one == other) {
			request->length = any_length(size / 2);
			request->source_offset = any(size / 2 - request->length + 1);
			request->destination_offset = size / 2 + any(size / 2 - request->length + 1);
		} else {
			request->length = any_length(size);
			request->source_offset = any(one->buffer.size - request->length + 1);
			request->destination_offset = any(other->buffer.size - request->length + 1);
		}
	}
	request->source = job->source ? job->source->buffer.handle : 0;
	request->destination = job->destination ? job->destination->buffer.handle : 0;
	return job;
}

/* Makes it invalid. */
static void spoil(struct rdma_request *request)
{
	switch (any(8)) {
	case 0:
		request->operation = chance(50) ? 0 : 4 + any(1000);
		break;
	case 1:
		request->flags |= 2U << any(31);
		break;
	case 2:
		*(request->operation == RDMA_OP_FROM_DEVICE ? &request->destination : &request->source) =
			1000 + any(1000000);
		break;
	case 3:
		request->length = chance(50) ? 0 : -1ULL - any(DEVICE_MEMORY);
		break;
	case 4:
		request->source_offset = chance(50) ? -1ULL - any(DEVICE_MEMORY) : PAGES * PAGE;
		break;
	case 5:
		request->destination_offset = chance(50) ? -request->length : PAGES * PAGE;
		break;
	case 6:
		request->reserved[any(2)] = 1ULL << any(64);
		break;
	default:
		/* Unused fields must be 0; a copy must not overlap itself. */
		if (request->operation == RDMA_OP_TO_DEVICE)
			request->destination = 1 + any(3);
		else if (request->operation == RDMA_OP_FROM_DEVICE)
			request->source = 1 + any(3);
		else {
			request->destination = request->source;
			request->destination_offset = request->source_offset;
		}
	}
}

/* SUBMIT of this many, some of them invalid. */
static void do_submit(struct __test_metadata *_metadata, struct context *context, int count)
{
	struct job *jobs[LONGEST_BATCH] = { 0 };
	struct rdma_request *array;
	int room = DEPTH - context->pending, accepted = 0, refused = 0, answer;
	int bad = chance(20) ? any(count) : -1, faulty = bad >= 0 && chance(20);
	int links = chance(40) ? 1 + any(80) : 0;

	/* The first one that cannot be read extends into the inaccessible page. */
	array = (void *)(m.page + 2 * PAGE - (faulty ? bad : count) * sizeof(*array) - (faulty ? 8 * any(8) : 0));
	for (int i = 0; i < count; i++) {
		jobs[i] = any_request(context);
		if (chance(links))
			jobs[i]->request.flags = RDMA_REQUEST_LINK;
		if (i == bad && !faulty)
			spoil(&jobs[i]->request);
		if (!faulty || i < bad)
			memcpy(array + i, &jobs[i]->request, sizeof(*array));
	}
	/* Expected number: up to the first one that is invalid or has no room, and no part of a chain. */
	for (int i = 0; i < count && i < room && !refused; i++) {
		if (i == bad)
			refused = faulty ? -EFAULT : -EINVAL;
		else if (!(jobs[i]->request.flags & RDMA_REQUEST_LINK))
			accepted = i + 1;
	}
	if (!accepted && !refused)
		refused = room < count ? -EAGAIN : -EINVAL;

	answer = submit(context->fd, array, count);
	ASSERT_EQ(accepted ? accepted : refused, answer)
		TH_LOG("of %d, room %d, number %d is bad, links %d%%", count, room, bad, links);
	for (int i = 0; i < count; i++) {
		if (i >= accepted) {
			free(jobs[i]);
			continue;
		}
		jobs[i]->linked = i && jobs[i - 1]->request.flags & RDMA_REQUEST_LINK;
		hold(jobs[i], 1);
		queue_job(context, jobs[i], now());
	}
	context->pending += accepted;
	m.accepted += accepted;
	m.refused += count - accepted;
	m.full += room < count;
}

/* Waits as in the model, and sets the model's clock to the measured time. */
static void in_time(struct __test_metadata *_metadata, int64_t expected)
{
	int64_t late = now() - expected;

	m.worst_us = llabs(late) > m.worst_us ? llabs(late) : m.worst_us;
	ASSERT_LE(-MARGIN_US / 2, late);
	ASSERT_GE(MARGIN_US / 2, late);
	if (m.running)
		m.until += late;
}

/* Compares completions of the driver with those of the model. */
static void compare(struct __test_metadata *_metadata, struct context *context,
		    const struct rdma_completion *completions, int count)
{
	for (int i = 0; i < count; i++) {
		struct job *job = pop(&context->completed);

		ASSERT_NE(NULL, job);
		ASSERT_EQ(job->request.cookie, completions[i].cookie);
		ASSERT_EQ(job->status, completions[i].status);
		ASSERT_EQ(job->bytes, completions[i].bytes);
		ASSERT_EQ(0, completions[i].reserved);
		m.succeeded += !job->status;
		m.cancelled += job->status == -ECANCELED;
		free(job);
	}
	context->pending -= count;
}

static void do_wait(struct __test_metadata *_metadata, struct context *context, int min, int max, int64_t timeout_us)
{
	static struct rdma_completion completions[DEPTH + 1];
	int64_t began = now(), deadline = timeout_us < 0 ? INT64_MAX : began + timeout_us, woken = began;
	bool waits = min && timeout_us && !context->nonblocking;
	int expected, answer;

	while (waits && context->completed.length < min && m.running && m.until <= deadline) {
		woken = m.until;
		end_transfer();
	}
	if (waits && context->completed.length < min)
		woken = deadline;
	expected = context->completed.length < max ? context->completed.length : max;
	if (!expected && context->nonblocking)
		expected = -EAGAIN;

	memset(completions, 0xff, sizeof(completions));
	answer = collect(context->fd, completions, min, max, timeout_us < 0 ? FOREVER : timeout_us * 1000);
	ASSERT_EQ(expected, answer) TH_LOG("min %d, max %d, timeout %lld us", min, max, (long long)timeout_us);
	if (woken == deadline) {
		ASSERT_GE(MARGIN_US / 2, llabs(now() - woken));
	} else if (woken != began) {
		in_time(_metadata, woken);
	}
	if (answer > 0)
		compare(_metadata, context, completions, answer);
	/* Nothing is written behind them. */
	for (int i = answer > 0 ? answer : 0; i <= DEPTH; i++) {
		ASSERT_EQ(-1ULL, completions[i].cookie);
	}
}

static void do_any_wait(struct __test_metadata *_metadata, struct context *context)
{
	int there = context->pending;
	int min = any(1 + (there < 16 ? there : 16)), max = min + any(chance(50) ? 20 : DEPTH);
	int64_t timeout = chance(10) ? 0 : chance(30) ? -1 : any(4000000);

	if (chance(10))
		min++; /* more than will complete */
	max = max < min ? min : max;
	if (min > there && timeout < 0)
		timeout = any(1000000);
	if (timeout > 0 && m.running) {
		/* It ends during a transfer. */
		int64_t phase = (now() + timeout - m.until) % m.period;

		timeout += m.period / 2 - phase;
		timeout = timeout < 2 * MARGIN_US ? timeout + m.period : timeout;
	}
	do_wait(_metadata, context, min, max ? max : 1, timeout);
}

static void do_cancel(struct __test_metadata *_metadata, struct context *context, bool all)
{
	uint64_t cookie = any_cookie();
	int expected;

	/* An existing one in most cases. */
	if (context->waiting.first && context->waiting.first->bytes && chance(80)) {
		cookie = context->waiting.first->request.cookie;
	} else if (chance(40) && context->waiting.first) {
		const struct job *job = context->waiting.first;

		for (int i = chance(50) ? 0 : any(context->waiting.length); i; i--)
			job = job->next;
		cookie = job->request.cookie;
	} else if (chance(30) && m.served == context) {
		cookie = m.running->request.cookie;
	}
	expected = model_cancel(context, all, cookie, now());
	ASSERT_EQ(expected, all ? cancel_all(context->fd) : cancel(context->fd, cookie));
}

/* Creates the model's job of a blocking transfer; when it has ended, the caller frees it. */
static struct job *any_call(struct context *context)
{
	struct job *job = any_request(context);

	job->called = true;
	hold(job, 1);
	m.calls++;
	return job;
}

static void do_transfer(struct __test_metadata *_metadata, struct context *context)
{
	struct job *job = any_call(context);

	if (context->nonblocking) {
		ASSERT_EQ(-EAGAIN, call(context->fd, RDMA_IOC_TRANSFER, &job->request));
		let_go(job);
	} else {
		queue_job(context, job, now());
		while (!job->over)
			end_transfer();
		ASSERT_EQ(0, call(context->fd, RDMA_IOC_TRANSFER, &job->request));
		in_time(_metadata, job->ended);
	}
	free(job);
}

/* The same in a thread, while this one continues. */
static void begin_transfer(struct __test_metadata *_metadata, struct context *context)
{
	if (context->called || context->nonblocking)
		return;
	context->called = any_call(context);
	ASSERT_EQ(0, begin(&context->thread, context->fd, context->called->request));
	queue_job(context, context->called, now());
	pause_us(200);
}

static void end_transfers(struct __test_metadata *_metadata)
{
	for (int i = 0; i < CONTEXTS; i++) {
		struct context *context = &m.contexts[i];

		if (!context->called || !context->called->over)
			continue;
		ASSERT_EQ(0, finish(&context->thread));
		ASSERT_GE(MARGIN_US / 2, llabs(context->thread.ended - context->called->ended))
			TH_LOG("it ended %lld us after the model's", (long long)(context->thread.ended - context->called->ended));
		free(context->called);
		context->called = NULL;
	}
}

static void scribble(struct memory *memory)
{
	for (uint64_t i = 0; i < memory->buffer.size; i++)
		memory->model[i] = memory->buffer.bytes[i] = any(256);
}

static void do_allocate(struct __test_metadata *_metadata, struct context *context)
{
	struct memory **slot = &context->slots[any(SLOTS)], *memory;

	if (*slot)
		return;
	*slot = memory = calloc(1, sizeof(*memory));
	/* Powers of two, which are one piece: a transfer across two pieces is two. */
	ASSERT_EQ(0, allocate(context->fd, (PAGE << any(3)) - any(PAGE), &memory->buffer));
	ASSERT_EQ(0, differing(memory->buffer.bytes, 0, memory->buffer.size));
	memory->model = calloc(1, memory->buffer.size);
	memory->has_handle = true;
	if (chance(80))
		scribble(memory);
}

/* The first one stays, so that there is always one. Requests that use it continue. */
static void do_free(struct __test_metadata *_metadata, struct context *context)
{
	struct memory **slot = &context->slots[1 + any(SLOTS - 1)], *memory = *slot;

	if (!memory)
		return;
	ASSERT_EQ(0, differs(memory));
	if (chance(30)) {
		ASSERT_EQ(0, munmap(memory->buffer.bytes, memory->buffer.size));
		memory->buffer.bytes = NULL;
	}
	ASSERT_EQ(0, free_handle(context->fd, memory->buffer.handle));
	ASSERT_EQ(-EINVAL, free_handle(context->fd, memory->buffer.handle));
	memory->has_handle = false;
	*slot = NULL;
	forget_memory(memory);
}

static void check_buffer(struct __test_metadata *_metadata, struct context *context)
{
	struct memory *memory = any_memory(context);
	struct rdma_buffer_info info = { .handle = memory->buffer.handle };

	ASSERT_EQ(0, differs(memory)) TH_LOG("handle %u", memory->buffer.handle);
	ASSERT_EQ(0, call(context->fd, RDMA_IOC_BUFFER_INFO, &info));
	ASSERT_EQ(memory->buffer.size, info.size);
	ASSERT_EQ(memory->buffer.offset, info.mmap_offset);
	ASSERT_EQ(memory->requests, info.requests);
	ASSERT_EQ(1, info.mappings);
	if (!memory->requests && chance(30))
		scribble(memory);
}

static void check_eventfd(struct __test_metadata *_metadata, struct context *context)
{
	if (context->eventfd >= 0) {
		long count = counted(context->eventfd);

		ASSERT_GE(context->told, count);
		ASSERT_EQ(context->told > 0, count > 0);
	}
	context->told = 0;
	if (chance(70))
		return;
	/* Another one, or none: the old one is not signalled any more. */
	if (context->eventfd >= 0)
		close(context->eventfd);
	context->eventfd = chance(80) ? eventfd(0, EFD_CLOEXEC) : -1;
	ASSERT_EQ(0, tell(context->fd, context->eventfd));
}

static void check_poll(struct __test_metadata *_metadata, struct context *context)
{
	static const short all = POLLIN | POLLRDNORM | POLLOUT | POLLWRNORM | POLLPRI;
	struct pollfd one = { .fd = context->fd, .events = all };

	ASSERT_LE(0, poll(&one, 1, 0));
	ASSERT_EQ((context->completed.first ? POLLIN | POLLRDNORM : 0) |
			  (context->pending < DEPTH ? POLLOUT | POLLWRNORM : 0),
		  one.revents);
}

static void open_context(struct __test_metadata *_metadata, struct context *context)
{
	*context = (struct context){ .fd = open_node(O_RDWR), .eventfd = -1 };
	ASSERT_LE(0, context->fd);
	while (!context->slots[0])
		do_allocate(_metadata, context);
}

static void forget_list(struct list *list)
{
	struct job *job;

	while ((job = pop(list))) {
		if (!job->over)
			let_go(job);
		free(job);
	}
}

/* Waiting requests are cancelled with the last descriptor and the last mapping; the running one ends without a completion. */
static void close_context(struct __test_metadata *_metadata, struct context *context)
{
	leave_turns(context);
	if (m.served == context)
		m.served = NULL;
	forget_list(&context->waiting);
	forget_list(&context->completed);
	for (int i = 0; i < SLOTS; i++) {
		struct memory *memory = context->slots[i];

		if (!memory)
			continue;
		ASSERT_EQ(0, differs(memory));
		munmap(memory->buffer.bytes, memory->buffer.size);
		memory->buffer.bytes = NULL;
		memory->has_handle = false;
		forget_memory(memory);
	}
	/* A buffer without a handle that the engine uses is mapped, and would hold the context. */
	for (int i = 0; m.running && !m.served && i < 2; i++) {
		struct memory *memory = i ? m.running->source : m.running->destination;

		if (memory && memory->buffer.bytes) {
			munmap(memory->buffer.bytes, memory->buffer.size);
			memory->buffer.bytes = NULL;
		}
	}
	look_at_retired(_metadata);
	if (context->eventfd >= 0)
		close(context->eventfd);
	close(context->fd);
}

/* --- The run */

FIXTURE(model)
{
};

FIXTURE_SETUP(model)
{
	const char *seed = getenv("RDMA_SEED");
	struct context *context = &m.contexts[0];
	int64_t began;

	m.random = seed ? strtoull(seed, NULL, 0) : SEED_DEFAULT;
	TH_LOG("RDMA_SEED=%llu", (unsigned long long)m.random);
	m.random = m.random * 2654435761 + 1;
	m.page = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, m.page);
	ASSERT_EQ(0, mprotect(m.page + 2 * PAGE, PAGE, PROT_NONE));
	for (int i = 0; i < CONTEXTS; i++)
		open_context(_metadata, &m.contexts[i]);
	ASSERT_EQ(0, to_device(context->fd, &context->slots[0]->buffer, 0, 0, DEVICE_MEMORY));
	memcpy(m.device, context->slots[0]->model, DEVICE_MEMORY);
	/* The time of a transfer by this clock. */
	began = now();
	ASSERT_EQ(40, submit_many(context->fd, &context->slots[0]->buffer, 40, 0));
	ASSERT_EQ(0, drain(context->fd, 40));
	m.period = (now() - began) / 40;
	m.device[0] = context->slots[0]->model[0];
	ASSERT_LE(TRANSFER_US - 1000, m.period);
	ASSERT_GE(TRANSFER_US + 1000, m.period);
}

FIXTURE_TEARDOWN(model)
{
}

/* Continues until the end of a transfer is not close. */
static void settle(struct __test_metadata *_metadata)
{
	run_until(now());
	if (m.running && m.until - now() < MARGIN_US) {
		pause_us(m.until - now() + MARGIN_US);
		run_until(now());
	}
	end_transfers(_metadata);
	look_at_retired(_metadata);
}

/* Cancels a copy that has started, and waits for its next turn. */
static void cancel_begun(struct __test_metadata *_metadata)
{
	for (int i = 0; i < CONTEXTS; i++) {
		settle(_metadata);
		do_submit(_metadata, &m.contexts[i], 4);
	}
	for (int transfers = 0; transfers < 40; transfers++) {
		settle(_metadata);
		for (int i = 0; i < CONTEXTS; i++)
			if (m.contexts[i].waiting.first && m.contexts[i].waiting.first->bytes)
				return do_cancel(_metadata, &m.contexts[i], chance(30));
		pause_us(TRANSFER_US);
	}
}

static void any_operation(struct __test_metadata *_metadata)
{
	struct context *context = &m.contexts[any(CONTEXTS)];
	int which = any(100);

	if (which < 25) {
		do_submit(_metadata, context, 1 + any(chance(15) ? LONGEST_BATCH : 6));
	} else if (which < 50) {
		do_any_wait(_metadata, context);
	} else if (which < 55) {
		do_wait(_metadata, context, 0, 1 + any(DEPTH), any(1000));
	} else if (which < 65) {
		do_cancel(_metadata, context, chance(context->pending > 100 ? 40 : 5));
	} else if (which < 69) {
		do_transfer(_metadata, context);
	} else if (which < 74) {
		begin_transfer(_metadata, context);
	} else if (which < 80) {
		do_allocate(_metadata, context);
	} else if (which < 84) {
		do_free(_metadata, context);
	} else if (which < 90) {
		check_buffer(_metadata, context);
	} else if (which < 94) {
		check_eventfd(_metadata, context);
	} else if (which < 95) {
		context->nonblocking = !context->nonblocking;
		ASSERT_EQ(0, fcntl(context->fd, F_SETFL, context->nonblocking ? O_NONBLOCK : 0));
	} else if (which < 97) {
		cancel_begun(_metadata);
	} else if (which < 98 && !context->called) {
		close_context(_metadata, context);
		open_context(_metadata, context);
	} else {
		pause_us(any(500000));
	}
}

/* Fills the queue in small batches. */
static void fill_up(struct __test_metadata *_metadata, struct context *context)
{
	long before = m.accepted;

	while (context->pending < DEPTH) {
		settle(_metadata);
		do_submit(_metadata, context, 1 + any(LONGEST_BATCH));
	}
	settle(_metadata);
	do_submit(_metadata, context, 1);
	check_poll(_metadata, context);
	m.filling += m.accepted - before;
}

TEST_F(model, and_driver_agree)
{
	struct context *full = NULL;
	int fills = 0, left = 0;

	while (m.accepted - m.filling < REQUESTS || m.cancelled <= REQUESTS / 20) {
		settle(_metadata);
		any_operation(_metadata);
		settle(_metadata);
		check_poll(_metadata, &m.contexts[any(CONTEXTS)]);
		m.operations++;
		if (m.accepted - m.filling > (2 * fills + 1) * REQUESTS / 4 && fills < 2) {
			full = &m.contexts[fills++];
			fill_up(_metadata, full);
			left = 10;
		} else if (full && !left--) {
			do_cancel(_metadata, full, true);
			full = NULL;
		}
	}
	for (int i = 0; i < CONTEXTS; i++) {
		struct context *context = &m.contexts[i];

		ASSERT_EQ(0, fcntl(context->fd, F_SETFL, 0));
		context->nonblocking = false;
		settle(_metadata);
		if (context->waiting.length > 50)
			do_cancel(_metadata, context, true);
		while (context->pending) {
			settle(_metadata);
			do_wait(_metadata, context, context->pending, context->pending, -1);
		}
	}
	settle(_metadata);
	while (m.running) {
		pause_us(m.until - now() + MARGIN_US);
		settle(_metadata);
	}
	for (int i = 0; i < CONTEXTS; i++) {
		struct context *context = &m.contexts[i];
		unsigned char device[DEVICE_MEMORY];

		ASSERT_EQ(NULL, context->called);
		ASSERT_EQ(NULL, context->waiting.first);
		check_eventfd(_metadata, context);
		EXPECT_EQ(DEVICE_MEMORY, pread(context->fd, device, DEVICE_MEMORY, 0));
		EXPECT_EQ(0, memcmp(device, m.device, DEVICE_MEMORY));
		close_context(_metadata, context);
	}
	look_at_retired(_metadata);
	TH_LOG("%ld operations; %ld requests accepted and %ld refused, %ld calls; %ld times full", m.operations,
	       m.accepted, m.refused, m.calls, m.full);
	TH_LOG("%ld done and %ld cancelled", m.succeeded, m.cancelled);
	TH_LOG("a transfer is %lld us; the model was wrong by %ld us at most", (long long)m.period, m.worst_us);
	TH_LOG("%ld times a copy that was to be cancelled had begun, and went on", m.spared);
	EXPECT_LT(0, m.spared);
	EXPECT_LT(REQUESTS / 8, m.succeeded);
	EXPECT_LT(REQUESTS / 20, m.cancelled);
}

TEST_HARNESS_MAIN
