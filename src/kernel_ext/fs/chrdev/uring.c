// SPDX-License-Identifier: GPL-2.0
/*
 * Access to commands of io_uring, for uring.rs. Their structure is not in the
 * kernel's bindings, and most of these functions are inline.
 */
#include <linux/io_uring/cmd.h>

typedef void (*rdma_uring_end_t)(struct io_uring_cmd *cmd,
				 unsigned int issue_flags);

/* What the driver stores in a command that it has queued. */
struct rdma_uring {
	void *state;
	rdma_uring_end_t end;
};

static struct rdma_uring *rdma_uring_of(struct io_uring_cmd *cmd)
{
	return io_uring_cmd_to_pdu(cmd, struct rdma_uring);
}

bool rdma_uring_is_cancel(unsigned int issue_flags)
{
	return issue_flags & IO_URING_F_CANCEL;
}

struct file *rdma_uring_file(const struct io_uring_cmd *cmd)
{
	return cmd->file;
}

void *rdma_uring_state(struct io_uring_cmd *cmd)
{
	return rdma_uring_of(cmd)->state;
}

u32 rdma_uring_operation(const struct io_uring_cmd *cmd)
{
	return cmd->cmd_op;
}

u32 rdma_uring_flags(const struct io_uring_cmd *cmd)
{
	return cmd->flags & IORING_URING_CMD_MASK;
}

/* The entry can be in memory that userspace changes at any time. */
u64 rdma_uring_address(const struct io_uring_cmd *cmd)
{
	return READ_ONCE(cmd->sqe->addr);
}

/*
 * Copies the first bytes of the command area of the entry once, and returns how
 * many bytes the area has. If it has fewer than "size", copies nothing.
 */
size_t rdma_uring_read(const struct io_uring_cmd *cmd, unsigned int issue_flags,
		       void *to, size_t size)
{
	size_t entry = sizeof(*cmd->sqe);
	size_t area;

	if (issue_flags & IO_URING_F_SQE128)
		entry *= 2;
	area = entry - offsetof(struct io_uring_sqe, cmd);
	if (size <= area)
		memcpy(to, cmd->sqe->cmd, size);
	return area;
}

void rdma_uring_queue(struct io_uring_cmd *cmd, unsigned int issue_flags,
		      void *state, rdma_uring_end_t end)
{
	struct rdma_uring *uring = rdma_uring_of(cmd);

	uring->state = state;
	uring->end = end;
	io_uring_cmd_mark_cancelable(cmd, issue_flags);
}

static void rdma_uring_task_work(struct io_tw_req request, io_tw_token_t token)
{
	struct io_uring_cmd *cmd = io_uring_cmd_from_tw(request);

	rdma_uring_of(cmd)->end(cmd, IO_URING_CMD_TASK_WORK_ISSUE_FLAGS);
}

/*
 * Each call ends one entry, which has one completion at most, as a lazy wake-up
 * requires: a task that waits for a number of completions
 * (IORING_SETUP_DEFER_TASKRUN) is woken after as many calls.
 */
void rdma_uring_end_in_task(struct io_uring_cmd *cmd)
{
	io_uring_cmd_do_in_task_lazy(cmd, rdma_uring_task_work);
}

void rdma_uring_done(struct io_uring_cmd *cmd, s32 result,
		     unsigned int issue_flags)
{
	io_uring_cmd_done(cmd, result, issue_flags);
}
