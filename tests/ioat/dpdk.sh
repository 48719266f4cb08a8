#!/bin/bash
# DPDK's test of DMA engines with its driver for I/OAT, which knows nothing of this project: whether the model in vm/ioat is such a device.
#
# Errors are skipped: the driver reports them from version 3.4 on, and whether the test passes then depends on time. With --ioat
# 1,version=3.4,time=200000 it passes on a quiet machine, and fails with less.
set -eu
. vm/lib.sh
directory=$(unpacked_directory dpdk)
libraries=$directory/usr/lib/x86_64-linux-gnu
device=$(tests/ioat/bind-vfio 2021)
echo 300 >/proc/sys/vm/nr_hugepages

arguments=(-l 0 --in-memory --no-telemetry -a "$device")
for driver in bus_pci bus_vdev mempool_ring dma_ioat dma_skeleton; do arguments+=(-d "$libraries/librte_$driver.so.25"); done
status=0
LD_LIBRARY_PATH=$libraries DPDK_TEST=dmadev_autotest "$directory/usr/bin/dpdk-test" "${arguments[@]}" </dev/null &>/tmp/output || status=$?

# Its cases as KTAP, without those of dma_skeleton, which is no hardware, and comes last: its cases wait for a thread, and fail on a busy host. Of
# the rest, which has a line for each of 600 bursts, the end.
((status == 0)) || tr '\r' '\n' </tmp/output | tail -n 30
cases=$(sed '/\[dma_skeleton\]/q' /tmp/output | sed -n 's/.*TestCase \[ *[0-9]*\] : \(.*\) \([a-z]*\)$/\2 \1/p')
echo "TAP version 13"
echo "1..$(grep -c . <<<"$cases")"
awk '{ print ($1 == "succeeded" || $1 == "skipped" ? "ok " : "not ok ") NR " " $2 ($1 == "skipped" ? " # SKIP not for this version of the engine" : "") }' <<<"$cases"
grep -q '^succeeded copy$' <<<"$cases" && grep -qF '[dma_skeleton]' /tmp/output
