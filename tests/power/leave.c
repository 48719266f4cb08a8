// SPDX-License-Identifier: GPL-2.0
/*
 * leave reboot|kexec LAST : leave this kernel at a random moment of a transfer from the device to memory.
 *
 * In a guest that is in memory only; the next kernel runs this again. It logs what it finds and does in the kernel's log, with the time;
 * tests/power/run checks it. The next kernel of a kexec gets the address of that memory in its command line (which is in this
 * program's environment), and does not use it; it powers off if it is the one of round LAST.
 */
#include "monitor.h"
#include "registers.h"
#include "requests.h"

#include <linux/reboot.h>
#include <stdarg.h>
#include <sys/random.h>
#include <sys/reboot.h>
#include <sys/syscall.h>

#define ADDRESS "0000:01:00.0"

/* A line of the kernel's log. */
static void say(const char *format, ...)
{
	char line[512] = "rdma-power: ";
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(line + strlen(line), sizeof(line) - strlen(line) - 1, format, arguments);
	va_end(arguments);
	strcat(line, "\n");
	if (write_text("/dev/kmsg", line))
		perror("/dev/kmsg");
}

static void need(bool is_so, const char *what)
{
	if (is_so)
		return;
	say("failed: %s: %s", what, strerror(errno));
	exit(1);
}

static unsigned long environment(const char *name)
{
	const char *text = getenv(name);

	return text ? strtoul(text, NULL, 0) : 0;
}

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

static void load_driver(void)
{
	int module = open("/rdma.ko", O_RDONLY | O_CLOEXEC);

	need(!syscall(SYS_finit_module, module, "", 0), "the driver");
	close(module);
	need(!wait_for_node(NODE), NODE);
}

/* The kernel for the next round: this one, in upper memory; buffers are in lower memory. */
static void load_kernel(unsigned long page, unsigned int round)
{
	static char base[2048], command[4096];

	need(!read_text("/proc/cmdline", base, sizeof(base)), "/proc/cmdline");
	base[strcspn(base, "\n")] = '\0';
	if (strstr(base, " memmap="))
		*strstr(base, " memmap=") = '\0';
	snprintf(command, sizeof(command),
		 "cat /sys/firmware/initrd >/initrd && kexec --load --kexec-syscall --no-checks --mem-min=0x10000000 --initrd=/initrd "
		 "--command-line='%s memmap=4K$%#lx power_page=%#lx power_round=%u' /vmlinuz",
		 base, page, page, round);
	need(!system(command), "kexec");
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
	load_driver();
	if (kexec && round == strtoul(arguments[2], NULL, 0))
		return 0;

	fd = open_node(O_RDWR);
	need(fd >= 0 && !allocate(fd, PAGE, &from) && !allocate(fd, PAGE, &to), "buffers");
	fill(from.bytes, DEVICE_MEMORY, round);
	need(!to_device(fd, &from, 0, 0, DEVICE_MEMORY) && !from_device(fd, &to, 0, 0, 1), "transfers");
	page = read64(registers_of_edu(), EDU_DMA_DESTINATION);
	memset(to.bytes, 0xee, DEVICE_MEMORY);
	if (kexec)
		load_kernel(page, round + 1);
	need(getrandom(&delay, sizeof(delay), GRND_INSECURE) == sizeof(delay), "a random number");
	delay %= TRANSFER_US * 9 / 10;

	need(submit_one(fd, reading(&to, 0, 0, DEVICE_MEMORY, 0)) == 1, "the transfer");
	say("started; leaving %u us later", delay);
	if (!fork())
		ask_for_more();
	pause_us(delay);
	syscall(SYS_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2,
		kexec ? LINUX_REBOOT_CMD_KEXEC : LINUX_REBOOT_CMD_RESTART, NULL);
	need(false, "reboot");
}
