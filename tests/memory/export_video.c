// SPDX-License-Identifier: GPL-2.0
/*
 * EXPORT to a driver of the kernel that has nothing to do with this one: vivid, a video device that writes frames into imported buffers. With
 * its first allocator, the kernel maps them (vmap); with the second one, they are also mapped for the device. Nothing can ask it to stop.
 */
#include "dma_buf.h"
#include "memory_cgroup.h"
#include "teardown.h"

#include <linux/videodev2.h>
#include <sys/wait.h>

enum { WIDTH = 320, HEIGHT = 180, FRAMES = 8 };
#define FRAME ((size_t)WIDTH * HEIGHT * 2)
#define SIZE (32 * 4096UL) /* contiguous, as the second allocator needs it */

FIXTURE(video)
{
	char address[32];
	int fd, video, dma_buf;
	struct buffer buffer;
};

FIXTURE_VARIANT(video)
{
	const char *load;
};

FIXTURE_VARIANT_ADD(video, mapped_by_the_kernel)
{
	.load = "modprobe vivid n_devs=1 node_types=0x1 num_inputs=1 input_types=0 allocators=0",
};

FIXTURE_VARIANT_ADD(video, mapped_for_the_device)
{
	.load = "modprobe vivid n_devs=1 node_types=0x1 num_inputs=1 input_types=0 allocators=1",
};

static int queue(int video, int dma_buf)
{
	struct v4l2_buffer buffer = { .type = V4L2_BUF_TYPE_VIDEO_CAPTURE, .memory = V4L2_MEMORY_DMABUF, .m.fd = dma_buf };

	return call(video, VIDIOC_QBUF, &buffer);
}

/* Waits for a frame. */
static int dequeue(int video)
{
	struct v4l2_buffer buffer = { .type = V4L2_BUF_TYPE_VIDEO_CAPTURE, .memory = V4L2_MEMORY_DMABUF };

	return call(video, VIDIOC_DQBUF, &buffer);
}

static int stream(int video, bool on)
{
	int type = V4L2_BUF_TYPE_VIDEO_CAPTURE;

	return call(video, on ? VIDIOC_STREAMON : VIDIOC_STREAMOFF, &type);
}

static int request_buffers(int video, unsigned int count)
{
	struct v4l2_requestbuffers request = {
		.count = count, .type = V4L2_BUF_TYPE_VIDEO_CAPTURE, .memory = V4L2_MEMORY_DMABUF };

	return call(video, VIDIOC_REQBUFS, &request);
}

static int prepare_video(int video)
{
	struct v4l2_format format = {
		.type = V4L2_BUF_TYPE_VIDEO_CAPTURE,
		.fmt.pix = { .width = WIDTH, .height = HEIGHT, .pixelformat = V4L2_PIX_FMT_YUYV, .field = V4L2_FIELD_NONE } };
	int error = call(video, VIDIOC_S_FMT, &format);

	if (error || format.fmt.pix.sizeimage != FRAME)
		return error ?: -ERANGE;
	return request_buffers(video, 1);
}

FIXTURE_SETUP(video)
{
	ASSERT_EQ(0, pci_address("rdma0", self->address));
	ASSERT_EQ(0, system(variant->load));
	self->video = result(open("/dev/video0", O_RDWR | O_CLOEXEC));
	ASSERT_LE(0, self->video);
	ASSERT_EQ(0, prepare_video(self->video));
	self->fd = open_node(O_RDWR);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, allocate(self->fd, SIZE, &self->buffer));
	self->dma_buf = export_buffer(self->fd, self->buffer.handle);
	ASSERT_LE(0, self->dma_buf);
}

FIXTURE_TEARDOWN(video)
{
	close(self->fd);
	close(self->dma_buf);
	close(self->video);
	EXPECT_EQ(0, system("modprobe -r vivid"));
}

/* Frames arrive in the buffer, and an engine moves them on. */
TEST_F(video, frames)
{
	struct buffer moved;

	ASSERT_EQ(0, allocate(self->fd, SIZE, &moved));
	for (int frame = 0; frame < FRAMES; frame++) {
		memset(self->buffer.bytes, 0, SIZE);
		ASSERT_EQ(0, queue(self->video, self->dma_buf));
		ASSERT_EQ(0, frame ? 0 : stream(self->video, true));
		ASSERT_EQ(0, dequeue(self->video));
		/* A test picture of all colours, and nothing behind it. */
		EXPECT_LT(FRAME / 2, differing(self->buffer.bytes, 0, FRAME));
		EXPECT_EQ(0, differing(self->buffer.bytes + FRAME, 0, SIZE - FRAME));
		ASSERT_EQ(0, copy(self->fd, &moved, 0, &self->buffer, 0, PAGE));
		EXPECT_EQ(0, memcmp(moved.bytes, self->buffer.bytes, PAGE));
	}
	ASSERT_EQ(0, stream(self->video, false));
}

/* After the last use by the other driver, the removal of the device frees the memory. */
TEST_F(video, ended)
{
	int log = open_log();

	ASSERT_EQ(0, queue(self->video, self->dma_buf));
	ASSERT_EQ(0, stream(self->video, true));
	ASSERT_EQ(0, dequeue(self->video));
	ASSERT_EQ(0, stream(self->video, false));
	close(self->video);
	self->video = -1;
	expect_unbound(_metadata, self->address);
	EXPECT_EQ(0, log_lines(log, "never freed"));
	ASSERT_EQ(0, come_back(self->address, UNBIND));
	close(log);
}

/*
 * While the other driver writes frames, and nothing makes it end: the memory is never freed, and the frames are nobody's. The removal does not
 * wait for it.
 */
TEST_F(video, removed)
{
	int log = open_log(), fd;
	struct crop crop;
	long changed;

	ASSERT_EQ(0, queue(self->video, self->dma_buf));
	ASSERT_EQ(0, stream(self->video, true));
	ASSERT_EQ(0, dequeue(self->video));
	ASSERT_EQ(0, queue(self->video, self->dma_buf));
	ASSERT_EQ(0, prepare(&crop, 0xee));
	expect_unbound(_metadata, self->address);
	EXPECT_EQ(1, log_lines(log, "other drivers still access 1 exported buffers"));
	EXPECT_FALSE(readable(self->buffer.bytes));
	ASSERT_EQ(0, come_back(self->address, UNBIND));
	fd = open_node(O_RDWR);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, plant(&crop, fd, SIZE));
	EXPECT_EQ(0, dequeue(self->video));
	EXPECT_EQ(0, queue(self->video, self->dma_buf));
	EXPECT_EQ(0, dequeue(self->video));
	EXPECT_EQ(0, stream(self->video, false));
	/* The dma-buf cannot be mapped again. */
	EXPECT_EQ(0, request_buffers(self->video, 0));
	EXPECT_EQ(0, request_buffers(self->video, 1));
	EXPECT_GT(0, queue(self->video, self->dma_buf));
	changed = harvest(&crop);
	EXPECT_EQ(0, changed);
	FIGURE("2 frames that a driver writes after the device is removed", "%ld bytes of others changed", changed);
	close(fd);
	close(log);
}

/* In a memory cgroup that is full, passes the dma-buf to the other driver. The result is in `answer`, in shared memory. */
static void queue_without_memory(int video, int dma_buf, volatile int *answer)
{
	char pid[16];

	snprintf(pid, sizeof(pid), "%d", getpid());
	if (mlockall(MCL_CURRENT) || write_text(CGROUP "/cgroup.procs", pid))
		_exit(1);
	*answer = queue(video, dma_buf);
	_exit(0);
}

/* A program at the limit of its memory cgroup cannot make the kernel's mapping fail: dma_buf_vmap() would print a warning with a backtrace. */
TEST_F(video, queued_at_the_limit_of_memory)
{
	volatile int *answer = shared_memory(PAGE);
	struct buffer large;
	int dma_buf, status;
	pid_t child;

	if (strstr(variant->load, "allocators=1"))
		SKIP(return, "the kernel does not map these");
	ASSERT_EQ(0, allocate(self->fd, 4096 * PAGE, &large));
	dma_buf = export_buffer(self->fd, large.handle);
	ASSERT_LE(0, dma_buf);
	*answer = 1;
	ASSERT_EQ(0, create_cgroup());
	ASSERT_EQ(0, write_text(CGROUP "/memory.max", "16384"));
	child = fork();
	if (!child)
		queue_without_memory(self->video, dma_buf, answer);
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, *answer);
	remove_cgroup();
	close(dma_buf);
}

TEST_HARNESS_MAIN
