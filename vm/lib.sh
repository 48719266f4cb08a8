# Shared by the scripts in vm/: paths and messages.
# shellcheck shell=bash disable=SC2034 # some of it is used there only
set -euo pipefail
umask 022
export PATH=$PATH:/usr/sbin:/sbin # for chroot and mount; not every user has them

suite=trixie # the Debian release of the build root; the kernel comes from its backports

# The project on the host, or /rdma in the build root and in the guest.
project=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
cache=${XDG_CACHE_HOME-}
[[ $cache == /* ]] || cache=${HOME:-$(getent passwd "$UID" | cut -d : -f 6)}/.cache
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

# ARCH=arm64: for arm64, with a build root and a directory for what is built of its own. In that root, the directory is at /rdma/build.
# FLAVOUR= is one of Debian's kernels that is used instead of the stock one, such as arm64-16k.
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
flavour=${FLAVOUR:-stock}
flavour=${flavour#"$arch-"} flavour=${flavour%-"$arch"}
[[ $flavour != "$arch" ]] || flavour=stock

# The guest's first file system for a kernel of this release, in the build root; created by vm/image.
image_of() {
	echo "/boot/initramfs-$1-$(cat "$project"/vm/image "$project"/vm/guest/{init,hold-clock.c} | sha256sum | cut -c 1-12)"
}

# The root of arm64 guests (vm/arm64/guest), in the build root for arm64.
guest_directory() {
	echo "/opt/guest-$(cat "$project"/vm/arm64/guest{,-packages} | sha256sum | cut -c 1-12)"
}

# Additional kernels for tests (vm/kernel): the path of each in the build root, whose name depends on what affects its contents.
kernels=(debug kcsan rt upstream)
[[ $arch == amd64 ]] || kernels=(stock 16k rt)
pristine=/usr/src/linux-pristine
kernel_directory() {
	[[ " ${kernels[*]} " == *" $1 "* ]] || die "there is no kernel $1, but: ${kernels[*]}"
	local parts=("$project/vm/kernel")
	if [[ $arch == arm64 ]]; then
		parts=("$project"/vm/arm64/{kernel,metadata})
	elif [[ $1 == upstream ]]; then
		# It is made from what is built of the debug kernel.
		parts+=("$project"/vm/kernels/{common,debug,upstream}.config "$project/vm/upstream-kernel" "$project"/upstream/*/000[1-9]-*.patch)
	elif [[ $1 != rt ]]; then
		parts+=("$project"/vm/kernels/{common,"$1"}.config)
	fi
	echo "/usr/src/kernels/$1-$(cat "${parts[@]}" | sha256sum | cut -c 1-12)"
}

# Programs beside the root's packages, in the build root: the second QEMU (vm/qemu), DPDK's test program (vm/dpdk), Spin (vm/spin).
unpacked_directory() {
	echo "/opt/$1-$(sha256sum <"$project/vm/$1" | cut -c 1-12)"
}

# Choose a kernel, the stock one or another one: `release` as in uname -r, and in the build root `vmlinuz` and `headers`.
choose_kernel() {
	local directory name=$1
	[[ $name != stock ]] || name=$flavour
	if [[ $name == stock && $arch == amd64 ]]; then
		release=$(cat "$root/etc/rdma-release" 2>/dev/null) || die "there is no build root yet; run 'make setup'"
		vmlinuz=/lib/modules/$release/vmlinuz headers=/lib/modules/$release/build
	else
		directory=$(kernel_directory "$name") || exit
		release=$(cat "$root$directory/release" 2>/dev/null) || die "there is no kernel $name yet; run 'vm/setup $name' (kernels: ${kernels[*]})"
		vmlinuz=$directory/vmlinuz headers=$directory/build
	fi
}

say() { printf '%s\n' "$*" >&2; }
die() {
	say "error: $*"
	exit 1
}

# Execute a command as root of its own mount and process namespace (and user namespace, for an ordinary user).
# All its mounts and processes end with it, or with this process.
namespace() {
	local user=()
	((EUID == 0)) || user=(--user --map-root-user --map-auto)
	exec setpriv --pdeathsig KILL \
		unshare "${user[@]}" --mount --pid --fork --kill-child --mount-proc "$@"
}
