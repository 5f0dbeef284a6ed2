"""Regions, names and scores beside scikit-image, scipy and SimpleITK, in turn in one run.

    pip install numpy h5py scipy scikit-image SimpleITK torch
    python bench/cells.py [--unet3d target/release/unet3d] [--volumes 40] [--files 50] [--runs 5]

Prints a line for each measurement: seconds of either, their ratio, peak memory of
unet3d. All programs may use two threads.
"""

import argparse
import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
from measure import run
from scipy import ndimage
from skimage.measure import label, regionprops_table
from skimage.segmentation import watershed

THREADS = "2"


def nuclei(random, shape, count):
    """A probability with blobs, some of which touch, and their labels."""
    volume = np.zeros(shape, np.float32)
    labels = np.zeros(shape, np.uint16)
    for number in range(1, count + 1):
        centre = [random.uniform(5, n - 5) for n in shape]
        box = tuple(slice(max(int(c) - 9, 0), int(c) + 10) for c in centre)
        grid = np.stack(np.meshgrid(*[np.arange(s.start, min(s.stop, n)) for s, n in zip(box, shape)],
                                    indexing="ij"), -1)
        ball = np.exp(-(((grid - centre) / [2.5, 3.5, 3.5]) ** 2).sum(-1))
        labels[box][ball > np.maximum(volume[box], 0.4)] = number
        volume[box] = np.maximum(volume[box], ball)
    return np.clip(1.3 * volume, 0, 1).astype(np.float32), labels


def by_scikit_image(path):
    """The regions of a prediction and their table, cut where they fall apart higher up."""
    with h5py.File(path) as file:
        p = file["predictions"][1]
    base = label(p > 0.5, connectivity=1)
    sizes = np.bincount(base.ravel())
    base[sizes[base] < 7] = 0
    markers = np.zeros_like(base)
    number = 0
    for threshold, least in [(0.7, 5), (0.8, 4), (0.9, 4)]:
        parts = label(p > threshold, connectivity=1)
        sizes = np.bincount(parts.ravel())
        parts[sizes[parts] < least] = 0
        table = regionprops_table(parts, properties=("label", "centroid"))
        places = np.stack([np.rint(table[f"centroid-{i}"]).astype(int) for i in range(3)], 1)
        for place in places:
            number += 1
            markers[tuple(place)] = number
    regions = watershed(-p, markers, mask=base > 0)
    regionprops_table(regions, p, properties=("label", "area", "centroid", "intensity_mean"))
    return regions


def instances(options, folder):
    """Volumes in one run, as the 1,600 of a recording are processed: seconds a volume."""
    random = np.random.default_rng(0)
    paths = [folder / f"{number}_predictions.h5" for number in range(options.volumes)]
    for number in range(min(10, options.volumes)):
        p, _ = nuclei(random, (64, 120, 284), 150)
        with h5py.File(paths[number], "w") as file:
            file.create_dataset("predictions", data=np.stack([1 - p, p]),
                                chunks=(1, 16, 120, 284), compression="gzip", compression_opts=4)
    for number in range(10, options.volumes):
        shutil.copyfile(paths[number % 10], paths[number])
    ours, theirs, memory = [], [], 0
    for _ in range(options.runs):
        seconds, peak = run([options.unet3d, "instances", *map(str, paths), "--threads", THREADS])
        ours.append(seconds / len(paths))
        memory = max(memory, peak)
        start = time.perf_counter()
        with ThreadPoolExecutor(int(THREADS)) as pool:
            list(pool.map(by_scikit_image, paths))
        theirs.append((time.perf_counter() - start) / len(paths))
    tell(f"instances, {options.volumes} x 64x120x284, 150 regions, one", ours, theirs, memory, "scikit-image, without its start")


STAGE = """\
model_path: {folder}/network.pytorch
model: {{name: UNet3D, in_channels: 1, out_channels: 2, layer_order: cr, f_maps: [8, 16], final_sigmoid: false}}
predictor: {{name: StandardPredictor}}
loaders:
  output_dir: {folder}/out
  test:
    file_paths: ['{folder}/in']
    slice_builder: {{name: SliceBuilder, patch_shape: [51, 96, 210], stride_shape: [25, 48, 104]}}
    transformer: {{raw: [{{name: Normalize}}, {{name: ToTensor, expand_dims: true}}]}}
"""


def stage(options, folder):
    """Prediction with and without regions: a network of 8 feature maps, whose probabilities are
    those of brightness, in the patches of SegmentationNet. SegmentationNet itself, with 64 feature
    maps, takes some thirty times as long a volume."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests/fixtures"))
    from make_worm import network
    network(folder / "network.pytorch", 1, np.array([[0.0], [8.0]]), [5.6, 0.0])
    (folder / "in").mkdir()
    random = np.random.default_rng(3)
    count = 4
    for number in range(count):
        p, _ = nuclei(random, (64, 120, 284), 150)
        with h5py.File(folder / f"in/{number}.h5", "w") as file:
            file["raw"] = (100 + 900 * p + random.normal(0, 4, p.shape)).astype(np.uint16)
    plain = STAGE.format(folder=folder)
    (folder / "plain.yaml").write_text(plain)
    (folder / "with.yaml").write_text(plain + f"instances: {{output: {folder}/out}}\n")
    times, memory = {"plain": [], "with": []}, 0
    for _ in range(options.runs):
        for name in times:
            shutil.rmtree(folder / "out", ignore_errors=True)
            seconds, peak = run([options.unet3d, "predict", "--config", folder / f"{name}.yaml",
                                 "--threads", THREADS, "-q"])
            times[name].append(seconds / count)
            memory = max(memory, peak)
    plain, both = (np.median(times[name]) for name in ("plain", "with"))
    print(f"regions while predicting, 64x120x284: {both:.3f} s a volume, without {plain:.3f} s, "
          f"{both - plain:+.3f} s; {memory:.0f} MB", flush=True)


def names(options, folder):
    random = np.random.default_rng(1)
    shape, classes = (64, 120, 284), 185
    _, labels = nuclei(random, shape, 150)
    path, regions = folder / "names_predictions.h5", folder / "roi.h5"
    with h5py.File(path, "w") as file:
        data = file.create_dataset("predictions", (classes, *shape), np.float32,
                                   chunks=(1, 16, 120, 284), compression="gzip", compression_opts=4)
        for c in range(classes):
            plane = random.random(shape, np.float32) / classes
            plane[labels % classes == c] += 0.9
            data[c] = np.round(plane, 3)
    with h5py.File(regions, "w") as file:
        file["roi"] = labels
    (folder / "names.txt").write_text("\n".join(f"N{c}" for c in range(1, classes)))
    output = folder / "labels.csv"
    ours, theirs, memory = [], [], 0
    for _ in range(options.runs):
        output.unlink(missing_ok=True)
        seconds, peak = run([options.unet3d, "name-cells", "--predictions", str(path),
                                 "--regions", str(regions), "--names", str(folder / "names.txt"),
                                 "--output", str(output), "--threads", THREADS])
        ours.append(seconds)
        memory = max(memory, peak)
        start = time.perf_counter()
        with h5py.File(path) as file:
            for c in range(classes):
                file["predictions"][c]
        theirs.append(time.perf_counter() - start)
    tell("names, 185 classes x 64x120x284", ours, theirs, memory, "h5py reading the file")


def one_file(pair):
    import SimpleITK as sitk
    from skimage.metrics import adapted_rand_error, variation_of_information
    found, truth = [h5py.File(p)[n][:] for p, n in zip(pair, ("instances", "label"))]
    adapted_rand_error(truth, found)
    variation_of_information(truth, found)
    a, b = [sitk.GetImageFromArray((x > 0).astype(np.uint8)) for x in (found, truth)]
    overlap = sitk.LabelOverlapMeasuresImageFilter()
    overlap.Execute(a, b)
    distances = []
    for one, other in ((a, b), (b, a)):
        edge = sitk.LabelContour(one)
        far = sitk.Abs(sitk.SignedMaurerDistanceMap(sitk.LabelContour(other), squaredDistance=False))
        distances.append(sitk.GetArrayViewFromImage(far)[sitk.GetArrayViewFromImage(edge) > 0])
    max(np.percentile(d, 95) for d in distances), np.concatenate(distances).mean()


def scores(options, folder):
    random = np.random.default_rng(2)
    pairs = []
    for number in range(options.files):
        _, truth = nuclei(random, (64, 256, 256), 200)
        found = np.where(ndimage.shift(truth, (0, 1, 1), order=0) > 0, np.roll(truth, 1, 2), 0)
        pair = [folder / f"s{number}_instances.h5", folder / f"s{number}.h5"]
        for path, name, values in zip(pair, ("instances", "label"), (found, truth)):
            with h5py.File(path, "w") as file:
                file.create_dataset(name, data=values.astype(np.uint16), compression="gzip",
                                    chunks=(8, 256, 256))
        pairs.append(pair)
    ours, theirs, memory = [], [], 0
    for _ in range(options.runs):
        places = [str(folder), str(folder)]
        # Objects and classes: what the other side computes in one go.
        seconds = 0
        for kind in (["--kind", "instances"],
                     ["--kind", "semantic", "--binary", "--prediction-dataset", "instances"]):
            found = folder / kind[1]
            if kind[1] == "semantic":
                found.mkdir(exist_ok=True)
                for path, _ in pairs:
                    link = found / path.name.replace("_instances", "_predictions")
                    link.exists() or link.symlink_to(path)
                places[0] = str(found)
            one, peak = run([options.unet3d, "evaluate", *places, *kind, "--threads", THREADS,
                                 "--output", str(folder / "out" / kind[1])])
            seconds += one
            memory = max(memory, peak)
        ours.append(seconds)
        start = time.perf_counter()
        with ThreadPoolExecutor(int(THREADS)) as pool:
            list(pool.map(one_file, pairs))
        theirs.append(time.perf_counter() - start)
    tell(f"evaluate, {options.files} x 64x256x256", ours, theirs, memory, "scikit-image and SimpleITK")


def tell(what, ours, theirs, memory, other):
    a, b = np.median(ours), np.median(theirs)
    print(f"{what}: unet3d {a:.2f} s, {memory:.0f} MB; {other} {b:.2f} s; ratio {b / a:.1f}", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--unet3d", default="target/release/unet3d")
    parser.add_argument("--volumes", type=int, default=40)
    parser.add_argument("--files", type=int, default=50)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", choices=["instances", "stage", "names", "scores"])
    options = parser.parse_args()
    options.unet3d = str(Path(options.unet3d).resolve())
    with tempfile.TemporaryDirectory() as folder:
        for name, work in [
            ("instances", instances), ("stage", stage), ("names", names), ("scores", scores),
        ]:
            if options.only in (None, name):
                own = Path(folder) / name
                own.mkdir()
                work(options, own)


if __name__ == "__main__":
    main()
