"""What the program does on a GPU, in one table; see gpu.sh.

Agreement is between the program on the GPU and the same program on the CPU. The gradient of
a step is the change of the weights by one step of SGD without momentum, divided by the
learning rate. fp32 without TF32 is a run under NVIDIA_TF32_OVERRIDE=0.

A step and a patch are timed from outside, as the difference of a long and a short run. torch
runs the same network on a batch that is on the GPU already. Memory is the most that
nvidia-smi saw of the process.
"""

import argparse
import os
import re
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import h5py
import numpy as np
import torch
import torch.nn.functional as F
import yaml

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "fixtures"))
from make_model import BASE, UNet  # noqa: E402

THREADS = []
UNET3D = os.environ.get("UNET3D", str(ROOT / "target" / "release" / "unet3d"))
# libtorch is that of this Python.
LIBRARIES = str(Path(torch.__file__).parent / "lib")
NETWORKS = {
    "SegmentationNet": dict(cin=1, cout=2, f_maps=64, patch=(51, 96, 210)),
    "AutoCellLabeler": dict(cin=4, cout=185, f_maps=64, patch=(64, 120, 284)),
}
SMALL = dict(cin=1, cout=2, f_maps=8, patch=(16, 64, 64))


class Failed(Exception):
    pass


def program(arguments, tf32=True, watch=False):
    """Runs the program; returns its output, the seconds, and the MiB on the GPU."""
    env = dict(os.environ, LD_LIBRARY_PATH=LIBRARIES)
    arguments = [*arguments, *THREADS]
    if not tf32:
        env["NVIDIA_TF32_OVERRIDE"] = "0"
    began = time.perf_counter()
    process = subprocess.Popen(
        [UNET3D, *map(str, arguments)], env=env, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )
    most = [0.0]
    if watch:
        threading.Thread(target=watch_memory, args=(process, most), daemon=True).start()
    text, _ = process.communicate()
    seconds = time.perf_counter() - began
    if process.returncode != 0:
        raise Failed(f"exit code {process.returncode}: {text.strip().splitlines()[-1:]}")
    return text, seconds, most[0]


def watch_memory(process, most):
    query = ["nvidia-smi", "--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits"]
    while process.poll() is None:
        try:
            lines = subprocess.run(query, capture_output=True, text=True).stdout.splitlines()
        except FileNotFoundError:
            return
        used = [float(line.split(",")[1]) for line in lines if re.match(rf"{process.pid}\b", line)]
        # In a container the process ids of nvidia-smi are not ours: then all are counted.
        used = used or [sum(float(line.split(",")[1]) for line in lines if "," in line)]
        most[0] = max(most[0], *used)
        time.sleep(0.1)


def settings(folder, net, **changes):
    """A configuration for training and prediction; keys with dots in `changes`."""
    slices = dict(name="SliceBuilder", patch_shape=list(net["patch"]),
                  stride_shape=list(net["patch"]), skip_shape_check=True)
    raw = [dict(name="Normalize"), dict(name="ToTensor", expand_dims=net["cin"] == 1)]
    label = [dict(name="ToTensor", expand_dims=False, dtype="long")]
    phase = lambda *files: dict(  # noqa: E731
        file_paths=[f"{folder}/{file}" for file in files], slice_builder=slices,
        transformer=dict(raw=raw, label=label))
    tree = dict(
        manual_seed=0,
        device="cpu",
        model_path=f"{folder}/run/last_checkpoint.pytorch",
        model=dict(name="UNet3D", in_channels=net["cin"], out_channels=net["cout"],
                   f_maps=net["f_maps"], num_groups=min(16, net["f_maps"]), final_sigmoid=False),
        trainer=dict(checkpoint_dir=f"{folder}/run", iters=1, epochs=10**6,
                     validate_after_iters=10**9, log_after_iters=10**9, skip_train_validation=True),
        optimizer=dict(learning_rate=1e-3, weight_decay=0),
        loss=dict(name="CrossEntropyLoss"),
        eval_metric=dict(name="MeanIoU"),
        predictor=dict(name="StandardPredictor", patch_halo=[0, 0, 0]),
        loaders=dict(batch_size=1, num_workers=4, output_dir=f"{folder}/out",
                     train=phase("train.h5"), val=phase("train.h5"),
                     test=dict(phase("train.h5"), transformer=dict(raw=raw))),
    )
    # Training and validation must not share a file.
    tree["loaders"]["val"]["file_paths"] = [f"{folder}/val.h5"]
    for key, value in changes.items():
        *above, last = key.replace("__", ".").split(".")
        node = tree
        for name in above:
            node = node[name]
        node[last] = value
    path = Path(folder) / f"{time.monotonic_ns()}.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def make_data(folder, net, patches):
    rng = np.random.default_rng(0)
    d, h, w = net["patch"]
    for name, count in (("train", patches), ("val", 1)):
        shape = (d, h, w * count)
        with h5py.File(Path(folder) / f"{name}.h5", "w") as file:
            file["raw"] = rng.integers(0, 4096, (net["cin"],) * (net["cin"] > 1) + shape, np.uint16)
            file["label"] = rng.integers(0, net["cout"], shape, np.uint8)


def weights(folder):
    file = torch.load(Path(folder) / "run" / "last_checkpoint.pytorch", weights_only=False)
    return {name: value.double() for name, value in file["model_state_dict"].items()}


def relative(a, b):
    """The largest difference relative to the largest value."""
    return max(((a[k] - b[k]).abs().max() / b[k].abs().max().clamp_min(1e-30)).item() for k in b)


def train(folder, net, device, iters, tf32=True, **changes):
    config = settings(folder, net, device=device, trainer__iters=iters, **changes)
    for file in (Path(folder) / "run").glob("*_checkpoint.pytorch"):
        file.unlink()
    return program(["train", "--config", config, "-v"], tf32=tf32, watch=True)


def predict(folder, net, device, tf32=True, **changes):
    config = settings(folder, net, device=device, **changes)
    result = program(["predict", "--config", config, "-v"], tf32=tf32, watch=True)
    with h5py.File(Path(folder) / "out" / "train_predictions.h5") as file:
        return result, file["predictions"][()]


def agreement(folder, device, report):
    make_data(folder, SMALL, 4)
    sgd = dict(optimizer=dict(algorithm="SGD", learning_rate=1.0, weight_decay=0, momentum=0))
    for name, precision, tf32, bounds in (
        ("fp64", "fp64", True, (1e-9, 1e-7, 1e-6)),
        ("fp32 without TF32", "fp32", False, (1e-4, 1e-3, 5e-3)),
        ("fp32 with TF32", "fp32", True, (5e-3, 5e-2, None)),
        ("bf16", "bf16", True, (5e-2, 3e-1, None)),
    ):
        kind = dict(precision=precision)
        exact = dict(precision="fp64" if precision == "fp64" else "fp32")
        # The same start for all: the weights of an untrained network of one seed.
        train(folder, SMALL, "cpu", 1, **exact, **sgd)
        first = weights(folder)
        found = []
        for where, p in (("cpu", exact), (device, kind)):
            train(folder, SMALL, where, 2, tf32=tf32, **p, **sgd)
            change = {key: value - first[key] for key, value in weights(folder).items()}
            train(folder, SMALL, where, 20, tf32=tf32, **p)
            found.append((change, weights(folder)))
        probabilities = [predict(folder, SMALL, where, tf32=tf32, **p)[1]
                         for where, p in (("cpu", exact), (device, kind))]
        off = (
            float(np.abs(probabilities[0] - probabilities[1]).max()),
            relative(found[1][0], found[0][0]),
            relative(found[1][1], found[0][1]),
        )
        for what, value, bound in zip(("probabilities", "gradient of a step", "weights after 20 steps"), off, bounds):
            verdict = "" if bound is None else ("ok" if value <= bound else "TOO FAR")
            report(f"{name}: {what}", f"{value:.1e}", f"at most {bound:.0e}" if bound else "–", verdict)


def torch_speed(net, device, precision, layout, short, long):
    """Seconds of a step and of a patch, MiB of torch's allocator, as PyTorch is used."""
    memory = torch.channels_last_3d if layout == "last" else torch.contiguous_format
    widths = [net["f_maps"] * 2**level for level in range(4)]
    network = UNet(BASE | dict(f_maps=widths, groups=16, cin=net["cin"], cout=net["cout"]))
    network = network.to(device).to(memory_format=memory)
    x = torch.randn(1, net["cin"], *net["patch"], device=device).to(memory_format=memory)
    target = torch.randint(0, net["cout"], (1, *net["patch"]), device=device)
    optimizer = torch.optim.Adam(network.parameters(), fused=True)
    cuda = device != "cpu"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision != "fp32 exact"

    def cast():
        return torch.autocast("cuda" if cuda else "cpu", torch.bfloat16, enabled=precision == "bf16")

    def step():
        with cast():
            loss = F.cross_entropy(network(x).float(), target)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss.item()

    def patch():
        with torch.no_grad(), cast():
            return torch.softmax(network(x).float(), 1).cpu()

    times = []
    for work in (step, patch):
        for _ in range(short):
            work()
        began = time.perf_counter()
        for _ in range(long - short):
            work()
        times.append((time.perf_counter() - began) / (long - short))
    used = torch.cuda.max_memory_allocated() / 2**20 if cuda else 0.0
    if cuda:
        del network, optimizer, x, target
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    return *times, used


def speed(folder, device, short, long, networks, report):
    for name in networks:
        net = NETWORKS[name]
        make_data(folder, net, long)
        few = Path(folder) / "few"
        few.mkdir(exist_ok=True)
        for precision in ("fp32", "bf16"):
            changes = dict(precision=precision, loaders__num_workers=8, manual_seed=None)
            try:
                ours = [train(folder, net, device, n, **changes) for n in (short, long)]
                step = (ours[1][1] - ours[0][1]) / (long - short)
                ((_, whole, held), _) = predict(folder, net, device, **changes)
                make_data(few, net, short)
                test = dict(changes, loaders__test__file_paths=[f"{few}/train.h5"])
                ((_, part, _), _) = predict(folder, net, device, **test)
                patch = (whole - part) / (long - short)
                report(f"{name} {precision}, unet3d", f"step {step:.3f} s, patch {patch:.3f} s",
                       f"{max(ours[1][2], held):.0f} MiB", "")
            except Failed as error:
                report(f"{name} {precision}, unet3d", "failed", str(error), "")
            for layout in ("first", "last"):
                try:
                    step, patch, used = torch_speed(net, device, precision, layout, short, long)
                    report(f"{name} {precision}, torch, channels {layout}",
                           f"step {step:.3f} s, patch {patch:.3f} s", f"{used:.0f} MiB", "")
                except torch.OutOfMemoryError:
                    report(f"{name} {precision}, torch, channels {layout}", "out of memory", "", "")


def waiting(folder, device, report):
    """The share of a step that waits for samples, from the program's own account (-v)."""
    net = NETWORKS["SegmentationNet"]
    make_data(folder, net, 12)
    for workers in (4, 8):
        changes = dict(loaders__num_workers=workers, trainer__log_after_iters=12, manual_seed=None)
        text, _, _ = train(folder, net, device, 24, **changes)
        found = re.findall(r"([0-9.]+) s per iteration: data ([0-9.]+)", text)
        share = float(found[-1][1]) / float(found[-1][0]) if found else float("nan")
        report(f"waiting for data, {workers} workers", f"{100 * share:.1f} % of a step", "", "")


def benchmark_mode(folder, device, report):
    """`cudnn.benchmark` is on without a seed, and off with one."""
    net = NETWORKS["SegmentationNet"]
    make_data(folder, net, 8)
    for name, seed in (("on (no seed)", None), ("off (seed)", 0)):
        times = [train(folder, net, device, n, manual_seed=seed)[1] for n in (4, 12)]
        report(f"cudnn.benchmark {name}", f"step {(times[1] - times[0]) / 8:.3f} s", "", "")


def out_of_memory(folder, device, report):
    """A training batch and a prediction batch larger than any GPU."""
    net = dict(SMALL, f_maps=64, patch=(128, 512, 512))
    make_data(folder, net, 4)
    for name, run in (
        ("training", lambda: train(folder, net, device, 1, loaders__batch_size=4)),
        ("prediction", lambda: predict(folder, net, device, loaders__batch_size=4)),
    ):
        try:
            run()
            report(f"out of memory: {name}", "went on", "", "ok")
        except Failed as error:
            text = str(error)
            report(f"out of memory: {name}", "one error" if "panicked" not in text else "PANIC", text[:160], "")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="few steps, SegmentationNet alone")
    parser.add_argument("--only", nargs="*", help="agreement speed waiting benchmark memory")
    parser.add_argument("--threads", type=int, help="of the program's computations on the CPU")
    options = parser.parse_args()
    device = options.device
    if options.threads:
        THREADS.extend(["--threads", str(options.threads)])
    if device != "cpu":
        name = torch.cuda.get_device_name() if torch.cuda.is_available() else sys.exit("no GPU is found")
    else:
        name = "the CPU in place of a GPU"
    short, long = (1, 2) if options.quick else (4, 12)
    networks = list(NETWORKS)[: 1 if options.quick else None]
    version = subprocess.run([UNET3D, "--version"], capture_output=True, text=True,
                             env=dict(os.environ, LD_LIBRARY_PATH=LIBRARIES)).stdout.strip()
    print(f"{name}; {version}; torch {torch.__version__}; {os.cpu_count()} CPUs\n")
    print("| what | result | of | |\n| --- | --- | --- | --- |", flush=True)

    def report(*cells):
        print("| " + " | ".join(cells) + " |", flush=True)

    parts = {
        "agreement": lambda folder: agreement(folder, device, report),
        "speed": lambda folder: speed(folder, device, short, long, networks, report),
        "waiting": lambda folder: waiting(folder, device, report),
        "benchmark": lambda folder: benchmark_mode(folder, device, report),
        "memory": lambda folder: out_of_memory(folder, device, report),
    }
    began = time.perf_counter()
    for part, work in parts.items():
        if options.only and part not in options.only:
            continue
        with tempfile.TemporaryDirectory() as folder:
            try:
                work(folder)
            except Failed as error:
                report(part, "failed", str(error), "")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print(f"\n{time.perf_counter() - began:.0f} s in all; most memory of a process {peak:.1f} GiB")


main()
