"""Kills `unet3d predict` at random moments while it makes a Zarr result block by block.

    python tests/soak/kill_zarr.py [--size 512,1024,1024] [--kills 100] [--program target/release/unet3d]

Needs numpy and zarr 3. A volume (uint16; 1 GB with the default size) is predicted once without
disturbance, once by four processes at the same time (`--shard 1/4` to `4/4`), and again and again
with `kill -9` at random moments, each time gone on with by `--skip-existing`, until there were
that many kills. All results must have the same files with the same bytes, and nothing may be left
beside them. The one file that names the folder of the result is not compared.
"""

import argparse
import hashlib
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "bench"))
from zarr_volume import write, write_small

CONFIG = """
manual_seed: 1
model_path: {folder}/run/last_checkpoint.pytorch
device: cpu
model: {{name: UNet3D, in_channels: 1, out_channels: 2, f_maps: {maps}, num_levels: 3, num_groups: 4}}
trainer: {{checkpoint_dir: {folder}/run, iters: 1, validate_after_iters: 1}}
optimizer: {{learning_rate: 0.001, weight_decay: 0}}
loss: {{name: CrossEntropyLoss}}
predictor: {{name: LazyPredictor, patch_halo: [4, 8, 8], output_format: zarr, zarr_version: {version}, block_memory: {block}, save_segmentation: true}}
loaders:
  dataset: LazyHDF5Dataset
  output_dir: {folder}/{name}
  test:
    file_paths: ['{folder}/volume.zarr']
    slice_builder: {{name: SliceBuilder, patch_shape: [32, 64, 64], stride_shape: [24, 48, 48], skip_shape_check: true}}
    transformer: {{raw: [{{name: Standardize}}, {{name: ToTensor, expand_dims: true}}]}}
  train: &data
    file_paths: [{{raw: '{folder}/train.zarr', label: '{folder}/train_label.zarr'}}]
    slice_builder: {{name: SliceBuilder, patch_shape: [16, 32, 32], stride_shape: [16, 32, 32], skip_shape_check: true}}
    transformer:
      raw: [{{name: Standardize}}, {{name: ToTensor, expand_dims: true}}]
      label: [{{name: ToTensor, expand_dims: false, dtype: long}}]
  val: {{<<: *data, file_paths: [{{raw: '{folder}/val.zarr', label: '{folder}/val_label.zarr'}}]}}
"""


def contents(store, version):
    """Hashes of all files of a store but the one that names its folder."""
    own = store / {"0.5": "zarr.json", "0.4": ".zattrs"}[version]
    return {
        path.relative_to(store): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in store.rglob("*")
        if path.is_file() and path != own
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="512,1024,1024", help="depth, height and width")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--maps", type=int, default=8, help="feature maps of the first of three levels")
    parser.add_argument("--block", type=int, default=32, help="MiB of a block")
    parser.add_argument("--longest", type=float, default=60.0, help="seconds until a kill, at most")
    parser.add_argument("--version", choices=["0.4", "0.5"], default="0.5", help="of OME-Zarr")
    parser.add_argument("--folder", type=pathlib.Path, help="where the stores stand meanwhile")
    parser.add_argument("--program", default="target/release/unet3d")
    options = parser.parse_args()
    random.seed(1)
    size = tuple(int(n) for n in options.size.split(","))

    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        folder = pathlib.Path(folder)
        write_small(folder)
        write(folder / "volume.zarr", size, tuple(min(64, n) for n in size))

        def command(verb, name, *more):
            path = folder / f"{name}.yaml"
            path.write_text(
                CONFIG.format(
                    folder=folder, name=name, maps=options.maps, block=options.block, version=options.version
                )
            )
            return [options.program, verb, "--config", str(path), "--threads", "1", "-q", *more]

        def store(name):
            return folder / name / "volume_predictions.zarr"

        subprocess.run(command("train", "train"), check=True)
        start = time.time()
        subprocess.run(command("predict", "undisturbed"), check=True)
        seconds = time.time() - start
        wanted = contents(store("undisturbed"), options.version)
        print(f"{np.prod(size) * 2 / 1e9:.3f} GB in {seconds:.0f} s, {len(wanted)} files", flush=True)

        shards = [f"{number}/4" for number in range(1, 5)]
        running = [subprocess.Popen(command("predict", "four", "--shard", shard)) for shard in shards]
        assert [process.wait() for process in running] == [0] * 4
        assert contents(store("four"), options.version) == wanted, "four processes make another store"
        print("four processes make the same store", flush=True)

        kills, results = 0, 0
        while kills < options.kills or results == 0:
            if store("killed").exists():
                shutil.rmtree(folder / "killed")
            while not store("killed").exists():
                process = subprocess.Popen(command("predict", "killed", "--skip-existing"))
                # Sometimes within a block, sometimes long enough to complete several.
                wait = random.uniform(0, min(options.longest, max(seconds / 4, 0.5)))
                try:
                    assert process.wait(wait) == 0
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
                    kills += 1
            subprocess.run(command("predict", "killed", "--skip-existing"), check=True)
            results += 1
            assert contents(store("killed"), options.version) == wanted, "a chunk is wrong"
            left = [path.name for path in (folder / "killed").iterdir()]
            assert left == ["volume_predictions.zarr"], left
        print(f"{kills} kills, {results} result(s): all bytes are those of the undisturbed run")


if __name__ == "__main__":
    main()
