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

# Whether a command fails with status 1, and a message that has this text.
fails_with() {
	local said status=0
	said=$("${@:2}" 2>&1 >/dev/null) || status=$?
	[[ $status == 1 && $said == *"$1"* ]]
}

hello_without_device() {
	fails_with /dev/rdma9 "$samples/hello_mmap" /dev/rdma9
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
	fails_with /tmp/no-such-file "$samples/roundtrip" /tmp/no-such-file
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
