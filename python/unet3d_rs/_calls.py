"""`predict` and `train`: they write what the program reads, start it, and give back what it
wrote. Nothing is computed here."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import yaml

from ._program import PROGRAM, environment

Config = str | os.PathLike[str] | Mapping[str, Any]
"""A configuration: the path of a YAML file, or what such a file holds."""


class Error(RuntimeError):
    """The program failed. The text is what it said; `code` is its exit code: 1 for a run
    that failed, 2 for a wrong configuration, 3 for one that was stopped by a signal."""

    def __init__(self, message: str, code: int):
        super().__init__(message)
        self.code = code


def predict(
    array: np.ndarray,
    *,
    config: Config,
    checkpoint: str | os.PathLike[str] | None = None,
    settings: Mapping[str, Any] | None = None,
    progress: Callable[[str], None] | None = None,
) -> np.ndarray:
    """Predicts one volume.

    array: (D, H, W) or (C, D, H, W), any type of numbers that HDF5 files for the program
        may hold.
    config: a prediction configuration. Its `loaders.test.file_paths` is not used.
    checkpoint: replaces `model_path`.
    settings: further keys with dots, as `--set` takes them: {"device": "cpu"}.
    progress: is called with each line that the program prints.

    Returns `predictions`, (C, D, H, W), in the type of `predictor.output_dtype`.
    Raises Error if the program fails.
    """
    if array.ndim not in (3, 4):
        raise ValueError(f"a volume (D, H, W) or (C, D, H, W) is wanted, not {array.shape}")
    with tempfile.TemporaryDirectory(prefix="unet3d-") as folder:
        file = Path(folder) / "volume.h5"
        tree = _read(config)
        name = tree.get("loaders", {}).get("raw_internal_path", "raw")
        name = name[0] if isinstance(name, list) else name
        with h5py.File(file, "w") as out:
            out[name] = array
        given: dict[str, Any] = {
            **(settings or {}),
            "loaders.test.file_paths": [str(file)],
            "loaders.output_dir": folder,
        }
        if checkpoint is not None:
            given["model_path"] = os.fspath(Path(checkpoint).absolute())
        _run("predict", config, given, progress)
        with h5py.File(Path(folder) / "volume_predictions.h5") as result:
            return result["predictions"][()]


def train(
    config: Config,
    *,
    settings: Mapping[str, Any] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: Callable[[str], None] | None = None,
) -> Path:
    """Trains a network as `unet3d train` does.

    config: a training configuration.
    settings: further keys with dots, as `--set` takes them: {"trainer.iters": 1000}.
    resume: go on from the last checkpoint of `trainer.checkpoint_dir`.
    overwrite: start afresh there; checkpoints and logs of an earlier run are moved to a
        dated folder.
    progress: is called with each line that the program prints.

    Returns the folder of the checkpoints.
    Raises Error if the program fails.
    """
    given = dict(settings or {})
    flags = ["--resume", "auto"] if resume else []
    flags += ["--overwrite"] if overwrite else []
    _run("train", config, given, progress, flags)
    directory = given.get("trainer.checkpoint_dir")
    return Path(directory or _read(config)["trainer"]["checkpoint_dir"])


def _read(config: Config) -> Mapping[str, Any]:
    if isinstance(config, Mapping):
        return config
    return yaml.safe_load(Path(config).read_text(encoding="utf-8")) or {}


def _run(
    command: str,
    config: Config,
    settings: Mapping[str, Any],
    progress: Callable[[str], None] | None,
    flags: list[str] | None = None,
) -> None:
    """Runs a command of the program and hands its lines on."""
    with tempfile.TemporaryDirectory(prefix="unet3d-") as folder:
        path = config
        if isinstance(config, Mapping):
            path = Path(folder) / "config.yaml"
            path.write_text(yaml.safe_dump(dict(config)), encoding="utf-8")
        arguments = [os.fspath(PROGRAM), command, "--config", os.fspath(path), *(flags or [])]
        for key, value in settings.items():
            text = yaml.safe_dump(value, default_flow_style=True, width=10**9)
            arguments += ["--set", f"{key}={text.removesuffix('...' + os.linesep).strip()}"]
        process = subprocess.Popen(
            arguments,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        )
        lines: list[str] = []
        try:
            assert process.stdout is not None
            for line in process.stdout:
                lines.append(line.rstrip("\n"))
                if progress is not None:
                    progress(lines[-1])
        except BaseException:
            # An interrupted caller ends the program as Ctrl-C would: a training run
            # writes its last checkpoint.
            process.terminate()
            process.wait()
            raise
        code = process.wait()
        if code != 0:
            raise Error("\n".join(lines[-20:]) or f"unet3d ended with code {code}", code)
