"""Trains with each file of resources/ for a few iterations and predicts with the result.

The networks are small (model.f_maps), so that it takes minutes on a CPU: the script
shows that every file runs, not that the networks learn. `make examples` runs it; it
writes to demo/examples/ only. Arguments such as --threads 1 are passed on to the
program.
"""

import shutil
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = ROOT / "target" / "release" / "unet3d"
OUT = Path("demo/examples")


def run(log, command, config, **settings):
    """Runs one command with its output in a log file, which is shown if it fails."""
    arguments = [PROGRAM, command, "--config", config, *sys.argv[1:]]
    for key, value in settings.items():
        arguments += ["--set", f"{key.replace('__', '.')}={value}"]
    with open(ROOT / log, "a") as output:
        status = subprocess.run(arguments, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)
    if status.returncode != 0:
        print((ROOT / log).read_text())
        sys.exit(f"unet3d {command} --config {config} ended with exit code {status.returncode}")


def main():
    trains = sorted((ROOT / "resources").glob("train_config_*"))
    if not trains:
        sys.exit("resources/ has no train_config_* files")
    for train in trains:
        test = train.with_name(train.name.replace("train", "test"))
        folder = OUT / train.stem.removeprefix("train_config_")
        # What an earlier call of this script left there.
        shutil.rmtree(ROOT / folder, ignore_errors=True)
        (ROOT / folder).mkdir(parents=True)
        log = folder / "log.txt"
        start = time.monotonic()
        run(
            log,
            "train",
            train.relative_to(ROOT),
            model__f_maps=8,
            trainer__checkpoint_dir=folder,
            trainer__iters=4,
            trainer__validate_after_iters=2,
            trainer__log_after_iters=2,
        )
        run(
            log,
            "predict",
            test.relative_to(ROOT),
            model__f_maps=8,
            model_path=folder / "last_checkpoint.pytorch",
            loaders__output_dir=folder,
        )
        for path in sorted((ROOT / folder).glob("*_predictions.h5")):
            with h5py.File(path) as file:
                found = file["predictions"][:]
            if not np.isfinite(found).all():
                sys.exit(f"{path} holds numbers that are not finite")
            break
        else:
            sys.exit(f"nothing was predicted: see {log}")
        shape = " × ".join(map(str, found.shape))
        print(f"{train.name:32} {time.monotonic() - start:4.0f} s   {path.name} {shape}", flush=True)


if __name__ == "__main__":
    main()
