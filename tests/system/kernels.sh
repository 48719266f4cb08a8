#!/bin/bash
# tests/system/kernels.sh : DKMS builds the driver for each kernel, or says why it cannot, and keeps what it has built. Runs in the build root.
# shellcheck disable=SC2317 # the functions are called by name
set -u
. "${BASH_SOURCE[0]%/*}/clean_machine.sh"
first=$version next=$version+next following=$version+next1 last=$version+next2

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
# An upgrade of the driver that was never built was aborted.
aborted_upgrade_of_what_was_never_built() {
	quietly inside sh -ec "cd /var/lib/dpkg/info; ./rustdma-dkms.prerm upgrade $next; ./rustdma-dkms.postinst abort-upgrade $next" || return
	inside dkms status | grep -qx "rust-dma/$version: added" && [[ ! $(modules) ]]
}
# Packages that failed because of it are configured by dpkg.
metadata_is_there_already() {
	cp -r "/run/root$headers/rust" "$root$headers" && cp "/run/root$headers/scripts/target.json" "$root$headers/scripts" || return
	quietly inside dpkg --configure --pending && module_is_built
}

built() { modules | sort | xargs sha256sum; }

newer=7.3.98+${release#*+} newest=7.3.99+${release#*+}
kernel_is_upgraded() {
	fake_kernel "$newer" metadata || { tail -n 20 /tmp/said; return 1; }
	[[ $(installed) == "$release $newer" && $(modules | wc -l) == 2 ]] || return
	[[ $(modinfo --field vermagic "$(modules | grep -F "/$newer/")") == "$newer "* ]]
}
# The newest kernel keeps its module until another one is built.
rebuild_that_fails() {
	local missing=$root/usr/src/linux-headers-$newer/rust/libcore.rmeta
	built >/tmp/built && mv "$missing" "$missing.away" || return
	if inside dpkg --install "${debs[@]}" >/tmp/said 2>&1; then echo "it did not fail" && return 1; fi
	mv "$missing.away" "$missing" && [[ $(installed) == "$release $newer" ]] || return
	built | grep -F "/$newer/" | diff <(grep -F "/$newer/" /tmp/built) - && grep -Fx "rust-dma: the driver could not be built for $newer." /tmp/said
}
rebuild() {
	quietly inside dpkg --configure --pending && [[ $(installed) == "$release $newer" && $(modules | wc -l) == 2 ]] || return
	built >/tmp/built && [[ ! $(ls "$root/var/lib/rustdma-dkms") ]]
}
# Modules are built by hand only: neither a reinstallation nor a downgrade, which is aborted here, removes one.
no_autoinstall() {
	touch "$root/etc/dkms/no-autoinstall" && quietly inside dpkg --install "${debs[@]}" && what_is_built_stays || return
	quietly inside sh -ec 'cd /var/lib/dpkg/info; ./rustdma-dkms.prerm upgrade 0.0.1' && what_is_built_stays || return
	quietly inside sh -ec 'cd /var/lib/dpkg/info; ./rustdma-dkms.postinst abort-upgrade 0.0.1' && what_is_built_stays || return
	rm "$root/etc/dkms/no-autoinstall"
}
# All modules are removed before a downgrade, which dpkg could not unpack.
aborted_downgrade() {
	quietly inside sh -ec "cd /var/lib/dpkg/info; ./rustdma-dkms.prerm upgrade 0.0.1; [ ! \"\$(dkms status)\" ]; ./rustdma-dkms.postinst abort-upgrade 0.0.1" &&
		[[ $(installed) == "$release $newer" && $(modules | wc -l) == 2 ]]
}
# The source of the kernels here is gone, and the newest one has never had it.
without_the_source() {
	rm -r "$root$headers/rust" "$root/usr/src/linux-headers-$newer/rust" || return
	built >/tmp/built
	fake_kernel "$newest" && return 1
	grep -F "rust-dma: the headers of $newest lack the Rust metadata" /tmp/said | grep -F "apt install $package=7.3.99-1"
}
what_is_built_stays() {
	[[ $(installed) == "$release $newer" ]] && built | diff /tmp/built -
}
# What systemd runs at the next start of the older kernel.
at_the_next_start() { quietly inside dkms autoinstall -k "$release" && what_is_built_stays; }

# The same packages in a later version.
make_next() { # VERSION
	local deb tree
	mkdir -p "$root/srv/$1" || return
	for deb in "${debs[@]}"; do
		tree=$(mktemp -d)
		dpkg-deb --raw-extract "$deb" "$tree" || return
		[[ ! -e $tree/usr/src/rust-dma-$first ]] || mv "$tree/usr/src/rust-dma-"{"$first","$1"} || return
		find "$tree" \( -path '*/DEBIAN/*' -o -name dkms.conf -o -name '*.pc' \) -type f -exec sed -i "s/${first//./\\.}/$1/g" {} +
		dpkg-deb --build "$tree" "$root/srv/$1" || return
		rm -r "$tree"
	done
}
# dpkg could not unpack the new version.
aborted_upgrade() {
	quietly inside sh -ec "cd /var/lib/dpkg/info; ./rustdma-dkms.prerm upgrade $next; ./rustdma-dkms.postinst abort-upgrade $next" && what_is_built_stays || return
	[[ $(readlink "$root/var/lib/dkms/rust-dma/$version/source") == "/usr/src/rust-dma-$version" && ! $(ls "$root/var/lib/rustdma-dkms") ]]
}

installed_packages() { dpkg-query --admindir="$root/var/lib/dpkg" --show --showformat='${db:Status-Status} ${Version}, ' "${names[@]}"; }

# No module can be built: the source of all kernels is gone.
reinstall_without_the_source() {
	quietly inside dpkg --install "${debs[@]}" && what_is_built_stays || return
	grep -F "rust-dma: the headers of $release lack the Rust metadata" /tmp/said && grep -Fx "Until then, $release keeps the module of version $version." /tmp/said
}
upgrade_without_the_source() {
	local kernel
	inside dpkg --purge "linux-headers-$newest" >/dev/null # has no module to keep
	quietly make_next "$next" && quietly inside sh -c "dpkg --install /srv/$next/*.deb" || return
	[[ $(installed_packages) == "installed $next, installed $next, installed $next, " ]] || return
	what_is_built_stays && [[ $(echo "$root"/usr/src/rust-dma-*) == "$root/usr/src/rust-dma-$next" ]] || return
	inside dkms status | grep -qx "rust-dma/$next: added" || return
	grep -F "rust-dma: the headers of $release lack the Rust metadata" /tmp/said | grep -F "$newer, which is newer, needs $package in another version." || return
	grep -F "rust-dma: the headers of $newer lack the Rust metadata" /tmp/said | grep -F "Please run: apt install $package=7.3.98-1" || return
	for kernel in "$release" "$newer"; do
		grep -Fx "Until then, $kernel keeps the module of version $first." /tmp/said || return
	done
}
# What systemd runs at the next start: that it cannot build the new version is not an error.
upgraded_at_the_next_start() { quietly inside dkms autoinstall -k "$release" && what_is_built_stays; }
# For one of the kernels, the source is installed.
source_is_there_again() {
	cp -r "/run/root$headers/rust" "$root$headers" && quietly inside dkms autoinstall -k "$release" || return
	[[ $(installed) == "$newer" && $(version=$next installed) == "$release" && $(modules | wc -l) == 2 ]] || return
	built | grep -F "/$newer/" | diff <(grep -F "/$newer/" /tmp/built) -
}
# Another kernel is removed, and with it the last module of that version.
kernel_of_the_earlier_version_is_removed() {
	quietly inside dpkg --purge "linux-headers-$newer" && version=$next && [[ $(installed) == "$release" && $(modules | wc -l) == 1 ]]
}

the_module_stays() { [[ $(installed) == "$release" ]] && built | diff /tmp/built -; }
# apt may configure a new kernel after it has unpacked the new version, and before it configures it.
unpack() {
	quietly make_next "$following" && built >/tmp/built && quietly inside sh -c "dpkg --unpack /srv/$following/*.deb" || return
	the_module_stays && [[ $(installed_packages) == "unpacked $following, unpacked $following, unpacked $following, " ]]
}
kernel_before_the_new_version_is_configured() {
	if ! { fake_kernel "$newest" metadata && the_module_stays; }; then
		tail -n 20 /tmp/said
		return 1
	fi
}
# A module of another package, which cannot be built.
another_module() {
	mkdir "$root/usr/src/other-1" && printf '%s\n' >"$root/usr/src/other-1/dkms.conf" \
		PACKAGE_NAME=other PACKAGE_VERSION=1 BUILT_MODULE_NAME=other DEST_MODULE_LOCATION=/updates AUTOINSTALL=yes MAKE=false CLEAN=true || return
	touch "$root/usr/src/other-1/Makefile"
	quietly inside dkms add other/1 || return
	! inside dkms build other/1 -k "$release" >/dev/null 2>&1
}
# The newest kernel is the running one. DKMS builds for that one, if it is not configured to build for all of them (as in Debian 12), and the
# scripts of this package for the other one.
configure() {
	local programs=$root/srv/programs all=$root/etc/dkms/framework.conf.d/autoinstall_all_kernels.conf
	another_module && mkdir "$programs" && mv "$all" "$programs" || return
	printf '#!/bin/sh\n[ "$1" != -r ] || exec echo %s\nexec /usr/bin/uname "$@"\n' "$newest" >"$programs/uname" && chmod +x "$programs/uname" || return
	quietly inside env "PATH=/srv/programs:$PATH" dpkg --configure --pending && version=$following || return
	mv "$programs/${all##*/}" "$all" && rm -r "$programs" || return
	inside dkms status | grep -qx 'other/1: added' && quietly inside dkms remove other/1 --all || return
	[[ $(installed) == "$release $newest" && $(modules | wc -l) == 2 ]] || return
	[[ $(echo "$root"/var/lib/dkms/rust-dma/[0-9]*) == "$root/var/lib/dkms/rust-dma/$following" && ! $(ls "$root/var/lib/rustdma-dkms") ]] || return
	quietly inside dpkg --purge "linux-headers-$newest" && module_is_built
}

upgrade() {
	quietly make_next "$last" && quietly inside sh -c "dpkg --install /srv/$last/*.deb" || return
	[[ $(installed_packages) == "installed $last, installed $last, installed $last, " ]] || return
	[[ $(echo "$root"/usr/src/rust-dma-*) == "$root/usr/src/rust-dma-$last" ]] || return
	[[ $(echo "$root"/var/lib/dkms/rust-dma/[0-9]*) == "$root/var/lib/dkms/rust-dma/$last" && ! $(ls "$root/var/lib/rustdma-dkms") ]] || return
	version=$last
	module_is_built && grep -qx "Version: $last" "$root/usr/share/pkgconfig/rust-dma.pc"
}
kernel_is_removed() {
	fake_kernel "$newer" metadata && [[ $(installed) == "$release $newer" ]] || return
	quietly inside dpkg --purge "linux-headers-$newer" && module_is_built
}
# To a version that is older than the modules: these are built again. There is a kernel for which this is not possible, and which is neither the newest nor
# the running one.
downgrade() {
	local older=7.3.1+${release#*+}
	fake_kernel "$older" && return 1
	quietly inside sh -c "dpkg --install /srv/$next/*.deb" && version=$next && module_is_built || return
	grep -F "rust-dma: the headers of $older lack the Rust metadata" /tmp/said && grep -Fx "rust-dma: the driver could not be built for $older." /tmp/said &&
		quietly inside dpkg --purge "linux-headers-$older"
}
remove_all() {
	quietly inside dpkg --remove "${names[@]}" && [[ ! $(modules) && ! $(inside dkms status) && ! -e $root/var/lib/rustdma-dkms ]]
}

run_tests second source_of_another_version no_source aborted_upgrade_of_what_was_never_built metadata_is_there_already kernel_is_upgraded \
	rebuild_that_fails rebuild no_autoinstall aborted_downgrade without_the_source what_is_built_stays \
	at_the_next_start aborted_upgrade reinstall_without_the_source upgrade_without_the_source upgraded_at_the_next_start source_is_there_again \
	kernel_of_the_earlier_version_is_removed unpack kernel_before_the_new_version_is_configured configure upgrade kernel_is_removed downgrade remove_all
