"""Time and peak memory per file of predictions over few and many files.

    .venv/bin/python bench/files.py [--threads 2] [10 100 1000]

Small volumes (uint16, 16 x 64 x 64) with one patch each, or with four overlapping patches
with --patches; a network of two levels with 4 and 8 feature maps and random weights. The
time of a run over a single file is subtracted, so that the start of the program does not
count; `--skip-existing` over the finished files is timed too.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
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
model: {{name: UNet3D, in_channels: 1, out_channels: 2, f_maps: [4, 8], num_groups: 4, final_sigmoid: false}}
predictor: {{name: StandardPredictor, patch_halo: [0, 4, 4]}}
loaders:
  test:
    file_paths: ['{folder}/1']
    slice_builder: {{name: SliceBuilder, patch_shape: {patch}, stride_shape: {stride}, skip_shape_check: true}}
    transformer: {{raw: [{{name: Normalize}}, {{name: ToTensor, expand_dims: true}}]}}
"""


def timed(command):
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    assert status == 0, command
    seconds = time.perf_counter() - start, used.ru_utime + used.ru_stime
    return np.array(seconds), used.ru_maxrss / 2**10


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("counts", type=int, nargs="*", default=[10, 100, 1000])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--patches", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        torch.manual_seed(0)
        net = UNet(BASE | dict(cin=1, cout=2, f_maps=[4, 8], groups=4))
        torch.save({"model_state_dict": net.state_dict()}, folder / "net.pytorch")
        patch = [16, 48, 48] if options.patches else [16, 64, 64]
        stride = [16, 16, 16] if options.patches else patch
        config = folder / "config.yaml"
        config.write_text(CONFIG.format(folder=folder, patch=patch, stride=stride))
        rng = np.random.default_rng(0)
        for count in [1, *options.counts]:
            (folder / str(count)).mkdir()
            for i in range(count):
                with h5py.File(folder / str(count) / f"t{i}.h5", "w") as file:
                    file["raw"] = rng.integers(0, 4000, (16, 64, 64), dtype=np.uint16)

        def run(count, *more):
            paths = f"loaders.test.file_paths=['{folder}/{count}']"
            common = ["--config", config, "--threads", str(options.threads), "--set", paths]
            return timed([PROGRAM, "predict", *map(str, common), *more])

        start = np.min([run(1)[0] for _ in range(3)], axis=0)
        print(f"starting and one file: {start[0]:.2f} s, {start[1]:.2f} s of CPU time\n")
        print("| files | ms a file | CPU time | peak memory | --skip-existing, ms a file | CPU time |")
        print("| --- | --- | --- | --- | --- | --- |")
        for count in options.counts:
            seconds, peak = run(count)
            again, _ = run(count, "--skip-existing")
            (new, new_cpu), (old, old_cpu) = (
                1000 * np.maximum(s - start, 0) / (count - 1) for s in (seconds, again)
            )
            print(
                f"| {count} | {new:.1f} | {new_cpu:.1f} | {peak:.0f} MiB | {old:.1f} | {old_cpu:.1f} |",
                flush=True,
            )


main()
