"""Makes volumes of labelled cells of the size that AutoCellLabeler is trained on.

Cells are ellipsoids in a volume (D, H, W). The file contains
    raw     (4, D, H, W)  uint16, one colour per class, blurred and noisy
    label   (C, D, H, W)  uint8, one-hot; class 0 is the background
    weight  (C, D, H, W)  int32, one column of C weights per cell and one for the background

    python bench/make_cells.py OUT.h5 [--shape 64 120 284] [--classes 185] [--gzip] [--seed 0]

With --gzip the data sets have h5py's default chunks, which cross channels, and gzip level 4;
without it they are contiguous.
"""

import argparse

import h5py
import numpy as np
from scipy.ndimage import gaussian_filter

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
parser.add_argument("out")
parser.add_argument("--shape", type=int, nargs=3, default=(64, 120, 284))
parser.add_argument("--classes", type=int, default=185)
parser.add_argument("--gzip", action="store_true")
parser.add_argument("--seed", type=int, default=0)
arguments = parser.parse_args()

rng = np.random.default_rng(arguments.seed)
shape, classes = tuple(arguments.shape), arguments.classes
# Cells of about 3 voxels' radius, but never larger than the volume.
count = min(classes - 1 + 15, max(2, int(np.prod(shape) // 1500)))

cells = np.zeros(shape, "u2")  # 0 is the background, i the i-th cell
for cell in range(1, count + 1):
    radius = np.minimum(rng.uniform(2, 4.5, 3) * (0.7, 1, 1), np.array(shape) / 3)
    centre = rng.uniform(radius, np.array(shape) - radius)
    box = tuple(
        slice(max(int(c - r), 0), int(c + r) + 2) for c, r in zip(centre, radius)
    )
    grid = np.ogrid[box]
    inside = sum(((g - c) / r) ** 2 for g, c, r in zip(grid, centre, radius)) <= 1
    part = cells[box]
    part[inside[tuple(slice(n) for n in part.shape)] & (part == 0)] = cell

# Cells beyond the number of classes are unknown: they have no class at all.
class_of = np.zeros(count + 1, "i4")
known = min(count, classes - 1)
class_of[1 : known + 1] = rng.permutation(np.arange(1, classes))[:known]
class_of[known + 1 :] = -1
index = class_of[cells]

# A confident cell weighs much on its own class and a little on all others.
columns = np.ones((count + 1, classes), "i4")
for cell in range(1, count + 1):
    columns[cell] = rng.integers(1, 20)
    columns[cell, max(class_of[cell], 0)] = rng.integers(100, 2000)
columns[0] = 1
columns[known + 1 :] = 0

colours = rng.uniform(0, 1, (4, classes)) ** 2
options = dict(chunks=True, compression="gzip", compression_opts=4) if arguments.gzip else {}
with h5py.File(arguments.out, "w") as file:
    raw = file.create_dataset("raw", (4,) + shape, "u2", **options)
    for channel in range(4):
        image = np.where(index > 0, colours[channel][np.maximum(index, 0)], 0.0)
        image = gaussian_filter(image, 1) * 900 + 100
        raw[channel] = rng.poisson(image).astype("u2")
    label = file.create_dataset("label", (classes,) + shape, "u1", **options)
    weight = file.create_dataset("weight", (classes,) + shape, "i4", **options)
    # As many channels at a time as a chunk has, so that none is compressed twice.
    step_label = label.chunks[0] if label.chunks else 8
    for first in range(0, classes, step_label):
        some = np.arange(first, min(first + step_label, classes))[:, None, None, None]
        label[first : first + step_label] = index[None] == some
    step_weight = weight.chunks[0] if weight.chunks else 8
    for first in range(0, classes, step_weight):
        last = min(first + step_weight, classes)
        weight[first:last] = np.moveaxis(columns[cells, first:last], -1, 0)
    file.attrs["weight_columns"] = len(np.unique(columns[np.unique(cells)], axis=0))
print(f"{arguments.out}: {known} cells of {classes} classes, {count - known} unknown")
