"""What training on several processes costs on one machine.

    python bench/ranks.py [--program target/release/unet3d] [--rounds 3] [--iterations 20]

First: one process of two threads against two processes of one thread, in turn, on UNet3D with
f_maps 32 and patches of 32×64×64; a step has two samples in both. Seconds are those of the
program's own `-v` lines, after the first of them, and the share of a step that rank 0 spends
in sums and in waiting for the other.

Then: what summing takes for networks of about 4, 16 and 65 million parameters (f_maps 32, 64,
128) on two processes, with patches as small as they can be.
"""

import argparse
import os
import pathlib
import platform
import re
import statistics
import subprocess
import tempfile

import h5py
import numpy as np

CONFIG = """
manual_seed: 0
device: cpu
model: {{name: UNet3D, in_channels: 1, out_channels: 2, f_maps: {f_maps}, num_groups: 8, final_sigmoid: false}}
trainer: {{checkpoint_dir: {folder}/run, validate_after_iters: 1000000, log_after_iters: {log}, iters: {iters}, epochs: 1000000, skip_train_validation: true}}
optimizer: {{learning_rate: 0.0001, weight_decay: 0}}
loss: {{name: CrossEntropyLoss}}
eval_metric: {{name: MeanIoU}}
loaders:
  batch_size: {batch}
  num_workers: 1
  train: {{file_paths: [{folder}/data.h5], slice_builder: &slices {{name: SliceBuilder, patch_shape: {patch}, stride_shape: {patch}, skip_shape_check: true}},
    transformer: &plain {{raw: [{{name: Normalize}}, {{name: ToTensor, expand_dims: true}}], label: [{{name: ToTensor, expand_dims: false, dtype: long}}]}}}}
  val: {{file_paths: [{folder}/val.h5], slice_builder: *slices, transformer: *plain}}
"""


def run(options, folder, processes, threads, f_maps, patch, batch, iterations):
    """Means of the parts of an iteration in seconds, without the first block of them."""
    log = max(iterations // 4, 1)
    (folder / "train.yaml").write_text(CONFIG.format(
        folder=folder, f_maps=f_maps, patch=list(patch), batch=batch, iters=log * 5, log=log,
    ))
    command = [options.program, "train", "--config", str(folder / "train.yaml"), "--overwrite", "-v"]
    command += [f"--processes={processes}", f"--threads={threads}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={"PATH": os.environ["PATH"]})
    lines = re.findall(r"([\d.]+) s per iteration: (.*)", done.stdout)
    assert len(lines) == 5, done.stdout
    blocks = []
    for total, text in lines[1:]:
        parts = dict(re.findall(r"([a-z ]+?) ([\d.]+)", text.split(";")[0]))
        parts = {name.strip(): float(value) for name, value in parts.items()}
        # What TensorBoard gets belongs to the logs, which are rare.
        total = float(total) - parts.get("logging", 0.0)
        blocks.append((total, parts.get("waiting", 0.0), parts.get("summing", 0.0)))
    parameters = int(re.search(r"with (\d+) parameters", done.stdout).group(1))
    return [statistics.median(column) for column in zip(*blocks)], parameters


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--program", default="target/release/unet3d")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--iterations", type=int, default=20)
    options.add_argument("--only", choices=["step", "sums"])
    options = options.parse_args()
    options.program = str(pathlib.Path(options.program).resolve())
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if "model name" in line), platform.machine())
    print(f"{cpu}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        random = np.random.default_rng(0)
        for name, shape in (("data", (32, 128, 256)), ("val", (32, 64, 64))):
            with h5py.File(folder / f"{name}.h5", "w") as file:
                file["raw"] = random.normal(size=shape).astype("float32")
                file["label"] = (random.random(shape) > 0.5).astype("uint8")
        if options.only != "sums":
            sides = {"1 process, 2 threads": (1, 2, 2), "2 processes, 1 thread": (2, 1, 1)}
            seconds = {side: [] for side in sides}
            for _ in range(options.rounds):
                for side, (processes, threads, batch) in sides.items():
                    (total, waiting, summing), _ = run(
                        options, folder, processes, threads, 32, (32, 64, 64), batch, options.iterations)
                    seconds[side].append((total / 2, waiting / total, summing / total))
            print(f"seconds a sample, f_maps 32, patch 32×64×64, {options.rounds} rounds in turn")
            for side, rounds in seconds.items():
                a, waiting, summing = (statistics.median(column) for column in zip(*rounds))
                spread = f"{min(r[0] for r in rounds):.3f}–{max(r[0] for r in rounds):.3f}"
                print(f"  {side}: {a:.3f} ({spread}), waiting {waiting:.1%}, summing {summing:.1%} of a step")
        if options.only != "step":
            print("seconds of a sum of all gradients over 2 processes")
            for f_maps in (32, 64, 128):
                (total, waiting, summing), parameters = run(
                    options, folder, 2, 1, f_maps, (8, 16, 16), 1, 8)
                rate = parameters * 4 / summing / 1e9
                print(f"  {parameters / 1e6:.1f} million parameters: {summing:.4f} s ({rate:.2f} GB/s), waiting {waiting:.4f} s, step {total:.3f} s")


if __name__ == "__main__":
    main()
