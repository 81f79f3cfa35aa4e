"""`export-model`: a checkpoint as ONNX and OpenVINO, each checked against torch."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from geochange.arrays import Floats
from geochange.detectors.catalogue import find_checkpoint
from geochange.detectors.models.manifest import METADATA, Manifest
from geochange.detectors.preparation import Preparation
from geochange.errors import BadOption
from geochange.extras import require_torch
from geochange.files import appearing, appearing_together, require_writable
from geochange.pipeline.options import ExportOptions, choose_options
from geochange.system import replace

if TYPE_CHECKING:
    from geochange.detectors.networks.scorer import TileScores

Format: TypeAlias = Literal["onnx", "openvino"]
Run: TypeAlias = Callable[[Floats, Floats], Floats]
"""(dates, valid) -> probability."""
SUFFIXES: Mapping[Format, str] = {"onnx": ".onnx", "openvino": ".xml"}
CHECKED_SIZES = ((1, 0, 0), (2, 0, 1), (3, 1, 0))
"""Of synthetic inputs: their number, and by how many strides they are larger than a tile, as rows and columns."""
EXAMPLE = (3, 1, 2)  # of the tracer, for which sizes that are equal, or one, are always so


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

    The model takes `dates` (n, time, band, y, x) float32 as stored and `valid` (n, time, y, x) float32 of 0 and 1, and
    gives `probability` (n, class, y, x), for any n, and any y and x that are multiples of its stride. What has to be
    known of it (bands, values, classes, threshold, pixel size) stands in its metadata, as `detect -d model` reads it.

    Args:
        checkpoint: a file that `geochange train` left, or a detector that has one.
        out: path without its suffix: OUT.onnx, OUT.xml and OUT.bin are written.
        options: formats, and the size of the tiles that it is compared with torch on.
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
    module, manifest = _module_of(checkpoint)
    inputs = [_synthetic_input(module, manifest, options, size) for size in CHECKED_SIZES]
    exported = []
    with ExitStack() as files:  # which all appear at the end
        onnx = _onnx_of(module, manifest, _synthetic_input(module, manifest, options, EXAMPLE))
        for name, path in paths.items():
            run = files.enter_context(MODEL_WRITERS[name](onnx, manifest, path))
            difference = max(float(np.abs(run(*each) - _by_torch(module, *each)).max()) for each in inputs)
            exported.append(Exported(str(path), difference))
    return exported


def _module_of(path: str | os.PathLike[str]) -> tuple[TileScores, Manifest]:
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
    network = checkpoint.build()
    module = TileScores(network, preparation, temperature=about.temperature, augment=False)
    manifest = Manifest(
        inputs="series",
        valid=True,
        bands=about.bands,
        values=about.values,
        value_range=about.value_range,
        gsd=about.gsd,
        classes=about.classes,
        activation="none",
        threshold=about.thresholds.get("default", 0.5),
        stride=network.stride,
        receptive_radius=network.receptive_radius,
        source=", ".join(filter(None, (about.network, about.trained_on))),
        licence=about.licence,
    )
    return module.eval(), manifest


def _synthetic_input(
    module: TileScores, manifest: Manifest, options: ExportOptions, size: tuple[int, int, int]
) -> tuple[Floats, Floats]:
    """Draw noise over the range of training, with a corner without data."""
    assert manifest.bands is not None
    assert manifest.value_range is not None
    (n, below, right), stride = size, module.stride
    side = ceil(options.tile_size / stride) * stride
    rows, cols = side + below * stride, side + right * stride
    rng = np.random.default_rng(n)
    dates = rng.uniform(*manifest.value_range, (n, options.dates, len(manifest.bands), rows, cols)).astype(np.float32)
    valid = np.ones((n, options.dates, rows, cols), np.float32)
    valid[:, :, : n * 4 - 4, : n * 4 - 4] = 0
    return dates, valid


def _by_torch(module: TileScores, dates: Floats, valid: Floats) -> Floats:
    import torch

    with torch.inference_mode():
        found: Floats = module(torch.from_numpy(dates), torch.from_numpy(valid)).numpy()
    return found


def _onnx_of(module: TileScores, manifest: Manifest, example: tuple[Floats, Floats]) -> bytes:
    """Return the bytes of a module as ONNX, for any number of tiles and any sides of whole strides."""
    import torch
    from torch.export import Dim

    _require("onnx", "onnxscript")
    import onnx

    n, (rows, cols) = Dim("n", min=1), (module.stride * Dim(name, min=1) for name in ("rows", "cols"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter's own deprecations
        program: Any = torch.onnx.export(
            module,
            tuple(torch.from_numpy(each) for each in example),
            input_names=["dates", "valid"],
            output_names=["probability"],
            dynamic_shapes={"dates": {0: n, 3: rows, 4: cols}, "valid": {0: n, 2: rows, 3: cols}},
            dynamo=True,
            verbose=False,
        )
    model = program.model_proto
    onnx.helper.set_model_props(model, {METADATA: manifest.as_json()})
    found: bytes = model.SerializeToString()
    return found


@contextmanager
def _writing_onnx(onnx: bytes, manifest: Manifest, path: Path) -> Iterator[Run]:
    _require("onnxruntime")
    import onnxruntime

    with appearing(path) as temporary:
        temporary.write_bytes(onnx)
        session = onnxruntime.InferenceSession(temporary.read_bytes(), providers=["CPUExecutionProvider"])
        yield lambda dates, valid: session.run(None, {"dates": dates, "valid": valid})[0]


@contextmanager
def _writing_openvino(onnx: bytes, manifest: Manifest, path: Path) -> Iterator[Run]:
    _require("openvino")
    import openvino

    model = openvino.Core().read_model(onnx)
    model.set_rt_info(manifest.as_json(), METADATA)
    with appearing_together([path, path.with_suffix(".bin")]) as (temporary, weights):
        openvino.save_model(model, temporary, compress_to_fp16=False)
        written = openvino.Core().read_model(temporary.read_bytes(), temporary.with_suffix(".bin").read_bytes())
        compiled = openvino.Core().compile_model(written, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        replace(temporary.with_suffix(".bin"), weights)
        yield lambda dates, valid: np.array(next(iter(compiled([dates, valid]).values())), np.float32)


MODEL_WRITERS: Mapping[Format, Callable[[bytes, Manifest, Path], AbstractContextManager[Run]]] = {
    "onnx": _writing_onnx,
    "openvino": _writing_openvino,
}
"""Format -> writes the file from the bytes of ONNX, which appears at the end, and gives a function that runs it."""


def _require(*modules: str) -> None:
    from importlib.util import find_spec

    if missing := [module for module in modules if find_spec(module) is None]:
        raise BadOption(f"this format needs {', '.join(missing)}: pip install 'geochange[export]'")
