// SPDX-License-Identifier: GPL-2.0
#include "copies.h"

const struct peer *const peers[] = { &rdma, &rdma_ring, &vfio_polling, &vfio_eventfd, NULL };
