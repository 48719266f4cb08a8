#!/bin/bash
# guest: --icount --edu 1
# A file system with mapping: files that two processes map, on a disk that is a DMA buffer; the engine works on them where they are.
. "${BASH_SOURCE[0]%/*}/lib.sh"
load
modprobe nbd nbds_max=1
modprobe ext4

coproc disk { exec shared_files serve; }
read -ru "${disk[0]}" said
step "A disk in a DMA buffer, the kernel's nbd in front of it, and on it a file system by the system's own mkfs.ext2 (shared_files serve: $said):"
run 'nbd-client -unix /run/shared_files /dev/nbd0 -b 1024 2>&1 | tail -n 1'
mkdir /tmp/disk
run 'mkfs.ext2 -q -b 1024 /dev/nbd0; mount /dev/nbd0 /tmp/disk'

step "Two processes map the same file. One writes, and the other one sees it, in the same memory:"
file=/tmp/disk/notice
head -c 3072 /dev/zero >$file
python3 - $file <<'END'
import mmap, os, sys

def mapped():
    return mmap.mmap(os.open(sys.argv[1], os.O_RDWR), 0)

mine = mapped()
if os.fork() == 0:
    its = mapped()
    its[:44] = b"Written by one process, read by another one."
    its.flush()
    os._exit(0)
os.wait()
print("  the other one reads:", mine[:44].decode())
END

step "msync(2) has put it on the disk. Where that is, the file system tells (FIEMAP):"
run "filefrag -b1 -v $file | grep -v '^ ext'"
read -r at length < <(filefrag -b1 -v $file | awk '$1 == "0:" { sub(/\.\.$/, "", $4); print $4, $6 }' | tr -d :)

order() { # COMMAND : for the engine, by the process that has the buffer
	printf '> %s\n' "$1"
	printf '%s\n' "$1" >&"${disk[1]}"
	read -ru "${disk[0]}" said
	printf '%s\n' "$said"
}
step "The engine takes it from there, out of the file system's own blocks: no CPU copies a byte. What the device has now:"
order "send $at $length"
run "dd if=/dev/rdma0 bs=44 count=1 status=none; echo"
run "cmp -n 3072 /dev/rdma0 $file && echo 'All 3072 bytes are the same.'"

step "And back: what the device has is put into the file's blocks. The kernel does not know; its own copy has to be dropped first."
run "printf 'Written by the device.                      ' | dd of=/dev/rdma0 bs=44 status=none"
order "receive $at $length"
run "umount /tmp/disk; blockdev --flushbufs /dev/nbd0; mount /dev/nbd0 /tmp/disk; head -c 22 $file; echo"
run 'umount /tmp/disk; fsck.ext2 -f -n /dev/nbd0 2>&1 | tail -n 1; mount /dev/nbd0 /tmp/disk'

step "What cannot be had: the page cache's memory for the device, or the driver's memory for a disk's own DMA (O_DIRECT):"
run "shared_files direct $file || true"
cat <<'END'

  from                    to                 copies by the CPU
  one process's mapping   another's          none: it is the same memory
  a mapping               the disk's buffer  two: into the socket, and out of it (msync)
  the disk's buffer       the device         none: DMA
  the device              the disk's buffer  none: DMA

The device reaches 28 bits of addresses, and only what the driver has allocated for it: a page of the page cache may lie anywhere, and may
be moved. So a file's bytes have to be brought into a buffer once; here, the disk itself is that buffer.
END
umount /tmp/disk
nbd-client -d /dev/nbd0 >/dev/null
