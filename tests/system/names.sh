#!/bin/bash
# tests/system/names.sh : no name of our packages and sources is one of rdma-core's or iproute2's. Runs in the build root; uses build/deb/*.deb
# (`make deb`).
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

# The names in the sources below a directory, each with its kind. In debugfs, the directory has the name of the class; the tool reads it.
source_names() { # DIRECTORY
	sed -nE 's/.*\bCLASS_NAME: .*= c"(.*)";/class \1/p' "$1/src/driver.rs"
	sed -nE 's/^#define TRACE_SYSTEM (.*)/tracing \1/p' "$1/src/kernel_ext/driver/trace.h"
	sed -nE 's,.*"/sys/kernel/debug/(.*)".*,debugfs \1,p' "$1/user/rdmactl/src/sysfs.rs"
	grep -L '^publish = false' "$1"/user/*/Cargo.toml | xargs sed -nE 's/^name = "(.*)"/crate \1/p'
	sed -nE 's/^name = "(.*)"/distribution \1/p; s/^packages = \["(.*)"\]/import \1/p' "$1/user/python/pyproject.toml"
}
# Each word of theirs: packages, groups, subsystems, and what the paths of their files consist of.
their_words() { cut -d ' ' -f 2 tests/system/rdma-core.names | tr / '\n' | sed 's/\..*//' | sort -u; }
# Fails if there is not one name of each kind, if one is not ours, or if one is theirs.
are_ours() { # DIRECTORY
	local names
	names=$(source_names "$1")
	[[ $(cut -d ' ' -f 1 <<<"$names" | sort | xargs) == 'class crate debugfs distribution import tracing' ]] ||
		{ echo "# not one name of each kind: ${names//$'\n'/, }" && return 1; }
	grep -vE ' (rust-dma|rust_dma)$' <<<"$names" | sed 's/^/# not ours: /' | { ! grep .; } || return
	cut -d ' ' -f 2 <<<"$names" | sort -u | comm -12 <(their_words) - | sed 's/^/# also theirs: /' | { ! grep .; }
}
sources() { are_ours .; }
another_name_is_found() {
	local file copy
	copy=$(mktemp -d)/copy
	for file in src/driver.rs src/kernel_ext/driver/trace.h user/rdmactl/src/sysfs.rs user/rust-dma/Cargo.toml user/python/pyproject.toml; do
		rm -rf "$copy" && mkdir "$copy" &&
			cp --parents src/driver.rs src/kernel_ext/driver/trace.h user/rdmactl/src/sysfs.rs user/*/Cargo.toml user/python/pyproject.toml "$copy" || return
		are_ours "$copy" || return
		sed -i -E '/CLASS_NAME|TRACE_SYSTEM|debug|^name/ s/rust.dma/rdma/' "$copy/$file"
		are_ours "$copy" | grep '^# not ours: .* rdma$' || return
	done
}

tests=(record_is_complete files directories packages groups subsystems sources another_name_is_found)
ktap_print_header
ktap_set_plan ${#tests[@]}
[[ -e ${debs[0]} ]] || ktap_exit_fail_msg "there are no packages in build/deb; 'make deb' makes them"
unpack || ktap_exit_fail_msg "the packages cannot be unpacked"
for name in "${tests[@]}"; do ktap_test_result "$name" "$name"; done
ktap_finished
