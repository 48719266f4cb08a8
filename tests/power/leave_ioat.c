// SPDX-License-Identifier: GPL-2.0
/*
 * leave_ioat reboot|kexec LAST : leave this kernel while an I/OAT device copies. Every other time, its copies take so long that the driver must
 * stop them.
 *
 * The next kernel runs this again (next_kernel.h): the engine must be idle, and must not write to memory, even if another driver lets it. It powers off
 * if it is the one of round LAST of a kexec.
 */
#include "ioat.h"
#include "next_kernel.h"

#include <elf.h>

/* Source: Linux, drivers/dma/ioat/registers.h; of channel 0. */
enum { CHANNEL_STATUS = 0x88, CHAIN_ADDRESS = 0x90, COMPLETION_ADDRESS = 0x98, STATE = 0x7, ACTIVE = 0 };

enum { COPIES = 100, SHORT_NS = 2000000, PATTERN = 0x5a };

/* Not too long for the watchdog, which would stop a copy after a second; but all of them together take a minute, and the driver does not wait so long. */
#define LONG_NS 600000000U

/* The PCI address of the device. */
static char address[32];

static void find_device(void)
{
	glob_t found;

	need(!glob("/sys/bus/pci/devices/*", 0, NULL, &found), "the devices");
	for (size_t i = 0; i < found.gl_pathc; i++) {
		char path[128], text[16];

		snprintf(path, sizeof(path), "%s/device", found.gl_pathv[i]);
		if (!read_text(path, text, sizeof(text)) && !strcmp(text, "0x2021\n"))
			snprintf(address, sizeof(address), "%s", strrchr(found.gl_pathv[i], '/') + 1);
	}
	globfree(&found);
	need(address[0], "the device");
}

static volatile void *registers_of_device(void)
{
	volatile void *registers = map_registers(address, PAGE);

	need(registers, "the registers");
	return registers;
}

/* The device as the previous kernel has left it. */
static void look_at_device(void)
{
	volatile void *registers = registers_of_device();
	int config = open_config(address);

	say("before the driver: I/OAT at %s, %s, %s", address, (read64(registers, CHANNEL_STATUS) & STATE) == ACTIVE ? "busy" : "idle",
	    read_config(config, PCI_COMMAND) & PCI_COMMAND_MASTER ? "bus master" : "no bus master");
	close(config);
	munmap((void *)registers, PAGE);
}

/* The pages that the device of the previous kernel wrote to belong to this one now. With Bus Master on, none of their bytes changes. */
static void look_at_memory(unsigned int round)
{
	int memory = open("/dev/mem", O_RDWR | O_SYNC | O_CLOEXEC), config = open_config(address);
	unsigned long pages[] = { environment("power_page"), environment("power_completion") };
	unsigned char *bytes[ARRAY_SIZE(pages)];
	size_t written = 0;

	for (size_t i = 0; i < ARRAY_SIZE(pages); i++) {
		bytes[i] = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, memory, pages[i]);
		need(bytes[i] != MAP_FAILED, "/dev/mem");
		memset(bytes[i], PATTERN, PAGE);
	}
	need(!write_config(config, PCI_COMMAND, read_config(config, PCI_COMMAND) | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER), "Bus Master");
	pause_us(LONG_NS / 1000 + 500000);
	for (size_t i = 0; i < ARRAY_SIZE(pages); i++)
		written += differing(bytes[i], PATTERN, PAGE);
	say("the memory of round %u: %zu bytes written", round, written);
}

/* Reads memory of this kernel, by its physical address. */
static void read_physical(unsigned long address, void *bytes, size_t length)
{
	int memory = open("/proc/kcore", O_RDONLY | O_CLOEXEC);
	Elf64_Ehdr header;
	Elf64_Phdr segment;

	need(pread(memory, &header, sizeof(header), 0) == sizeof(header), "kcore");
	for (int i = 0; i < header.e_phnum; i++) {
		need(pread(memory, &segment, sizeof(segment), header.e_phoff + i * sizeof(segment)) == sizeof(segment), "kcore");
		if (segment.p_type == PT_LOAD && address >= segment.p_paddr && address - segment.p_paddr < segment.p_memsz) {
			need(pread(memory, bytes, length, segment.p_offset + address - segment.p_paddr) == length, "memory");
			close(memory);
			return;
		}
	}
	need(false, "the address");
}

/* Where the first copy went to. */
static unsigned long destination(void)
{
	uint64_t descriptor[3];

	read_physical(read64(registers_of_device(), CHAIN_ADDRESS), descriptor, sizeof(descriptor));
	return descriptor[2];
}

/* The next kernel does not use what the device writes to, and is loaded elsewhere: of three ranges of memory, into one without these pages. */
static void load_kernel_without(unsigned long page, unsigned int round)
{
	unsigned long completion = read64(registers_of_device(), COMPLETION_ADDRESS);
	const unsigned long range = 0x10000000;
	unsigned long start = range;
	char words[160];

	while (start / range == page / range || start / range == completion / range)
		start += range;
	snprintf(words, sizeof(words), "memmap=4K$%#lx memmap=4K$%#lx power_page=%#lx power_completion=%#lx", page, completion, page, completion);
	load_kernel(start, start + range - 1, words, round);
}

/* A program that never exits. */
static void ask_for_more(void)
{
	struct rdma_completion completions[8];
	int fd = open_node(O_RDWR);
	struct buffer own;

	need(fd >= 0 && !allocate(fd, 2 * PAGE, &own), "a second context");
	for (;;) {
		submit_one(fd, copying(&own, PAGE, &own, 0, PAGE, 0));
		take(fd, completions, ARRAY_SIZE(completions));
		pause_us(100);
	}
}

int main(int count, char **arguments)
{
	bool kexec = count == 3 && !strcmp(arguments[1], "kexec");
	unsigned int round = environment("power_round"), delay, time_ns;
	struct rdma_request requests[COPIES];
	struct buffer from, to;
	struct ioat ioat;
	int fd;

	if (count != 3)
		return 2;
	find_device();
	look_at_device();
	if (kexec && round)
		look_at_memory(round - 1);
	insert_driver("");
	need(!ioat_bind(address) && !wait_for_node(NODE), NODE);
	if (kexec && round == strtoul(arguments[2], NULL, 0))
		return 0;

	fd = open_node(O_RDWR);
	need(fd >= 0 && !ioat_open(0, &ioat) && !allocate(fd, PAGE, &from) && !allocate(fd, PAGE, &to), "buffers");
	/* The time that the previous kernel has set: no reset changes it. */
	time_ns = ioat_get(&ioat, IOAT_TIME) == SHORT_NS ? LONG_NS : SHORT_NS;
	ioat_timing(&ioat, 0, 0);
	fill(from.bytes, PAGE, round);
	memset(to.bytes, 0xee, PAGE);
	need(!copy(fd, &to, 0, &from, 0, PAGE) && !memcmp(from.bytes, to.bytes, PAGE), "a copy");
	if (kexec)
		load_kernel_without(destination(), round + 1);
	delay = any_below(COPIES * (SHORT_NS / 1000));
	ioat_timing(&ioat, time_ns, 0);

	for (int i = 0; i < COPIES; i++)
		requests[i] = copying(&to, 0, &from, 0, PAGE, i);
	need(submit(fd, requests, COPIES) == COPIES, "the copies");
	say("started copies of %u us each; leaving %u us later", time_ns / 1000, delay);
	if (!fork())
		ask_for_more();
	pause_us(delay);
	leave(kexec);
}
