#!/bin/busybox sh
# Process 1 of the guests of `cargo xtask test`: says what it finds, then ends as the variable `then` of the kernel's
# command line says.
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox --install -s /bin
echo "strata: Linux $(uname -r) on $(grep -c ^processor /proc/cpuinfo) CPUs, initrd: $(cat /content)"
# A message begins with its level: 0 to 3 are errors.
dmesg -r >/log
echo "log: $(grep -c '^<[0-3]>' /log) errors in $(grep -c '^<' /log) messages"
grep '^<[0-3]>' /log
case "$then" in
shell) setsid cttyhack sh ;;
restart) reboot -f ;;
halt) halt -f ;;
panic) echo c >/proc/sysrq-trigger ;;
told-panic)
    for module in /modules/*.ko; do insmod "$module"; done
    echo c >/proc/sysrq-trigger
    ;;
esac
stty -F /dev/console echo
poweroff -f
