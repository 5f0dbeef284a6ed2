"""Calls the program `unet3d` from Python: `predict` and `train`.

They are loaded when they are first used, so that the command `unet3d`, which imports this
package as well, starts without numpy and h5py.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._calls import Config, Error, predict, train

__all__ = ["Config", "Error", "predict", "train"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from . import _calls

        return getattr(_calls, name)
    if name == "__version__":
        from importlib.metadata import version

        return version("unet3d-rs")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
