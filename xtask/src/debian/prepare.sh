# Before the kernel is installed, and makes its initrd with what is said here: devices keep the kernel's names, eth0.
#
# sh prepare.sh ROOT
set -eu
mkdir -p "$1/etc/systemd/network"
printf '[Match]\nOriginalName=*\n[Link]\nNamePolicy=\nMACAddressPolicy=none\n' >"$1/etc/systemd/network/99-default.link"
