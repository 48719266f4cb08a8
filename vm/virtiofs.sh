# How vm/boot shares file systems with guests whose kernel has no 9p, such as those for clouds: by virtiofs, with a process for each (vm/virtiofsd).
# shellcheck shell=bash disable=SC2154,SC2034 # variables of vm/boot

# share_by_virtiofs TAG DIRECTORY
share_by_virtiofs() {
	local program socket=$work/$1.socket readonly=(--readonly)
	program=$(unpacked_directory virtiofsd)/usr/libexec/virtiofsd
	[[ -x $program ]] || die "vm/boot: there is no virtiofsd yet, which $release needs; run 'make setup' with its FLAVOUR="
	[[ $1 != output ]] || readonly=()
	setpriv --pdeathsig KILL "$program" --socket-path="$socket" --shared-dir="$2" --sandbox=none --seccomp=none "${readonly[@]}" >>"$log/virtiofsd.log" 2>&1 &
	models+=($!)
	until [[ -S $socket ]]; do
		kill -0 "${models[-1]}" 2>/dev/null || die "vm/boot: virtiofsd does not start: $(tail -n 1 "$log/virtiofsd.log")"
		sleep 0.05
	done
	qemu+=(-chardev "socket,id=$1-socket,path=$socket" -device "vhost-user-fs-pci,chardev=$1-socket,tag=$1")
}
