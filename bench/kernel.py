"""Times the resampling transforms: unet3d and the Python libraries in turn.

    cargo bench --bench kernel --no-run     # prints the path of the program
    python bench/kernel.py target/release/deps/kernel-…

Needs numpy, scipy and SimpleITK. Everything runs on one core, and times are CPU times,
which other programs on the machine do not increase. Each row is the median over rounds; in
each round the program runs first, then the libraries on the same shapes. They do what
pytorch-3dunet does: all work is repeated for raw, label and weight and for every channel.
"""

import math
import os
import statistics
import subprocess
import sys
import time

for name in "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS":
    os.environ[name] = "1"

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
rng = np.random.default_rng(0)


def raw(*shape):
    return rng.normal(size=shape).astype(np.float32)


def label(*shape):
    return rng.integers(0, 2, size=shape).astype(np.uint16)


def elastic(volume, order):
    def field():
        return ndimage.gaussian_filter(rng.normal(size=volume.shape), 50, mode="reflect") * 2000

    fields = [field() for _ in range(3)]
    grid = np.meshgrid(*[np.arange(n) for n in volume.shape], indexing="ij")
    points = [axis + shift for axis, shift in zip(grid, fields)]
    return ndimage.map_coordinates(volume, points, order=order, mode="reflect")


def itk(volume, interpolator, fill):
    """The deformation of RandomITKDeformation with everything switched on."""
    fill = float(np.median(volume)) if fill is None else fill
    image = sitk.GetImageFromArray(volume)
    affine = sitk.AffineTransform(3)
    a, b = math.radians(10), math.radians(3)
    xy = np.array([[math.cos(a), math.sin(a), 0], [-math.sin(a), math.cos(a), 0], [0, 0, 1]])
    yz = np.array([[1, 0, 0], [0, math.cos(b), math.sin(b)], [0, -math.sin(b), math.cos(b)]])
    affine.SetMatrix((yz @ xy @ (np.eye(3) + 0.05)).flatten())
    affine.SetTranslation((8.0, -5.0, 2.0))
    bend = sitk.BSplineTransformInitializer(image, [3, 1, 1], order=2)
    bend.SetParameters(rng.normal(size=len(bend.GetParameters())) * 5)
    transform = sitk.CompositeTransform(3)
    transform.AddTransform(bend)
    transform.AddTransform(affine)
    return sitk.GetArrayFromImage(sitk.Resample(image, image, transform, interpolator, fill))


def gradual_blur(data, copies=5):
    start, end = 1.0, 1.0  # the mean of what is drawn
    blurred = [ndimage.gaussian_filter(data, sigma=[0, s, s, s]) for s in np.linspace(start, end, copies)]
    places = np.linspace(0, data.shape[1], copies)
    out, after = np.zeros_like(data), 1
    for d in range(data.shape[1]):
        if d > places[after]:
            after += 1
        share = (places[after] - d) / (places[after] - places[after - 1])
        out[:, d] = blurred[after][:, d] * (1 - share) + blurred[after - 1][:, d] * share
    return out


def rotate(volume, order):
    fill = np.median(volume)
    return ndimage.rotate(volume, 11, axes=(2, 1), reshape=False, order=order, mode="reflect", cval=fill)


def affine(volume, order, fill):
    fill = np.median(volume) if fill is None else fill
    matrix = np.eye(3) + rng.normal(size=(3, 3)) * 0.1
    return ndimage.affine_transform(volume, matrix, offset=[2, -5, 8], order=order, cval=fill)


def bspline(volume, interpolator, fill):
    fill = float(np.median(volume)) if fill is None else fill
    image = sitk.GetImageFromArray(volume)
    cells = [n // 40 for n in volume.shape[::-1]]
    bend = sitk.BSplineTransformInitializer(image, cells, order=3)
    bend.SetParameters(rng.normal(size=len(bend.GetParameters())) * 5)
    return sitk.GetArrayFromImage(sitk.Resample(image, image, bend, interpolator, fill))


A, B, C = (64, 128, 128), (51, 96, 210), (4, 64, 120, 284)
LINEAR, NEAREST = sitk.sitkLinear, sitk.sitkNearestNeighbor
CASES = {
    "elastic3": lambda v, l: (elastic(v, 3), elastic(l, 0)),
    "itk": lambda v, l: (itk(v, LINEAR, None), itk(l, NEAREST, 0), itk(l, NEAREST, 0)),
    "itk_4_channels": lambda v, l: [itk(channel, LINEAR, None) for channel in v],
    "gradual_blur": lambda v, l: gradual_blur(v),
    "rotate_xy": lambda v, l: (rotate(v, 0), rotate(l, 0)),
    "rotate_xy_cubic": lambda v, l: (rotate(v, 3), rotate(l, 0)),
    "affine": lambda v, l: (affine(v, 1, None), affine(l, 0, 0)),
    "bspline": lambda v, l: (bspline(v, LINEAR, None), bspline(l, NEAREST, 0)),
}
SHAPES = {"itk": B, "bspline": B, "itk_4_channels": C, "gradual_blur": C}


def main():
    program, rounds = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 5
    print("| case | shape | unet3d, ms | Python libraries, ms | ratio | extra memory, patches |")
    print("| --- | --- | --- | --- | --- | --- |")
    for case, run in CASES.items():
        shape = SHAPES.get(case, A)
        volumes = raw(*shape), label(*shape)
        ours, theirs = [], []
        for _ in range(rounds):
            out = subprocess.run([program, case, "20"], capture_output=True, text=True, check=True).stdout
            # The mean: the system counts processor time in steps of milliseconds.
            ours.append(statistics.mean(map(float, out.split())))
            start = time.process_time()
            run(*volumes)
            theirs.append((time.process_time() - start) * 1e3)
        peak = subprocess.run([program, case, "peak"], capture_output=True, text=True, check=True).stdout.strip()
        a, b = statistics.median(ours), statistics.median(theirs)
        print(f"| `{case}` | {'×'.join(map(str, shape))} | {a:.1f} | {b:.0f} | {b / a:.0f} | {peak} |", flush=True)
    print(subprocess.run([program, "memory"], capture_output=True, text=True, check=True).stdout)


if __name__ == "__main__":
    main()
