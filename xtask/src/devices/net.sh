# A network by TAP: pings, and megabytes both ways, with two pairs of queues.
(
    while ! ip link set tap0 up 2>/dev/null; do usleep 50000; done
    ip addr add 10.9.0.1/24 dev tap0
    dd if=/dev/urandom of=/there bs=64k count=64 2>/dev/null
    nc -l -p 1000 </there >/dev/null &
    # One that has nothing to say would hang up at once.
    sleep 1000 | nc -l -p 1001 >/back
) &
guest --cpus 2 --net tap=tap0,queues=2,mac=52:54:00:00:00:01
cmp /there /back && echo 'host: 4 MiB there and back'
# --- guest ---
ip addr add 10.9.0.2/24 dev eth0
ip link set eth0 up
echo "address: $(cat /sys/class/net/eth0/address), queues: $(ls -d /sys/class/net/eth0/queues/rx-* | wc -l)"
ping -c 3 -w 20 10.9.0.1 | grep 'packets received'
while ! nc -w 20 10.9.0.1 1000 >/tmp/file; do usleep 100000; done
nc 10.9.0.1 1001 </tmp/file
wc -c </tmp/file
