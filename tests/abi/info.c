// SPDX-License-Identifier: GPL-2.0
/* DEVICE_INFO is correct: each field of the answer, for each mode of open. */
#include "rdma_test.h"

/* The type of interrupt that this module must use in this guest. */
static uint32_t expected_interrupt(void)
{
	const char *parameters = getenv("RDMA_PARAMETERS");
	char command_line[4096];

	read_text("/proc/cmdline", command_line, sizeof(command_line));
	if (strstr(command_line, "pci=nomsi") || (parameters && strstr(parameters, "msi=0")))
		return RDMA_INTERRUPT_INTX;
	return RDMA_INTERRUPT_MSI;
}

static uint32_t expected_dma_bits(void)
{
	const char *parameters = getenv("RDMA_PARAMETERS");
	const char *bits = parameters ? strstr(parameters, "dma_bits=") : NULL;

	return bits ? atoi(bits + strlen("dma_bits=")) : 28;
}

FIXTURE(info)
{
	int fd;
	struct rdma_device_info info;
};

FIXTURE_VARIANT(info)
{
	int flags;
};

FIXTURE_VARIANT_ADD(info, read_write) { .flags = O_RDWR };
FIXTURE_VARIANT_ADD(info, read_only) { .flags = O_RDONLY };
FIXTURE_VARIANT_ADD(info, write_only) { .flags = O_WRONLY };

FIXTURE_SETUP(info)
{
	self->fd = open_node(variant->flags);
	ASSERT_LE(0, self->fd);
	memset(&self->info, 0xff, sizeof(self->info));
	ASSERT_EQ(0, call(self->fd, RDMA_IOC_DEVICE_INFO, &self->info));
}

FIXTURE_TEARDOWN(info)
{
	close(self->fd);
}

TEST_F(info, interface)
{
	EXPECT_EQ(RDMA_ABI_VERSION, self->info.abi_version);
	EXPECT_EQ(1 << RDMA_OP_TO_DEVICE | 1 << RDMA_OP_FROM_DEVICE | 1 << RDMA_OP_COPY, self->info.operations);
	EXPECT_EQ(RDMA_MAX_BUFFER_SIZE, self->info.max_buffer_size);
	EXPECT_EQ(RDMA_QUEUE_DEPTH, self->info.queue_depth);
	for (size_t i = 0; i < ARRAY_SIZE(self->info.reserved); i++) {
		EXPECT_EQ(0, self->info.reserved[i]);
	}
}

TEST_F(info, device)
{
	EXPECT_EQ(DEVICE_MEMORY, self->info.device_memory_size);
	EXPECT_EQ(DEVICE_MEMORY, self->info.max_transfer_size);
	EXPECT_EQ(0, self->info.capabilities);
	EXPECT_EQ(1, self->info.engine_depth);
	EXPECT_EQ(1, self->info.address_alignment);
	EXPECT_EQ(1, self->info.length_alignment);
	EXPECT_EQ(0x100, self->info.hardware_version);
	EXPECT_EQ(expected_dma_bits(), self->info.dma_bits);
}

TEST_F(info, interrupt)
{
	char text[65536], address[32], *line;

	EXPECT_EQ(expected_interrupt(), self->info.interrupt);

	ASSERT_EQ(0, pci_address("rdma0", address));
	ASSERT_EQ(0, read_text("/proc/interrupts", text, sizeof(text)));
	line = strstr(text, "rdma");
	ASSERT_NE(NULL, line);
	while (line > text && line[-1] != '\n')
		line--;
	*strchr(line, '\n') = '\0';
	EXPECT_EQ(self->info.interrupt == RDMA_INTERRUPT_MSI, strstr(line, "MSI") != NULL)
		TH_LOG("/proc/interrupts: %s", line);
}

TEST_HARNESS_MAIN
