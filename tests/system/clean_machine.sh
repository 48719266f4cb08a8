# A clean machine for the tests of the Debian packages, which are build/deb/*.deb (`make deb`). Sourced in the build root.
#
# The clean machine is the build root with a separate layer over it, in which the headers have no Rust metadata, as Debian's,
# dpkg excludes no files, and there are no further kernels, such as that of `make test-race`.
# shellcheck shell=bash disable=SC2034,SC2317 # the tests use the variables, and call the functions by name
. /usr/src/linux/tools/testing/selftests/kselftest/ktap_helpers.sh

release=$(</etc/rdma-release)
headers=/usr/src/linux-headers-$release
names=(rustdma-dkms rustdma-tools rustdma-dev)
debs=(build/deb/*.deb)
version=$(dpkg-deb --field "${debs[0]}" Version)
layers=/tmp/layers
user= # in an ordinary user's namespace, the marks of a layer have to be of another kind
[[ $(awk '{ print $3 }' /proc/self/uid_map) == 4294967295 ]] || user=,userxattr

# Creates a machine of this name, which `inside` and $root then use.
machine() {
	root=$layers/$1/root
	mkdir -p "$layers/$1"/{upper,work,root}
	mount -t overlay -o "lowerdir=/run/root,upperdir=$layers/$1/upper,workdir=$layers/$1/work$user" overlay "$root" || return
	rm -r "$root$headers/rust" "$root$headers/scripts/target.json" || return
	find "$root/lib/modules" -mindepth 1 -maxdepth 1 ! -name "$release" -exec rm -r {} + || return
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

# Another kernel of the series: its headers in a package, with those scripts for DKMS that the packages of Debian's kernels have.
fake_kernel() { # RELEASE [metadata]
	local tree=/tmp/kernel scripts
	rm -rf "$tree"
	mkdir -p "$tree/DEBIAN" "$tree/usr/src" "$tree/lib/modules/$1" || return
	cp -a "/run/root$headers" "$tree/usr/src/linux-headers-$1" || return
	ln -s "/usr/src/linux-headers-$1" "$tree/lib/modules/$1/build"
	cp "/lib/modules/$release/modules."{order,builtin,builtin.modinfo} "$tree/lib/modules/$1" || return
	grep -rlIF "$release" "$tree/usr/src" | xargs sed -i "s/${release//./\\.}/$1/g" || return
	[[ ${2-} ]] || rm -r "$tree/usr/src/linux-headers-$1/rust"
	printf '%s\n' "Package: linux-headers-$1" "Version: ${1%%+*}-1" "Architecture: amd64" "Maintainer: test" "Description: test" >"$tree/DEBIAN/control"
	for scripts in postinst:header_postinst.d prerm:prerm.d; do
		printf '%s\n' '#!/bin/sh' "exec run-parts --exit-on-error --arg=$1 /etc/kernel/${scripts#*:}" >"$tree/DEBIAN/${scripts%:*}"
		chmod 755 "$tree/DEBIAN/${scripts%:*}"
	done
	dpkg-deb --build -Znone "$tree" "$root/srv/kernel.deb" >/dev/null && inside dpkg --install /srv/kernel.deb >/tmp/said 2>&1
}
installed() { inside dkms status | sed -n "s|^rust-dma/$version, \\(.*\\), x86_64: installed\$|\\1|p" | sort | paste -sd ' '; }

# All files except logs, caches, the files that dpkg and DKMS (the signing key) keep, and other kernels, which may be built at the same time.
files() {
	find "$root" \( -path "$root/var/lib/dpkg" -o -path "$root/var/log" -o -path "$root/var/cache" -o \
		-path "$root/usr/src/kernels" \) -prune -o \
		! -path "$root/var/lib/dkms/mok.*" -printf '%y %P\n' | sort
}

# Runs tests, each of which is a function, in a new machine.
run_tests() { # MACHINE TEST...
	ktap_print_header
	ktap_set_plan $(($# - 1))
	[[ -e ${debs[0]} ]] || ktap_exit_fail_msg "there are no packages in build/deb; 'make deb' makes them"
	machine "$1" || ktap_exit_fail_msg "cannot make a clean machine"
	files >/tmp/files
	local name
	for name in "${@:2}"; do ktap_test_result "$name" "$name"; done
	ktap_finished
}
