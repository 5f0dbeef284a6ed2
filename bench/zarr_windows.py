"""Training windows from Zarr: samples a second of the program's loader beside zarr-python in
torch's DataLoader with as many workers.

    cargo bench --bench samples --no-run          # prints the path of the program
    .venv/bin/python bench/zarr_windows.py FOLDER PROGRAM [--size 512] [--workers 2]

Writes a volume of smooth noise (uint16) and labels (uint8) to FOLDER with zarr-python, chunks of
64³ in shards of 256³, zstd of the default level, and removes them afterwards. Both sides read the same windows, raw and
label, in a random order, scale raw to mean 0 and deviation 1 as float32, labels to int64, and keep
decoded chunks up to the same number of bytes (320 MiB in all: the program's workers share them,
those of the DataLoader have an equal part each). Rounds alternate.
"""

import argparse
import collections
import itertools
import pathlib
import re
import shutil
import subprocess
import time

import numpy as np
import torch
import zarr
from zarr_volume import write

CACHE = 320 << 20
PATCH = (64, 96, 96)
STRIDE = (32, 48, 48)

CONFIG = """
loaders:
  dataset: LazyHDF5Dataset
  batch_size: 1
  num_workers: {workers}
  train:
    file_paths: [{{raw: '{folder}/raw.zarr', label: '{folder}/label.zarr'}}]
    slice_builder: {{name: SliceBuilder, patch_shape: {patch}, stride_shape: {stride}, skip_shape_check: true}}
    transformer:
      raw: [{{name: Standardize}}, {{name: ToTensor, expand_dims: true}}]
      label: [{{name: ToTensor, expand_dims: false, dtype: long}}]
"""


def write_volumes(folder, size):
    """Raw data and labels, in as large shards as the size allows."""
    shard = max(n for n in (64, 128, 256) if n <= max(size, 64))
    write(folder / "raw.zarr", (size,) * 3, (64,) * 3, (shard,) * 3)
    write(folder / "label.zarr", (size,) * 3, (64,) * 3, (shard,) * 3, dtype="uint8", labels=True)


class Chunks:
    """An array with decoded chunks kept, those that were not used for longest dropped."""

    def __init__(self, path, limit):
        self.array, self.limit = zarr.open_array(path, mode="r"), limit
        self.kept, self.bytes = collections.OrderedDict(), 0

    def chunk(self, number):
        if number in self.kept:
            self.kept.move_to_end(number)
            return self.kept[number]
        place = tuple(slice(i * c, (i + 1) * c) for i, c in zip(number, self.array.chunks))
        chunk = self.array[place]
        self.kept[number] = chunk
        self.bytes += chunk.nbytes
        while self.bytes > self.limit:
            self.bytes -= self.kept.popitem(last=False)[1].nbytes
        return chunk

    def window(self, origin, size):
        out = np.empty(size, self.array.dtype)
        chunks = self.array.chunks
        numbers = [range(o // c, (o + s - 1) // c + 1) for o, s, c in zip(origin, size, chunks)]
        for number in itertools.product(*numbers):
            chunk = self.chunk(number)
            first = [i * c for i, c in zip(number, chunks)]
            low = [max(o, f) for o, f in zip(origin, first)]
            high = [min(o + s, f + n) for o, s, f, n in zip(origin, size, first, chunk.shape)]
            to = tuple(slice(a - o, b - o) for a, b, o in zip(low, high, origin))
            of = tuple(slice(a - f, b - f) for a, b, f in zip(low, high, first))
            out[to] = chunk[of]
        return out


class Windows(torch.utils.data.Dataset):
    def __init__(self, folder, origins, cache, mean, std):
        self.folder, self.origins, self.cache = folder, origins, cache
        self.mean, self.std, self.raw, self.label = mean, std, None, None

    def __len__(self):
        return len(self.origins)

    def __getitem__(self, index):
        if self.raw is None:
            # Of uint16 and uint8: their parts of the cache.
            self.raw = Chunks(self.folder / "raw.zarr", self.cache * 2 // 3)
            self.label = Chunks(self.folder / "label.zarr", self.cache // 3)
        origin = self.origins[index]
        raw = self.raw.window(origin, PATCH).astype(np.float32)
        label = self.label.window(origin, PATCH).astype(np.int64)
        return torch.from_numpy((raw - self.mean) / self.std)[None], torch.from_numpy(label)


def python_rate(folder, origins, count, workers):
    zarr.config.set({"threading.max_workers": 1, "async.concurrency": 1})
    torch.set_num_threads(1)
    windows = Windows(folder, origins, CACHE // max(workers, 1), 1000.0, 210.0)
    loader = torch.utils.data.DataLoader(
        windows,
        batch_size=1,
        shuffle=True,
        num_workers=workers,
        generator=torch.Generator().manual_seed(0),
    )
    start = time.perf_counter()
    for _ in itertools.islice(loader, count):
        pass
    return count / (time.perf_counter() - start)


def our_rate(program, config, count):
    text = subprocess.run([program, config, str(count), "--loader"], check=True, capture_output=True, text=True).stdout
    return float(re.search(r"worker\(s\): ([\d.]+) samples/s", text).group(1))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("program", help="what `cargo bench --bench samples --no-run` prints")
    parser.add_argument("--size", type=int, default=512, help="edge of the volume")
    parser.add_argument("--count", type=int, default=300, help="samples of a round")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    folder = options.folder / "zarr_windows"
    folder.mkdir(parents=True)
    try:
        write_volumes(folder, options.size)
        starts = [range(0, options.size - p + 1, s) for p, s in zip(PATCH, STRIDE)]
        origins = list(itertools.product(*starts))
        config = folder / "config.yaml"
        config.write_text(
            CONFIG.format(folder=folder, workers=options.workers, patch=list(PATCH), stride=list(STRIDE))
        )
        count = min(options.count, len(origins))
        print(f"{len(origins)} windows, {count} a round, {options.workers} workers")
        for _ in range(options.rounds):
            ours = our_rate(options.program, config, count)
            python = python_rate(folder, origins, count, options.workers)
            print(f"unet3d {ours:.1f} samples/s, zarr-python and DataLoader {python:.1f} ({ours / python:.2f} times)")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
