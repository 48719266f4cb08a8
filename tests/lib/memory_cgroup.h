/* SPDX-License-Identifier: GPL-2.0 */
/* A memory cgroup of the test, CGROUP. */
#ifndef MEMORY_CGROUP_H
#define MEMORY_CGROUP_H

#include "rdma_test.h"

#include <sys/mount.h>
#include <sys/stat.h>

#define CGROUPS "/tmp/rdma-cgroups"
#define CGROUP CGROUPS "/rdma"

static inline int create_cgroup(void)
{
	int error;

	mkdir(CGROUPS, 0755);
	if (mount("none", CGROUPS, "cgroup2", 0, NULL) && errno != EBUSY)
		return -errno;
	error = write_text(CGROUPS "/cgroup.subtree_control", "+memory");
	if (error)
		return error;
	return mkdir(CGROUP, 0755) && errno != EEXIST ? -errno : 0;
}

static inline void remove_cgroup(void)
{
	/* The last charges of a process that has exited are removed with a delay. */
	for (int i = 0; i < 100 && rmdir(CGROUP); i++)
		pause_us(10000);
	umount2(CGROUPS, MNT_DETACH);
	rmdir(CGROUPS);
}

#endif
