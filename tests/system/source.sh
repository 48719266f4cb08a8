#!/bin/bash
# tests/system/source.sh : `make deb` packs the files that git tracks, and no others. Runs in the build root.
# shellcheck disable=SC2317 # the functions are called by name
set -u
. /usr/src/linux/tools/testing/selftests/kselftest/ktap_helpers.sh

copy=$(mktemp -d)
export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0='*'

packed() { (cd "$copy" && packaging/source ../packed.tar && tar -tf ../packed.tar | sort); }
tracked() { git -C "$copy" ls-files | sort; }

# pip builds in the source directory.
pip_leaves_files() {
	(cd "$copy" && python3 -m pip install --quiet --no-index --no-build-isolation --no-deps --root-user-action=ignore --target /tmp/module user/python) &&
		[[ -e $copy/user/python/build && -e $copy/user/python/rust_dma.egg-info ]]
}
they_are_not_packed() { diff <(tracked) <(packed); }
git_ignores_them() { [[ ! $(git -C "$copy" status --short) ]]; }
other_files_are_not_packed() {
	touch "$copy/user/rdmactl/src/notes.rs" "$copy/core" && diff <(tracked) <(packed)
	local status=$?
	rm "$copy/user/rdmactl/src/notes.rs" "$copy/core"
	return "$status"
}
changes_are_packed() {
	echo "// changed" >>"$copy/src/rdma.rs"
	packed >/dev/null && tar -xOf "$copy/../packed.tar" src/rdma.rs | grep -qx '// changed'
}
removed_files_are_left_out() { rm "$copy/src/uapi.rs" && packed | diff <(tracked) - | grep -x '< src/uapi.rs'; }
# A release has no repository.
without_a_repository() {
	tracked | grep -vx src/uapi.rs >/tmp/expected
	rm -rf "$copy/.git" && packed | diff /tmp/expected -
}

tests=(pip_leaves_files git_ignores_them they_are_not_packed other_files_are_not_packed changes_are_packed removed_files_are_left_out
	without_a_repository)
ktap_print_header
ktap_set_plan ${#tests[@]}
git clone --quiet --no-hardlinks "$PWD" "$copy/tree" || ktap_exit_fail_msg "the project is not a git repository"
copy+=/tree
for name in "${tests[@]}"; do ktap_test_result "$name" "$name"; done
ktap_finished
