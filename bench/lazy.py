"""Prediction of a volume larger than memory: time and peak memory.

    .venv/bin/python bench/lazy.py FOLDER [--shape 512 2048 2048] [--dtype float32]

Writes a volume of noise to FOLDER, predicts it with LazyPredictor and LazyHDF5Dataset,
compares a few patches of the result with torch's, prints a row of a table, and removes its
files. FOLDER needs space for the volume and for a result of four bytes per voxel. The
network has two levels with 4 and 8 feature maps and random weights; patches do not overlap.
`--standard` keeps the input in memory instead.
"""

import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading
import time

import h5py
import numpy as np
import torch

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROGRAM = ROOT / "target" / "release" / "unet3d"
sys.path.insert(0, str(ROOT / "tests" / "fixtures"))
from make_model import BASE, UNet  # noqa: E402

CONFIG = """
model_path: {folder}/net.pytorch
model: {{name: UNet3D, in_channels: 1, out_channels: 1, f_maps: [4, 8], num_groups: 4, final_sigmoid: true}}
predictor: {{name: {predictor}, patch_halo: [0, 0, 0]}}
loaders:
  dataset: {dataset}
  output_dir: {folder}
  mirror_padding: {mirror}
  test:
    file_paths: [{folder}/volume.h5]
    slice_builder: {{name: SliceBuilder, patch_shape: {patch}, stride_shape: {patch}}}
    transformer: {{raw: [{{name: Normalize}}, {{name: ToTensor, expand_dims: true}}]}}
"""


def write_volume(path, options):
    """Noise, some planes at a time; returns the smallest and the largest value."""
    rng = np.random.default_rng(0)
    low, high = [], []
    with h5py.File(path, "w") as file:
        chunks = tuple(options.chunks) if options.chunks else None
        gzip = "gzip" if options.gzip else None
        raw = file.create_dataset("raw", options.shape, options.dtype, chunks=chunks, compression=gzip)
        step = chunks[0] if chunks else 8
        for z in range(0, options.shape[0], step):
            depth = min(step, options.shape[0] - z)
            planes = rng.integers(0, 4000, (depth, *options.shape[1:]), dtype=np.uint16)
            raw[z : z + depth] = planes
            low.append(int(planes.min()))
            high.append(int(planes.max()))
    return min(low), max(high)


def predict(config, threads):
    """Seconds, and the peaks of resident memory as a whole and of what is not files."""
    command = [PROGRAM, "predict", "--config", config, "--threads", str(threads)]
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    peaks = {"VmHWM": 0, "RssAnon": 0}

    def watch():
        while process.returncode is None:
            try:
                for line in pathlib.Path(f"/proc/{process.pid}/status").read_text().splitlines():
                    name, _, value = line.partition(":")
                    if name in peaks:
                        peaks[name] = max(peaks[name], int(value.split()[0]))
            except (FileNotFoundError, ProcessLookupError):
                return
            time.sleep(0.02)

    watcher = threading.Thread(target=watch)
    watcher.start()
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = status
    watcher.join()
    assert status == 0, command
    return seconds, used.ru_maxrss / 2**20, peaks["RssAnon"] / 2**20


def check(folder, net, options, low, high):
    """Compares some patches, at the corners and in between, with torch's."""
    rng = np.random.default_rng(1)
    pad = options.mirror
    with h5py.File(folder / "volume.h5") as file, h5py.File(folder / "volume_predictions.h5") as made:
        raw, found = file["raw"], made["predictions"]
        assert found.shape == (1, *raw.shape), found.shape
        padded = [n + 2 * p for n, p in zip(raw.shape, pad)]
        starts = [sorted({*range(0, n - p + 1, p), n - p}) for n, p in zip(padded, options.patch)]
        # Patches that others overlap are averaged: leave out the last two.
        corners = [[0, 0, 0]] + [
            [int(rng.choice(s[:-2] or s[:1])) for s in starts] for _ in range(options.windows)
        ]
        for corner in corners:
            # numpy's "reflect" along each axis, read row by row.
            index = [
                np.pad(np.arange(n), p, mode="reflect")[c : c + size]
                for n, p, c, size in zip(raw.shape, pad, corner, options.patch)
            ]
            box = tuple(slice(i.min(), i.max() + 1) for i in index)
            patch = raw[box][np.ix_(*(i - i.min() for i in index))].astype("float32")
            patch = np.clip(2 * (patch - low) / (high - low) - 1, -1, 1)
            with torch.no_grad():
                expected = torch.sigmoid(net(torch.from_numpy(patch[None, None])))[0].numpy()
            inside = [
                slice(max(p - c, 0), min(p + n - c, size))
                for n, p, c, size in zip(raw.shape, pad, corner, options.patch)
            ]
            place = tuple(
                slice(c + i.start - p, c + i.stop - p) for c, i, p in zip(corner, inside, pad)
            )
            error = np.abs(found[(slice(None), *place)] - expected[(slice(None), *inside)]).max()
            assert error < 1e-5, (corner, error)
    return len(corners)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--shape", type=int, nargs=3, default=[512, 2048, 2048])
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--patch", type=int, nargs=3, default=[64, 256, 256])
    parser.add_argument("--mirror", type=int, nargs=3, default=[0, 0, 0])
    parser.add_argument("--chunks", type=int, nargs=3, help="default: contiguous")
    parser.add_argument("--gzip", action="store_true", help="compress the volume, in chunks")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--windows", type=int, default=6, help="patches to compare")
    parser.add_argument("--standard", action="store_true")
    options = parser.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp(dir=options.folder))
    try:
        torch.manual_seed(0)
        net = UNet(BASE | dict(cin=1, cout=1, f_maps=[4, 8], groups=4)).eval()
        torch.save({"model_state_dict": net.state_dict()}, folder / "net.pytorch")
        low, high = write_volume(folder / "volume.h5", options)
        config = folder / "config.yaml"
        kind = "Standard" if options.standard else "Lazy"
        text = CONFIG.format(
            folder=folder,
            predictor=f"{kind}Predictor",
            dataset=f"{kind}HDF5Dataset",
            patch=options.patch,
            mirror=options.mirror,
        )
        config.write_text(text)
        seconds, peak, anonymous = predict(config, options.threads)
        windows = check(folder, net, options, low, high)
        voxels = np.prod(options.shape, dtype=float)
        size = voxels * np.dtype(options.dtype).itemsize / 2**30
        shape = "×".join(map(str, options.shape))
        print(
            f"| {kind}, {shape} {options.dtype}, {size:.1f} GiB | {peak:.2f} GiB "
            f"(anonymous {anonymous:.2f}) | {seconds:.0f} s | {voxels / seconds / 1e6:.2f} M voxels/s "
            f"| {windows} patches equal |"
        )
    finally:
        shutil.rmtree(folder)


main()
