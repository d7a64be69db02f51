#!/bin/sh
# Unpacks the arm64 packages that the whole program needs into a folder of their
# own, for a cross compiler's --sysroot and qemu's -L.  apt works on state of its
# own there; the system is left as it is, and root is not needed.
# Usage: arm64-root.sh FOLDER PACKAGE...
set -eu

root=$(mkdir -p "$1" && cd "$1" && pwd)
shift
[ ! -e "$root/complete" ] || exit 0
mkdir -p "$root/state/lists/partial" "$root/cache/archives/partial"
: >"$root/state/status"
apt="-o Dir::State=$root/state -o Dir::State::status=$root/state/status -o Dir::Cache=$root/cache
     -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o Debug::NoLocking=1"
# shellcheck disable=SC2086
apt-get $apt update -qq
# shellcheck disable=SC2086
apt-get $apt install -qq -y --download-only --no-install-recommends "$@" >/dev/null
for package in "$root"/cache/archives/*.deb; do dpkg-deb -x "$package" "$root"; done
rm -rf "$root/cache" "$root/state"
touch "$root/complete"
