"""All options of a training in one place, as the command line, TOML files and the Python API take them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from geochange.datasets.listings import is_table
from geochange.declarations import describe_type, parse_option
from geochange.detectors.networks.registry import network_class
from geochange.errors import BadOption, UnreadableInput
from geochange.learning.options import TrainOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainRunOptions:
    """What `train` makes of labelled pairs."""

    val: str | None = None
    """Held-out pairs, as DIR or DIR@GSD; None: the data's own split, else a share of its scenes."""

    val_share: float = 0.15
    """The share of scenes that is held out where nothing says which, at least one; drawn with the seed. 0: none."""

    network: str | None = None
    """A name of `registry.NETWORKS`; None: that of `start`, else attention-net."""

    network_options: Mapping[str, str] = field(default_factory=dict)
    """Options of the network by name, as text."""

    gsd: float | None = None
    """Metres a pixel that the network is taught with; None: as the images lie."""

    size: int | None = None
    """Rows and columns of a training sample; None: 256, or the next multiple of the network's stride."""

    bands: tuple[int, ...] | None = None
    """Band numbers from 1; None for all."""

    classes: tuple[str, ...] = ("change",)

    label_column: str | None = None
    """Of labels that are layers: the column that names the class; None: each polygon is of the single class."""

    pretrained: bool | None = None
    """Begin with an encoder that was taught on ImageNet; None: where the network has one and `start` is not given."""

    start: str | None = None
    """A checkpoint whose weights to begin with."""

    unlabelled: bool = False
    """Use no labels, which `change-vae` never does: data are folders A and B, tables, or the dates of one scene."""

    match_dates: bool | None = None
    """Bring each date of a scene to the mean and spread of its first date, while teaching and whenever the network is
    run; None: where the network learns without labels, from scenes."""

    balanced: bool = False
    """Draw images that hold rare classes more often."""

    skip_bad: bool = False
    """Leave out broken images, and say so, instead of stopping."""

    fitting: TrainOptions = field(default_factory=TrainOptions)

    resume: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.resume and self.overwrite:
            raise BadOption("resume and overwrite exclude each other: continue the run, or begin anew")
        if not 0 <= self.val_share < 1:
            raise BadOption(f"val_share {self.val_share} must lie in 0..1, below 1")
        for name in ("size", "gsd"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise BadOption(f"{name} {value} must be above 0")
        if not self.classes:
            raise BadOption("classes must name at least one")
        if self.start is not None and self.pretrained:
            raise BadOption("pretrained and start exclude each other: weights come from one of them")

    def settings(self) -> dict[str, Any]:
        """All that makes a run what it is, by name; plain JSON values."""
        own = {key: value for key, value in asdict(self).items() if key not in ("fitting", "resume", "overwrite")}
        return plain(own | asdict(self.fitting))


@dataclass(frozen=True, slots=True)
class Source:
    """A folder of labelled pairs or a table of scenes, and its pixel size in metres."""

    path: Path
    gsd: float | None = None
    dates: tuple[str, ...] = ()
    """Where it is no folder or table, but a scene without labels: the images."""


def parse_source(text: str) -> Source:
    """`DIR` or `DIR@GSD`.

    Raises:
        BadOption: what follows the @ is no pixel size.
    """
    name, at, tail = text.rpartition("@")
    if not at or Path(text).exists():
        return Source(Path(text))
    try:
        gsd = float(tail)
    except ValueError:
        gsd = -1.0
    if not 0 < gsd < float("inf"):
        raise BadOption(f"{text!r}: {tail!r} after the @ must be metres a pixel, as in {name}@0.5")
    return Source(Path(name), gsd)


def parse_sources(texts: Sequence[str], *, unlabelled: bool) -> list[Source]:
    """Folders and tables; or, where no labels are used and none of them is one, the dates of a single scene.

    Raises:
        BadOption: a pixel size is no number, or a single image has nothing to be compared with.
    """
    sources = [parse_source(text) for text in texts]
    images = [each for each in sources if not each.path.is_dir() and not is_table(each.path)]
    if not unlabelled or len(images) < len(sources):
        return sources
    if len(images) == 1:
        raise BadOption(f"{images[0].path} is a single image; give two dates or more of a scene, or a folder")
    return [Source(images[0].path, images[0].gsd, tuple(str(each.path) for each in images))]


def options_from(settings: Mapping[str, Any], **further: Any) -> TrainRunOptions:
    """Options by name, those of the run and of `TrainOptions` side by side, as in JSON or TOML.

    Raises:
        BadOption: there is no such option, or its value is of another type.
    """
    settings = {**settings, **{key: value for key, value in further.items() if value is not None}}
    own = {key: hint for key, hint in get_type_hints(TrainRunOptions).items() if key != "fitting"}
    fitting = get_type_hints(TrainOptions)
    if unknown := sorted(set(settings) - {*own, *fitting}):
        raise BadOption(f"there is no option {unknown[0]!r} of training; there are {', '.join([*own, *fitting])}")
    values = {name: _checked(name, value, (own | fitting)[name]) for name, value in settings.items()}
    fit_options = TrainOptions(**{name: value for name, value in values.items() if name in fitting})
    return TrainRunOptions(fitting=fit_options, **{name: value for name, value in values.items() if name in own})


def read_options(path: Path) -> dict[str, Any]:
    """Options from a JSON file, such as the best.json of `tune`.

    Raises:
        UnreadableInput: it is no JSON object.
    """
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UnreadableInput(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(content, dict):
        raise UnreadableInput(f'{path} must hold options by name, as in {{"rate": 0.001}}')
    return content


def _checked(name: str, value: Any, hint: Any) -> Any:
    """A value of JSON or TOML as one of an option's type."""
    choices = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    kinds = [get_origin(each) or each for each in choices]
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
    """As `parse_value` reads it."""
    if isinstance(value, list):
        return ",".join(map(_as_text, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def parse_network_options(name: str, texts: Mapping[str, str]) -> dict[str, Any]:
    """Options of a network given as text, by the types that it declares.

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


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON gives it back."""
    plain: dict[str, Any] = json.loads(json.dumps(values))
    return plain
