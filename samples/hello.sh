#!/bin/bash
# guest: --edu 1
# The smallest programs, in C, Rust and Python: into the device and back.
. "${BASH_SOURCE[0]%/*}/lib.sh"
load

step "In C, with rdma.h and nothing else:"
run 'hello_mmap'

step "A file of any size, 4096 bytes at a time:"
run 'roundtrip LICENSE'

step "In Rust, with the library:"
run 'hello'

step "In Python, with NumPy arrays that are the buffer:"
run 'samples/hello.py'
