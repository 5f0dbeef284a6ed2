#!/usr/bin/env bash
# install.sh PREFIX: copies the program to PREFIX/bin and the libraries that it loads to
# PREFIX/lib/unet3d, where the program searches them ($ORIGIN/../lib/unet3d/torch/lib, see
# build.rs). PREFIX can be moved as a whole afterwards.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

prefix=$1
torch=${LIBTORCH:-.libtorch/torch}
libraries=$prefix/lib/unet3d

mkdir -p "$prefix/bin"
rm -rf "$libraries.partial"
mkdir -p "$libraries.partial/torch/lib"

# Only Python needs libtorch_python.
find "$torch/lib/" -maxdepth 1 -name '*.so*' ! -name 'libtorch_python*' \
    -exec cp -L --reflink=auto -t "$libraries.partial/torch/lib" {} +

# In a wheel, the CUDA libraries are beside torch, and libtorch's own run path is
# ../../nvidia/..., so the copy keeps this layout.
nvidia=$(dirname "$torch")/nvidia
if [ -d "$nvidia" ]; then
    (cd "$nvidia" && find . -name '*.so*' -path '*/lib/*') | while read -r library; do
        mkdir -p "$libraries.partial/nvidia/$(dirname "$library")"
        cp -P --reflink=auto "$nvidia/$library" "$libraries.partial/nvidia/$library"
    done
fi

# Old libraries are removed only when the new ones are complete.
rm -rf "$libraries"
mv "$libraries.partial" "$libraries"
install -m 755 target/release/unet3d "$prefix/bin/unet3d"
"$prefix/bin/unet3d" man --output "$prefix/share/man/man1"
mkdir -p "$prefix/share/bash-completion/completions"
"$prefix/bin/unet3d" completions bash > "$prefix/share/bash-completion/completions/unet3d"

env -i "$prefix/bin/unet3d" --version > /dev/null
echo "installed $prefix/bin/unet3d ($(du -shc "$libraries" | tail -1 | cut -f1) of libraries)"
