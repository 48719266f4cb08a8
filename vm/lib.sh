# Shared by the scripts in vm/: paths and messages.
# shellcheck shell=bash disable=SC2034 # some of it is used there only
set -euo pipefail
umask 022
export PATH=$PATH:/usr/sbin:/sbin # for chroot and mount; not every user has them

suite=trixie # the Debian release of the build root; the kernel comes from its backports

# The project on the host, or /rdma in the build root and in the guest.
project=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
home_directory() { echo "${HOME:-$(getent passwd "$UID" | cut -d : -f 6)}"; }
cache=${XDG_CACHE_HOME-}
[[ $cache == /* ]] || cache=$(home_directory)/.cache
cache+=/rdma

# The name of the build root depends on everything that affects its contents: packages, scripts, mirror, kernel. Comments do not.
root_key() {
	{
		printf '%s\n' "$suite" "${MIRROR:-}" "${KERNEL:-}"
		cat "$project"/vm/{packages,build-root,kernel-packages,kernel-metadata} "$project/packaging/dkms/rust-metadata" |
			sed -E '/^\s*#( |$)/d'
	} | sha256sum | cut -c 1-12
}

# The same for the build root for arm64, which is made from the other one.
arm64_root_key() {
	{
		root_key
		cat "$project"/vm/arm64/{packages,root,install} | sed -E '/^\s*#( |$)/d'
	} | sha256sum | cut -c 1-12
}

# The same for the build root of another suite (vm/suites), which builds the module for the suite's kernels. These have their metadata there.
suite_root_key() {
	{
		echo "${MIRROR:-}"
		cat "$project"/vm/suites/{packages,root} "$project/packaging/dkms/rust-metadata" | sed -E '/^\s*#( |$)/d'
	} | sha256sum | cut -c 1-12
}

# ARCH=arm64: for arm64, with a build root and a directory for what is built of its own. In that root, the directory is at /rdma/build.
# FLAVOUR= is one of Debian's kernels that is used instead of the stock one, such as arm64-16k, or the release of one of any suite: 7.3-amd64.
arch=${ARCH:-amd64} build=$project/build
[[ $arch != x86* ]] || arch=amd64 # as the kernel calls it
if [[ -e /etc/rdma-release ]]; then
	root=/ arch=$(cat /etc/rdma-arch 2>/dev/null || echo amd64) # and inside of it
elif [[ $arch == amd64 ]]; then
	root=$cache/root-$(root_key)
elif [[ $arch == arm64 ]]; then
	root=$cache/root-arm64-$(arm64_root_key) build=$project/build/arm64
else
	echo "error: ARCH=$arch is not supported; amd64 and arm64 are" >&2
	exit 1
fi
[[ $root == / || ! ${RDMA_SUITE-} ]] || root=$cache/root-$RDMA_SUITE-$(suite_root_key) # vm/modules and vm/suites/setup set it
flavour=${FLAVOUR:-stock}
[[ $flavour == [0-9]*.* ]] || { flavour=${flavour#"$arch-"} flavour=${flavour%-"$arch"}; }
[[ $flavour != "$arch" ]] || flavour=stock

# The guest's first file system for a kernel of this release, in the build root; created by vm/image. It has modules of the kernel: one of a
# development suite keeps its release when it gets a new version.
image_of() {
	local version
	version=$root$(kernel_directory "$1")/version
	[[ -e $version ]] || version=
	echo "/boot/initramfs-$1-$(cat "$project"/vm/image "$project"/vm/guest/{init,hold-clock.c} ${version:+"$version"} | sha256sum | cut -c 1-12)"
}

# The root of arm64 guests (vm/arm64/guest), in the build root for arm64.
guest_directory() {
	echo "/opt/guest-$(cat "$project"/vm/arm64/guest{,-packages} | sha256sum | cut -c 1-12)"
}

# Additional kernels for tests (vm/kernel): the path of each in the build root, whose name depends on what affects its contents.
# Those with a digit first and a dot are releases, of any of Debian's suites (vm/suites).
kernels=(debug kcsan rt upstream cloud)
[[ $arch == amd64 ]] || kernels=(stock 16k rt cloud)
pristine=/usr/src/linux-pristine
kernel_directory() {
	[[ $1 == [0-9]*.* || " ${kernels[*]} " == *" $1 "* ]] || die "there is no kernel $1, but: ${kernels[*]}"
	local parts=("$project/vm/kernel")
	if of_suite "$1"; then
		# With what the root of the suite is made from, which builds its module.
		parts=("$project"/vm/suites/{kernel,lib.sh,packages,root} "$project/packaging/dkms/rust-metadata")
	elif [[ $arch == arm64 ]]; then
		parts=("$project"/vm/arm64/{kernel,metadata})
	elif [[ $1 == upstream ]]; then
		# It is made from what is built of the debug kernel.
		parts+=("$project"/vm/kernels/{common,debug,upstream}.config "$project"/{vm/upstream-kernel,upstream/apply} "$project"/upstream/*/000[1-9]-*.patch)
	elif [[ $1 != rt ]]; then
		parts+=("$project"/vm/kernels/{common,"$1"}.config)
	fi
	echo "/usr/src/kernels/$1-$(cat "${parts[@]}" | sha256sum | cut -c 1-12)"
}

# Whether vm/suites makes this kernel.
of_suite() { [[ $1 == [0-9]*.* || $1 == cloud ]]; }

# Whether the kernel of this release has 9p, by which the guest's file systems are shared with it. Those for clouds do not. In the build root.
has_9p() { ! grep -qsx '# CONFIG_NET_9P is not set' "/lib/modules/$1/config"; }

# Read the package indexes of Debian's suites again, for version_of and others. The caller has the lock of the cache.
list_kernels() { "$project/vm/enter" --network vm/suites/list >"$cache/kernels.part" && mv "$cache/kernels.part" "$cache/kernels"; }

# Its version in the package indexes when these were last read, or nothing.
version_of() { awk -v kernel="$1" '$3 == kernel { print $4 }' "$cache/kernels" 2>/dev/null || true; }

# Whether a kernel is in the build root; one of a development suite keeps its name when it gets a new version.
has_kernel() {
	local directory version
	directory=$root$(kernel_directory "$1")
	[[ -e $directory/release ]] || return
	[[ $1 != [0-9]*.* ]] && return
	version=$(version_of "$1")
	[[ ! $version || $(cat "$directory/version") == "$version" ]]
}

# Programs beside the root's packages, in the build root: the second QEMU (vm/qemu), DPDK's test program (vm/dpdk), Spin (vm/spin), a browser
# (vm/chromium).
unpacked_directory() {
	echo "/opt/$1-$(cat "$project"/vm/{"$1",unpack.sh} | sha256sum | cut -c 1-12)"
}

# Choose a kernel, the stock one or another one: `release` as in uname -r, and in the build root `vmlinuz` and `headers`. If those headers are in
# the build root of another suite, which then builds the module, `built_in` is that suite.
choose_kernel() {
	local directory name=$1
	built_in=''
	[[ $name != stock ]] || name=$flavour
	if [[ $name == stock && $arch == amd64 ]]; then
		release=$(cat "$root/etc/rdma-release" 2>/dev/null) || die "there is no build root yet; run 'make setup'"
		vmlinuz=/lib/modules/$release/vmlinuz headers=/lib/modules/$release/build
	else
		directory=$(kernel_directory "$name") || exit
		release=$(cat "$root$directory/release" 2>/dev/null) || die "there is no kernel $name yet; run 'vm/setup $name' (kernels: ${kernels[*]})"
		vmlinuz=$directory/vmlinuz headers=$directory/build
		built_in=$(cat "$root$directory/suite" 2>/dev/null || true)
	fi
}

# One build at a time in this directory: this holds a lock until the process and its children end.
lock_build() {
	mkdir -p "$build"
	exec 8>"$build/.lock"
	flock --nonblock 8 || {
		say "Another build is running in this directory; waiting for it."
		flock 8
	}
}

# One setup at a time in the cache, in the same way.
lock_cache() {
	exec 9>"$cache/lock"
	flock --nonblock 9 || {
		say "Another setup is running; waiting for it."
		flock 9
	}
}

say() { printf '%s\n' "$*" >&2; }
die() {
	say "error: $*"
	exit 1
}

# Check that the host has a program, which is in the Debian package of that name.
require() { command -v "$1" >/dev/null || die "this machine lacks: $1. Install it: apt-get install $1"; }

# Run a command that may install packages, in the build root. If an earlier one was interrupted, its packages are configured first: apt refuses
# to install others until then.
install_in_root() {
	"$project/vm/enter" --writable env DEBIAN_FRONTEND=noninteractive sh -c 'dpkg --configure -a && exec "$@"' sh "$@"
}

# Execute a command as root of its own mount and process namespace (and user namespace, for an ordinary user).
# All its mounts and processes end with it, or with this process.
namespace() {
	local user=()
	((EUID == 0)) || user=(--user --map-root-user --map-auto)
	exec setpriv --pdeathsig KILL \
		unshare "${user[@]}" --mount --pid --fork --kill-child --mount-proc "$@"
}
