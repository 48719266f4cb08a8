/* SPDX-License-Identifier: GPL-2.0 */
/*
 * dma-bufs: exported by the driver, and imported by vgem, a driver of the kernel that adds fences to them and accesses no bytes; and those of other
 * drivers, which the driver imports.
 */
#ifndef DMA_BUF_H
#define DMA_BUF_H

#include "rdma_test.h"

#include <drm/vgem_drm.h>
#include <glob.h>
#include <linux/dma-buf.h>
#include <linux/dma-heap.h>
#include <linux/udmabuf.h>
#include <poll.h>

/* A descriptor of the buffer, or an error. */
static inline int export_buffer(int fd, uint32_t handle)
{
	struct rdma_export request = { .handle = handle, .fd = -1 };
	int error = call(fd, RDMA_IOC_EXPORT, &request);

	return error ?: request.fd;
}

static inline int import_buffer(int fd, int dma_buf, uint32_t flags, struct buffer *buffer)
{
	struct rdma_import request = { .fd = dma_buf, .flags = flags };
	int error = call(fd, RDMA_IOC_IMPORT, &request);

	*buffer = (struct buffer){ request.handle, request.size, RDMA_NO_OFFSET, NULL };
	return error;
}

#define UDMABUF "/dev/udmabuf"

/* A memory file as a dma-buf, open for reading and writing. */
static inline int memory_file_buffer(size_t size)
{
	struct udmabuf_create create = { .flags = UDMABUF_FLAGS_CLOEXEC, .size = size };
	int file = memfd_create("imported", MFD_ALLOW_SEALING | MFD_CLOEXEC), driver, dma_buf;

	if (file < 0 || ftruncate(file, size) || fcntl(file, F_ADD_SEALS, F_SEAL_SHRINK))
		return -errno;
	driver = open(UDMABUF, O_RDWR | O_CLOEXEC);
	create.memfd = file;
	dma_buf = call(driver, UDMABUF_CREATE, &create);
	close(driver);
	close(file);
	return dma_buf;
}

/* Memory of the system's heap as a dma-buf, with this access mode. */
static inline int heap_buffer(size_t size, int flags)
{
	struct dma_heap_allocation_data data = { .len = size, .fd_flags = flags | O_CLOEXEC };
	int heap = open("/dev/dma_heap/system", O_RDONLY | O_CLOEXEC);
	int error = call(heap, DMA_HEAP_IOCTL_ALLOC, &data);

	close(heap);
	return error ?: (int)data.fd;
}

static inline int sync_buffer(int dma_buf, uint64_t flags)
{
	struct dma_buf_sync sync = { .flags = flags };

	return call(dma_buf, DMA_BUF_IOCTL_SYNC, &sync);
}

/* Whether the fences of the dma-buf that protect reading (POLLIN) or writing (POLLOUT) are signalled. */
static inline bool signalled(int dma_buf, short events)
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
