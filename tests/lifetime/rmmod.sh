#!/bin/bash
# Unloading: it is refused while a file or a mapping is held, complete afterwards, and possible right after the owner of a transfer was killed.
# shellcheck disable=SC2317 # the functions are called by name
set -u
. /usr/src/linux/tools/testing/selftests/kselftest/ktap_helpers.sh

load() { insmod "$RDMA_MODULE"; }

in_use() {
	local said
	said=$(rmmod rdma 2>&1) && return 1
	[[ $said == *"in use"* && -c /dev/rdma0 ]]
}

open_file() {
	local result=0
	load || return
	exec 3<>/dev/rdma0
	in_use || result=1
	dd if=/dev/rdma0 of=/dev/null bs=16 count=1 status=none || result=1 # it works on
	exec 3>&-
	rmmod rdma && return "$result"
}

mapping_only() {
	local holder result=0
	load || return
	python3 -c '
import mmap, os, signal
fd = os.open("/dev/rdma0", os.O_RDWR)
memory = mmap.mmap(fd, 4096, mmap.MAP_SHARED)
os.close(fd)
open("/tmp/mapped", "w")
signal.pause()' &
	holder=$!
	while [[ ! -e /tmp/mapped ]]; do sleep 0.01; done
	rm /tmp/mapped
	in_use || result=1
	kill "$holder"
	wait "$holder" 2>/dev/null
	rmmod rdma && return "$result"
}

nothing_left() {
	load || return
	rmmod rdma || return
	[[ ! -e /dev/rdma0 && ! -e /sys/class/rust_dma && ! -e /sys/bus/pci/drivers/rdma && ! -e /sys/module/rdma ]] &&
		! grep -qE "rdma|rust_dma" /proc/interrupts /proc/iomem /proc/devices
}

bus_master_off() {
	local device
	load || return
	device=$(basename "$(readlink -f /sys/class/rust_dma/rdma0/device)")
	rmmod rdma || return
	! (($(setpci -s "$device" COMMAND.w | sed 's/^/0x/') & 4))
}

# The owner of a transfer is killed during it, and the module is unloaded and loaded at once.
behind_a_transfer() {
	local owner round
	for round in 1 2 3 4 5; do
		load || return
		head -c 4096 /dev/zero >/dev/rdma0 || return
		cat /dev/rdma0 >/dev/null &
		owner=$!
		sleep "0.0$round"
		kill -KILL "$owner"
		wait "$owner" 2>/dev/null
		rmmod rdma || return
	done
}

again_and_again() {
	local round
	for round in {1..20}; do
		load && [[ -c /dev/rdma0 ]] && rmmod rdma || return
	done
}

works_afterwards() {
	local result=0
	load || return
	build/samples/hello_mmap >/dev/null || result=1
	rmmod rdma && return "$result"
}

ktap_print_header
ktap_set_plan 7
for name in open_file mapping_only nothing_left bus_master_off behind_a_transfer again_and_again works_afterwards; do
	ktap_test_result "$name" "$name"
done
ktap_finished
