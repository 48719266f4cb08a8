#!/bin/bash
# The virtual clock does not advance while the guest waits for the host (vm/guest/hold-clock.c, vm/guest/qmp), and jumps while it waits for a timer.
# shellcheck disable=SC2317 # the functions are called by name
set -u
. /usr/src/linux/tools/testing/selftests/kselftest/ktap_helpers.sh

us() { echo "${EPOCHREALTIME/./}"; }

# Maximum time in microseconds of the guest. Each takes a fraction of it; if the clock jumps, minutes.
in_time() { # LIMIT COMMAND...
	local limit=$1 began took
	shift
	began=$(us)
	"$@" >/dev/null || return
	took=$(($(us) - began))
	echo "# took $took us of the guest"
	((took <= limit))
}

# About 800 requests by 9p, for files that are not cached yet.
files_of_the_host() {
	echo 3 >/proc/sys/vm/drop_caches
	in_time 1500000 cat /usr/lib/python3.*/*.py
}

monitor() { in_time 3000000 vm/guest/qmp query-status; }

# An hour in the guest, which passes in less time than the test has. More would be no better, and the guest has work to do in each second.
timers() { ! in_time 3500000000 sleep 3600; }

ktap_print_header
ktap_set_plan 3
for name in files_of_the_host monitor timers; do
	ktap_test_result "$name" "$name"
done
ktap_finished
