#!/bin/bash
# The module's parameters: invalid ones are refused with EINVAL, the others have their effect.
# shellcheck disable=SC2317 # the functions are called by name
set -u
. /usr/src/linux/tools/testing/selftests/kselftest/ktap_helpers.sh

refused() {
	local said
	if said=$(insmod "$RDMA_MODULE" "$1" 2>&1); then
		rmmod rdma
		return 1
	fi
	[[ $said == *"Invalid parameters"* && ! -e /sys/module/rdma ]]
}

accepted() { # PARAMETER PATTERN-OF-THE-PROBE-LINE
	local result=0
	insmod "$RDMA_MODULE" "$1" || return
	[[ -c /dev/rdma0 ]] && dmesg | grep ' rdma 0000' | tail -n 1 | grep -q "$2" || result=1
	rmmod rdma && return "$result"
}

# With so few bits, there is no memory in range: the driver logs this, and the next load uses all memory.
too_narrow() {
	refused dma_bits="$1" && dmesg | tail -n 3 | grep -q "rdma: dma_bits=$1 is not between" && accepted dma_bits=28 '28-bit'
}

bad=(dma_bits=0 dma_bits=11 dma_bits=65 dma_bits=100 dma_bits=4294967324 dma_bits=-1 dma_bits=many dma_bits= msi=perhaps
	context_mib=0 context_mib=1048577 context_mib=-1 device_mib=0 device_mib=4294967295 interrupt_delay_us=16384)
ktap_print_header
ktap_set_plan $((${#bad[@]} + 9))
for parameter in "${bad[@]}"; do
	ktap_test_result "refused_$parameter" refused "$parameter"
done
for bits in 12 16 23; do
	ktap_test_result "too_narrow_$bits" too_narrow "$bits"
done
ktap_test_result dma_bits=24 accepted dma_bits=24 '24-bit'
ktap_test_result dma_bits=27 accepted dma_bits=27 '27-bit'
ktap_test_result msi=0 accepted msi=0 'INTx'
ktap_test_result msi=1 accepted msi=1 'MSI'
ktap_test_result context_mib=1048576 accepted context_mib=1048576 '/dev/rdma'
ktap_test_result device_mib=1 accepted device_mib=1 '/dev/rdma'
ktap_finished
