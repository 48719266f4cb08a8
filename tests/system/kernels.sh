#!/bin/bash
# tests/system/kernels.sh : DKMS builds the driver for each kernel, or says why it cannot, and keeps what it has built. Runs in the build root.
# shellcheck disable=SC2317 # the functions are called by name
set -u
. "${BASH_SOURCE[0]%/*}/clean_machine.sh"
next=$version+next

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
built() { modules | sort | xargs sha256sum; }

newer=7.3.98+${release#*+} newest=7.3.99+${release#*+}
kernel_is_upgraded() {
	fake_kernel "$newer" metadata || { tail -n 20 /tmp/said; return 1; }
	[[ $(installed) == "$release $newer" && $(modules | wc -l) == 2 ]] || return
	[[ $(modinfo --field vermagic "$(modules | grep -F "/$newer/")") == "$newer "* ]]
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
kernel_is_removed() {
	quietly inside dpkg --purge "linux-headers-$newest" "linux-headers-$newer" && module_is_built
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
	cp -r "/run/root$headers/rust" "$root$headers" && quietly make_next && quietly inside sh -c 'dpkg --install /srv/next/*.deb' || return
	[[ $(dpkg-query --admindir="$root/var/lib/dpkg" --show --showformat='${Version} ' "${names[@]}") == "$next $next $next " ]] || return
	[[ $(echo "$root"/usr/src/rust-dma-*) == "$root/usr/src/rust-dma-$next" ]] || return
	[[ $(echo "$root"/var/lib/dkms/rust-dma/[0-9]*) == "$root/var/lib/dkms/rust-dma/$next" ]] || return
	version=$next module_is_built && grep -qx "Version: $next" "$root/usr/share/pkgconfig/rust-dma.pc"
}

run_tests second source_of_another_version no_source metadata_is_there_already kernel_is_upgraded without_the_source what_is_built_stays \
	at_the_next_start kernel_is_removed upgrade
