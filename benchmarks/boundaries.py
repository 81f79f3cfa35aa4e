"""What each correction brings: LEVIR with `buildings`, synthetic scenes with `ir-mad`, Landsat of Taizhou.

    python benchmarks/boundaries.py CACHE [--only levir,edges,synthetic,taizhou] [--all]

Probabilities and synthetic scenes are kept in the folder CACHE. Options of a correction are chosen on LEVIR's even
scenes (on synthetic scenes with an even seed) by the boundary F at 2 px. Printed are the differences that it makes
there, and on the odd ones, which served no choice. Areas below 4 pixels are left out throughout, as `detect` does.
Intervals are of 95 %: of paired differences, from a bootstrap over scenes (over cells of 128 pixels on synthetic ones).

Where the package `buildingregulariser` is installed, its right angles are compared, too.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import geopandas
import numpy as np
import rasterio
import shapely
from imagery import parser_with_data
from rasterio.features import rasterize
from scipy.ndimage import sobel
from sklearn.metrics import cohen_kappa_score, f1_score

import geochange
from geochange.arrays import Array, Bools, Floats, Ints
from geochange.evaluation.bootstrap import Bootstrap, resample_sums
from geochange.evaluation.boundary_scores import BOUNDARY_HALO, TOLERANCES, boundaries_by_cell, boundary_pixels
from geochange.evaluation.classes import Classes
from geochange.evaluation.pixel_scores import confusion_by_cell
from geochange.polygons.regions import RegionFilter, Regions, concatenate, trace_block
from geochange.polygons.right_angles import RightAngles, choose_outlines, square_regions
from geochange.polygons.seams import SeamMerger
from geochange.polygons.simplify import simplify_regions
from geochange.probability.boundaries import GUIDE_STEPS, GuidedFilter, LocalField, guide_codes
from geochange.probability.morphology import Close, Disc, Open
from geochange.probability.raster import cutoff_of, open_scores
from geochange.probability.refinement import ScorePart, Step, apply_steps
from geochange.scenes.grid import Tile

TILES = Path("levir") / "val_256px_0.5m"
MADE_SEEDS = range(21, 27)
MADE_SIDE = 768  # px
CELL = 128  # px
STEPS = 254
CHOOSE_BY = 2  # the figure that options are chosen by: boundary F at 2 px
FIGURES = ("F1", *(f"F at {tolerance} px" for tolerance in TOLERANCES))

Correction = Callable[["Case"], Bools]
"""A case -> its corrected mask (y, x)."""


@dataclass(frozen=True, eq=False)
class Case:
    """A scored image with its truth."""

    unit: str
    """The scene that it is a part of: what is resampled."""

    codes: Ints
    truth: Bools
    cutoff: int
    after: Ints
    before: Ints

    def part(self, *, both: bool = False) -> ScorePart:
        guide = np.concatenate([self.after, self.before]) if both else self.after
        valid = np.ones(self.truth.shape, bool)
        return ScorePart(codes=self.codes[np.newaxis], valid=valid, guide=guide, steps=STEPS, cutoff=self.cutoff)

    @cached_property
    def regions(self) -> Regions:
        return regions_of(self.codes >= self.cutoff)


def regions_of(mask: Bools) -> Regions:
    """Areas of at least 4 pixels."""
    block, padded = Tile(0, 0, *mask.shape), np.pad(mask.astype(np.uint8), 1)
    valid = np.pad(np.ones(mask.shape, bool), 1)
    merger = SeamMerger([block])
    traced = trace_block(padded, padded, valid, block, block, keep=RegionFilter(min_area=4))
    return concatenate([merger.add(traced), merger.finish()]).sort()


def burn(polygons: Iterable[shapely.Geometry], shape: tuple[int, int]) -> Bools:
    shapes = [polygon for polygon in polygons if not polygon.is_empty]
    return rasterize(shapes, out_shape=shape) > 0 if shapes else np.zeros(shape, bool)


def without(case: Case) -> Bools:
    """The mask as it is."""
    return burn(case.regions.polygons, case.truth.shape)


def by_steps(*steps: Step, both: bool = False) -> Correction:
    """What `geochange refine` does, then outlines."""

    def correct(case: Case) -> Bools:
        mask = apply_steps(case.part(both=both), steps)[0] >= case.cutoff
        return burn(regions_of(mask).polygons, mask.shape)

    return correct


def sieved(pixels: int) -> Correction:
    """What `--min-area` does."""

    def correct(case: Case) -> Bools:
        return burn(case.regions.polygons[case.regions.counts.area_px >= pixels], case.truth.shape)

    return correct


def squared(options: RightAngles, *steps: Step) -> Correction:
    """What `geochange vectorize --right-angles` does, after steps of `refine`."""

    def correct(case: Case) -> Bools:
        regions = regions_of(apply_steps(case.part(), steps)[0] >= case.cutoff) if steps else case.regions
        ((found, _),) = choose_outlines([(regions, regions, square_regions(regions, options))], options)
        return burn(found.polygons, case.truth.shape)

    return correct


def simplified(tolerance: float) -> Correction:
    """What `geochange vectorize --simplify` does, its tolerance in pixels."""

    def correct(case: Case) -> Bools:
        return burn(concatenate(list(simplify_regions([case.regions], tolerance))).polygons, case.truth.shape)

    return correct


def by_another(**settings: object) -> Correction:
    """The package `buildingregulariser`, on areas that the border does not cut, as `--right-angles`."""
    from buildingregulariser import regularize_geodataframe

    def correct(case: Case) -> Bools:
        regions = case.regions
        whole = ~regions.counts.on_edge
        polygons = list(regions.polygons[~whole])
        if whole.any():
            frame = geopandas.GeoDataFrame(geometry=list(regions.polygons[whole]), crs="EPSG:3857")
            polygons += list(regularize_geodataframe(frame, **settings).geometry)
        return burn(polygons, case.truth.shape)

    return correct


def count(mask: Bools, truth: Bools, cell: int) -> Array:
    """(cells, n) pixels and boundary pixels, hit and missed, of each cell."""
    scored = np.ones(mask.shape, bool)
    padded = (np.pad(values.astype(np.uint8), BOUNDARY_HALO) for values in (mask, truth))
    edges = boundaries_by_cell(*padded, np.pad(scored, BOUNDARY_HALO), Classes(), cell=cell)
    pixels = confusion_by_cell(mask.astype(int), truth.astype(int), scored, Classes(), cell=cell)
    return np.concatenate([pixels.counts.reshape(len(pixels.cells), -1), edges.counts.reshape(len(edges.cells), -1)], 1)


def figures(sums: Array) -> Floats:
    """(..., n) sums of `count` -> (..., 4) F1 and boundary F."""
    sums = sums.astype(float)
    (alarms, misses, hits), edges = np.moveaxis(sums[..., 1:4], -1, 0), sums[..., 4:].reshape(*sums.shape[:-1], 2, -1)
    share = edges[..., 1:] / np.maximum(edges[..., :1], 1)
    harmonic = 2 * share.prod(axis=-2) / np.maximum(share.sum(axis=-2), 1e-12)
    return np.concatenate([(2 * hits / (2 * hits + alarms + misses))[..., np.newaxis], harmonic], axis=-1)


def measure(correction: Correction, cases: Sequence[Case], cell: int | None) -> Array:
    """(units, n) counts: of each scene, or of each cell of all scenes."""
    if cell:
        return np.concatenate([count(correction(case), case.truth, cell) for case in cases])
    by_unit: dict[str, Array] = {}
    for case in cases:
        own = count(correction(case), case.truth, max(case.truth.shape)).sum(axis=0)
        by_unit[case.unit] = by_unit.get(case.unit, 0) + own
    return np.stack(list(by_unit.values()))


def differences(changed: Array, plain: Array) -> list[str]:
    """Of each figure how much it changes, with the interval of paired differences."""
    found = figures(changed.sum(axis=0)) - figures(plain.sum(axis=0))
    drawn = resample_sums(np.concatenate([changed, plain], axis=1), Bootstrap(replicates=2000))
    changed_sums, plain_sums = np.split(drawn, 2, axis=1)
    low, high = np.quantile(figures(changed_sums) - figures(plain_sums), (0.025, 0.975), axis=0)
    return [f"{d:+.4f} ({a:+.4f} to {b:+.4f})" for d, a, b in zip(found, low, high, strict=True)]


def compare(
    families: Mapping[str, Mapping[str, Correction]],
    even: Sequence[Case],
    odd: Sequence[Case],
    *,
    cell: int | None = None,
    show_all: bool = False,
) -> None:
    """Print, as a table, what the best options of each family do on even and odd scenes; also all, on even ones."""
    plain = {"even": measure(without, even, cell), "odd": measure(without, odd, cell)}
    print("| correction | options | scenes |", " | ".join(FIGURES), "|\n|---|---|---|" + "---|" * len(FIGURES))
    for name, counts in plain.items():
        print("| none | |", name, "|", " | ".join(f"{value:.4f}" for value in figures(counts.sum(axis=0))), "|")
    for family, corrections in families.items():
        measured = {label: measure(correction, even, cell) for label, correction in corrections.items()}
        best = max(measured, key=lambda label: figures(measured[label].sum(axis=0))[CHOOSE_BY])
        rows = [(best, "odd", measure(corrections[best], odd, cell))]
        rows += [(label, "even", counts) for label, counts in measured.items() if show_all or label == best]
        for label, name, counts in rows:
            print(f"| {family} | {label} | {name} |", " | ".join(differences(counts, plain[name])), "|", flush=True)


def guides_of(images: Sequence[Array]) -> list[Ints]:
    """Guides of images of one scene, measured together."""
    values = np.concatenate([image.reshape(len(image), -1) for image in images], axis=1).astype(float)
    mean, deviation = values.mean(axis=1), values.std(axis=1)
    return [guide_codes(image, np.ones(image.shape[1:], bool), mean, deviation) for image in images]


def read(path: Path) -> Array:
    with rasterio.open(path) as dataset:
        return dataset.read()


def keep_probabilities(data: Path, cache: Path) -> None:
    """Run `buildings` on every tile of LEVIR that has no file in the cache yet."""
    for label in sorted((data / TILES / "label").iterdir()):
        kept = cache / f"{label.stem}.npz"
        if not kept.exists():
            images = [next((data / TILES / folder).glob(f"{label.stem}.*")) for folder in "AB"]
            with TemporaryDirectory() as folder:
                found = geochange.detect(*images, Path(folder) / "out", detector="buildings", threads=1)
                np.savez_compressed(kept, codes=read(found.probability)[0], truth=read(label)[0] > 0)


def levir_cases(data: Path, cache: Path) -> list[Case]:
    """Tiles of the validation scenes, scored by `buildings`, at its own threshold."""
    import geochange_buildings

    from geochange.detectors.networks.checkpoint import load_checkpoint

    keep_probabilities(data, cache)
    cutoff = cutoff_of(load_checkpoint(geochange_buildings.WEIGHTS).about.thresholds["default"], 1 / STEPS)
    scenes: dict[str, list[str]] = {}
    for label in sorted((data / TILES / "label").iterdir()):
        scenes.setdefault(label.stem[3:6], []).append(label.stem)
    cases = []
    for scene, names in scenes.items():
        before, after = (
            guides_of([read(next((data / TILES / folder).glob(f"{name}.*"))) for name in names]) for folder in "AB"
        )
        for place, name in enumerate(names):
            with np.load(cache / f"{name}.npz") as kept:
                cases.append(Case(scene, kept["codes"], kept["truth"], cutoff, after[place], before[place]))
    return cases


def synthetic_cases(cache: Path) -> list[Case]:
    """Made scenes, and the sample, scored by `ir-mad`."""
    root, cases = Path(__file__).parents[1], []
    for seed in (*MADE_SEEDS, None):
        folder, out = (root / "sample_data", cache / "sample") if seed is None else (cache / f"synthetic-{seed}",) * 2
        if not folder.exists():
            script = [sys.executable, root / "sample_data" / "make_scene.py", folder]
            subprocess.run([*script, "--size", str(MADE_SIDE), "--seed", str(seed)], check=True)
        if not (out / "run" / "probability.tif").exists():
            geochange.detect(
                folder / "before.tif",
                folder / "after.tif",
                out / "run",
                detector="ir-mad",
                shift_tolerance=0,
                threads=1,
            )
        raster = open_scores(str(out / "run" / "probability.tif"))
        codes, _ = raster.read(raster.source.grid.area)
        polygons = geopandas.read_file(folder / "truth.gpkg").geometry
        truth = rasterize(polygons, out_shape=codes.shape[1:], transform=raster.source.grid.transform) > 0
        after, before = (guides_of([read(folder / f"{name}.tif")])[0] for name in ("after", "before"))
        cutoff = cutoff_of(raster.thresholds["default"], raster.step)
        cases.append(Case("sample" if seed is None else str(seed), codes[0], truth, cutoff, after, before))
    return cases


def guided_filters(*, both: bool = False) -> dict[str, Correction]:
    """By their options."""
    choices = product(((1,), (2,), (4,), (2, 4, 8)), (0.001, 0.01, 0.1, 1.0))
    return {
        f"{','.join(map(str, radii))} eps {eps}": by_steps(GuidedFilter(radii=radii, eps=eps), both=both)
        for radii, eps in choices
    }


def local_fields(*, both: bool = False) -> dict[str, Correction]:
    choices = product(((3, 3), (5, 5)), (2.0, 4.0, 8.0), (0.15, 0.3, 0.5), (0.0, 0.2))
    return {
        f"{iterations} radius {radius} weight {weight} contrast {contrast} smoothness {smoothness}": by_steps(
            LocalField(iterations=iterations, radius=radius, weight=weight, contrast=contrast, smoothness=smoothness),
            both=both,
        )
        for (iterations, radius), weight, contrast, smoothness in choices
    }


def discs(radii: Sequence[float], gsd: float) -> dict[str, dict[str, Correction]]:
    """Opening, closing, and both, by radius in pixels."""
    sized = {f"{radius * gsd:g} m": Disc.of_radius(radius) for radius in radii}
    return {
        "opening": {label: by_steps(Open(disc)) for label, disc in sized.items()},
        "closing": {label: by_steps(Close(disc)) for label, disc in sized.items()},
        "opening, closing": {label: by_steps(Open(disc), Close(disc)) for label, disc in sized.items()},
    }


def show_levir(data: Path, cache: Path, *, show_all: bool) -> None:
    cases = levir_cases(data, cache)
    even, odd = ([case for case in cases if int(case.unit) % 2 == parity] for parity in (0, 1))
    field = LocalField()
    families = {
        "guided filter": guided_filters(),
        "guided filter, both dates": guided_filters(both=True),
        "local field": local_fields(),
        **discs((1, 1.5, 2, 3), 0.5),
        "smallest area": {f"{pixels} px": sieved(pixels) for pixels in (8, 16, 32, 64, 128)},
        "right angles": {"": squared(RightAngles())},
        "right angles, diagonals": {"": squared(RightAngles(diagonals=True))},
        "local field, right angles": {"5 radius 5 weight 2 contrast 0.3 smoothness 0": squared(RightAngles(), field)},
        "simplifying": {f"{tolerance / 2:g} m": simplified(tolerance) for tolerance in (1, 1.5, 2, 3)},
    }
    if find_spec("buildingregulariser"):
        tried = product((1.0, 2.0, 3.0), (1.0, 2.0))
        families["buildingregulariser"] = {
            f"simplify {simplify} parallel {parallel}": by_another(
                simplify_tolerance=simplify, parallel_threshold=parallel, allow_45_degree=False, allow_circles=False
            )
            for simplify, parallel in tried
        }
    compare(families, even, odd, show_all=show_all)


def gradient(guide: Ints) -> Floats:
    """(y, x) length of the guide's gradient a pixel by Sobel's operator, root mean square over its bands."""
    slopes = np.array([sobel(band.astype(float), axis) / 8 for band in guide for axis in (0, 1)])
    return np.sqrt((slopes**2).sum(axis=0) / len(guide))


def show_edges(data: Path, cache: Path) -> None:
    """How strong the image's edges are where labels and masks of LEVIR have their boundaries: is there more to gain?"""
    print("| scenes | boundary of | mean gradient, deviations a pixel |\n|---|---|---|")
    cases = levir_cases(data, cache)
    for name, parity in (("even", 0), ("odd", 1)):
        chosen = [case for case in cases if int(case.unit) % 2 == parity]
        for side in ("labels", "masks"):
            total = np.zeros(2)
            for case in chosen:
                mask = case.truth if side == "labels" else without(case)
                edge = boundary_pixels(mask, np.ones(mask.shape, bool))
                total += gradient(case.after)[edge].sum() / GUIDE_STEPS, edge.sum()
            print(f"| {name} | {side} | {total[0] / total[1]:.3f} |")


def show_synthetic(cache: Path, *, show_all: bool) -> None:
    *cases, sample = synthetic_cases(cache)
    even, odd = ([case for case in cases if int(case.unit) % 2 == parity] for parity in (0, 1))
    families = {
        "guided filter": guided_filters(),
        "guided filter, both dates": guided_filters(both=True),
        "local field": local_fields(),
        **discs((1, 1.5, 2, 3), 1.0),
        "smallest area": {f"{pixels} px": sieved(pixels) for pixels in (8, 16, 32, 64, 128)},
        "right angles": {"": squared(RightAngles())},
        "simplifying": {f"{tolerance:g} m": simplified(tolerance) for tolerance in (1, 1.5, 2, 3)},
    }
    compare(families, even, [*odd, sample], cell=CELL, show_all=show_all)


def show_taizhou(data: Path, cache: Path) -> None:
    """F1 and kappa at labelled pixels; the labels are sparse, so that there are no boundaries to score."""
    folder = data / "landsat_taizhou"
    label, scored = read(folder / "label.tif")[0], read(folder / "label.tif")[0] != 255
    after, before = (guides_of([read(folder / name)])[0] for name in ("T2.tif", "T1.tif"))
    chosen: dict[str, tuple[Step, ...]] = {
        "none": (),
        "guided filter 1 eps 0.1": (GuidedFilter(radii=(1,), eps=0.1),),
        "guided filter 4 eps 0.1": (GuidedFilter(radii=(4,), eps=0.1),),
        "local field 5 radius 3 weight 4 contrast 0.3": (LocalField(iterations=5, radius=3, weight=4.0, contrast=0.3),),
        "opening 30 m": (Open(Disc.of_radius(1)),),
        "closing 30 m": (Close(Disc.of_radius(1)),),
    }
    print("| detector | correction | F1 | kappa |\n|---|---|---|---|")
    for detector in ("change-vector", "ir-mad", "slow-features"):
        out = cache / f"taizhou-{detector}"
        if not (out / "probability.tif").exists():
            geochange.detect(folder / "T1.tif", folder / "T2.tif", out, detector=detector, threads=1)
        raster = open_scores(str(out / "probability.tif"))
        cutoff = cutoff_of(raster.thresholds["default"], raster.step)
        case = Case(detector, read(out / "probability.tif")[0], label == 1, cutoff, after, before)
        for name, steps in chosen.items():
            pair = label[scored] == 1, apply_steps(case.part(), steps)[0][scored] >= cutoff
            print(f"| {detector} | {name} | {f1_score(*pair):.4f} | {cohen_kappa_score(*pair):.4f} |", flush=True)


def main() -> None:
    parser = parser_with_data(__doc__)
    parser.add_argument("cache", type=Path)
    parser.add_argument("--only", default="levir,edges,synthetic,taizhou")
    parser.add_argument("--all", action="store_true", help="print what all options do on even scenes")
    options = parser.parse_args()
    options.cache.mkdir(parents=True, exist_ok=True)
    shows = {
        "levir": lambda: show_levir(options.data, options.cache, show_all=options.all),
        "edges": lambda: show_edges(options.data, options.cache),
        "synthetic": lambda: show_synthetic(options.cache, show_all=options.all),
        "taizhou": lambda: show_taizhou(options.data, options.cache),
    }
    for name in options.only.split(","):
        print(f"\n## {name}\n", flush=True)
        shows[name]()


if __name__ == "__main__":
    main()
