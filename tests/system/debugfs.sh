#!/bin/bash
# The files of a device in debugfs: right, readable for root only, without addresses, and safe to read while the device is removed.
# shellcheck disable=SC2317 # the functions are called by name
set -u
. /usr/src/linux/tools/testing/selftests/kselftest/ktap_helpers.sh

there=/sys/kernel/debug/rust_dma/rdma0

load() { insmod "$RDMA_MODULE"; }
value() { sed -n "s/^$2 //p" "$there/$1"; }
device() { basename "$(readlink -f /sys/class/rust_dma/rdma0/device)"; }
transfer() { dd if=/dev/rdma0 of=/dev/null bs="$1" count=1 status=none; }

# DESCRIPTOR : whether reading it fails now as for a removed file.
removed() { [[ $(cat <&"$1" 2>&1) == *"Input/output error"* ]]; }

for_root_alone() {
	local file
	for file in state counters latency; do
		[[ $(stat -c %a:%u "$there/$file") == 400:0 ]] || return
		! setpriv --reuid 1000 --clear-groups cat "$there/$file" >/dev/null 2>&1 || return
		cat "$there/$file" >/dev/null || return
		! (echo 1 >"$there/$file") 2>/dev/null || return
	done
	[[ $(ls "$there") == $'counters\nlatency\nstate' ]]
}

idle() {
	[[ $(cat "$there/state") == $'engine idle\ncontexts 0\nqueued 0\nbuffers 0\nmemory 0\nmemory_limit 4294967296' && ! -s $there/latency ]] &&
		[[ $(value counters completed) == 0 ]]
}

# Five files with a request each: one is running, four wait.
busy() {
	python3 -c '
import os, sys, threading
def state():
    return dict(line.split(" ", 1) for line in open(sys.argv[1]).read().splitlines())
files = [os.open("/dev/rdma0", os.O_RDWR) for _ in range(5)]
# In real time, on a busy host, the first transfer can end before the last thread has started.
for attempt in range(10):
    threads = [threading.Thread(target=os.pread, args=(file, 64, 0)) for file in files]
    for thread in threads:
        thread.start()
    seen = state()
    while seen["queued"] != "4" and any(thread.is_alive() for thread in threads):
        seen = state()
    for thread in threads:
        thread.join()
    if seen["queued"] == "4":
        break
ok = seen["engine"].startswith("busy for ") and (seen["contexts"], seen["queued"], seen["buffers"]) == ("5", "4", "5")
idle = state()
ok = ok and (idle["engine"], idle["contexts"], idle["queued"], idle["buffers"]) == ("idle", "5", "0", "0")
sys.exit(0 if ok else f"# {seen} and then {idle}")' "$there/state" &&
		[[ $(value state contexts) == 0 ]]
}

# Nothing else uses the device: all numbers are exact, except for a scrub of the device memory that may come first.
counters() {
	local name before=() after=() expected=(1 100 1 0 0 0 0 1) names=(transfers bytes interrupts spurious_interrupts
		watchdog_recoveries quarantined cancelled completed)
	transfer 1
	for name in "${names[@]}"; do before+=("$(value counters "$name")"); done
	transfer 100
	for name in "${names[@]}"; do after+=("$(value counters "$name")"); done
	for name in "${!names[@]}"; do
		if ((after[name] - before[name] != expected[name])); then
			echo "# ${names[name]}: ${before[name]} and then ${after[name]}"
			return 1
		fi
	done
}

# A transfer takes 100 ms: most of them are in the class from 2^26 ns on, up to 134 ms. In real time, as in guests with two CPUs,
# they may take longer on a busy host.
latency() {
	local before after
	before=$(value latency 67108864)
	for _ in {1..10}; do transfer 1; done
	after=$(value latency 67108864)
	(($(nproc) > 1 || after - before >= 8)) && [[ $(awk '{ sum += $2 } END { print sum }' "$there/latency") == "$(value counters completed)" ]]
}

no_address() {
	grep -HE '0x|[0-9a-f]{14}' "$there"/*
	(($? == 1))
}

# Like any file of a module.
held_open() {
	local result=0 said
	exec 4<"$there/counters"
	said=$(rmmod rdma 2>&1) && return 1
	[[ $said == *"in use"* ]] || result=1
	grep -q completed <&4 || result=1
	exec 4<&-
	rmmod rdma && load && return "$result"
}

held_open_over_unbind() {
	local result=0 device
	device=$(device)
	exec 4<"$there/state" 5<"$there/latency"
	grep -q idle <&4 || result=1
	echo "$device" >/sys/bus/pci/drivers/rdma/unbind
	[[ ! -e $there ]] || result=1
	{ removed 4 && removed 5; } || result=1
	echo "$device" >/sys/bus/pci/drivers/rdma/bind
	{ removed 4 && grep -q idle "$there/state"; } || result=1
	exec 4<&- 5<&-
	return "$result"
}

read_while_it_goes() {
	local reader device
	device=$(device)
	while :; do cat "$there"/* >/dev/null 2>&1; done &
	reader=$!
	for _ in {1..10}; do
		echo "$device" >/sys/bus/pci/drivers/rdma/unbind
		echo "$device" >/sys/bus/pci/drivers/rdma/bind
	done
	kill "$reader"
	wait "$reader" 2>/dev/null
	grep -q idle "$there/state"
}

gone_with_the_module() { rmmod rdma && [[ ! -e /sys/kernel/debug/rust_dma ]]; }

ktap_print_header
ktap_set_plan 10
load || ktap_exit_fail_msg "The driver does not load."
for name in idle for_root_alone busy counters latency no_address held_open held_open_over_unbind read_while_it_goes gone_with_the_module; do
	ktap_test_result "$name" "$name"
done
ktap_finished
