/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * zero_copy: sends a file through the DMA engine, and the CPU touches none of its bytes.
 *
 * Each block is read from the disk into memory of this program (open(2), O_DIRECT), copied by the engine (RDMA_IOC_REGISTER makes buffers of the
 * memory), and sent from there (send(2), MSG_ZEROCOPY). An accelerator would do more with it than copy.
 *
 *   zero_copy -l PORT >COPY       receives a file
 *   zero_copy PORT FILE           sends it
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <error.h>
#include <fcntl.h>
#include <linux/errqueue.h>
#include <netinet/in.h>
#include <poll.h>
#include <rdma.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define BLOCK (1u << 20)

static long check(long result, const char *what)
{
	if (result < 0)
		error(1, errno, "%s", what);
	return result;
}

/* Memory of this program that is a buffer, too. */
struct memory {
	unsigned char *bytes;
	uint32_t handle;
};

static struct memory make_memory(int device)
{
	struct memory memory = {
		.bytes = mmap(NULL, BLOCK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
	};
	struct rdma_register request = { .address = (uintptr_t)memory.bytes, .size = BLOCK };

	if (memory.bytes == MAP_FAILED)
		error(1, errno, "mmap");
	check(ioctl(device, RDMA_IOC_REGISTER, &request), "RDMA_IOC_REGISTER");
	memory.handle = request.handle;
	return memory;
}

static void copy(int device, const struct memory *from, const struct memory *to, size_t length)
{
	struct rdma_request request = {
		.operation = RDMA_OP_COPY,
		.source = from->handle,
		.destination = to->handle,
		.length = length,
	};

	check(ioctl(device, RDMA_IOC_TRANSFER, &request), "RDMA_IOC_TRANSFER");
}

/*
 * Waits until the kernel no longer uses the memory of `sends` calls of send(2), and returns how many of them it has copied after all.
 * Source: Documentation/networking/msg_zerocopy.rst
 */
static unsigned int wait_sent(int socket, unsigned int sends)
{
	unsigned int copied = 0;

	while (sends) {
		struct pollfd one = { .fd = socket };
		char control[256];
		struct msghdr message = { .msg_control = control, .msg_controllen = sizeof(control) };
		struct sock_extended_err *notice;

		check(poll(&one, 1, -1), "poll"); /* POLLERR */
		if (recvmsg(socket, &message, MSG_ERRQUEUE) < 0) {
			if (errno == EAGAIN)
				continue;
			error(1, errno, "recvmsg");
		}
		notice = (struct sock_extended_err *)CMSG_DATA(CMSG_FIRSTHDR(&message));
		if (notice->ee_origin != SO_EE_ORIGIN_ZEROCOPY)
			error(1, notice->ee_errno, "send");
		sends -= notice->ee_data - notice->ee_info + 1;
		if (notice->ee_code & SO_EE_CODE_ZEROCOPY_COPIED)
			copied += notice->ee_data - notice->ee_info + 1;
	}
	return copied;
}

static unsigned int send_all(int socket, const unsigned char *bytes, size_t length, unsigned int *copied)
{
	unsigned int sends = 0;

	while (length) {
		ssize_t sent = check(send(socket, bytes, length, MSG_ZEROCOPY), "send");

		bytes += sent;
		length -= sent;
		sends++;
	}
	*copied += wait_sent(socket, sends);
	return sends;
}

static double user_ms(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_utime.tv_sec * 1e3 + usage.ru_utime.tv_usec / 1e3;
}

static void send_file(int socket, const char *path)
{
	int device = check(open("/dev/rdma0", O_RDWR | O_CLOEXEC), "/dev/rdma0");
	int file = check(open(path, O_RDONLY | O_DIRECT | O_CLOEXEC), path);
	struct memory from = make_memory(device), to = make_memory(device);
	unsigned int sends = 0, copied = 0, blocks = 0;
	unsigned long long total = 0;
	int one = 1;
	long length;

	check(setsockopt(socket, SOL_SOCKET, SO_ZEROCOPY, &one, sizeof(one)), "SO_ZEROCOPY");
	while ((length = check(read(file, from.bytes, BLOCK), path)) > 0) {
		copy(device, &from, &to, length);
		sends += send_all(socket, to.bytes, length, &copied);
		total += length;
		blocks++;
	}
	printf("%llu bytes in %u blocks: read with O_DIRECT, copied by the engine, sent by %u zero-copy calls\n", total, blocks, sends);
	printf("%.1f ms of CPU time in this program", user_ms());
	printf(copied ? "; the kernel has copied %u sends, as it does on the loopback interface\n" : "\n", copied);
}

static void receive_file(int socket)
{
	static unsigned char bytes[BLOCK];
	ssize_t length;

	while ((length = check(read(socket, bytes, sizeof(bytes)), "read")) > 0)
		for (ssize_t done = 0; done < length;)
			done += check(write(STDOUT_FILENO, bytes + done, length - done), "write");
}

int main(int argc, char **argv)
{
	int listens = argc == 3 && !strcmp(argv[1], "-l");
	int end = check(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int one = 1;

	if (argc != 3)
		error(2, 0, "usage: zero_copy -l PORT >COPY, or zero_copy PORT FILE");
	address.sin_port = htons(atoi(argv[listens ? 2 : 1]));
	if (!listens) {
		check(connect(end, (struct sockaddr *)&address, sizeof(address)), "connect");
		send_file(end, argv[2]);
		return 0;
	}
	check(setsockopt(end, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)), "SO_REUSEADDR");
	check(bind(end, (struct sockaddr *)&address, sizeof(address)), "bind");
	check(listen(end, 1), "listen");
	receive_file(check(accept(end, NULL, NULL), "accept"));
	return 0;
}
