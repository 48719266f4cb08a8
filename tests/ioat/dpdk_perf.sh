#!/bin/bash
# DPDK's program that measures DMA engines, with its driver for I/OAT: copies of each size for a second. It compares the data at the end.
set -eu
. vm/lib.sh
directory=$(unpacked_directory dpdk)
libraries=$directory/usr/lib/x86_64-linux-gnu
device=$(tests/ioat/bind-vfio 2021)
echo 300 >/proc/sys/vm/nr_hugepages

# Lines of its configuration are short: the drivers by one directory.
rm -rf /tmp/drivers && mkdir /tmp/drivers
for driver in bus_pci bus_vdev mempool_ring dma_ioat; do ln -s "$libraries/librte_$driver.so.25" "/tmp/drivers/$driver.so"; done
sizes=(64 4096 32768)
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

# Each case has a line of results: the ninth field is the cycles of a copy, the eleventh the copies a second in millions.
echo "TAP version 13"
echo "1..${#sizes[@]}"
failed=0
for number in "${!sizes[@]}"; do
	line=$(grep -A 1 "^Case $((number + 1)) " /tmp/perf.csv | tail -n 1) || true
	result=ok
	if [[ ! $(cut -d , -f 9 <<<"$line") =~ [1-9] ]] || grep -q 'validation fails\|Error' /tmp/output; then result='not ok' failed=1; fi
	echo "$result $((number + 1)) copies_of_${sizes[number]}_bytes"
	echo "# $(cut -d , -f 11 <<<"$line") million copies a second"
done
((failed == 0)) || grep -v '^EAL' /tmp/output | tail -n 40
exit "$failed"
