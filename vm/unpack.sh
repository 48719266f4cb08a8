# Shared by vm/qemu, vm/dpdk, vm/spin and others: packages of the distribution that are unpacked beside those of the build root, into
# unpacked_directory (vm/lib.sh). Runs in the build root, writable.
# shellcheck shell=bash

# The root's own lists stay as they are.
lists=$(mktemp -d)
mkdir "$lists/partial"
apt=(-q -o "Dir::State::Lists=$lists" -o APT::Sandbox::User=root)
apt-get "${apt[@]}" update

# extract DIRECTORY ARCHIVES : add the files of the packages in ARCHIVES, which it removes.
extract() {
	local package
	for package in "$2"/*.deb; do dpkg-deb --extract "$package" "$1"; done
	rm -r "$2"
}

# unpack DIRECTORY PACKAGE... : fetch these packages, and add their files to the directory.
unpack() {
	local directory=$1 archives
	shift
	archives=$(mktemp -d)
	(cd "$archives" && apt-get "${apt[@]}" download "$@")
	extract "$directory" "$archives"
}

# unpack_with_dependencies DIRECTORY PACKAGE... : the same, and the packages that they depend on and the root does not have.
unpack_with_dependencies() {
	local directory=$1 archives
	shift
	archives=$(mktemp -d)
	mkdir "$archives/partial"
	apt-get "${apt[@]}" -o "Dir::Cache::Archives=$archives" install --download-only --yes --no-install-recommends "$@"
	extract "$directory" "$archives"
}
