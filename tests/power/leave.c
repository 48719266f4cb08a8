// SPDX-License-Identifier: GPL-2.0
/*
 * leave reboot|kexec LAST : leave this kernel at a random moment of a transfer from the device to memory.
 *
 * The next kernel runs this again (next_kernel.h); it powers off if it is the one of round LAST of a kexec.
 */
#include "next_kernel.h"

#define ADDRESS "0000:01:00.0"

static volatile void *registers_of_edu(void)
{
	volatile void *registers = map_registers(ADDRESS, PAGE);

	need(registers, "the registers");
	return registers;
}

/* The device as the previous kernel has left it. */
static void look_at_device(void)
{
	volatile void *registers = registers_of_edu();
	int config = open_config(ADDRESS);

	say("before the driver: edu %#x, %s, %s", read32(registers, EDU_IDENTIFICATION),
	    read64(registers, EDU_DMA_COMMAND) & EDU_START ? "busy" : "idle",
	    read_config(config, PCI_COMMAND) & PCI_COMMAND_MASTER ? "bus master" : "no bus master");
	close(config);
	munmap((void *)registers, PAGE);
}

/* The memory that the transfer of the previous kernel wrote to: either all of the data have arrived, or not. */
static void look_at_memory(unsigned long address, unsigned int round)
{
	int memory = open("/dev/mem", O_RDONLY | O_SYNC | O_CLOEXEC);
	unsigned char expected[PAGE], *bytes = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, memory, address);
	size_t right = 0;

	need(bytes != MAP_FAILED, "/dev/mem");
	fill(expected, DEVICE_MEMORY, round);
	for (size_t i = 0; i < DEVICE_MEMORY; i++)
		right += bytes[i] == expected[i];
	say("the memory of round %u: %zu bytes right", round, right);
}

/* A program that never exits. */
static void ask_for_more(void)
{
	int fd = open_node(O_RDWR);
	struct buffer own;
	struct rdma_completion completions[8];
	bool refused = false;

	need(fd >= 0 && !allocate(fd, PAGE, &own), "a second context");
	for (;;) {
		int answer = submit_many(fd, &own, 8, 0);

		if (answer < 0 && answer != -EAGAIN && !refused) {
			say("refused: %s", strerror(-answer));
			refused = true;
		}
		while (take(fd, completions, 8) > 0)
			;
		pause_us(100);
	}
}

/* The next kernel does not use this page, which is in lower memory. */
static void load_kernel_without(unsigned long page, unsigned int round)
{
	char words[64];

	snprintf(words, sizeof(words), "memmap=4K$%#lx power_page=%#lx", page, page);
	load_kernel(0x10000000, ULONG_MAX, words, round);
}

int main(int count, char **arguments)
{
	bool kexec = count == 3 && !strcmp(arguments[1], "kexec");
	unsigned int round = environment("power_round"), delay;
	struct buffer from, to;
	unsigned long page;
	int fd;

	if (count != 3)
		return 2;
	look_at_device();
	if (kexec && round)
		look_at_memory(environment("power_page"), round - 1);
	insert_driver("");
	need(!wait_for_node(NODE), NODE);
	if (kexec && round == strtoul(arguments[2], NULL, 0))
		return 0;

	fd = open_node(O_RDWR);
	need(fd >= 0 && !allocate(fd, PAGE, &from) && !allocate(fd, PAGE, &to), "buffers");
	fill(from.bytes, DEVICE_MEMORY, round);
	need(!to_device(fd, &from, 0, 0, DEVICE_MEMORY) && !from_device(fd, &to, 0, 0, 1), "transfers");
	page = read64(registers_of_edu(), EDU_DMA_DESTINATION);
	memset(to.bytes, 0xee, DEVICE_MEMORY);
	if (kexec)
		load_kernel_without(page, round + 1);
	delay = any_below(TRANSFER_US * 9 / 10);

	need(submit_one(fd, reading(&to, 0, 0, DEVICE_MEMORY, 0)) == 1, "the transfer");
	say("started; leaving %u us later", delay);
	if (!fork())
		ask_for_more();
	pause_us(delay);
	leave(kexec);
}
