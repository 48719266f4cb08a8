#!/bin/bash
# The faults that a device can be made to show are only in a module for a kernel with fault injection; in any other, nothing of them is left.
set -u
. /usr/src/linux/tools/testing/selftests/kselftest/ktap_helpers.sh

configured() { [[ -e /proc/self/fail-nth ]]; }
in_debugfs() { [[ -e /sys/kernel/debug/rdma/rdma0/inject ]]; }
in_the_module() { grep -qai inject "$RDMA_MODULE"; }

ktap_print_header
ktap_set_plan 2
for place in in_debugfs in_the_module; do
	if configured; then
		ktap_test_result "$place" "$place"
	else
		ktap_test_result "not_$place" eval "! $place"
	fi
done
ktap_finished
