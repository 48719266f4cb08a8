#!/bin/bash
# tests/system/package.sh : the Debian packages work on a clean machine. Runs in the build root; uses build/deb/*.deb (`make deb`).
#
# The clean machine is the build root with a separate layer over it, in which the headers have no Rust metadata, as Debian's,
# and dpkg excludes no files.
# shellcheck disable=SC2317 # the functions are called by name
set -u
. /usr/src/linux/tools/testing/selftests/kselftest/ktap_helpers.sh

release=$(</etc/rdma-release)
headers=/usr/src/linux-headers-$release
names=(rustdma-dkms rustdma-tools rustdma-dev)
debs=(build/deb/*.deb)
version=$(dpkg-deb --field "${debs[0]}" Version)
next=$version+next
layers=/tmp/layers
user= # in an ordinary user's namespace, the marks of a layer have to be of another kind
[[ $(awk '{ print $3 }' /proc/self/uid_map) == 4294967295 ]] || user=,userxattr

# Creates a machine of this name, which `inside` and $root then use.
machine() {
	root=$layers/$1/root
	mkdir -p "$layers/$1"/{upper,work,root}
	mount -t overlay -o "lowerdir=/run/root,upperdir=$layers/$1/upper,workdir=$layers/$1/work$user" overlay "$root" || return
	rm -r "$root$headers/rust" "$root$headers/scripts/target.json" || return
	sed -i '/^path-exclude/d' "$root"/etc/dpkg/dpkg.cfg.d/* || return
}
inside() { unshare --mount vm/chroot "$root" rw "$PWD" "$PWD" "$@"; }

# Prints the output of a command only if it fails.
quietly() {
	"$@" >/tmp/said 2>&1 || {
		tail -n 40 /tmp/said
		return 1
	}
}

install() { quietly inside dpkg --install "${debs[@]}"; }

modules() { find "$root/lib/modules" -name 'rdma.ko*'; }
module_is_built() {
	[[ $(modules) == "$root/lib/modules/$release/updates/dkms/rdma.ko.xz" ]] &&
		[[ $(inside dkms status) == "rust-dma/$version, $release, x86_64: installed" ]]
}
of_module() { inside modinfo --set-version "$release" --field "$@"; }
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
		! setpriv --reuid=1001 --regid=1001 --clear-groups rdmactl read
		modprobe -r rdma
	END
	quietly vm/boot --root "$root" -- bash /srv/job && grep -q 'It works here' /tmp/said && grep -q ', compared$' /tmp/said &&
		grep -q 'It is the same' /tmp/said
}

remove() {
	quietly inside dpkg --remove "${names[@]}" && [[ ! $(modules) && ! $(inside dkms status) && ! -e $root/usr/bin/rdmactl ]]
}

# All files except logs, caches, the files that dpkg and DKMS (the signing key) keep, and other kernels, which may be built at the same time.
files() {
	find "$root" \( -path "$root/var/lib/dpkg" -o -path "$root/var/log" -o -path "$root/var/cache" -o \
		-path "$root/usr/src/kernels" \) -prune -o \
		! -path "$root/var/lib/dkms/mok.*" -printf '%y %P\n' | sort
}
purge() { rm -f "$root/srv/job"; quietly inside dpkg --purge "${names[@]}" && files | diff /tmp/files -; }

# Debian's headers without their source.
refused() { # WORDS
	inside dpkg --install "${debs[@]}" >/tmp/said 2>&1 && return 1
	grep -F "rust-dma: the headers of $release lack the Rust metadata" /tmp/said | grep -F "$1" && [[ ! $(modules) ]]
}
package=linux-source-$(grep -oE '^[0-9]+\.[0-9]+' <<<"$release")
wanted=$(dpkg-query --show --showformat='${Version}' "$package")
source_of_another_version() {
	sed -i "/^Package: $package\$/,/^\$/s/^Version: .*/Version: 7.3.1-1/" "$root/var/lib/dpkg/status" || return
	refused "in the same version, and not in 7.3.1-1. Please run: apt install $package=$wanted"
}
no_source() {
	quietly inside dpkg --purge "${names[@]}" "$package" && refused "in the same version. Please run: apt install $package=$wanted"
}
# Packages that failed because of it are configured by dpkg.
metadata_is_there_already() {
	cp -r "/run/root$headers/rust" "$root$headers" && cp "/run/root$headers/scripts/target.json" "$root$headers/scripts" || return
	quietly inside dpkg --configure --pending && module_is_built
}

# The same packages in the next version.
make_next() {
	local deb tree
	mkdir -p "$root/srv/next" || return
	for deb in "${debs[@]}"; do
		tree=$(mktemp -d)
		dpkg-deb --raw-extract "$deb" "$tree" || return
		[[ ! -e $tree/usr/src/rust-dma-$version ]] || mv "$tree/usr/src/rust-dma-"{"$version","$next"} || return
		find "$tree" \( -path '*/DEBIAN/*' -o -name dkms.conf -o -name '*.pc' \) -type f -exec sed -i "s/${version//./\\.}/$next/g" {} +
		dpkg-deb --build "$tree" "$root/srv/next" || return
		rm -r "$tree"
	done
}
upgrade() {
	quietly make_next && quietly inside sh -c 'dpkg --install /srv/next/*.deb' || return
	[[ $(dpkg-query --admindir="$root/var/lib/dpkg" --show --showformat='${Version} ' "${names[@]}") == "$next $next $next " ]] || return
	[[ $(echo "$root"/usr/src/rust-dma-*) == "$root/usr/src/rust-dma-$next" ]] || return
	[[ $(echo "$root"/var/lib/dkms/rust-dma/[0-9]*) == "$root/var/lib/dkms/rust-dma/$next" ]] || return
	version=$next module_is_built && grep -qx "Version: $next" "$root/usr/share/pkgconfig/rust-dma.pc"
}

first=(install module_is_built module_is_for_this_kernel module_is_this_driver metadata_is_the_same module_is_signed headers_are_untouched
	nothing_is_left_of_the_build header_compiles header_is_the_drivers tool_runs licenses_are_there rule_is_valid group_exists manual_pages
	completion_in_bash completion_in_zsh completion_in_fish works_in_a_guest remove purge)
second=(source_of_another_version no_source metadata_is_there_already upgrade)

ktap_print_header
ktap_set_plan $((${#first[@]} + ${#second[@]}))
[[ -e ${debs[0]} ]] || ktap_exit_fail_msg "there are no packages in build/deb; 'make deb' makes them"
machine first || ktap_exit_fail_msg "cannot make a clean machine"
files >/tmp/files
for name in "${first[@]}"; do ktap_test_result "$name" "$name"; done
machine second || ktap_exit_fail_msg "cannot make a clean machine"
for name in "${second[@]}"; do ktap_test_result "$name" "$name"; done
ktap_finished
