// SPDX-License-Identifier: GPL-2.0
/*
 * fork_zap PCI-ADDRESS BAR ROUNDS : does a forked child keep a huge page of a BAR that vfio-pci has removed from all mappings?
 *
 * vfio-pci removes the mappings of a BAR when a program disables the device's memory decoding in the PCI command register. Until it is enabled
 * again, each access raises SIGBUS. A real-time process does this at a random time, while another one, on the same CPU, forks. In each round, the
 * child of the fork that was interrupted accesses each huge page of the BAR.
 *
 * The device must be bound to vfio-pci. The more huge pages its BAR has, the more of the time of a fork is spent in copy_huge_pmd(); QEMU's
 * ivshmem-plain has one of any size. Ends with status 0 if no child could read anything in any round, with 1 in the first round in which one could.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <libgen.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define HUGE_PAGE (2UL << 20)
#define LARGEST_PAGE (1UL << 30)

static struct {
	int fd;
	off_t command; /* offset of the command register */
	volatile uint32_t *bar;
	size_t pages;
} device;

static struct {
	atomic_int wanted, disabled; /* rounds */
	atomic_long fork_time; /* of the last one, in nanoseconds */
} *shared;

static long forks;
static sigjmp_buf after_sigbus;

static int open_device(const char *address)
{
	char path[128], target[128] = "";
	int container = open("/dev/vfio/vfio", O_RDWR), group;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/iommu_group", address);
	if (readlink(path, target, sizeof(target) - 1) < 0)
		err(2, "%s", path);
	snprintf(path, sizeof(path), "/dev/vfio/%s", basename(target));
	group = open(path, O_RDWR);
	if (container < 0 || group < 0)
		err(2, "%s", path);
	if (ioctl(group, VFIO_GROUP_SET_CONTAINER, &container) || ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU))
		err(2, "%s: the IOMMU", path);
	return ioctl(group, VFIO_GROUP_GET_DEVICE_FD, address);
}

static struct vfio_region_info region(unsigned int index)
{
	struct vfio_region_info region = { .argsz = sizeof(region), .index = index };

	if (ioctl(device.fd, VFIO_DEVICE_GET_REGION_INFO, &region))
		err(2, "region %u", index);
	return region;
}

/* Maps the BAR where its pages of 2 MiB are aligned, and those of 1 GiB are not. */
static void map_bar(unsigned int index)
{
	struct vfio_region_info bar = region(index);
	char *area = mmap(NULL, bar.size + 2 * LARGEST_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	void *start = (void *)(((uintptr_t)area + LARGEST_PAGE - 1) / LARGEST_PAGE * LARGEST_PAGE + HUGE_PAGE);

	device.bar = mmap(start, bar.size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, device.fd, bar.offset);
	if (device.bar == MAP_FAILED)
		err(2, "BAR %u", index);
	device.pages = bar.size / HUGE_PAGE;
}

static void decode_memory(int on)
{
	uint16_t command;

	if (pread(device.fd, &command, sizeof(command), device.command) != sizeof(command))
		err(2, "reading the command register");
	command = on ? command | PCI_COMMAND_MEMORY : command & ~PCI_COMMAND_MEMORY;
	if (pwrite(device.fd, &command, sizeof(command), device.command) != sizeof(command))
		err(2, "writing the command register");
}

static void on_sigbus(int signal)
{
	(void)signal;
	siglongjmp(after_sigbus, 1);
}

/* How many of the first huge pages can be read. */
static size_t readable(size_t pages)
{
	volatile size_t count = 0;

	for (volatile size_t page = 0; page < pages; page++) {
		if (sigsetjmp(after_sigbus, 0)) /* the signal is not blocked in its handler */
			continue;
		(void)device.bar[page * HUGE_PAGE / sizeof(*device.bar)];
		count++;
	}
	return count;
}

static void on_this_cpu(int priority)
{
	struct sched_param param = { .sched_priority = priority };
	cpu_set_t cpu;

	CPU_ZERO(&cpu);
	CPU_SET(0, &cpu);
	if (sched_setaffinity(0, sizeof(cpu), &cpu) || (priority && sched_setscheduler(0, SCHED_FIFO, &param)))
		err(2, "the scheduler");
}

static long now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000L + time.tv_nsec;
}

/* Disables memory decoding at a random time of a fork in each round. It preempts the other process wherever this is. */
static void disable(int rounds)
{
	on_this_cpu(1);
	for (int round = 1; round <= rounds; round++) {
		while (atomic_load(&shared->wanted) < round)
			usleep(100);
		usleep(random() % (atomic_load(&shared->fork_time) / 1000 + 1));
		decode_memory(0);
		atomic_store(&shared->disabled, round);
	}
	_exit(0);
}

static int child_status(int round)
{
	size_t count = atomic_load(&shared->disabled) < round ? 0 : readable(device.pages);

	return count < 255 ? count : 255;
}

/* Forks once. Returns the number of huge pages that the child can still read, at most 255. */
static int fork_once(int round)
{
	long start = now();
	pid_t child = fork();
	int status;

	if (child < 0)
		err(2, "fork");
	if (!child)
		_exit(child_status(round));
	forks++;
	if (atomic_load(&shared->disabled) < round)
		atomic_store(&shared->fork_time, now() - start);
	if (waitpid(child, &status, 0) != child || !WIFEXITED(status))
		errx(2, "a child did not exit");
	return WEXITSTATUS(status);
}

/* Forks until memory decoding is disabled. Returns the number of huge pages that a child can still read. */
static int fork_until(int round)
{
	int kept;

	do
		kept = fork_once(round);
	while (!kept && atomic_load(&shared->disabled) < round);
	return kept;
}

/* One round, which begins and ends with memory decoding enabled and disabled. Returns the number of huge pages that a child can still read. */
static int one_round(int round)
{
	int kept;

	decode_memory(1);
	if (readable(device.pages) != device.pages)
		errx(2, "the BAR cannot be read");
	fork_once(round); /* to know how long it takes */
	atomic_store(&shared->wanted, round);
	kept = fork_until(round);
	if (readable(1))
		errx(2, "with memory decoding disabled, the parent can read the BAR");
	return kept;
}

int main(int argc, char *argv[])
{
	int rounds;

	if (argc != 4)
		errx(2, "usage: fork_zap PCI-ADDRESS BAR ROUNDS");
	rounds = atoi(argv[3]);
	sigaction(SIGBUS, &(struct sigaction){ .sa_handler = on_sigbus, .sa_flags = SA_NODEFER }, NULL);
	on_this_cpu(0);
	device.fd = open_device(argv[1]);
	if (device.fd < 0)
		err(2, "%s", argv[1]);
	device.command = region(VFIO_PCI_CONFIG_REGION_INDEX).offset + PCI_COMMAND;
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		err(2, "mmap");
	if (!fork()) /* before the BAR is mapped, and with an address space that the other forks do not lock */
		disable(rounds);
	map_bar(atoi(argv[2]));

	for (int round = 1; round <= rounds; round++) {
		int kept = one_round(round);

		if (!kept)
			continue;
		printf("round %d: with memory decoding disabled, a child reads %d of %zu huge pages\n", round, kept, device.pages);
		return 1;
	}
	printf("%d rounds, %ld forks of %ld us: with memory decoding disabled, no child reads anything\n", rounds, forks,
	       shared->fork_time / 1000);
	return 0;
}
