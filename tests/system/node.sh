#!/bin/bash
# The node, the class and the bus: what udev and modprobe see of the driver.
# shellcheck disable=SC2317 # the functions are called by name
set -u
. /usr/src/linux/tools/testing/selftests/kselftest/ktap_helpers.sh

device=$(readlink -f /sys/class/rust_dma/rdma0/device)

node() {
	[[ -c /dev/rdma0 && $(stat -c '%a %U %G' /dev/rdma0) == '600 root root' ]]
}

numbers() {
	[[ $(stat -c '%Hr:%Lr' /dev/rdma0) == "$(</sys/class/rust_dma/rdma0/dev)" ]]
}

parent() {
	[[ $(<"$device/vendor") == 0x1234 && $(<"$device/device") == 0x11e8 ]] &&
		[[ $(readlink -f /sys/class/rust_dma/rdma0) == "$device/rust_dma/rdma0" ]]
}

driver() {
	[[ $(basename "$(readlink -f "$device/driver")") == rdma ]] &&
		[[ $(basename "$(readlink -f /sys/bus/pci/drivers/rdma/module)") == rdma ]]
}

uevent() {
	grep -qx 'DEVNAME=rdma0' /sys/class/rust_dma/rdma0/uevent
}

probe_line() {
	dmesg | grep -E "rdma $(basename "$device"): edu 1\.0, MSI, 28-bit DMA: /dev/rdma0$" >/dev/null
}

one_line_a_probe() {
	(($(dmesg | tac | sed '/rdma-test: begin/q' | grep -c "rdma $(basename "$device"): ") == 1))
}

# By an edu, and by nothing else: I/OAT devices belong to the kernel's own driver.
autoloads() {
	[[ $(modinfo -F alias "$RDMA_MODULE") == 'pci:v00001234d000011E8sv*sd*bc*sc*i*' ]]
}

described() {
	[[ $(modinfo -F license "$RDMA_MODULE") == GPL* && -n $(modinfo -F description "$RDMA_MODULE") ]] &&
		modinfo -F parm "$RDMA_MODULE" | grep -q ^dma_bits: && modinfo -F parm "$RDMA_MODULE" | grep -q ^msi:
}

bus_master() {
	(($(setpci -s "$(basename "$device")" COMMAND.w | sed 's/^/0x/') & 4))
}

ktap_print_header
ktap_set_plan 10
for name in node numbers parent driver uevent probe_line one_line_a_probe autoloads described bus_master; do
	ktap_test_result "$name" "$name"
done
ktap_finished
