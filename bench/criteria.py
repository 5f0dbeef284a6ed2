"""Losses and label-image metrics against torch and scikit-image, in turn.

    cargo bench --bench criteria_speed --no-run     # prints the path of the program
    python bench/criteria.py target/release/deps/criteria_speed-… [classes depth height width]

The loss is PixelWiseCrossEntropyLoss, forward and backward. torch computes it from one-hot
labels and weights in int64, as pytorch-3dunet reads them; unet3d computes it from the
compact forms. Label images are 64 x 256 x 256. Every number is the lowest of three.
"""

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np


def least(run, repeats=3):
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def torch_loss(size):
    import torch

    torch.manual_seed(0)
    classes, *space = size
    logits = torch.randn(1, *size, requires_grad=True)
    index = torch.randint(0, classes, (1, 1, *space))
    target = torch.zeros(1, *size, dtype=torch.long).scatter_(1, index, 1)
    weights = torch.randint(0, 50, (1, *size))
    class_weights = torch.ones(1, classes, 1, 1, 1)

    def run():
        logits.grad = None
        log_probabilities = torch.log_softmax(logits, 1)
        (-(class_weights * weights) * target * log_probabilities).mean().backward()

    print("loss", least(run))
    print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def figures(*command):
    out = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=True).stdout
    return {line.split()[0]: float(line.split()[1]) for line in out.splitlines()}


def bench_loss(program, size):
    print(f"PixelWiseCrossEntropyLoss on logits 1x{'x'.join(map(str, size))}, 3 runs in turn")
    for _ in range(3):
        theirs = figures(sys.executable, __file__, "--torch-loss", *size)
        ours = figures(program, "loss", *size)
        print(
            f"  torch {theirs['loss']:.2f} s, peak {theirs['peak'] / 2**30:.2f} GiB;"
            f"  unet3d {ours['loss']:.2f} s, peak {ours['peak'] / 2**30:.2f} GiB;"
            f"  {theirs['loss'] / ours['loss']:.1f} times faster, {ours['peak'] / theirs['peak']:.2f} of the memory"
        )


def bench_instances(program):
    from scipy.ndimage import gaussian_filter
    from skimage.measure import label
    from skimage.metrics import adapted_rand_error, contingency_table

    rng = np.random.default_rng(0)
    shape = (64, 256, 256)
    smooth = gaussian_filter(rng.random(shape), 3)
    for name, mask in (("cells", smooth > np.median(smooth)), ("specks", rng.random(shape) < 0.04)):
        mask = mask.astype(np.uint8)
        labels = label(mask, background=0, connectivity=1)
        found = np.roll(labels, (0, 1, 1), (0, 1, 2))
        theirs = {
            "components": least(lambda: label(mask, background=0, connectivity=1)),
            "table": least(lambda: contingency_table(labels, found, sparse_type="array").sum_duplicates()),
            "arand": least(lambda: adapted_rand_error(labels, found)),
        }
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "images.h5"
            with h5py.File(path, "w") as file:
                file["mask"], file["labels"] = mask, labels.astype(np.int64)
                file["truth"], file["found"] = labels.astype(np.int64), found.astype(np.int64)
                file["error"] = adapted_rand_error(labels, found)[0]
            ours = figures(program, "instances", path)
        print(f"{name}: {labels.max()} components")
        for key in theirs:
            print(
                f"  {key}: scikit-image {1e3 * theirs[key]:.1f} ms, unet3d {1e3 * ours[key]:.1f} ms,"
                f" {theirs[key] / ours[key]:.1f} times faster"
            )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--torch-loss"]:
        torch_loss([int(n) for n in sys.argv[2:]])
    else:
        bench_instances(sys.argv[1])
        bench_loss(sys.argv[1], [int(n) for n in sys.argv[2:]] or [185, 64, 120, 284])
