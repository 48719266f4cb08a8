# What the samples' scripts share: what happens is said, the command is shown, and then what it really says. Any step that fails ends it.
# Each sample's begins with the machine that it is for: `# guest:` and the options of vm/boot. (samples/tour is what `make run` shows.)
# shellcheck shell=bash
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
. vm/guest/environment

# Pictures and their tables go here: out of the guest, where the host has given it a place.
pictures=/output
[[ -d $pictures ]] || pictures=$(mktemp -d)

# What was left in the background goes.
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT

step() { printf '\n%s\n' "$1"; }
run() {
	printf '$ %s\n' "$1"
	bash -euo pipefail -c "$1"
}
draw() { # NAME TITLE UNIT : the input, a label, a tab and a number a line, as a table and as a picture
	tee "$pictures/$1.tsv" | chart "$pictures/$1.svg" "$2" "$3"
}
load() { insmod "build/$(uname -r)/rdma.ko"; }
