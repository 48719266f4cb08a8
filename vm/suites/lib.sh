# Shared by the scripts in vm/suites: access to the package indexes of a suite that is not the build root's own. Runs in a build root.
# shellcheck shell=bash

# suites_apt SUITE... : put apt's options for these suites into `apt`, and fetch their indexes. Those of development suites can be out of date.
# Fails if one cannot be fetched: without these options, a lost network is a warning.
suites_apt() {
	local state mirror name
	state=$(mktemp -d)
	mkdir -p "$state"/{lists,archives}/partial
	: >"$state/status"
	mirror=$(sed -nE 's/^deb (\[[^]]*\] )?([^ ]+) [^ ]+ main.*/\2/p' /etc/apt/sources.list | head -n 1)
	for name; do echo "deb $mirror $name main"; done >"$state/sources.list"
	apt=(-q -o "Dir::Etc::SourceList=$state/sources.list" -o Dir::Etc::SourceParts=- -o "Dir::State::Lists=$state/lists" -o "Dir::State::status=$state/status"
		-o "Dir::Cache::archives=$state/archives" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache=
		-o APT::Architectures::=amd64 -o APT::Architectures::=arm64 -o Acquire::Languages=none
		-o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false -o Acquire::Check-Valid-Until=false -o APT::Sandbox::User=root
		-o APT::Update::Error-Mode=any)
	apt-get "${apt[@]}" update >&2
}
