#!/bin/busybox sh
# Process 1 of the guests of tests of devices: loads all modules, runs /job, and switches off.
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t tmpfs tmp /tmp
/bin/busybox --install -s /bin
for module in /modules/*.ko; do insmod "$module"; done
echo "strata: Linux $(uname -r) on $(nproc) CPUs"
. /job
stty -F /dev/console echo
poweroff -f
