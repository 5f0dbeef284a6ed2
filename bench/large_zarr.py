"""Predicts an OME-Zarr store that is larger than memory, and tells time and peak memory.

    python bench/large_zarr.py [--size 2560,2048,2048] [--threads 2] [--folder /data]

Needs numpy and zarr 3. The volume is made of eight generated shards and copies of them: uint16, chunks of 64³ in shards of
256³, 21 GB with the default size. The network is the smallest of the family, one level of one
feature map, so that reading and writing are what is measured; the probabilities are written as
uint8, again in shards. `--limit` sets the memory in MiB that the program may take
(1500 for the claim of the documentation): more is an error of this script.
"""

import argparse
import os
import pathlib
import subprocess
import tempfile
import time

import numpy as np
import zarr
from zarr_volume import write_large, write_small

CONFIG = """
manual_seed: 1
model_path: {folder}/run/last_checkpoint.pytorch
device: cpu
model: {{name: UNet3D, in_channels: 1, out_channels: 1, f_maps: [1], layer_order: c, is_segmentation: true, final_sigmoid: true}}
trainer: {{checkpoint_dir: {folder}/run, iters: 1, validate_after_iters: 1}}
optimizer: {{learning_rate: 0.001, weight_decay: 0}}
loss: {{name: BCEWithLogitsLoss}}
eval_metric: {{name: MSE}}
predictor: {{name: LazyPredictor, patch_halo: [2, 2, 2], output_format: zarr, output_dtype: uint8}}
loaders:
  dataset: LazyHDF5Dataset
  num_workers: 2
  output_dir: {folder}/out
  test:
    file_paths: ['{folder}/volume.zarr']
    slice_builder: {{name: SliceBuilder, patch_shape: [64, 128, 128], stride_shape: [60, 124, 124], skip_shape_check: true}}
    transformer: {{raw: [{{name: Standardize}}, {{name: ToTensor, expand_dims: true}}]}}
  train: &data
    file_paths: [{{raw: '{folder}/train.zarr', label: '{folder}/train_label.zarr'}}]
    slice_builder: {{name: SliceBuilder, patch_shape: [16, 32, 32], stride_shape: [16, 32, 32], skip_shape_check: true}}
    transformer:
      raw: [{{name: Standardize}}, {{name: ToTensor, expand_dims: true}}]
      label: [{{name: ToTensor, expand_dims: true}}]
  val: {{<<: *data, file_paths: [{{raw: '{folder}/val.zarr', label: '{folder}/val_label.zarr'}}]}}
"""


def run(program, verb, config, threads):
    """Runs a command; returns seconds and peak memory in MiB."""
    start = time.perf_counter()
    process = subprocess.Popen([program, verb, "--config", str(config), "--threads", str(threads), "-q"])
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, f"{verb} ended with {os.waitstatus_to_exitcode(status)}"
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="2560,2048,2048", help="depth, height and width")
    parser.add_argument("--shard", type=int, default=256, help="edge of a shard of the input")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--limit", type=float, help="MiB that the program may take")
    parser.add_argument("--folder", type=pathlib.Path, help="where the stores stand meanwhile")
    parser.add_argument("--program", default="target/release/unet3d")
    options = parser.parse_args()
    size = tuple(int(n) for n in options.size.split(","))
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        folder = pathlib.Path(folder)
        write_small(folder)
        start = time.perf_counter()
        chunk = min(64, options.shard)
        volume = write_large(folder / "volume.zarr", size, (chunk,) * 3, (options.shard,) * 3)
        gigabytes = float(np.prod(size)) * 2 / 1e9
        print(f"{size} uint16, {gigabytes:.2f} GB, written in {time.perf_counter() - start:.0f} s", flush=True)
        config = folder / "config.yaml"
        config.write_text(CONFIG.format(folder=folder))
        run(options.program, "train", config, options.threads)
        seconds, peak = run(options.program, "predict", config, options.threads)
        found = zarr.open_array(folder / "out/volume_predictions.zarr/0", mode="r")
        assert found.shape == (1, *volume.shape) and found.dtype == np.uint8, (found.shape, found.dtype)
        print(f"predicted in {seconds:.0f} s ({gigabytes * 1e3 / seconds:.1f} MB/s of the input)")
        print(f"peak memory {peak:.0f} MiB; chunks {found.chunks}, shards {found.shards}")
        if options.limit and peak > options.limit:
            raise SystemExit(f"more than {options.limit:.0f} MiB")


if __name__ == "__main__":
    main()
