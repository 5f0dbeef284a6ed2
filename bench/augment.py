"""Times whole lists of transforms: unet3d and the Python libraries in turn.

    cargo bench --bench augment --no-run     # prints the path of the program
    python bench/augment.py target/release/deps/augment-…

Needs numpy, scipy, scikit-image, SimpleITK and PyYAML. Everything runs on one core, and
times are processor times, which other programs on the machine do not increase. The Python
side does what pytorch-3dunet does: it repeats all work for raw, label and weight and for
every channel. Both sides read the published files and use the same probabilities; their
random numbers differ.
"""

import math
import os
import subprocess
import sys
import time
from pathlib import Path

for name in "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS":
    os.environ[name] = "1"

import numpy as np
import SimpleITK as sitk
import yaml
from scipy import ndimage
from skimage.filters import gaussian
from skimage.segmentation import find_boundaries

sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
ROOT = Path(__file__).resolve().parent.parent
STATISTICS = {"min": 0.0, "max": 4095.0, "mean": 400.0, "std": 300.0}
rng = np.random.RandomState(0)


def normalize(m):
    low, high = STATISTICS["min"], STATISTICS["max"]
    return np.clip(2 * ((m - low) / (high - low)) - 1, -1, 1)


def standardize(m):
    return (m - STATISTICS["mean"]) / max(STATISTICS["std"], 1e-6)


def each_channel(m, f):
    return f(m) if m.ndim == 3 else np.stack([f(channel) for channel in m])


def flip(m, axis_prob=0.5):
    for axis in range(3):
        if rng.uniform() > axis_prob:
            m = each_channel(m, lambda c: np.flip(c, axis))
    return m


def rotate90(m, axes=((1, 2),), force_180=False):
    axes = axes or [(1, 0), (2, 1), (2, 0)]
    plane = axes[rng.randint(len(axes))]
    turns = 2 * rng.randint(2) if force_180 else rng.randint(4)
    return each_channel(m, lambda c: np.rot90(c, turns, plane))


def rotate(m, axes, angle_spectrum=30, mode="reflect", order=0, execution_probability=0.1):
    if rng.uniform() >= execution_probability:
        return m
    fill = np.median(m)
    plane, angle = axes[rng.randint(len(axes))], rng.randint(-angle_spectrum, angle_spectrum)
    return each_channel(
        m,
        lambda c: ndimage.rotate(
            c, angle, axes=plane, reshape=False, order=order, mode=mode, cval=fill
        ),
    )


def elastic(m, spline_order, alpha=2000, sigma=50, execution_probability=0.1):
    if rng.uniform() >= execution_probability:
        return m
    shape = m.shape[-3:]
    points = [
        axis + alpha * ndimage.gaussian_filter(rng.randn(*shape), sigma, mode="reflect")
        for axis in np.meshgrid(*[np.arange(n) for n in shape], indexing="ij")
    ]
    return each_channel(
        m, lambda c: ndimage.map_coordinates(c, points, order=spline_order, mode="reflect")
    )


def contrast(m, alpha=(0.5, 1.5), use_data_mean=False, execution_probability=0.1):
    if rng.uniform() >= execution_probability:
        return m

    def stretch(c):
        mean = np.mean(c) if use_data_mean else STATISTICS["mean"]
        return np.clip(mean + rng.uniform(*alpha) * (c - mean), -1, 1)

    return each_channel(m, stretch)


def gaussian_noise(m, scale=(0.0, 1.0), execution_probability=0.1):
    if rng.uniform() >= execution_probability:
        return m
    return m + rng.normal(0, rng.uniform(*scale), size=m.shape)


def poisson_noise(m, lam=(0.0, 1.0), execution_probability=0.1):
    if rng.uniform() >= execution_probability:
        return m
    return m + rng.poisson(rng.uniform(*lam), size=m.shape)


def gradual_blur(m, max_blur_start, max_blur_end, num_blurs, execution_probability):
    if rng.uniform() >= execution_probability:
        return m
    sigmas = np.linspace(rng.uniform(0, max_blur_start), rng.uniform(0, max_blur_end), num_blurs)
    copies = [ndimage.gaussian_filter(m, sigma=[0, s, s, s]) for s in sigmas]
    places, out, after = np.linspace(0, m.shape[1], num_blurs), np.zeros_like(m), 1
    for d in range(m.shape[1]):
        after += d > places[after]
        share = (places[after] - d) / (places[after] - places[after - 1])
        out[:, d] = copies[after][:, d] * (1 - share) + copies[after - 1][:, d] * share
    return out


DEFAULTS = {
    "sigma_xy_shear": 0.1, "sigma_zstack_shear": 0.1, "sigma_zwarp_shear": 0.1,
    "sigma_scale_xy": 0.1, "sigma_scale_z": 0.1,
    "sigma_xy_rotate": 15, "sigma_xz_rotate": 1, "sigma_yz_rotate": 5,
    "shear_exec_prob": 0.2, "scale_exec_prob": 0.2, "xy_rotate_exec_prob": 0.2,
    "xz_rotate_exec_prob": 0.2, "yz_rotate_exec_prob": 0.2, "translate_exec_prob": 0.4,
    "translate_x": 50, "translate_y": 20, "translate_z": 10, "cval": None,
    "bspline_exec_prob": 0.2, "bspline_bend_lim": 0.35, "bspline_sigma": 5,
    "interpolator": "linear",
}  # fmt: skip


def itk(m, **keys):
    """One resampling a channel; the bend's coefficients are of the size and number of
    RandomITKDeformation's, which is what its time depends on."""
    p = {**DEFAULTS, **keys}

    def channel(c):
        fill = float(np.median(c)) if p["cval"] is None else p["cval"]
        matrix, shift = np.eye(3), np.zeros(3)
        if rng.uniform() < p["shear_exec_prob"]:
            matrix += p["sigma_xy_shear"] * rng.normal(size=(3, 3)) * (1 - np.eye(3))
        if rng.uniform() < p["scale_exec_prob"]:
            matrix = np.diag(rng.normal(1, p["sigma_scale_xy"], 3)) @ matrix
        centre = np.array(c.shape[::-1]) / 2
        for plane, (a, b) in {"xy": (0, 1), "xz": (0, 2), "yz": (1, 2)}.items():
            if rng.uniform() < p[f"{plane}_rotate_exec_prob"]:
                angle = math.radians(rng.normal(0, p[f"sigma_{plane}_rotate"]))
                turn = np.eye(3)
                turn[a, a] = turn[b, b] = math.cos(angle)
                turn[a, b], turn[b, a] = math.sin(angle), -math.sin(angle)
                matrix, shift = turn @ matrix, turn @ (shift - centre) + centre
        if rng.uniform() < p["translate_exec_prob"]:
            shift = shift + [rng.randint(-p[f"translate_{x}"], p[f"translate_{x}"]) for x in "xyz"]
        image = sitk.GetImageFromArray(c)
        transform = affine = sitk.AffineTransform(3)
        affine.SetMatrix(matrix.flatten())
        affine.SetTranslation(shift)
        if rng.uniform() < p["bspline_exec_prob"]:
            bend = sitk.BSplineTransformInitializer(image, [3, 1, 1], order=2)
            count = len(bend.GetParameters())
            limit = p["bspline_bend_lim"] * c.shape[2] / 3
            across = np.tile(rng.uniform(-limit, limit, 5), count // 15)
            coefficients = np.concatenate([across, across, 0 * across])
            bend.SetParameters(coefficients + p["bspline_sigma"] * rng.randn(count))
            transform = sitk.CompositeTransform(3)
            transform.AddTransform(bend)
            transform.AddTransform(affine)
        interpolator = sitk.sitkLinear if p["interpolator"] == "linear" else sitk.sitkNearestNeighbor
        return np.array(
            sitk.GetArrayFromImage(sitk.Resample(image, image, transform, interpolator, fill))
        )

    return each_channel(m, channel)


def boundary(m, append_label=False, blur=False, sigma=1.0):
    found = find_boundaries(m, connectivity=2, mode="thick")
    if blur:
        found = gaussian(found, sigma=sigma)
        found[found >= 0.5] = 1
        found[found < 0.5] = 0
    return np.stack([found, m] if append_label else [found])


def affinities(m, offsets):
    channels = []
    for offset in offsets:
        for axis in (2, 1, 0):
            kernel = np.zeros([offset + 1 if a == axis else 1 for a in range(3)], dtype=int)
            kernel.flat[0], kernel.flat[-1] = 1, -1
            channels.append(np.where(np.abs(ndimage.convolve(m, kernel)) > 0, 1, 0))
    return np.stack(channels)


def to_tensor(m, expand_dims, dtype="float32"):
    m = m[None] if expand_dims and m.ndim == 3 else m
    return m.astype({"long": "int64"}.get(dtype, dtype))


TRANSFORMS = {
    "Normalize": normalize, "Standardize": standardize, "RandomFlip": flip,
    "RandomRotate90": rotate90, "RandomRotate": rotate, "ElasticDeformation": elastic,
    "RandomContrast": contrast, "AdditiveGaussianNoise": gaussian_noise,
    "AdditivePoissonNoise": poisson_noise, "GradualGaussianBlur": gradual_blur,
    "RandomITKDeformation": itk, "StandardLabelToBoundary": boundary,
    "LabelToAffinities": affinities, "ToTensor": to_tensor,
    "Relabel": lambda m: np.unique(m, return_inverse=True)[1].reshape(m.shape),
}  # fmt: skip
# Keys that the Python program takes and ignores.
IGNORED = {
    "RandomITKDeformation": ("sigma_rotate", "rotate_exec_prob", "bspline_order", "bspline_ctrl_points_x"),
    "RandomRotate90": ("spacing", "sigma", "interpolator"),
}  # fmt: skip


def pipeline(steps):
    def step(keys):
        keys = dict(keys)
        name = keys.pop("name")
        for key in IGNORED.get(name, ()):
            keys.pop(key, None)
        return lambda m: TRANSFORMS[name](m, **keys)

    made = [step(keys) for keys in steps]

    def run(m):
        for f in made:
            m = f(m)
        return m

    return run


def sample(shape):
    """The volumes of augment.rs: smooth blobs with texture, and cells."""
    channels, *size = shape
    z, y, x = np.ogrid[tuple(slice(n) for n in size)]
    wave = lambda i, period: np.sin(i * 2 * np.pi / period)
    texture = (z * 7919 + y * 104_729 + x * 1_299_709) % 97
    raw = [
        np.maximum(400 + 300 * wave(z + c, 17) * wave(y, 23) * wave(x, 29) + texture, 0)
        for c in range(max(channels, 1))
    ]
    raw = np.array(raw if channels else raw[0], dtype="float32")
    cells = 1 + z // 9 + 8 * (y // 12) + 128 * (x // 15)
    label = np.where(wave(z, 17) * wave(y, 23) * wave(x, 29) > 0.2, cells, 0).astype("uint16")
    return {"raw": raw, "label": label, "weight": label}


S, B, L = (0, 51, 96, 210), (0, 64, 128, 128), (4, 64, 120, 284)
# Name in augment.rs: lists, shape, samples a round of ours and of Python's.
CASES = {
    "SegmentationNet": ("SegmentationNet/instance_segmentation_train.yaml", S, 60, 25),
    "train_config_boundary": ("resources/train_config_boundary.yaml", B, 60, 25),
    "train_config_ce": ("resources/train_config_ce.yaml", (0, 32, 64, 64), 200, 60),
    "AutoCellLabeler raw": ("AutoCellLabeler_parameters/train_paper_all.yaml", L, 6, 2),
    "Normalize": ("raw: [{name: Normalize}]", S, 10, 3),
    "RandomFlip": ("raw: [{name: RandomFlip, axis_prob: 0}]", S, 10, 3),
    "RandomRotate90": ("raw: [{name: RandomRotate90, axes: null}]", S, 20, 8),
    "RandomContrast": ("raw: [{name: RandomContrast, use_data_mean: true, execution_probability: 1}]", S, 10, 3),
    "AdditiveGaussianNoise": ("raw: [{name: AdditiveGaussianNoise, scale: [0, 0.1], execution_probability: 1}]", S, 10, 3),
    "AdditivePoissonNoise": ("raw: [{name: AdditivePoissonNoise, lam: [0, 0.01], execution_probability: 1}]", S, 10, 3),
    "AdditivePoissonNoise, lam [0, 1]": ("raw: [{name: AdditivePoissonNoise, execution_probability: 1}]", S, 10, 3),
    "ToTensor long": ("label: [{name: ToTensor, expand_dims: false, dtype: long}]", S, 10, 5),
    "StandardLabelToBoundary": ("label: [{name: StandardLabelToBoundary}]", B, 10, 2),
    "StandardLabelToBoundary, blur": ("label: [{name: StandardLabelToBoundary, append_label: true, blur: true}]", B, 10, 2),
    "LabelToAffinities": ("label: [{name: LabelToAffinities, offsets: [1, 3]}]", B, 10, 2),
    "Relabel": ("label: [{name: Relabel}]", B, 10, 2),
}  # fmt: skip


def lists(text):
    if text.endswith(".yaml"):
        loaded = yaml.safe_load((ROOT / text).read_text())["loaders"]["train"]["transformer"]
        return {"raw": loaded["raw"]} if "AutoCell" in text else loaded
    return yaml.safe_load(text)


def ours(program, name, count, first, *without, environment=None):
    """Seconds and float32 patches of memory a sample."""
    words = [program, name, str(count), str(first), *without]
    out = subprocess.run(words, capture_output=True, text=True, check=True, env=environment).stdout
    _, seconds, patches = out.strip().split("\t")
    return float(seconds), float(patches)


def compare(program, rounds, names):
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    print("| lists | patch | unet3d, ms | Python, ms | ratio | memory, float32 patches |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name in names:
        text, shape, our_count, python_count = CASES[name]
        volumes = sample(shape)
        made = {key: pipeline(steps) for key, steps in lists(text).items()}
        our_seconds, python_seconds = [], []
        for i in range(rounds):
            our_seconds.append(ours(program, name, our_count, i * our_count)[0])
            start = time.process_time()
            for _ in range(python_count):
                for key, f in made.items():
                    f(volumes[key])
            python_seconds.append((time.process_time() - start) / python_count)
        _, memory = ours(program, name, our_count, 0, environment=environment)
        a, b = 1e3 * np.mean(our_seconds), 1e3 * np.mean(python_seconds)
        size = "×".join(str(n) for n in shape if n)
        print(f"| {name} | {size} | {a:.2f} | {b:.1f} | {b / a:.1f} | {memory:.1f} |", flush=True)


def shares(program, rounds):
    """What each transform of a pipeline costs: the time that is gone without it, for the
    same samples; the least of several rounds, in turn with the whole."""
    print("\n| pipeline | transform | ms a sample | share |")
    print("| --- | --- | --- | --- |")
    for name, (text, _, count, _) in CASES.items():
        if not text.endswith(".yaml"):
            continue
        names = list(dict.fromkeys(s["name"] for steps in lists(text).values() for s in steps))
        least = {}
        for _ in range(rounds):
            for without in [None, *names]:
                seconds, _ = ours(program, name, count, 0, *([without] if without else []))
                least[without] = min(seconds, least.get(without, seconds))
        for transform in names:
            gone = 1e3 * (least[None] - least[transform])
            share = 1 - least[transform] / least[None]
            print(f"| {name} | {transform} | {gone:.2f} | {share:.0%} |", flush=True)


def main():
    program, rounds = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 4
    compare(program, rounds, sys.argv[3:] or CASES)
    if len(sys.argv) <= 3:
        shares(program, rounds)


if __name__ == "__main__":
    main()
