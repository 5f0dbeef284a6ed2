"""Prediction by unet3d and by pytorch-3dunet 1.9 itself, on the settings of its test files.

    VENV/bin/python bench/upstream.py [--case nuclei|confocal] [--threads 2] [--rounds 1]

Needs a Python with pytorch3dunet 1.9.6 (`pip install pytorch3dunet==1.9.6` into a virtual
environment made with --system-site-packages from one with torch). `nuclei` and `confocal` have
the settings of 3DUnet_lightsheet_nuclei and 3DUnet_confocal_boundary: patches 80 x 170 x 170
with a halo of 16, 32, 32, normalized by the volume, UNet3D with f_maps 32; on a volume of
generated nuclei or cell walls and with random weights. Both are whole processes, in turn, on as
many cores as threads; their results are compared to 1e-4. Memory is the largest sum over the
processes of a program, pages that they share counted once.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time

import h5py
import numpy as np
import torch

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROGRAM = ROOT / "target" / "release" / "unet3d"

CASES = {
    # Sizes of the published volumes, about.
    "nuclei": dict(size=(140, 340, 340), f_maps=[32, 64, 128, 256]),
    "confocal": dict(size=(160, 510, 340), f_maps=32),
}
CONFIG = """
model_path: {folder}/best_checkpoint.pytorch
model:
  name: UNet3D
  in_channels: 1
  out_channels: 1
  layer_order: gcr
  f_maps: {f_maps}
  num_groups: 8
  final_sigmoid: true
predictor:
  name: StandardPredictor
loaders:
  dataset: StandardHDF5Dataset
  output_dir: {folder}/{out}
  batch_size: 1
  raw_internal_path: raw
  num_workers: 8
  global_normalization: true
  test:
    file_paths: ['{folder}/volume.h5']
    slice_builder:
      name: SliceBuilder
      patch_shape: [80, 170, 170]
      stride_shape: [80, 170, 170]
      halo_shape: [16, 32, 32]
    transformer:
      raw: [{{name: Standardize}}, {{name: ToTensor, expand_dims: true}}]
device: cpu
"""


def volume(case, size):
    """Blurred noise above a threshold as nuclei, or its level sets as walls."""
    rng = np.random.default_rng(3)
    noise = torch.from_numpy(rng.standard_normal(size).astype("float32"))[None, None]
    for _ in range(2):
        noise = torch.nn.functional.avg_pool3d(noise, 7, 1, 3)
    field = (noise / noise.std())[0, 0].numpy()
    signal = field > 0.8 if case == "nuclei" else np.abs(field) < 0.15
    raw = 200 + 600 * signal + 60 * rng.standard_normal(size)
    return np.clip(raw, 0, 65535).astype("uint16")


def memory(pid):
    """Bytes of a process and those that it started, shared pages counted once."""
    total = 0
    for process in [pid, *children(pid)]:
        try:
            for line in pathlib.Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
        except OSError:
            pass
    return total


def children(pid):
    found = []
    try:
        for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += [child, *children(child)]
    except OSError:
        pass
    return found


def timed(command, threads):
    """Seconds and largest memory in GiB of a command on so many cores."""
    cores = sorted(os.sched_getaffinity(0))[:threads]
    environment = dict(os.environ, OMP_NUM_THREADS=str(threads), CUDA_VISIBLE_DEVICES="")
    start = time.perf_counter()
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
        env=environment,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )
    peak, ended = [0], threading.Event()

    def watch():
        # Looking stops a process for as long as its page tables take to walk: a hundredth of
        # the time at most.
        pause = 0.2
        while not ended.wait(pause):
            began = time.perf_counter()
            peak[0] = max(peak[0], memory(process.pid))
            pause = max(0.2, 100 * (time.perf_counter() - began))

    watcher = threading.Thread(target=watch)
    watcher.start()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    # What the largest of its processes had at its peak, whether or not somebody looked.
    peak[0] = max(peak[0], usage.ru_maxrss * 1024)
    ended.set()
    watcher.join()
    if status != 0:
        sys.exit(f"{command} ended with {status}")
    return seconds, peak[0] / 2**30


def checkpoint(path, f_maps):
    from pytorch3dunet.unet3d.model import UNet3D

    torch.manual_seed(0)
    net = UNet3D(in_channels=1, out_channels=1, f_maps=f_maps, layer_order="gcr", num_groups=8)
    torch.save({"model_state_dict": net.state_dict()}, path)


def compare(folder):
    name = "volume_predictions.h5"
    with h5py.File(folder / "ours" / name) as a, h5py.File(folder / "theirs" / name) as b:
        ours, theirs = a["predictions"], b["predictions"]
        assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
        return max(np.abs(ours[:, z] - theirs[:, z]).max() for z in range(ours.shape[1]))


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--case", choices=CASES)
    options.add_argument("--size", type=lambda text: tuple(map(int, text.split(","))), help="Z,Y,X")
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--rounds", type=int, default=1)
    options.add_argument("--program", type=pathlib.Path, default=PROGRAM)
    options = options.parse_args()
    print("| case | unet3d | pytorch-3dunet | times as fast | share of memory | difference |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name in [options.case] if options.case else CASES:
        case = CASES[name]
        size = options.size or case["size"]
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            with h5py.File(folder / "volume.h5", "w") as file:
                file["raw"] = volume(name, size)
            checkpoint(folder / "best_checkpoint.pytorch", case["f_maps"])
            for out in ("ours", "theirs"):
                text = CONFIG.format(folder=folder, out=out, f_maps=case["f_maps"])
                (folder / f"{out}.yaml").write_text(text)
            threads = str(options.threads)
            ours_command = [options.program, "predict", "--threads", threads, "--config"]
            theirs_command = [sys.executable, "-c", "from pytorch3dunet.predict import main; main()"]
            ours, theirs = [], []
            for _ in range(options.rounds):
                ours.append(timed([*ours_command, folder / "ours.yaml"], options.threads))
                theirs.append(
                    timed([*theirs_command, "--config", folder / "theirs.yaml"], options.threads)
                )
            difference = compare(folder)
            assert difference < 1e-4, difference
            (a, b), (c, d) = [[min(values) for values in zip(*runs)] for runs in (ours, theirs)]
            print(
                f"| {name} {'×'.join(map(str, size))} | {a:.1f} s, {b:.2f} GiB | {c:.1f} s, {d:.2f} GiB "
                f"| {c / a:.2f} | {b / d:.2f} | {difference:.1e} |",
                flush=True,
            )


main()
