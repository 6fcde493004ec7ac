# Entropy, a console, a balloon that gives back what the guest does not use.
guest --rng --balloon --console file=/console,name=log &
said() { while ! grep -q "$1" /console 2>/dev/null; do usleep 100000; done; }
resident() { grep VmRSS "/proc/$(pidof strata)/status" | tr -dc 0-9; }
said full
full=$(resident)
said freed
tries=0
while [ "$(resident)" -gt $((full - 60000)) ] && [ $tries -lt 300 ]; do usleep 100000; tries=$((tries + 1)); done
[ "$(resident)" -le $((full - 60000)) ] && echo 'host: it has its memory again'
wait
# --- guest ---
cat /sys/class/misc/hw_random/rng_available
[ "$(head -c 4096 /dev/hwrng | wc -c)" = 4096 ] && echo 'entropy: 4096 bytes'
dd if=/dev/zero of=/tmp/large bs=1M count=100 2>/dev/null
port=$(grep -l '^log$' /sys/class/virtio-ports/*/name)
port=/dev/$(basename "$(dirname "$port")")
echo full >"$port"
sleep 2
rm /tmp/large
echo freed >"$port"
sleep 10
