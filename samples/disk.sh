#!/bin/bash
# guest: --icount --edu 16
# Block storage by DMA: a disk whose sectors are in the memories of 16 devices.
. "${BASH_SOURCE[0]%/*}/lib.sh"
load
modprobe nbd nbds_max=1
modprobe ext4

start() { # DEVICES
	local nodes
	readarray -t nodes < <(seq -f /dev/rdma%g 0 $(($1 - 1)))
	coproc disk { exec disk "${nodes[@]}"; }
	# shellcheck disable=SC2154 # coproc makes it
	server=$disk_PID
	read -ru "${disk[0]}" said
	nbd-client -unix /run/disk /dev/nbd0 -b 1024 -t 10 >/dev/null
}
stop() {
	nbd-client -d /dev/nbd0 >/dev/null
	wait "$server"
}

rate() { # DEVICES : fio writes and verifies a disk of so many, 4 times
	start "$1"
	fio --name=all --filename=/dev/nbd0 --direct=1 --rw=write --bs=$(($1 * 4096)) --size=$(($1 * 4096)) --loops=4 \
		--verify=crc32c --verify_state_save=0 --thread --output-format=json >/tmp/fio
	stop
	python3 - "$1" <<'EOF'
import json, sys
job = json.load(open("/tmp/fio"))["jobs"][0]
print(f"{sys.argv[1]:>2} devices: {job['write']['bw']:4} KiB/s written, {job['read']['bw']:4} KiB/s read, {job['error']} errors")
print(sys.argv[1] + " devices", job["write"]["bw"], sep="\t", file=open("/tmp/rates", "a"))
EOF
}

step "Striped over more devices, it gets faster: fio writes and verifies all of it, 4 times."
rate 1 >/tmp/warm-up # in which the programs are loaded
rm /tmp/rates
for devices in 1 2 4 8 16; do
	rate $devices
done
draw disk "A disk in the memories of N devices" "KiB/s that fio writes" </tmp/rates

start 16
step "A file system on it ($said), by the system's own programs:"
run 'mkfs.ext2 -q -b 1024 -I 128 -N 16 -m 0 /dev/nbd0 2>&1'
mkdir /tmp/disk
run 'mount /dev/nbd0 /tmp/disk; df -k /tmp/disk'
run 'fio --name=file --directory=/tmp/disk --rw=randwrite --bs=1k --size=24k --fsync=8 --verify=crc32c \
    --verify_state_save=0 --thread | grep -E "err=|WRITE:|READ:"'
run 'cp samples/disk.rs /tmp/disk; umount /tmp/disk; fsck.ext2 -f -n /dev/nbd0'
run 'mount /dev/nbd0 /tmp/disk; cmp samples/disk.rs /tmp/disk/disk.rs && echo "It is there."'

step "A device is pulled out while fio reads from all of them: it gets an error, and nothing hangs."
fio --name=read --filename=/dev/nbd0 --direct=1 --rw=read --bs=64k --size=64k --time_based --runtime=30 --thread >/tmp/fio 2>&1 &
reader=$!
sleep 1
run 'vm/guest/qmp device_del id=edu3'
wait $reader && exit 1
grep -m 1 'Input/output error' /tmp/fio
run 'umount /tmp/disk; nbd-client -d /dev/nbd0'
wait "$server" || true # whether it went before that depends on the instant
