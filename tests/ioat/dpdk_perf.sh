#!/bin/bash
# DPDK's measurement of DMA engines, with its driver for I/OAT: copies of each size for a second. It compares all data at the end.
set -eu
. vm/lib.sh
directory=$(unpacked_directory dpdk)
libraries=$directory/usr/lib/x86_64-linux-gnu
device=$(tests/ioat/bind-vfio 2021)
echo 300 >/proc/sys/vm/nr_hugepages

# Its lines are short: the drivers by one directory.
mkdir /tmp/drivers
for driver in bus_pci bus_vdev mempool_ring dma_ioat; do ln -s "$libraries/librte_$driver.so.25" /tmp/drivers; done
sizes=(64 4096 65536)
for number in "${!sizes[@]}"; do
	cat <<-END
		[case$((number + 1))]
		type=DMA_MEM_COPY
		mem_size=16
		buf_size=${sizes[number]}
		dma_ring_size=1024
		kick_batch=32
		src_numa_node=0
		dst_numa_node=0
		cache_flush=0
		test_seconds=1
		lcore_dma0=lcore=1,dev=$device,dir=mem2mem
		eal_args=--in-memory --no-telemetry -l 0-1 -a $device -d /tmp/drivers
	END
done >/tmp/perf.ini
LD_LIBRARY_PATH=$libraries "$directory/usr/bin/dpdk-test-dma-perf" --config /tmp/perf.ini --result /tmp/perf.csv </dev/null &>/tmp/output || true

echo "TAP version 13"
echo "1..${#sizes[@]}"
cat /tmp/output; cat /tmp/perf.csv
