# What the samples' scripts share: what happens is said, the command is shown, and then what it really says. Any step that fails ends it.
# Each begins with the machine that it is for: `# guest:` and the options of vm/boot.
# shellcheck shell=bash
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. vm/guest/environment

# Pictures and tables go here: out of the guest, where the host has given it a place.
pictures=/output
[[ -d $pictures ]] || pictures=$(mktemp -d)

step() { printf '\n%s\n' "$1"; }
run() {
	printf '$ %s\n' "$1"
	bash -euo pipefail -c "$1"
}
load() { insmod "build/$(uname -r)/rdma.ko" "$@"; }
