// SPDX-License-Identifier: GPL-2.0
/*
 * Promise 6: a program that stalls a call on a page of its own memory delays only itself. The transfer that the call starts is not late, however
 * long the call took to read its arguments.
 */
#include "requests.h"
#include "teardown.h"

#include <linux/userfaultfd.h>
#include <sys/syscall.h>

/* Longer than a transfer may take before it has failed. */
enum { STALL_US = 1500000 };

struct stalled {
	pthread_t thread;
	int fd;
	void *page; /* without memory: the access to it stalls */
	long answer;
};

/* Returns a userfaultfd(2) that the first access to `page` waits for; or an error. */
static int stall_accesses(void *page)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register range = {
		.range = { .start = (uintptr_t)page, .len = PAGE },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	int fd = result(syscall(SYS_userfaultfd, O_CLOEXEC));

	if (fd < 0)
		return fd;
	if (ioctl(fd, UFFDIO_API, &api) || ioctl(fd, UFFDIO_REGISTER, &range)) {
		close(fd);
		return -errno;
	}
	return fd;
}

static void *submit_stalled(void *argument)
{
	struct stalled *stalled = argument;
	struct rdma_submit submit = {
		.requests = (uintptr_t)stalled->page,
		.count = 1,
		.request_size = sizeof(struct rdma_request),
	};

	stalled->answer = result(ioctl(stalled->fd, RDMA_IOC_SUBMIT, &submit));
	return NULL;
}

TEST(a_stalled_submit_starts_no_late_transfer)
{
	_Alignas(1 << 16) static unsigned char contents[1 << 16];
	struct stalled stalled = { .fd = open_node(O_RDWR) };
	int other = open_node(O_RDWR), uffd;
	struct buffer buffer, of_other;
	struct rdma_completion completion;
	struct uffdio_copy copy;

	ASSERT_LE(0, stalled.fd);
	ASSERT_LE(0, other);
	ASSERT_EQ(0, allocate(stalled.fd, PAGE, &buffer));
	ASSERT_EQ(0, allocate(other, PAGE, &of_other));
	stalled.page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, stalled.page);
	uffd = stall_accesses(stalled.page);
	ASSERT_LE(0, uffd);
	*(struct rdma_request *)contents = (struct rdma_request){
		.operation = RDMA_OP_TO_DEVICE,
		.source = buffer.handle,
		.length = DEVICE_MEMORY,
		.cookie = 7,
	};

	ASSERT_EQ(0, pthread_create(&stalled.thread, NULL, submit_stalled, &stalled));
	pause_us(STALL_US);
	/* Another transfer, after which the watchdog checks the engine once. */
	ASSERT_EQ(0, to_device(other, &of_other, 0, 0, DEVICE_MEMORY));
	pause_us(250000);
	copy = (struct uffdio_copy){ .dst = (uintptr_t)stalled.page, .src = (uintptr_t)contents, .len = PAGE };
	ASSERT_EQ(0, ioctl(uffd, UFFDIO_COPY, &copy));
	ASSERT_EQ(0, pthread_join(stalled.thread, NULL));
	EXPECT_EQ(1, stalled.answer);

	/* The transfer of the other one, which waits behind it, succeeds, too. */
	EXPECT_EQ(0, to_device(other, &of_other, 0, 0, DEVICE_MEMORY));
	ASSERT_EQ(1, collect(stalled.fd, &completion, 1, 1, 5000000000LL));
	EXPECT_EQ(7, completion.cookie);
	EXPECT_EQ(0, completion.status);
	close(uffd);
	close(other);
	close(stalled.fd);
}

static void *wait_for_one(void *argument)
{
	struct rdma_completion completion;
	struct stalled *waiting = argument;

	waiting->answer = collect(waiting->fd, &completion, 1, 1, FOREVER);
	return NULL;
}

/* Promise 7: when the device is removed, another thread does not wait for what the stalled one would have submitted. */
TEST(a_stalled_submit_is_nothing_to_wait_for)
{
	_Alignas(1 << 16) static unsigned char contents[1 << 16];
	struct stalled stalled = { .fd = open_node(O_RDWR) }, waiting = stalled;
	struct timespec until;
	char address[32];
	int joined, uffd;
	struct uffdio_copy copy;

	ASSERT_LE(0, stalled.fd);
	ASSERT_EQ(0, pci_address("rdma0", address));
	stalled.page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, stalled.page);
	uffd = stall_accesses(stalled.page);
	ASSERT_LE(0, uffd);
	ASSERT_EQ(0, pthread_create(&stalled.thread, NULL, submit_stalled, &stalled));
	ASSERT_EQ(0, pthread_create(&waiting.thread, NULL, wait_for_one, &waiting));
	pause_us(100000);
	expect_unbound(_metadata, address);
	ASSERT_EQ(0, clock_gettime(CLOCK_REALTIME, &until));
	until.tv_sec += 10;
	joined = pthread_timedjoin_np(waiting.thread, NULL, &until);
	EXPECT_EQ(0, joined);
	copy = (struct uffdio_copy){ .src = (uintptr_t)contents, .dst = (uintptr_t)stalled.page, .len = PAGE };
	ASSERT_EQ(0, ioctl(uffd, UFFDIO_COPY, &copy));
	ASSERT_EQ(0, pthread_join(stalled.thread, NULL));
	if (joined)
		pthread_join(waiting.thread, NULL);
	EXPECT_EQ(-ENODEV, waiting.answer);
	EXPECT_GT(0, stalled.answer);
	close(uffd);
	munmap(stalled.page, PAGE);
	close(stalled.fd);
	ASSERT_EQ(0, come_back(address, UNBIND));
}

TEST_HARNESS_MAIN
