"""A volume of smooth structures with noise in a Zarr store, written slab by slab."""

import shutil

import numpy as np
import zarr


def write(path, shape, chunks, shards=None, dtype="uint16", labels=False):
    """Writes the array (D, H, W) that `unet3d` reads as `path`: counts of photons around waves
    of a mean of 1000, or with `labels` where the waves are high."""
    array = zarr.create_array(path, shape=shape, dtype=dtype, chunks=chunks, shards=shards)
    generator = np.random.default_rng(1)
    depth, height, width = shape
    y, x = np.mgrid[:height, :width].astype("float32")
    plane = np.sin(y / 17) * np.cos(x / 13)
    step = (shards or chunks)[0]
    for z in range(0, depth, step):
        slab = np.empty((min(step, depth - z), height, width), dtype)
        for number in range(len(slab)):
            wave = np.sin((z + number) / 9) + plane
            if labels:
                slab[number] = wave > 0.5
            else:
                # Nearly Poisson's, and faster.
                mean = 1000 + 300 * wave
                slab[number] = mean + np.sqrt(mean) * generator.standard_normal(mean.shape, "float32")
        array[z : z + step] = slab
    return array


def write_large(path, shape, chunks, shards, distinct=8):
    """As `write`, of whole shards: some are made, and their files stand for all others too."""
    template = path.with_name(path.name + ".template")
    made = (distinct * shards[0], *shards[1:])
    write(template, made, chunks, shards)
    array = zarr.create_array(path, shape=shape, dtype="uint16", chunks=chunks, shards=shards)
    counts = [size // shard for size, shard in zip(shape, shards, strict=True)]
    assert [count * shard for count, shard in zip(counts, shards)] == list(shape), "whole shards"
    for number, (z, y, x) in enumerate(np.ndindex(*counts)):
        place = path / "c" / str(z) / str(y) / str(x)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(template / "c" / str(number % distinct) / "0" / "0", place)
    shutil.rmtree(template)
    return array


def write_small(folder):
    """Volumes to train a network on: `train`, `train_label`, `val` and `val_label`."""
    for name in ("train", "val"):
        shape = (32, 64, 64)
        write(folder / f"{name}.zarr", shape, shape)
        write(folder / f"{name}_label.zarr", shape, shape, dtype="uint8", labels=True)
