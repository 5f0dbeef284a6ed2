#!/usr/bin/env bash
# portable.sh [ROOT]: builds the program where glibc is old, so that it runs on clusters:
# in a Debian bullseye (glibc 2.31, g++ 10) that debootstrap makes in the folder ROOT
# (default: target/bullseye). The result is target/portable/release/unet3d, which
# `scripts/wheel.sh` and `scripts/dist.sh` pack.
#
# It needs root (or a user namespace with mounts), debootstrap, and `make libtorch`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

here=$PWD
root=$(realpath -m "${1:-target/bullseye}")
mirror=${MIRROR:-http://deb.debian.org/debian}
torch=$(realpath "${LIBTORCH:-.libtorch/torch}")
cmake=$(realpath "${CMAKE:-.libtorch/cmake/data/bin/cmake}")
cargo_home=$(realpath "${CARGO_HOME:-$HOME/.cargo}")
rustup_home=$(realpath "${RUSTUP_HOME:-$HOME/.rustup}")
packages=$(dirname "$torch")

if [ ! -e "$root/.complete" ]; then
    debootstrap --variant=minbase --include=g++,make,ca-certificates bullseye "$root" "$mirror"
    touch "$root/.complete"
fi

mounted=()
clean() {
    for place in "${mounted[@]}"; do umount "$place"; done
}
trap clean EXIT
bind() {
    mkdir -p "$root$1"
    mount --bind "$1" "$root$1"
    mounted=("$root$1" "${mounted[@]}")
}
mkdir -p "$root/proc"
mount -t proc proc "$root/proc"
mounted=("$root/proc")
for place in "$here" "$cargo_home" "$rustup_home" "$packages"; do
    case $packages in "$here"/*) [ "$place" != "$packages" ] || continue ;; esac
    bind "$place"
done
cp /etc/resolv.conf "$root/etc/resolv.conf"

chroot "$root" /usr/bin/env -i HOME="$HOME" CARGO_HOME="$cargo_home" RUSTUP_HOME="$rustup_home" \
    PATH="$cargo_home/bin:/usr/bin:/bin" LIBTORCH="$torch" CMAKE="$cmake" \
    sh -c "cd '$here' && cargo build --release --locked --bin unet3d --target-dir target/portable"

echo "symbols of glibc:" "$(objdump -T target/portable/release/unet3d |
    grep -o 'GLIBC_2\.[0-9]*' | sort -Vu | tail -3 | tr '\n' ' ')"
