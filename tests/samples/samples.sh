#!/bin/bash
# The samples work for files of various sizes, and return the right exit status.
# shellcheck disable=SC2317 # the functions are called by name
set -u
. /usr/src/linux/tools/testing/selftests/kselftest/ktap_helpers.sh

samples=build/samples
file=/tmp/file

hello() {
	[[ $("$samples/hello_mmap") == *"It is the same." ]]
}

hello_without_device() {
	! "$samples/hello_mmap" /dev/rdma9 2>/dev/null
}

roundtrip() { # BYTES
	local said hash
	head -c "$1" /dev/urandom >"$file"
	hash=$(sha256sum <"$file")
	said=$("$samples/roundtrip" "$file") || return
	[[ $said == *"$1 bytes"*"sent      ${hash%% *}"*"received  ${hash%% *}"*"The same." ]]
}

from_a_pipe() {
	local said hash
	hash=$(head -c 5000 /dev/zero | sha256sum)
	said=$(head -c 5000 /dev/zero | "$samples/roundtrip" /dev/stdin) || return
	[[ $said == *"received  ${hash%% *}"* ]]
}

no_such_file() {
	! "$samples/roundtrip" /tmp/no-such-file 2>/dev/null
}

sizes=(0 1 4095 4096 4097 65535 65536 65537)
ktap_print_header
ktap_set_plan $((${#sizes[@]} + 4))
ktap_test_result hello hello
ktap_test_result hello_without_device hello_without_device
for size in "${sizes[@]}"; do
	ktap_test_result "roundtrip_$size" roundtrip "$size"
done
ktap_test_result from_a_pipe from_a_pipe
ktap_test_result no_such_file no_such_file
ktap_finished
