"""Breaks trainings on several ranks in every phase, and checks how they end.

    sudo python tests/soak/ranks.py [--trials 100] [--program target/release/unet3d]

Two 'machines' are network namespaces with addresses of their own, each joined by a veth pair to
a bridge. Each trial trains on three ranks, one or two of them on each machine, started by
torchrun's variables or by Slurm's, or on one machine by `--processes`. In one of the phases
(rendezvous, first batch, validation, saving, any) a rank is killed or stopped, the starter is
killed, a signal asks for the end, or the bridge stops forwarding between the machines, without
a sign to either.

Then every rank has to end within the timeout and some seconds; a rank that was stopped, once it
goes on. No process may stay, some rank has to tell the error (one rank, unless the machines
cannot reach each other), and torch has to load every checkpoint. A run that was asked to end
exits with 3. The next trial goes on from the checkpoint of the one before.

Needs root, `ip` and `bridge` of iproute2, torch and h5py.
"""

import argparse
import collections
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

import torch
from kill_training import make_data

TIMEOUT = 6
# What a rank may take beyond the timeout to find out which rank is the cause (its own calls may
# wait for 10 s each), and the starter to end ranks that do not end themselves.
GRACE = 45
MARK = "UNET3D_SOAK_RANKS"
HOSTS = ["10.77.31.1", "10.77.31.2"]

CONFIG = """
manual_seed: 7
device: cpu
model: {{name: UNet3D, in_channels: 1, out_channels: 2, f_maps: 8, num_levels: 2, num_groups: 4}}
trainer: {{checkpoint_dir: {folder}/run, epochs: 1000000, iters: 1000000, validate_after_iters: 2, log_after_iters: 50}}
optimizer: {{learning_rate: 0.001, weight_decay: 0.0001}}
loss: {{name: CrossEntropyLoss}}
eval_metric: {{name: MeanIoU}}
lr_scheduler: {{name: StepLR, step_size: 1000000, gamma: 0.9}}
loaders:
  num_workers: 1
  batch_size: 1
  train: {{file_paths: ['{folder}/train.h5'], slice_builder: &slices {{name: SliceBuilder, patch_shape: [8, 16, 16], stride_shape: [8, 16, 16], skip_shape_check: true}},
    transformer: {{raw: [{{name: Standardize}}, {{name: ToTensor, expand_dims: true}}], label: [{{name: ToTensor, expand_dims: false, dtype: long}}]}}}}
  val: {{file_paths: ['{folder}/val.h5'], slice_builder: *slices,
    transformer: {{raw: [{{name: Standardize}}, {{name: ToTensor, expand_dims: true}}], label: [{{name: ToTensor, expand_dims: false, dtype: long}}]}}}}
"""


def ip(*words, command="ip"):
    subprocess.run([command, *words], check=True, capture_output=True, text=True)


class Machines:
    """Two network namespaces behind a bridge that can be cut."""

    def __init__(self):
        self.tag = f"{os.getpid() % 100000}"
        self.spaces = [f"u3d{self.tag}{side}" for side in "ab"]
        self.ports = [f"u3p{self.tag}{side}" for side in "ab"]
        self.bridge = f"u3b{self.tag}"

    def __enter__(self):
        ip("link", "add", self.bridge, "type", "bridge")
        ip("link", "set", self.bridge, "up")
        for space, port, host in zip(self.spaces, self.ports, HOSTS):
            ip("netns", "add", space)
            ip("link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", space)
            ip("link", "set", port, "master", self.bridge, "up")
            ip("-n", space, "link", "set", "lo", "up")
            ip("-n", space, "addr", "add", f"{host}/24", "dev", "eth0")
            ip("-n", space, "link", "set", "eth0", "up")
        for attempt in range(50):
            reached = subprocess.run(
                ["ip", "netns", "exec", self.spaces[1], sys.executable, "-c",
                 f"import socket; socket.create_connection(('{HOSTS[0]}', 9), 0.2)"],
                capture_output=True, text=True,
            )
            if "ConnectionRefused" in reached.stderr:
                return self
            time.sleep(0.1)
        raise RuntimeError("the two namespaces cannot reach each other: " + reached.stderr)

    def __exit__(self, *_):
        for space in self.spaces:
            subprocess.run(["ip", "netns", "del", space], capture_output=True)
        subprocess.run(["ip", "link", "del", self.bridge], capture_output=True)

    def cut(self, on):
        for port in self.ports:
            ip("link", "set", "dev", port, "isolated", "on" if on else "off", command="bridge")


def environments(starter, port):
    """Namespace (None: that of this script) and variables of every process to start."""
    if starter == "processes":
        return [(None, {})]
    machines = random.choice([[0, 0, 1], [0, 1, 1]])
    size, job = len(machines), random.randrange(10**6)
    all = []
    for rank, machine in enumerate(machines):
        local = machines[:rank].count(machine)
        if starter == "torchrun":
            place = {
                "RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": local,
                "MASTER_ADDR": HOSTS[0], "MASTER_PORT": port,
            }
        else:
            place = {
                "SLURM_JOB_ID": job, "SLURM_STEP_ID": 0, "SLURM_PROCID": rank, "SLURM_LOCALID": local,
                "SLURM_STEP_NUM_TASKS": size, "SLURM_STEP_NODELIST": ",".join(HOSTS),
            }
        all.append((machine, {name: str(value) for name, value in place.items()}))
    return all


def marked(mark):
    """Processes with this mark in their environment that have not ended."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            environment = (entry / "environ").read_bytes()
            ended = ") Z " in (entry / "stat").read_text()
        except OSError:
            continue
        if f"{MARK}={mark}".encode() in environment.split(b"\0") and not ended:
            found.append(int(entry.name))
    return sorted(found)


def wait_until(done, limit):
    end = time.monotonic() + limit
    while time.monotonic() < end:
        if done():
            return True
        time.sleep(0.002)
    return done()


class Trial:
    def __init__(self, options, folder, machines, number):
        self.options, self.folder, self.machines = options, folder, machines
        self.mark = f"{os.getpid()}-{number}"
        self.starter = random.choice(["torchrun", "slurm", "processes"])
        self.phase = random.choice(["rendezvous", "first batch", "validation", "saving", "any"])
        events = ["kill", "stop", "signal"]
        events += ["kill the starter"] if self.starter == "processes" else ["cut", "cut"]
        self.event = random.choice(events)
        self.faults = []

    def start(self):
        self.log = [open(self.folder / f"log{rank}", "w+") for rank in range(3)]
        command = [
            self.options.program, "train", "--config", str(self.folder / "train.yaml"), "--threads=1",
            "--resume=auto", f"--rank-timeout={TIMEOUT}", "-v",
        ]
        self.processes = []
        for rank, (machine, place) in enumerate(environments(self.starter, random.randrange(20000, 30000))):
            size = 3 if self.starter == "processes" else None
            words = command + ([f"--processes={size}"] if size else [])
            if machine is not None:
                words = ["ip", "netns", "exec", self.machines.spaces[machine], *words]
            self.processes.append(subprocess.Popen(
                words, env={**place, MARK: self.mark, "PATH": os.environ["PATH"]}, stdin=subprocess.DEVNULL,
                stdout=self.log[rank], stderr=subprocess.STDOUT,
            ))

    def text(self):
        return "".join(pathlib.Path(log.name).read_text() for log in self.log)

    def reach_phase(self):
        run, last = self.folder / "run", self.folder / "run/last_checkpoint.pytorch"
        if self.phase == "rendezvous":
            time.sleep(random.uniform(0, 0.6))
            return True
        begun = lambda: "training UNet3D" in self.text()
        if not wait_until(begun, 60):
            return False
        if self.phase == "first batch":
            time.sleep(random.uniform(0, 0.05))
            return True
        inode = lambda: last.stat().st_ino if last.exists() else None
        first = inode()
        if not wait_until(lambda: inode() != first, 60):
            return False
        if self.phase == "saving":
            # It is short: fire when its file appears.
            return wait_until(lambda: any(run.glob(".*.partial")), 30)
        if self.phase == "validation":
            # It is most of the time between two checkpoints.
            first = inode()
            wait_until(lambda: inode() != first, 30)
            time.sleep(random.uniform(0.02, 0.1))
        else:
            time.sleep(random.uniform(0, 1))
        return True

    def ranks(self):
        """The ranks' processes. `ip netns exec` becomes the program that it starts."""
        if self.starter != "processes":
            return [process.pid for process in self.processes]
        return [pid for pid in marked(self.mark) if pid != self.processes[0].pid]

    def strike(self):
        stopped = None
        if self.event in ("kill", "stop"):
            wait_until(self.ranks, 10)
        ranks = self.ranks()
        if self.event == "cut":
            self.machines.cut(True)
        elif self.event == "kill the starter":
            os.kill(self.processes[0].pid, signal.SIGKILL)
        elif self.event == "signal":
            kind = random.choice([signal.SIGTERM, signal.SIGUSR1])
            everyone = random.random() < 0.5
            targets = [process.pid for process in self.processes]
            for pid in targets if everyone or self.starter == "processes" else [random.choice(targets)]:
                os.kill(pid, kind)
        elif ranks:
            target = random.choice(ranks)
            self.rank = ranks.index(target)
            os.kill(target, signal.SIGKILL if self.event == "kill" else signal.SIGSTOP)
            stopped = target if self.event == "stop" else None
        return stopped

    def run(self):
        self.start()
        if not self.reach_phase():
            self.faults.append("the phase never came")
        stopped = self.strike()
        begun = time.monotonic()
        others = lambda: [pid for pid in marked(self.mark) if pid != stopped]
        if not wait_until(lambda: (time.sleep(0.05), not others())[1], TIMEOUT + GRACE):
            self.faults.append(f"hang: {len(others())} process(es) {TIMEOUT + GRACE} s after the event")
        self.seconds = time.monotonic() - begun
        if stopped in marked(self.mark):
            os.kill(stopped, signal.SIGCONT)
            if not wait_until(lambda: (time.sleep(0.05), not marked(self.mark))[1], TIMEOUT + GRACE):
                self.faults.append("hang: the stopped rank does not end when it wakes")
        left = marked(self.mark)
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        if self.event == "cut":
            self.machines.cut(False)
        self.judge([process.wait() for process in self.processes], left)

    def judge(self, codes, left):
        text = self.text()
        self.codes = codes
        if left and not any("hang" in fault for fault in self.faults):
            self.faults.append(f"orphans: {len(left)}")
        if "panicked" in text:
            self.faults.append("a panic")
        errors = [line for line in text.splitlines() if line.startswith("error: ")]
        self.errors = errors
        if self.event == "signal":
            # Before it trains, a process ends by the signal, and the others lose it.
            if self.phase not in ("rendezvous", "first batch") and any(code != 3 for code in codes):
                self.faults.append(f"a signal ends with {codes}")
        elif self.event != "kill the starter":
            if not errors:
                self.faults.append("no error is told")
            several = self.event == "cut" or getattr(self, "rank", None) == 0
            # A rank that was stopped tells what it finds when it wakes.
            allowed = len(codes) if several else 2 if self.event == "stop" else 1
            if len(errors) > allowed:
                self.faults.append(f"{len(errors)} errors")
        for path in (self.folder / "run").glob("*.pytorch"):
            try:
                torch.load(path, weights_only=True)
            except Exception as error:  # noqa: BLE001
                self.faults.append(f"{path.name} does not load: {error}")


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--trials", type=int, default=100)
    options.add_argument("--seconds", type=float, default=float("inf"), help="begin no trial after so long")
    options.add_argument("--program", default="target/release/unet3d")
    options.add_argument("--seed", type=int, default=1)
    options = options.parse_args()
    options.program = str(pathlib.Path(options.program).resolve())
    random.seed(options.seed)
    machines = Machines()
    try:
        machines.__enter__()
    except (subprocess.CalledProcessError, RuntimeError, FileNotFoundError) as error:
        machines.__exit__()
        sys.exit(f"network namespaces cannot be made here (they need root and iproute2): {getattr(error, 'stderr', error)}")
    counts, faults, begun, longest = collections.Counter(), [], time.monotonic(), 0.0
    try:
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            make_data(folder / "train.h5", 1, 32)
            make_data(folder / "val.h5", 2, 64)
            (folder / "train.yaml").write_text(CONFIG.format(folder=folder))
            for number in range(options.trials):
                if time.monotonic() - begun > options.seconds:
                    break
                trial = Trial(options, folder, machines, number)
                trial.run()
                counts["trials"] += 1
                counts[trial.event] += 1
                counts[trial.phase] += 1
                counts[trial.starter] += 1
                longest = max(longest, trial.seconds)
                print(
                    f"{number:3} {trial.starter:9} {trial.phase:11} {trial.event:16} {trial.seconds:5.1f} s "
                    f"{trial.codes} {trial.errors[:1]} {trial.faults or 'as specified'}", flush=True,
                )
                if trial.faults:
                    faults.append((number, trial.faults))
                    print(trial.text(), flush=True)
    finally:
        machines.__exit__()
    kinds = collections.Counter(fault.split(":")[0] for _, all in faults for fault in all)
    print(json.dumps({"counts": counts, "longest end in s": round(longest, 1), "faults": kinds}, indent=1))
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
