"""What happens around a run: several runs at once, kills in each phase, stops, a clock that
jumps, inputs that take the place of others, a disk that fills, turns read-only or disappears.

    python tests/soak/surroundings.py [--program target/release/unet3d] [--only NAME]

Needs root for its own small file systems (tmpfs); rows that need it are left out without.
Every row prints one line; the first that does not hold ends the script with exit code 1.
"""

import argparse
import os
import pathlib
import random
import shutil
import signal
import subprocess
import tempfile
import time

import h5py
import numpy as np
import torch

from kill_training import CONFIG, make_data, same

PREDICT = """
model_path: {folder}/net.pytorch
device: cpu
model: {{name: UNet3D, in_channels: 1, out_channels: 2, f_maps: 8, num_levels: 2, num_groups: 4}}
predictor: {{patch_halo: [1, 2, 2]}}
loaders:
  output_dir: {out}
  test: {{file_paths: ['{folder}/volumes'], slice_builder: {{name: SliceBuilder, patch_shape: [8, 16, 16], stride_shape: [5, 9, 9], skip_shape_check: true}},
    transformer: {{raw: [{{name: Standardize}}, {{name: ToTensor, expand_dims: true}}]}}}}
"""

# Answers the questions for the time of day with one hour less, then one more, in turn.
CLOCK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>
int clock_gettime(clockid_t id, struct timespec *now) {
  static long calls = 0;
  int done = ((int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime"))(id, now);
  if (id == CLOCK_REALTIME) now->tv_sec += ++calls % 2 ? -3600 : 3600;
  return done;
}
"""

# From the moment a file appears, nothing below a folder can be written.
READ_ONLY = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static int frozen(const char *path) {
  const char *under = getenv("FROZEN_UNDER");
  if (strncmp(path, under, strlen(under)) || access(getenv("FROZEN_FROM"), F_OK)) return 0;
  errno = EROFS;
  return 1;
}
#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
int open64(const char *path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  int mode = va_arg(more, int);
  va_end(more);
  if ((flags & (O_WRONLY | O_RDWR | O_CREAT)) && frozen(path)) return -1;
  return NEXT(open64)(path, flags, mode);
}
ssize_t write(int fd, const void *buffer, size_t count) {
  char link[64], path[PATH_MAX];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 1);
  path[length < 0 ? 0 : length] = 0;
  return frozen(path) ? -1 : NEXT(write)(fd, buffer, count);
}
int rename(const char *from, const char *to) { return frozen(to) ? -1 : NEXT(rename)(from, to); }
int unlink(const char *path) { return frozen(path) ? -1 : NEXT(unlink)(path); }
"""


def preload(lab, name, source):
    path, library = lab.folder / f"{name}.c", lab.folder / f"{name}.so"
    path.write_text(source)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, path, "-ldl"], check=True)
    return {"LD_PRELOAD": str(library)}


class Lab:
    def __init__(self, program, folder):
        self.program, self.folder = program, folder
        (folder / "volumes").mkdir()
        make_data(folder / "train.h5", 1, 16)
        make_data(folder / "val.h5", 2, 8)
        for number in range(12):
            make_data(folder / f"volumes/t{number}.h5", 10 + number, 12)
        self.train("net", 3).check()
        shutil.copy(folder / "net/last_checkpoint.pytorch", folder / "net.pytorch")
        self.predict(folder / "wanted").check()
        self.wanted = outputs(folder / "wanted")
        assert len(self.wanted) == 12

    def start(self, verb, name, text, *more, env=None):
        path = self.folder / f"{name}.yaml"
        path.write_text(text)
        command = [self.program, verb, "--config", str(path), "--threads", "1", *more]
        process = subprocess.Popen(command, env=env or {}, text=True, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT)
        return Started(process)

    def train(self, name, iters, *more, validate=1, **how):
        text = CONFIG.format(folder=self.folder, name=name, iters=iters)
        text = text.replace("validate_after_iters: 1", f"validate_after_iters: {validate}")
        return self.start("train", name, text, *more, **how)

    def predict(self, out, *more, **how):
        return self.start("predict", "p" + out.name, PREDICT.format(folder=self.folder, out=out),
                          *more, **how)


class Started:
    def __init__(self, process):
        self.process = process

    def end(self, timeout=120):
        self.said, _ = self.process.communicate(timeout=timeout)
        self.code = self.process.returncode
        assert "panicked" not in self.said, self.said
        return self

    def check(self, *codes):
        self.end()
        assert self.code in (codes or (0,)), (self.code, self.said)
        return self


def outputs(folder):
    found = {}
    for path in pathlib.Path(folder).glob("*.h5"):
        with h5py.File(path) as file:
            found[path.name] = file["predictions"][...]
    return found


def load(path):
    return torch.load(path, map_location="cpu")


def wait_for(condition, timeout=60):
    deadline = time.time() + timeout
    while not condition():
        assert time.time() < deadline, "it did not come to that within a minute"
        time.sleep(0.002)


def checkpoints_load(folder):
    for path in folder.glob("*.pytorch"):
        assert all(torch.isfinite(t).all() for t in load(path)["model_state_dict"].values())


def same_predictions(lab, out):
    found = outputs(out)
    assert found.keys() == lab.wanted.keys()
    assert all(np.array_equal(found[name], lab.wanted[name]) for name in found)
    assert not list(out.glob(".*")), "unfinished files are left over"


def several_predictions(lab, rounds=5):
    """Four predictions of the same files at once, one of them killed: all outputs whole,
    nothing left over."""
    kills = 0
    for number in range(rounds):
        out = lab.folder / f"together{number}"
        runs = [lab.predict(out) for _ in range(4)]
        wait_for(lambda: out.exists() and any(out.glob(".*.partial")))
        time.sleep(random.uniform(0, 0.2))
        runs[0].process.kill()
        kills += runs[0].end().code == -signal.SIGKILL
        for run in runs[1:]:
            run.check()
        # What the killed one began last, the others may have finished before.
        lab.predict(out).check()
        same_predictions(lab, out)
    return f"{rounds} rounds, {kills} kills; every other run succeeded, outputs those of one run"


def exchanged_inputs(lab, rounds=20):
    """Inputs that take the place of others, of any age, and outputs that are damaged, between
    runs with --skip-existing: what was changed is predicted anew, and nothing else."""
    volumes, out = lab.folder / "exchanged", lab.folder / "exchanged_out"
    shutil.copytree(lab.folder / "volumes", volumes)
    text = PREDICT.format(folder=lab.folder, out=out).replace(
        f"{lab.folder}/volumes", str(volumes))
    anew = 0

    def run(wanted):
        done = lab.start("predict", "pexchanged", text, "--skip-existing").check()
        made = {line.split("/")[-1].split("_")[0] for line in done.said.splitlines()
                if "s a volume" in line}
        assert made == wanted, (made, wanted, done.said)

    run({path.stem for path in volumes.glob("*.h5")})
    for number in range(rounds):
        run(set())
        changed = set()
        for name in random.sample(sorted(path.stem for path in volumes.glob("*.h5")), 4):
            path, output = volumes / f"{name}.h5", out / f"{name}_predictions.h5"
            how = random.choice(["moved", "written", "cut", "zeroed", "removed"])
            if how in ("moved", "written"):
                other = volumes / "other" if how == "moved" else path
                age = path.stat().st_mtime_ns
                make_data(other, 1000 * number + len(changed), 12)
                os.utime(other, ns=(age - random.choice([0, 1, 10**9, 10**17]),) * 2)
                if how == "moved":
                    os.replace(other, path)
                elif path.stat().st_mtime_ns == age:
                    os.utime(path)
            elif how == "removed":
                output.unlink()
            else:
                length = output.stat().st_size
                with open(output, "r+b") as file:
                    if how == "cut":
                        file.truncate(random.randint(length // 2, length - 1))
                    else:
                        file.seek(random.randint(length // 2, length - 400))
                        file.write(bytes(400))
            changed.add(name)
        run(changed)
        anew += len(changed)
    return f"{rounds} rounds, {anew} changes, each of them and nothing else predicted anew"


def two_trainings(lab):
    """Two trainings in one directory: the second ends with an error, the first goes on."""
    first = lab.train("shared", 40)
    wait_for(lambda: (lab.folder / "shared/last_checkpoint.pytorch").exists())
    second = lab.train("shared", 40).check(1, 2)
    first.check()
    assert load(lab.folder / "shared/last_checkpoint.pytorch")["num_iterations"] == 40
    return f"the second: {second.said.strip().splitlines()[-1][-120:]}"


def kills_in_each_phase(lab, rounds=6):
    """kill -9 while starting, in the first validation, between, while events are written."""
    lab.train("calm", 12, validate=4).check()
    calm = load(lab.folder / "calm/last_checkpoint.pytorch")
    kills = 0
    for number in range(rounds):
        name = f"killed{number}"
        run = lab.folder / name
        logs = run / "logs"
        phases = [
            lambda: True,
            lambda: run.exists(),
            lambda: logs.exists() and any(p.stat().st_size for p in logs.rglob("events*")),
            # The first validation begins after the fourth iteration has been logged.
            lambda: logs.exists() and any(p.stat().st_size > 3000 for p in logs.rglob("events*")),
            lambda: (run / "last_checkpoint.pytorch").exists(),
            lambda: any(run.glob(".*.partial")) or (run / "best_checkpoint.pytorch").exists(),
        ]
        for phase in phases:
            started = lab.train(name, 12, "--resume", "auto", validate=4)
            wait_for(lambda: phase() or started.process.poll() is not None)
            time.sleep(random.uniform(0, 0.03))
            started.process.kill()
            started.process.communicate()
            kills += 1
            checkpoints_load(run)
        lab.train(name, 12, "--resume", "auto", validate=4).check()
        same(load(run / "last_checkpoint.pytorch")["model_state_dict"], calm["model_state_dict"])
    return f"{kills} kills, then the weights of an undisturbed run"


def stopped_and_continued(lab):
    """SIGSTOP and SIGCONT: the run goes on as if nothing had been."""
    train, predict = lab.train("paused", 20), lab.predict(lab.folder / "paused_out")
    for _ in range(5):
        time.sleep(0.2)
        for run in (train, predict):
            if run.process.poll() is None:
                run.process.send_signal(signal.SIGSTOP)
        time.sleep(0.3)
        for run in (train, predict):
            if run.process.poll() is None:
                run.process.send_signal(signal.SIGCONT)
    train.check(), predict.check()
    lab.train("unpaused", 20).check()
    a, b = [load(lab.folder / n / "last_checkpoint.pytorch") for n in ("paused", "unpaused")]
    same(a["model_state_dict"], b["model_state_dict"])
    found = outputs(lab.folder / "paused_out")
    assert all(np.array_equal(found[name], lab.wanted[name]) for name in lab.wanted)
    return "weights and predictions those of an undisturbed run"


def clock_that_jumps(lab):
    """A clock that jumps by two hours at every look."""
    env = preload(lab, "clock", CLOCK)
    lab.train("clock", 6, env=env).check()
    lab.train("no_clock", 6).check()
    a, b = [load(lab.folder / n / "last_checkpoint.pytorch") for n in ("clock", "no_clock")]
    same(a["model_state_dict"], b["model_state_dict"])
    lab.predict(lab.folder / "clock_out", env=env).check()
    found = outputs(lab.folder / "clock_out")
    assert all(np.array_equal(found[name], lab.wanted[name]) for name in lab.wanted)
    return "weights and predictions those of an undisturbed run"


class Mount:
    """A tmpfs of some KiB."""

    def __init__(self, folder, kib):
        self.folder = folder
        folder.mkdir(exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", folder], check=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        subprocess.run(["umount", "-l", self.folder], check=False, stderr=subprocess.DEVNULL)


def full_disk(lab):
    """The disk of the outputs fills in mid-run; after room is made the run goes on."""
    with Mount(lab.folder / "small", 300) as small:
        run = lab.predict(small.folder).check(1)
        assert "space" in run.said, run.said
        found = outputs(small.folder)
        assert all(np.array_equal(found[name], lab.wanted[name]) for name in found)
        assert not list(small.folder.glob(".*"))
        subprocess.run(["mount", "-o", "remount,size=20m", small.folder], check=True)
        lab.predict(small.folder, "--skip-existing").check()
        assert outputs(small.folder).keys() == lab.wanted.keys()
    with Mount(lab.folder / "tight", 400) as tight:
        lab.train("tight", 30).check(1)
        checkpoints_load(tight.folder)
    return f"{len(found)} of 12 predictions were whole; a second run made the others"


def read_only(lab):
    """The file system of the checkpoints turns read-only in mid-run."""
    folder, marker = lab.folder / "frozen", lab.folder / "frozen_from_now"
    env = preload(lab, "read_only", READ_ONLY)
    env |= {"FROZEN_UNDER": str(folder), "FROZEN_FROM": str(marker)}
    train = lab.train("frozen", 10**6, env=env)
    wait_for(lambda: (folder / "last_checkpoint.pytorch").exists())
    marker.touch()
    train.check(1)
    assert "Read-only file system" in train.said, train.said
    checkpoints_load(folder)
    return "one error, and every checkpoint loads"


def disappears(lab):
    """The file system of the inputs is taken away in mid-run."""
    with Mount(lab.folder / "away", 40000) as away:
        for path in lab.folder.glob("volumes/*.h5"):
            shutil.copy(path, away.folder)
        text = PREDICT.format(folder=lab.folder, out=lab.folder / "away_out")
        text = text.replace(f"{lab.folder}/volumes", str(away.folder))
        run = lab.start("predict", "paway", text)
        wait_for(lambda: any((lab.folder / "away_out").glob("*.h5"))
                 if (lab.folder / "away_out").exists() else False)
        subprocess.run(["umount", "-l", away.folder], check=True)
        run.check(0, 1)
        found = outputs(lab.folder / "away_out")
        assert all(np.array_equal(found[name], lab.wanted[name]) for name in found)
        assert not list((lab.folder / "away_out").glob(".*"))
    return f"exit code {run.code}, {len(found)} of 12 outputs, all whole"


ROWS = [several_predictions, exchanged_inputs, two_trainings, kills_in_each_phase, stopped_and_continued,
        clock_that_jumps, full_disk, read_only, disappears]
NEED_ROOT = {full_disk, disappears}


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--program", default="target/release/unet3d")
    options.add_argument("--only")
    options = options.parse_args()
    random.seed(1)
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(str(pathlib.Path(options.program).resolve()), pathlib.Path(folder))
        for row in ROWS:
            if options.only and row.__name__ != options.only:
                continue
            if row in NEED_ROOT and os.geteuid() != 0:
                print(f"{row.__name__}: left out, it needs root")
                continue
            print(f"{row.__name__}: {row(lab)}", flush=True)


if __name__ == "__main__":
    main()
