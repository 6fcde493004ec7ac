# A directory of the host's, which the guest reads and writes to.
mkdir /shared
echo 'from the host' >/shared/theirs
guest --share /shared:code
cat /shared/ours
# --- guest ---
mkdir /mnt
mount -t virtiofs code /mnt && cat /mnt/theirs
echo 'from the guest' >/mnt/ours
umount /mnt
