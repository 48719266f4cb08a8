/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Tracepoints of the activity of a device, in /sys/kernel/tracing/events/rust_dma.
 *
 * Common fields: dev is the N of /dev/rdmaN, context is a number of the open file,
 * handle and cookie are those of uapi/rdma.h. No field contains an address. The
 * Rust functions are in trace.rs.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM rust_dma

#if !defined(RDMA_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define RDMA_TRACE_H

#include <linux/tracepoint.h>

#include "../../uapi/rdma.h"

/* The steps of the teardown of a device, in their order. See Teardown in trace.rs. */
#ifndef RDMA_TEARDOWN_CLOSED
#define RDMA_TEARDOWN_CLOSED 0
#define RDMA_TEARDOWN_ZAPPED 1
#define RDMA_TEARDOWN_IDLE 2
#define RDMA_TEARDOWN_STUCK 3
#define RDMA_TEARDOWN_FREED 4
#endif

#define rdma_show_operation(operation)                 \
	__print_symbolic(operation,                    \
		{ RDMA_OP_TO_DEVICE, "to_device" },     \
		{ RDMA_OP_FROM_DEVICE, "from_device" }, \
		{ RDMA_OP_COPY, "copy" })

/* A request is about to be queued; if it is refused, rdma_complete follows. */
TRACE_EVENT(rdma_submit,
	TP_PROTO(u32 dev, u64 context, u64 cookie, u32 operation, u64 length),
	TP_ARGS(dev, context, cookie, operation, length),
	TP_STRUCT__entry(
		__field(u32, dev)
		__field(u64, context)
		__field(u64, cookie)
		__field(u32, operation)
		__field(u64, length)
	),
	TP_fast_assign(
		__entry->dev = dev;
		__entry->context = context;
		__entry->cookie = cookie;
		__entry->operation = operation;
		__entry->length = length;
	),
	TP_printk("dev=%u context=%llu cookie=%llu operation=%s length=%llu",
		  __entry->dev, __entry->context, __entry->cookie,
		  rdma_show_operation(__entry->operation), __entry->length)
);

/* A transfer was started. */
TRACE_EVENT(rdma_start,
	TP_PROTO(u32 dev, u32 operation, u64 device_offset, u64 bytes),
	TP_ARGS(dev, operation, device_offset, bytes),
	TP_STRUCT__entry(
		__field(u32, dev)
		__field(u32, operation)
		__field(u64, device_offset)
		__field(u64, bytes)
	),
	TP_fast_assign(
		__entry->dev = dev;
		__entry->operation = operation;
		__entry->device_offset = device_offset;
		__entry->bytes = bytes;
	),
	TP_printk("dev=%u operation=%s device_offset=%llu bytes=%llu",
		  __entry->dev, rdma_show_operation(__entry->operation),
		  __entry->device_offset, __entry->bytes)
);

/* The interrupt handler was called. ours: this device has raised the interrupt. */
TRACE_EVENT(rdma_interrupt,
	TP_PROTO(u32 dev, bool ours),
	TP_ARGS(dev, ours),
	TP_STRUCT__entry(
		__field(u32, dev)
		__field(bool, ours)
	),
	TP_fast_assign(
		__entry->dev = dev;
		__entry->ours = ours;
	),
	TP_printk("dev=%u ours=%d", __entry->dev, __entry->ours)
);

/*
 * A request has ended. status is 0 or a negative errno. Requests whose file is closed,
 * or whose call a signal ends, have no such event.
 */
TRACE_EVENT(rdma_complete,
	TP_PROTO(u32 dev, u64 context, u64 cookie, int status, u64 bytes,
		 u64 latency_ns),
	TP_ARGS(dev, context, cookie, status, bytes, latency_ns),
	TP_STRUCT__entry(
		__field(u32, dev)
		__field(u64, context)
		__field(u64, cookie)
		__field(int, status)
		__field(u64, bytes)
		__field(u64, latency_ns)
	),
	TP_fast_assign(
		__entry->dev = dev;
		__entry->context = context;
		__entry->cookie = cookie;
		__entry->status = status;
		__entry->bytes = bytes;
		__entry->latency_ns = latency_ns;
	),
	TP_printk("dev=%u context=%llu cookie=%llu status=%d bytes=%llu latency_ns=%llu",
		  __entry->dev, __entry->context, __entry->cookie,
		  __entry->status, __entry->bytes, __entry->latency_ns)
);

/* A buffer was mapped, from its page offset on. */
TRACE_EVENT(rdma_map,
	TP_PROTO(u32 dev, u32 handle, u64 offset, u64 pages),
	TP_ARGS(dev, handle, offset, pages),
	TP_STRUCT__entry(
		__field(u32, dev)
		__field(u32, handle)
		__field(u64, offset)
		__field(u64, pages)
	),
	TP_fast_assign(
		__entry->dev = dev;
		__entry->handle = handle;
		__entry->offset = offset;
		__entry->pages = pages;
	),
	TP_printk("dev=%u handle=%u offset=%llu pages=%llu", __entry->dev,
		  __entry->handle, __entry->offset, __entry->pages)
);

/* A page fault has inserted loaded pages of a buffer. result is 0 or a negative errno. */
TRACE_EVENT(rdma_fault,
	TP_PROTO(u32 dev, u32 handle, u64 page, u64 loaded, int result),
	TP_ARGS(dev, handle, page, loaded, result),
	TP_STRUCT__entry(
		__field(u32, dev)
		__field(u32, handle)
		__field(u64, page)
		__field(u64, loaded)
		__field(int, result)
	),
	TP_fast_assign(
		__entry->dev = dev;
		__entry->handle = handle;
		__entry->page = page;
		__entry->loaded = loaded;
		__entry->result = result;
	),
	TP_printk("dev=%u handle=%u page=%llu loaded=%llu result=%d",
		  __entry->dev, __entry->handle, __entry->page,
		  __entry->loaded, __entry->result)
);

/* All mappings of the device are being zapped. */
TRACE_EVENT(rdma_zap,
	TP_PROTO(u32 dev),
	TP_ARGS(dev),
	TP_STRUCT__entry(
		__field(u32, dev)
	),
	TP_fast_assign(
		__entry->dev = dev;
	),
	TP_printk("dev=%u", __entry->dev)
);

/* A step of the teardown of the device is complete. */
TRACE_EVENT(rdma_teardown,
	TP_PROTO(u32 dev, u32 step),
	TP_ARGS(dev, step),
	TP_STRUCT__entry(
		__field(u32, dev)
		__field(u32, step)
	),
	TP_fast_assign(
		__entry->dev = dev;
		__entry->step = step;
	),
	TP_printk("dev=%u step=%s", __entry->dev,
		  __print_symbolic(__entry->step,
			{ RDMA_TEARDOWN_CLOSED, "closed" },
			{ RDMA_TEARDOWN_ZAPPED, "zapped" },
			{ RDMA_TEARDOWN_IDLE, "idle" },
			{ RDMA_TEARDOWN_STUCK, "stuck" },
			{ RDMA_TEARDOWN_FREED, "freed" }))
);

#endif

#undef TRACE_INCLUDE_PATH
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_PATH .
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
