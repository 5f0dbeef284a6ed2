"""Trains a small 3D U-Net on a brain volume, predicts an unseen part and scores it.

The brain is the ICBM 2009a symmetric template: the average of the T1-weighted
MRI scans of 152 people, with maps of grey and white matter. It comes with the Python
package nilearn. Strong noise is added to the raw volume, so that the task cannot be
solved voxel by voxel. The left and right half of the template mirror each other, so it
is cut from back to front only: validation part, training part and kept part do not
overlap.

`make demo` runs this script, which writes to demo/ only. Arguments such as --threads 1
are passed on to the program.
"""

import importlib.util
import subprocess
import sys
import time
from pathlib import Path

import h5py
import nibabel
import numpy as np
from PIL import Image, ImageDraw, ImageFont

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "demo"
PROGRAM = ROOT / "target" / "release" / "unet3d"
TRAIN_CONFIG = "configs/demo_train.yaml"
PREDICT_CONFIG = "configs/demo_predict.yaml"

CLASSES = ("other", "grey matter", "white matter")
NOISE = 0.15  # standard deviation, as a part of the range of the raw volume
# The brain fills this box of the template, (z, y, x) in mm.
BOX = (slice(0, 160), slice(24, 212), slice(24, 173))
# Cuts along y, from the back of the head to the front, within the box.
PARTS = {"val": slice(0, 32), "train": slice(32, 124), "kept": slice(124, 188)}


def load_template():
    """Returns (raw, label), both (D, H, W): uint8 intensities and class indices."""
    package = importlib.util.find_spec("nilearn")
    data = Path(package.submodule_search_locations[0]) / "datasets" / "data"

    def load(name):
        path = data / f"mni_icbm152_{name}_tal_nlin_sym_09a_converted.nii.gz"
        # Stored as (x, y, z) from left to right, back to front, bottom to top.
        return np.asarray(nibabel.load(path).dataobj).transpose(2, 1, 0)[BOX]

    grey, white = load("gm").astype(np.int16), load("wm").astype(np.int16)
    other = 255 - grey - white
    label = np.argmax(np.stack([other, grey, white]), axis=0).astype(np.uint8)
    return load("t1"), label


def write_parts(raw, label):
    """Adds the noise and writes one HDF5 file for each part."""
    noise = np.random.default_rng(2009).normal(0, NOISE * 255, raw.shape)
    noisy = np.rint(raw + noise).astype(np.int16)
    for name, part in PARTS.items():
        folder = OUT / "data" / name
        folder.mkdir(parents=True, exist_ok=True)
        with h5py.File(folder / "brain.h5", "w") as file:
            for key, volume in (("raw", noisy), ("label", label)):
                file.create_dataset(key, data=volume[:, part], compression="gzip")


def dice(truth, found, index):
    """2 |A ∩ B| / (|A| + |B|) of one class."""
    a, b = truth == index, found == index
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


def best_thresholds(raw, truth):
    """The two thresholds on raw with the best mean Dice of grey and white matter,
    found with the truth at hand: the most that any global thresholds could reach."""
    low = int(raw.min())
    counts = np.stack(
        [np.bincount(raw[truth == c].ravel() - low, minlength=np.ptp(raw) + 2) for c in range(3)]
    )
    # below[c, t]: voxels of class c that are darker than t
    below = np.concatenate([np.zeros((3, 1), int), counts.cumsum(axis=1)], axis=1)
    total = below[:, -1]
    t = np.arange(below.shape[1])
    t1, t2 = t[:, None], t[None, :]
    found_grey = below[:, t2] - below[:, t1]
    found_white = (total[:, None] - below)[:, t2]
    grey = 2 * found_grey[1] / (total[1] + found_grey.sum(axis=0)).clip(1)
    white = 2 * found_white[2] / (total[2] + found_white.sum(axis=0)).clip(1)
    mean = np.where(t1 <= t2, grey + white, 0)
    i, j = np.unravel_index(mean.argmax(), mean.shape)
    return grey[i, j], white[0, j]


def draw(raw, truth, found, path):
    """Saves raw, truth and prediction side by side in the three middle planes."""
    colours = np.array([[0, 0, 0], [214, 120, 40], [245, 235, 220]], np.uint8)
    shade = (raw.astype(float) + 50) / 330
    grey = (shade.clip(0, 1) * 255).astype(np.uint8)
    volumes = (np.repeat(grey[..., None], 3, axis=-1), colours[truth], colours[found])
    depth, height, width = (size // 2 for size in truth.shape)
    planes = (
        ("from above", lambda v: v[depth, ::-1]),
        ("from the front", lambda v: v[::-1, height]),
        # The middle plane is the gap between the hemispheres: look beside it.
        ("from the side", lambda v: v[::-1, :, width - 24]),
    )
    scale, gap, head = 2, 12, 26
    rows = [[plane(volume) for volume in volumes] for _, plane in planes]
    cell_width = max(row[0].shape[1] for row in rows) * scale
    size = (
        3 * (cell_width + gap) + gap,
        head + sum(row[0].shape[0] * scale + gap + head for row in rows),
    )
    picture = Image.new("RGB", size, (24, 24, 28))
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(16)
    for column, title in enumerate(("raw", "truth", "prediction")):
        pen.text((gap + column * (cell_width + gap), 5), title, font=font)
    y = head
    for (name, _), row in zip(planes, rows):
        pen.text((gap, y + 3), name, font=font, fill=(150, 150, 160))
        y += head
        for column, image in enumerate(row):
            h, w = image.shape[:2]
            tile = Image.fromarray(np.ascontiguousarray(image)).resize(
                (w * scale, h * scale), Image.Resampling.NEAREST
            )
            picture.paste(tile, (gap + column * (cell_width + gap) + (cell_width - w * scale) // 2, y))
        y += row[0].shape[0] * scale + gap
    picture.save(path, optimize=True)


def run(*arguments):
    """Runs the program, stops the demo if it fails; returns the seconds it took."""
    start = time.monotonic()
    print("$", "unet3d", *arguments, flush=True)
    status = subprocess.run([PROGRAM, *arguments], cwd=ROOT).returncode
    if status != 0:
        sys.exit(f"unet3d {arguments[0]} ended with exit code {status}")
    return time.monotonic() - start


def main():
    print("Preparing the brain ...", flush=True)
    write_parts(*load_template())
    extra = sys.argv[1:]
    training = run("train", "--config", TRAIN_CONFIG, "--overwrite", *extra)
    prediction = run("predict", "--config", PREDICT_CONFIG, *extra)

    with h5py.File(OUT / "data" / "kept" / "brain.h5") as file:
        raw, truth = file["raw"][:], file["label"][:]
    with h5py.File(OUT / "data" / "kept" / "brain_predictions.h5") as file:
        found = file["predictions"][:].argmax(axis=0)

    print(f"\nTraining took {training:.0f} s, prediction {prediction:.0f} s.")
    print("Dice on the part that the network never saw:\n")
    print(f"{'':14} {'U-Net':>8} {'best thresholds':>17}")
    for index, reached in zip((1, 2), best_thresholds(raw, truth)):
        print(f"{CLASSES[index]:14} {dice(truth, found, index):8.3f} {reached:17.3f}")
    picture = OUT / "brain.png"
    draw(raw, truth, found, picture)
    print(f"\nThe picture is {picture.relative_to(ROOT)}.")


if __name__ == "__main__":
    main()
