"""Any two-date network as a detector: a file of another program, and what is known of it."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from geochange.allocator import keep_freed_memory
from geochange.arrays import Bools, Floats
from geochange.detectors.detector import DEFAULT_TILE, MapBlocks, Scores, Series, require_dates
from geochange.detectors.fitted_files import read_fitted, write_fitted
from geochange.detectors.machines import Machine, Precision, PrecisionChoice
from geochange.detectors.models.guessing import complete, dates_of
from geochange.detectors.models.manifest import Manifest, manifest_beside, manifest_from, read_manifest
from geochange.detectors.models.programs import ModelEngine, Program, Runtime, companions, machine_for, open_program
from geochange.detectors.models.tiles import TileModel
from geochange.detectors.network import OVERLAP
from geochange.detectors.preparation import Coefficients, Preparation, prepare_for
from geochange.errors import BadOption
from geochange.parsing import parsing
from geochange.scenes.options import Values

if TYPE_CHECKING:
    from os import PathLike

_loading = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRecipe:
    """All that is needed to run a model on a scene's tiles."""

    file: str
    digest: str
    """Of the bytes of all its files."""
    manifest: Manifest
    """Complete."""
    gain: Coefficients
    offset: Coefficients
    zoom: Fraction = Fraction(1)
    device: str = "auto"
    precision: Precision = "fp32"
    engine: ModelEngine = "auto"
    augment: bool = False
    batch: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFitted:
    """A model ready for the values and pixels of one scene."""

    name: ClassVar[str] = "model"
    objects: ClassVar[bool] = False
    layers: ClassVar[Mapping[str, int]] = {}
    recipe: ModelRecipe

    @property
    def classes(self) -> tuple[str, ...]:
        """As the manifest names them."""
        assert self.recipe.manifest.classes is not None
        return self.recipe.manifest.classes

    @property
    def bands(self) -> int:
        """Those of a date."""
        return len(self.recipe.gain[0])

    @property
    def values(self) -> Values:
        """As the manifest says."""
        return self.recipe.manifest.values

    @property
    def thresholds(self) -> Mapping[str, float]:
        """The one of the manifest."""
        return {"default": self.recipe.manifest.threshold}

    @property
    def receptive_radius(self) -> int:
        """That of the manifest; half a tile, so that a quarter of the overlap is left out, where it is not known."""
        radius = self.recipe.manifest.receptive_radius
        return self.default_tile // 2 if radius is None else self._preparation.radius(radius)

    @property
    def stride(self) -> int:
        """Of the scene's pixels; tiles of one size, which fill themselves up, may lie anywhere."""
        assert self.recipe.manifest.stride is not None
        return 1 if self.recipe.manifest.fixed else self._preparation.stride(self.recipe.manifest.stride)

    @property
    def default_overlap(self) -> int:
        """As that of networks, or a quarter of a small tile."""
        return min(OVERLAP, self.default_tile // 4)

    @property
    def default_tile(self) -> int:
        """That of the manifest, in the scene's pixels."""
        tile = self.recipe.manifest.tile
        return DEFAULT_TILE if tile is None else round(tile / self.recipe.zoom)

    @property
    def largest_tile(self) -> int | None:
        """The one tile that a model takes which takes no other."""
        return self.default_tile if self.recipe.manifest.fixed else None

    @property
    def tiles_at_once(self) -> int:
        """The batch size."""
        return self.recipe.batch

    @property
    def _preparation(self) -> Preparation:
        return Preparation(gain=self.recipe.gain, offset=self.recipe.offset, zoom=self.recipe.zoom)

    def score(self, dates: Floats, valid: Bools, layers: tuple[str, ...] = ()) -> Scores:
        """Score tiles, see `Fitted.score`."""
        return Scores(model_of(self.recipe)(dates, valid))

    def summary(self) -> Mapping[str, Any]:
        """Return what is known of the model, and how it is run."""
        return _plain(self.recipe) | {"file": Path(self.recipe.file).name}

    def save(self, folder: Path) -> None:
        """Write the model, and how it is run."""
        for path in companions(Path(self.recipe.file)):
            shutil.copyfile(path, folder / path.name)
        write_fitted(folder, self.name, dict(self.summary()), {})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""
        recipe, _ = read_fitted(folder, cls.name, ())
        recipe["manifest"] = manifest_from(recipe["manifest"], "the manifest of the run")
        recipe["file"] = str(folder / Path(recipe["file"]).name)
        for key in ("gain", "offset"):
            recipe[key] = tuple(map(tuple, recipe[key]))
        return cls(recipe=ModelRecipe(**recipe | {"zoom": Fraction(recipe["zoom"])}))


def _plain(recipe: ModelRecipe) -> dict[str, Any]:
    return asdict(recipe) | {"zoom": str(recipe.zoom), "manifest": recipe.manifest.to_dict()}


@dataclass(frozen=True, kw_only=True)
class ModelDetector:
    """Any two-date network: file=MODEL, in ONNX, OpenVINO, TorchScript or torch.export, with its manifest beside it."""

    name: ClassVar[str] = "model"
    dates: ClassVar[int | None] = None
    fitted: ClassVar[type[ModelFitted]] = ModelFitted

    file: str | None = None
    """The model."""

    manifest: str | None = None
    """What is known of it, a TOML or JSON file; None: the one beside it, or within it."""

    scale: str | None = None
    match_gsd: bool = False
    device: str = "auto"
    precision: PrecisionChoice = "fp32"
    engine: ModelEngine = "auto"
    augment: bool = False
    """These as for networks."""

    batch: int = 1
    """Tiles scored at once."""

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise BadOption(f"batch {self.batch} must be at least 1")

    @property
    def values(self) -> Values:
        """As the manifest says."""
        return self._known(self._program()).values

    def _path(self) -> Path:
        if self.file is None:
            raise BadOption("model needs --option file=MODEL, such as a .onnx file")
        return Path(self.file)

    def _program(self) -> Program:
        """Open it for what it says of itself, on the CPU: the GPUs may be those of workers."""
        return program_of(self._path(), Runtime(device="cpu", engine=self.engine))

    def _known(self, program: Program, bands: int | None = None) -> Manifest:
        return known_of(program, self._path(), self.manifest, bands)

    def machine(self) -> Machine:
        """Return what this machine, which is a worker's, can run the model on.

        Raises:
            BadOption: it has not what the options ask for.
        """
        precision = "fp32" if self.precision == "auto" else self.precision
        return machine_for(self._path(), Runtime(device=self.device, precision=precision, engine=self.engine))

    def fit(self, series: Series, map_blocks: MapBlocks) -> ModelFitted:
        """Match the model to the scene's bands, values and pixel size."""
        path, program = self._path(), self._program()
        manifest = self._known(program, len(series.bands))
        name, dates = path.name, dates_of(program, manifest)
        free = manifest.inputs == "series" and (program.ports[0].shape or (None, None))[1] is None
        require_dates(name, None if free else dates, series.dates)
        prepared = prepare_for(
            manifest.training, series, map_blocks, name=name, scale=self.scale, match_gsd=self.match_gsd
        )
        return ModelFitted(
            recipe=ModelRecipe(
                file=str(path.absolute()),
                digest=digest_of(companions(path)),
                manifest=manifest,
                gain=prepared.gain,
                offset=prepared.offset,
                zoom=prepared.zoom,
                device=self.device,
                precision="fp32" if self.precision == "auto" else self.precision,
                engine=self.engine,
                augment=self.augment,
                batch=self.batch,
            )
        )


def known_of(program: Program, file: str | PathLike[str], manifest: str | None, bands: int | None) -> Manifest:
    """Return what is known of a model, complete: by a manifest, the one beside it, or what the program itself says.

    Raises:
        UnreadableInput: the manifest cannot be read.
        BadOption: it does not fit, or too little is known.
    """
    found = Path(manifest) if manifest is not None else manifest_beside(Path(file))
    return complete(program, None if found is None else read_manifest(found), bands)


def program_of(file: str | PathLike[str], runtime: Runtime) -> Program:
    """Return a program in memory, opened once a process for its description, its fit and its tiles.

    Raises:
        UnreadableInput: the file is missing or broken.
        BadOption: what it needs is not installed, or cannot be used here.
    """
    path = Path(file).absolute()
    with parsing(path, "a model"):
        changed = path.stat().st_mtime_ns
    return _opened(path, changed, runtime)


@lru_cache(maxsize=1)
def _opened(path: Path, changed: int, runtime: Runtime) -> Program:
    return open_program(path, runtime)


def digest_of(paths: list[Path]) -> str:
    """Return a digest of files' bytes."""
    digest = blake2b(digest_size=16)
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def model_of(recipe: ModelRecipe) -> TileModel:
    """Return the model in memory: once a process, whatever the number of threads."""
    with _loading:
        return _make(recipe)


@lru_cache(maxsize=2)
def _make(recipe: ModelRecipe) -> TileModel:
    keep_freed_memory()
    runtime = Runtime(device=recipe.device, precision=recipe.precision, engine=recipe.engine)
    program = program_of(recipe.file, runtime)
    preparation = Preparation(gain=recipe.gain, offset=recipe.offset, zoom=recipe.zoom)
    return TileModel(program, recipe.manifest, preparation, augment=recipe.augment, batch=recipe.batch)
