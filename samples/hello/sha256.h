/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* SHA-256 of a stream of bytes, by the kernel (AF_ALG, see its Documentation/crypto/userspace-if.rst). */
#ifndef SHA256_H
#define SHA256_H

#include <linux/if_alg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SHA256_SIZE 32

/* Starts a hash; returns a file descriptor, or -1 and errno. */
static int sha256_begin(void)
{
	struct sockaddr_alg name = { .salg_family = AF_ALG, .salg_type = "hash", .salg_name = "sha256" };
	int algorithm = socket(AF_ALG, SOCK_SEQPACKET, 0);
	int hash = -1;

	if (algorithm >= 0 && bind(algorithm, (struct sockaddr *)&name, sizeof(name)) == 0)
		hash = accept(algorithm, NULL, NULL);
	if (algorithm >= 0)
		close(algorithm);
	return hash;
}

/*
 * Adds bytes; returns 0, or -1 and errno. They are sent from a copy, because the kernel pins the memory that it hashes, and
 * a mapping of a device cannot be pinned.
 */
static int sha256_add(int hash, const unsigned char *bytes, size_t length)
{
	static unsigned char copy[16 * 1024];

	while (length > 0) {
		size_t part = length < sizeof(copy) ? length : sizeof(copy);

		memcpy(copy, bytes, part);
		if (send(hash, copy, part, MSG_MORE) != (ssize_t)part)
			return -1;
		bytes += part;
		length -= part;
	}
	return 0;
}

/* Finishes the hash; returns 0, or -1 and errno. */
static int sha256_end(int hash, unsigned char digest[SHA256_SIZE])
{
	int good = send(hash, NULL, 0, 0) == 0 && read(hash, digest, SHA256_SIZE) == SHA256_SIZE;

	close(hash);
	return good ? 0 : -1;
}

static void sha256_print(const char *title, const unsigned char digest[SHA256_SIZE])
{
	fputs(title, stdout);
	for (int i = 0; i < SHA256_SIZE; i++)
		printf("%02x", digest[i]);
	putchar('\n');
}

#endif
