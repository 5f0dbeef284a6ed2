"""Block-wise copy of a Zarr store: `unet3d convert` beside dask with zarr-python.

    python bench/zarr_copy.py [--slices 4096] [--threads 2] [--repeat 3]

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

WIDTH = 256


def make(path, slices, chunks, shards):
    """Smooth structures with noise, as a microscope sees them."""
    array = zarr.create_array(path, shape=(slices, WIDTH, WIDTH), dtype="uint16", chunks=chunks, shards=shards)
    generator = np.random.default_rng(1)
    y, x = np.mgrid[:WIDTH, :WIDTH]
    step = (shards or chunks)[0]
    for z in range(0, slices, step):
        depth = np.arange(z, min(z + step, slices))[:, None, None]
        wave = 300 * (np.sin(depth / 9) + np.sin(y / 17) * np.cos(x / 13)) + 1000
        array[z : z + step] = generator.poisson(wave.clip(0)).astype("uint16")


def timed(repeat, work, *arguments):
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        work(*arguments)
        times.append(time.perf_counter() - start)
    return min(times)


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--slices", type=int, default=4096)
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--repeat", type=int, default=3)
    options.add_argument("--program", default="target/release/unet3d")
    options = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        source = folder / "source.zarr"
        # The chunks that `convert` makes of this shape, so that both write the same.
        probe = folder / "probe.zarr"
        shape = (options.slices, WIDTH, WIDTH)
        zarr.create_array(probe, shape=shape, dtype="uint16", chunks=(64, 256, 256))
        ours = folder / "ours.zarr"
        flags = ["--threads", str(options.threads), "--overwrite", "-q"]
        subprocess.run([options.program, "convert", str(probe), str(ours), *flags], check=True)
        made = zarr.open_array(ours / "0", mode="r")
        chunks, shards = made.chunks, made.shards
        make(source, options.slices, chunks, shards)
        copy = folder / "dask.zarr"

        def with_unet3d():
            subprocess.run([options.program, "convert", str(source), str(ours), *flags], check=True)

        def with_dask():
            array = dask.array.from_zarr(source)
            target = zarr.create_array(
                copy, shape=shape, dtype="uint16", chunks=chunks, shards=shards, overwrite=True
            )
            array.rechunk(shards or chunks).store(target, lock=False)

        def codec():
            zstd = Zstd(level=0)

            def one(chunk):
                return zstd.encode(zstd.decode(chunk))

            with ThreadPoolExecutor(options.threads) as pool:
                list(pool.map(one, packed))

        source_array = zarr.open_array(source, mode="r")
        packed = [
            Zstd(level=0).encode(np.ascontiguousarray(source_array[z : z + chunks[0], y : y + chunks[1], x : x + chunks[2]]))
            for z in range(0, shape[0], chunks[0])
            for y in range(0, WIDTH, chunks[1])
            for x in range(0, WIDTH, chunks[2])
        ]
        size = np.prod(shape) * 2 / 1e6
        with dask.config.set(scheduler="threads", num_workers=options.threads):
            results = {
                "unet3d convert": timed(options.repeat, with_unet3d),
                "dask + zarr-python": timed(options.repeat, with_dask),
                "codec alone": timed(options.repeat, codec),
            }
        assert np.array_equal(zarr.open_array(ours / "0", mode="r")[:64], source_array[:64])
        print(json.dumps({"shape": shape, "chunks": chunks, "shards": shards, "threads": options.threads}))
        for name, seconds in results.items():
            print(f"{name}: {seconds:.2f} s, {size / seconds:.0f} MB/s")


main()
