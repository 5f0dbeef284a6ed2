#!/usr/bin/env bash
# install.sh PREFIX: copies the program to PREFIX/bin and the libraries that it loads to
# PREFIX/lib/unet3d, where the program searches them ($ORIGIN/../lib/unet3d/torch/lib, see
# build.rs). PREFIX can be moved as a whole afterwards: what is installed names no path of
# this machine.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

prefix=$1
torch=${LIBTORCH:-.libtorch/torch}
cmake=${CMAKE:-.libtorch/cmake/data/bin/cmake}
libraries=$prefix/lib/unet3d

mkdir -p "$prefix/bin"
rm -rf "$libraries.partial"
mkdir -p "$libraries.partial/torch/lib"

# Only Python needs libtorch_python.
find "$torch/lib/" -maxdepth 1 -name '*.so*' ! -name 'libtorch_python*' \
    -exec cp -L --reflink=auto -t "$libraries.partial/torch/lib" {} +

# The compiler's own libraries, which LD_LIBRARY_PATH may have in an older version.
for library in libstdc++.so.6 libgcc_s.so.1; do
    cp -L "$(c++ -print-file-name=$library)" "$libraries.partial/torch/lib"
done

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
# CMake, which built HDF5, shortens a run path as it does for what it installs itself.
strip --strip-debug -o "$prefix/bin/.unet3d.partial" target/release/unet3d
chmod 755 "$prefix/bin/.unet3d.partial"
path=$(objdump -p "$prefix/bin/.unet3d.partial" | sed -n 's/^ *R\(UN\)\?PATH *//p')
cat > "$libraries/shorten.cmake" <<END
file(RPATH_CHANGE FILE [==[$(realpath "$prefix/bin/.unet3d.partial")]==]
  OLD_RPATH [==[$path]==] NEW_RPATH [==[\$ORIGIN/../lib/unet3d/torch/lib]==])
END
"$cmake" -P "$libraries/shorten.cmake"
rm "$libraries/shorten.cmake"
scripts/without_paths.sh "$prefix/bin/.unet3d.partial"
mv "$prefix/bin/.unet3d.partial" "$prefix/bin/unet3d"
"$prefix/bin/unet3d" man --output "$prefix/share/man/man1"
mkdir -p "$prefix/share/bash-completion/completions"
"$prefix/bin/unet3d" completions bash > "$prefix/share/bash-completion/completions/unet3d"

# The names of the Python program, for scripts that call it.
ln -sf unet3d "$prefix/bin/train3dunet"
ln -sf unet3d "$prefix/bin/predict3dunet"
install -m 644 scripts/predict.py "$prefix/bin/predict.py"

env -i "$prefix/bin/unet3d" --version > /dev/null
echo "installed $prefix/bin/unet3d ($(du -shc "$libraries" | tail -1 | cut -f1) of libraries)"
