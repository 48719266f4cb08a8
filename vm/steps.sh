# How vm/setup displays its steps, and its messages if one fails.
# shellcheck shell=bash disable=SC2154 # $cache and $log are the caller's

# step TITLE COMMAND... : run it, with its output in the log, and its title and time on the terminal.
step() {
	local title=$1 start=$SECONDS began pid status=0
	shift
	began=$(stat -c %s "$log" 2>/dev/null || echo 0)
	say "$title ..."
	if [[ -n ${V-} ]]; then
		"$@" > >(tee -a "$log" >&2) 2>&1 &
	else
		"$@" >>"$log" 2>&1 &
	fi
	pid=$!
	while [[ -t 2 && -z ${V-} ]] && kill -0 $pid 2>/dev/null; do
		printf '\r\e[K  %3d s  %.*s' $((SECONDS - start)) $((${COLUMNS:-80} - 12)) \
			"$(tail -n 1 "$log" | tr -d '[:cntrl:]')" >&2
		sleep 0.5
	done
	[[ ! -t 2 || -n ${V-} ]] || printf '\r\e[K' >&2
	wait $pid || status=$?
	((status == 0)) || failed "$title" "$began" "$status"
	say "  done in $((SECONDS - start)) s"
}

# The end of the step's output, and advice, if the cause is known.
failed() {
	local output advice
	output=$(tail -c "+$(($2 + 1))" "$log")
	tail -n 12 <<<"$output" | sed 's/^/  | /' >&2
	case $output in
	*"No space left on device"* | *"enough free space"*)
		advice="The disk is full: $cache is there." ;;
	*"Temporary failure resolving"* | *"Could not connect"* | *"Could not resolve"* | *"Failed to fetch"* | *"Connection failed"*)
		advice="A package could not be fetched: is the network there? MIRROR= takes another mirror." ;;
	*)
		advice= ;;
	esac
	die "\"$1\" failed (status $3). ${advice:+$advice }Its output is in $log; the next run continues from here."
}

# Check that this number of GB is free.
require_space() {
	local free
	free=$(df --output=avail --block-size=1G "$cache" | tail -n 1)
	((free >= $1)) || die "the cache, $cache, needs $1 GB, and $free GB are free there; XDG_CACHE_HOME= changes its place"
}

# Roots of earlier versions, or for another KERNEL= or MIRROR=, stay: another work tree may use them.
name_other_roots() {
	local path others=()
	for path in "$cache"/root-*; do
		[[ $path == "$root" || $path == *-"$(suite_root_key)" || $path == *.removed ]] || others+=("${path##*/}")
	done
	[[ ! ${others[*]} ]] || say "  Other build roots stay in $cache until 'make distclean': ${others[*]}"
}

# What the setup needs on the host. It is installed if the user is root; otherwise a message lists it.
require_tools() {
	local missing=() keys=(/usr/share/keyrings/debian-archive-"$suite"-*)
	((EUID)) || require_privileges
	command -v mmdebstrap >/dev/null || missing+=(mmdebstrap)
	[[ -e ${keys[0]} ]] || missing+=(debian-archive-keyring)
	((EUID == 0)) || command -v newuidmap >/dev/null || missing+=(uidmap)
	if ((${#missing[@]})); then
		if ((EUID)) || ! command -v apt-get >/dev/null; then
			die "this machine lacks: ${missing[*]}. Install it: sudo apt-get install ${missing[*]}"
		fi
		step "Installing ${missing[*]}" install "${missing[@]}"
		keys=(/usr/share/keyrings/debian-archive-"$suite"-*)
		[[ -e ${keys[0]} ]] || die "debian-archive-keyring is too old to know Debian $suite; install a newer one"
	fi
	((EUID == 0)) || require_namespaces
}

install() {
	DEBIAN_FRONTEND=noninteractive
	export DEBIAN_FRONTEND
	apt-get update && apt-get install --yes --no-install-recommends "$@"
}

# Root in a container may lack them.
require_privileges() {
	unshare --mount --pid --fork --mount-proc true 2>"$cache/namespace.log" ||
		die "root cannot create namespaces and mounts here ($(head -n 1 "$cache/namespace.log"))." \
			"If this is a container, start it with more privileges: docker run --privileged, or podman run --privileged"
}

require_namespaces() {
	local name ids range
	name=$(id -un)
	ids=$(cat /etc/sub[ug]id 2>/dev/null || true)
	if [[ $(grep -cE "^($name|$UID):" <<<"$ids") -lt 2 ]]; then
		# Behind those of other users.
		range=$(awk -F : '{ end = $2 + $3; if (end > most) most = end } END { first = most > 100000 ? most : 100000; print first "-" first + 65535 }' <<<"$ids")
		die "user $name has no subordinate ids. Add some: sudo usermod --add-subuids $range --add-subgids $range $name"
	fi
	unshare --user --map-root-user --map-auto --mount --pid --fork --mount-proc true 2>"$cache/namespace.log" ||
		die "on this machine, ordinary users cannot create namespaces ($(head -n 1 "$cache/namespace.log"))." \
			"Run as root, or see sysctl kernel.unprivileged_userns_clone, user.max_user_namespaces," \
			"kernel.apparmor_restrict_unprivileged_userns"
}
