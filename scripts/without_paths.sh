#!/usr/bin/env bash
# without_paths.sh PROGRAM: overwrites the paths of this machine in a program that is to be
# packed or installed: those of sources in messages, and the folder in which HDF5 was built.
# Every one becomes as many slashes, so that nothing in the file moves. The run path of the
# program is set before.
set -euo pipefail
export LC_ALL=C
program=$(realpath "$1")
cd "$(dirname "${BASH_SOURCE[0]}")/.."

torch=${LIBTORCH:-.libtorch/torch}
cargo_home=${CARGO_HOME:-$HOME/.cargo}
for path in "$PWD/target" "$PWD/.libtorch" "$(realpath "$torch")" "$(realpath "$cargo_home")" \
    "$torch" "$cargo_home"; do
    # Not those that are relative.
    case $path in /*/*) ;; *) continue ;; esac
    slashes=$(printf '%*s' "${#path}" '' | tr ' ' '/')
    pattern=$(printf '%s' "$path" | sed 's/[][\.*^$#]/\\&/g')
    sed -i "s#$pattern/#$slashes/#g" "$program"
done
