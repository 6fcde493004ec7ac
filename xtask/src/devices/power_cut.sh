# A guest on a disk writes 256 MB, syncs, and goes on writing until the VMM is killed. What was synced is there afterwards.
# How often the host's disk was asked to flush (Documentation/block/stat.rst).
flushes() { awk '{ print $16 }' "/sys/block/$(basename "$(readlink -f "$DISK")")/stat"; }
before=$(flushes)
guest --cpus 4 --disk "$DISK,queues=4" --disk "$JOBS,ro" >/console &
tries=0
while ! grep -q synced /console && [ $tries -lt 3000 ]; do usleep 100000; tries=$((tries + 1)); done
usleep 500000
[ "$(flushes)" -gt "$before" ] && echo 'host: what was synced is beyond its cache'
killall -9 strata
wait
cat /console
# Playing the journal back may be needed, and is enough.
"$E2FSCK" -p -E journal_only "$DISK" || [ $? = 1 ] || echo 'host: the journal is broken'
"$E2FSCK" -f -n "$DISK" && echo 'host: the file system is clean'
guest --cpus 4 --disk "$DISK,queues=4" --disk "$JOBS,ro"
# --- guest ---
if [ ! -e /root/sums ]; then
    dd if=/dev/urandom of=/root/data bs=1M count=256 status=none
    sha256sum /root/data >/root/sums
    sync
    echo "synced on $(nproc) CPUs and $(ls /sys/block/vda/mq | wc -l) queues"
    while :; do dd if=/dev/zero of=/root/more bs=1M count=64 status=none; done
fi
sha256sum --check /root/sums
rm /root/data /root/sums
