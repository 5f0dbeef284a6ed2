"""Random predictions and trainings against a plain computation in float64 with torch.

    python tests/soak/random_setups.py [--predictions 200] [--trainings 50] [--seed 1]
                                       [--program target/release/unet3d]

Each set-up draws a network (family, levels, pooling, kernels, orders, groups), volumes
(size, number type, layout in the file) and settings (patches, stride, halo, mirror
padding, flips, blending, batches, formats; or loss, metric, optimizer, scheduler), writes
a configuration, runs the program on it in float64 and compares what it wrote with a slow
computation below. The run ends with exit code 1 at the first set-up that differs and
prints its number: `--only predict:17` repeats it alone.
"""

import argparse
import itertools
import json
import math
import pathlib
import subprocess
import sys
import tempfile

import h5py
import numpy as np
import torch
import torch.nn.functional as F
import yaml

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "fixtures"))
from make_model import UNet  # noqa: E402

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)


class Failure(Exception):
    pass


def pick(rng, options):
    return options[int(rng.integers(len(options)))]


def per_axis(value):
    return [value] * 3 if isinstance(value, int) else list(value)


# --- networks ---------------------------------------------------------------------


def draw_network(rng, out_channels):
    """Settings of the torch network and the `model` section that means the same."""
    family = pick(rng, ["UNet3D", "UNet3D", "ResidualUNet3D", "UNet2D"])
    levels = int(rng.integers(2, 4))
    groups = pick(rng, [1, 2])
    f_maps = [groups * int(rng.integers(1, 4)) for _ in range(levels)]
    cin = pick(rng, [1, 1, 2])
    order = pick(rng, ["gcr", "cgr", "cr", "gcl", "cge", "bcr", "cbl", "cl", "gce"])
    if order[0] == "g" and groups > 1 and cin > groups and cin % groups:
        groups = 1
    s = dict(residual=family == "ResidualUNet3D", cin=cin, cout=out_channels, f_maps=f_maps,
             order=order, groups=groups, kernel=3, pool=2, padding=1)
    model = dict(name=family, in_channels=cin, out_channels=out_channels, f_maps=f_maps,
                 layer_order=order, num_groups=groups,
                 final_sigmoid=bool(rng.integers(2)))
    if family == "UNet2D":
        s |= dict(kernel=(1, 3, 3), pool=(1, 2, 2), padding=(0, 1, 1))
    elif family == "UNet3D":
        if rng.random() < 0.3:
            s["pool"] = model["pool_kernel_size"] = pick(rng, [[1, 2, 2], [2, 2, 2], [2, 3, 2]])
        if rng.random() < 0.3:
            kernel = pick(rng, [1, 3, 5, [1, 3, 3], [3, 1, 5]])
            s["kernel"] = model["conv_kernel_size"] = kernel
            padding = [k // 2 for k in per_axis(kernel)]
            s["padding"] = model["conv_padding"] = padding
    for key in ("kernel", "pool", "padding"):
        if isinstance(s[key], list):
            s[key] = tuple(s[key])
    # A double convolution's first unit has max(out / 2, in) channels, which the groups
    # must divide where a norm follows it.
    widths = [cin] + f_maps
    for a, b in zip(widths, widths[1:]):
        middle = max(b // 2, a)
        if not s["residual"] and "g" in order and middle >= groups and middle % groups:
            s["groups"] = model["num_groups"] = 1
    net = UNet(s).double()
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    for p in net.parameters():
        p.data += 0.1 * torch.randn(p.shape, generator=generator)
    for b in net.buffers():
        if b.dtype.is_floating_point:
            b += 0.3 * torch.rand(b.shape, generator=generator)
    return net, model


def draw_patch(rng, net, most=12):
    """A patch (z, y, x) that the network can take, as far as this rule can tell."""
    s, levels = net.s, len(net.s["f_maps"])
    patch = []
    for pool in per_axis(s["pool"]):
        step = pool ** (levels - 1)
        if s["residual"]:
            patch.append(step * int(rng.integers(1, max(2, most // step + 1))))
        else:
            low = max(step, 2)
            patch.append(int(rng.integers(low, max(low + 1, most + 1))))
    # torch refuses a norm over a single value.
    lowest = per_axis(s["pool"])[2] ** (levels - 1)
    patch[2] = max(patch[2], 2 * lowest)
    return patch


def final(model, logits):
    return torch.sigmoid(logits) if model["final_sigmoid"] else torch.softmax(logits, 1)


# --- volumes ----------------------------------------------------------------------


def draw_values(rng, shape):
    values = rng.normal(100, 40, size=shape)
    kind = pick(rng, ["uint8", "uint16", "int16", "int32", "float32", "float64", ">u2", ">f4"])
    return values.astype(kind) if "f" in kind else np.clip(values, 0, 255).round().astype(kind)


def write(rng, file, name, values):
    layout = pick(rng, ["contiguous", "chunked", "gzip", "shuffle", "lzf"])
    options = {}
    if layout != "contiguous":
        options["chunks"] = tuple(int(rng.integers(1, n + 1)) for n in values.shape)
    if layout in ("gzip", "shuffle"):
        options |= dict(compression="gzip", compression_opts=int(rng.integers(1, 9)))
    if layout == "shuffle":
        options["shuffle"] = True
    if layout == "lzf":
        options["compression"] = "lzf"
    file.create_dataset(name, data=values, **options)


def draw_normalization(rng):
    name = pick(rng, ["Normalize", "Standardize", "given", "none"])
    if name == "none":
        return [], lambda x, all_values: x
    if name == "Normalize":
        def normalize(x, v):
            return np.clip(2 * (x - v.min()) / (v.max() - v.min()) - 1, -1, 1)
        return [dict(name="Normalize")], normalize
    if name == "Standardize":
        return [dict(name="Standardize")], lambda x, v: (x - v.mean()) / max(v.std(), 1e-6)
    return [dict(name="Standardize", mean=90.0, std=30.0)], lambda x, v: (x - 90.0) / 30.0


# --- prediction -------------------------------------------------------------------


def starts(length, patch, stride):
    found = list(range(0, length - patch + 1, stride))
    if found[-1] + patch < length:
        found.append(length - patch)
    return found


def axis_weight(index, start, patch, length, halo, gaussian):
    low = 0 if start == 0 else halo
    high = patch if start + patch == length else patch - halo
    if not low <= index < high:
        return 0.0
    if not gaussian:
        return 1.0
    distance = (index - (patch - 1) / 2) / (patch / 8)
    return max(math.exp(-0.5 * distance * distance), 1e-6)


def plain_prediction(net, model, raw, setup):
    """(C, D, H, W), or None if a voxel has no patch. `raw` is normalised, (C, D, H, W)."""
    pad, patch = setup["pad"], setup["patch"]
    padded = np.pad(raw, [(0, 0)] + [(p, p) for p in pad], mode="reflect")
    size = padded.shape[1:]
    channels = model["out_channels"]
    sums, weights = np.zeros((channels, *size)), np.zeros(size)
    grids = [starts(size[a], patch[a], setup["stride"][a]) for a in range(3)]
    flips = [[axis + 2 for axis in chosen] for n in range(len(setup["tta"]) + 1)
             for chosen in itertools.combinations(setup["tta"], n)]
    for corner in itertools.product(*grids):
        box = tuple(slice(c, c + p) for c, p in zip(corner, patch))
        x = torch.from_numpy(np.ascontiguousarray(padded[(slice(None), *box)]))[None]
        with torch.no_grad():
            output = sum(final(model, net(x.flip(f))).flip(f) for f in flips) / len(flips)
        weight = np.ones(patch)
        for axis in range(3):
            along = [axis_weight(i, corner[axis], patch[axis], size[axis], setup["halo"][axis],
                                 setup["gaussian"]) for i in range(patch[axis])]
            weight = weight * np.array(along).reshape([-1 if a == axis else 1 for a in range(3)])
        sums[(slice(None), *box)] += output[0].numpy() * weight
        weights[box] += weight
    if (weights == 0).any():
        return None
    inner = tuple(slice(p, n - p) for p, n in zip(pad, size))
    return (sums / weights)[(slice(None), *inner)]


def run(program, command, config):
    return subprocess.run([program, command, "--threads", "1", "--config", config], env={},
                          capture_output=True, text=True)


def predict_once(rng, program, folder):
    net, model = draw_network(rng, int(rng.integers(1, 4)))
    net.eval()
    patch = draw_patch(rng, net)
    halo = [int(rng.integers(0, 3)) if rng.random() < 0.6 else 0 for _ in range(3)]
    # In one of ten set-ups the halos may leave voxels without a patch.
    most = patch if rng.random() < 0.1 else [max(1, p - 2 * h) for p, h in zip(patch, halo)]
    setup = dict(
        patch=patch, halo=halo,
        stride=[int(rng.integers(max(1, m // 3), m + 1)) for m in most],
        pad=[int(rng.integers(0, 3)) for _ in range(3)],
        gaussian=bool(rng.integers(2)),
        tta=[a for a in range(3) if rng.random() < 0.2],
    )
    size = [p + int(rng.integers(0, 8)) for p in patch]
    # numpy's reflect repeats itself beyond an axis; the program refuses nothing there.
    setup["pad"] = [min(p, n - 1) for p, n in zip(setup["pad"], size)]
    channels = [model["in_channels"]] if model["in_channels"] > 1 or rng.random() < 0.3 else []
    raw = draw_values(rng, channels + size)
    (folder / "in").mkdir()
    with h5py.File(folder / "in/v.h5", "w") as file:
        write(rng, file, "volume/raw", raw)
    transforms, normalize = draw_normalization(rng)
    torch.save({"model_state_dict": net.state_dict()}, folder / "net.pytorch")
    dtype = pick(rng, ["float32", "float32", "float16", "uint8"])
    lazy = [bool(rng.integers(2)), bool(rng.integers(2))]
    kept = int(rng.integers(model["out_channels"])) if rng.random() < 0.2 else None
    config = dict(
        model_path=str(folder / "net.pytorch"), device="cpu", precision="fp64", model=model,
        predictor=dict(name="LazyPredictor" if lazy[0] else "StandardPredictor",
                       patch_halo=setup["halo"], output_dtype=dtype,
                       blending="gaussian" if setup["gaussian"] else "average",
                       tta=["zyx"[a] for a in setup["tta"]], save_segmentation=True,
                       compression=pick(rng, ["gzip", "none"])),
        loaders=dict(
            dataset="LazyHDF5Dataset" if lazy[1] else "StandardHDF5Dataset",
            batch_size=int(rng.integers(1, 5)), num_workers=int(rng.integers(0, 3)),
            raw_internal_path="volume/raw", mirror_padding=setup["pad"],
            output_dir=str(folder / "out"),
            test=dict(file_paths=[str(folder / "in")],
                      slice_builder=dict(name="SliceBuilder", patch_shape=patch,
                                         stride_shape=setup["stride"], skip_shape_check=True),
                      transformer=dict(raw=transforms + [dict(
                          name="ToTensor", expand_dims=not channels, dtype="float64")])),
        ),
    )
    if kept is not None:
        config["prediction_channel"] = kept
    (folder / "c.yaml").write_text(yaml.safe_dump(config))
    values = raw.astype("float64")
    values = values if channels else values[None]
    expected = plain_prediction(net, model, normalize(values, values), setup)
    done = run(program, "predict", folder / "c.yaml")
    if expected is None:
        if done.returncode == 0 or "no patch covers" not in done.stderr:
            raise Failure(f"voxels without a patch were not refused:\n{done.stdout}{done.stderr}")
        return "refused"
    if done.returncode:
        raise Failure(f"exit code {done.returncode}:\n{done.stdout}{done.stderr}")
    with h5py.File(folder / "out/v_predictions.h5") as file:
        found = file["predictions"][...].astype("float64")
        labels = file["segmentation"][...]
    expected = expected if kept is None else expected[kept:kept + 1]
    scale, bound = {"float32": (1, 1e-5), "float16": (1, 5e-4), "uint8": (255, 0.5001 / 255)}[dtype]
    error = np.abs(found / scale - expected).max()
    if found.shape != expected.shape or not error <= bound:
        raise Failure(f"probabilities {found.shape} differ by {error}, {expected.shape} wanted")
    if len(expected) == 1:
        wanted, margin = expected[0] > 0.5, np.abs(expected[0] - 0.5)
    else:
        ordered = np.sort(expected, 0)
        wanted, margin = expected.argmax(0), ordered[-1] - ordered[-2]
    wrong = (labels != wanted) & (margin > 1e-6)
    if wrong.any():
        raise Failure(f"the segmentation differs at {int(wrong.sum())} voxels")
    return "equal"


# --- training ---------------------------------------------------------------------


def flat(x, channels):
    return x.transpose(0, 1).reshape(channels, -1)


def dice(p, t):
    p, t = flat(p, p.shape[1]), flat(t, p.shape[1])
    return 2 * (p * t).sum(1) / (p * p + t * t).sum(1).clamp(min=1e-6)


def draw_loss(rng, channels):
    """Section, kind of label, and the loss of logits and target."""
    def weights():
        return [round(float(w), 3) for w in rng.uniform(0.2, 2, channels)]

    names = ["BCEWithLogitsLoss", "DiceLoss", "BCEDiceLoss", "GeneralizedDiceLoss", "MSELoss",
             "L1Loss", "SmoothL1Loss"]
    if channels > 1:
        # These choose between classes.
        names += ["CrossEntropyLoss", "WeightedCrossEntropyLoss", "PixelWiseCrossEntropyLoss"]
    name = pick(rng, names)
    section = dict(name=name)
    if name == "CrossEntropyLoss":
        weight = weights() if rng.random() < 0.5 else None
        if weight:
            section["weight"] = weight
        ignore = 0 if rng.random() < 0.3 else None
        if ignore is not None:
            section["ignore_index"] = ignore
        w = None if weight is None else torch.tensor(weight)
        return section, "classes", lambda x, t, m: F.cross_entropy(
            x, t, w, ignore_index=-100 if ignore is None else ignore)
    if name == "WeightedCrossEntropyLoss":
        def weighted(x, t, m):
            p = flat(torch.softmax(x, 1), channels)
            w = ((1 - p).sum(1) / p.sum(1)).detach()
            return F.cross_entropy(x, t, w)
        return section, "classes", weighted
    if name == "PixelWiseCrossEntropyLoss":
        one_hot = bool(rng.integers(2))

        def pixel_wise(x, t, m):
            t = t if one_hot else F.one_hot(t, channels).movedim(-1, 1).double()
            m = m if one_hot else m[:, None].expand_as(x)
            return (-m * t * torch.log_softmax(x, 1)).mean()
        return section, "one_hot_weighted" if one_hot else "classes_weighted", pixel_wise
    if name == "BCEWithLogitsLoss":
        return section, "masks", lambda x, t, m: F.binary_cross_entropy_with_logits(x, t)
    if name == "DiceLoss":
        sigmoid = bool(rng.integers(2))
        section["sigmoid_normalization"] = sigmoid
        weight = weights() if rng.random() < 0.3 else None
        if weight:
            section["weight"] = weight

        def dice_loss(x, t, m):
            p = torch.sigmoid(x) if sigmoid else torch.softmax(x, 1)
            score = dice(p, t)
            return 1 - (score if weight is None else score * torch.tensor(weight)).mean()
        return section, "masks", dice_loss
    if name == "BCEDiceLoss":
        alpha, beta = [round(float(v), 3) for v in rng.uniform(0.2, 2, 2)]
        section |= dict(alpha=alpha, beta=beta)
        return section, "masks", lambda x, t, m: (
            alpha * F.binary_cross_entropy_with_logits(x, t)
            + beta * (1 - dice(torch.sigmoid(x), t).mean()))
    if name == "GeneralizedDiceLoss":
        def generalized(x, t, m):
            p, t = flat(torch.sigmoid(x), channels), flat(t, channels)
            if channels == 1:
                p, t = torch.cat([p, 1 - p]), torch.cat([t, 1 - t])
            w = 1 / (t.sum(1) ** 2).clamp(min=1e-6)
            over = ((p + t).sum(1) * w).clamp(min=1e-6)
            return 1 - 2 * ((p * t).sum(1) * w).sum() / over.sum()
        return section, "masks", generalized
    function = {"MSELoss": F.mse_loss, "L1Loss": F.l1_loss, "SmoothL1Loss": F.smooth_l1_loss}[name]
    return section, "values", lambda x, t, m: function(x, t)


def draw_metric(rng, kind, channels):
    """Section and the score of probabilities and target."""
    if kind.startswith("classes") and channels > 1:
        def mean_iou(p, t):
            scores = []
            for p, t in zip(p.argmax(1), t):
                inter = [((p == c) & (t == c)).sum() for c in range(channels)]
                union = [((p == c) | (t == c)).sum().clamp(min=1e-8) for c in range(channels)]
                scores.append(sum(float(i) / max(float(u), 1e-8)
                                  for i, u in zip(inter, union)) / channels)
            return sum(scores) / len(scores)
        return dict(name="MeanIoU"), mean_iou
    if kind == "masks":
        return dict(name="DiceCoefficient"), lambda p, t: float(dice(p, t).mean())
    return dict(name="MSE"), None


def draw_optimizer(rng, parameters):
    rate = float(10 ** rng.uniform(-4, -2))
    decay = pick(rng, [0.0, 1e-4])
    section = dict(learning_rate=rate, weight_decay=decay)
    if rng.random() < 0.5:
        momentum = pick(rng, [0.0, 0.9])
        section |= dict(algorithm="SGD", momentum=momentum)
        return section, torch.optim.SGD(parameters, rate, momentum, weight_decay=decay)
    betas = [0.9, 0.999] if rng.random() < 0.5 else [0.8, 0.99]
    section |= dict(algorithm="Adam", betas=betas)
    return section, torch.optim.Adam(parameters, rate, tuple(betas), weight_decay=decay)


def draw_scheduler(rng, optimizer):
    name = pick(rng, ["StepLR", "ExponentialLR", "MultiStepLR", "CosineAnnealingLR",
                      "CosineAnnealingWarmRestarts"])
    keys = {
        "StepLR": dict(step_size=int(rng.integers(1, 3)), gamma=0.5),
        "ExponentialLR": dict(gamma=0.7),
        "MultiStepLR": dict(milestones=[1, 2], gamma=0.3),
        "CosineAnnealingLR": dict(T_max=4, eta_min=1e-5),
        "CosineAnnealingWarmRestarts": dict(T_0=2, T_mult=2),
    }[name]
    return dict(name=name, **keys), getattr(torch.optim.lr_scheduler, name)(optimizer, **keys)


def make_pair(rng, path, size, cin, cout, kind):
    raw = rng.normal(size=([cin] if cin > 1 else []) + size).astype("float64")
    with h5py.File(path, "w") as file:
        file["raw"] = raw
        weight = None
        if kind.startswith("classes"):
            label = rng.integers(0, max(cout, 2) if cout > 1 else 1, size).astype("int64")
            if kind == "classes_weighted":
                weight = rng.uniform(0.1, 2, size)
        elif kind == "one_hot_weighted":
            label = np.moveaxis(np.eye(cout)[rng.integers(0, cout, size)], -1, 0)
            weight = rng.uniform(0.1, 2, [cout] + size)
        elif kind == "masks":
            label = (rng.random([cout] + size) < 0.4).astype("float64")
        else:
            label = rng.normal(size=[cout] + size)
        file["label"] = label
        if weight is not None:
            file["weight"] = weight
    as_batch = torch.from_numpy(raw if cin > 1 else raw[None])
    return as_batch, torch.from_numpy(label), None if weight is None else torch.from_numpy(weight)


def scalars(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    events = EventAccumulator(str(folder)).Reload()
    return {tag: [e.value for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def train_once(rng, program, folder):
    channels = int(rng.integers(1, 4))
    net, model = draw_network(rng, channels)
    section, kind, loss = draw_loss(rng, channels)
    patch = draw_patch(rng, net, most=8)
    count = int(rng.integers(1, 4))
    cin = model["in_channels"]
    # Every file is one patch and every batch is all of them, so that order is nothing.
    train = [make_pair(rng, folder / f"train{i}.h5", patch, cin, channels, kind)
             for i in range(count)]
    val = [make_pair(rng, folder / "val.h5", patch, cin, channels, kind)]
    metric_section, metric = draw_metric(rng, kind, channels)
    optimizer_section, optimizer = draw_optimizer(rng, list(net.parameters()))
    scheduler_section, scheduler = draw_scheduler(rng, optimizer)
    torch.save({"model_state_dict": net.state_dict()}, folder / "start.pytorch")
    slices = dict(name="SliceBuilder", patch_shape=patch, stride_shape=patch, skip_shape_check=True)
    integer = kind.startswith("classes")
    label_transform = dict(name="ToTensor", expand_dims=False,
                           dtype="int64" if integer else "float64")
    transformer = dict(
        raw=[dict(name="ToTensor", expand_dims=cin == 1, dtype="float64")],
        label=[label_transform],
        weight=[dict(name="ToTensor", expand_dims=False, dtype="float64")])

    def phase(paths):
        return dict(file_paths=[str(folder / p) for p in paths], slice_builder=slices,
                    transformer=transformer)

    loaders = dict(
        dataset=pick(rng, ["StandardHDF5Dataset", "LazyHDF5Dataset"]), batch_size=count,
        num_workers=int(rng.integers(0, 3)),
        train=phase([f"train{i}.h5" for i in range(count)]), val=phase(["val.h5"]))
    if "weighted" in kind:
        loaders["weight_internal_path"] = "weight"
    config = dict(
        manual_seed=int(rng.integers(1000)), device="cpu", precision="fp64", model=model,
        trainer=dict(checkpoint_dir=str(folder / "run"), pre_trained=str(folder / "start.pytorch"),
                     iters=3, epochs=10, validate_after_iters=1, log_after_iters=1,
                     eval_score_higher_is_better=metric_section["name"] != "MSE"),
        optimizer=optimizer_section, lr_scheduler=scheduler_section, loss=section,
        eval_metric=metric_section, loaders=loaders)
    (folder / "c.yaml").write_text(yaml.safe_dump(config))
    done = run(program, "train", folder / "c.yaml")
    if done.returncode:
        raise Failure(f"exit code {done.returncode}:\n{done.stdout}{done.stderr}")
    found = scalars(folder / "run/logs")

    def batch(pairs):
        return [None if pairs[0][i] is None else torch.stack([p[i] for p in pairs]) for i in range(3)]

    wanted = {"train_loss_avg": [], "val_loss_avg": [], "val_eval_score_avg": []}
    x, t, m = batch(train)
    vx, vt, vm = batch(val)
    for _ in range(3):
        net.train()
        optimizer.zero_grad()
        value = loss(net(x), t, m)
        value.backward()
        optimizer.step()
        wanted["train_loss_avg"].append(float(value.detach()))
        net.eval()
        with torch.no_grad():
            logits = net(vx)
            wanted["val_loss_avg"].append(float(loss(logits, vt, vm)))
            if metric:
                wanted["val_eval_score_avg"].append(metric(final(model, logits), vt))
        scheduler.step()
    for tag, values in wanted.items():
        for step, (a, b) in enumerate(zip(found[tag], values)):
            # TensorBoard holds float32.
            if not abs(a - b) <= 1e-6 * max(1, abs(b)):
                raise Failure(f"{section['name']}: {tag} of iteration {step + 1} is {a}, not {b}")
        if values and len(found[tag]) != 3:
            raise Failure(f"{tag} has {len(found[tag])} values")
    state = torch.load(folder / "run/last_checkpoint.pytorch", weights_only=False)
    for name, tensor in net.state_dict().items():
        error = (state["model_state_dict"][name].double() - tensor.double()).abs().max()
        if not error <= 1e-8 * max(1, float(tensor.abs().max())):
            raise Failure(f"{section['name']}: {name} differs by {float(error)} after 3 iterations")
    return "equal"


# ----------------------------------------------------------------------------------


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--predictions", type=int, default=200)
    options.add_argument("--trainings", type=int, default=50)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--only", help="one set-up, as in predict:17")
    options.add_argument("--program", default="target/release/unet3d")
    options = options.parse_args()
    program = pathlib.Path(options.program).resolve()
    setups = [("predict", i) for i in range(options.predictions)]
    setups += [("train", i) for i in range(options.trainings)]
    if options.only:
        kind, number = options.only.split(":")
        setups = [(kind, int(number))]
    counts = {}
    for kind, number in setups:
        rng = np.random.default_rng([options.seed, number, kind == "train"])
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            try:
                outcome = (predict_once if kind == "predict" else train_once)(rng, program, folder)
            except Failure as failure:
                config = json.dumps(yaml.safe_load((folder / "c.yaml").read_text()))
                print(f"{kind}:{number}: {failure}\n{config}")
                sys.exit(1)
        counts[kind, outcome] = counts.get((kind, outcome), 0) + 1
    for (kind, outcome), count in sorted(counts.items()):
        print(f"{kind}: {count} {outcome}")


if __name__ == "__main__":
    main()
