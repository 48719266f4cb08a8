#!/bin/bash
# The kernel's own driver for I/OAT, ioatdma, and the kernel's test of DMA engines, dmatest, on the devices of this guest. They know nothing of
# this project: whether the model in vm/ioat is such a device.
# shellcheck disable=SC2317 # the functions are called by name
set -u
. /usr/src/linux/tools/testing/selftests/kselftest/ktap_helpers.sh
drivers=/sys/bus/pci/drivers/ioatdma
dmatest=/sys/module/dmatest/parameters

mapfile -t devices < <(lspci -Dn | awk '/8086:(2021|6f50|0b00)/ { print $1 }')

# What the kernel has said in this case.
said() { dmesg | tac | sed "/ioatdma.sh: $case$/q"; }

# Load the driver with these parameters; it has not refused a device.
load() {
	modprobe ioatdma "$@" && for device in "${devices[@]}"; do [[ -e $drivers/$device ]] || return; done
}

# Run dmatest on all channels at once, this number of copies on each; prints how many of them failed.
copies() {
	[[ -e $dmatest ]] || insmod build/tests/dmatest/dmatest.ko timeout=5000 || return
	echo "$1" >"$dmatest/iterations"
	echo 1 >"$dmatest/run"
	cat "$dmatest/wait" >/dev/null
	said | sed '/Started/q' | sed -n 's/.*summary \([0-9]*\) tests, \([0-9]*\) failures .*/\1 \2/p' |
		awk -v wanted="$1" '{ channels++; failures += $2; if ($1 != wanted) odd = 1 } END { print channels + 0, failures + 0; exit odd }'
}

unload() { rmmod dmatest 2>/dev/null; rmmod ioatdma; }

# A register of the model that real devices do not have: vm/ioat/src/control.rs.
control() { setpci -s "$1" "ECAP000b+$2.l=$3"; }
no_faults_left() { (($(counter "$1" 10) == 0)); }
counter() { echo $((16#$(setpci -s "$1" "ECAP000b+$2.l"))); }

self_test() {
	load && ! said | grep -E 'Self-test|timed out|halted|CHANERR' &&
		for device in "${devices[@]}"; do (($(counter "$device" 1c) > 0 && $(counter "$device" 28) == 0)) || return; done
}

# A vector for each channel, of which the driver uses at most four, but for the last device.
msix() { (($(grep -c ioat-msix /proc/interrupts) == channels - 1)) && grep -q ioat-intx /proc/interrupts; }

serves_dmaengine() { [[ $(copies 200) == "$channels 0" ]]; }

takes_time() {
	control "${devices[0]}" 14 50000
	control "${devices[0]}" 18 100
	[[ $(copies 50) == "$channels 0" ]]
	local result=$?
	control "${devices[0]}" 14 0
	control "${devices[0]}" 18 0
	return "$result"
}

# The driver's timer finds the completion.
lost_interrupt() {
	control "${devices[0]}" 10 00050001
	[[ $(copies 20) == "$channels 0" ]] && no_faults_left "${devices[0]}"
}

# A copy that fails is reported to its user, and the channel continues.
read_error() {
	control "${devices[0]}" 08 00000100
	control "${devices[0]}" 10 00050005
	[[ $(copies 20) == "$channels 1" && $(copies 20) == "$channels 0" ]] && no_faults_left "${devices[0]}" && (($(counter "${devices[0]}" 28) == 1))
}

again_by_the_line() {
	unload && load ioat_interrupt_style=intx && grep -q ioat-intx /proc/interrupts && ! grep -q ioat-msix /proc/interrupts &&
		[[ $(copies 50) == "$channels 0" ]]
}

unplugged() {
	rmmod dmatest && vm/guest/qmp device_del id=ioat2 && [[ ! -e $drivers/${devices[2]} && -e $drivers/${devices[1]} ]] && rmmod ioatdma
}


channels=7
((${#devices[@]} == 3)) || { echo "The guest has not the devices of [vm.ioat], tests/tests.toml."; exit 1; }
cases=(self_test msix serves_dmaengine takes_time lost_interrupt read_error again_by_the_line unplugged)
ktap_print_header
ktap_set_plan ${#cases[@]}
for case in "${cases[@]}"; do
	echo "<6>ioatdma.sh: $case" >/dev/kmsg
	if $case; then ktap_test_pass "$case"; else
		said | tac | sed 's/^/# /'
		ktap_test_fail "$case"
	fi
done
ktap_finished
