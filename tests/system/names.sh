#!/bin/bash
# tests/system/names.sh : no name of our packages is one of rdma-core's or iproute2's. Runs in the build root; uses build/deb/*.deb (`make deb`).
#
# Theirs are recorded in rdma-core.names, which rdma-core-names writes. The device node, /dev/rdma0, is ours only.
# shellcheck disable=SC2317 # the functions are called by name
set -u
. /usr/src/linux/tools/testing/selftests/kselftest/ktap_helpers.sh

debs=(build/deb/*.deb)
ours=$(mktemp -d)
theirs() { sed -n "s/^$1 \([^ ]*\).*/\1/p" tests/system/rdma-core.names | sort -u; }

# Reads our names of a kind; fails if one is theirs, or if there is none.
are_not_theirs() { # KIND
	local names
	names=$(sort -u)
	[[ $names ]] || return
	comm -12 <(theirs "$1") - <<<"$names" | sed "s/^/# also theirs: $1 /" | { ! grep .; }
}

unpack() {
	local deb
	for deb in "${debs[@]}"; do dpkg-deb --raw-extract "$deb" "$ours/$(basename "$deb")" || return; done
}

# What the record must contain: the names for which ours were changed.
record_is_complete() {
	local name
	for name in 'package rdma-core ' 'package iproute2 ' 'group rdma$' 'file /usr/bin/rdma$' 'subsystem infiniband'; do
		grep -q "^$name" tests/system/rdma-core.names || return
	done
	(($(theirs file | wc -l) > 500))
}
files() { find "$ours" ! -type d -printf '/%P\n' | sed -E 's,^/[^/]*,,; \,^/DEBIAN/,d' | are_not_theirs file; }
# Nothing is put into a directory of theirs, such as /etc/rdma.
directories() {
	local shared
	shared=$(theirs file | ancestors | grep -E '(rdma|infiniband|ibverbs)[^/]*$')
	[[ $shared ]] || return
	find "$ours" ! -type d -printf '/%P\n' | sed -E 's,^/[^/]*,,' | ancestors | comm -12 <(echo "$shared") - | sed 's/^/# also theirs: /' | { ! grep .; }
}
# All directories above the paths in the input.
ancestors() { awk -F / '{ path = ""; for (i = 2; i < NF; i++) print path = path "/" $i }' | sort -u; }
packages() { sed -n 's/^Package: //p' "$ours"/*/DEBIAN/control | are_not_theirs package; }
groups() {
	{
		find "$ours" -path '*/sysusers.d/*' -type f -exec awk '$1 ~ /^[gu]/ { print $2 }' {} +
		find "$ours" -path '*/rules.d/*' -exec grep -hoP '\bGROUP="\K[^"]+' {} +
	} | are_not_theirs group
}
subsystems() { find "$ours" -path '*/rules.d/*' -exec grep -hoP '\bSUBSYSTEMS?[!=]="\K[^"]+' {} + | are_not_theirs subsystem; }

tests=(record_is_complete files directories packages groups subsystems)
ktap_print_header
ktap_set_plan ${#tests[@]}
[[ -e ${debs[0]} ]] || ktap_exit_fail_msg "there are no packages in build/deb; 'make deb' makes them"
unpack || ktap_exit_fail_msg "the packages cannot be unpacked"
for name in "${tests[@]}"; do ktap_test_result "$name" "$name"; done
ktap_finished
