#!/bin/bash
# tests/system/package.sh : the Debian packages work on a clean machine. Runs in the build root; uses build/deb/*.deb (`make deb`).
# shellcheck disable=SC2317 # the functions are called by name
set -u
. "${BASH_SOURCE[0]%/*}/clean_machine.sh"

# The source is there in the version of the newer kernel.
install_beside_an_older_kernel() {
	local older=7.3.1+${release#*+}
	fake_kernel "$older" || { tail -n 20 /tmp/said; return 1; }
	if ! { install && module_is_built && ! grep -F 'apt install' /tmp/said; }; then return 1; fi
	grep -F "rust-dma: the headers of $older lack the Rust metadata" /tmp/said | grep -F "$release, which is newer, needs linux-source-7.3 in another version." &&
		rm "$root/srv/kernel.deb" && quietly inside dpkg --purge "linux-headers-$older"
}
module_is_for_this_kernel() {
	[[ $(of_module vermagic rdma) == "$(of_module vermagic snd)" && $(of_module vermagic rdma) == "$release "* ]]
}
module_is_this_driver() {
	local field
	for field in alias parm license description; do
		diff <(of_module "$field" rdma) <(modinfo --field "$field" "build/$release/rdma.ko") || return
	done
}
# The log of the build is kept: the metadata was created, and all of it is the same as Debian's.
metadata_is_the_same() {
	local log=$root/var/lib/dkms/rust-dma/$version/$release/x86_64/log/make.log
	[[ $(grep 'Rust symbols identical' "$log") =~ ^([0-9]+)\ of\ ([0-9]+)\  ]] && ((BASH_REMATCH[1] == BASH_REMATCH[2] && BASH_REMATCH[1] > 1000))
}
module_is_signed() { [[ $(of_module signer rdma) == "DKMS module signing key" ]]; }
headers_are_untouched() { [[ ! -e $root$headers/rust && ! -e $root$headers/scripts/target.json ]]; }
nothing_is_left_of_the_build() { [[ ! -e $root/var/lib/dkms/rust-dma/$version/build ]]; }

header_compiles() {
	quietly inside sh -c 'cd /usr/share/doc/rustdma-dev/examples && for sample in hello_mmap roundtrip; do
		cc -Wall -Wextra -Werror $(pkg-config --cflags rust-dma) -o /tmp/$sample $sample.c || exit; done'
}
header_is_the_drivers() { cmp "$root/usr/include/rust-dma/rdma.h" "$root/usr/src/rust-dma-$version/src/uapi/rdma.h"; }
tool_runs() { [[ $(inside rdmactl --version) == "rdmactl $version" ]]; }
# 2.36. Then `make user` builds a tool for that machine, too (user/rdmactl/src/glibc.rs).
tool_runs_with_the_c_library_of_debian_12() {
	local versions
	versions=$(objdump -T "$root/usr/bin/rdmactl" | grep -oP '\(GLIBC_\K[0-9.]+') && grep -qx 2.34 <<<"$versions" &&
		[[ $({ echo 2.36; echo "$versions"; } | sort -V | tail -n 1) == 2.36 ]]
}
# Most of those whose names the compiler has left in the tool (for the messages of panics).
licenses_are_there() {
	local crate count=0
	while read -r crate; do
		zgrep -qE "^=== ${crate%-*} ${crate##*-}: " "$root/usr/share/doc/rustdma-tools/licenses.gz" || { echo "$crate"; return 1; }
		count=$((count + 1))
	done < <(strings "$root/usr/bin/rdmactl" | grep -oP 'registry/src/[^/]*/\K[^/]+(?=/)' | sort -u)
	((count > 10))
}
rule_is_valid() { quietly inside udevadm verify /usr/lib/udev/rules.d/60-rust-dma.rules; }
group_exists() { quietly inside getent group rust-dma; }
manual_pages() { quietly inside man --where 4 rdma && quietly inside man --where 1 rdmactl; }
completion_in_bash() {
	quietly inside bash -c '. /usr/share/bash-completion/bash_completion; _comp_load rdmactl; complete -p rdmactl'
}
completion_in_zsh() { [[ $(inside zsh -c 'autoload -Uz compinit && compinit -D && echo $_comps[rdmactl]') == _rdmactl ]]; }
completion_in_fish() { quietly inside fish -c 'complete --do-complete "rdmactl --he" | string match --quiet -- "--help*"'; }

# The guest is this machine: udev loads the driver, and a member of the group, without other privileges, uses the device.
works_in_a_guest() {
	cat >"$root/srv/job" <<-'END'
		set -e
		/usr/lib/systemd/systemd-udevd --daemon
		udevadm trigger --action=add --settle
		[[ $(modinfo -F filename rdma) == /lib/modules/*/updates/dkms/rdma.ko.xz && -e /sys/module/rdma ]]
		ls -l /dev/rdma0 /dev/rdma/by-path/
		member() { setpriv --reuid=1002 --regid=1002 --groups="$(getent group rust-dma | cut -d : -f 3)" "$@"; }
		member rdmactl doctor
		member rdmactl copy --verify /usr/src/rust-dma-*/LICENSE /dev/null
		cc $(pkg-config --cflags rust-dma) -o /tmp/hello /usr/share/doc/rustdma-dev/examples/hello_mmap.c
		member /tmp/hello | tail -n 1
		if setpriv --reuid=1001 --regid=1001 --clear-groups rdmactl read >/dev/null 2>&1; then exit 1; fi
		modprobe -r rdma
	END
	quietly vm/boot --root "$root" -- bash /srv/job && grep -q 'It works here' /tmp/said && grep -q ', compared$' /tmp/said &&
		grep -q 'It is the same' /tmp/said
}

# The driver is loaded before the tool is installed.
node_is_there_already() {
	cp build/deb/rustdma-tools_*.deb "$root/srv/tools.deb" || return
	cat >"$root/srv/job" <<-'END'
		set -e
		dpkg --purge rustdma-tools
		groupdel rust-dma
		/usr/lib/systemd/systemd-udevd --daemon
		modprobe rdma
		udevadm settle
		[[ $(stat -c '%G %a' /dev/rdma0) == 'root 600' && ! -e /dev/rdma/by-path ]]
		dpkg --install /srv/tools.deb
		udevadm settle
		ls -l /dev/rdma0 /dev/rdma/by-path/
		[[ $(stat -c '%G %a' /dev/rdma0) == 'rust-dma 660' ]]
	END
	quietly vm/boot --root "$root" -- bash /srv/job && rm "$root/srv/tools.deb"
}

# The firmware trusts Debian's kernel and the key with which DKMS has signed the module here, as after `mokutil --import`. (That program and shim's
# MokManager ask for a password at the console; no test runs them.)
works_with_secure_boot() {
	cat >"$root/srv/job" <<-'END'
		set -e
		dmesg | grep -q 'Kernel is locked down from EFI Secure Boot'
		refused() {
			if insmod "$1" 2>/tmp/error; then return 1; fi
			grep -q 'Key was rejected by service' /tmp/error
			dmesg | tail -n 2 | grep -q "Loading of $2 is rejected"
			[[ ! -e /sys/module/rdma ]]
		}
		xz -dc "$(modinfo -F filename rdma)" >/tmp/signed.ko
		objcopy /tmp/signed.ko /tmp/unsigned.ko # a signature is not a part of the ELF file
		refused /tmp/unsigned.ko 'unsigned module'
		cp /tmp/unsigned.ko /tmp/other.ko
		openssl req -new -x509 -newkey rsa:2048 -nodes -subj /CN=other -keyout /tmp/key -outform DER -out /tmp/certificate 2>/dev/null
		/lib/modules/$(uname -r)/build/scripts/sign-file sha256 /tmp/key /tmp/certificate /tmp/other.ko
		refused /tmp/other.ko 'module with unavailable key'
		insmod /tmp/signed.ko
		rmmod rdma
		modprobe rdma
		rdmactl doctor
		rdmactl copy --verify /usr/src/rust-dma-*/LICENSE /dev/null
		modprobe -r rdma
	END
	quietly vm/boot --root "$root" --secure-boot "$root/var/lib/dkms/mok.pub" -- bash /srv/job &&
		grep -q 'It works here' /tmp/said && grep -q ', compared$' /tmp/said
}

remove() {
	quietly inside dpkg --remove "${names[@]}" && [[ ! $(modules) && ! $(inside dkms status) && ! -e $root/usr/bin/rdmactl ]]
}

purge() { rm -f "$root/srv/job"; quietly inside dpkg --purge "${names[@]}" && files | diff /tmp/files -; }

tests=(install_beside_an_older_kernel module_is_built module_is_for_this_kernel module_is_this_driver metadata_is_the_same module_is_signed
	headers_are_untouched nothing_is_left_of_the_build header_compiles header_is_the_drivers tool_runs tool_runs_with_the_c_library_of_debian_12 licenses_are_there
	rule_is_valid group_exists manual_pages completion_in_bash completion_in_zsh completion_in_fish
	works_in_a_guest node_is_there_already works_with_secure_boot remove purge)
run_tests first "${tests[@]}"
