"""What is measured of a scene's regions to classify them: which bands and indices, and the sums of a block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.ndimage import minimum_filter

from geochange.arrays import Array, Bools, Floats, Ints
from geochange.errors import BandMismatch, NothingValid
from geochange.kinds.indices import brightness, compute_index, parse_roles, require_index, roles_in
from geochange.kinds.options import KindOptions, KindRules
from geochange.kinds.rules import (
    BRIGHTNESS,
    BUILT_UP,
    COVERS,
    NIR,
    OUTLINE_REACH,
    SLOPE_RADIUS,
    VEGETATION,
    WATER,
    SceneLevels,
    find_outlines,
    measure_levels,
    pixel_kinds,
    slopes,
)
from geochange.polygons.region_ids import RegionIds
from geochange.scenes.band_names import list_bands
from geochange.scenes.grid import Tile
from geochange.scenes.pairing import Scene
from geochange.scenes.source import Source
from geochange.scenes.validity import sample_tiles

CORE = (
    slice(OUTLINE_REACH, -OUTLINE_REACH),
    slice(OUTLINE_REACH, -OUTLINE_REACH),
)  # of a block that was read with what is around it
ZONES = ("edge", "inside", "around")  # where slopes are measured


@dataclass(frozen=True)
class KindWork:
    """All that a worker needs to measure the regions of one block."""

    scene: Scene
    roles: tuple[str, ...]
    """Of the scene's bands, in their order."""
    indices: tuple[str, ...]
    rules: KindRules
    ids: RegionIds
    levels: SceneLevels = field(default_factory=SceneLevels)
    scales: tuple[tuple[float, ...], ...] = ()
    """Deviation of each band before and after."""

    @property
    def named(self) -> tuple[str, ...]:
        """What is measured at each date."""
        return self.indices if NIR in self.roles else (*self.indices, BRIGHTNESS)

    @property
    def finds_objects(self) -> bool:
        """Whether pixels are fine enough for objects; those of images without a CRS are taken to be."""
        gsd = self.scene.gsd
        return gsd is None or gsd <= self.rules.object_pixel

    @property
    def columns(self) -> int:
        """Of the sums of a region."""
        return COVERS + 3 * len(self.named) + 3 * len(ZONES)

    def values(self, bands: Array) -> dict[str, Floats]:
        """(band, ...) pixels -> (...) of each index, brightness and near infrared."""
        by_role = dict(zip(self.roles, bands, strict=True))
        found = {name: compute_index(name, by_role) for name in self.indices}
        extra = {NIR: by_role[NIR].astype(np.float64)} if NIR in by_role else {BRIGHTNESS: brightness(by_role)}
        return found | extra

    def kinds(self, dates: Sequence[Array]) -> Ints:
        """(band, ...) pixels of both dates -> (...) kinds."""
        before, after = (self.values(date) for date in dates)
        return pixel_kinds(before, after, self.levels, self.rules)


def prepare_work(scene: Scene, options: KindOptions, ids: RegionIds) -> KindWork:
    """Find out which bands and indices there are, and the levels of the scene.

    Raises:
        BandMismatch: it is not known which band is which, or bands for an index are missing.
        BadOption: an index is not known, or spyndex is not installed.
        NothingValid: no sampled pixel holds data at both dates.
    """
    roles = band_roles(scene.sources[0], options)
    indices = chosen_indices(roles, options)
    rules = options.rules
    if "NDWI" in indices and any(source.dtype == np.uint8 for source in scene.sources):
        rules = replace(rules, water=max(rules.water, rules.water_of_bytes))
    chosen = replace(scene, sources=tuple(_with_roles(each, scene, roles, options) for each in scene.sources))
    work = KindWork(chosen, tuple(roles), indices, rules, ids)
    before, after = _sample(work.scene)
    deviations = [date.std(axis=1) for date in (before, after)]
    scales = tuple(tuple(np.where(each > 0, each, 1.0).tolist()) for each in deviations)
    return replace(work, levels=measure_levels(work.values(before), work.values(after)), scales=scales)


def require_kinds(scene: Scene, options: KindOptions) -> None:
    """Refuse, before any work is done, images whose changes could not be classified; raises as `prepare_work`."""
    chosen_indices(band_roles(scene.sources[0], options), options)


def band_roles(source: Source, options: KindOptions) -> dict[str, int]:
    """Role -> band number: as given, or as the image names its bands.

    Raises:
        BandMismatch: neither is known, or a number is out of range.
    """
    if options.band_roles is None:
        roles = _named_roles(source)
        if len(roles) < 2:
            raise BandMismatch(f"{source.name} does not say which band is which; give --band-roles red=1,green=2,nir=4")
        return roles
    roles = parse_roles(options.band_roles)
    if wrong := [f"{role}={number}" for role, number in roles.items() if number not in source.choices]:
        known = list_bands(source.choices)
        raise BandMismatch(f"band role {wrong[0]} is out of range: {source.name} has bands {known}")
    return roles


def _named_roles(source: Source) -> dict[str, int]:
    return {role: source.choices[k - 1] for role, k in roles_in(source.band_names).items()}


def _with_roles(source: Source, scene: Scene, roles: Mapping[str, int], options: KindOptions) -> Source:
    """Return a date of a scene with the bands of roles that are known of the first one.

    Its own names say which they are, since bands that are chosen by name may have other numbers at each date; else they
    are those in the same place, where it is read, or of the same number.
    """
    first, own = scene.sources[0].bands, _named_roles(source) if options.band_roles is None else {}
    in_place = {band: source.bands[place] for place, band in enumerate(first)}
    return source.with_bands(tuple(own.get(role, in_place.get(band, band)) for role, band in roles.items()))


def chosen_indices(roles: Mapping[str, int], options: KindOptions) -> tuple[str, ...]:
    """Names of the indices that the bands allow, one for each cover, and of those asked for.

    Raises:
        BadOption, BandMismatch: as `require_index`.
    """
    asked = [require_index(name, roles) for name in options.indices]
    usual = [name for family in (VEGETATION, WATER, (BUILT_UP,)) for name in _first_possible(family, roles)]
    if not usual:
        raise BandMismatch(
            f"with {', '.join(roles)} no change can be classified; red and green are needed, or red and nir"
        )
    return tuple(dict.fromkeys([*usual, *asked]))


def _first_possible(names: Sequence[str], roles: Mapping[str, int]) -> list[str]:
    for name in names:
        try:
            return [require_index(name, roles)]
        except BandMismatch:
            continue
    return []


def _sample(scene: Scene) -> list[Array]:
    """(band, n) of each date: pixels of tiles spread evenly over a scene, where both dates hold data."""
    samples: list[list[Array]] = [[], []]
    for tile in sample_tiles(scene.shape):
        dates, valid = scene.read(tile)
        for place, date in enumerate(dates):
            samples[place].append(date[:, valid.all(axis=0)])
    found = [np.concatenate(parts, axis=1) for parts in samples]
    if not found[0].size:
        raise NothingValid(
            "none of the pixels that were sampled holds data at both dates, so no change can be classified"
        )
    return found


@dataclass(frozen=True, slots=True)
class BlockSums:
    """Sums over the pixels of a block, by region."""

    ids: Ints
    """(n,) ascending."""
    sums: Floats
    """(n, column): pixels of each cover; count, before and after of each index; then of the slopes of each part."""


def measure_block(work: KindWork, block: Tile) -> BlockSums | None:
    """Measure what a block adds to its regions; None where it has none."""
    ids = work.ids.read(block.grow(OUTLINE_REACH))
    if not ids.any():
        return None
    dates, validity = work.scene.read(block.grow(OUTLINE_REACH))
    valid: Bools = np.logical_and.reduce(validity)
    found = np.unique(ids[ids > 0])
    inside = (valid & (ids > 0))[CORE]
    owner = np.searchsorted(found, ids[CORE][inside])
    covers = _cover_columns(work, [date[:, *CORE][:, inside] for date in dates], owner, len(found))
    return BlockSums(found, np.concatenate([covers, _slope_columns(work, dates, valid, ids, found)], axis=1))


def _cover_columns(work: KindWork, dates: Sequence[Array], owner: Ints, count: int) -> Floats:
    """(count, column) votes and sums of indices, of (band, n) pixels and the (n,) region that each belongs to."""
    before, after = (work.values(date) for date in dates)
    kinds = pixel_kinds(before, after, work.levels, work.rules)
    votes = np.bincount(owner * COVERS + kinds, minlength=count * COVERS).reshape(count, COVERS)
    sums = [_sums(owner, before[name], after[name], count) for name in work.named]
    return np.concatenate([votes.astype(np.float64), *sums], axis=1)


def _slope_columns(work: KindWork, dates: Sequence[Array], valid: Bools, ids: Ints, found: Ints) -> Floats:
    """(n, 9) count, before and after of the slopes at the edge, inside and around, of the n regions found."""
    outlines = find_outlines(ids)
    sound = minimum_filter(valid, size=2 * SLOPE_RADIUS + 1)[CORE]
    before, after = (slopes(date, np.array(scale))[CORE] for date, scale in zip(dates, work.scales, strict=True))
    columns = []
    for part in ZONES:
        owners = getattr(outlines, part)[CORE]
        here = (owners > 0) & sound
        columns.append(_sums(np.searchsorted(found, owners[here]), before[here], after[here], len(found)))
    return np.concatenate(columns, axis=1)


def _sums(owner: Ints, before: Floats, after: Floats, count: int) -> Floats:
    """(count, 3) how many pixels have a value at both dates, and the sums of these values."""
    known = np.isfinite(before) & np.isfinite(after)
    owner = owner[known]
    weights = (None, before[known], after[known])
    return np.stack([np.bincount(owner, each, count) for each in weights], axis=1)
