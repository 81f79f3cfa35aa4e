"""A trained network as a detector: a checkpoint, brought to a scene's values and pixels.

Nothing here imports torch before a network is run, so that detectors can be listed, and scenes scored without
networks, where it is not installed.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from functools import lru_cache
from hashlib import blake2b
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from geochange.allocator import keep_freed_memory
from geochange.arrays import Bools, Floats
from geochange.detectors.boxes import boxes_of
from geochange.detectors.detector import MapBlocks, Scores, Series, require_dates
from geochange.detectors.fitted_files import read_fitted, write_fitted
from geochange.detectors.machines import Machine, machine_of
from geochange.detectors.options import NetworkOptions
from geochange.detectors.preparation import Coefficients, Preparation, prepare_for
from geochange.errors import BadOption
from geochange.extras import require_torch
from geochange.scenes.options import STORED, Values

if TYPE_CHECKING:
    from geochange.detectors.networks.checkpoint import About
    from geochange.detectors.networks.contract import Network
    from geochange.detectors.networks.scorer import Scorer

WEIGHTS = "network.pt"
OVERLAP = 64  # pixels
TILE = 1024  # pixels per side: of one of 512, the overlap would be a fifth of the work

_loading = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """All that is needed to run a network on a scene's tiles."""

    checkpoint: str
    digest: str
    """Of the checkpoint's bytes."""
    gain: Coefficients
    offset: Coefficients
    zoom: Fraction = Fraction(1)
    dates: int = 2
    device: str = "auto"
    precision: str = "fp32"
    engine: str = "torch"
    augment: bool = False
    batch: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkFitted:
    """A network ready for the values and pixels of one scene."""

    name: ClassVar[str] = "network"
    largest_tile: ClassVar[int | None] = None
    default_tile: ClassVar[int] = TILE
    recipe: Recipe
    classes: tuple[str, ...]
    receptive_radius: int
    stride: int
    thresholds: Mapping[str, float]
    layers: Mapping[str, int] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)
    objects: bool = False
    values: Values = STORED

    @property
    def default_overlap(self) -> int:
        """Networks of objects see all that a box depends on: seams leave no trace."""
        return 2 * self.stride * ceil(self.receptive_radius / self.stride) if self.objects else OVERLAP

    @property
    def bands(self) -> int:
        """Those that the network takes."""
        return len(self.recipe.gain[0])

    @property
    def tiles_at_once(self) -> int:
        """The batch size."""
        return self.recipe.batch

    def score(self, dates: Floats, valid: Bools, layers: tuple[str, ...] = ()) -> Scores:
        """Score tiles, see `Fitted.score`."""
        if self.objects:
            probability, rows = scorer_of(self.recipe).find(dates, valid)
            return Scores(probability, boxes=tuple(map(boxes_of, rows)))
        if not layers:
            return Scores(scorer_of(self.recipe)(dates, valid))
        bands = scorer_of(self.recipe)(dates, valid, layers=True)
        ends = np.cumsum([len(self.classes), *self.layers.values()])
        parts = {name: bands[:, start:end] for name, start, end in zip(self.layers, ends, ends[1:], strict=False)}
        return Scores(bands[:, : ends[0]], {name: parts[name] for name in layers})

    def summary(self) -> Mapping[str, Any]:
        """Return the network, and how it is run."""
        return {**self.about, **{key: value for key, value in _plain(self.recipe).items() if key != "checkpoint"}}

    def save(self, folder: Path) -> None:
        """Write the weights, and how they are run."""
        shutil.copyfile(self.recipe.checkpoint, folder / WEIGHTS)
        numbers = {key: value for key, value in asdict(self).items() if key != "recipe"}
        write_fitted(folder, self.name, numbers | {"recipe": _plain(self.recipe)}, {})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""
        numbers, _ = read_fitted(folder, cls.name, ())
        recipe = numbers.pop("recipe") | {"checkpoint": str(folder / WEIGHTS)}
        for key in ("gain", "offset"):
            recipe[key] = tuple(map(tuple, recipe[key]))
        recipe["zoom"] = Fraction(recipe["zoom"])
        return cls(recipe=Recipe(**recipe), **numbers | {"classes": tuple(numbers["classes"])})


def _plain(recipe: Recipe) -> dict[str, Any]:
    return asdict(recipe) | {"zoom": str(recipe.zoom)}


@dataclass(frozen=True, kw_only=True)
class NetworkDetector(NetworkOptions):
    """A trained network: `checkpoint` is a file that `geochange train` left."""

    name: ClassVar[str] = "network"
    dates: ClassVar[int | None] = None
    fitted: ClassVar[type[NetworkFitted]] = NetworkFitted
    shipped: ClassVar[Path | None] = None
    """The weights that a detector brings."""

    batch: int | None = None
    """Tiles scored at once; None: 1 on a CPU, 4 on a GPU."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch is not None and self.batch < 1:
            raise BadOption(f"batch {self.batch} must be at least 1")

    def weights(self) -> str:
        """Path of the checkpoint.

        Raises:
            BadOption: none is named, or one beside the detector's own.
        """
        if self.checkpoint is not None and self.shipped is not None:
            raise BadOption(f"{self.name} brings its own weights; for {self.checkpoint} leave out -d {self.name}")
        if self.checkpoint is not None:
            return self.checkpoint
        if self.shipped is None:
            raise BadOption(f"{self.name} needs --checkpoint FILE, as geochange train left it")
        return str(self.shipped)

    @property
    def values(self) -> Values:
        """As the network was trained with."""
        require_torch(self.name)
        return _open(Path(self.weights()).absolute()).about.values

    def machine(self) -> Machine:
        """Return what this machine, which is a worker's, can run the network on.

        Raises:
            BadOption: it has not what the options ask for.
        """
        require_torch(self.name)
        from torch import nn

        from geochange.detectors.networks.engines import ENGINES
        from geochange.detectors.networks.scorer import find_device

        device = find_device(self.device)
        ENGINES[self.engine](nn.Identity(), device, "fp32" if self.precision == "auto" else self.precision)
        return machine_of(device)

    def fit(self, series: Series, map_blocks: MapBlocks) -> NetworkFitted:
        """Match the network to the scene's bands, values and pixel size."""
        require_torch(self.name)
        path = Path(self.weights()).absolute()
        opened = _open(path)
        about, network = opened.about, opened.network
        require_dates(self.name, network.dates, series.dates)
        prepared = prepare_for(
            about.training, series, map_blocks, name=self.name, scale=self.scale, match_gsd=self.match_gsd
        )
        options = {key: getattr(self, key) for key in ("device", "engine", "augment")}
        if self.augment and self.engine != "torch":
            raise BadOption(f"--augment needs the engine torch: {self.engine} cannot flip and turn images")
        if network.objects and (self.augment or self.engine != "torch"):
            raise BadOption(f"{about.network} finds boxes, which need the engine torch, without augment")
        recipe = Recipe(
            checkpoint=str(path),
            digest=opened.digest,
            gain=prepared.gain,
            offset=prepared.offset,
            zoom=prepared.zoom,
            dates=series.dates,
            batch=self.batch or (4 if self.device.startswith("cuda") else 1),
            precision="fp32" if self.precision == "auto" else self.precision,
            **options,
        )
        return NetworkFitted(
            recipe=recipe,
            classes=about.classes,
            receptive_radius=prepared.radius(network.receptive_radius),
            stride=prepared.stride(network.stride),
            thresholds=dict(about.thresholds) or {"default": 0.5},
            layers=network.layers(series.dates) if self.engine == "torch" else {},
            objects=network.objects,
            values=about.values,
            about={
                "name": self.name,
                "network": about.network,
                "trained_on": about.trained_on,
                "metrics": dict(about.metrics),
            },
        )


@dataclass(frozen=True, slots=True)
class _Opened:
    """A checkpoint in memory."""

    about: About
    network: Network
    digest: str


def _open(path: Path) -> _Opened:
    """Open a checkpoint: once a process, as long as its file stays as it is."""
    try:
        status = path.stat()
    except OSError:
        return _read(path, 0, 0)  # which says what is wrong
    return _read(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=2)
def _read(path: Path, written: int, size: int) -> _Opened:
    from geochange.detectors.networks.checkpoint import load_checkpoint

    checkpoint = load_checkpoint(path)
    digest = blake2b(path.read_bytes(), digest_size=16).hexdigest()
    return _Opened(checkpoint.about, checkpoint.build(), digest)


def scorer_of(recipe: Recipe) -> Scorer:
    """Return the network in memory: once a process, whatever the number of threads."""
    with _loading:
        return _make(recipe)


@lru_cache(maxsize=2)
def _make(recipe: Recipe) -> Scorer:
    from geochange.detectors.networks.checkpoint import load_checkpoint
    from geochange.detectors.networks.scorer import ScoreOptions, TileScores, make_scorer

    keep_freed_memory()
    checkpoint = load_checkpoint(recipe.checkpoint)
    preparation = Preparation(gain=recipe.gain, offset=recipe.offset, zoom=recipe.zoom)
    module = TileScores(
        checkpoint.build(), preparation, temperature=checkpoint.about.temperature, augment=recipe.augment
    )
    options = ScoreOptions(device=recipe.device, precision=recipe.precision, engine=recipe.engine, batch=recipe.batch)
    return make_scorer(module, len(recipe.gain[0]), options, recipe.dates)
