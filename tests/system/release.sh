#!/bin/bash
# tests/system/release.sh : what is published has one version, and is built without a warning, with its README and licenses. Runs in the build root.
# shellcheck disable=SC2317 # the functions are called by name
set -u
. /usr/src/linux/tools/testing/selftests/kselftest/ktap_helpers.sh

work=$(mktemp -d)
earlier=build/cargo/package/rust-dma-0.0.0.crate
mkdir -p "$work/built" "${earlier%/*}"
trap 'rm -f "$earlier"' EXIT

one_version() { version=$(packaging/version) && [[ $version =~ ^[0-9]+\.[0-9]+\.[0-9]+$ ]]; }
another_version_is_found() {
	mkdir "$work/copy" && cp --parents -r packaging user/Cargo.toml user/python docs/CHANGELOG.md "$work/copy" || return
	"$work/copy/packaging/version" >/dev/null || return
	sed -i '1s/(.*)/(9.9.9)/' "$work/copy/packaging/debian/changelog"
	"$work/copy/packaging/version" 2>&1 | grep -x 'packaging/debian/changelog 9.9.9'
}
crate_and_wheel_build_without_warnings() {
	touch "$earlier" && packaging/build-libraries "$work/built"
}
no_crate_of_an_earlier_version() { [[ $(ls "$work/built"/*.crate) == "$work/built/rust-dma-$version.crate" ]]; }
contains() { # FILES NAME... : a list of files contains these
	local name
	for name in "${@:2}"; do grep -qE "(^|/)$name\$" <<<"$1" || { echo "# no $name"; return 1; }; done
}
crate_is_complete() {
	contains "$(tar -tf "$work/built/rust-dma-$version.crate")" README.md LICENSE-MIT LICENSE-APACHE src/lib.rs
}
wheel_is_complete() {
	contains "$(python3 -m zipfile --list "$work/built/rust_dma-$version"-*.whl | cut -d ' ' -f 1)" \
		LICENSE-MIT LICENSE-APACHE rust_dma/__init__.py rust_dma/py.typed
}
sdist_is_complete() { contains "$(tar -tf "$work/built/rust_dma-$version.tar.gz")" README.md LICENSE-MIT LICENSE-APACHE pyproject.toml; }
# Those of the crates.
wheel_has_authors_and_address() {
	local authors repository metadata=$work/wheel/rust_dma-$version.dist-info/METADATA
	authors=$(sed -n 's/^authors = \["\(.*\)"\]/\1/p' user/Cargo.toml)
	repository=$(sed -n 's/^repository = "\(.*\)"/\1/p' user/Cargo.toml)
	python3 -m zipfile --extract "$work/built/rust_dma-$version"-*.whl "$work/wheel" && [[ $authors && $repository ]] &&
		grep -xF "Author-email: $authors" "$metadata" && grep -xF "Project-URL: Repository, $repository" "$metadata"
}
# The recipe for a release names each file with an address that must be replaced.
placeholders_are_named() {
	local recipe file found=0
	recipe=$(sed -n '/^## Make a release/,$p' docs/CONTRIBUTING.md)
	while read -r file; do
		found=$((found + 1))
		grep -qF "\`$file\`" <<<"$recipe" || { echo "# not named: $file" && return 1; }
	done < <(git -c safe.directory='*' grep -lF example.org -- ':!tests' ':!docs/CONTRIBUTING.md')
	((found)) || ! grep -F example.org <<<"$recipe"
}

tests=(one_version another_version_is_found crate_and_wheel_build_without_warnings no_crate_of_an_earlier_version crate_is_complete wheel_is_complete
	sdist_is_complete wheel_has_authors_and_address placeholders_are_named)
ktap_print_header
ktap_set_plan ${#tests[@]}
for name in "${tests[@]}"; do ktap_test_result "$name" "$name"; done
ktap_finished
