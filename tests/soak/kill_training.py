"""Kills `unet3d train` at random moments and checks that nothing is lost.

    python tests/soak/kill_training.py [--kills 120] [--program target/release/unet3d]

A small network writes a checkpoint after every iteration, so that some kills happen during
a write. After each `kill -9` torch loads every checkpoint of the folder, and the next run
continues from the last one. At the end, the weights and the optimizer's state must equal
those of an uninterrupted run bit for bit.
"""

import argparse
import pathlib
import random
import subprocess
import tempfile
import time

import h5py
import numpy as np
import torch

CONFIG = """
manual_seed: 7
device: cpu
model: {{name: UNet3D, in_channels: 1, out_channels: 2, f_maps: 8, num_levels: 2, num_groups: 4}}
trainer:
  checkpoint_dir: {folder}/{name}
  resume: {folder}/{name}/last_checkpoint.pytorch
  epochs: 1000000
  iters: {iters}
  validate_after_iters: 1
  log_after_iters: 1
  checkpoint_after_iters: 50
optimizer: {{algorithm: Adam, learning_rate: 0.001, weight_decay: 0.0001}}
loss: {{name: CrossEntropyLoss}}
eval_metric: {{name: MeanIoU}}
lr_scheduler: {{name: StepLR, step_size: 100, gamma: 0.9}}
loaders:
  num_workers: 2
  train: {{file_paths: ['{folder}/train.h5'], slice_builder: &slices {{name: SliceBuilder, patch_shape: [8, 16, 16], stride_shape: [8, 16, 16], skip_shape_check: true}},
    transformer: {{raw: [{{name: Standardize}}, {{name: RandomFlip}}, {{name: ToTensor, expand_dims: true}}], label: [{{name: RandomFlip}}, {{name: ToTensor, expand_dims: false, dtype: long}}]}}}}
  val: {{file_paths: ['{folder}/val.h5'], slice_builder: *slices,
    transformer: {{raw: [{{name: Standardize}}, {{name: ToTensor, expand_dims: true}}], label: [{{name: ToTensor, expand_dims: false, dtype: long}}]}}}}
"""


def make_data(path, seed, depth):
    generator = np.random.default_rng(seed)
    raw = generator.normal(size=(depth, 32, 32)).astype("float32")
    with h5py.File(path, "w") as file:
        file["raw"] = raw
        file["label"] = (raw > 0.5).astype("uint8")


def same(a, b, where=""):
    """Asserts that two values are equal to the last bit."""
    if isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            same(a[key], b[key], f"{where}.{key}")
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), where
        for index, (x, y) in enumerate(zip(a, b)):
            same(x, y, f"{where}[{index}]")
    elif torch.is_tensor(a):
        assert torch.equal(a, b), where
    else:
        assert a == b, (where, a, b)


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--kills", type=int, default=120)
    options.add_argument("--program", default="target/release/unet3d")
    options = options.parse_args()
    random.seed(1)
    started, torn = 0, set()

    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        make_data(folder / "train.h5", 1, 16)
        make_data(folder / "val.h5", 2, 8)

        def command(name, iters):
            path = folder / f"{name}.yml"
            path.write_text(CONFIG.format(folder=folder, name=name, iters=iters))
            return [options.program, "train", "--config", str(path), "--threads", "1", "-q"]

        out = folder / "killed"
        last = out / "last_checkpoint.pytorch"
        done = 0
        for kill in range(options.kills):
            process = subprocess.Popen(command("killed", 10**9), stderr=subprocess.PIPE)
            before = last.stat().st_mtime_ns if last.exists() else 0
            deadline = time.time() + 60
            # One in ten is killed while it starts.
            early = last.exists() and kill % 10 == 9
            while not early and not (last.exists() and last.stat().st_mtime_ns != before):
                assert process.poll() is None, process.stderr.read().decode()
                assert time.time() < deadline, "no checkpoint within a minute"
                time.sleep(0.005)
            time.sleep(random.uniform(0, 0.5))
            assert process.poll() is None, process.stderr.read().decode()
            process.kill()
            assert process.wait() == -9
            started += 1
            torn |= {path.name for path in out.glob(".*.partial")}
            for path in sorted(out.glob("*.pytorch")):
                state = torch.load(path, map_location="cpu")
                assert all(torch.isfinite(t).all() for t in state["model_state_dict"].values())
                if path == last:
                    assert state["num_iterations"] >= done, "iterations were lost"
                    done = state["num_iterations"]

        iters = done + 5
        for name in ("killed", "undisturbed"):
            subprocess.run(command(name, iters), check=True, stderr=subprocess.PIPE)
        states = [
            torch.load(folder / name / "last_checkpoint.pytorch", map_location="cpu")
            for name in ("killed", "undisturbed")
        ]
        for state in states:
            assert state["num_iterations"] == iters
            for key in ("device", "h5_dir"):
                state.pop(key)
            state["unet3d"].pop("config")  # names the folder
        same(*states)
        left = list(out.glob(".*.partial"))
    print(f"{started} kills over {iters} iterations, {len(torn)} in the midst of a write; nothing lost")
    print(f"unfinished files left in the end: {len(left)}")


if __name__ == "__main__":
    main()
