#!/rig/busybox sh
# Process 1 of the emulated host. Brings it up, runs the commands of /rig/job one after the other and says over the
# fourth serial port how each went (report.rs reads that). The first port has the kernel's log, the second and third
# the commands' standard output and standard error.

# Programs that were brought from the host come before those of busybox, which are in /bin.
export PATH=/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/sbin:/bin HOME=/root
if [ -d /rig/network ] && /rig/busybox mkdir /rig/root 2>/dev/null; then
    # Programs that serve networks lock themselves in by pivot_root, which the kernel's very first root does not allow:
    # the same files, mounted over it, are another one.
    /rig/busybox mount -o bind / /rig/root
    cd /rig/root
    /rig/busybox mount -o move . /
    exec /rig/busybox chroot . /rig/init
fi
/rig/busybox mount -t proc proc /proc
/rig/busybox mount -t sysfs sys /sys
/rig/busybox mount -t devtmpfs dev /dev
# What the host's own files brought stays; busybox provides the rest.
/rig/busybox --install -s /bin 2>/dev/null
mkdir -p /dev/shm /dev/pts
mount -t devpts pts /dev/pts
mount -t tmpfs shm /dev/shm
ln -s /proc/self/fd /dev/fd
chmod 1777 /tmp
ip link set lo up
for module in /rig/modules/*.ko /rig/network/*.ko; do [ -e "$module" ] && insmod "$module"; done
# No translation of line ends, no echo: every byte passes as it is.
for port in 1 2 3; do stty -F /dev/ttyS$port raw -echo; done
exec 3>/dev/ttyS3

say() { echo "$*" >&3; }
uptime() { cut -d' ' -f1 /proc/uptime; }
# Waits until all that was written has left the port: stty changes settings only then.
drained() { for port in "$@"; do stty -F /dev/ttyS$port raw -echo; done; }
# Prints the disk of a serial number. Disks are found while the system is already running.
disk() {
    tries=0
    while [ $tries -lt 100 ]; do
        for serial in /sys/block/nvme*/device/serial; do
            if [ -e "$serial" ] && [ "$(tr -d ' ' <"$serial")" = "$1" ]; then
                serial=${serial#/sys/block/}
                echo "/dev/${serial%%/*}"
                return
            fi
        done
        usleep 50000
        tries=$((tries + 1))
    done
}
# Sends a file.
blob() {
    if [ -f "$1" ]; then
        say "blob $(stat -c %s "$1")"
        cat "$1" >&3
    else
        say none
    fi
}

if [ -d /rig/network ]; then
    # As QEMU's network has it (its documentation, "Using the user mode network stack").
    ip link set eth0 up
    ip addr add 10.0.2.15/24 dev eth0
    ip route add default via 10.0.2.2
    echo 'nameserver 10.0.2.3' >/etc/resolv.conf
fi
i=0
while read -r path; do
    ln -s "$(disk disk$i)" "$path"
    i=$((i + 1))
done </rig/disks

# From "began" on something may be typed: a port that is opened only later would lose it.
[ -e /rig/input ] && exec 4<>/dev/ttyS1

if [ ! -c /dev/kvm ]; then
    say no-kvm
    poweroff -f
fi
say "ready $(uptime)"

i=0
while [ -d /rig/job/$i ]; do
    job=/rig/job/$i
    say "began $i $(uptime)"
    if [ -e /rig/captured ]; then
        out=/rig/out err=/rig/err
    else
        out=/dev/ttyS1 err=/dev/ttyS2
    fi
    if [ -e /rig/input ]; then
        # With a session of its own, for which the port is the terminal: only there may programs ask who is in front.
        setsid -c sh $job/run <&4 >&4 2>$err 3>&- 4>&-
    else
        in=$job/stdin
        [ -s $in ] || in=/dev/null
        sh $job/run <$in >$out 2>$err 3>&-
    fi
    code=$?
    ended=$(uptime)
    # What a command leaves running would disturb the next one, and hold the ports open.
    kill -9 -1 2>/dev/null
    drained 1 2
    say "ended $i $code $ended"
    if [ -e /rig/captured ]; then
        blob /rig/out
        blob /rig/err
        rm -f /rig/out /rig/err
    fi
    . $job/collect
    say "done $i"
    i=$((i + 1))
done

if [ -d /out ]; then
    out=$(disk out)
    if [ -b "$out" ] && (cd /out && find . | cpio -o -H newc >"$out") && sync; then
        say archived
    fi
fi
# What was written to disks is on them, before we are ended.
[ -s /rig/disks ] && sync
say end
drained 3
poweroff -f
