#!/bin/bash
# Fault injection is only in a module for a kernel with fault injection; in any other, no trace of it is left.
set -u
. /usr/src/linux/tools/testing/selftests/kselftest/ktap_helpers.sh

configured() { [[ -e /proc/self/fail-nth ]]; }
in_debugfs() { [[ -e /sys/kernel/debug/rust_dma/rdma0/inject ]]; }
# Debug information also names the kernel's headers.
in_the_module() { grep -aoiE '[a-z_.-]*inject[a-z_.-]*' "$RDMA_MODULE" | grep -qvx fault-inject-usercopy.h; }

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
