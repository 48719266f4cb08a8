# What the scripts in vm/ share: where things are, and how they speak.
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

# Everything that shapes the build root is in its name: another list, script, mirror or kernel is another root.
root_key() {
	{
		printf '%s\n' "$suite" "${MIRROR:-}" "${KERNEL:-}"
		cat "$project"/vm/{packages,build-root,kernel-packages,kernel-metadata} "$project/packaging/dkms/rust-metadata"
	} | sha256sum | cut -c 1-12
}

# The build root; "/" for whoever is in it already.
if [[ -e /etc/rdma-release ]]; then
	root=/
else
	root=$cache/root-$(root_key)
fi

# The guest's first file system for a kernel of this release, in the build root; made by vm/image.
image_of() {
	echo "/boot/initramfs-$1-$(cat "$project"/vm/image "$project"/vm/guest/{init,hold-clock.c} | sha256sum | cut -c 1-12)"
}

# Further kernels to test on (vm/kernel): where each is, in the build root; its name tells what shaped it.
kernels=(debug kcsan rt)
pristine=/usr/src/linux-pristine
kernel_directory() {
	[[ " ${kernels[*]} " == *" $1 "* ]] || die "there is no kernel $1, but: ${kernels[*]}"
	local parts=("$project/vm/kernel")
	[[ $1 == rt ]] || parts+=("$project"/vm/kernels/{common,"$1"}.config)
	echo "/usr/src/kernels/$1-$(cat "${parts[@]}" | sha256sum | cut -c 1-12)"
}

# Choose a kernel, the stock one or a further one: `release`, as uname -r will say, and in the build root `vmlinuz` and `headers`.
choose_kernel() {
	local directory
	if [[ $1 == stock ]]; then
		release=$(cat "$root/etc/rdma-release" 2>/dev/null) || die "there is no build root yet; 'make setup' makes it"
		vmlinuz=/lib/modules/$release/vmlinuz headers=/lib/modules/$release/build
	else
		directory=$(kernel_directory "$1")
		release=$(cat "$root$directory/release" 2>/dev/null) || die "there is no kernel $1 yet; 'vm/setup $1' makes it (kernels: ${kernels[*]})"
		vmlinuz=$directory/vmlinuz headers=$directory/build
	fi
}

say() { printf '%s\n' "$*" >&2; }
die() {
	say "error: $*"
	exit 1
}

# Become a command that runs as root of its own mount and process namespace (and user namespace, for an ordinary user).
# All its mounts and all its processes go when it does, or when we do.
namespace() {
	local user=()
	((EUID == 0)) || user=(--user --map-root-user --map-auto)
	exec setpriv --pdeathsig KILL \
		unshare "${user[@]}" --mount --pid --fork --kill-child --mount-proc "$@"
}
