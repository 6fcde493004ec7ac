#!/bin/busybox sh
# Process 1 of the guest of `cargo xtask run-guest linux`: a shell on the console, and the power off when it ends.
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox --install -s /bin
for module in /modules/*.ko; do [ -e "$module" ] && insmod "$module"; done
echo "strata: Linux $(uname -r) on $(nproc) CPUs"
# A session with the console as its terminal: without that there is no Ctrl-C and no job control.
setsid cttyhack sh
# Settings change when all that was written has left the port: the power must not go before.
stty -F /dev/console echo
poweroff -f
