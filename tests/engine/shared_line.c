// SPDX-License-Identifier: GPL-2.0
/* Two devices on one interrupt line: each handles its own interrupts only, and none is lost. */
#include "rdma_test.h"

enum { COUNT = 15 };

FIXTURE(line)
{
	int fds[2];
	struct buffer buffers[2];
	int log;
};

FIXTURE_SETUP(line)
{
	static const char *const nodes[] = { "/dev/rdma0", "/dev/rdma1" };

	for (int i = 0; i < 2; i++) {
		struct rdma_device_info info;

		self->fds[i] = open(nodes[i], O_RDWR | O_CLOEXEC);
		ASSERT_LE(0, self->fds[i]);
		ASSERT_EQ(0, call(self->fds[i], RDMA_IOC_DEVICE_INFO, &info));
		ASSERT_EQ(RDMA_INTERRUPT_INTX, info.interrupt);
		ASSERT_EQ(0, allocate(self->fds[i], 2 * PAGE, &self->buffers[i]));
		fill(self->buffers[i].bytes, DEVICE_MEMORY, i);
	}
	self->log = open_log();
	ASSERT_LE(0, self->log);
}

FIXTURE_TEARDOWN(line)
{
	EXPECT_EQ(0, log_lines(self->log, "lost interrupt"));
	close(self->fds[0]);
	close(self->fds[1]);
}

/* The number of the line; -1 unless both devices, and only they, are on it. */
static int line_number(void)
{
	char line[512];
	int number = -1, handlers = 0;
	FILE *file = fopen("/proc/interrupts", "re");

	while (fgets(line, sizeof(line), file)) {
		if (!strstr(line, "rdma"))
			continue;
		if (number >= 0)
			return -1;
		number = atoi(line);
		for (char *at = line; (at = strstr(at, "rdma")); at++)
			handlers++;
	}
	fclose(file);
	return handlers == 2 ? number : -1;
}

TEST_F(line, is_shared)
{
	ASSERT_LE(0, line_number());
}

static void one_by_one(struct __test_metadata *_metadata, FIXTURE_DATA(line) *self, int which)
{
	long before = interrupts("rdma");
	int64_t began = now();

	for (int i = 0; i < COUNT; i++) {
		ASSERT_EQ(0, to_device(self->fds[which], &self->buffers[which], 0, 0, DEVICE_MEMORY));
	}
	EXPECT_GE(COUNT * (TRANSFER_US + 2000), now() - began);
	EXPECT_EQ(COUNT, interrupts("rdma") - before);
}

TEST_F(line, the_first_alone)
{
	one_by_one(_metadata, self, 0);
}

TEST_F(line, the_second_alone)
{
	one_by_one(_metadata, self, 1);
}

static void *many(void *argument)
{
	struct pending *pending = argument;

	for (int i = 0; i < COUNT && !pending->answer; i++)
		pending->answer = call(pending->fd, RDMA_IOC_TRANSFER, &pending->request);
	return NULL;
}

/* Both ends of transfers at about the same time, in all orders. */
TEST_F(line, both_at_once)
{
	struct pending pending[2];
	int64_t began = now();

	for (int i = 0; i < 2; i++) {
		pending[i] = (struct pending){ .fd = self->fds[i],
					       .request = { .operation = RDMA_OP_COPY,
							    .source = self->buffers[i].handle,
							    .destination = self->buffers[i].handle,
							    .destination_offset = DEVICE_MEMORY,
							    .length = DEVICE_MEMORY } };
		ASSERT_EQ(0, pthread_create(&pending[i].thread, NULL, many, &pending[i]));
	}
	for (int i = 0; i < 2; i++) {
		EXPECT_EQ(0, finish(&pending[i]));
		EXPECT_EQ(0, memcmp(self->buffers[i].bytes, self->buffers[i].bytes + DEVICE_MEMORY, DEVICE_MEMORY));
	}
	EXPECT_GE(2 * COUNT * (TRANSFER_US + 2000), now() - began);
}

/* The kernel counts unhandled interrupts. */
TEST_F(line, none_unhandled)
{
	char path[64], text[256], *unhandled;

	one_by_one(_metadata, self, 0);
	snprintf(path, sizeof(path), "/proc/irq/%d/spurious", line_number());
	ASSERT_EQ(0, read_text(path, text, sizeof(text)));
	unhandled = strstr(text, "unhandled ");
	ASSERT_NE(NULL, unhandled);
	EXPECT_EQ(0, atoi(unhandled + strlen("unhandled "))) TH_LOG("%s", text);
}

TEST_HARNESS_MAIN
