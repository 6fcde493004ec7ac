# iperf3 over TAP and over user mode, packages from a server, and sockets both ways.
mkdir /server
printf 'Package: strata-test\nVersion: 42\nArchitecture: all\nFilename: ./none.deb\nSize: 1\nSHA256: %064d\n\n' 0 >/server/Packages
(
    while ! ip link set tap0 up 2>/dev/null; do usleep 50000; done
    ip addr add 10.9.0.1/24 dev tap0
    httpd -p 10.9.0.1:80 -h /server
) &
"$IPERF3" --server --daemon
"$SOCAT" UNIX-LISTEN:/socket_2000,fork EXEC:/bin/cat &
(
    while ! grep -q 'listening' /console 2>/dev/null; do usleep 100000; done
    (printf 'CONNECT 1000\n'; sleep 2; echo 'hello guest'; sleep 2) | "$SOCAT" - UNIX-CONNECT:/socket | sed 's/^/host: /'
) &
guest --cpus 4 --disk "$DISK,queues=4" --disk "$JOBS,ro" --net tap=tap0,queues=4 --net user --vsock 3:/socket >/console
wait %3
cat /console
# --- guest ---
ip addr add 10.9.0.2/24 dev eth0
ip link set eth0 up
# As passt has it: the guest has the host's address, and reaches the host at that of the host's router.
ip addr add 10.0.2.15/24 dev eth1
ip link set eth1 up
rate() { awk '/receiver/ { if ($5 + 0 > 0) good++ } END { print good ? "received" : "nothing" }'; }
echo "tap: $(iperf3 --client 10.9.0.1 --time 2 --parallel 4 | rate), $(iperf3 --client 10.9.0.1 --time 2 --reverse | rate)"
echo "user: $(iperf3 --client 10.0.2.2 --time 2 | rate), $(iperf3 --client 10.0.2.2 --time 2 --reverse | rate)"
mount -t tmpfs tmpfs /etc/apt/sources.list.d
echo 'deb [trusted=yes] http://10.9.0.1 ./' >/tmp/list
apt-get -o Dir::Etc::SourceList=/tmp/list -o Acquire::Languages=none update
apt-cache -o Dir::Etc::SourceList=/tmp/list policy strata-test | sed -n 's/.*Candidate/candidate/p'
# What udev would have done.
modprobe vmw_vsock_virtio_transport
socat VSOCK-LISTEN:1000,fork EXEC:/bin/cat &
echo 'hello host' | socat -t 20 - VSOCK-CONNECT:2:2000
echo listening
sleep 8
