// SPDX-License-Identifier: GPL-2.0
/* A device that stops responding during a transfer, and reads as zeros, as if it were idle. Its transfer must not succeed. */
#include "requests.h"

enum { COMMAND = 4, MEMORY = 0x2 }; /* of the PCI header */

static int decode_memory(const char *address, bool on)
{
	char path[64];
	uint16_t command;
	int fd, error = 0;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/config", address);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0 || pread(fd, &command, sizeof(command), COMMAND) != sizeof(command))
		return -errno;
	command = on ? command | MEMORY : command & ~MEMORY;
	if (pwrite(fd, &command, sizeof(command), COMMAND) != sizeof(command))
		error = -errno;
	close(fd);
	return error;
}

TEST(reads_as_zeros)
{
	struct rdma_completion completions[4];
	struct buffer buffer;
	char address[32];
	int fd = open_node(O_RDWR);

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, pci_address("rdma0", address));
	ASSERT_EQ(0, allocate(fd, PAGE, &buffer));
	ASSERT_EQ(3, submit_many(fd, &buffer, 3, 0));
	pause_us(20000);
	ASSERT_EQ(0, decode_memory(address, false));
	EXPECT_EQ(3, collect(fd, completions, 3, 3, 2000 * MS));
	for (int i = 0; i < 3; i++) {
		EXPECT_EQ(-ENODEV, completions[i].status);
		EXPECT_EQ(0, completions[i].bytes);
	}
	EXPECT_EQ(POLLHUP | POLLERR, polled(fd));
	EXPECT_EQ(-ENODEV, submit_many(fd, &buffer, 1, 9));
	EXPECT_EQ(-ENODEV, to_device(fd, &buffer, 0, 0, 1));
	EXPECT_EQ(-ENODEV, take(fd, completions, 1));

	ASSERT_EQ(0, decode_memory(address, true));
	ASSERT_EQ(0, write_text("/sys/bus/pci/drivers/rdma/unbind", address));
	ASSERT_EQ(0, write_text("/sys/bus/pci/drivers/rdma/bind", address));
	close(fd);
	fd = open_node(O_RDWR);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, allocate(fd, PAGE, &buffer));
	EXPECT_EQ(0, to_device(fd, &buffer, 0, 0, DEVICE_MEMORY));
	close(fd);
}

TEST_HARNESS_MAIN
