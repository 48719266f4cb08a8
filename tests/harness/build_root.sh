#!/bin/bash
# tests/harness/build_root.sh : the build root still works after an interrupted installation, in another network, and where KVM is not available. Runs in
# the build root.
# shellcheck disable=SC2317 # the functions are called by name
set -u
. "${BASH_SOURCE[0]%/*}/../system/clean_machine.sh"

# A package without files, whose postinst is killed, with dpkg, the first time.
make_package() { # NAME POSTINST
	local tree=/tmp/$1
	mkdir -p "$tree/DEBIAN" || return
	printf '%s\n' "Package: $1" "Version: 1" "Architecture: all" "Maintainer: test" "Description: test" >"$tree/DEBIAN/control"
	printf '%s\n' '#!/bin/sh' "$2" >"$tree/DEBIAN/postinst"
	chmod 755 "$tree/DEBIAN/postinst"
	quietly dpkg-deb --build -Znone "$tree" "$root/srv/$1.deb"
}
status_of() { dpkg-query --admindir="$root/var/lib/dpkg" --show --showformat='${db:Status-Status}' "$1"; }
interrupted_installation() {
	# shellcheck disable=SC2016 # is for the script
	make_package first '[ -e /srv/once ] || { touch /srv/once; kill -KILL $PPID; }' && make_package second true || return
	inside dpkg --install /srv/first.deb >/dev/null 2>&1 && return 1
	[[ $(status_of first) == half-configured ]] || return
	inside apt-get install --yes /srv/second.deb >/tmp/said 2>&1 && return 1
	grep -F 'dpkg was interrupted' /tmp/said || return
	quietly inside bash -c '. vm/lib.sh; install_in_root apt-get install --yes /srv/second.deb' || return
	[[ $(status_of first) == installed && $(status_of second) == installed ]]
}

# The root was made in another network. What is installed later has the name servers and the proxy of this one.
another_network() {
	echo "nameserver 192.0.2.1" >/tmp/servers
	{ cat /tmp/servers && echo http://192.0.2.2:3128; } >/tmp/expected
	http_proxy=http://192.0.2.2:3128 unshare --mount bash -c '. "$0" && root=$1 && mount --bind /tmp/servers /etc/resolv.conf &&
		inside sh -c "cat /etc/resolv.conf && printenv http_proxy"' tests/system/clean_machine.sh "$root" | diff /tmp/expected -
}

# The root was made where KVM works.
without_kvm() {
	echo kvm >/tmp/accel
	quietly env --unset=RDMA_ACCEL unshare --mount sh -ec 'mount --bind /tmp/accel /etc/rdma-accel; ! mountpoint -q /dev/kvm || umount /dev/kvm
		exec vm/boot --timeout 300 -- true'
}

# The second one waits, and says so. The first one ends when it has.
one_build() {
	(
		. vm/lib.sh && build=/tmp/locked && lock_build && echo begin || exit
		until grep -q 'Another build is running' /tmp/builds; do sleep 0.1; done
		echo end
	)
}
two_builds() {
	one_build >>/tmp/builds 2>&1 &
	one_build >>/tmp/builds 2>&1
	wait
	[[ $(grep -c 'Another build is running' /tmp/builds) == 1 ]] || return
	[[ $(grep -v 'Another' /tmp/builds | xargs) == "begin end begin end" ]]
}

run_tests build_root interrupted_installation another_network without_kvm two_builds
