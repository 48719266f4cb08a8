// SPDX-License-Identifier: GPL-2.0
/* Basics of ioctl(2): unknown numbers fail with ENOTTY, bad pointers with EFAULT; 32-bit programs are supported. */
#include "rdma_test.h"

static const unsigned long known[] = {
	RDMA_IOC_DEVICE_INFO,	   RDMA_IOC_ALLOC,  RDMA_IOC_FREE, RDMA_IOC_BUFFER_INFO, RDMA_IOC_TRANSFER,
	RDMA_IOC_SUBMIT, RDMA_IOC_WAIT, RDMA_IOC_CANCEL,  RDMA_IOC_EVENTFD, RDMA_IOC_REGISTER,
	RDMA_IOC_EXPORT, RDMA_IOC_IMPORT, RDMA_IOC_COMPLETION_RING,
};

/* Regardless of the size of its structure. */
static bool is_known(unsigned long number)
{
	const unsigned long size = (unsigned long)_IOC_SIZEMASK << _IOC_SIZESHIFT;

	for (size_t i = 0; i < ARRAY_SIZE(known); i++)
		if ((number & ~size) == (known[i] & ~size))
			return true;
	return false;
}

FIXTURE(ioctl)
{
	int fd;
	unsigned char *page; /* readable and writable, with an unmapped page behind it */
};

FIXTURE_SETUP(ioctl)
{
	self->fd = open_node(O_RDWR);
	ASSERT_LE(0, self->fd);
	self->page = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->page);
	ASSERT_EQ(0, munmap(self->page + PAGE, PAGE));
}

FIXTURE_TEARDOWN(ioctl)
{
	close(self->fd);
}

TEST_F(ioctl, unknown_numbers)
{
	static const unsigned int sizes[] = { 0,
					      1,
					      4,
					      8,
					      16,
					      sizeof(struct rdma_free),
					      sizeof(struct rdma_cancel),
					      sizeof(struct rdma_submit),
					      sizeof(struct rdma_wait),
					      sizeof(struct rdma_alloc),
					      sizeof(struct rdma_device_info),
					      sizeof(struct rdma_request),
					      sizeof(struct rdma_request) + 8,
					      256,
					      (1 << _IOC_SIZEBITS) - 1 };
	int tried = 0, wrong = 0;

	for (unsigned int direction = 0; direction < 4; direction++)
		for (unsigned int number = 0; number < 256; number++)
			for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
				unsigned long request = _IOC(direction, RDMA_IOC_MAGIC, number, sizes[i]);

				if (is_known(request))
					continue;
				tried++;
				wrong += call(self->fd, request, self->page) != -ENOTTY;
			}
	EXPECT_EQ(0, wrong);
	EXPECT_LT(12000, tried);
}

/* The right number and size, with each other magic. */
TEST_F(ioctl, other_magic)
{
	int answers = 0;

	for (unsigned int magic = 0; magic < 256; magic++)
		if (magic != RDMA_IOC_MAGIC)
			answers += call(self->fd, _IOR(magic, 0x00, struct rdma_device_info), self->page) != -ENOTTY;
	EXPECT_EQ(0, answers);
}

TEST_F(ioctl, bad_pointers)
{
	for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
		void *bad[] = {
			NULL,
			(void *)1,
			self->page + PAGE,
			self->page + PAGE - 1,
			self->page + PAGE - _IOC_SIZE(known[i]) + 1,
#ifdef __x86_64__
			(void *)0x00007fffffffffffUL, /* the last byte of the user's half */
			(void *)0x0000800000000000UL, /* not canonical */
			(void *)0xffff888000000000UL, /* the kernel's memory */
			(void *)0xffffffff81000000UL, /* the kernel's code */
#endif
			(void *)-1UL,
		};

		memset(self->page, 0, PAGE);
		for (size_t j = 0; j < ARRAY_SIZE(bad); j++) {
			EXPECT_EQ(-EFAULT, call(self->fd, known[i], bad[j]))
				TH_LOG("request %#lx with pointer %p", known[i], bad[j]);
		}
	}
}

TEST_F(ioctl, answers_into_read_only_memory)
{
	struct rdma_alloc *alloc = (void *)self->page;

	*alloc = (struct rdma_alloc){ .size = PAGE };
	ASSERT_EQ(0, mprotect(self->page, PAGE, PROT_READ));
	EXPECT_EQ(-EFAULT, call(self->fd, RDMA_IOC_DEVICE_INFO, self->page));
	EXPECT_EQ(-EFAULT, call(self->fd, RDMA_IOC_ALLOC, self->page));
}

/* If the answer cannot be written, no process knows the handle of the buffer, so that the buffer must not stay. */
TEST_F(ioctl, no_buffer_without_an_answer)
{
	struct rdma_alloc *alloc = (void *)self->page;
	struct buffer buffer;

	*alloc = (struct rdma_alloc){ .size = 1 << 20 };
	ASSERT_EQ(0, mprotect(self->page, PAGE, PROT_READ));
	for (int i = 0; i < 300; i++) {
		ASSERT_EQ(-EFAULT, call(self->fd, RDMA_IOC_ALLOC, self->page));
	}
	EXPECT_EQ(0, allocate(self->fd, 1 << 20, &buffer));
}

TEST_F(ioctl, input_from_read_only_memory)
{
	struct rdma_request *request = (void *)self->page;
	struct buffer buffer;

	ASSERT_EQ(0, allocate(self->fd, PAGE, &buffer));
	*request = (struct rdma_request){ .operation = RDMA_OP_TO_DEVICE, .source = buffer.handle, .length = 1 };
	ASSERT_EQ(0, mprotect(self->page, PAGE, PROT_READ));
	EXPECT_EQ(0, call(self->fd, RDMA_IOC_TRANSFER, request));
}

/* Only the structure is written, and no byte next to it. */
TEST_F(ioctl, answers_stay_inside_the_structure)
{
	unsigned char *place = self->page + 512;
	struct rdma_alloc alloc = { .size = PAGE };

	memset(self->page, 0xa5, PAGE);
	ASSERT_EQ(0, call(self->fd, RDMA_IOC_DEVICE_INFO, place));
	EXPECT_EQ(0, differing(self->page, 0xa5, 512));
	EXPECT_EQ(0, differing(place + sizeof(struct rdma_device_info), 0xa5, PAGE - 512 - sizeof(struct rdma_device_info)));

	memset(self->page, 0xa5, PAGE);
	memcpy(place, &alloc, sizeof(alloc));
	ASSERT_EQ(0, call(self->fd, RDMA_IOC_ALLOC, place));
	EXPECT_EQ(0, differing(self->page, 0xa5, 512));
	EXPECT_EQ(0, differing(place + sizeof(alloc), 0xa5, PAGE - 512 - sizeof(alloc)));
	memcpy(&alloc, place, sizeof(alloc));
	EXPECT_EQ(0, alloc.flags);
	EXPECT_EQ(0, alloc.reserved[0]);
	EXPECT_EQ(0, alloc.reserved[1]);
}

/* The structure need not be aligned. */
TEST_F(ioctl, unaligned_argument)
{
	struct rdma_alloc alloc = { .size = 3 * PAGE };

	memcpy(self->page + 3, &alloc, sizeof(alloc));
	EXPECT_EQ(0, call(self->fd, RDMA_IOC_ALLOC, self->page + 3));
	memcpy(&alloc, self->page + 3, sizeof(alloc));
	EXPECT_EQ(3 * PAGE, alloc.size);
	EXPECT_EQ(0, free_handle(self->fd, alloc.handle));
}

#ifndef MAP_32BIT
#define MAP_32BIT 0
#endif

/* ioctl(2) in the way of a 32-bit program; a 64-bit program can do this on x86 only. */
static int call32(int fd, unsigned int number, void *argument)
{
#ifdef __x86_64__
	int answer;

	asm volatile("int $0x80"
		     : "=a"(answer)
		     : "a"(54 /* __NR_ioctl of i386 */), "b"(fd), "c"(number), "d"((uint32_t)(uintptr_t)argument)
		     : "memory", "r8", "r9", "r10", "r11");
	return answer;
#elif defined(__LP64__)
	(void)fd, (void)number, (void)argument;
	return -ENOSYS;
#else
	return call(fd, number, argument);
#endif
}

TEST_F(ioctl, 32_bit_programs)
{
	unsigned char *low = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	struct rdma_device_info *info = (void *)low;
	struct rdma_alloc *alloc = (void *)low;
	struct rdma_request *request = (void *)low;
	struct rdma_free *free = (void *)low;
	struct buffer buffer;

	ASSERT_NE(MAP_FAILED, low);
	if (call32(-1, RDMA_IOC_DEVICE_INFO, low) != -EBADF)
		SKIP(return, "a 64-bit program makes no 32-bit calls on this kernel");

	ASSERT_EQ(0, call32(self->fd, RDMA_IOC_DEVICE_INFO, low));
	EXPECT_EQ(RDMA_ABI_VERSION, info->abi_version);
	EXPECT_EQ(DEVICE_MEMORY, info->device_memory_size);

	*alloc = (struct rdma_alloc){ .size = 2 * PAGE };
	ASSERT_EQ(0, call32(self->fd, RDMA_IOC_ALLOC, low));
	EXPECT_EQ(2 * PAGE, alloc->size);
	buffer = (struct buffer){ alloc->handle, alloc->size, alloc->mmap_offset, NULL };
	buffer.bytes = map(self->fd, buffer.offset, buffer.size, PROT_READ | PROT_WRITE);
	ASSERT_NE(NULL, buffer.bytes);
	buffer.bytes[0] = 0x5a;

	*request = (struct rdma_request){ .operation = RDMA_OP_COPY,
					  .source = buffer.handle,
					  .destination = buffer.handle,
					  .destination_offset = PAGE,
					  .length = 1 };
	EXPECT_EQ(0, call32(self->fd, RDMA_IOC_TRANSFER, low));
	EXPECT_EQ(0x5a, buffer.bytes[PAGE]);

	*free = (struct rdma_free){ .handle = buffer.handle };
	EXPECT_EQ(0, call32(self->fd, RDMA_IOC_FREE, low));
	EXPECT_EQ(-EINVAL, call32(self->fd, RDMA_IOC_FREE, low));
	EXPECT_EQ(-ENOTTY, call32(self->fd, _IOC(_IOC_READ, RDMA_IOC_MAGIC, 0x7f, 4), low));
	EXPECT_EQ(-EFAULT, call32(self->fd, RDMA_IOC_DEVICE_INFO, NULL));
}

TEST_HARNESS_MAIN
