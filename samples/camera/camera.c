/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * camera: records a video. The driver of the camera writes frames into buffers of this driver, and the engine copies each of them to its place in
 * the recording, while the next one is written.
 *
 * The buffers are exported as dma-bufs (RDMA_IOC_EXPORT), which the driver of the camera imports (V4L2_MEMORY_DMABUF).
 *
 *   camera FRAMES FILE       the engine copies
 *   camera -c FRAMES FILE    the CPU copies, to compare
 */
#define _GNU_SOURCE
#include <errno.h>
#include <error.h>
#include <fcntl.h>
#include <linux/dma-buf.h>
#include <linux/videodev2.h>
#include <rdma.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#define WIDTH 640
#define HEIGHT 360
#define FRAME (WIDTH * HEIGHT * 2) /* YUYV: two bytes a pixel */
#define QUEUED 3

static long check(long result, const char *what)
{
	if (result < 0)
		error(1, errno, "%s", what);
	return result;
}

struct buffer {
	unsigned char *bytes;
	uint32_t handle;
	int dma_buf;
};

static struct buffer allocate(int device, size_t size)
{
	struct rdma_alloc request = { .size = size };
	struct buffer buffer = { .dma_buf = -1 };

	check(ioctl(device, RDMA_IOC_ALLOC, &request), "RDMA_IOC_ALLOC");
	buffer.handle = request.handle;
	buffer.bytes = mmap(NULL, request.size, PROT_READ | PROT_WRITE, MAP_SHARED, device, request.mmap_offset);
	if (buffer.bytes == MAP_FAILED)
		error(1, errno, "mmap");
	return buffer;
}

static struct buffer allocate_shared(int device, size_t size)
{
	struct buffer buffer = allocate(device, size);
	struct rdma_export request = { .handle = buffer.handle };

	check(ioctl(device, RDMA_IOC_EXPORT, &request), "RDMA_IOC_EXPORT");
	buffer.dma_buf = request.fd;
	return buffer;
}

static void copy_by_engine(int device, const struct buffer *frame, const struct buffer *recording, size_t offset)
{
	struct rdma_request request = {
		.operation = RDMA_OP_COPY,
		.source = frame->handle,
		.destination = recording->handle,
		.destination_offset = offset,
		.length = FRAME,
	};

	check(ioctl(device, RDMA_IOC_TRANSFER, &request), "RDMA_IOC_TRANSFER");
}

static void copy_by_cpu(const struct buffer *frame, const struct buffer *recording, size_t offset)
{
	struct dma_buf_sync sync = { .flags = DMA_BUF_SYNC_READ };

	sync.flags |= DMA_BUF_SYNC_START;
	check(ioctl(frame->dma_buf, DMA_BUF_IOCTL_SYNC, &sync), "DMA_BUF_IOCTL_SYNC");
	memcpy(recording->bytes + offset, frame->bytes, FRAME);
	sync.flags ^= DMA_BUF_SYNC_START | DMA_BUF_SYNC_END;
	check(ioctl(frame->dma_buf, DMA_BUF_IOCTL_SYNC, &sync), "DMA_BUF_IOCTL_SYNC");
}

static int open_camera(void)
{
	int camera = check(open("/dev/video0", O_RDWR | O_CLOEXEC), "/dev/video0");
	struct v4l2_format format = {
		.type = V4L2_BUF_TYPE_VIDEO_CAPTURE,
		.fmt.pix = { .width = WIDTH, .height = HEIGHT, .pixelformat = V4L2_PIX_FMT_YUYV, .field = V4L2_FIELD_NONE },
	};
	struct v4l2_requestbuffers request = { .count = QUEUED, .type = V4L2_BUF_TYPE_VIDEO_CAPTURE, .memory = V4L2_MEMORY_DMABUF };

	check(ioctl(camera, VIDIOC_S_FMT, &format), "VIDIOC_S_FMT");
	if (format.fmt.pix.sizeimage != FRAME || format.fmt.pix.pixelformat != V4L2_PIX_FMT_YUYV)
		error(1, 0, "the camera has no frames of %dx%d pixels in YUYV", WIDTH, HEIGHT);
	check(ioctl(camera, VIDIOC_REQBUFS, &request), "VIDIOC_REQBUFS");
	return camera;
}

static void queue(int camera, int index, const struct buffer *frame)
{
	struct v4l2_buffer buffer = {
		.type = V4L2_BUF_TYPE_VIDEO_CAPTURE, .memory = V4L2_MEMORY_DMABUF, .index = index, .m.fd = frame->dma_buf
	};

	check(ioctl(camera, VIDIOC_QBUF, &buffer), "VIDIOC_QBUF");
}

/* Waits for a frame, and returns the index of its buffer. */
static int dequeue(int camera)
{
	struct v4l2_buffer buffer = { .type = V4L2_BUF_TYPE_VIDEO_CAPTURE, .memory = V4L2_MEMORY_DMABUF };

	check(ioctl(camera, VIDIOC_DQBUF, &buffer), "VIDIOC_DQBUF");
	return buffer.index;
}

/* How often this program has accessed memory that was not in its page tables: what it never accesses stays out of them. */
static long page_faults(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_minflt;
}

static void save(const char *path, const unsigned char *bytes, size_t size)
{
	FILE *file = fopen(path, "wbe");

	if (!file || fwrite(bytes, 1, size, file) != size || fclose(file))
		error(1, errno, "%s", path);
}

int main(int argc, char **argv)
{
	bool by_cpu = argc == 4 && !strcmp(argv[1], "-c");
	int frames = argc == 3 + by_cpu ? atoi(argv[1 + by_cpu]) : 0;
	int device, camera, type = V4L2_BUF_TYPE_VIDEO_CAPTURE, changed = 0;
	struct buffer recording, queued[QUEUED];
	long faults;

	if (frames < 1 || frames > 1000)
		error(2, 0, "usage: camera [-c] FRAMES FILE, with 1 to 1000 frames");
	device = check(open("/dev/rdma0", O_RDWR | O_CLOEXEC), "/dev/rdma0");
	camera = open_camera();
	recording = allocate(device, (size_t)frames * FRAME);
	for (int i = 0; i < QUEUED; i++) {
		queued[i] = allocate_shared(device, FRAME);
		queue(camera, i, &queued[i]);
	}
	faults = page_faults();
	check(ioctl(camera, VIDIOC_STREAMON, &type), "VIDIOC_STREAMON");
	for (int frame = 0; frame < frames; frame++) {
		int index = dequeue(camera);

		if (by_cpu)
			copy_by_cpu(&queued[index], &recording, (size_t)frame * FRAME);
		else
			copy_by_engine(device, &queued[index], &recording, (size_t)frame * FRAME);
		queue(camera, index, &queued[index]);
	}
	check(ioctl(camera, VIDIOC_STREAMOFF, &type), "VIDIOC_STREAMOFF");
	faults = page_faults() - faults;
	for (int frame = 1; frame < frames; frame++)
		changed += memcmp(recording.bytes + (size_t)(frame - 1) * FRAME, recording.bytes + (size_t)frame * FRAME, FRAME) !=
			   0;
	save(argv[2 + by_cpu], recording.bytes, (size_t)frames * FRAME);
	printf("%d frames of %d bytes, copied by the %s; %ld page faults until the last one\n", frames, FRAME,
	       by_cpu ? "CPU" : "engine", faults);
	printf("%d frames differ from the one before\n", changed);
	return 0;
}
