"""Lets the n-th read or write of a run fail, for every n, and sees what is left.

    python tests/soak/failing_files.py [--most 200] [--only predict:read] [--program PATH]

A C compiler makes fail_nth.c into a library that is preloaded. For each of a training and
a prediction, first the reads and writes of a run are counted; then the run is repeated with
one of them failing, for every number up to `--most`. A run may end with an error (exit code
1 or 2, one that names a file) or succeed; it must not crash or hang. Whatever bears its name
afterwards is whole: predictions are those of an undisturbed run, torch loads checkpoints,
inputs are unchanged, and no unfinished file is left.
"""

import argparse
import hashlib
import pathlib
import re
import shutil
import subprocess
import tempfile

import h5py
import numpy as np
import torch

from kill_training import CONFIG, make_data

PREDICT = """
model_path: {folder}/net.pytorch
device: cpu
model: {{name: UNet3D, in_channels: 1, out_channels: 2, f_maps: 8, num_levels: 2, num_groups: 4}}
predictor: {{patch_halo: [1, 2, 2], save_segmentation: true, preview: true}}
loaders:
  output_dir: {folder}/out
  test: {{file_paths: ['{folder}/volumes'], slice_builder: {{name: SliceBuilder, patch_shape: [8, 16, 16], stride_shape: [5, 9, 9], skip_shape_check: true}},
    transformer: {{raw: [{{name: Standardize}}, {{name: ToTensor, expand_dims: true}}]}}}}
"""


def digest(folder):
    paths = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in paths}


class Bench:
    """A folder with inputs, and the command that is run again and again."""

    def __init__(self, options, folder, library):
        self.program = str(pathlib.Path(options.program).resolve())
        self.folder, self.library = folder, library
        (folder / "volumes").mkdir()
        make_data(folder / "train.h5", 1, 16)
        make_data(folder / "val.h5", 2, 8)
        for number in range(2):
            make_data(folder / f"volumes/t{number}.h5", 10 + number, 10)
        self.config = {
            "train": CONFIG.format(folder=folder, name="run", iters=3).replace(
                "  iters:", f"  h5_dir: {folder}/run/dumps\n  iters:"),
            "predict": PREDICT.format(folder=folder),
        }
        for verb, text in self.config.items():
            (folder / f"{verb}.yaml").write_text(text)

    def run(self, verb, kind="none", at=0):
        for name in ("run", "out"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        environment = {
            "LD_PRELOAD": str(self.library), "FAIL_UNDER": str(self.folder), "FAIL_KIND": kind,
            "FAIL_AT": str(at), "FAIL_COUNT": str(self.folder.parent / "count"),
        }
        return subprocess.run(
            [self.program, verb, "--config", str(self.folder / f"{verb}.yaml"), "--threads", "1"],
            env=environment, capture_output=True, text=True, timeout=120)

    def count(self):
        return int((self.folder.parent / "count").read_text())


def arrays(path):
    with h5py.File(path) as file:
        return {name: file[name][...] for name in file}


def check(bench, verb, done, wanted, inputs):
    """What must hold after any run; returns whether it succeeded."""
    assert done.returncode in (0, 1, 2), (done.returncode, done.stderr)
    assert "panicked" not in done.stderr, done.stderr
    assert done.returncode == 0 or re.search(r"error: .*/", done.stderr, re.S), done.stderr
    now = {path: sum for path, sum in digest(bench.folder).items() if path in inputs}
    assert now == inputs, "an input changed"
    left = [p.name for p in bench.folder.rglob("*") if p.name.endswith(".partial")]
    assert not left, f"unfinished files are left: {left}"
    if verb == "predict":
        found = {p.name: arrays(p) for p in (bench.folder / "out").glob("*.h5")}
        for name, values in found.items():
            for key in wanted[name]:
                assert np.array_equal(values[key], wanted[name][key]), (name, key)
        assert done.returncode or found.keys() == wanted.keys()
    else:
        for path in (bench.folder / "run").glob("*.pytorch"):
            state = torch.load(path, map_location="cpu")["model_state_dict"]
            assert all(torch.isfinite(t).all() for t in state.values())
            if path.name == "last_checkpoint.pytorch" and done.returncode == 0:
                assert all(torch.equal(state[key], wanted[key]) for key in wanted)
    return done.returncode == 0


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--most", type=int, default=200)
    options.add_argument("--only", help="one of train:read, train:write, predict:read, predict:write")
    options.add_argument("--program", default="target/release/unet3d")
    options = options.parse_args()
    here = pathlib.Path(__file__).parent
    with tempfile.TemporaryDirectory() as outer:
        outer = pathlib.Path(outer)
        library = outer / "fail_nth.so"
        subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", library, here / "fail_nth.c", "-ldl"],
                       check=True)
        folder = outer / "lab"
        folder.mkdir()
        bench = Bench(options, folder, library)
        done = bench.run("train")
        assert done.returncode == 0, done.stderr
        shutil.copy(folder / "run/last_checkpoint.pytorch", folder / "net.pytorch")
        inputs = {p: s for p, s in digest(folder).items() if "/run/" not in p}
        for verb in ("train", "predict"):
            assert bench.run(verb).returncode == 0
            if verb == "predict":
                wanted = {p.name: arrays(p) for p in (folder / "out").glob("*.h5")}
                assert len(wanted) == 2
            else:
                last = folder / "run/last_checkpoint.pytorch"
                wanted = torch.load(last, map_location="cpu")["model_state_dict"]
            for kind in ("read", "write"):
                if options.only not in (None, f"{verb}:{kind}"):
                    continue
                bench.run(verb, kind)
                total, errors = bench.count(), 0
                assert total > 0
                for at in range(1, min(total, options.most) + 1):
                    done = bench.run(verb, kind, at)
                    try:
                        errors += not check(bench, verb, done, wanted, inputs)
                    except AssertionError as error:
                        print(f"{verb}: {kind} {at} of {total}: {error}\n{done.stdout}{done.stderr}")
                        raise
                print(f"{verb}: {min(total, options.most)} of {total} {kind}s failed one by one, "
                      f"{errors} runs ended with an error, the others succeeded", flush=True)


if __name__ == "__main__":
    main()
