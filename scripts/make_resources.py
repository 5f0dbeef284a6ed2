"""Makes the small synthetic volumes of resources/ for the parameter files there.

Soft ellipsoids represent nuclei, a Voronoi diagram represents cells that touch. The seeds
are fixed, so the script always gives the same values.

    random3D, random3D_val          raw (D, H, W), label 0/1, random: raw without noise
    random4D, random4D_val          raw (3, D, H, W), label (D, H, W) 0/1
    sample_cells, sample_cells_val  raw (D, H, W) bright at cell walls, label: instances
    sample_cells_2d, .._2d_val      the same as one slice, (1, H, W)
"""

from pathlib import Path

import h5py
import numpy as np

RESOURCES = Path(__file__).resolve().parent.parent / "resources"


def nuclei(rng, shape, spacing=16):
    """Soft ellipsoids, about one in each cube of `spacing` voxels; 0 to 1, (D, H, W)."""
    grid = np.meshgrid(*(np.arange(n, dtype=np.float32) for n in shape), indexing="ij", sparse=True)
    volume = np.zeros(shape, np.float32)
    for _ in range(round(np.prod(shape) / spacing**3)):
        centre = rng.uniform(0, shape)
        radius = rng.uniform(4, 7, 3)
        distance = sum(((g - c) / r) ** 2 for g, c, r in zip(grid, centre, radius))
        # One half at the surface of the ellipsoid.
        brightness = rng.uniform(0.6, 1) / (1 + np.exp(np.minimum(6 * (distance - 1), 50)))
        volume = np.maximum(volume, brightness)
    return volume


def cells(rng, shape, spacing):
    """A Voronoi diagram: (walls from 0 to 1, index of the cell from 1), both (D, H, W)."""
    grid = np.meshgrid(*(np.arange(n, dtype=np.float32) for n in shape), indexing="ij", sparse=True)
    nearest = np.full(shape, np.inf, np.float32)
    second = nearest.copy()
    label = np.zeros(shape, np.uint8)
    volume = np.prod([n for n in shape if n > 1])
    dimensions = sum(n > 1 for n in shape)
    for index in range(1, 1 + round(volume / spacing**dimensions)):
        distance = np.sqrt(sum((g - c) ** 2 for g, c in zip(grid, rng.uniform(0, shape))))
        second = np.minimum(second, np.maximum(nearest, distance))
        label[distance < nearest] = index
        nearest = np.minimum(nearest, distance)
    # Walls are where the two nearest centres are about equally far.
    return np.exp(-(((second - nearest) / 2.5) ** 2)), label


def photograph(rng, clean):
    """What a camera makes of it: photon noise on a dim background, uint8."""
    return rng.poisson(6 + 60 * clean).clip(0, 255).astype(np.uint8)


def write(name, **volumes):
    with h5py.File(RESOURCES / f"{name}.h5", "w") as file:
        for key, volume in volumes.items():
            file.create_dataset(
                key, data=volume, compression="gzip", compression_opts=9, shuffle=True, track_times=False
            )
    size = (RESOURCES / f"{name}.h5").stat().st_size
    assert size < 2_000_000, f"{name}.h5 is larger than 2 MB"
    print(f"{name}.h5: {size / 1000:.0f} kB")


def main():
    for seed, suffix, depth in ((1, "", 40), (2, "_val", 32)):
        rng = np.random.default_rng(seed)
        clean = nuclei(rng, (depth, 128, 128))
        write(
            f"random3D{suffix}",
            raw=photograph(rng, clean),
            label=(clean > 0.3).astype(np.uint8),
            random=(255 * clean).astype(np.uint8),
        )

    for seed, suffix, shape in ((3, "", (40, 80, 80)), (4, "_val", (32, 64, 64))):
        rng = np.random.default_rng(seed)
        # Foreground is what is bright in the first channel but not in the second; the
        # third is another stain of everything.
        first, second = nuclei(rng, shape), nuclei(rng, shape, spacing=24)
        channels = (first, second, np.maximum(first, second))
        write(
            f"random4D{suffix}",
            raw=np.stack([photograph(rng, channel) for channel in channels]),
            label=((first > 0.3) & (second < 0.3)).astype(np.uint8),
        )

    for seed, name, shape, spacing in (
        (5, "sample_cells", (64, 128, 128), 24),
        (6, "sample_cells_val", (64, 128, 128), 24),
        (7, "sample_cells_2d", (1, 256, 256), 24),
        (8, "sample_cells_2d_val", (1, 128, 256), 24),
    ):
        rng = np.random.default_rng(seed)
        walls, label = cells(rng, shape, spacing)
        write(name, raw=photograph(rng, walls), label=label)


if __name__ == "__main__":
    main()
