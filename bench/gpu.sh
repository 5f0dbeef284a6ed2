#!/usr/bin/env bash
# gpu.sh [OPTIONS]: what the program does on a GPU, as one table: agreement with the CPU,
# speed and memory beside torch, waiting for data, running out of memory. It needs an NVIDIA
# GPU and a Python with torch 2.11 and h5py, but no cargo: the program may have been built
# elsewhere. It takes less than nine minutes.
#
#   UNET3D=target/release/unet3d   the program
#   PYTHON=.venv/bin/python        the Python; its torch gives libtorch, too
#
# Options are those of bench/gpu.py: --quick for a trial run, --device cpu to try the script
# itself on a machine without a GPU.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

PYTHON=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)}
UNET3D=$(realpath "${UNET3D:-target/release/unet3d}")
export UNET3D
exec "$PYTHON" bench/gpu.py "$@"
