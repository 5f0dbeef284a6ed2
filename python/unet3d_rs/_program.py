"""Finds the program of this package and starts it."""

import importlib.util
import os
import sys
from pathlib import Path

PROGRAM = Path(__file__).parent / "bin" / "unet3d"


def environment() -> dict[str, str]:
    """The environment in which the program finds libtorch.

    The program searches `../../torch/lib` beside its own folder, which is right where
    files are copied or hard-linked into site-packages. Where they are symbolic links into
    a cache (`uv pip install --link-mode symlink`), or torch is installed elsewhere, the
    folder of the torch that Python would import is named in LD_LIBRARY_PATH.
    """
    variables = dict(os.environ)
    own = PROGRAM.resolve().parents[2] / "torch" / "lib" / "libtorch_cpu.so"
    if own.exists():
        return variables
    torch = importlib.util.find_spec("torch")
    if torch is None or torch.origin is None:
        sys.exit("unet3d: the Python package torch is missing: pip install 'torch==2.11.*'")
    folders = [str(Path(torch.origin).resolve().parent / "lib")]
    if variables.get("LD_LIBRARY_PATH"):
        folders.append(variables["LD_LIBRARY_PATH"])
    variables["LD_LIBRARY_PATH"] = ":".join(folders)
    return variables


def main() -> None:
    """The command `unet3d`: replaces this process by the program, so that signals and the
    exit code are the program's own."""
    try:
        os.execve(PROGRAM, ["unet3d", *sys.argv[1:]], environment())
    except OSError as error:
        sys.exit(f"unet3d: {PROGRAM} cannot be started: {error.strerror}")
