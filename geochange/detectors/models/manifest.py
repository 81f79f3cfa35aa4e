"""What has to be known of a network in a file of another program, to run it on a scene. Pure but for its files."""

from __future__ import annotations

import json
import textwrap
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from difflib import get_close_matches
from math import isfinite
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeAlias

from geochange.declarations import Options, field_docs
from geochange.detectors.preparation import Training
from geochange.errors import BadOption
from geochange.parsing import parsing
from geochange.scenes.options import STORED, Values

Inputs: TypeAlias = Literal["pair", "stacked", "series"]
Activation: TypeAlias = Literal["none", "sigmoid", "softmax", "labels"]
SUFFIXES = (".toml", ".json")
METADATA = "geochange"
"""The name under which a model file holds its own manifest, as JSON."""


@dataclass(frozen=True, kw_only=True)
class Manifest(Options):
    """What has to be known of a network: its inputs, their values, and its output. What is None is guessed."""

    panel: ClassVar[str] = "Model"

    inputs: Inputs | None = None
    """How it takes the dates: pair (two inputs of (n, band, y, x)), stacked (one of all bands of the first date, then
    those of the second) or series (one of (n, time, band, y, x))."""

    valid: bool | None = None
    """Whether one more input takes validity, (n, time, y, x) of 0 and 1."""

    bands: tuple[str, ...] | None = None
    """What each band of a date is, in order."""

    values: Values = STORED
    """Whether it takes numbers as images store them, or with the bands' scale and offset."""

    divide_by: float = 1.0
    """What values are divided by first, such as 255."""

    mean: tuple[float, ...] | None = None
    """Subtracted then, for each band; None: nothing."""

    std: tuple[float, ...] | None = None
    """What the difference is divided by, for each band; None: nothing."""

    value_range: tuple[float, float] | None = None
    """Least and greatest value of the images that it was trained with; None: not known."""

    gsd: tuple[float, float] | None = None
    """Smallest and largest pixel, in metres, that it was trained with; None: not known."""

    classes: tuple[str, ...] | None = None
    """Names of what it finds. Where the output has one channel more, its first is no change."""

    activation: Activation | None = None
    """What makes probabilities of its output: none (it gives probabilities), sigmoid, softmax, or labels, where the
    output is the number of the class."""

    head: int | None = None
    """Which of its outputs is taken, from 0; None: the first of the largest ones."""

    threshold: float = 0.5
    """The threshold on the probability that is used by default."""

    stride: int | None = None
    """Moving the input by this many pixels moves the output by as many; sides of tiles are multiples of it."""

    receptive_radius: int | None = None
    """Pixels on each side that a score can depend on; None: the whole tile, or not known."""

    tile: int | None = None
    """Pixels per side of a tile."""

    fixed: bool | None = None
    """Whether each tile has that size to the pixel, also where the scene ends."""

    licence: str = ""
    """The licence of the weights."""

    source: str = ""
    """Where it comes from, and what it was trained with."""

    def __post_init__(self) -> None:
        super().__post_init__()
        count = None if self.bands is None else len(self.bands)
        rules = {
            "divide_by must be above 0": isfinite(self.divide_by) and self.divide_by > 0,
            "mean must be a number for each band": _fits(self.mean, count),
            "std must be a number above 0 for each band": _fits(self.std, count) and all(x > 0 for x in self.std or ()),
            "value_range must rise": self.value_range is None or self.value_range[0] < self.value_range[1],
            "gsd must be two lengths": self.gsd is None or 0 < self.gsd[0] <= self.gsd[1],
            "bands must be names": self.bands != (),
            "classes must be different names": self.classes is None
            or 0 < len(self.classes) == len(set(self.classes)) < 255,
            "threshold must lie in 0..1": 0 <= self.threshold <= 1,
            "stride must be at least 1": self.stride is None or self.stride >= 1,
            "receptive_radius must be at least 0": self.receptive_radius is None or self.receptive_radius >= 0,
            "tile must be at least 16": self.tile is None or self.tile >= 16,
            "head must be at least 0": self.head is None or self.head >= 0,
        }
        if broken := [rule for rule, kept in rules.items() if not kept]:
            raise BadOption(broken[0])

    @property
    def training(self) -> Training:
        """What is known of the images that it was trained with; the bands must be known."""
        assert self.bands is not None
        mean, std = self.mean or (0.0,) * len(self.bands), self.std or (1.0,) * len(self.bands)
        return Training(
            bands=self.bands,
            mean=tuple(each * self.divide_by for each in mean),
            spread=tuple(each * self.divide_by for each in std),
            value_range=self.value_range,
            gsd=self.gsd,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return what is known, as JSON has it."""
        return {
            name: list(each) if isinstance(each, tuple) else each
            for name, each in asdict(self).items()
            if each not in (None, "")
        }

    def as_json(self) -> str:
        """Return what is known as the text of a JSON file."""
        return json.dumps(self.to_dict(), indent=1, ensure_ascii=False) + "\n"

    def as_toml(self) -> str:
        """Return what is known as the text of a TOML file, each with what it means."""
        lines: list[str] = []
        meanings = field_docs(Manifest)
        for name, value in self.to_dict().items():
            lines += textwrap.wrap(meanings[name], 100, initial_indent="# ", subsequent_indent="# ")
            lines += [f"{name} = {json.dumps(value, ensure_ascii=False)}", ""]
        return "\n".join(lines[:-1]) + "\n"


def _fits(values: tuple[float, ...] | None, count: int | None) -> bool:
    return values is None or (len(values) == (count or len(values)) > 0 and all(map(isfinite, values)))


def manifest_from(values: Mapping[str, Any], name: str) -> Manifest:
    """Return the manifest of a file's values.

    Raises:
        BadOption: a value cannot be, or is of no use; the message begins with the name.
    """
    known = [each.name for each in fields(Manifest)]
    if unknown := [key for key in values if key not in known]:
        likely = get_close_matches(unknown[0], known, n=1)
        hint = f"did you mean {likely[0]!r}?" if likely else f"it may have {', '.join(known)}"
        raise BadOption(f"{name}: {unknown[0]!r} says nothing of a model; {hint}")
    try:
        return Manifest(**values)
    except BadOption as error:
        raise BadOption(f"{name}: {error}") from error


def read_manifest(path: Path) -> Manifest:
    """Read a manifest from a TOML or JSON file.

    Raises:
        UnreadableInput: the file is missing or broken.
        BadOption: a value cannot be.
    """
    with parsing(path, "the manifest of a model"):
        text = path.read_text(encoding="utf-8")
        values = json.loads(text) if path.suffix.lower() == ".json" else tomllib.loads(text)
        if not isinstance(values, dict):
            raise ValueError("it holds no names with values")
    return manifest_from(values, str(path))


def manifest_beside(model: Path) -> Path | None:
    """Find the manifest of a model: NAME.toml or NAME.json, for NAME.onnx; None where there is none."""
    named = (path for suffix in SUFFIXES for path in (model.with_suffix(suffix), model.with_name(model.name + suffix)))
    return next((path for path in named if path.is_file() and path != model), None)
