"""Checks that the memory of long runs of `unet3d train` and `unet3d predict` does not grow.

    python tests/soak/memory.py [--iterations 5000] [--volumes 2000] [--program target/release/unet3d]

VmRSS of /proc/PID/status is sampled every 20 ms. Because it varies with every checkpoint and
every batch, the check uses medians over each hundred iterations or predicted volumes. Buffers
of all sizes that a run needs are there after some hundreds of steps, so from a fifth of the
run on the medians must stay within 1 % of the first of them; the growth since the second
hundred is printed beside it.
"""

import argparse
import os
import pathlib
import re
import statistics
import subprocess
import tempfile
import time

import h5py
import numpy as np

CONFIG = """
manual_seed: 7
model_path: {folder}/train/last_checkpoint.pytorch
device: cpu
model: {{name: UNet3D, in_channels: 1, out_channels: 2, f_maps: 8, num_levels: 2, num_groups: 4}}
trainer:
  checkpoint_dir: {folder}/train
  epochs: 1000000
  iters: {iterations}
  validate_after_iters: 50
  log_after_iters: 10
optimizer: {{learning_rate: 0.001, weight_decay: 0}}
loss: {{name: CrossEntropyLoss}}
eval_metric: {{name: MeanIoU}}
lr_scheduler: {{name: ReduceLROnPlateau, mode: max, factor: 0.9, patience: 10}}
predictor: {{patch_halo: [1, 2, 2]}}
loaders:
  dataset: {dataset}
  num_workers: 2
  output_dir: {folder}/predictions
  test: {{file_paths: ['{folder}/volumes'], slice_builder: &slices {{name: SliceBuilder, patch_shape: [8, 16, 16], stride_shape: [5, 9, 9], skip_shape_check: true}},
    transformer: {{raw: [{{name: Standardize}}, {{name: ToTensor, expand_dims: true}}]}}}}
  train: {{file_paths: ['{folder}/train.h5'], slice_builder: *slices,
    transformer: {{raw: [{{name: Standardize}}, {{name: RandomFlip}}, {{name: ElasticDeformation, spline_order: 3, execution_probability: 0.2}}, {{name: ToTensor, expand_dims: true}}],
      label: [{{name: RandomFlip}}, {{name: ElasticDeformation, spline_order: 0, execution_probability: 0.2}}, {{name: ToTensor, expand_dims: false, dtype: long}}]}}}}
  val: {{file_paths: ['{folder}/val.h5'], slice_builder: *slices,
    transformer: {{raw: [{{name: Standardize}}, {{name: ToTensor, expand_dims: true}}], label: [{{name: ToTensor, expand_dims: false, dtype: long}}]}}}}
"""


def make(path, seed, shape, label=False):
    generator = np.random.default_rng(seed)
    raw = generator.normal(size=shape).astype("float32")
    with h5py.File(path, "w") as file:
        file["raw"] = raw
        if label:
            file["label"] = (raw > 0).astype("uint8")


def rss(pid):
    """(resident, of which not backed by a file) in KiB; `None` if the process is gone."""
    try:
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    found = [re.search(rf"{name}:\s+(\d+)", status) for name in ("VmRSS", "RssAnon")]
    return tuple(int(match[1]) for match in found) if all(found) else None


def watch(command, done):
    """Runs the command; for each hundred steps begun, all that was seen of its memory."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        seen = {}
        while process.poll() is None:
            if memory := rss(process.pid):
                seen.setdefault(done() // 100 * 100, []).append(memory)
            time.sleep(0.02)
        log.seek(0)
        assert process.returncode == 0, log.read().decode()
    return seen


def judge(what, seen, total):
    # What follows the last step is the end of the program, no step of its own.
    steps = sorted(step for step in seen if 100 <= step < total)
    middle = {step: statistics.median(all for all, _ in seen[step]) for step in steps}
    first = middle[steps[0]]
    for step in steps[:: max(1, len(steps) // 12)]:
        anonymous = statistics.median(anonymous for _, anonymous in seen[step])
        highest = max(all for all, _ in seen[step])
        print(
            f"  from {step:5}: median {middle[step]:8.0f} KiB {100 * (middle[step] / first - 1):+6.2f} %, "
            f"of which anonymous {anonymous:8.0f}; highest {highest}"
        )
    settled = [step for step in steps if step >= total // 5]
    worst = max(middle[step] / middle[settled[0]] - 1 for step in settled)
    last = middle[steps[-1]] / first - 1
    print(
        f"{what}: {first / 1024:.1f} MiB from {steps[0]}, {100 * last:+.2f} % from {steps[-1]}; "
        f"since {settled[0]} at most {100 * worst:+.2f} %",
        flush=True,
    )
    return worst <= 0.01


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--iterations", type=int, default=5000)
    options.add_argument("--volumes", type=int, default=2000)
    options.add_argument("--dataset", default="StandardHDF5Dataset")
    options.add_argument("--program", default="target/release/unet3d")
    options = options.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "volumes").mkdir()
        for number in range(options.volumes):
            make(folder / "volumes" / f"t{number}.h5", number, (8, 16, 24))
        for number, name in enumerate(("train", "val")):
            make(folder / f"{name}.h5", 10000 + number, (10, 24, 24), label=True)
        path = folder / "run.yml"
        path.write_text(
            CONFIG.format(folder=folder, iterations=options.iterations, dataset=options.dataset)
        )

        def command(verb):
            return [options.program, verb, "--config", str(path), "--threads", "1"]

        # The checkpoint of every validation tells how far the run is.
        last = folder / "train" / "last_checkpoint.pytorch"
        seen = {"time": 0, "count": 0}

        def validations():
            now = last.stat().st_mtime_ns if last.exists() else 0
            if now != seen["time"]:
                seen.update(time=now, count=seen["count"] + 1)
            return 50 * seen["count"]

        start = time.time()
        good = judge(
            "train, iterations", watch(command("train"), validations), options.iterations
        )
        print(f"  {time.time() - start:.0f} s")
        start = time.time()
        out = folder / "predictions"

        def volumes():
            return len(os.listdir(out)) if out.exists() else 0

        good &= judge("predict, volumes", watch(command("predict"), volumes), options.volumes)
        print(f"  {time.time() - start:.0f} s")
        assert good, "memory grew"


main()
