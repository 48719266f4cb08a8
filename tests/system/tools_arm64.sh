#!/bin/bash
# tests/system/tools_arm64.sh : the cross-built package of the tool, on arm64. Runs in the guest; uses build/deb/*.deb (`make deb ARCH=arm64`).
#
# The guest has dpkg-deb and no database of packages: the package is unpacked, and not installed, which tests/system/package.sh does for amd64.
# shellcheck disable=SC2317 # the functions are called by name
set -u
. /usr/src/linux/tools/testing/selftests/kselftest/ktap_helpers.sh

debs=(build/deb/rustdma-tools_*.deb)
deb=${debs[0]}
root=$(mktemp -d)
tool=$root/usr/bin/rdmactl

field() { dpkg-deb --field "$deb" "$1"; }

is_for_arm64() { [[ ${#debs[@]} == 1 && $(field Architecture) == arm64 && $(uname -m) == aarch64 ]]; }
# dpkg-shlibdeps finds them in the libraries for arm64.
names_its_libraries() { [[ $(field Depends) == *'libc6 (>= '* ]]; }
unpacks() { dpkg-deb --extract "$deb" "$root"; }
tool_runs() { [[ $("$tool" --version) == "rdmactl $(field Version)" ]]; }
# Which a tool for the machine that built the package has generated.
manual_page_is_the_tools() { mkdir "$root/man" && "$tool" generate man "$root/man" && zcat "$root/usr/share/man/man1/rdmactl.1.gz" | cmp - "$root/man/rdmactl.1"; }
completion_is_the_tools() {
	mkdir "$root/completions" && "$tool" generate completions "$root/completions" &&
		cmp "$root"/{completions/rdmactl.bash,usr/share/bash-completion/completions/rdmactl}
}
finds_the_device() { "$tool" doctor | grep 'It works here'; }
copies() { "$tool" copy --verify LICENSE "$root/copy" && cmp LICENSE "$root/copy"; }

tests=(is_for_arm64 names_its_libraries unpacks tool_runs manual_page_is_the_tools completion_is_the_tools finds_the_device copies)
ktap_print_header
ktap_set_plan ${#tests[@]}
[[ -e $deb ]] || ktap_exit_fail_msg "there are no packages in build/deb; 'make deb ARCH=arm64' makes them"
for name in "${tests[@]}"; do ktap_test_result "$name" "$name"; done
rm -r "$root"
ktap_finished
