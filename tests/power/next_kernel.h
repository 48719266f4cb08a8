/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Leaving this kernel at a given moment for the next one, in a guest that is in memory only, which runs the same program there. It logs what it finds
 * and does in the kernel's log, with the time; tests/power/run checks it. The next kernel of a kexec gets the number of the round and addresses of
 * memory, which it does not use, in its command line (which is in the program's environment).
 */
#ifndef NEXT_KERNEL_H
#define NEXT_KERNEL_H

#include "monitor.h"
#include "registers.h"
#include "requests.h"

#include <limits.h>
#include <linux/reboot.h>
#include <stdarg.h>
#include <sys/random.h>
#include <sys/reboot.h>
#include <sys/syscall.h>

/* A line of the kernel's log. */
static inline void say(const char *format, ...)
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

static inline void need(bool is_so, const char *what)
{
	if (is_so)
		return;
	say("failed: %s: %s", what, strerror(errno));
	exit(1);
}

static inline unsigned long environment(const char *name)
{
	const char *text = getenv(name);

	return text ? strtoul(text, NULL, 0) : 0;
}

static inline void insert_driver(const char *parameters)
{
	int module = open("/rdma.ko", O_RDONLY | O_CLOEXEC);

	need(!syscall(SYS_finit_module, module, parameters, 0), "the driver");
	close(module);
}

/* The kernel for the next round: this one, in memory from `start` to `end`. `words` are added to its command line. */
static inline void load_kernel(unsigned long start, unsigned long end, const char *words, unsigned int round)
{
	static char base[2048], command[4096];

	need(!read_text("/proc/cmdline", base, sizeof(base)), "/proc/cmdline");
	base[strcspn(base, "\n")] = '\0';
	if (strstr(base, " memmap="))
		*strstr(base, " memmap=") = '\0';
	snprintf(command, sizeof(command),
		 "cat /sys/firmware/initrd >/initrd && kexec --load --kexec-syscall --no-checks --mem-min=%#lx --mem-max=%#lx --initrd=/initrd "
		 "--command-line='%s %s power_round=%u' /vmlinuz",
		 start, end, base, words, round);
	need(!system(command), "kexec");
}

/* A random number less than this one. */
static inline unsigned int any_below(unsigned int limit)
{
	unsigned int number;

	need(getrandom(&number, sizeof(number), GRND_INSECURE) == sizeof(number), "a random number");
	return number % limit;
}

static inline void leave(bool kexec)
{
	syscall(SYS_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, kexec ? LINUX_REBOOT_CMD_KEXEC : LINUX_REBOOT_CMD_RESTART, NULL);
	need(false, "reboot");
}

#endif
