/* SPDX-License-Identifier: GPL-2.0 */
/* dma-bufs: exported by the driver, and imported by vgem, a driver of the kernel that adds fences to them and accesses no bytes. */
#ifndef DMA_BUF_H
#define DMA_BUF_H

#include "rdma_test.h"

#include <drm/vgem_drm.h>
#include <glob.h>
#include <linux/dma-buf.h>
#include <poll.h>

/* A descriptor of the buffer, or an error. */
static inline int export_buffer(int fd, uint32_t handle)
{
	struct rdma_export request = { .handle = handle, .fd = -1 };
	int error = call(fd, RDMA_IOC_EXPORT, &request);

	return error ?: request.fd;
}

static inline int sync_buffer(int dma_buf, uint64_t flags)
{
	struct dma_buf_sync sync = { .flags = flags };

	return call(dma_buf, DMA_BUF_IOCTL_SYNC, &sync);
}

/* Whether the fences of the dma-buf that protect reading (POLLIN) or writing (POLLOUT) are signalled. */
static inline bool ready(int dma_buf, short events)
{
	struct pollfd poller = { .fd = dma_buf, .events = events };

	return poll(&poller, 1, 0) == 1 && poller.revents == events;
}

static inline int find_vgem(void)
{
	glob_t paths;
	int fd = -ENODEV;

	if (glob("/dev/dri/card*", 0, NULL, &paths))
		return -ENODEV;
	for (size_t i = 0; i < paths.gl_pathc && fd < 0; i++) {
		char name[8] = "";
		struct drm_version version = { .name = name, .name_len = sizeof(name) - 1 };

		fd = result(open(paths.gl_pathv[i], O_RDWR | O_CLOEXEC));
		if (fd >= 0 && (ioctl(fd, DRM_IOCTL_VERSION, &version) || strcmp(name, "vgem"))) {
			close(fd);
			fd = -ENODEV;
		}
	}
	globfree(&paths);
	return fd;
}

/* A client of vgem; an error if the kernel does not have it. */
static inline int open_vgem(void)
{
	int fd = find_vgem();

	return fd < 0 && !system("modprobe vgem 2>/dev/null") ? find_vgem() : fd;
}

/* Imports the dma-buf, without mapping it. */
static inline int vgem_import(int vgem, int dma_buf, uint32_t *handle)
{
	struct drm_prime_handle prime = { .fd = dma_buf };
	int error = call(vgem, DRM_IOCTL_PRIME_FD_TO_HANDLE, &prime);

	*handle = prime.handle;
	return error;
}

static inline int vgem_release(int vgem, uint32_t handle)
{
	struct drm_gem_close gem = { .handle = handle };

	return call(vgem, DRM_IOCTL_GEM_CLOSE, &gem);
}

/* A fence as of a request that writes the imported dma-buf. */
static inline int vgem_begin_write(int vgem, uint32_t handle, uint32_t *fence)
{
	struct drm_vgem_fence_attach attach = { .handle = handle, .flags = VGEM_FENCE_WRITE };
	int error = call(vgem, DRM_IOCTL_VGEM_FENCE_ATTACH, &attach);

	*fence = attach.out_fence;
	return error;
}

static inline int vgem_end_write(int vgem, uint32_t fence)
{
	struct drm_vgem_fence_signal signal = { .fence = fence };

	return call(vgem, DRM_IOCTL_VGEM_FENCE_SIGNAL, &signal);
}

#endif
