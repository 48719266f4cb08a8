#!/bin/bash
# tests/system/releasing.sh : what `make release` refuses, and the files that it makes itself (release.sh: those that it builds). Runs in the build
# root, in a clone of the project.
# shellcheck disable=SC2317 # the functions are called by name
set -u
. /usr/src/linux/tools/testing/selftests/kselftest/ktap_helpers.sh

project=$PWD
work=$(mktemp -d)
export GIT_CONFIG_COUNT=3 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0='*'
export GIT_CONFIG_KEY_1=user.name GIT_CONFIG_VALUE_1=tester GIT_CONFIG_KEY_2=user.email GIT_CONFIG_VALUE_2=tester@example.org

# A clone of the last commit, with the scripts as they are here, and no entry under Unreleased: this can be released.
prepare() {
	git clone --quiet --no-hardlinks "$project" "$work/tree" && cd "$work/tree" || return
	cp "$project"/packaging/{release,version} packaging
	sed -i '/^## \[Unreleased\]/,/^## \[[0-9]/ { /^## /! d }' docs/CHANGELOG.md
	git commit --quiet --allow-empty --all --message 'Release it'
}
# Nothing that an earlier case has changed.
reset() {
	git reset --quiet --hard "$releasable" && git clean --quiet -d --force && git tag --list | xargs --no-run-if-empty git tag --delete >/dev/null
}
refused() { # MESSAGE : for this reason, by the check and by the whole script, which has then made nothing
	local said words
	for words in check ''; do
		if said=$(packaging/release ${words:+"$words"} 2>&1) || [[ $said != "error: "*"$1"* ]]; then
			printf '%s\n' "$said" | sed "s/^/# packaging\/release $words: /"
			return 1
		fi
	done
	[[ ! -e build/release ]]
}

a_clean_commit_is_accepted() { [[ $(packaging/release check) == "$(packaging/version)" ]]; }
changes_are_refused() { echo >>README.md && refused 'this work tree has changes'; }
other_files_are_refused() { touch notes && refused 'this work tree has changes'; }
the_tag_of_another_commit_is_refused() {
	git tag "v$(packaging/version)" && git commit --quiet --allow-empty --message 'Continue' && refused 'exists, and is another commit'
}
the_tag_of_this_commit_is_accepted() { git tag --annotate --message it "v$(packaging/version)" && packaging/release check >/dev/null; }
unreleased_changes_are_refused() {
	sed -i '/^## \[Unreleased\]/ s/$/\n\n### Fixed\n\n- A fault./' docs/CHANGELOG.md && git commit --quiet --all --message 'Mend it' &&
		refused 'has entries under Unreleased'
}
different_versions_are_refused() {
	sed -i '1s/(.*)/(9.9.9)/' packaging/debian/changelog && git commit --quiet --all --message 'Count on' && refused 'there must be one version'
}
wrong_words_are_refused() { packaging/release publish 2>&1 | grep -q '^error: usage:'; }
the_source_is_what_git_tracks() {
	local name
	name=rust-dma-$(packaging/version)
	mkdir "$work/source" && packaging/release source "$work/source" && tar -C "$work/source" -xf "$work/source/$name.tar.xz" || return
	[[ $(cd "$work/source" && echo *) == "$name $name.tar.xz" ]] || return
	diff <(git ls-files | sort) <(cd "$work/source/$name" && find . ! -type d -printf '%P\n' | sort) &&
		diff -r --no-dereference --exclude=.git . "$work/source/$name"
}
the_sums_are_right() {
	mkdir "$work/sums" && echo one >"$work/sums/first" && echo two >"$work/sums/second" || return
	# Twice: it does not contain itself.
	packaging/release sums "$work/sums" && packaging/release sums "$work/sums" && cd "$work/sums" || return
	[[ $(cut -c 67- SHA256SUMS | xargs) == 'first second' ]] && sha256sum --quiet --check SHA256SUMS || return
	echo three >second && ! sha256sum --status --check SHA256SUMS
}

tests=(a_clean_commit_is_accepted changes_are_refused other_files_are_refused the_tag_of_another_commit_is_refused the_tag_of_this_commit_is_accepted
	unreleased_changes_are_refused different_versions_are_refused wrong_words_are_refused the_source_is_what_git_tracks the_sums_are_right)
ktap_print_header
ktap_set_plan ${#tests[@]}
prepare || ktap_exit_fail_msg "the project is not a git repository"
releasable=$(git rev-parse HEAD)
for name in "${tests[@]}"; do
	{ cd "$work/tree" && reset; } || ktap_exit_fail_msg "the clone cannot be reset"
	ktap_test_result "$name" "$name"
done
ktap_finished
