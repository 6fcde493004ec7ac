# Makes of a fresh root folder a disk that boots as a guest's, with kernel and initrd beside it.
#
# sh customize.sh ROOT FOLDER SIZE: FOLDER/disk.ext4, FOLDER/vmlinuz and FOLDER/initrd exist and are empty.
set -eu
root=$1 folder=$2 size=$3
PATH=$PATH:/usr/sbin:/sbin

echo "strata: setting up the system"
echo debian >"$root/etc/hostname"
printf '127.0.0.1 localhost\n127.0.1.1 debian\n::1 localhost\n' >"$root/etc/hosts"
# Empty, it is filled in at every boot; missing, the first boot would ask its user questions.
: >"$root/etc/machine-id"
rm -f "$root/var/lib/dbus/machine-id"
echo "/dev/vda / ext4 errors=remount-ro 0 1" >"$root/etc/fstab"
chroot "$root" passwd --delete root >/dev/null

# Every Ethernet device asks for an address. What `ip=` on the kernel's command line says of one comes before that
# (systemd-network-generator writes files of lower numbers, 70 or 90).
cat >"$root/etc/systemd/network/95-ethernet.network" <<'END'
[Match]
Type=ether
[Network]
DHCP=yes
END
ln -sf ../run/systemd/resolve/stub-resolv.conf "$root/etc/resolv.conf"
for unit in systemd-networkd systemd-resolved systemd-network-generator; do
    chroot "$root" systemctl --quiet enable $unit.service 2>&1
done
# Nothing waits for a network that may not be there, and a guest that has nothing to do does nothing.
for unit in systemd-networkd-wait-online.service e2scrub_reap.service apt-daily.timer apt-daily-upgrade.timer; do
    ln -sf /dev/null "$root/etc/systemd/system/$unit"
done

# The console is root's, without a password; leaving it ends the guest.
mkdir -p "$root/etc/systemd/system/serial-getty@ttyS0.service.d"
cat >"$root/etc/systemd/system/serial-getty@ttyS0.service.d/strata.conf" <<'END'
[Service]
Type=simple
Restart=no
ExecStart=
ExecStart=-/sbin/agetty --autologin root --noissue --keep-baud 115200,57600,38400,9600 - $TERM
ExecStopPost=/bin/sh -c 'case $EXIT_CODE in exited) systemctl --no-block poweroff;; esac'
END
: >"$root/root/.hushlogin"
cat >>"$root/root/.profile" <<'END'
if [ "$(tty)" = /dev/ttyS0 ]; then
    echo "strata: Linux $(uname -r) on $(nproc) CPUs; you are root, without a password; \`exit\` powers off"
fi
END

kernel=$(ls "$root/boot" | grep '^vmlinuz-' | sort -V | tail -n 1)
release=${kernel#vmlinuz-}
initrd=/boot/initrd.img-$release
echo "strata: looking into $initrd"
files=$(chroot "$root" lsinitramfs "$initrd")
for module in virtio_mmio virtio_blk virtio_net ext4; do
    if ! echo "$files" | grep -q "/$module\.ko" &&
        ! grep -q "/$module\.ko" "$root/lib/modules/$release/modules.builtin"; then
        echo "E: the initrd of $release has no module $module: a guest could not find its root disk" >&2
        exit 1
    fi
done
cat "$root/boot/$kernel" >"$folder/vmlinuz"
cat "$root$initrd" >"$folder/initrd"

echo "strata: writing the disk"
chroot "$root" apt-get clean
find "$root/var/log" -type f -delete
rm -rf "$root"/var/lib/apt/lists/* "$root"/tmp/* "$root/etc/apt/apt.conf.d/99mmdebstrap"
# Seen through this, nothing is mounted in it.
mkdir "$folder/work/view"
mount --bind "$root" "$folder/work/view"
truncate -s "$size" "$folder/disk.ext4"
mke2fs -q -F -t ext4 -L root -m 1 -d "$folder/work/view" "$folder/disk.ext4"
umount "$folder/work/view"
