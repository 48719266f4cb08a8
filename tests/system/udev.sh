#!/bin/bash
# The udev rule and the group: stable names, and permissions.
# shellcheck disable=SC2317 # the functions are called by name
set -u
. /usr/src/linux/tools/testing/selftests/kselftest/ktap_helpers.sh

links=/dev/rdma/by-path
drivers=/sys/bus/pci/drivers/rdma

settle() { udevadm settle --timeout=20; }

# The link for a PCI address. Before pci- there is the bus, if it is not that of a PC: platform-4010000000.pcie-pci-0000:01:00.0.
link_of() { echo "$links"/*pci-"$1"; }
address() { basename "$(readlink -f "/sys/class/rust_dma/$1/device")"; }

# Commands as a user who is not root: without a group, or in the group.
stranger() { setpriv --reuid=1001 --regid=1001 --clear-groups "$@"; }
member() { setpriv --reuid=1002 --regid=1002 --groups=rust-dma "$@"; }

group_is_made() {
	groupdel rust-dma 2>/dev/null
	[[ ! $(getent group rust-dma) ]] && systemd-sysusers "$PWD/packaging/sysusers.d/rust-dma.conf" && getent group rust-dma >/dev/null
}

rule_is_valid() {
	udevadm verify packaging/udev/60-rust-dma.rules
}

# A link for each node, with the device's position on its bus.
links() {
	local node count=0
	for node in /dev/rdma[0-9]*; do
		[[ $(readlink -f "$(link_of "$(address "${node##*/}")")") == "$node" ]] || return
		((++count))
	done
	((count == 2)) && (($(find "$links" -type l | wc -l) == 2))
}

group_and_mode() {
	local node
	for node in /dev/rdma[0-9]*; do
		[[ $(stat -c '%a %U %G' "$node") == '660 root rust-dma' ]] || return
	done
}

nothing_else_of_the_class() {
	[[ $(stat -c '%U %G' /dev/null) == 'root root' ]] && ! find /dev ! -path '/dev/rdma*' -group rust-dma | grep .
}

member_can() {
	[[ $(member build/samples/hello_mmap "$(link_of "$(address rdma1)")") == *"It is the same." ]]
}

stranger_cannot() {
	! stranger test -r /dev/rdma0 && ! stranger dd if=/dev/rdma0 of=/dev/null bs=1 count=1 status=none 2>/dev/null
}

# Unbound and bound again in the other order: the numbers are exchanged, the names are not.
rebinding() {
	local first second
	first=$(address rdma0) second=$(address rdma1)
	echo "$first" >"$drivers/unbind" && settle && [[ ! -L $(link_of "$first") && -L $(link_of "$second") ]] || return
	echo "$second" >"$drivers/unbind" && settle && [[ ! -L $(link_of "$second") ]] || return
	echo "$second" >"$drivers/bind" && echo "$first" >"$drivers/bind" && settle || return
	[[ $(readlink -f "$(link_of "$first")") == /dev/rdma1 && $(readlink -f "$(link_of "$second")") == /dev/rdma0 ]] &&
		links && group_and_mode
}

unplug_and_plug() {
	local node place
	place=$(link_of 0000:02:00.0)
	node=$(readlink -f "$place")
	vm/guest/qmp device_del id=edu1 >/dev/null && settle && [[ ! -L $place && ! -e $node ]] || return
	vm/guest/qmp device_add driver=edu id=edu1 bus=rp1 >/dev/null || return
	for _ in {1..100}; do
		[[ -L $place ]] && break
		sleep 0.1
	done
	settle && links && group_and_mode
}

unloading() {
	rmmod rdma && settle && [[ ! -e $links ]]
}

ktap_print_header
ktap_set_plan 11
ktap_test_result group_is_made group_is_made
ktap_test_result rule_is_valid rule_is_valid
mkdir -p /run/udev/rules.d
cp packaging/udev/60-rust-dma.rules /run/udev/rules.d
/usr/lib/systemd/systemd-udevd --daemon
insmod "$RDMA_MODULE"
settle
for name in links group_and_mode nothing_else_of_the_class member_can stranger_cannot rebinding unplug_and_plug unloading; do
	ktap_test_result "$name" "$name"
done
insmod "$RDMA_MODULE"
settle
ktap_test_result links_after_loading_again links
rmmod rdma
udevadm control --exit
ktap_finished
