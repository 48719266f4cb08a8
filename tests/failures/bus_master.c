// SPDX-License-Identifier: GPL-2.0
/* Bus Master is cleared without the driver (setpci): transfers end in time and move nothing, which must not be reported as success. */
#include "requests.h"

#include <sys/stat.h>
#include <sys/wait.h>

enum { COMMAND = 4, BUS_MASTER = 0x4, OWNER = 1000, OTHER = 1001 };

FIXTURE(bus_master)
{
	int fd, config;
	struct buffer buffer;
};

static int set_bus_master(int config, bool on)
{
	uint16_t command;

	if (pread(config, &command, sizeof(command), COMMAND) != sizeof(command))
		return -errno;
	command = on ? command | BUS_MASTER : command & ~BUS_MASTER;
	return pwrite(config, &command, sizeof(command), COMMAND) == sizeof(command) ? 0 : -errno;
}

FIXTURE_SETUP(bus_master)
{
	char address[32], path[128];

	self->fd = open_node(O_RDWR);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, chmod(NODE, 0666));
	ASSERT_EQ(0, allocate(self->fd, 2 * PAGE, &self->buffer));
	ASSERT_EQ(0, pci_address("rdma0", address));
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/config", address);
	self->config = open(path, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->config);
}

FIXTURE_TEARDOWN(bus_master)
{
	EXPECT_EQ(0, set_bus_master(self->config, true));
	close(self->config);
	close(self->fd);
	chmod(NODE, 0600);
}

/* What a child process of this user reads from the device memory, or its result of writing to it. */
static int as_user(uid_t uid, bool writes, unsigned char byte, size_t *differ)
{
	size_t *shared = shared_memory(sizeof(*shared));
	int status;
	pid_t child = fork();

	if (!child) {
		unsigned char bytes[DEVICE_MEMORY];
		int fd, answer;

		memset(bytes, byte, sizeof(bytes));
		if (setresuid(uid, uid, uid))
			_exit(1);
		fd = open_node(O_RDWR);
		answer = result(writes ? pwrite(fd, bytes, sizeof(bytes), 0) : pread(fd, bytes, sizeof(bytes), 0));
		*shared = differing(bytes, byte, sizeof(bytes));
		_exit(answer < 0 ? -answer : 0);
	}
	waitpid(child, &status, 0);
	*differ = *shared;
	munmap(shared, sizeof(*shared));
	return WIFEXITED(status) ? -WEXITSTATUS(status) : -EPROTO;
}

TEST_F(bus_master, no_success_without_it)
{
	struct rdma_completion completions[2] = { 0 };
	struct rdma_request request = { .operation = RDMA_OP_FROM_DEVICE, .destination = self->buffer.handle, .length = 64 };

	fill(self->buffer.bytes, DEVICE_MEMORY, 1);
	ASSERT_EQ(0, to_device(self->fd, &self->buffer, 0, 0, 64));
	memset(self->buffer.bytes + DEVICE_MEMORY, 0x5a, DEVICE_MEMORY);
	ASSERT_EQ(0, set_bus_master(self->config, false));
	EXPECT_EQ(-EIO, from_device(self->fd, &self->buffer, DEVICE_MEMORY, 0, 64));
	EXPECT_EQ(-EIO, to_device(self->fd, &self->buffer, 0, 0, 64));
	EXPECT_EQ(-EIO, copy(self->fd, &self->buffer, DEVICE_MEMORY, &self->buffer, 0, 64));
	EXPECT_EQ(0, differing(self->buffer.bytes + DEVICE_MEMORY, 0x5a, DEVICE_MEMORY));
	ASSERT_EQ(1, submit_one(self->fd, request));
	ASSERT_EQ(1, collect(self->fd, completions, 1, 1, FOREVER));
	EXPECT_EQ(-EIO, completions[0].status);
	EXPECT_EQ(0, completions[0].bytes);

	/* The engine continues to work. */
	ASSERT_EQ(0, set_bus_master(self->config, true));
	ASSERT_EQ(0, to_device(self->fd, &self->buffer, 0, 0, 64));
	ASSERT_EQ(0, from_device(self->fd, &self->buffer, DEVICE_MEMORY, 0, 64));
	EXPECT_EQ(0, memcmp(self->buffer.bytes, self->buffer.bytes + DEVICE_MEMORY, 64));
}

/* A write that moved nothing leaves the bytes of another user in the device memory, and they remain hidden. */
TEST_F(bus_master, shows_nothing_of_another_user)
{
	size_t differ;

	ASSERT_EQ(0, as_user(OWNER, true, 'S', &differ));
	ASSERT_EQ(0, set_bus_master(self->config, false));
	EXPECT_EQ(-EIO, as_user(OTHER, true, 'x', &differ));
	ASSERT_EQ(0, set_bus_master(self->config, true));
	EXPECT_EQ(0, as_user(OTHER, false, 0, &differ));
	EXPECT_EQ(0, differ);
}

TEST_HARNESS_MAIN
