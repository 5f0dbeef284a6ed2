#!/usr/bin/env bash
# fetch_libtorch.sh PYTHON FOLDER WHEEL...: installs wheels from PyPI into a folder.
#
# cpu-only-torch==VERSION stands for what the CPU needs of torch: the wheel without the
# packages that it depends on, without libtorch_cuda and without Python's side. libtorch_cpu
# itself needs the CUDA runtime and the library of CUDA's profiler, two small wheels.
set -euo pipefail

python=$1 folder=$2
shift 2
pip=("$python" -m pip --disable-pip-version-check install --no-compile --target "$folder")

plain=() cpu=
for wheel in "$@"; do
    case $wheel in
    cpu-only-*) cpu=${wheel#cpu-only-} ;;
    *) plain+=("$wheel") ;;
    esac
done
if [ ${#plain[@]} -gt 0 ]; then
    "${pip[@]}" "${plain[@]}"
fi
[ -n "$cpu" ] || exit 0

"${pip[@]}" --no-deps "$cpu"
# The version of CUDA that this torch asks for stands in its metadata.
cuda=$(sed -n 's/^Requires-Dist: cuda-toolkit\[.*\]==\([0-9]*\.[0-9]*\).*/\1/p' \
    "$folder"/torch-*.dist-info/METADATA | head -1)
: "${cuda:?torch names no version of CUDA}"
# In one call: pip does not add to a folder that is there.
"${pip[@]}" --no-deps "nvidia-cuda-runtime==$cuda.*" "nvidia-cuda-cupti==$cuda.*"
cd "$folder"
find torch/lib -name '*.so*' ! -name libtorch_cpu.so ! -name libc10.so ! -name libgomp.so.1 -delete
# Programs are linked against libtorch.so, which joins libtorch_cpu and libtorch_cuda.
c++ -shared -Wl,-soname,libtorch.so -Wl,--no-as-needed -Ltorch/lib -ltorch_cpu \
    -Wl,-rpath,'$ORIGIN' -Wl,--allow-shlib-undefined -o torch/lib/libtorch.so -x c /dev/null
find nvidia -name '*.so*' ! -name 'libcudart.so.*' ! -name 'libcupti.so.*' -delete
find torch -mindepth 1 -maxdepth 1 ! -name lib ! -name include ! -name share ! -name version.py \
    -exec rm -rf {} +
rm -rf bin functorch torchgen
