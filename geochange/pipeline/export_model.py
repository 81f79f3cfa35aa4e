"""`export-model`: a checkpoint as ONNX and OpenVINO, each checked against torch."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from geochange.arrays import Floats
from geochange.detectors.catalogue import find_checkpoint
from geochange.detectors.network import require_torch
from geochange.detectors.preparation import Preparation
from geochange.errors import BadOption
from geochange.files import appearing, appearing_together, require_writable
from geochange.pipeline.options import ExportOptions, choose_options
from geochange.system import replace

Format: TypeAlias = Literal["onnx", "openvino"]
Run: TypeAlias = Callable[[Floats, Floats], Floats]
"""(dates, valid) -> probability."""
SUFFIXES: Mapping[Format, str] = {"onnx": ".onnx", "openvino": ".xml"}
CHECKS = 3  # synthetic inputs
SMALLEST_TILE = 16  # pixels on a side


@dataclass(frozen=True, slots=True)
class Exported:
    """One file, and how it compares with torch."""

    path: str
    largest_difference: float
    """Largest difference of the probability, over synthetic inputs."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


def export_model(
    checkpoint: str | os.PathLike[str],
    out: str | os.PathLike[str],
    options: ExportOptions | None = None,
    *,
    overwrite: bool = False,
    **settings: Any,
) -> list[Exported]:
    """Write a checkpoint in the formats of other engines.

    The model takes `dates` (1, time, band, y, x) float32 as stored and `valid` (1, time, y, x) float32 of 0 and 1, and
    gives `probability` (1, class, y, x).

    Args:
        checkpoint: a file that `geochange train` left, or a detector that has one.
        out: path without its suffix: OUT.onnx, OUT.xml and OUT.bin are written.
        options: formats and the size of tiles.
        overwrite: replace files that exist.
        settings: options by name, in place of those in `options`.

    Raises:
        UnreadableInput: the checkpoint is missing, damaged or foreign.
        OutputInTheWay: a file is there already.
        BadOption: a package that the format needs is not installed.
    """
    options = choose_options(ExportOptions, options, settings)
    require_torch("export-model")
    checkpoint = find_checkpoint(os.fspath(checkpoint))
    paths = {name: Path(f"{os.fspath(out)}{SUFFIXES[name]}") for name in options.formats}
    weights = [path.with_suffix(".bin") for name, path in paths.items() if name == "openvino"]
    require_writable([*paths.values(), *weights], overwrite=overwrite, inputs=[checkpoint])
    module, bands = _module_of(checkpoint)
    inputs = [_synthetic_input(k, bands, options) for k in range(CHECKS)]
    exported = []
    with ExitStack() as files:  # which all appear at the end
        for name, path in paths.items():
            run = files.enter_context(MODEL_WRITERS[name](module, path, inputs[0]))
            difference = max(float(np.abs(run(*each) - _by_torch(module, *each)).max()) for each in inputs)
            exported.append(Exported(str(path), difference))
    return exported


def _module_of(path: str | os.PathLike[str]) -> tuple[Any, int]:
    from geochange.detectors.networks.checkpoint import load_checkpoint
    from geochange.detectors.networks.scorer import TileScores

    checkpoint = load_checkpoint(path)
    about = checkpoint.about
    if about.matched:
        raise BadOption(f"{path} was trained with matched dates, whose gains are those of a scene; export one without")
    spread = np.array(about.normalisation.spread)
    preparation = Preparation(
        gain=(tuple((1 / spread).tolist()),),
        offset=(tuple((-np.array(about.normalisation.mean) / spread).tolist()),),
    )
    module = TileScores(checkpoint.build(), preparation, temperature=about.temperature, augment=False)
    return module.eval(), len(about.bands)


def _synthetic_input(seed: int, bands: int, options: ExportOptions) -> tuple[Floats, Floats]:
    """Draw noise over the range of 8 bits, with a corner without data."""
    rng = np.random.default_rng(seed)
    side = options.tile_size
    dates = rng.uniform(0, 255, (1, options.dates, bands, side, side)).astype(np.float32)
    valid = np.ones((1, options.dates, side, side), np.float32)
    valid[:, :, : seed * 4, : seed * 4] = 0
    return dates, valid


def _by_torch(module: Any, dates: Floats, valid: Floats) -> Floats:
    import torch

    with torch.inference_mode():
        found: Floats = module(torch.from_numpy(dates), torch.from_numpy(valid)).numpy()
    return found


@contextmanager
def _writing_onnx(module: Any, path: Path, example: tuple[Floats, Floats]) -> Iterator[Run]:
    import torch

    _require("onnx", "onnxscript", "onnxruntime")
    import onnxruntime

    with appearing(path) as temporary:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the exporter's own deprecations
            torch.onnx.export(
                module,
                tuple(torch.from_numpy(each) for each in example),
                str(temporary),
                input_names=["dates", "valid"],
                output_names=["probability"],
                dynamo=True,
                external_data=False,
                verbose=False,
            )
        session = onnxruntime.InferenceSession(temporary.read_bytes(), providers=["CPUExecutionProvider"])
        yield lambda dates, valid: session.run(None, {"dates": dates, "valid": valid})[0]


@contextmanager
def _writing_openvino(module: Any, path: Path, example: tuple[Floats, Floats]) -> Iterator[Run]:
    import torch

    _require("openvino")
    import openvino

    from geochange.detectors.networks.engines import convert_to_openvino

    model = convert_to_openvino(module, *(torch.from_numpy(each) for each in example))
    with appearing_together([path, path.with_suffix(".bin")]) as (temporary, weights):
        openvino.save_model(model, temporary, compress_to_fp16=False)
        written = openvino.Core().read_model(temporary.read_bytes(), temporary.with_suffix(".bin").read_bytes())
        compiled = openvino.Core().compile_model(written, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        replace(temporary.with_suffix(".bin"), weights)
        yield lambda dates, valid: np.array(next(iter(compiled([dates, valid]).values())), np.float32)


MODEL_WRITERS: Mapping[Format, Callable[[Any, Path, tuple[Floats, Floats]], AbstractContextManager[Run]]] = {
    "onnx": _writing_onnx,
    "openvino": _writing_openvino,
}
"""Format -> writes the file, which appears at the end, and gives a function that runs it."""


def _require(*modules: str) -> None:
    from importlib.util import find_spec

    if missing := [module for module in modules if find_spec(module) is None]:
        raise BadOption(f"this format needs {', '.join(missing)}: pip install 'geochange[export]'")
