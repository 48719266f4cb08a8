/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The ABI's header as bindgen can read it: request numbers are built of casts
 * and sizeof, which it does not evaluate, unless they are constants of C.
 */
#include "rdma.h"

enum request_numbers {
	HEADER_IOC_INFO = RDMA_IOC_INFO,
	HEADER_IOC_ALLOC = RDMA_IOC_ALLOC,
	HEADER_IOC_FREE = RDMA_IOC_FREE,
	HEADER_IOC_BUFFER = RDMA_IOC_BUFFER,
	HEADER_IOC_SUBMIT = RDMA_IOC_SUBMIT,
	HEADER_IOC_WAIT = RDMA_IOC_WAIT,
	HEADER_IOC_CANCEL = RDMA_IOC_CANCEL,
	HEADER_IOC_EVENTFD = RDMA_IOC_EVENTFD,
	HEADER_IOC_TRANSFER = RDMA_IOC_TRANSFER,
};
