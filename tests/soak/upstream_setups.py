"""Random set-ups of wolny/pytorch-3dunet 1.9.6, run by its own code and by unet3d.

    VENV/bin/python tests/soak/upstream_setups.py [--predictions 60] [--scores 60] [--labels 60]
        [--raws 60] [--optimizers 40] [--seed 1] [--program target/release/unet3d]

Needs a Python with pytorch3dunet 1.9.6, tensorboard, h5py and PyYAML.

- predict: a network (family, feature maps, order, groups, upsampling), a volume, patches,
  strides, halo, normalization; probabilities to 1e-4, segmentations exactly but for voxels
  where two classes are as likely.
- score: a loss and a metric on random logits and targets, which a network hands on unchanged;
  to 1e-3.
- label: a chain of label transforms, seen through the mean squared error to random logits, to
  1e-5.
- raw: a chain of raw transforms of fixed strength, seen through a network that hands them on;
  to 1e-4 of the largest value.
- optimizer: an optimizer, a scheduler and a loss for six iterations; losses to 1e-3.

Prints each set-up that differs with its number and both values, and the counts at the end;
`--only predict:17` repeats one alone. Exit code 1 if any differs.
"""

import argparse
import contextlib
import copy
import io
import json
import logging
import pathlib
import shutil
import subprocess
import sys
import tempfile
import traceback

import h5py
import numpy as np
import torch
import yaml
from pytorch3dunet.datasets.utils import get_test_loaders
from pytorch3dunet.predict import get_predictor
from pytorch3dunet.unet3d import trainer as upstream_trainer
from pytorch3dunet.unet3d.config import TorchDevice
from pytorch3dunet.unet3d.losses import get_loss_criterion
from pytorch3dunet.unet3d.metrics import get_evaluation_metric
from pytorch3dunet.unet3d.model import get_model
from pytorch3dunet.augment.transforms import Transformer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
torch.set_num_threads(1)
logging.disable(logging.CRITICAL)


class Failure(Exception):
    pass


def pick(rng, options):
    return options[int(rng.integers(len(options)))]


def maybe(rng, chance, **keys):
    return keys if rng.random() < chance else {}


# --- running both programs ----------------------------------------------------------


def run(program, command, config, folder, name):
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    result = subprocess.run(
        [program, command, "--config", path, "--threads", "1"], capture_output=True, text=True, env={}
    )
    if result.returncode != 0:
        raise Failure(f"unet3d ended with {result.returncode}: {result.stderr.strip()[-600:]}")
    if "unknown" in result.stdout:
        raise Failure(f"an unknown key: {result.stdout}")
    if "read as a file of upstream" not in result.stdout:
        raise Failure("not read as a file of upstream")


def quietly(function, *arguments):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return function(*arguments)


def upstream_predicts(config, model):
    config = copy.deepcopy(config) | {"device": TorchDevice.CPU}
    config["loaders"]["num_workers"] = 0
    predictor = get_predictor(model, config)
    for loader in get_test_loaders(config):
        predictor(loader)


def upstream_trains(config):
    config = copy.deepcopy(config) | {"device": TorchDevice.CPU}
    config["loaders"]["num_workers"] = 0
    torch.manual_seed(0)
    upstream_trainer.create_trainer(config).fit()


def scalars(folder):
    """Values by tag of the event files below a folder, in the order of their steps."""
    found = {}
    for path in sorted(folder.rglob("events.out.*")):
        events = EventAccumulator(str(path), size_guidance={"scalars": 0})
        events.Reload()
        for tag in events.Tags()["scalars"]:
            found.setdefault(tag, []).extend((event.step, event.value) for event in events.Scalars(tag))
    return {tag: [value for _, value in sorted(pairs)] for tag, pairs in found.items()}


def close(what, ours, theirs, tolerance, floor=1e-3):
    if np.isnan(theirs) and np.isnan(ours):
        return
    if not abs(ours - theirs) <= tolerance * max(abs(theirs), floor):
        raise Failure(f"{what}: {ours} here, {theirs} there")


# --- networks -----------------------------------------------------------------------


def draw_model(rng):
    name = pick(rng, ["UNet3D", "UNet3D", "ResidualUNet3D", "ResidualUNetSE3D", "UNet2D"])
    residual = name.startswith("Residual")
    groups = pick(rng, [1, 2, 4])
    levels = int(rng.integers(2, 4))
    first = groups * int(rng.integers(1, 3))
    upsample = pick(rng, ["default", "deconv"] if residual else ["default", "nearest", "area", "deconv", "linear"])
    if upsample == "linear":
        upsample = "bilinear" if name == "UNet2D" else "trilinear"
    if residual or upsample == "deconv":
        maps = [first << level for level in range(levels)]
    else:
        maps = [groups * int(rng.integers(1, 5)) for _ in range(levels)]
    channels = pick(rng, [1, 1, 2, 3])
    order = pick(rng, ["gcr", "cgr", "cr", "gcl", "cge", "bcr", "cbl", "cl", "gce", "gcrd", "cbeD"])
    if residual and upsample == "deconv":
        # The reference concatenates for its first convolution, too.
        channels = maps[0]
    # The first convolution of an encoder has at least as many channels as it takes.
    if "g" in order and channels % groups:
        groups = 1
    model = dict(
        name=name,
        in_channels=channels,
        out_channels=int(rng.integers(1, 4)),
        f_maps=maps,
        num_groups=groups,
        layer_order=order,
        final_sigmoid=bool(rng.integers(2)),
        upsample=upsample,
    )
    model |= maybe(rng, 0.2, is_segmentation=False)
    if not residual:
        model |= maybe(rng, 0.3, conv_upscale=1)
    return model


def save_network(model, path):
    net = get_model(copy.deepcopy(model))
    with torch.no_grad():
        for name, tensor in net.state_dict().items():
            if "running" in name or "norm" in name:
                tensor.uniform_(0.5, 1.5) if tensor.is_floating_point() else None
    torch.save({"model_state_dict": net.state_dict()}, path)
    return net.eval()


def identity(channels, path):
    """A network that hands its channels on, bit for bit where they are not negative; x is the
    difference of two of them, as there is a ReLU for none of its layers."""
    model = dict(
        name="UNet3D", in_channels=channels, out_channels=channels, layer_order="c",
        f_maps=[channels, 2 * channels], num_levels=2, is_segmentation=False,
    )
    net = get_model(copy.deepcopy(model))
    with torch.no_grad():
        for tensor in net.state_dict().values():
            tensor.zero_()
        state = net.state_dict()
        for name, tensor in state.items():
            if not name.endswith("weight"):
                continue
            if "encoders.0" in name or "decoders" in name or "final" in name:
                middle = tuple(size // 2 for size in tensor.shape[2:])
                for channel in range(min(tensor.shape[0], channels)):
                    tensor[(channel, channel) + middle] = 1
    torch.save({"model_state_dict": net.state_dict()}, path)
    return model, net.eval()


# --- predictions --------------------------------------------------------------------


def draw_raw_transform(rng):
    eps = maybe(rng, 0.3, eps=1e-6)
    return pick(
        rng,
        [
            {"name": "Standardize"} | maybe(rng, 0.3, channelwise=True) | eps,
            {"name": "Standardize", "mean": 90.0, "std": 35.5},
            {"name": "Normalize"} | maybe(rng, 0.5, norm01=True),
            {"name": "Normalize", "min_value": 20.0, "max_value": 200.0},
            {"name": "PercentileNormalizer", "pmin": 2.0, "pmax": 97.0} | maybe(rng, 0.3, channelwise=True) | eps,
        ],
    )


def draw_volume(rng, channels, size):
    raw = rng.integers(0, 255, (channels, *size))
    kind = pick(rng, ["uint8", "uint16", "float32", "int32"])
    return (raw if channels > 1 else raw[0]).astype(kind)


def predict(rng, program, folder):
    model = draw_model(rng)
    planar = model["name"] == "UNet2D"
    patch = [1 if planar else int(rng.integers(8, 13)), *map(int, rng.integers(12, 25, 2))]
    halo = [0 if planar else int(rng.integers(0, 4)), *map(int, rng.integers(0, 6, 2))]
    if rng.random() < 0.3:
        halo = [0, 0, 0]
    size = [p + int(rng.integers(0, 10)) for p in patch]
    stride = [int(rng.integers((p + 1) // 2, p + 1)) for p in patch]
    channels = model["in_channels"]
    with h5py.File(folder / "volume.h5", "w") as file:
        file["raw"] = draw_volume(rng, channels, size)
    net = save_network(model, folder / "net.pytorch")
    config = {
        "model_path": str(folder / "net.pytorch"),
        "model": model,
        "predictor": {"name": "StandardPredictor"},
        "loaders": {
            "dataset": "StandardHDF5Dataset",
            "batch_size": pick(rng, [1, 2, 3]),
            "num_workers": 1,
            "raw_internal_path": "raw",
            "global_normalization": bool(rng.integers(2)),
            "test": {
                "file_paths": [str(folder / "volume.h5")],
                "slice_builder": {
                    "name": "SliceBuilder",
                    "patch_shape": patch,
                    "stride_shape": stride,
                    "halo_shape": halo,
                    "skip_shape_check": True,
                },
                "transformer": {
                    "raw": [draw_raw_transform(rng), {"name": "ToTensor", "expand_dims": channels == 1}]
                },
            },
        },
        "device": "cpu",
    }
    segments = model.get("is_segmentation", True) and rng.random() < 0.3
    outputs = {}
    for side in ("theirs", "ours", "probabilities"):
        if side == "probabilities" and not segments:
            continue
        config["loaders"]["output_dir"] = str(folder / side)
        config["predictor"] |= {"save_segmentation": bool(segments and side != "probabilities")}
        if side == "theirs":
            quietly(upstream_predicts, config, net)
        else:
            run(program, "predict", config, folder, side)
        with h5py.File(folder / side / "volume_predictions.h5") as file:
            outputs[side] = file["predictions"][()]
    ours, theirs = outputs["ours"], outputs["theirs"]
    if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
        raise Failure(f"{ours.shape} {ours.dtype} here, {theirs.shape} {theirs.dtype} there; {config}")
    if segments:
        values = outputs["probabilities"]
        ordered = np.sort(values, 0)
        sure = np.abs(values[0] - 0.5) if len(values) == 1 else ordered[-1] - ordered[-2]
        wrong = (ours != theirs) & (sure > 1e-4)
        if wrong.any():
            raise Failure(f"{wrong.sum()} voxels of the segmentation differ; {config}")
        return
    error = np.abs(ours - theirs).max() / max(1.0, np.abs(theirs).max())
    if not error <= 1e-4:
        raise Failure(f"differ by {error}; {config}")


# --- what a network that changes nothing shows ----------------------------------------

SIZE = (10, 18, 20)


def cells(rng):
    """Labels of some regions on a background of 0."""
    centres = [rng.integers(0, n, 12) for n in SIZE]
    grid = np.meshgrid(*map(np.arange, SIZE), indexing="ij")
    distance = np.stack([sum((g - c[i]) ** 2 for g, c in zip(grid, centres)) for i in range(12)])
    labels = distance.argmin(0) + 1
    labels[distance.min(0) > 20] = 0
    return labels


def training(folder, model, loaders, loss, metric, iterations=1, optimizer=None, scheduler=None, batch=2):
    builder = {
        "name": "SliceBuilder",
        "patch_shape": [SIZE[0] // 2, *SIZE[1:]],
        "stride_shape": [SIZE[0] // 2, *SIZE[1:]],
        "skip_shape_check": True,
    }
    phase = {
        "file_paths": [str(folder / "data.h5")],
        "slice_builder": builder,
        "transformer": loaders,
    }
    config = {
        "manual_seed": 0,
        "model": model,
        "trainer": {
            "checkpoint_dir": str(folder / "run"),
            "resume": None,
            "pre_trained": str(folder / "net.pytorch"),
            "validate_after_iters": 1,
            "log_after_iters": 1,
            "max_num_epochs": 1000,
            "max_num_iterations": iterations,
        },
        "optimizer": optimizer or {"learning_rate": 1e-12, "weight_decay": 0},
        "loss": loss,
        "eval_metric": metric,
        "loaders": {
            "dataset": "StandardHDF5Dataset",
            "batch_size": batch,
            "num_workers": 1,
            "raw_internal_path": "raw",
            "label_internal_path": "label",
            "global_normalization": False,
            "train": phase,
            "val": copy.deepcopy(phase) | {"file_paths": [str(folder / "val.h5")]},
        },
        "device": "cpu",
    }
    # Ours refuses to validate on what it trains on.
    shutil.copy(folder / "data.h5", folder / "val.h5")
    if scheduler:
        config["lr_scheduler"] = scheduler
    return config


def batch_of(config, folder):
    """The validation batch as upstream's transforms make it."""
    phase = config["loaders"]["val"]
    empty = {"pmin": None, "pmax": None, "mean": None, "std": None}
    transformer = Transformer(copy.deepcopy(phase["transformer"]), empty)
    with h5py.File(folder / "data.h5") as file:
        raw, label = file["raw"][()], file["label"][()]
    half = SIZE[0] // 2
    halves = [slice(0, half), slice(half, 2 * half)]
    pick_half = lambda array, part: array[part] if array.ndim == 3 else array[:, part]  # noqa: E731
    raws, labels = transformer.raw_transform(), transformer.label_transform()
    return (
        torch.stack([raws(pick_half(raw, part)) for part in halves]),
        torch.stack([labels(pick_half(label, part)) for part in halves]),
    )


LABELS = {"name": "ToTensor", "expand_dims": False}


def draw_label_transform(rng):
    append = maybe(rng, 0.5, append_label=True)
    offsets = sorted(map(int, rng.choice(np.arange(1, 6), int(rng.integers(1, 4)), replace=False)))
    z_offsets = sorted(map(int, rng.integers(1, 4, len(offsets))))
    return pick(
        rng,
        [
            {"name": "StandardLabelToBoundary"}
            | append
            | maybe(rng, 0.5, foreground=True)
            | maybe(rng, 0.5, mode=pick(rng, ["thick", "inner", "outer"])),
            {"name": "StandardLabelToBoundary", "ignore_index": 3} | append,
            {"name": "BlobsToMask"} | append | maybe(rng, 0.5, boundary=True) | maybe(rng, 0.3, cross_entropy=True),
            {"name": "LabelToAffinities", "offsets": offsets}
            | append
            | maybe(rng, 0.3, aggregate_affinities=True)
            | maybe(rng, 0.4, z_offsets=z_offsets)
            | maybe(rng, 0.3, ignore_index=2),
            {"name": "LabelToZAffinities", "offsets": offsets[:1]} | append,
            {"name": "LabelToBoundaryAndAffinities", "xy_offsets": offsets, "z_offsets": z_offsets}
            | append
            | maybe(rng, 0.3, foreground=True),
            {"name": "LabelToMaskAndAffinities", "xy_offsets": offsets, "z_offsets": z_offsets} | append,
            {"name": "Relabel"} | maybe(rng, 0.5, run_cc=False) | maybe(rng, 0.4, append_original=True),
        ],
    )


def label(rng, program, folder):
    transform = draw_label_transform(rng)
    labels = cells(rng).astype(pick(rng, ["uint8", "uint16", "int64"]))
    with h5py.File(folder / "data.h5", "w") as file:
        file["raw"] = np.zeros(SIZE, "float32")
        file["label"] = labels
    transforms = {
        "raw": [{"name": "ToTensor", "expand_dims": True}],
        "label": [transform, LABELS],
    }
    probe = {"loaders": {"val": {"transformer": transforms}}}
    _, target = quietly(batch_of, probe, folder)
    if target.dim() == 4:
        transforms["label"][-1] = {"name": "ToTensor", "expand_dims": True}
        target = target[:, None]
    channels = target.shape[1]
    logits = rng.standard_normal((channels, *SIZE)).astype("float32")
    with h5py.File(folder / "data.h5", "a") as file:
        del file["raw"]
        file["raw"] = logits if channels > 1 else logits[0]
    transforms["raw"] = [{"name": "ToTensor", "expand_dims": channels == 1}]
    model, _ = identity(channels, folder / "net.pytorch")
    config = training(folder, model, transforms, {"name": "MSELoss"}, {"name": "MSE"})
    run(program, "train", config, folder, "ours")
    half = SIZE[0] // 2
    both = torch.from_numpy(np.stack([logits[:, :half], logits[:, half:]]))
    wanted = torch.nn.functional.mse_loss(both.double(), target.double()).item()
    close(f"{transform}", scalars(folder / "run")["val_loss_avg"][0], wanted, 1e-5)


def draw_score(rng):
    """Loss, metric, label transforms, channels, classes of the labels and final activation."""
    regions = [{"name": "BoundaryAdaptedRandError"}, {"name": "BoundaryAveragePrecision"}, {"name": "BlobsAveragePrecision"}]
    kind = pick(rng, ["classes", "boundary", "mask", "regression"])
    if kind == "classes":
        channels = int(rng.integers(2, 5))
        loss = pick(
            rng,
            [
                {"name": "CrossEntropyLoss"}
                | maybe(rng, 0.5, weight=[float(x) for x in rng.random(channels) + 0.1])
                | maybe(rng, 0.4, ignore_index=1),
                {"name": "WeightedCrossEntropyLoss"},
            ],
        )
        metric = {"name": "MeanIoU"} | maybe(rng, 0.5, skip_background=False)
        return loss, metric, [LABELS | {"dtype": "int64"}], channels, channels, False
    sigmoid = bool(rng.integers(2))
    if kind == "regression":
        loss = pick(
            rng,
            [
                {"name": "MSELoss"},
                {"name": "SmoothL1Loss"},
                {"name": "L1Loss"},
                {"name": "WeightedSmoothL1Loss", "threshold": 1.5, "initial_weight": 0.3}
                | maybe(rng, 0.5, apply_below_threshold=False),
            ],
        )
        metric = pick(rng, [{"name": "MSE"}, {"name": "PSNR"}])
        return loss, metric, [{"name": "ToTensor", "expand_dims": True}], 1, 4, None
    first = {"name": "StandardLabelToBoundary"} if kind == "boundary" else {"name": "BlobsToMask"}
    channels = 1
    loss = pick(
        rng,
        [
            {"name": "BCEWithLogitsLoss"} | maybe(rng, 0.3, pos_weight=[2.5]),
            {"name": "BCEDiceLoss"} | maybe(rng, 0.5, alpha=0.3),
            {"name": "DiceLoss"} | maybe(rng, 0.3, normalization="none"),
            {"name": "GeneralizedDiceLoss"},
        ],
    )
    if rng.random() < 0.6:
        metric = pick(rng, regions)
        if metric["name"] != "BoundaryAdaptedRandError":
            metric = metric | maybe(rng, 0.4, min_instance_size=5)
        metric = metric | maybe(rng, 0.4, thresholds=[0.3, 0.45, 0.6])
        loss = loss | {"skip_last_target": True}
        first = first | {"append_label": True}
    else:
        metric = pick(rng, [{"name": "DiceCoefficient"}, {"name": "MeanIoU"}])
    return loss, metric, [first, LABELS], channels, 0, True if channels == 1 else sigmoid


def score(rng, program, folder):
    loss, metric, labels, channels, classes, sigmoid = draw_score(rng)
    regions = cells(rng)
    if classes:
        values = rng.integers(0, classes, regions.max() + 1)
        regions = values[regions]
    field = rng.standard_normal((channels, *SIZE))
    # Smooth, so that components above a threshold have some size.
    for axis in (1, 2, 3):
        field = field + np.roll(field, 1, axis) + np.roll(field, -1, axis)
    logits = (field / field.std() * 1.5).astype("float32")
    with h5py.File(folder / "data.h5", "w") as file:
        file["raw"] = logits if channels > 1 else logits[0]
        # The reference's PSNR takes numbers from −1 to 1 alone.
        file["label"] = (regions / 4).astype("float32") if sigmoid is None else regions.astype("int64")
    model, net = identity(channels, folder / "net.pytorch")
    if sigmoid is not None:
        model |= {"is_segmentation": True, "final_sigmoid": sigmoid}
    transforms = {"raw": [{"name": "ToTensor", "expand_dims": channels == 1}], "label": labels}
    config = training(folder, model, transforms, loss, metric)
    raw, target = quietly(batch_of, config, folder)
    settings = copy.deepcopy(config) | {"device": TorchDevice.CPU}
    output = raw if sigmoid is None else torch.sigmoid(raw) if sigmoid else torch.softmax(raw, 1)
    wanted_loss = quietly(get_loss_criterion, settings)(raw, target).item()
    wanted_score = float(quietly(get_evaluation_metric, settings)(output, target))
    run(program, "train", config, folder, "ours")
    found = scalars(folder / "run")
    close(f"loss {loss} {labels}", found["val_loss_avg"][0], wanted_loss, 1e-3)
    close(f"score {metric} {labels}", found["val_eval_score_avg"][0], wanted_score, 1e-3)


def raw(rng, program, folder):
    channels = pick(rng, [1, 1, 2])
    size = [int(n) for n in rng.integers(8, 20, 3)]
    strength = float(rng.uniform(0.5, 1.5))
    always = {"execution_probability": 1.0}
    kinds = [
        draw_raw_transform(rng),
        {"name": "RandomGammaCorrection", "gamma": [strength, strength + 1e-9]} | always,
        {"name": "RandomContrast", "alpha": [strength, strength + 1e-9], "mean": 0.2} | always,
        {"name": "GaussianBlur3D", "sigma": [strength, strength]} | always,
    ]
    chain = [pick(rng, kinds) for _ in range(int(rng.integers(1, 4)))]
    with h5py.File(folder / "volume.h5", "w") as file:
        file["raw"] = draw_volume(rng, channels, size)
    model, net = identity(channels, folder / "net.pytorch")
    config = {
        "model_path": str(folder / "net.pytorch"),
        "model": model,
        "predictor": {"name": "StandardPredictor"},
        "loaders": {
            "dataset": "StandardHDF5Dataset",
            "num_workers": 1,
            "raw_internal_path": "raw",
            "global_normalization": bool(rng.integers(2)),
            "output_dir": str(folder / "ours"),
            "test": {
                "file_paths": [str(folder / "volume.h5")],
                "slice_builder": {
                    "name": "SliceBuilder",
                    "patch_shape": size,
                    "stride_shape": size,
                    "halo_shape": [0, 0, 0],
                    "skip_shape_check": True,
                },
                "transformer": {"raw": [*chain, {"name": "ToTensor", "expand_dims": channels == 1}]},
            },
        },
        "device": "cpu",
    }
    run(program, "predict", config, folder, "ours")
    config["loaders"]["output_dir"] = str(folder / "theirs")
    quietly(upstream_predicts, config, net)
    read = lambda side: h5py.File(folder / side / "volume_predictions.h5")["predictions"][()]  # noqa: E731
    ours, theirs = read("ours"), read("theirs")
    if np.isnan(theirs).any():
        raise Failure(f"NaN there; {chain}")
    error = np.abs(ours - theirs).max() / max(1.0, np.abs(theirs).max())
    if not error <= 1e-4:
        raise Failure(f"differ by {error}; {chain} {config['loaders']['global_normalization']}")


# --- optimizers -----------------------------------------------------------------------


def draw_optimizer(rng):
    rate = float(10 ** rng.uniform(-3.5, -1.7))
    decay = pick(rng, [0, 0, 1e-4, 1e-2])
    betas = maybe(rng, 0.5, betas=[float(rng.uniform(0.5, 0.95)), float(rng.uniform(0.9, 0.999))])
    keys = pick(
        rng,
        [
            {} | betas,
            {"name": "AdamW"} | betas,
            {"name": "Adamax"} | betas,
            {"name": "RAdam"} | betas,
            {"name": "NAdam"} | betas | maybe(rng, 0.5, momentum_decay=0.01),
            {"name": "Adadelta"} | maybe(rng, 0.5, rho=0.7),
            {"name": "Adagrad"} | maybe(rng, 0.5, lr_decay=0.1),
            {"name": "RMSprop"} | maybe(rng, 0.5, alpha=0.8),
            {"name": "Rprop"} | maybe(rng, 0.5, etas=[0.6, 1.3]),
            {"name": "SGD"} | maybe(rng, 0.7, momentum=0.9),
            {"name": "SGD", "momentum": 0.8, "nesterov": True},
            {"name": "SGD", "momentum": 0.7, "dampening": 0.2},
        ],
    )
    return keys | {"learning_rate": rate, "weight_decay": decay}


def draw_scheduler(rng):
    return pick(
        rng,
        [
            None,
            {"name": "ReduceLROnPlateau", "mode": "max", "factor": 0.5, "patience": 0},
            {"name": "MultiStepLR", "milestones": [2, 4], "gamma": 0.3},
            {"name": "StepLR", "step_size": 2, "gamma": 0.6},
            {"name": "ExponentialLR", "gamma": 0.8},
            {"name": "CosineAnnealingLR", "T_max": 4},
            {"name": "PolynomialLR", "total_iters": 4, "power": 1.5},
            {"name": "LinearLR", "start_factor": 0.4, "total_iters": 3},
            {"name": "ConstantLR", "factor": 0.4, "total_iters": 3},
        ],
    )


def optimizer(rng, program, folder):
    classes = int(rng.integers(2, 4))
    model = dict(
        name=pick(rng, ["UNet3D", "ResidualUNet3D"]), in_channels=1, out_channels=classes, f_maps=[4, 8],
        num_groups=2, layer_order=pick(rng, ["gcr", "cge", "gcl"]), final_sigmoid=False,
    )
    save_network(model, folder / "net.pytorch")
    labels = cells(rng) % classes
    with h5py.File(folder / "data.h5", "w") as file:
        file["raw"] = (100 * labels + 30 * rng.standard_normal(SIZE)).astype("float32")
        file["label"] = labels.astype("uint8")
    transforms = {
        "raw": [{"name": "Standardize"}, {"name": "ToTensor", "expand_dims": True}],
        "label": [LABELS | {"dtype": "int64"}],
    }
    config = training(
        folder, model, transforms, {"name": "CrossEntropyLoss"}, {"name": "MeanIoU"}, 6,
        draw_optimizer(rng), draw_scheduler(rng),
    )
    run(program, "train", config, folder, "ours")
    ours = scalars(folder / "run")
    config["trainer"]["checkpoint_dir"] = str(folder / "there")
    quietly(upstream_trains, config)
    theirs = scalars(folder / "there")
    for tag in ("train_loss_avg", "val_loss_avg", "learning_rate"):
        # Theirs does an iteration more.
        for step, (a, b) in enumerate(zip(ours[tag], theirs[tag], strict=False)):
            close(f"{tag} of {step}, {config['optimizer']} {config.get('lr_scheduler')}", a, b, 1e-3, 1e-5)
        if len(ours[tag]) not in (len(theirs[tag]), len(theirs[tag]) - 1):
            raise Failure(f"{len(ours[tag])} values of {tag} here, {len(theirs[tag])} there; {config}")


KINDS = {"predict": predict, "score": score, "label": label, "raw": raw, "optimizer": optimizer}
FLAGS = {"predict": "predictions", "score": "scores", "label": "labels", "raw": "raws", "optimizer": "optimizers"}


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for flag, default in zip(FLAGS.values(), (60, 60, 60, 60, 40)):
        options.add_argument(f"--{flag}", type=int, default=default)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--only", help="KIND:NUMBER")
    options.add_argument("--program", type=pathlib.Path, default=ROOT / "target" / "release" / "unet3d")
    options = options.parse_args()
    only = options.only.split(":") if options.only else None
    failed = 0
    for number_of_kind, (kind, function) in enumerate(KINDS.items()):
        count, wrong = getattr(options, FLAGS[kind]), 0
        numbers = range(count) if only is None else [int(only[1])] if only[0] == kind else []
        for number in numbers:
            rng = np.random.default_rng([options.seed, number_of_kind, number])
            torch.manual_seed(number)
            with tempfile.TemporaryDirectory() as folder:
                try:
                    function(rng, options.program, pathlib.Path(folder))
                except Failure as failure:
                    wrong += 1
                    print(f"{kind}:{number} {failure}", flush=True)
                except Exception:
                    # A set-up that upstream cannot run shows nothing, but must be seen.
                    wrong += 1
                    print(f"{kind}:{number} failed: {traceback.format_exc()[-500:]}", flush=True)
        if numbers:
            print(f"{kind}: {len(numbers) - wrong} of {len(numbers)} agree", flush=True)
        failed += wrong
    return 1 if failed else 0


sys.exit(main())
