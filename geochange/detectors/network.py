"""A trained network as a detector: a checkpoint, brought to a scene's values and pixels.

Nothing here imports torch before a network is run, so that detectors can be listed, and scenes scored without
networks, where it is not installed.
"""

from __future__ import annotations

import importlib.util
import shutil
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from functools import lru_cache
from hashlib import blake2b
from math import ceil, isfinite, sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from geochange.allocator import keep_freed_memory
from geochange.arrays import Bools, Floats
from geochange.detectors.boxes import boxes_of
from geochange.detectors.detector import DEFAULT_TILE, MapBlocks, Scores, Series
from geochange.detectors.fitted_files import read_fitted, write_fitted
from geochange.detectors.options import NetworkOptions
from geochange.detectors.statistics import matching_of, scene_moments
from geochange.errors import BadOption, BandMismatch, NothingValid
from geochange.scenes.grid import Tile
from geochange.scenes.options import STORED, Values

if TYPE_CHECKING:
    from geochange.detectors.networks.checkpoint import About
    from geochange.detectors.networks.scorer import Scorer

WEIGHTS = "network.pt"
FINEST_RATIO = 4  # the scene's pixels and the network's stand in ratios of whole numbers, one of them up to this
LARGEST_ZOOM = 8
SPARE = 1.25  # how far a pixel size may lie outside the range of training before it counts as foreign
OVERLAP = 64  # pixels
OBJECT_TILE = 1024  # pixels per side, where tiles overlap by all that a box depends on
DIM, BRIGHT = 0.05, 1.2  # share of the range of training that the largest value must reach, and may

_loading = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """All that is needed to run a network on a scene's tiles."""

    checkpoint: str
    digest: str
    """Of the checkpoint's bytes."""
    gain: tuple[tuple[float, ...], ...]
    offset: tuple[tuple[float, ...], ...]
    """(date, band); a single row for all dates."""
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
    def default_tile(self) -> int:
        """Larger for networks that find objects."""
        return OBJECT_TILE if self.objects else DEFAULT_TILE

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
    """Tiles scored at once; None: 1 on a CPU, 8 on a GPU."""

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
        from geochange.detectors.networks.checkpoint import load_checkpoint

        return load_checkpoint(self.weights()).about.values

    def fit(self, series: Series, map_blocks: MapBlocks) -> NetworkFitted:
        """Match the network to the scene's bands, values and pixel size."""
        require_torch(self.name)
        from geochange.detectors.networks.checkpoint import load_checkpoint
        from geochange.detectors.networks.scorer import find_device, input_stride

        path = Path(self.weights()).absolute()
        checkpoint = load_checkpoint(path)
        about, network = checkpoint.about, checkpoint.build()
        self._require_fit(about, network.dates, series)
        zoom = self._zoom(about, series)
        gain, offset = self._values(about, series, map_blocks)
        batch = self.batch or (8 if find_device(self.device).type == "cuda" else 1)
        options = {key: getattr(self, key) for key in ("device", "precision", "engine", "augment")}
        if network.objects and (self.augment or self.engine != "torch"):
            raise BadOption(f"{about.network} finds boxes, which need the engine torch, without augment")
        recipe = Recipe(
            checkpoint=str(path),
            digest=blake2b(path.read_bytes(), digest_size=16).hexdigest(),
            gain=gain,
            offset=offset,
            zoom=zoom,
            dates=series.dates,
            batch=batch,
            **options,
        )
        scorer_of(recipe)  # an engine or device that cannot be used is refused now
        return NetworkFitted(
            recipe=recipe,
            classes=about.classes,
            receptive_radius=ceil((network.receptive_radius + 2) / zoom) if zoom != 1 else network.receptive_radius,
            stride=int(input_stride(network.stride, zoom)),
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

    def _require_fit(self, about: About, dates: int | None, series: Series) -> None:
        if len(series.bands) != len(about.bands):
            raise BandMismatch(
                f"{self.name} needs {len(about.bands)} bands ({', '.join(about.bands)}), the images have "
                f"{len(series.bands)}; pick them in that order with --bands"
            )
        if dates is not None and series.dates != dates:
            raise BadOption(f"{self.name} compares {dates} dates, but {series.dates} were given")

    def _zoom(self, about: About, series: Series) -> Fraction:
        """Pixels of the network for one of the scene."""
        if about.gsd is None or series.gsd is None:
            return Fraction(1)
        low, high = about.gsd
        if low / SPARE <= series.gsd <= high * SPARE:
            return Fraction(1)
        trained = f"{low:.3g} to {high:.3g} m" if low < high else f"{low:.3g} m"
        if not self.match_gsd:
            raise BadOption(
                f"the scene has pixels of {series.gsd:.3g} m, {self.name} was trained with {trained}; "
                "add --match-gsd to score the scene at that size"
            )
        wanted = series.gsd / sqrt(low * high)
        if not 1 / LARGEST_ZOOM <= wanted <= LARGEST_ZOOM:
            raise BadOption(
                f"the scene has pixels of {series.gsd:.3g} m, {self.name} was trained with {trained}: more than "
                f"{LARGEST_ZOOM} times apart, too far to resample"
            )
        return simple_ratio(wanted)

    def _values(
        self, about: About, series: Series, map_blocks: MapBlocks
    ) -> tuple[tuple[tuple[float, ...], ...], tuple[tuple[float, ...], ...]]:
        """Gain and offset of each date and band."""
        gain, offset = self._gain_and_offset(about, series, map_blocks)
        if about.matched:
            matching = matching_of(scene_moments(map_blocks), series.dates)
            gain, offset = gain * matching.gain, matching.offset * gain + offset
        rows = (np.atleast_2d(each).tolist() for each in (gain, offset))
        first, second = (tuple(map(tuple, each)) for each in rows)
        return first, second

    def _gain_and_offset(self, about: About, series: Series, map_blocks: MapBlocks) -> tuple[Floats, Floats]:
        """(band,) both; where dates are matched, of the first date's values."""
        mean, spread = np.array(about.normalisation.mean), np.array(about.normalisation.spread)
        if self.scale == "auto":
            return standardising(map_blocks, series, matched=about.matched)
        if self.scale is not None:
            low, high = parse_scale(self.scale)
            steps = (about.value_range[1] - about.value_range[0]) / (high - low)
            gain, offset = np.full(len(mean), steps), np.full(len(mean), about.value_range[0] - low * steps)
        else:
            self._require_range(about, series, map_blocks)
            gain, offset = np.ones(len(mean)), np.zeros(len(mean))
        return gain / spread, (offset - mean) / spread

    def _require_range(self, about: About, series: Series, map_blocks: MapBlocks) -> None:
        low, high = about.value_range
        if series.largest <= high:
            return  # by the type alone values fit, as with 8 bits
        greatest = max((found for found in map_blocks(block_maximum) if found is not None), default=None)
        if greatest is None:
            raise NothingValid("no pixel holds data at every date; check --nodata and --aoi")
        if not low + DIM * (high - low) <= greatest <= high * BRIGHT:
            raise BadOption(
                f"the scene's values reach {greatest:g}, {self.name} was trained with {low:g} to {high:g}; add --scale "
                f"LOW:HIGH, the values that stand for {low:g} and {high:g}, or --scale auto"
            )


def block_maximum(dates: Floats, valid: Bools, tile: Tile) -> float | None:
    """Kernel: the largest value where all dates hold data; None where they do nowhere."""
    seen = valid.all(axis=0)
    return float(dates[:, :, seen].max()) if seen.any() else None


def standardising(map_blocks: MapBlocks, series: Series, *, matched: bool) -> tuple[Floats, Floats]:
    """Find gain and offset that bring each band to mean 0 and deviation 1, over all dates or the one others match."""
    moments = scene_moments(map_blocks)
    means, variances = moments.mean.reshape(series.dates, -1), moments.variance.reshape(series.dates, -1)
    if matched:
        means, variances = means[:1], variances[:1]
    gain = 1 / np.maximum(np.sqrt(variances.mean(axis=0) + means.var(axis=0)), 1e-6)
    return gain, -means.mean(axis=0) * gain


def parse_scale(text: str) -> tuple[float, float]:
    """LOW:HIGH as numbers.

    Raises:
        BadOption: it is not that.
    """
    try:
        low, high = (float(part) for part in text.split(":"))
    except ValueError as error:
        raise BadOption(f"scale {text!r} must be LOW:HIGH, as in 0:3000, or auto") from error
    if not isfinite(high - low):
        raise BadOption(f"scale {text!r} must be two finite numbers")
    if not low < high:
        raise BadOption(f"scale {text!r} must rise: its first value stands for the darkest")
    return low, high


def simple_ratio(ratio: float) -> Fraction:
    """Return the nearest ratio with a small denominator, or a small numerator where it is below 1."""
    if ratio >= 1:
        return Fraction(ratio).limit_denominator(FINEST_RATIO)
    return 1 / Fraction(1 / ratio).limit_denominator(FINEST_RATIO)


def require_torch(name: str) -> None:
    """Refuse, with BadOption, to go on where torch is not installed."""
    missing = [module for module in ("torch", "timm") if importlib.util.find_spec(module) is None]
    if missing:
        raise BadOption(f"{name} needs {' and '.join(missing)}: pip install 'geochange[torch]'")


def scorer_of(recipe: Recipe) -> Scorer:
    """Return the network in memory: once a process, whatever the number of threads."""
    with _loading:
        return _make(recipe)


@lru_cache(maxsize=2)
def _make(recipe: Recipe) -> Scorer:
    from geochange.detectors.networks.checkpoint import load_checkpoint
    from geochange.detectors.networks.scorer import Preparation, ScoreOptions, TileScores, make_scorer

    keep_freed_memory()
    checkpoint = load_checkpoint(recipe.checkpoint)
    preparation = Preparation(gain=recipe.gain, offset=recipe.offset, zoom=recipe.zoom)
    module = TileScores(
        checkpoint.build(), preparation, temperature=checkpoint.about.temperature, augment=recipe.augment
    )
    options = ScoreOptions(device=recipe.device, precision=recipe.precision, engine=recipe.engine, batch=recipe.batch)
    return make_scorer(module, len(recipe.gain[0]), options, recipe.dates)
