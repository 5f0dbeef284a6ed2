"""Kills each command that writes at random moments and runs it again.

    python tests/soak/kill_commands.py [--kills 25] [--program target/release/unet3d]

What bears the name of a result after a `kill -9` must be whole: it reads as in an undisturbed
run. The next run must succeed, or, where the command replaces nothing, name a file that is
there already; and it must leave no unfinished file of a name that it writes.
"""

import argparse
import pathlib
import random
import shutil
import subprocess
import tempfile
import time

import h5py
import numpy as np

from failing_files import PREDICT
from kill_training import CONFIG, make_data

#: Commands that replace nothing: after a kill at the end their files are there.
REFUSE = {"make-training-data", "export", "import", "make-label-input", "name-cells", "convert"}


def content(path):
    """The voxels of an HDF5 file, of which the bytes hold times, or the bytes."""
    if path.suffix != ".h5":
        return path.read_bytes()
    with h5py.File(path) as file:
        return {name: file[name][...].tobytes() for name in file}


def contents(folder):
    """What is in all files of a folder but those that are hidden, within folders too."""
    names = [p.relative_to(folder) for p in sorted(folder.rglob("*")) if p.is_file()]
    shown = [name for name in names if not any(part.startswith(".") for part in name.parts)]
    return {str(name): content(folder / name) for name in shown}


def prepare(folder, program):
    """Inputs for all commands; returns the command lines, `out` standing for their results."""
    make_data(folder / "train.h5", 1, 16)
    make_data(folder / "val.h5", 2, 8)
    for name in ("volumes", "truth"):
        (folder / name).mkdir()
    for number in range(2):
        make_data(folder / f"volumes/t{number}.h5", 10 + number, 10)
    text = CONFIG.format(folder=folder, name="run", iters=2)
    (folder / "train.yaml").write_text(text)
    text = PREDICT.format(folder=folder).replace("/out", "/first")
    (folder / "predict.yaml").write_text(text)
    labels = np.zeros((4, 8, 8), "uint16")
    labels[1:3, 1:4, 1:4] = 1
    labels[1:3, 5:7, 5:7] = 2
    arrays = {
        "regions.h5": ("roi", labels),
        "image.h5": ("raw", np.random.default_rng(0).random((2, 4, 8, 8), "float32")),
        "names.h5": ("predictions", np.stack([labels == n for n in range(3)]).astype("float32")),
    }
    for name, (dataset, values) in arrays.items():
        with h5py.File(folder / name, "w") as file:
            file[dataset] = values
    (folder / "names.txt").write_text("AVA\nAVB\n")

    def run(*words):
        subprocess.run([program, *map(str, words)], cwd=folder, check=True, capture_output=True)

    run("train", "--config", "train.yaml")
    shutil.copy(folder / "run/last_checkpoint.pytorch", folder / "net.pytorch")
    run("predict", "--config", "predict.yaml")
    run("instances", "first", "--output", "found", "--threshold", 0.4)
    for number in range(2):
        shutil.copy(folder / f"found/t{number}_instances.h5", folder / f"truth/t{number}.h5")
    run("export", "--config", "predict.yaml", "--checkpoint", "net.pytorch", "package.zip",
        "--author", "me")
    lines = [
        "predict --config predict.yaml --set loaders.output_dir=out "
        "--set instances.threshold=0.4 --set instances.preview=true",
        "instances first --output out --threshold 0.4 --preview",
        "instances first --output out --threshold 0.4 --format tiff",
        "instances first --output out --threshold 0.4 --layout antsun",
        "evaluate found truth --kind instances --output out --report out/report.html",
        "convert volumes/t0.h5 out/v.zarr --dataset raw --overwrite",
        "convert volumes/t0.h5 out/v.h5 --dataset raw",
        "make-training-data --raw volumes --output out",
        "export --config predict.yaml --checkpoint net.pytorch out/n.zip --author me",
        "export --config predict.yaml --checkpoint net.pytorch out/n.pt",
        "import package.zip --output out",
        "make-label-input --image image.h5 --regions regions.h5 --output out/i.h5 "
        "--regions-output out/r.h5 --crop 4,8,8",
        "name-cells --predictions names.h5 --regions regions.h5 --names names.txt "
        "--output out/t.csv --matrix out/m.h5",
    ]
    return [line.split() for line in lines]


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--kills", type=int, default=25)
    options.add_argument("--program", default="target/release/unet3d")
    options = options.parse_args()
    program = str(pathlib.Path(options.program).resolve())
    random.seed(3)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        out = folder / "out"
        for line in prepare(folder, program):
            def run():
                return subprocess.run([program, *line], cwd=folder, capture_output=True, text=True)

            def anew():
                shutil.rmtree(out, ignore_errors=True)
                out.mkdir()

            anew()
            begun = time.monotonic()
            assert run().returncode == 0
            took = time.monotonic() - begun
            wanted = contents(out)
            halfway = refused = 0
            for _ in range(options.kills):
                anew()
                process = subprocess.Popen([program, *line], cwd=folder, stdout=subprocess.DEVNULL,
                                           stderr=subprocess.DEVNULL)
                time.sleep(took * random.uniform(0.2, 1.0))
                process.kill()
                process.wait()
                there = contents(out)
                halfway += 0 < len(there) < len(wanted)
                for name, value in there.items():
                    # A package and a page hold the time of their making.
                    assert name.endswith((".zip", ".html")) or value == wanted[name], (line, name)
                done = run()
                if done.returncode:
                    assert line[0] in REFUSE and there, done.stderr
                    assert any(name in done.stderr for name in there), done.stderr
                    refused += 1
                    continue
                assert contents(out).keys() == wanted.keys(), line
                left = [p.name for p in out.rglob("*.partial")]
                assert not left, f"{line}: unfinished files are left: {left}"
            print(f"{' '.join(line[:2])} …: {options.kills} kills, {halfway} with a part of the "
                  f"files, {refused} refused to replace what was there", flush=True)


if __name__ == "__main__":
    main()
