// SPDX-License-Identifier: GPL-2.0
/*
 * The definitions of the tracepoints, and a function for each of them, because
 * declare_trace!() of the kernel crate does not work in out-of-tree modules. For
 * a disabled tracepoint, the function executes a branch that is not taken.
 */
#include <linux/timekeeping.h>
#include <linux/types.h>

#define CREATE_TRACE_POINTS
#include "trace.h"

void rdma_trace_submit(u32 dev, u64 context, u64 cookie, u32 operation,
		       u64 length)
{
	trace_rdma_submit(dev, context, cookie, operation, length);
}

void rdma_trace_start(u32 dev, u32 operation, u64 device_offset, u64 bytes)
{
	trace_rdma_start(dev, operation, device_offset, bytes);
}

void rdma_trace_interrupt(u32 dev, bool ours)
{
	trace_rdma_interrupt(dev, ours);
}

bool rdma_trace_submit_enabled(void)
{
	return trace_rdma_submit_enabled();
}

void rdma_trace_complete(u32 dev, u64 context, u64 cookie, int status,
			 u64 bytes, u64 submitted)
{
	if (trace_rdma_complete_enabled())
		trace_rdma_complete(dev, context, cookie, status, bytes,
				    ktime_get_ns() - submitted);
}

void rdma_trace_map(u32 dev, u32 handle, u64 offset, u64 pages)
{
	trace_rdma_map(dev, handle, offset, pages);
}

void rdma_trace_fault(u32 dev, u32 handle, u64 page, u64 loaded, int result)
{
	trace_rdma_fault(dev, handle, page, loaded, result);
}

void rdma_trace_zap(u32 dev)
{
	trace_rdma_zap(dev);
}

void rdma_trace_teardown(u32 dev, u32 step)
{
	trace_rdma_teardown(dev, step);
}
