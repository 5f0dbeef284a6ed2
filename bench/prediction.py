"""Prediction of several volumes: unet3d, and a straightforward Python program.

    .venv/bin/python bench/prediction.py [--case cells|classes] [--threads 2] [--before PROGRAM]

`cells`: eight volumes of 51 x 96 x 210 with two classes, as for SegmentationNet; `classes`:
two volumes of 4 x 64 x 120 x 284 with 185 classes, as for AutoCellLabeler. Networks with
f_maps 8 and random weights. The Python side reads with h5py, runs the network in torch, sums
probabilities and counts in numpy, divides them and writes with h5py's gzip. Both sides are
whole processes, one after the other, and their results are compared. With --before, another build
of the program has its turn before and after ours, and the times of both are printed.
"""

import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROGRAM = ROOT / "target" / "release" / "unet3d"
sys.path.insert(0, str(ROOT / "tests" / "fixtures"))

CASES = {
    "cells": dict(count=8, shape=(51, 96, 210), cin=1, cout=2, stride=[25, 48, 104]),
    "classes": dict(count=2, shape=(4, 64, 120, 284), cin=4, cout=185, stride=[20, 40, 110]),
}
CONFIG = """
model_path: {folder}/net.pytorch
model: {{name: UNet3D, in_channels: {cin}, out_channels: {cout}, f_maps: 8, num_groups: 8, final_sigmoid: false}}
predictor: {{name: StandardPredictor}}
loaders:
  num_workers: 8
  output_dir: {folder}/ours
  test:
    file_paths: ['{folder}/volumes']
    slice_builder: {{name: SliceBuilder, patch_shape: {patch}, stride_shape: {stride}}}
    transformer: {{raw: [{{name: Normalize}}, {{name: ToTensor, expand_dims: true}}]}}
"""


def network(case):
    from make_model import BASE, UNet

    changes = dict(cin=case["cin"], cout=case["cout"], f_maps=[8, 16, 32, 64], groups=8)
    return UNet(BASE | changes).eval()


def make(folder, case):
    import h5py
    import numpy as np
    import torch

    rng = np.random.default_rng(0)
    (folder / "volumes").mkdir()
    for i in range(case["count"]):
        with h5py.File(folder / "volumes" / f"v{i}.h5", "w") as file:
            file["raw"] = rng.integers(0, 4000, case["shape"], dtype=np.uint16)
    torch.manual_seed(0)
    torch.save({"model_state_dict": network(case).state_dict()}, folder / "net.pytorch")
    patch = list(case["shape"][-3:])
    text = CONFIG.format(folder=folder, patch=patch, **case)
    (folder / "config.yaml").write_text(text)


def plain(folder, case, threads):
    """What a Python program does, one volume after the other."""
    import h5py
    import numpy as np
    import torch

    torch.set_num_threads(threads)
    net = network(case)
    net.load_state_dict(torch.load(folder / "net.pytorch")["model_state_dict"])
    (folder / "plain").mkdir()
    for path in sorted((folder / "volumes").iterdir()):
        with h5py.File(path) as file:
            raw = file["raw"][...].astype("float32")
        raw = np.clip(2 * (raw - raw.min()) / (raw.max() - raw.min()) - 1, -1, 1)
        raw = raw if raw.ndim == 4 else raw[None]
        # The patch is the volume: one patch, as in the published files.
        sums = np.zeros((case["cout"], *raw.shape[1:]), "float32")
        visits = np.zeros(sums.shape, "uint8")
        with torch.no_grad():
            values = torch.softmax(net(torch.from_numpy(raw[None])), 1)[0].numpy()
        sums += values
        visits += 1
        with h5py.File(folder / "plain" / path.name, "w") as file:
            file.create_dataset("predictions", data=sums / visits, compression="gzip")


def timed(command):
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    assert status == 0, command
    return time.perf_counter() - start, used.ru_maxrss / 2**20


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--case", choices=CASES)
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--before", help="another build of the program")
    options.add_argument("--plain", help=argparse.SUPPRESS)
    options = options.parse_args()
    if options.plain:
        return plain(pathlib.Path(options.plain), CASES[options.case], options.threads)

    import h5py
    import numpy as np

    print("| case | unet3d | Python | ratio | size of unet3d's files / h5py's |")
    print("| --- | --- | --- | --- | --- |")
    for name in [options.case] if options.case else CASES:
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            make(folder, CASES[name])
            threads = str(options.threads)
            config = str(folder / "config.yaml")
            arguments = ["predict", "--config", config, "--threads", threads]
            programs = [PROGRAM]
            if options.before:
                programs = [options.before, PROGRAM, options.before, PROGRAM]
            times = []
            for program in programs:
                shutil.rmtree(folder / "ours", ignore_errors=True)
                times.append(timed([program, *arguments]))
            if options.before:
                shown = [" ".join(f"{seconds:.2f} s" for seconds, _ in times[i::2]) for i in (0, 1)]
                print(f"{name}: before {shown[0]}, now {shown[1]}", flush=True)
            ours = times[-1]
            this = [sys.executable, __file__, "--plain", str(folder)]
            theirs = timed([*this, "--case", name, "--threads", threads])
            sizes = [0, 0]
            for path in (folder / "volumes").iterdir():
                a, b = folder / "ours" / f"{path.stem}_predictions.h5", folder / "plain" / path.name
                sizes[0] += a.stat().st_size
                sizes[1] += b.stat().st_size
                with h5py.File(a) as f, h5py.File(b) as g:
                    for x, y in zip(f["predictions"], g["predictions"]):
                        assert np.abs(x - y).max() < 1e-4, path
            print(
                f"| {name} | {ours[0]:.1f} s, {ours[1]:.2f} GiB | {theirs[0]:.1f} s, {theirs[1]:.2f} GiB "
                f"| {theirs[0] / ours[0]:.1f} | {sizes[0] / sizes[1]:.2f} |",
                flush=True,
            )


main()
