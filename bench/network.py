"""Seconds of one prediction and of one training iteration: unet3d's network and torch's.

By default the network of SegmentationNet (UNet3D, f_maps 64, 16 groups, one input channel,
two output channels) on one patch, in float32 and bfloat16, channels first and last, each in
its own process, in turn. torch uses bfloat16 in the usual way: autocast in training, all
tensors in bfloat16 in prediction. A training iteration is forward, loss, backward and Adam
(fused on both sides); the second of two passes is timed.

The last column is the rate of the convolutions of a prediction (their multiplications and
additions divided by the time of the whole prediction), relative to the rate at which this
machine multiplies two 4096 x 4096 matrices of the same type.

    .venv/bin/python bench/network.py [--f-maps 64] [--groups 16] [--patch 51 96 210]
                                      [--threads 2] [--rounds 2]
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "fixtures"))
from make_model import BASE, UNet  # noqa: E402

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
FORMATS = {"first": torch.contiguous_format, "last": torch.channels_last_3d}


def network(f_maps, groups):
    widths = [f_maps * 2**level for level in range(4)]
    net = UNet(BASE | dict(f_maps=widths, groups=groups, cin=1, cout=2))
    for module in net.modules():
        if isinstance(module, torch.nn.ReLU):
            module.inplace = True
    return net


def torch_seconds(f_maps, groups, patch, precision, layout):
    """The second prediction and the second training iteration."""
    dtype, memory = DTYPES[precision], FORMATS[layout]
    net = network(f_maps, groups).to(memory_format=memory).to(dtype)
    x = torch.randn(1, 1, *patch).to(memory_format=memory)
    for _ in range(2):
        began = time.perf_counter()
        with torch.no_grad():
            torch.softmax(net(x.to(dtype)).float(), 1)
        predict = time.perf_counter() - began
    net = network(f_maps, groups).to(memory_format=memory)
    target = torch.zeros(1, *patch, dtype=torch.int64)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-4, fused=True)
    for _ in range(2):
        began = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            loss = F.cross_entropy(net(x).float(), target)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        train = time.perf_counter() - began
    return predict, train


def convolution_operations(f_maps, groups, patch):
    total = 0

    def count(module, inputs, output):
        nonlocal total
        if isinstance(module, torch.nn.Conv3d):
            total += 2 * module.weight.numel() * output[0, 0].numel()

    # The number of voxels is what counts: meta tensors compute nothing.
    net = network(f_maps, groups).to("meta")
    for module in net.modules():
        module.register_forward_hook(count)
    net(torch.empty(1, 1, *patch, device="meta"))
    return total


def matrix_rate(dtype):
    """Operations a second of the faster of torch.mm (MKL) and oneDNN's product."""
    n = 4096
    a, b = torch.randn(n, n).to(dtype), torch.randn(n, n).to(dtype)
    packed = a.to_mkldnn(), b.to_mkldnn()
    least = float("inf")
    for product in (lambda: a @ b, lambda: torch._C._nn.mkldnn_linear(*packed)):
        for _ in range(4):
            began = time.perf_counter()
            product()
            least = min(least, time.perf_counter() - began)
    return 2 * n**3 / least


def executable():
    """Builds the benchmark, once, so that nothing is built while it runs."""
    command = ["cargo", "bench", "--bench", "network", "--no-run", "--message-format=json"]
    built = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    messages = map(json.loads, built.stdout.splitlines())
    paths = [m["executable"] for m in messages if m.get("target", {}).get("name") == "network"]
    return next(path for path in paths if path)


def run(command):
    result = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return [float(word) for word in result.stdout.split()]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--f-maps", type=int, default=64)
    parser.add_argument("--groups", type=int, default=16)
    parser.add_argument("--patch", type=int, nargs=3, default=[51, 96, 210])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    f_maps, groups, patch = options.f_maps, options.groups, options.patch
    if options.one:
        print(*torch_seconds(f_maps, groups, patch, *options.one))
        return

    sizes = [str(n) for n in (f_maps, groups, *patch)]
    ours = [executable(), *sizes]
    theirs = [sys.executable, __file__, "--f-maps", sizes[0], "--groups", sizes[1], "--patch"]
    theirs += [*sizes[2:], "--threads", str(options.threads), "--one"]
    rows = [(who, p, l) for p in DTYPES for l in FORMATS for who in ("unet3d", "torch")]
    seconds = {row: [] for row in rows}
    rates = {precision: [] for precision in DTYPES}
    for _ in range(options.rounds):
        for who, precision, layout in rows:
            rates[precision].append(matrix_rate(DTYPES[precision]))
            command = (
                [*ours, precision, layout, str(options.threads)]
                if who == "unet3d"
                else [*theirs, precision, layout]
            )
            seconds[who, precision, layout].append(run(command))
            print(who, precision, layout, *seconds[who, precision, layout][-1], flush=True)

    best = {row: [min(column) for column in zip(*times)] for row, times in seconds.items()}
    base = best["torch", "fp32", "first"]
    operations = convolution_operations(f_maps, groups, patch)
    print(f"\n{operations / 1e9:.1f} giga-operations in the convolutions of a prediction")
    print("| | prediction, s | training, s | share of matrix products |")
    print("| --- | --- | --- | --- |")
    for (who, precision, layout), (predict, train) in best.items():
        share = operations / predict / max(rates[precision])
        print(
            f"| {who} {precision}, channels {layout} | {predict:.2f} ({predict / base[0]:.2f}) |"
            f" {train:.2f} ({train / base[1]:.2f}) | {share:.2f} |"
        )


main()
