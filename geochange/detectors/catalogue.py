"""What detectors are on offer: built in, and registered by other packages under `geochange.detectors`."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, fields
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, get_type_hints

from geochange.declarations import parse_option
from geochange.detectors.detector import Detector, Fitted
from geochange.detectors.fitted_files import fitted_name
from geochange.detectors.options import DetectorOptions, NetworkOptions
from geochange.errors import BadOption
from geochange.parsing import parsing

ENTRY_POINTS = "geochange.detectors"
TRAINING_FREE = {
    "difference": "geochange.detectors.image_difference:ImageDifference",
    "change-vector": "geochange.detectors.change_vector:ChangeVector",
    "ir-mad": "geochange.detectors.ir_mad:IrMad",
    "slow-features": "geochange.detectors.slow_features:SlowFeatures",
    "pca-kmeans": "geochange.detectors.pca_kmeans:PcaKMeans",
}
RADAR = {
    "log-ratio": "geochange.detectors.log_ratio:LogRatio",
    "omnibus": "geochange.detectors.omnibus:Omnibus",
}
SERIES = {
    "baseline": "geochange.detectors.baseline:Baseline",
    "breaks": "geochange.detectors.breaks:Breaks",
}
"""Without training, for three dates and more."""
BUILT_IN = (
    TRAINING_FREE
    | RADAR
    | SERIES
    | {
        "network": "geochange.detectors.network:NetworkDetector",
        "landscape": "geochange.detectors.landscape:Landscape",
        "model": "geochange.detectors.model:ModelDetector",
    }
)


@dataclass(frozen=True, slots=True)
class Offer:
    """A detector on offer."""

    name: str
    summary: str
    """One line."""
    options: Mapping[str, str]
    """Option -> its default as text."""


def names() -> dict[str, str]:
    """Name -> "module:Class" of every detector, those built in first; nothing is imported.

    Built-in names cannot be taken over.
    """
    return BUILT_IN | _registered(tuple(sys.path)) | BUILT_IN


@cache
def _registered(places: tuple[str, ...]) -> dict[str, str]:
    """Read what all packages in these places declare, which takes as long as a small scene's scores."""
    return dict(sorted((point.name, point.value) for point in entry_points(group=ENTRY_POINTS)))


def available() -> list[Offer]:
    """List all detectors with their options, those built in first."""
    return [offer(name) for name in names()]


def offer(name: str) -> Offer:
    """Describe a detector.

    Raises:
        BadOption: the detector is unknown.
    """
    kind = detector_class(name)
    summary = (inspect.getdoc(kind) or name).splitlines()[0]
    return Offer(name, summary, {field.name: _default_text(field) for field in fields(kind)})


def detector_class(name: str) -> type[Any]:
    """Import the class of a detector.

    Raises:
        BadOption: the detector is unknown.
    """
    known = names()
    if name not in known:
        raise BadOption(f"unknown detector {name!r}; choose from {', '.join(known)}")
    module, _, attribute = known[name].partition(":")
    kind: type[Any] = getattr(import_module(module), attribute)
    return kind


def detector(name: str, options: Mapping[str, Any] | None = None) -> Detector:
    """Make a detector with its options.

    Args:
        name: in the catalogue.
        options: option -> value, or its text as on the command line, such as `{"iterations": 20, "index": "4,3"}`.

    Raises:
        BadOption: the detector or the option is unknown, or the text is not of the option's type.
    """
    kind = detector_class(name)
    hints = get_type_hints(kind)
    known, network = ([field.name for field in fields(each)] for each in (kind, NetworkOptions))
    values = {}
    for option, given in (options or {}).items():
        if option not in known:
            why = " (it is for networks)" if option in network else ""
            raise BadOption(f"{name} has no option {option!r}{why}; it has {', '.join(known) or 'none'}")
        as_text = isinstance(given, str)
        values[option] = parse_option(f"option {option} of {name}", given, hints[option]) if as_text else given
    chosen: Detector = kind(**values)
    return chosen


def find_checkpoint(text: str) -> str:
    """Find the path of a checkpoint: the text itself, or the weights of the detector of that name.

    Raises:
        BadOption: the detector of that name has no weights.
    """
    if Path(text).exists() or text not in names():
        return text
    named: Any = detector(text)
    if not hasattr(named, "weights"):
        raise BadOption(f"{text} is a detector without weights; name a checkpoint, as geochange train leaves it")
    path: str = named.weights()
    return path


def load_fitted(folder: Path) -> Fitted:
    """Read the fitted detector that was saved in a folder.

    Raises:
        UnreadableInput: there is none, or it is damaged.
        BadOption: it belongs to a detector that is not installed here.
    """
    kind = detector_class(fitted_name(folder)).fitted
    with parsing(folder, "the statistics of a detector, which is to be fitted again"):
        loaded: Fitted = kind.load(folder)
        return loaded


def default_name(bands: int, options: DetectorOptions) -> str:
    """Return the detector that is taken where none is named, for scenes with this many bands."""
    if options.checkpoint is not None:
        return "network"
    return "ir-mad" if bands >= 3 else "change-vector"


def _default_text(field: Field[Any]) -> str:
    if field.default is MISSING or field.default is None:
        return "none"
    return ",".join(map(str, field.default)) if isinstance(field.default, tuple) else str(field.default)
