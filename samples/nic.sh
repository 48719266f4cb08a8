#!/bin/bash
# guest: --icount --edu 2
# Packets straight to memory: two machines (network namespaces) that talk through the device.
. "${BASH_SOURCE[0]%/*}/lib.sh"
load
modprobe tun

for side in left right; do
	ip netns add $side
	ip netns exec $side sysctl -qw net.ipv6.conf.all.disable_ipv6=1
	ip -n $side tuntap add tap0 mode tap
	ip -n $side link set lo up
	ip -n $side link set tap0 up txqueuelen 16
done
ip -n left address add 10.0.0.1/24 dev tap0
ip -n right address add 10.0.0.2/24 dev tap0

start() { # interrupt|poll|copy
	coproc nic { exec nic "$1" left/tap0 right/tap0; }
	read -ru "${nic[0]}" said
}
stop() { # and `said` is what it says
	# shellcheck disable=SC2154 # coproc makes it
	local process=$nic_PID
	kill "$process"
	read -ru "${nic[0]}" said
	wait "$process"
}

start interrupt
step "Frames take 200 ms each way, 100 into the device and 100 out of it; at most 4096 bytes at a time. The system's own ping:"
run 'ip netns exec left ping -c 5 -i 0.5 10.0.0.2'

step "Its iperf3. Only that it works is of interest: a device that moves 40,960 bytes/s makes any rate that of the device."
ip netns exec right iperf3 --server --one-off --daemon
run 'ip netns exec left iperf3 --client 10.0.0.2 --bytes 60K --length 1K'

step "And its nc, with a file:"
ip netns exec right nc -N -l 1234 </dev/null >/tmp/received &
receiver=$!
sleep 0.1
run 'ip netns exec left nc -N 10.0.0.2 1234 <LICENSE; cat LICENSE | sha256sum'
wait $receiver
run 'cat /tmp/received | sha256sum'
cmp LICENSE /tmp/received
stop
echo "$said"

step "Another program computes while packets fly. What share of the CPU does it get, and what does a frame cost?"
sha256sum /dev/zero &
other=$!
computed() { # nanoseconds that it has had the CPU
	local rest
	read -r nanoseconds rest <"/proc/$other/schedstat"
}
nanoseconds=0
while ((nanoseconds < 50000000)); do computed; done # until it is in memory and at work
for way in interrupt poll copy; do
	start $way
	begin=${EPOCHREALTIME/./}
	computed
	before=$nanoseconds
	ip netns exec left ping -q -s 1400 -c 4 -i 0.25 10.0.0.2 >/tmp/ping
	computed
	share=$(((nanoseconds - before) / (${EPOCHREALTIME/./} - begin)))
	stop
	grep -q ' 0% packet loss' /tmp/ping
	printf '%3d.%d %% of the CPU for others  %s\n' $((share / 10)) $((share % 10)) "$said"
	printf '%s\t%d.%d\n' "$way" $((share / 10)) $((share % 10)) >>/tmp/free
done
kill $other
draw nic "The CPU that another program gets while packets go through the device" \
	"percent; interrupt: sleeps until the driver wakes it, poll: asks in a loop, copy: read(2) and write(2)" </tmp/free
