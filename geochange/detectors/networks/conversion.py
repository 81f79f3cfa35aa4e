"""Networks converted to OpenVINO, kept in the user's cache folder by what they are made of."""

from __future__ import annotations

import hashlib
import logging
import shutil
import tempfile
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from geochange.interrupts import Interrupts
from geochange.system import cache_folder, replace

log = logging.getLogger("geochange")

PACKAGES = ("torch", "openvino")
MODEL = "model.xml"


def openvino_model(module: nn.Module, dates: Tensor, valid: Tensor) -> Any:
    """Return a module as an OpenVINO model for tiles of one shape: from the cache, else converted, and kept there."""
    import openvino

    kept = cache_folder() / "openvino" / digest(module, dates, valid)
    if (kept / MODEL).exists():
        try:
            return openvino.Core().read_model(kept / MODEL)
        except RuntimeError as error:
            log.warning("%s could not be read (%s), and is made anew", kept, str(error).splitlines()[0])
            shutil.rmtree(kept, ignore_errors=True)
    model = convert(module, dates, valid)
    try:
        _keep(model, kept)
    except OSError as error:
        log.warning("%s could not be kept: %s; the next run converts it again", kept, error)
    return model


def digest(module: nn.Module, dates: Tensor, valid: Tensor) -> str:
    """Return a name for what a conversion depends on: weights, structure, shapes, versions and our own code."""
    found = hashlib.sha256()
    for name, value in module.state_dict().items():
        found.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        found.update(value.detach().contiguous().numpy().tobytes())
    plain = {name: value for name, value in sorted(vars(module).items()) if not name.startswith("_")}
    options = getattr(module.get_submodule("network"), "options", None) if hasattr(module, "network") else None
    shapes = tuple(dates.shape), tuple(valid.shape)
    found.update(repr((str(module), plain, options, shapes, [version(name) for name in PACKAGES])).encode())
    for source in sorted(Path(__file__).parent.glob("*.py")):
        found.update(source.read_bytes())
    return found.hexdigest()[:32]


def _keep(model: Any, kept: Path) -> None:
    """Write a model into a folder that appears whole; another process may have been first."""
    import openvino

    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
        whole = Path(folder) / "whole"
        whole.mkdir()
        openvino.save_model(model, whole / MODEL, compress_to_fp16=False)
        if not kept.exists():
            replace(whole, kept)


def convert(module: nn.Module, dates: Tensor, valid: Tensor) -> Any:
    """Convert a module to an OpenVINO model for tiles of one shape."""
    import openvino

    with Interrupts() as interrupts:
        with interrupts.hold(), torch.inference_mode(False), torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch's tracer: sizes are fixed on purpose
            model = openvino.convert_model(  # which an error in one of its calls of Python would abort
                module, example_input=(dates, valid), input=[tuple(dates.shape), tuple(valid.shape)]
            )
        interrupts.obey()
    return model
