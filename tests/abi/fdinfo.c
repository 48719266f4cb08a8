// SPDX-License-Identifier: GPL-2.0
/* /proc/self/fdinfo: each line of the driver is correct. */
#include "requests.h"

FIXTURE(fdinfo)
{
	int fd;
};

FIXTURE_SETUP(fdinfo)
{
	self->fd = open_node(O_RDWR);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(fdinfo)
{
	close(self->fd);
}

static int read_fdinfo(int fd, char text[4096])
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	return read_text(path, text, 4096);
}

/* The value of a line of the driver, or "". */
static const char *text_of(int fd, const char *name)
{
	static char text[4096];
	char start[64], *line;

	snprintf(start, sizeof(start), "\nrdma-%s:\t", name);
	if (read_fdinfo(fd, text) || !(line = strstr(text, start)))
		return "";
	line += strlen(start);
	*strchrnul(line, '\n') = '\0';
	return line;
}

/* The same as a number; -1 if it is none. */
static long long number_of(int fd, const char *name)
{
	const char *text = text_of(fd, name);
	char *end;
	long long number = strtoll(text, &end, 10);

	return *text && !*end ? number : -1;
}

TEST_F(fdinfo, a_new_file)
{
	static const char *const nothing[] = { "buffers", "queued", "in-flight", "completed", "memory", "memlock" };

	EXPECT_STREQ("rdma0", text_of(self->fd, "node"));
	EXPECT_STREQ("bound", text_of(self->fd, "device"));
	for (size_t i = 0; i < ARRAY_SIZE(nothing); i++) {
		EXPECT_EQ(0, number_of(self->fd, nothing[i]))
			TH_LOG("%s", nothing[i]);
	}
	/* The parameter's default, in MiB. */
	EXPECT_EQ(1024LL << 20, number_of(self->fd, "memory-limit"));
}

/* All lines are `name:<tab>value`; no value is a number that could be an address. */
TEST_F(fdinfo, form)
{
	char text[4096], *line, *rest = text;
	int ours = 0;

	ASSERT_EQ(0, read_fdinfo(self->fd, text));
	while ((line = strsep(&rest, "\n"))) {
		if (strncmp(line, "rdma-", 5))
			continue;
		ours++;
		EXPECT_NE(NULL, strstr(line, ":\t"));
		EXPECT_EQ(NULL, strstr(line, "0x"));
		EXPECT_GT(40, strlen(line));
	}
	EXPECT_EQ(10, ours);
}

TEST_F(fdinfo, buffers)
{
	struct buffer one, other;

	ASSERT_EQ(0, allocate(self->fd, PAGE, &one));
	ASSERT_EQ(0, allocate(self->fd, 3 * PAGE, &other));
	EXPECT_EQ(2, number_of(self->fd, "buffers"));
	EXPECT_EQ(4 * PAGE, number_of(self->fd, "memory"));
	EXPECT_EQ(0, number_of(self->fd, "memlock")); /* root */
	ASSERT_NE(NULL, map(self->fd, 0, PAGE, PROT_READ));
	EXPECT_EQ(3, number_of(self->fd, "buffers"));
	ASSERT_EQ(0, release(self->fd, &one));
	EXPECT_EQ(2, number_of(self->fd, "buffers"));
}

TEST_F(fdinfo, requests)
{
	struct rdma_completion completions[3];
	struct buffer buffer;
	struct rdma_request request = { .operation = RDMA_OP_FROM_DEVICE, .length = 16 };

	ASSERT_EQ(0, allocate(self->fd, PAGE, &buffer));
	request.destination = buffer.handle;
	ASSERT_EQ(3, submit(self->fd, (struct rdma_request[]){ request, request, request }, 3));
	EXPECT_EQ(1, number_of(self->fd, "in-flight"));
	EXPECT_EQ(2, number_of(self->fd, "queued"));
	EXPECT_EQ(0, number_of(self->fd, "completed"));
	pause_us(5 * TRANSFER_US);
	EXPECT_EQ(0, number_of(self->fd, "in-flight"));
	EXPECT_EQ(0, number_of(self->fd, "queued"));
	EXPECT_EQ(3, number_of(self->fd, "completed"));
	ASSERT_EQ(2, take(self->fd, completions, 2));
	EXPECT_EQ(1, number_of(self->fd, "completed"));
}

/* The memory of a buffer that has no handle any more is freed when its last request has ended, and not when that is collected. */
TEST_F(fdinfo, freed_before_collected)
{
	struct rdma_completion completions[3];
	struct buffer buffer, other;

	ASSERT_EQ(0, allocate(self->fd, 2 * PAGE, &buffer));
	ASSERT_EQ(0, allocate(self->fd, PAGE, &other));
	ASSERT_EQ(1, submit_one(self->fd, writing(&buffer, 0, 0, 16, 1)));
	ASSERT_EQ(1, submit_one(self->fd, copying(&other, 0, &buffer, 0, 16, 2)));
	/* One that is cancelled. */
	ASSERT_EQ(1, submit_one(self->fd, writing(&buffer, 0, 0, 16, 3)));
	ASSERT_EQ(1, cancel(self->fd, 3));
	ASSERT_EQ(0, release(self->fd, &buffer));
	EXPECT_EQ(3 * PAGE, number_of(self->fd, "memory"));
	pause_us(5 * TRANSFER_US);
	EXPECT_EQ(3, number_of(self->fd, "completed"));
	EXPECT_EQ(PAGE, number_of(self->fd, "memory"));
	ASSERT_EQ(3, take(self->fd, completions, 3));
	for (int i = 0; i < 3; i++)
		EXPECT_EQ(completions[i].cookie == 3 ? -ECANCELED : 0, completions[i].status);
	EXPECT_EQ(PAGE, number_of(self->fd, "memory"));
}

/* Each file has its own values. */
TEST_F(fdinfo, another_file)
{
	struct buffer buffer;
	int other = open_node(O_RDWR);

	ASSERT_LE(0, other);
	ASSERT_EQ(0, allocate(self->fd, PAGE, &buffer));
	EXPECT_EQ(0, number_of(other, "buffers"));
	EXPECT_LT(number_of(self->fd, "context"), number_of(other, "context"));
	close(other);
}

TEST_F(fdinfo, a_device_that_is_gone)
{
	struct buffer buffer;
	char address[32];

	ASSERT_EQ(0, allocate(self->fd, PAGE, &buffer));
	ASSERT_EQ(0, pci_address("rdma0", address));
	ASSERT_EQ(0, write_text("/sys/bus/pci/drivers/rdma/unbind", address));
	EXPECT_STREQ("gone", text_of(self->fd, "device"));
	EXPECT_EQ(1, number_of(self->fd, "buffers"));
	ASSERT_EQ(0, write_text("/sys/bus/pci/drivers/rdma/bind", address));
	EXPECT_STREQ("gone", text_of(self->fd, "device"));
}

TEST_HARNESS_MAIN
