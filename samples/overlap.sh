#!/bin/bash
# guest: --icount --edu 1
# DMA without the CPU: what the same transfers cost it, done in three ways.
. "${BASH_SOURCE[0]%/*}/lib.sh"
load

step "In virtual time, in which an instruction takes a nanosecond: each transfer is 4096 bytes and takes the device 100 ms."
run 'overlap'

overlap --for-chart | draw overlap "What 10 transfers cost the CPU, which take the device a second" \
	"ms of CPU time of the thread that has them done; only with wake-up does the program compute meanwhile"
