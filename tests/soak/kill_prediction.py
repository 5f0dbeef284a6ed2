"""Kills `unet3d predict` at random moments and checks that every output is complete.

    python tests/soak/kill_prediction.py [--volumes 300] [--program target/release/unet3d]

After each `kill -9` the run continues with `--skip-existing`. At the end every volume has a
prediction that equals the one of an uninterrupted run bit for bit, and no unfinished file is
left over.
"""

import argparse
import pathlib
import random
import subprocess
import tempfile
import time

import h5py
import numpy as np

CONFIG = """
model_path: {folder}/run/last_checkpoint.pytorch
device: cpu
model: {{name: UNet3D, in_channels: 1, out_channels: 2, f_maps: 8, num_levels: 2, num_groups: 4}}
trainer: {{checkpoint_dir: {folder}/run, iters: 1, validate_after_iters: 1}}
optimizer: {{learning_rate: 0.001, weight_decay: 0}}
loss: {{name: CrossEntropyLoss}}
predictor: {{patch_halo: [1, 2, 2]}}
loaders:
  output_dir: {folder}/{name}
  test: {{file_paths: ['{folder}/volumes'], slice_builder: &slices {{name: SliceBuilder, patch_shape: [8, 16, 16], stride_shape: [5, 9, 9], skip_shape_check: true}},
    transformer: {{raw: [{{name: Standardize}}, {{name: ToTensor, expand_dims: true}}]}}}}
  train: &data {{file_paths: ['{folder}/train.h5'], slice_builder: *slices,
    transformer: {{raw: [{{name: Standardize}}, {{name: ToTensor, expand_dims: true}}], label: [{{name: ToTensor, expand_dims: false, dtype: long}}]}}}}
  val: {{<<: *data, file_paths: ['{folder}/val.h5']}}
"""


def make(path, seed, label=False):
    generator = np.random.default_rng(seed)
    raw = generator.normal(size=(10, 24, 24)).astype("float32")
    with h5py.File(path, "w") as file:
        file["raw"] = raw
        if label:
            file["label"] = (raw > 0).astype("uint8")


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--volumes", type=int, default=300)
    options.add_argument("--program", default="target/release/unet3d")
    options = options.parse_args()
    random.seed(1)

    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "volumes").mkdir()
        for number in range(options.volumes):
            make(folder / "volumes" / f"t{number}.h5", number)
        for number, name in enumerate(("train", "val")):
            make(folder / f"{name}.h5", 1000 + number, label=True)

        def command(verb, name, *more):
            path = folder / f"{name}.yaml"
            path.write_text(CONFIG.format(folder=folder, name=name))
            return [options.program, verb, "--config", str(path), "--threads", "1", "-q", *more]

        subprocess.run(command("train", "train"), check=True)
        subprocess.run(command("predict", "undisturbed"), check=True)
        out = folder / "killed"
        kills, torn, seen = 0, 0, set()
        while True:
            process = subprocess.Popen(command("predict", "killed", "--skip-existing"))
            before = len(list(out.glob("*.h5")))
            deadline = time.time() + 60
            # At least one more, so that the end comes.
            while process.poll() is None and len(list(out.glob("*.h5"))) <= before:
                assert time.time() < deadline, "no result within a minute"
                time.sleep(0.002)
            time.sleep(random.uniform(0, 0.1))
            if process.poll() is not None:
                assert process.returncode == 0, process.returncode
                break
            process.kill()
            process.wait()
            kills += 1
            left = {path.name for path in out.glob(".*.partial")}
            torn += len(left - seen)
            seen |= left
            for path in out.glob("*.h5"):
                with h5py.File(path) as file:
                    assert file["predictions"].shape == (2, 10, 24, 24)

        assert not list(out.glob(".*")), "unfinished files are left over"
        for number in range(options.volumes):
            name = f"t{number}_predictions.h5"
            with h5py.File(out / name) as a, h5py.File(folder / "undisturbed" / name) as b:
                assert np.array_equal(a["predictions"][:], b["predictions"][:]), name
        print(
            f"{options.volumes} volumes, {kills} kills, {torn} in the midst of a file: "
            "all outputs whole and those of an undisturbed run"
        )


main()
