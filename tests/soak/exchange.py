"""Checkpoints and packages in the hands of the programs that they are for.

    VENV/bin/python tests/soak/exchange.py [--program target/release/unet3d]

Needs a Python with pytorch3dunet 1.9.6, bioimageio.core 0.11, onnx, onnxruntime, h5py
and PyYAML.

For each network of wolny/pytorch-3dunet: a training of two iterations, whose checkpoint
pytorch3dunet loads (torch.load with weights_only) into its own network and goes on with; its
predictions agree with those of unet3d. The network as a package with all three formats of
weights, which bioimageio.core and, for ONNX, onnx.checker test, and which `unet3d import` takes back. The same for packages
of the fork's networks, whose code is in the package. Last a package that bioimageio.spec writes
(tests/fixtures/make_package.py) is imported.
"""

import argparse
import copy
import logging
import pathlib
import shutil
import subprocess
import sys
import tempfile
import zipfile

import h5py
import numpy as np
import onnx
import torch
import yaml
from bioimageio.core import test_model
from pytorch3dunet.unet3d.model import get_model
from pytorch3dunet.unet3d.utils import create_optimizer, load_checkpoint

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
logging.disable(logging.WARNING)
torch.set_num_threads(1)

UPSTREAM = {
    "UNet3D": dict(name="UNet3D", layer_order="gcr", f_maps=[4, 8]),
    "UNet3D trilinear": dict(name="UNet3D", layer_order="cbl", f_maps=[4, 8], upsample="trilinear"),
    "UNet3D deconv": dict(name="UNet3D", layer_order="gcld", f_maps=[4, 8], upsample="deconv"),
    "ResidualUNet3D": dict(name="ResidualUNet3D", layer_order="gce", f_maps=[4, 8, 16]),
    "ResidualUNetSE3D": dict(name="ResidualUNetSE3D", layer_order="cgr", f_maps=[4, 8]),
    "UNet2D": dict(name="UNet2D", layer_order="gcr", f_maps=[4, 8]),
    "ResidualUNet2D": dict(name="ResidualUNet2D", layer_order="gcr", f_maps=[4, 8]),
}
FORK = {
    "UNet3D of the fork": dict(name="UNet3D", layer_order="gcl", f_maps=[4, 8]),
    "UNet2D of the fork": dict(name="UNet2D", layer_order="bcr", f_maps=[4, 8]),
    "ResidualUNet3D of the fork": dict(name="ResidualUNet3D", layer_order="gce", f_maps=[4, 8]),
}
SIZE = (16, 32, 32)


def run(program, *arguments):
    result = subprocess.run([program, *arguments], capture_output=True, text=True, env={})
    if result.returncode != 0:
        sys.exit(f"{arguments}: {result.returncode}: {result.stderr}")
    return result.stdout


def config_of(folder, model, dialect):
    planar = model["name"].endswith("2D")
    patch = [1 if planar else 16, 32, 32]
    model = dict(in_channels=1, out_channels=2, num_groups=2, final_sigmoid=False) | model
    phase = {
        "file_paths": [str(folder / "data.h5")],
        "slice_builder": {
            "name": "SliceBuilder", "patch_shape": patch, "stride_shape": patch, "skip_shape_check": True,
        },
        "transformer": {
            "raw": [{"name": "Standardize"}, {"name": "ToTensor", "expand_dims": True}],
            "label": [{"name": "ToTensor", "expand_dims": False, "dtype": "int64"}],
        },
    }
    steps = {"epochs": 9, "iters": 2} if dialect == "fork" else {"max_num_epochs": 9, "max_num_iterations": 2}
    config = {
        "dialect": dialect,
        "device": "cpu",
        "model": model,
        "trainer": {
            "checkpoint_dir": str(folder / "run"), "validate_after_iters": 1, "log_after_iters": 1, **steps,
        },
        "optimizer": {"learning_rate": 0.01, "weight_decay": 0.0},
        "loss": {"name": "CrossEntropyLoss"},
        "eval_metric": {"name": "MeanIoU"},
        "model_path": str(folder / "run/last_checkpoint.pytorch"),
        "predictor": {"name": "StandardPredictor"},
        "loaders": {
            "num_workers": 1,
            "raw_internal_path": "raw",
            "label_internal_path": "label",
            "output_dir": str(folder / "out"),
            "train": phase,
            "val": copy.deepcopy(phase) | {"file_paths": [str(folder / "val.h5")]},
            "test": copy.deepcopy(phase),
        },
    }
    if dialect == "fork":
        config["predictor"]["patch_halo"] = [0, 0, 0]
        config["loaders"]["mirror_padding"] = [0, 0, 0]
    return config


def check_loaded(folder, config):
    """Upstream's own code reads the checkpoint and predicts the same."""
    net = get_model(copy.deepcopy(config["model"]))
    optimizer = create_optimizer(dict(config["optimizer"]), net)
    state = load_checkpoint(config["model_path"], net, optimizer)
    assert state["num_iterations"] >= 2, state["num_iterations"]
    assert len(optimizer.state) == len(list(net.parameters()))
    net.eval()
    with h5py.File(folder / "data.h5") as file:
        raw = file["raw"][()]
    parts = [raw[z : z + 1] for z in range(len(raw))] if config["model"]["name"].endswith("2D") else [raw]
    planar = len(parts) > 1
    found = []
    for part in parts:
        part = (part - part.mean()) / max(part.std(), 1e-10)
        batch = torch.from_numpy(part.astype("float32"))[None]
        with torch.no_grad():
            found.append(net(batch if planar else batch[None])[0].numpy())
    found = np.stack(found, 1) if planar else found[0]
    with h5py.File(folder / "out/data_predictions.h5") as file:
        ours = file["predictions"][()]
    error = np.abs(ours - found).max()
    assert error < 1e-4, error
    return error


def check_package(program, folder, config_file, checkpoint):
    package = folder / "package.zip"
    run(
        program, "export", "--config", config_file, "--checkpoint", checkpoint, "--author", "Nobody",
        "--weights", "torchscript,onnx", package,
    )
    for weights in ("pytorch_state_dict", "torchscript", "onnx"):
        summary = test_model(package, weight_format=weights)
        if summary.status != "passed":
            sys.exit(f"bioimageio.core of {weights}:\n{summary.format()}")
    with zipfile.ZipFile(package) as files:
        (name,) = [name for name in files.namelist() if name.endswith(".onnx")]
        onnx.checker.check_model(onnx.load_from_string(files.read(name)), full_check=True)
    run(program, "import", package, "--output", folder / "again")


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--program", type=pathlib.Path, default=ROOT / "target" / "release" / "unet3d")
    program = options.parse_args().program
    rng = np.random.default_rng(1)
    label = rng.integers(0, 2, SIZE).astype("uint8")
    raw = (100 + 50 * label + 20 * rng.standard_normal(SIZE)).astype("float32")
    for name, model in (UPSTREAM | FORK).items():
        dialect = "fork" if name in FORK else "upstream"
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            with h5py.File(folder / "data.h5", "w") as file:
                file["raw"], file["label"] = raw, label
            shutil.copy(folder / "data.h5", folder / "val.h5")
            config = config_of(folder, model, dialect)
            path = folder / "config.yaml"
            path.write_text(yaml.safe_dump(config))
            run(program, "train", "--config", path, "--threads", "1")
            run(program, "predict", "--config", path, "--threads", "1")
            told = ""
            if dialect == "upstream":
                told = f"loaded by pytorch3dunet, predictions differ by {check_loaded(folder, config):.1e}; "
            check_package(program, folder, path, config["model_path"])
            print(f"{name}: {told}its package passes bioimageio.core with three formats", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        script = ROOT / "tests/fixtures/make_package.py"
        subprocess.run([sys.executable, script, folder / "spec.zip", folder / "parts"], check=True, capture_output=True)
        out = run(program, "import", folder / "spec.zip", "--output", folder / "model")
        assert "the test output is reached" in out, out
        print("a package of bioimageio.spec: imported", flush=True)


main()
