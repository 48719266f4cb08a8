// SPDX-License-Identifier: GPL-2.0
/*
 * The driver's answers contain nothing but their documented contents: no other data in padding and reserved fields (promise 5), no
 * bytes written next to an answer, and no address of the kernel or the device, even for root, in all of the driver's output (promise 14).
 */
#include "registers.h"
#include "requests.h"

#include <ctype.h>

enum { BESIDE = 64, JUNK = 0xff, ROOM = 128, TELLTALE = 0x128, BUFFERS = 8, SECRETS = 64 };

/* A structure, surrounded by memory that no answer may change. */
struct framed {
	unsigned char before[BESIDE], bytes[ROOM], after[BESIDE];
};

FIXTURE(answers)
{
	int fd;
	struct buffer buffers[BUFFERS];
	struct framed framed;
	/* What must not be revealed: addresses of pages. */
	uint64_t secrets[SECRETS];
	int secret_count;
};

FIXTURE_SETUP(answers)
{
	self->fd = open_node(O_RDWR);
	ASSERT_LE(0, self->fd);
	for (int i = 0; i < BUFFERS; i++) {
		ASSERT_EQ(0, allocate(self->fd, (1 + i % 3) * PAGE, &self->buffers[i]));
		memset(self->buffers[i].bytes, JUNK, self->buffers[i].size);
	}
}

FIXTURE_TEARDOWN(answers)
{
	close(self->fd);
}

/* A pattern on the kernel's stack, which would be visible if it leaked into an answer. */
static void litter_the_stack(void)
{
	struct pollfd junk[64];

	memset(junk, JUNK, sizeof(junk));
	poll(junk, ARRAY_SIZE(junk), 0);
}

/* A call whose argument in the frame has this size. */
static int ask(FIXTURE_DATA(answers) *self, unsigned long number, const void *argument)
{
	size_t size = _IOC_SIZE(number);

	memset(&self->framed, JUNK, sizeof(self->framed));
	if (argument)
		memcpy(self->framed.bytes, argument, size);
	litter_the_stack();
	return call(self->fd, number, self->framed.bytes);
}

/* Number of bytes next to the argument that have changed. */
static size_t beside(const FIXTURE_DATA(answers) *self, size_t size)
{
	return differing(self->framed.before, JUNK, BESIDE) + differing(self->framed.bytes + size, JUNK, ROOM - size) +
	       differing(self->framed.after, JUNK, BESIDE);
}

#define ANSWER(type) ((struct type *)self->framed.bytes)
#define COUNT_RESERVED(type) differing(ANSWER(type)->reserved, 0, sizeof(ANSWER(type)->reserved))

/* Each call with an answer in its argument; number of unexpected bytes. */
static size_t padding_of_all(struct __test_metadata *_metadata, FIXTURE_DATA(answers) *self, int round)
{
	const struct buffer *buffer = &self->buffers[round % BUFFERS];
	struct rdma_alloc alloc = { .size = PAGE, .mmap_offset = UINT64_MAX, .handle = UINT32_MAX };
	struct rdma_buffer_info info = {
		.handle = buffer->handle, .size = UINT64_MAX, .mmap_offset = UINT64_MAX, .mappings = UINT32_MAX,
	};
	struct rdma_completion_ring ring = { .mmap_offset = UINT64_MAX, .size = UINT64_MAX, .tail_offset = UINT32_MAX };
	static unsigned char own[4096];
	struct rdma_register registered = { .address = (uintptr_t)own, .size = sizeof(own), .handle = UINT32_MAX };
	struct rdma_export exported = { .handle = buffer->handle, .fd = -1 };
	struct rdma_import imported = { .size = UINT64_MAX, .handle = UINT32_MAX };
	size_t wrong = 0;
	int fd = self->fd;

	EXPECT_EQ(0, ask(self, RDMA_IOC_DEVICE_INFO, NULL));
	wrong += COUNT_RESERVED(rdma_device_info) + beside(self, sizeof(struct rdma_device_info));

	EXPECT_EQ(0, ask(self, RDMA_IOC_ALLOC, &alloc));
	wrong += COUNT_RESERVED(rdma_alloc) + (ANSWER(rdma_alloc)->flags != 0) + beside(self, sizeof(alloc));
	EXPECT_EQ(0, free_handle(self->fd, ANSWER(rdma_alloc)->handle));

	EXPECT_EQ(0, ask(self, RDMA_IOC_BUFFER_INFO, &info));
	wrong += COUNT_RESERVED(rdma_buffer_info) + (ANSWER(rdma_buffer_info)->flags != 0) + beside(self, sizeof(info));

	EXPECT_EQ(0, ask(self, RDMA_IOC_REGISTER, &registered));
	wrong += COUNT_RESERVED(rdma_register) + (ANSWER(rdma_register)->flags != 0) + beside(self, sizeof(registered));
	EXPECT_EQ(0, free_handle(self->fd, ANSWER(rdma_register)->handle));

	EXPECT_EQ(0, ask(self, RDMA_IOC_EXPORT, &exported));
	wrong += (ANSWER(rdma_export)->reserved != 0) + (ANSWER(rdma_export)->flags != 0) + beside(self, sizeof(exported));
	imported.fd = ANSWER(rdma_export)->fd;
	EXPECT_EQ(0, ask(self, RDMA_IOC_IMPORT, &imported));
	wrong += COUNT_RESERVED(rdma_import) + (ANSWER(rdma_import)->flags != 0) + beside(self, sizeof(imported));
	EXPECT_EQ(0, free_handle(self->fd, ANSWER(rdma_import)->handle));
	close(imported.fd);

	/* The first call creates the ring of a context, and the second one finds it. */
	self->fd = open_node(O_RDWR);
	for (int error = 0; error <= EEXIST; error += EEXIST) {
		EXPECT_EQ(-error, ask(self, RDMA_IOC_COMPLETION_RING, &ring));
		wrong += COUNT_RESERVED(rdma_completion_ring) + (ANSWER(rdma_completion_ring)->flags != 0);
		wrong += beside(self, sizeof(ring));
	}
	close(self->fd);
	self->fd = fd;
	return wrong;
}

/* Calls that only read their argument, and calls that fail, do not change it; number of changed bytes. */
static size_t changed_by_others(struct __test_metadata *_metadata, FIXTURE_DATA(answers) *self)
{
	struct rdma_request request = writing(&self->buffers[0], 0, 0, 16, 5);
	struct rdma_submit submit = { .requests = (uintptr_t)&request, .count = 1, .request_size = sizeof(request) };
	struct rdma_cancel cancel = { .cookie = 4711 };
	struct rdma_eventfd eventfd = { .fd = -1 };
	struct rdma_alloc alloc = { .size = 0, .handle = 1 };
	struct rdma_register nothing = { .size = PAGE, .handle = 1 };
	struct rdma_buffer_info info = { .handle = 0x7fffffff, .size = 1 };
	struct rdma_free free = { .handle = 0x7fffffff };
	const struct {
		unsigned long number;
		const void *argument;
		int answer;
	} calls[] = {
		{ RDMA_IOC_SUBMIT, &submit, 1 },      { RDMA_IOC_CANCEL, &cancel, -ENOENT },
		{ RDMA_IOC_EVENTFD, &eventfd, 0 },    { RDMA_IOC_ALLOC, &alloc, -EINVAL },
		{ RDMA_IOC_BUFFER_INFO, &info, -EINVAL }, { RDMA_IOC_FREE, &free, -EINVAL },
		{ RDMA_IOC_REGISTER, &nothing, -EFAULT },
	};
	size_t wrong = 0;

	for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
		size_t size = _IOC_SIZE(calls[i].number);

		EXPECT_EQ(calls[i].answer, ask(self, calls[i].number, calls[i].argument));
		wrong += (memcmp(self->framed.bytes, calls[i].argument, size) != 0) + beside(self, size);
	}
	return wrong;
}

/* The completion of a submitted request, written to a larger array; number of unexpected bytes. */
static size_t padding_of_a_completion(struct __test_metadata *_metadata, FIXTURE_DATA(answers) *self)
{
	struct rdma_completion completions[3];

	memset(completions, JUNK, sizeof(completions));
	litter_the_stack();
	EXPECT_EQ(1, collect(self->fd, completions, 1, 3, FOREVER));
	EXPECT_EQ(5, completions[0].cookie);
	return differing(&completions[0].reserved, 0, 4) + differing(&completions[1], JUNK, 2 * sizeof(completions[0]));
}

TEST_F(answers, padding)
{
	int rounds = scale(200, 2000);
	size_t wrong = 0;

	for (int i = 0; i < rounds; i++) {
		wrong += padding_of_all(_metadata, self, i);
		wrong += changed_by_others(_metadata, self);
		wrong += padding_of_a_completion(_metadata, self);
		ASSERT_EQ(0, wrong) TH_LOG("round %d", i);
	}
	FIGURE("%d times each of 15 calls, with a stack full of junk", "%zu bytes in reserved fields or beside the answers", rounds,
	       wrong);
}

/* --- Addresses */

/* The addresses of the buffers' pages for the device (and for the CPU, if there is no IOMMU), from the register that the driver writes. */
static void learn_addresses(struct __test_metadata *_metadata, FIXTURE_DATA(answers) *self)
{
	volatile void *registers;
	char address[32];

	ASSERT_EQ(0, pci_address("rdma0", address));
	registers = map_registers(address, PAGE);
	ASSERT_NE(NULL, registers) TH_LOG("not without iomem=relaxed on the kernel's command line");
	for (int i = 0; i < BUFFERS; i++)
		for (uint64_t at = 0; at < self->buffers[i].size; at += PAGE) {
			ASSERT_EQ(0, to_device(self->fd, &self->buffers[i], at, 0, DEVICE_MEMORY));
			self->secrets[self->secret_count++] = read64(registers, EDU_DMA_SOURCE);
		}
	munmap((void *)registers, PAGE);
}

/* Whether this is an address of the kernel, of a buffer's page, or of the position in one that transfers started at. */
static bool is_address(const FIXTURE_DATA(answers) *self, uint64_t value)
{
	if (value >= 0xffff800000000000)
		return true;
	for (int i = 0; i < self->secret_count; i++)
		if (value == self->secrets[i] || value == self->secrets[i] + TELLTALE)
			return true;
	return false;
}

static int addresses_in_bytes(const FIXTURE_DATA(answers) *self, const void *bytes, size_t length)
{
	uint64_t value;
	int count = 0;

	for (size_t i = 0; i + sizeof(value) <= length; i += 4) {
		memcpy(&value, (const char *)bytes + i, sizeof(value));
		count += is_address(self, value);
	}
	return count;
}

/* Words of digits, as hexadecimal and as decimal numbers. */
static int addresses_in_text(const FIXTURE_DATA(answers) *self, const char *text)
{
	int count = 0;

	for (const char *at = text; *at;) {
		size_t length = strspn(at, "0123456789abcdefABCDEF");

		if (length >= 5 && length <= 20) {
			char word[24] = "";

			memcpy(word, at, length);
			count += is_address(self, strtoull(word, NULL, 16)) ||
				 (strspn(word, "0123456789") == length && is_address(self, strtoull(word, NULL, 10)));
		}
		at += length ? length : 1;
	}
	return count;
}

static int addresses_in_file(struct __test_metadata *_metadata, const FIXTURE_DATA(answers) *self, const char *path)
{
	static char text[1 << 20];
	int count;

	EXPECT_EQ(0, read_text(path, text, sizeof(text))) TH_LOG("%s", path);
	count = addresses_in_text(self, text);
	EXPECT_EQ(0, count) TH_LOG("%s:\n%s", path, text);
	return count;
}

/* First, the check itself: it finds an address wherever it is. */
TEST_F(answers, addresses_would_be_seen)
{
	uint64_t kernel = 0xffff888001234000, words[3] = { 0 };
	char text[256];

	learn_addresses(_metadata, self);
	ASSERT_LT(BUFFERS, self->secret_count);
	EXPECT_EQ(0, addresses_in_bytes(self, words, sizeof(words)));
	memcpy((char *)words + 4, &self->secrets[3], sizeof(uint64_t));
	EXPECT_EQ(1, addresses_in_bytes(self, words, sizeof(words)));
	for (int i = 0; i < 2; i++) {
		uint64_t address = i ? kernel : self->secrets[5] + TELLTALE;

		snprintf(text, sizeof(text), "a %" PRIu64 " b=0x%" PRIx64 "; %016" PRIx64 "-7\n", address, address, address);
		EXPECT_EQ(3, addresses_in_text(self, text)) TH_LOG("%s", text);
	}
}

/* A few calls of each kind, so that all output is produced. */
static void stir(struct __test_metadata *_metadata, FIXTURE_DATA(answers) *self)
{
	int other = open_node(O_RDWR);

	EXPECT_EQ(0, to_device(self->fd, &self->buffers[1], TELLTALE, 0, 100));
	EXPECT_EQ(0, from_device(self->fd, &self->buffers[2], TELLTALE, 0, 100));
	EXPECT_EQ(0, copy(self->fd, &self->buffers[3], TELLTALE, &self->buffers[4], TELLTALE, 200));
	EXPECT_NE(NULL, map(other, 0, 2 * PAGE, PROT_READ | PROT_WRITE));
	EXPECT_EQ(8, submit_many(self->fd, &self->buffers[5], 8, 0));
	EXPECT_EQ(0, to_device(self->fd, &self->buffers[6], TELLTALE, 0, 100));
	EXPECT_EQ(0, release(self->fd, &self->buffers[7]));
	close(other);
}

/* In the answers. */
static int addresses_in_answers(struct __test_metadata *_metadata, FIXTURE_DATA(answers) *self)
{
	struct rdma_alloc alloc = { .size = PAGE };
	struct rdma_completion completions[16] = { 0 };
	int count = 0, got;

	EXPECT_EQ(0, ask(self, RDMA_IOC_DEVICE_INFO, NULL));
	count += addresses_in_bytes(self, self->framed.bytes, sizeof(struct rdma_device_info));
	EXPECT_EQ(0, ask(self, RDMA_IOC_ALLOC, &alloc));
	count += addresses_in_bytes(self, self->framed.bytes, sizeof(alloc));
	for (int i = 0; i < BUFFERS - 1; i++) {
		struct rdma_buffer_info info = { .handle = self->buffers[i].handle };

		EXPECT_EQ(0, ask(self, RDMA_IOC_BUFFER_INFO, &info));
		count += addresses_in_bytes(self, self->framed.bytes, sizeof(info));
	}
	got = collect(self->fd, completions, 8, 16, FOREVER);
	EXPECT_EQ(8, got);
	return count + addresses_in_bytes(self, completions, sizeof(completions));
}

/* The raw trace buffers of all CPUs. Adds their bytes to `bytes`. */
static int addresses_in_raw_trace(struct __test_metadata *_metadata, const FIXTURE_DATA(answers) *self, size_t *bytes)
{
	unsigned char page[PAGE];
	int count = 0;

	for (long cpu = 0; cpu < sysconf(_SC_NPROCESSORS_ONLN); cpu++) {
		char path[128];
		ssize_t length;
		int fd;

		snprintf(path, sizeof(path), "/sys/kernel/tracing/per_cpu/cpu%ld/trace_pipe_raw", cpu);
		fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
		EXPECT_LE(0, fd);
		while (fd >= 0 && (length = read(fd, page, PAGE)) > 0) {
			count += addresses_in_bytes(self, page, length);
			*bytes += length;
		}
		close(fd);
	}
	return count;
}

/* The driver's messages in the kernel log so far. Adds their number to `lines`. */
static int addresses_in_log(const FIXTURE_DATA(answers) *self, int log, int *lines)
{
	char line[2048];
	ssize_t length;
	int count = 0;

	while ((length = read(log, line, sizeof(line) - 1)) > 0 || errno == EPIPE) {
		line[length > 0 ? length : 0] = '\0';
		if (strstr(line, "rdma 0000:")) {
			count += addresses_in_text(self, strstr(line, "rdma 0000:"));
			++*lines;
		}
	}
	return count;
}

TEST_F(answers, addresses)
{
	static const char *const files[] = {
		"/sys/kernel/debug/rust_dma/rdma0/state", "/sys/kernel/debug/rust_dma/rdma0/counters",
		"/sys/kernel/debug/rust_dma/rdma0/latency", "/sys/class/rust_dma/rdma0/uevent", "/sys/kernel/tracing/trace",
	};
	int log = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC), count = 0, lines = 0;
	char path[64], text[16384];
	size_t bytes = 0;

	ASSERT_LE(0, log);
	learn_addresses(_metadata, self);
	ASSERT_EQ(0, write_text("/sys/kernel/tracing/trace", ""));
	ASSERT_EQ(0, write_text("/sys/kernel/tracing/events/rust_dma/enable", "1"));
	stir(_metadata, self);
	write_text("/sys/kernel/tracing/events/rust_dma/enable", "0");
	/* Reading it leaves the events in the raw buffers. */
	ASSERT_EQ(0, read_text("/sys/kernel/tracing/trace", text, sizeof(text)));
	ASSERT_NE(NULL, strstr(text, "rdma_start: "));
	count += addresses_in_answers(_metadata, self);
	for (size_t i = 0; i < ARRAY_SIZE(files); i++)
		count += addresses_in_file(_metadata, self, files[i]);
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", self->fd);
	count += addresses_in_file(_metadata, self, path);
	count += addresses_in_raw_trace(_metadata, self, &bytes);
	count += addresses_in_log(self, log, &lines);
	EXPECT_EQ(0, count);
	EXPECT_LT(0, bytes);
	EXPECT_LT(0, lines);
	FIGURE("bus addresses of %d pages, and kernel addresses, looked for in all answers, fdinfo, debugfs, sysfs, trace and log",
	       "%d found", self->secret_count, count);
	close(log);
}

TEST_HARNESS_MAIN
