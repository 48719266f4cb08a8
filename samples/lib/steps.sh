# Functions of the samples' scripts: each step prints a title and the command, then runs it. A step that fails ends the script.
# Each script begins with the machine that it requires: `# guest:` and options of vm/boot. (samples/tour is for `make run`.)
# shellcheck shell=bash
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
. vm/guest/environment

# The directory for pictures and their tables: on the host, if it has provided one.
pictures=/output
[[ -d $pictures ]] || pictures=$(mktemp -d)

# Background processes end with the script.
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT

step() { printf '\n%s\n' "$1"; }
run() {
	printf '$ %s\n' "$1"
	bash -euo pipefail -c "$1"
}
draw() { # NAME TITLE UNIT [OPTION] : draws the input, lines of a label, a tab and a number, and saves it as a table
	tee "$pictures/$1.tsv" | chart "$pictures/$1.svg" "$2" "$3" "${@:4}"
}
load() { insmod "build/$(uname -r)/rdma.ko"; }
