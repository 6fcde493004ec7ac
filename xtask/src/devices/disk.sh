# Disks: four processors with a queue each, flush, discard, a serial number, a disk that can only be read.
truncate -s 64M /disk
echo 'as it was' >/read-only && truncate -s 1M /read-only
cp /read-only /before
guest --cpus 4 --disk /disk,queues=4,serial=strata-1 --disk /read-only,ro
dd if=/disk bs=64k skip=64 count=64 2>/dev/null | sha256sum | sed 's/^/host: /'
cmp /read-only /before && echo 'host: the read-only disk is as it was'
# --- guest ---
echo "serial: $(cat /sys/block/vda/serial), queues: $(ls /sys/block/vda/mq | wc -l)"
for n in 0 1 2 3; do
    (
        dd if=/dev/urandom of=/tmp/$n bs=64k count=64 2>/dev/null
        taskset $((1 << n)) dd if=/tmp/$n of=/dev/vda bs=64k seek=$((n * 64)) conv=fsync 2>/dev/null
    ) &
done
wait
echo 3 >/proc/sys/vm/drop_caches
for n in 0 1 2 3; do
    dd if=/dev/vda bs=64k skip=$((n * 64)) count=64 2>/dev/null | cmp - /tmp/$n && echo "part $n: as it was written"
done
sha256sum </tmp/1 | sed 's/^/guest: /'
# The driver leaves the device, which resets it, while it is being read; and takes it again.
dd if=/dev/vda of=/dev/null bs=64k 2>/dev/null &
echo virtio0 >/sys/bus/virtio/drivers/virtio_blk/unbind
wait
[ -e /dev/vda ] || echo 'the driver has left the disk'
echo virtio0 >/sys/bus/virtio/drivers/virtio_blk/bind
dd if=/dev/vda bs=64k count=64 2>/dev/null | cmp - /tmp/0 && echo 'after a reset: as it was written'
blkdiscard -o 0 -l 65536 /dev/vda
echo 3 >/proc/sys/vm/drop_caches
[ "$(dd if=/dev/vda bs=64k count=1 2>/dev/null | tr -d '\0' | wc -c)" = 0 ] && echo 'discarded: zeros'
head -n 1 /dev/vdb
echo x 2>/dev/null >/dev/vdb || echo 'the second disk refuses'
