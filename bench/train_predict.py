"""Seconds per training iteration and per predicted patch: unet3d and torch in Python.

Both sides have the same network (UNet3D, f_maps 32, four levels, group norm), patch
(32 x 64 x 64), loss, optimizer and number of threads. They run in turn, so that other
programs on the machine slow down both.

unet3d is timed from outside: the time of a long run minus that of a short one, divided by
the difference of their iterations or patches. Start, reading of the files and the last
checkpoint cancel out; loading, augmentation (without transforms) and logging of each
iteration are included. torch's loop only runs the network on a patch that is in memory. On a
machine with other load the CPU time of all threads is more reliable than the wall clock;
both are printed.

    .venv/bin/python bench/train_predict.py [--threads N] [--rounds N] [--device cpu] [--quick]
                                            [--before PROGRAM]

With --before, another build of the program takes its turn in each round, too.
"""

import argparse
import os
import platform
import resource
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np
import torch
from torch import nn

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = ROOT / "target" / "release" / "unet3d"
PATCH = (32, 64, 64)
SHORT, LONG = 4, 24  # iterations, and patches to predict

CONFIG = """
manual_seed: 0
device: {device}
model_path: {folder}/checkpoints/last_checkpoint.pytorch
model:
  {{name: UNet3D, in_channels: 1, out_channels: 2, f_maps: 32, num_groups: 8, final_sigmoid: false}}
trainer:
  checkpoint_dir: {folder}/checkpoints
  validate_after_iters: 1000000
  log_after_iters: 1000000
optimizer: {{algorithm: Adam, learning_rate: 0.0001, weight_decay: 0}}
loss: {{name: CrossEntropyLoss}}
eval_metric: {{name: MeanIoU}}
predictor: {{name: StandardPredictor, patch_halo: [0, 0, 0]}}
loaders:
  batch_size: 1
  num_workers: 1
  output_dir: {folder}/predictions
  train:
    file_paths: [{folder}/train.h5]
    slice_builder: {{name: SliceBuilder, patch_shape: [32, 64, 64], stride_shape: [32, 64, 64]}}
    transformer:
      raw: [{{name: Normalize}}, {{name: ToTensor, expand_dims: true}}]
      label: [{{name: ToTensor, expand_dims: false, dtype: long}}]
  val:
    file_paths: [{folder}/val.h5]
    slice_builder: {{name: SliceBuilder, patch_shape: [32, 64, 64], stride_shape: [32, 64, 64]}}
    transformer:
      raw: [{{name: Normalize}}, {{name: ToTensor, expand_dims: true}}]
      label: [{{name: ToTensor, expand_dims: false, dtype: long}}]
  test:
    file_paths: [{folder}/test.h5]
    slice_builder: {{name: SliceBuilder, patch_shape: [32, 64, 64], stride_shape: [32, 64, 64]}}
    transformer:
      raw: [{{name: Normalize}}, {{name: ToTensor, expand_dims: true}}]
"""


def double_conv(first, middle, out):
    """Twice group norm, convolution, ReLU; fewer channels than groups: one group."""
    layers = []
    for a, b in ((first, middle), (middle, out)):
        layers += [nn.GroupNorm(8 if a >= 8 else 1, a), nn.Conv3d(a, b, 3, padding=1, bias=False), nn.ReLU()]
    return nn.Sequential(*layers)


class UNet(nn.Module):
    """The network of the configuration above, written the plain way."""

    def __init__(self, features=(32, 64, 128, 256)):
        super().__init__()
        inputs = (1, *features)
        self.down = nn.ModuleList(
            double_conv(a, max(b // 2, a), b) for a, b in zip(inputs, features)
        )
        self.up = nn.ModuleList(
            double_conv(a + b, b, b) for a, b in zip(features[:0:-1], features[-2::-1])
        )
        self.last = nn.Conv3d(features[0], 2, 1)

    def forward(self, x):
        seen = []
        for level, block in enumerate(self.down):
            x = block(nn.functional.max_pool3d(x, 2) if level else x)
            seen.append(x)
        for block, other in zip(self.up, seen[-2::-1]):
            x = nn.functional.interpolate(x, size=other.shape[2:], mode="nearest")
            x = block(torch.cat((other, x), dim=1))
        return self.last(x)


def data(folder):
    rng = np.random.default_rng(0)
    for name, patches in (("train", LONG), ("val", 1), ("few", SHORT), ("test", LONG)):
        shape = (PATCH[0], PATCH[1], PATCH[2] * patches)
        with h5py.File(folder / f"{name}.h5", "w") as file:
            file["raw"] = rng.integers(0, 255, shape, dtype=np.uint8)
            file["label"] = rng.integers(0, 2, shape, dtype=np.uint8)


def now(who):
    """Seconds by the clock, and of CPU time so far, as an array."""
    used = resource.getrusage(who)
    return np.array((time.perf_counter(), used.ru_utime + used.ru_stime))


def run(program, arguments):
    start = now(resource.RUSAGE_CHILDREN)
    subprocess.run([program, *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)
    return now(resource.RUSAGE_CHILDREN) - start


def ours(program, folder, threads):
    """(clock, CPU) seconds per (iteration, patch)."""
    # A finished run is not replaced by another.
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    few = folder / "checkpoints" / "few"
    common = ("--config", folder / "config.yaml", "--threads", threads, "--quiet")
    train = [
        run(program, ("train", *common, "--set", f"trainer.iters={n}", *more))
        for n, more in ((SHORT, ("--set", f"trainer.checkpoint_dir={few}")), (LONG, ()))
    ]
    predict = [
        run(program, ("predict", *common, "--set", f"loaders.test.file_paths=[{folder}/{name}.h5]"))
        for name in ("few", "test")
    ]
    return (train[1] - train[0]) / (LONG - SHORT), (predict[1] - predict[0]) / (LONG - SHORT)


def theirs(device, layout):
    """(clock, CPU) seconds per (iteration, patch)."""
    network = UNet().to(device).to(memory_format=layout)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)
    raw = torch.randn(1, 1, *PATCH, device=device).to(memory_format=layout)
    label = torch.randint(0, 2, (1, *PATCH), device=device)

    def iteration():
        loss = nn.functional.cross_entropy(network(raw), label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        # The reference reads the loss at every iteration.
        return loss.item()

    def patch():
        with torch.no_grad():
            return torch.softmax(network(raw), dim=1).cpu()

    def seconds(work, warm, times):
        for _ in range(warm):
            work()
        start = now(resource.RUSAGE_SELF)
        for _ in range(times):
            work()
        return (now(resource.RUSAGE_SELF) - start) / times

    training = seconds(iteration, SHORT, LONG - SHORT)
    network.eval()
    return training, seconds(patch, SHORT, LONG - SHORT)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--before", type=Path, help="another build of the program")
    parser.add_argument("--quick", action="store_true", help="few iterations, to try it out")
    options = parser.parse_args()
    if options.quick:
        global SHORT, LONG
        SHORT, LONG = 2, 5
    torch.set_num_threads(options.threads)
    layouts = {"torch": torch.contiguous_format, "torch, channels last": torch.channels_last_3d}
    programs = {"unet3d": PROGRAM}
    if options.before:
        programs["unet3d before"] = options.before
    seconds = {name: [] for name in (*programs, *layouts)}
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        data(folder)
        text = CONFIG.format(folder=folder, device=options.device)
        (folder / "config.yaml").write_text(text)
        for _ in range(options.rounds):
            for name, program in programs.items():
                # A result of another build stays as it is.
                shutil.rmtree(folder / "predictions", ignore_errors=True)
                seconds[name].append(ours(program, folder, options.threads))
            for name, layout in layouts.items():
                seconds[name].append(theirs(options.device, layout))

    print(f"{platform.machine()}, {options.threads} threads, {options.device}, torch {torch.__version__}")
    print(f"median of {options.rounds} rounds; seconds, and in brackets the ratio to torch\n")
    print("| | training iteration | its CPU time | predicted patch | its CPU time |")
    print("| --- | --- | --- | --- | --- |")
    median = {name: np.median(times, axis=0).ravel() for name, times in seconds.items()}
    for name, times in median.items():
        cells = [f"{t:.3f} ({t / of:.2f})" for t, of in zip(times, median["torch"])]
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
