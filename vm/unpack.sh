# Shared by vm/qemu, vm/dpdk and vm/spin: packages of the distribution that are unpacked beside those of the build root, into
# unpacked_directory (vm/lib.sh). Runs in the build root, writable.
# shellcheck shell=bash

# The root's own lists stay as they are.
lists=$(mktemp -d)
mkdir "$lists/partial"
apt=(-q -o "Dir::State::Lists=$lists" -o APT::Sandbox::User=root)
apt-get "${apt[@]}" update

# unpack DIRECTORY PACKAGE... : fetch these packages, and add their files to the directory.
unpack() {
	local directory=$1 archives
	shift
	archives=$(mktemp -d)
	(cd "$archives" && apt-get "${apt[@]}" download "$@")
	for package in "$archives"/*.deb; do dpkg-deb --extract "$package" "$directory"; done
	rm -r "$archives"
}
