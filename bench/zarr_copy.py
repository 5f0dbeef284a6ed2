"""Block-wise copy of a Zarr store: `unet3d convert` beside dask with zarr-python.

    python bench/zarr_copy.py [--slices 4096] [--threads 2] [--repeat 3] [--folder /tmp]

Needs numpy, zarr 3 and dask[array]. Both copy the same store into one of the same chunks, shards
and codec (zstd of zarr-python's default level), with the same number of threads, in turn. The
volume is 256 pixels wide and high, so that `convert` makes no smaller levels. The last line is the
codec's own share: decompressing and compressing all chunks in memory, by zarr-python's codec.
"""

import argparse
import json
import pathlib
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

import dask
import dask.array
import numpy as np
import zarr
from numcodecs import Zstd
from zarr_volume import write

WIDTH = 256


def timed(repeat, works):
    """The least time of each work; they take turns."""
    times = {name: [] for name in works}
    for _ in range(repeat):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            times[name].append(time.perf_counter() - start)
    return {name: min(found) for name, found in times.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=4096, help="of 256 × 256 pixels, 2 bytes each")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--folder", type=pathlib.Path, help="where the stores stand meanwhile")
    parser.add_argument("--program", default="target/release/unet3d")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        folder = pathlib.Path(folder)
        source, ours, copy = (folder / f"{name}.zarr" for name in ("source", "ours", "dask"))
        shape = (options.slices, WIDTH, WIDTH)
        flags = ["--threads", str(options.threads), "--overwrite", "-q"]

        def with_unet3d(store=source):
            subprocess.run([options.program, "convert", str(store), str(ours), *flags], check=True)

        # The chunks that `convert` makes of this shape, so that both write the same.
        probe = folder / "probe.zarr"
        zarr.create_array(probe, shape=shape, dtype="uint16", chunks=(64, 256, 256))
        with_unet3d(probe)
        made = zarr.open_array(ours / "0", mode="r")
        chunks, shards = made.chunks, made.shards
        source_array = write(source, shape, chunks, shards)

        def with_dask():
            array = dask.array.from_zarr(str(source), chunks=shards or chunks)
            target = zarr.create_array(
                copy, shape=shape, dtype="uint16", chunks=chunks, shards=shards, overwrite=True
            )
            dask.array.store(array, target, lock=False)

        zstd = Zstd(level=0)
        packed = [
            zstd.encode(np.ascontiguousarray(source_array[z : z + chunks[0], y : y + chunks[1], x : x + chunks[2]]))
            for z in range(0, shape[0], chunks[0])
            for y in range(0, WIDTH, chunks[1])
            for x in range(0, WIDTH, chunks[2])
        ]

        def codec():
            with ThreadPoolExecutor(options.threads) as pool:
                list(pool.map(lambda chunk: Zstd(level=0).encode(Zstd(level=0).decode(chunk)), packed))

        works = {"unet3d convert": with_unet3d, "dask + zarr-python": with_dask, "codec alone": codec}
        with dask.config.set(scheduler="threads", num_workers=options.threads):
            results = timed(options.repeat, works)
        for z in range(0, shape[0], 256):
            wanted = source_array[z : z + 256]
            assert np.array_equal(zarr.open_array(ours / "0", mode="r")[z : z + 256], wanted)
            assert np.array_equal(zarr.open_array(copy, mode="r")[z : z + 256], wanted)
        size = float(np.prod(shape)) * 2 / 1e6
        print(json.dumps({"shape": shape, "chunks": chunks, "shards": shards, "threads": options.threads}))
        for name, seconds in results.items():
            print(f"{name}: {seconds:.2f} s, {size / seconds:.0f} MB/s")


if __name__ == "__main__":
    main()
