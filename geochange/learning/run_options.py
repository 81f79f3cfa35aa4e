"""Training data and options from text and JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from geochange.datasets.listings import LabelledPair, is_table, list_pairs
from geochange.declarations import describe_type, parse_option
from geochange.detectors.networks.registry import network_class
from geochange.errors import BadOption, GeochangeError, UnreadableInput
from geochange.learning.options import TrainRunOptions
from geochange.parsing import parsing

T = TypeVar("T", bound=TrainRunOptions)


@dataclass(frozen=True, slots=True)
class TrainingData:
    """A folder of labelled pairs or a table of scenes, and its pixel size in metres."""

    path: Path
    gsd: float | None = None
    dates: tuple[str, ...] = ()
    """Images of a scene without labels, in place of a folder or table."""

    def files(self) -> list[str]:
        """List what is read: folder or table, and the images and labels that it holds or names."""
        if self.dates:
            return list(self.dates)
        pairs = [pair for labelled in (True, False) for pair in _listed(self.path, labelled=labelled)]
        images = (name for pair in pairs for name in (*pair.dates, pair.labels) if name is not None)
        return [str(self.path), *dict.fromkeys(images)]


def _listed(path: Path, *, labelled: bool) -> Sequence[LabelledPair]:
    try:
        return list_pairs(path, lambda name, error: None, labelled=labelled)
    except GeochangeError:  # whoever reads them reports it
        return ()


def parse_training_data(given: str | os.PathLike[str]) -> TrainingData:
    """Parse `DIR` or `DIR@GSD`.

    Raises:
        BadOption: what follows the @ is not a pixel size.
    """
    text = os.fspath(given)
    name, at, tail = text.rpartition("@")
    if not at or Path(text).exists():
        return TrainingData(Path(text))
    try:
        gsd = float(tail)
    except ValueError:
        gsd = -1.0
    if not 0 < gsd < float("inf"):
        raise BadOption(f"{text!r}: {tail!r} after the @ must be metres a pixel, as in {name}@0.5")
    return TrainingData(Path(name), gsd)


def parse_all_training_data(texts: Sequence[str | os.PathLike[str]], *, unlabelled: bool) -> list[TrainingData]:
    """Parse folders and tables; or, where no labels are used and none of them is one, the dates of a single scene.

    Raises:
        BadOption: a pixel size is not a number, or a single image has nothing to be compared with.
    """
    data = [parse_training_data(text) for text in texts]
    images = [each for each in data if not each.path.is_dir() and not is_table(each.path)]
    if not unlabelled or len(images) < len(data):
        return data
    if len(images) == 1:
        raise BadOption(f"{images[0].path} is a single image; give two dates or more of a scene, or a folder")
    return [TrainingData(images[0].path, images[0].gsd, tuple(str(each.path) for each in images))]


def options_from(kind: type[T], settings: Mapping[str, Any]) -> T:
    """Return options of a class by name, as in JSON or TOML.

    Raises:
        BadOption: there is no such option, or its value is of another type.
    """
    hints = get_type_hints(kind)
    known = [each.name for each in fields(kind)]
    if unknown := sorted(set(settings) - set(known)):
        raise BadOption(f"there is no option {unknown[0]!r} of training; there are {', '.join(known)}")
    return kind(**{name: _checked(name, value, hints[name]) for name, value in settings.items()})


def read_options(path: Path) -> dict[str, Any]:
    """Read options from a JSON file, such as the best.json of `tune`.

    Raises:
        UnreadableInput: it is not a JSON object.
    """
    with parsing(path, "JSON"):
        content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise UnreadableInput(f'{path} must hold options by name, as in {{"rate": 0.001}}')
    return content


def _checked(name: str, value: Any, hint: Any) -> Any:
    """Return a value of JSON or TOML as one of an option's type."""
    choices = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    kinds = [str if get_origin(each) is Literal else get_origin(each) or each for each in choices]
    if tuple in kinds and isinstance(value, list):
        return tuple(value)
    if Mapping in kinds and isinstance(value, dict):
        return {key: _as_text(each) for key, each in value.items()}
    if float in kinds and type(value) is int:
        return float(value)
    if type(value) not in kinds:
        wanted = {tuple: "a list", Mapping: "names and values"}.get(kinds[0], describe_type(kinds[0]))
        raise BadOption(f"option {name} must be {wanted}, not {value!r}")
    return value


def _as_text(value: Any) -> str:
    """Write a value as `parse_value` reads it."""
    if isinstance(value, list):
        return ",".join(map(_as_text, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def parse_network_options(name: str, texts: Mapping[str, str]) -> dict[str, Any]:
    """Parse options of a network by the types that it declares.

    Raises:
        BadOption: there is no such network or option, or the text is not of its type.
    """
    kind = network_class(name).Options
    hints, values = get_type_hints(kind), {}
    own = [each.name for each in fields(kind) if each.name not in ("bands", "classes")]
    for option, text in texts.items():
        if option not in own:
            elsewhere = f"; use --{option}" if option in ("bands", "classes") else f"; it has {', '.join(own)}"
            raise BadOption(f"{name} has no option {option!r} to give here{elsewhere}")
        values[option] = parse_option(f"option {option} of {name}", text, hints[option])
    return values
