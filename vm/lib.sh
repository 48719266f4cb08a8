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

# The build root; "/" inside of it.
if [[ -e /etc/rdma-release ]]; then
	root=/
else
	root=$cache/root-$(root_key)
fi

# The guest's first file system for a kernel of this release, in the build root; created by vm/image.
image_of() {
	echo "/boot/initramfs-$1-$(cat "$project"/vm/image "$project"/vm/guest/{init,hold-clock.c} | sha256sum | cut -c 1-12)"
}

# Additional kernels for tests (vm/kernel): the path of each in the build root, whose name depends on what affects its contents.
kernels=(debug kcsan rt)
pristine=/usr/src/linux-pristine
kernel_directory() {
	[[ " ${kernels[*]} " == *" $1 "* ]] || die "there is no kernel $1, but: ${kernels[*]}"
	local parts=("$project/vm/kernel")
	[[ $1 == rt ]] || parts+=("$project"/vm/kernels/{common,"$1"}.config)
	echo "/usr/src/kernels/$1-$(cat "${parts[@]}" | sha256sum | cut -c 1-12)"
}

# Programs beside the root's packages, in the build root: the second QEMU (vm/qemu), DPDK's test program (vm/dpdk), Spin (vm/spin).
unpacked_directory() {
	echo "/opt/$1-$(sha256sum <"$project/vm/$1" | cut -c 1-12)"
}

# Choose a kernel, the stock one or another one: `release` as in uname -r, and in the build root `vmlinuz` and `headers`.
choose_kernel() {
	local directory
	if [[ $1 == stock ]]; then
		release=$(cat "$root/etc/rdma-release" 2>/dev/null) || die "there is no build root yet; run 'make setup'"
		vmlinuz=/lib/modules/$release/vmlinuz headers=/lib/modules/$release/build
	else
		directory=$(kernel_directory "$1")
		release=$(cat "$root$directory/release" 2>/dev/null) || die "there is no kernel $1 yet; run 'vm/setup $1' (kernels: ${kernels[*]})"
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
