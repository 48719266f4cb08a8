// SPDX-License-Identifier: GPL-2.0
/* An interrupt of another device on a shared line is not claimed: the kernel counts it as unhandled. */
#include "registers.h"

/* The number of the driver's interrupt line; -1 if it has none. */
static int line_number(void)
{
	char line[512];
	int number = -1;
	FILE *file = fopen("/proc/interrupts", "re");

	while (number < 0 && fgets(line, sizeof(line), file))
		if (strstr(line, "rdma"))
			number = atoi(line);
	fclose(file);
	return number;
}

/* Unhandled interrupts on the line; -1 if the kernel does not report them. */
static int unhandled(void)
{
	char path[64], text[256], *found;

	snprintf(path, sizeof(path), "/proc/irq/%d/spurious", line_number());
	if (read_text(path, text, sizeof(text)) || !(found = strstr(text, "unhandled ")))
		return -1;
	return atoi(found + strlen("unhandled "));
}

TEST(is_not_claimed)
{
	char other[32];
	volatile void *registers;
	struct buffer buffer;
	int fd, config;

	ASSERT_EQ(0, pci_address("rdma1", other));

	/* The other device has no driver any more, but can still raise the line. */
	ASSERT_EQ(0, write_text("/sys/bus/pci/drivers/rdma/unbind", other));
	config = open_config(other);
	ASSERT_LE(0, config);
	ASSERT_EQ(0, write_config(config, PCI_COMMAND, PCI_COMMAND_MEMORY));
	registers = map_registers(other, PAGE);
	ASSERT_NE(NULL, registers);
	ASSERT_EQ(0xed, read32(registers, EDU_IDENTIFICATION) & 0xff);

	/* The line stays raised: QEMU lets the guest continue after 10,000 interrupts in a row. */
	long before = interrupts("rdma");
	ASSERT_EQ(0, unhandled());
	write32(registers, EDU_INTERRUPT_RAISE, 1);
	write32(registers, EDU_INTERRUPT_ACKNOWLEDGE, 1);
	EXPECT_LE(1, interrupts("rdma") - before);
	EXPECT_EQ(interrupts("rdma") - before, unhandled());

	/* The driver's own interrupts still work. */
	before = interrupts("rdma");
	fd = open_node(O_RDWR);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, allocate(fd, PAGE, &buffer));
	EXPECT_EQ(0, to_device(fd, &buffer, 0, 0, DEVICE_MEMORY));
	EXPECT_EQ(1, interrupts("rdma") - before);
	EXPECT_EQ(0, write_text("/sys/bus/pci/drivers/rdma/bind", other));
}

TEST_HARNESS_MAIN
