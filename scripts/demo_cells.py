"""Finds and numbers fluorescent nuclei in 3D: makes images, trains, predicts and scores.

The images come from scripts/make_nuclei.py: crowded nuclei, blurred and noisy, and their
truth. Two images are for training, one for validation, and one that the network never
sees is numbered and scored. The same image, smoothed and cut at the threshold that suits
it best, by the same rule, stands beside it.

`make demo-cells` runs this script, which writes to demo/cells/ only. Arguments such as
--threads 1 are passed on to training and prediction.
"""

import csv
import shutil
import sys

import h5py
import numpy as np
import tifffile
from PIL import Image, ImageDraw, ImageFont

import make_nuclei
from demo import OUT, ROOT, run

CELLS = OUT / "cells"
SHAPE = (48, 160, 160)
# Name, number of images, and a seed for each part.
PARTS = (("train", 2, 1), ("val", 1, 2), ("kept", 1, 3))
TRAIN_CONFIG = "configs/demo_cells_train.yaml"
PREDICT_CONFIG = "configs/demo_cells_predict.yaml"
# How a foreground is cut into nuclei, in the configuration and for the threshold.
SPLIT = ("--split", "distance", "--h-maxima", "0.1", "--min-size", "30")
# Standard deviation of the Gaussian filter before the threshold, um.
SMOOTH = 0.4


def relative(path):
    return str(path.relative_to(ROOT))


def make_images():
    """Writes the images and masks of all parts; returns the raw image and the mask of the
    part that is kept."""
    for part, count, seed in PARTS:
        for number in range(count):
            raw, mask = make_nuclei.image(np.random.default_rng((seed, number)), SHAPE)
            folder = CELLS / "data" / part
            make_nuclei.write(folder / "images" / f"{part}{number}.ome.tif", raw)
            make_nuclei.write(folder / "masks" / f"{part}{number}.ome.tif", mask)
    return raw, mask


def training_data(part, output):
    folder = CELLS / "data" / part
    images, masks = relative(folder / "images"), relative(folder / "masks")
    # Existing files are never replaced, so what an earlier demo made goes first.
    shutil.rmtree(CELLS / output, ignore_errors=True)
    run("make-training-data", "--raw", images, "--label", masks, "--instances",
        "--output", relative(CELLS / output))


def scores(folder):
    """Scores of the label images of a folder against the truth: name to value."""
    truth = relative(CELLS / "data" / "kept" / "masks")
    shutil.rmtree(CELLS / "scores" / folder.name, ignore_errors=True)
    output = CELLS / "scores" / folder.name
    images = relative(CELLS / "data" / "kept" / "images")
    run("evaluate", relative(folder), truth, "--kind", "instances", "--raw", images,
        "--output", relative(output), "--report", relative(output / "report.html"))
    with open(output / "scores.csv", newline="") as file:
        row = next(csv.DictReader(file))
    return row


def best_threshold(raw, mask):
    """The threshold of (D, H, W) at which foreground and truth have the best Dice score:
    found with the truth at hand."""
    grey = np.rint(raw).astype(int)
    inside = np.bincount(grey[mask > 0], minlength=grey.max() + 1)[::-1].cumsum()[::-1]
    above = np.bincount(grey.ravel())[::-1].cumsum()[::-1]
    dice = 2 * inside / (above + np.count_nonzero(mask))
    return int(dice.argmax())


def by_threshold(raw, mask):
    """Numbers the nuclei of the kept image by the best threshold, after its noise is
    smoothed."""
    folder = CELLS / "threshold"
    shutil.rmtree(folder, ignore_errors=True)
    smooth = make_nuclei.blur(raw.astype(float), SMOOTH)
    foreground = (smooth >= best_threshold(smooth, mask)).astype(np.float32)
    path = CELLS / "foreground" / "kept0_predictions.h5"
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        data = file.create_dataset("predictions", data=foreground[None])
        data.attrs["element_size_um"] = make_nuclei.VOXEL
    run("instances", relative(path), "--output", relative(folder), *SPLIT)
    return folder


def draw(raw, truth, found, path):
    """Saves raw image, truth and result side by side: a plane from above and one from the
    side, at equal scale. A nucleus has the colour of the true one that it covers most; one
    that covers none, or of which another covers more, has a colour of its own."""
    colours = np.random.default_rng(0).integers(70, 256, (truth.max() + found.max() + 1, 3))
    colours[0] = 0
    shared = np.zeros((found.max() + 1, truth.max() + 1), int)
    np.add.at(shared, (found, truth), 1)
    shared[0], shared[:, 0] = 0, 0
    partner = shared.argmax(axis=1)
    mutual = (shared.max(axis=1) > 0) & (shared.argmax(axis=0)[partner] == np.arange(len(partner)))
    partner = np.where(mutual, partner, truth.max() + np.arange(len(partner)))
    partner[0] = 0
    low, high = np.percentile(raw, (5, 99.8))
    shade = ((raw.astype(float) - low) / (high - low)).clip(0, 1) ** 0.8
    grey = np.repeat((shade[..., None] * 255).astype(np.uint8), 3, axis=-1)
    volumes = (grey, colours[truth].astype(np.uint8), colours[partner][found].astype(np.uint8))
    depth, height, width = truth.shape
    tall = round(depth * make_nuclei.VOXEL[0] / make_nuclei.VOXEL[1])
    scale, gap, head = 2, 10, 28
    picture = Image.new(
        "RGB", (3 * (width * scale + gap) + gap, head + (height + tall) * scale + 2 * gap), (24, 24, 28)
    )
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(17)
    for column, (title, volume) in enumerate(zip(("image", "truth", "numbered nuclei"), volumes)):
        x = gap + column * (width * scale + gap)
        pen.text((x, 5), title, font=font)
        above = Image.fromarray(np.ascontiguousarray(volume[depth // 3]))
        side = Image.fromarray(np.ascontiguousarray(volume[:, height // 4]))
        kind = Image.Resampling.BICUBIC if column == 0 else Image.Resampling.NEAREST
        picture.paste(above.resize((width * scale, height * scale), kind), (x, head))
        y = head + height * scale + gap
        picture.paste(side.resize((width * scale, tall * scale), kind), (x, y))
    picture.save(path, optimize=True)


def main():
    extra = sys.argv[1:]
    print("Making images of nuclei ...", flush=True)
    raw, mask = make_images()
    training_data("train", "training")
    training_data("val", "validation")
    training = run("train", "--config", TRAIN_CONFIG, "--overwrite", *extra)
    for folder in ("predictions", "nuclei"):
        shutil.rmtree(CELLS / folder, ignore_errors=True)
    prediction = run("predict", "--config", PREDICT_CONFIG, *extra)
    network = scores(CELLS / "nuclei")
    threshold = scores(by_threshold(raw, mask))

    print(f"\nTraining took {training:.0f} s, prediction and numbering {prediction:.0f} s.")
    print(f"Nuclei in an image that the network never saw ({mask.max()} are there):\n")
    print(f"{'':26} {'U-Net':>8} {'best threshold':>15}")
    for name, title in (
        ("predicted_objects", "nuclei found"),
        ("ap_50", "AP, overlap of 0.5"),
        ("panoptic_quality", "panoptic quality"),
        ("merges", "joined"),
        ("splits", "cut apart"),
    ):
        print(f"{title:26} {float(network[name]):8.4g} {float(threshold[name]):15.4g}")
    found = tifffile.imread(CELLS / "nuclei" / "kept0_instances.tif")
    picture = CELLS / "nuclei.png"
    draw(raw, mask, found, picture)
    print(f"\nThe picture is {relative(picture)}, the table of nuclei demo/cells/nuclei/"
          "kept0_instances.csv,\nthe report demo/cells/scores/nuclei/report.html.")


if __name__ == "__main__":
    main()
