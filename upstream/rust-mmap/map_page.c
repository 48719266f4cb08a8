// SPDX-License-Identifier: GPL-2.0
/* Maps the page of a file of /dev/rust-misc-device, the sample of the series, in all ways. Prints KTAP. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAGE = 4096, READ_WRITE = PROT_READ | PROT_WRITE };

static int fd, number, failed;

static void result(int done, const char *name)
{
	failed |= !done;
	printf("%sok %d %s\n", done ? "" : "not ", ++number, name);
}

static char *map(size_t length, int protection, int flags, off_t offset)
{
	return mmap(NULL, length, protection, flags, fd, offset);
}

static int is_refused(char *mapping, int error)
{
	return mapping == MAP_FAILED && errno == error;
}

/* Whether a forked child sees the byte, and the parent the one that the child writes. The child outlives its own mapping. */
static int is_shared_with_child(char *page)
{
	int status;
	pid_t child;

	page[100] = 1;
	child = fork();
	if (!child) {
		int seen = page[100] == 1;

		page[101] = 2;
		_exit(!seen || munmap(page, PAGE));
	}
	return waitpid(child, &status, 0) == child && !status && page[101] == 2;
}

int main(void)
{
	char *first, *second, *private, *other;
	int same = 1;

	fd = open("/dev/rust-misc-device", O_RDWR);
	if (fd < 0) {
		perror("/dev/rust-misc-device");
		return 1;
	}
	printf("KTAP version 1\n1..9\n");

	result(is_refused(map(2 * PAGE, READ_WRITE, MAP_SHARED, 0), EINVAL), "a mapping of two pages is refused");
	result(is_refused(map(PAGE, READ_WRITE, MAP_SHARED, PAGE), EINVAL), "a mapping of the second page is refused");
	result(is_refused(map(PAGE, READ_WRITE | PROT_EXEC, MAP_SHARED, 0), EINVAL), "an executable mapping is refused");

	first = map(PAGE, READ_WRITE, MAP_SHARED, 0);
	second = map(PAGE, PROT_READ, MAP_SHARED, 0);
	private = map(PAGE, READ_WRITE, MAP_PRIVATE, 0);
	if (first == MAP_FAILED || second == MAP_FAILED || private == MAP_FAILED)
		return 1;
	for (int i = 0; i < PAGE; i++)
		same &= !first[i];
	strcpy(first, "the same");
	result(same && !strcmp(second, "the same"), "two mappings show the same page, which was zero");
	private[0] = 'T';
	result(first[0] == 't' && !strcmp(private, "The same"), "a private mapping is a copy");
	result(is_shared_with_child(first), "a child shares the mapping");
	result(mprotect(first, PAGE, READ_WRITE | PROT_EXEC) && errno == EACCES &&
		       mremap(first, PAGE, 2 * PAGE, MREMAP_MAYMOVE) == MAP_FAILED,
	       "it becomes neither executable nor larger");

	other = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	other = mremap(second, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, other);
	result(other != MAP_FAILED && !strcmp(other, "the same"), "it can be moved");

	same = 1;
	for (int i = 0; i < 2000; i++) {
		char *again = map(PAGE, READ_WRITE, MAP_SHARED | (i % 2 ? MAP_POPULATE : 0), 0);

		same &= again != MAP_FAILED && again[0] == 't' && !munmap(again, PAGE);
	}
	close(fd);
	result(same && first[0] == 't' && !munmap(first, PAGE) && other[0] == 't',
	       "mappings are independent of each other and of the descriptor");
	return failed;
}
