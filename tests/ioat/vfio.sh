#!/bin/bash
# The kernel's VFIO selftest with its driver for I/OAT, which knows nothing of this project: whether the model in vm/ioat is such a device.
set -eu
device=$(tests/ioat/bind-vfio 2021)
# Large pages: otherwise QEMU tells the model of 262,144 pages for each test, which has 30 s.
echo always >/sys/kernel/mm/transparent_hugepage/shmem_enabled
# Debian's kernel has no IOMMUFD, which the other variants need.
exec build/tests/vfio/vfio_pci_driver_test -v vfio_type1_iommu -v vfio_type1v2_iommu "$device"
