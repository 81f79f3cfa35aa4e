"""Packages that are installed with extras, and what to do where they are not."""

from __future__ import annotations

import importlib.util
from importlib import import_module
from types import ModuleType
from typing import Any

from geochange.errors import BadOption

TRAINING = ("torch", "torchvision", "timm")


def require_packages(what: str, extra: str, *modules: str) -> None:
    """Refuse to go on where a package is not installed.

    Args:
        what: needs them.
        extra: the extra of geochange that installs them.
        modules: their names.

    Raises:
        BadOption: the message names what is missing, and the extra.
    """
    if missing := [each for each in modules if importlib.util.find_spec(each) is None]:
        raise BadOption(f"{what} needs {' and '.join(missing)}: pip install 'geochange[{extra}]'")


def require_torch(what: str) -> None:
    """Refuse, with BadOption, to run a network where torch is not installed."""
    require_packages(what, "torch", "torch")


def load_openvino() -> Any:
    """Import openvino, so that any number of threads can use it.

    Raises:
        BadOption: it is not installed.
    """
    require_packages("the engine openvino", "openvino", "openvino")
    import openvino

    _ = openvino.Tensor(openvino.Type.f32, [1]).data  # two threads that are first to see an array wait for each other
    return openvino


def import_for(what: str, module: str) -> ModuleType:
    """Import a module of geochange that may need to train networks.

    Raises:
        BadOption: it does, and torch is not installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in TRAINING:
            raise
        require_packages(what, "train", *TRAINING)
        raise
