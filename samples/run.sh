#!/bin/bash
# The guided tour that `make run` shows: what happens, the command, and what it really says. Any step that fails ends it.
. "${BASH_SOURCE[0]%/*}/lib.sh"

module=build/$(uname -r)/rdma.ko

step "The kernel is Debian's own, unmodified:"
run 'cat /proc/version'

step "The driver, in Rust, goes in:"
run "insmod $module"
run "dmesg | grep ' rdma 0000:'"

step "It has a node for each device:"
run 'ls -l /dev/rdma0'
run 'readlink -f /sys/class/rdma/rdma0/device'

step "A program maps a buffer and sends it through the device (samples/hello_mmap.c):"
run 'build/samples/hello_mmap'

step "A real file goes there and back, 4096 bytes at a time (samples/roundtrip.c):"
run 'build/samples/roundtrip LICENSE'
run 'sha256sum LICENSE'

step "The engine told the end of each transfer by an interrupt:"
run 'grep -E "CPU|rdma" /proc/interrupts'

step "The device's own memory is a file, too:"
run 'echo "Written with dd." | dd of=/dev/rdma0 status=none'
run 'dd if=/dev/rdma0 bs=17 count=1 status=none'

step "And the driver goes out again:"
run 'rmmod rdma'
run 'test ! -e /dev/rdma0'

step "Done: all of it worked."
