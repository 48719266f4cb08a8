#!/bin/bash
# The tracepoints: they exist with their fields, are hit when they should be, and contain no address.
# shellcheck disable=SC2317 # the functions are called by name
set -u
. /usr/src/linux/tools/testing/selftests/kselftest/ktap_helpers.sh

tracing=/sys/kernel/tracing
events=$tracing/events/rust_dma

load() { insmod "$RDMA_MODULE"; }
device() { basename "$(readlink -f /sys/class/rust_dma/rdma0/device)"; }
clear_trace() { : >"$tracing/trace"; }
traced() { sed -n 's/^.* \(rdma_[a-z]*: \)/\1/p' "$tracing/trace"; }

# EVENT FIELD... : whether the event has these fields and no others.
fields() {
	local event=$1
	shift
	[[ $(sed -n 's/.*field:[^;]* \(\w*\);.*/\1/p' "$events/$event/format" | grep -v ^common_ | tr '\n' ' ') == "$* " ]]
}

all_there() {
	[[ $(find "$events" -mindepth 1 -type d -printf '%f\n' | sort | tr '\n' ' ') == \
		"rdma_complete rdma_fault rdma_interrupt rdma_map rdma_start rdma_submit rdma_teardown rdma_zap " ]] &&
		fields rdma_submit dev context cookie operation length &&
		fields rdma_start dev operation device_offset bytes &&
		fields rdma_interrupt dev ours &&
		fields rdma_complete dev context cookie status bytes latency_ns &&
		fields rdma_map dev handle offset pages &&
		fields rdma_fault dev handle page loaded result &&
		fields rdma_zap dev &&
		fields rdma_teardown dev step
}

# No pointer, and no number that is printed like one.
no_address() {
	grep -HE '\*|%p|%[0-9]*l*x' "$events"/*/format
	(($? == 1))
}

nothing_unless_asked() {
	clear_trace
	dd if=/dev/rdma0 of=/dev/null bs=64 count=1 status=none && [[ -z $(traced) ]]
}

# One request, from its beginning to its end, of the context in fdinfo.
transfer() {
	local context
	exec 4<>/dev/rdma0
	context=$(sed -n 's/^rdma-context:\t//p' /proc/self/fdinfo/4)
	echo 1 >"$events/enable"
	clear_trace
	dd of=/dev/null bs=64 count=1 skip=1 status=none <&4 || return
	echo 0 >"$events/enable"
	exec 4<&-
	[[ $(traced | grep -v ' ours=0$' | sed 's/latency_ns=[1-9][0-9]\{7,8\}$/latency_ns=N/') == \
		"rdma_submit: dev=0 context=$context cookie=0 operation=from_device length=64
rdma_start: dev=0 operation=from_device device_offset=64 bytes=64
rdma_interrupt: dev=0 ours=1
rdma_complete: dev=0 context=$context cookie=0 status=0 bytes=64 latency_ns=N" ]]
}

other_direction() {
	echo 1 >"$events/rdma_start/enable"
	clear_trace
	printf 'hello' | dd of=/dev/rdma0 bs=5 count=1 status=none || return
	echo 0 >"$events/rdma_start/enable"
	[[ $(traced | tail -n 1) == "rdma_start: dev=0 operation=to_device device_offset=0 bytes=5" ]]
}

teardown() {
	local device
	device=$(device)
	echo 1 >"$events/rdma_teardown/enable"
	echo 1 >"$events/rdma_zap/enable"
	clear_trace
	echo "$device" >/sys/bus/pci/drivers/rdma/unbind
	echo "$device" >/sys/bus/pci/drivers/rdma/bind
	echo 0 >"$events/enable"
	[[ $(traced) == "rdma_teardown: dev=0 step=closed
rdma_zap: dev=0
rdma_teardown: dev=0 step=zapped
rdma_teardown: dev=0 step=idle
rdma_teardown: dev=0 step=freed" ]]
}

# A request that is refused because the device is removed: its end is traced like its beginning.
refused() {
	local device
	device=$(device)
	echo 1 >"$events/rdma_submit/enable"
	echo 1 >"$events/rdma_complete/enable"
	clear_trace
	python3 -c '
import errno, fcntl, os, struct, sys
ALLOC, TRANSFER, TO_DEVICE = 0xC028ED10, 0x4040ED20, 1
file = os.open("/dev/rdma0", os.O_RDWR)
alloc = bytearray(struct.pack("=QQIIQQ", 4096, 0, 0, 0, 0, 0))
fcntl.ioctl(file, ALLOC, alloc)
handle = struct.unpack("=QQIIQQ", alloc)[2]
with open("/sys/bus/pci/drivers/rdma/unbind", "w") as unbind:
    unbind.write(sys.argv[1])
try:
    fcntl.ioctl(file, TRANSFER, struct.pack("=4I4Q2Q", TO_DEVICE, 0, handle, 0, 0, 0, 5, 0, 0, 0))
except OSError as error:
    sys.exit(error.errno != errno.ENODEV)
sys.exit(1)' "$device" || return
	echo "$device" >/sys/bus/pci/drivers/rdma/bind
	echo 0 >"$events/enable"
	[[ $(traced | sed 's/context=[0-9]*/context=N/; s/latency_ns=[0-9]*$/latency_ns=N/') == \
		"rdma_submit: dev=0 context=N cookie=0 operation=to_device length=5
rdma_complete: dev=0 context=N cookie=0 status=-19 bytes=0 latency_ns=N" ]]
}

unloaded_while_on() {
	echo 1 >"$events/enable"
	dd if=/dev/rdma0 of=/dev/null bs=64 count=1 status=none
	rmmod rdma || return
	[[ ! -e $events ]] || return
	cat "$tracing/trace" >/dev/null || return
	load && [[ $(cat "$events/enable") == 0 ]]
}

# trace-cmd finds the events, and shows the same fields.
trace_cmd() {
	local data=/tmp/tracepoints.dat report
	trace-cmd record -q -e rust_dma -o "$data" dd if=/dev/rdma0 of=/dev/null bs=64 count=1 status=none || return
	report=$(trace-cmd report -i "$data" 2>&1) || return
	rm "$data"
	grep -q 'rdma_submit: .*dev=0 context=[0-9]* cookie=0 operation=from_device length=64$' <<<"$report" &&
		grep -q 'rdma_start: .*dev=0 operation=from_device device_offset=0 bytes=64$' <<<"$report" &&
		grep -q 'rdma_complete: .*dev=0 context=[0-9]* cookie=0 status=0 bytes=64 latency_ns=[0-9]*$' <<<"$report"
}

ktap_print_header
ktap_set_plan 9
load || ktap_exit_fail_msg "The driver does not load."
for name in all_there no_address nothing_unless_asked transfer other_direction trace_cmd teardown refused unloaded_while_on; do
	ktap_test_result "$name" "$name"
done
rmmod rdma
ktap_finished
