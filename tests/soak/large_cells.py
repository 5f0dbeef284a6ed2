"""Regions and scores of a volume that is larger than the memory they may take.

    python tests/soak/large_cells.py [--unet3d target/release/unet3d] [--size 1024,1024,1024]
                                     [--boundary 256,384,512] [--limit 1024] [--folder /data]
                                     [--only thresholds,distance,boundary,scores,many]

Needs numpy and h5py. A volume of float32 probabilities (4 GB by default) is generated slab by
slab. `unet3d instances` finds its regions in blocks, with one and with two threads, and in one
piece with all the memory it wants; the same for a boundary map, which in one piece takes ten times
its size; `unet3d evaluate` then scores the regions as objects and the probability as a class.
The ids in blocks must be those in one piece, voxel by voxel, and the tables the same byte for
byte. A volume of more than 2²⁴ objects of a voxel each is numbered and scored, too. Peak memory is that of getrusage; a run in blocks that takes more than `--limit` MiB is an
error of this script.
"""

import argparse
import itertools
import json
import sys
import tempfile
from pathlib import Path

import h5py
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))
from measure import run  # noqa: E402

TILE = 64


def tiles(random, count):
    """Periodic boxes of bright blobs, some of which touch."""
    grid = np.stack(np.meshgrid(*[np.arange(TILE)] * 3, indexing="ij"), -1)
    made = []
    for _ in range(count):
        tile = np.zeros((TILE,) * 3, np.float32)
        for _ in range(22):
            radius = random.uniform(3.5, 6.5, 3)
            away = (grid - random.uniform(0, TILE, 3) + TILE / 2) % TILE - TILE / 2
            np.maximum(tile, np.exp(-((away / radius) ** 2).sum(-1)), out=tile)
        made.append(np.clip(1.3 * tile, 0, 1).astype(np.float32))
    return made


def walls(random, count):
    """Periodic boxes of cells between walls."""
    grid = np.stack(np.meshgrid(*[np.arange(TILE)] * 3, indexing="ij"), -1)
    made = []
    for _ in range(count):
        near = np.full((2,) + (TILE,) * 3, np.inf, np.float32)
        for _ in range(90):
            away = (grid - random.uniform(0, TILE, 3) + TILE / 2) % TILE - TILE / 2
            distance = np.sqrt((away**2).sum(-1)).astype(np.float32)
            near = np.sort(np.concatenate([near, distance[None]]), 0)[:2]
        made.append(np.exp(-((near[1] - near[0]) ** 2) / 6).astype(np.float32))
    return made


def volume(path, name, size, boxes, random):
    """Boxes side by side, turned over at random, with a little noise."""
    noise = random.uniform(0, 0.02, (TILE,) * 3).astype(np.float32)
    with h5py.File(path, "w") as file:
        data = file.create_dataset(name, size, np.float32, chunks=(16, 128, 128))
        for z in range(0, size[0], TILE):
            slab = np.empty((TILE, size[1], size[2]), np.float32)
            for y, x in itertools.product(range(0, size[1], TILE), range(0, size[2], TILE)):
                box = boxes[random.integers(len(boxes))]
                box = box[tuple(slice(None, None, random.choice([-1, 1])) for _ in range(3))]
                part = slab[:, y : y + TILE, x : x + TILE]
                part[:] = (box + np.roll(noise, random.integers(TILE), 2))[:, : part.shape[1], : part.shape[2]]
            data[z : z + TILE] = slab[: size[0] - z]


def same(one, other):
    """Whether two label images are equal, slab by slab."""
    with h5py.File(one) as a, h5py.File(other) as b:
        a, b = a["instances"], b["instances"]
        return a.shape == b.shape and all(
            np.array_equal(a[z : z + 16], b[z : z + 16]) for z in range(0, a.shape[0], 16)
        )


def many_objects(folder, tell, failures):
    """A three-dimensional chessboard: every other voxel is an object."""
    shape = (132, 512, 512)
    path, found = folder / "many_predictions.h5", folder / "many_instances.h5"
    board = np.indices((1, *shape[1:])).sum(0) % 2
    with h5py.File(path, "w") as file:
        data = file.create_dataset("predictions", shape, np.float32, chunks=(4, 512, 512), compression="gzip")
        for z in range(shape[0]):
            data[z] = 0.75 * (board[0] ^ (z % 2))
    flags = ["--min-size", 1, "--split", "none", "--threads", 2]
    tell("many objects", ["instances", path, *flags], False)
    expected = int(np.prod(shape)) // 2
    with h5py.File(found) as file:
        last = file["instances"][-1]
        if last.max() != expected or len(np.unique(last)) != last.size // 2 + 1:
            failures.append(f"many objects: the last slice has ids up to {last.max()}, not {expected}")
    with open(found.with_suffix(".csv"), "rb") as table:
        rows = sum(1 for _ in table) - 1
    if rows != expected:
        failures.append(f"many objects: the table has {rows} rows")
    words = ["evaluate", found, found, "--truth-dataset", "instances", "--output", folder / "many"]
    tell("many objects, scores", [*words, "--threads", 2], False)
    scores = json.loads((folder / "many/summary.json").read_text())["mean"]["objects"]
    if (scores["truth_objects"]["mean"], scores["ap_95"]["mean"]) != (expected, 1):
        failures.append(f"many objects: {scores['truth_objects']}, {scores['ap_95']}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sizes = lambda text: tuple(int(n) for n in text.split(","))  # noqa: E731
    parser.add_argument("--unet3d", default="target/release/unet3d")
    parser.add_argument("--size", type=sizes, default="1024,1024,1024")
    parser.add_argument("--boundary", type=sizes, default="256,384,512")
    parser.add_argument("--memory", type=int, default=256, help="--memory of the runs in blocks")
    parser.add_argument("--limit", type=int, default=1024)
    parser.add_argument("--folder", default=None)
    parts = ["thresholds", "distance", "boundary", "scores", "many"]
    parser.add_argument("--only", type=lambda text: text.split(","), default=parts)
    options = parser.parse_args()
    program = str(Path(options.unet3d).resolve())
    random = np.random.default_rng(0)
    failures = []

    def tell(what, arguments, limited):
        seconds, peak = run([program, *arguments])
        print(f"{what}: {seconds:.0f} s, peak {peak:.0f} MiB", flush=True)
        if limited and peak > options.limit:
            failures.append(f"{what}: {peak:.0f} MiB")

    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        folder = Path(folder)
        nuclei, membranes = folder / "nuclei.h5", folder / "membranes.h5"
        if {"thresholds", "distance", "scores"} & set(options.only):
            volume(nuclei, "predictions", options.size, tiles(random, 8), random)
        if "boundary" in options.only:
            volume(membranes, "predictions", options.boundary, walls(random, 8), random)
        found = {}
        for what, path, size, flags in [
            ("thresholds", nuclei, options.size, []),
            ("distance", nuclei, options.size, ["--split", "distance"]),
            ("boundary", membranes, options.boundary, ["--method", "boundary"]),
        ]:
            if what not in options.only:
                continue
            gigabytes = np.prod(size) * 4 / 1e9
            print(f"{what}: {size} voxels, {gigabytes:.1f} GB", flush=True)
            outputs = []
            for way, more in [
                ("in one piece", ["--memory", 1 << 20, "--threads", 2]),
                ("in blocks, 1 thread", ["--memory", options.memory, "--threads", 1]),
                ("in blocks, 2 threads", ["--memory", options.memory // 2, "--threads", 2]),
            ]:
                output = folder / f"{what}_{len(outputs)}"
                tell(f"  {way}", ["instances", path, "--output", output, *flags, *more], "blocks" in way)
                outputs.append(output / f"{path.stem}_instances.h5")
            with h5py.File(outputs[0]) as file:
                count = max(int(file["instances"][z].max()) for z in range(0, size[0], 8))
            print(f"  {count} regions or more", flush=True)
            for output in outputs[1:]:
                if not same(outputs[0], output):
                    failures.append(f"{what}: {output} has other ids")
                if output.with_suffix(".csv").read_bytes() != outputs[0].with_suffix(".csv").read_bytes():
                    failures.append(f"{what}: {output} has another table")
            found[what] = outputs[1]
        if "scores" in options.only:
            # The regions against themselves, cut in another way if that was done.
            truth = found["thresholds"]
            words = ["evaluate", found.get("distance", truth), truth, "--truth-dataset", "instances"]
            tell("evaluate, objects", [*words, "--output", folder / "objects", "--threads", 2], True)
            words = ["evaluate", nuclei, truth, "--truth-dataset", "instances", "--binary"]
            words += ["--kind", "semantic", "--output", folder / "classes", "--threads", 2]
            words += ["--report", folder / "report.html"]
            tell("evaluate, classes, distances and a report", words, True)
        if "many" in options.only:
            many_objects(folder, tell, failures)
    sys.exit("\n".join(failures) if failures else 0)


if __name__ == "__main__":
    main()
