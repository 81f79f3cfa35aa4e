"""`explain`: where a network looked when it predicted change at a place, as a raster."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
import shapely
from affine import Affine
from rasterio.features import rasterize
from scipy import ndimage

from geochange.arrays import Bools, Floats
from geochange.detectors.catalogue import detector as make_detector
from geochange.detectors.model import ModelDetector, ModelFitted
from geochange.detectors.network import NetworkDetector, NetworkFitted
from geochange.engine.cluster import ClusterOptions
from geochange.engine.inference import as_floats
from geochange.engine.progress import Listener
from geochange.engine.work import open_work
from geochange.engine.workers import Needs
from geochange.errors import BadOption, NothingValid
from geochange.evaluation.deletion import Deletion, check_by_deletion
from geochange.files import appearing_together, require_geotiff, require_writable
from geochange.pipeline.fitting import fit_detector
from geochange.pipeline.options import ExplainOptions, choose_options_and_cluster
from geochange.polygons.preview import Captions, render_heat
from geochange.scenes.grid import Tile
from geochange.scenes.layers import in_pixels, open_layer
from geochange.scenes.opening import Image, files_of
from geochange.scenes.options import STORED
from geochange.scenes.pairing import Scene, open_scene
from geochange.scenes.scene import open_masked, rasterio_crs

if TYPE_CHECKING:
    import xarray as xr

    from geochange.detectors.models.evidence import ModelEvidence
    from geochange.detectors.networks.explanation import NetworkEvidence

SEARCH_RADIUS = 24  # pixels from the point to the region that is explained


@dataclass(frozen=True, slots=True)
class Explained:
    """What was explained, and where its raster lies."""

    path: Path
    label: str
    """The class predicted at the place."""
    probability: float
    """The highest one of the pixels that were explained."""
    pixels: int
    """How many those are."""
    deletion: Deletion
    """Their mean probability: as they are, without what is marked most, and without as much elsewhere."""

    @property
    def picture(self) -> Path:
        """Both dates, and the raster over them."""
        return self.path.with_suffix(".png")

    def open(self) -> xr.DataArray:
        """Open the raster lazily: (band, y, x) in 0..1, a band for each date, NaN where there are no data."""
        return open_masked(self.path)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "file": str(self.path),
            "label": self.label,
            "probability": self.probability,
            "pixels": self.pixels,
            "deletion": asdict(self.deletion),
        }


def explain(
    before: Image,
    after: Image,
    out: str | os.PathLike[str],
    options: ExplainOptions | None = None,
    *,
    overwrite: bool = False,
    cluster: ClusterOptions | None = None,
    listener: Listener | None = None,
    **settings: Any,
) -> Explained:
    """Write where a network looked when it predicted change at a place, as a raster and a picture.

    The raster has a band for each date, float32 in 0..1, 1 where that date's features raised the score most (with an
    encoder Grad-CAM, else integrated gradients). What is explained are the pixels of the change at the place, or of the
    one nearby. The twentieth of both images that is marked most is then replaced by the other date's values, and as
    much elsewhere: the probabilities without either tell how far the raster can be believed.

    Args:
        before: the earlier image.
        after: the later one.
        out: the GeoTIFF to write, with a band for each date, 0 to 1; the picture has its name, and ends in .png.
        options: the place and the network.
        overwrite: replace a file that is there.
        cluster: where the scene's values are measured, for networks that need them.
        listener: receives progress updates.
        settings: options by name, also those of the cluster, in place of those in `options` and `cluster`.

    Raises:
        BadOption: the detector is not a network with gradients, or the place lies outside of the images.
        NothingValid: nothing near the place is predicted as change, or there are no data.
        OutputInTheWay: the file exists and `overwrite` is off, or it cannot be written.
    """
    options, cluster = choose_options_and_cluster(ExplainOptions, options, cluster, settings)
    path, own = Path(out), options.own_options()
    require_geotiff(path)
    inputs = before, after, *files_of(before), *files_of(after), options.changes, *own.values()
    require_writable([path, path.with_suffix(".png")], overwrite=overwrite, inputs=inputs)
    scene = open_scene([before, after], options)
    detector = make_detector(options.detector or "network", own)
    if not isinstance(detector, NetworkDetector | ModelDetector):
        raise BadOption(f"{options.detector} is not a network; choose one, or give a checkpoint")
    if detector.values == STORED:
        scene = scene.stored()
    outline = _outline(scene, options)
    with open_work(cluster, listener, Needs(inputs=inputs, folder=path.absolute().parent)) as work:
        fitted = fit_detector(detector, scene, work)
    tile = _tile_about(outline, options.size, fitted.stride)
    found = _look(fitted, scene, tile, outline)
    explained = replace(found.explained, path=path)
    with appearing_together([path, explained.picture]) as (raster, picture):
        _write(raster, scene, tile, found.heat)
        _draw(found, picture)
    return explained


def _outline(scene: Scene, options: ExplainOptions) -> shapely.Geometry:
    """Return the place in pixels of the scene: a point, or a polygon."""
    if options.at is not None:
        place = shapely.Point(~scene.grid.transform @ options.at)
        if not shapely.box(0, 0, scene.shape[1], scene.shape[0]).contains(place):
            raise BadOption(f"{options.at[0]:g},{options.at[1]:g} lies outside of {scene.sources[0].name}")
        return place
    assert options.changes is not None
    layer = open_layer(options.changes)
    if "id" not in layer.frame.columns:
        raise BadOption(f"{options.changes} has no column id")
    rows = np.flatnonzero((layer.frame["id"] == options.id).to_numpy())
    if not rows.size:
        raise BadOption(f"{options.changes} has no change with the id {options.id}")
    outline: shapely.Geometry = in_pixels(layer.polygons(scene.grid)[rows[:1]], scene.grid)[0]
    return outline


def _tile_about(outline: shapely.Geometry, size: int, stride: int) -> Tile:
    """Return a tile of about the size, with the place in its middle, on the lattice of the network."""
    side = max(size // stride, 1) * stride
    middle = outline.centroid
    row, col = (round((place - side / 2) / stride) * stride for place in (middle.y, middle.x))
    return Tile(row, col, side, side)


@dataclass(frozen=True, slots=True)
class _Found:
    heat: Floats
    explained: Explained
    dates: list[Floats]
    """(band, y, x) of each date, NaN where not valid."""
    pixels: Bools
    """(y, x) those that were explained."""


def _look(fitted: NetworkFitted | ModelFitted, scene: Scene, tile: Tile, outline: shapely.Geometry) -> _Found:
    """Score a tile, find what is to be explained in it, map where the network looked, and check the map."""
    stored, valid = scene.read(tile)
    dates, everywhere = as_floats(stored), valid.all(axis=0)
    if not everywhere.any():
        raise NothingValid("there are no data at that place")
    evidence = _evidence_of(fitted)
    probability = evidence.probability(dates, valid) * everywhere
    kind, wanted = _region(probability, fitted, shapely.affinity.translate(outline, -tile.col, -tile.row))
    weights = np.zeros((len(probability), *tile.shape), np.float32)
    weights[kind] = wanted
    heat = np.where(everywhere, evidence.maps(dates, valid, weights), np.nan).astype(np.float32)

    def score(of: Floats) -> float:
        return float(evidence.probability(of, valid)[kind][wanted].mean())

    deletion = check_by_deletion(score, dates, heat)
    peak = float(probability[kind][wanted].max())
    explained = Explained(Path(), fitted.classes[kind], round(peak, 4), int(wanted.sum()), deletion)
    picture = [np.where(valid[k], date, np.nan) for k, date in enumerate(dates)]
    return _Found(heat, explained, picture, wanted)


def _evidence_of(fitted: NetworkFitted | ModelFitted) -> NetworkEvidence | ModelEvidence:
    if isinstance(fitted, ModelFitted):
        from geochange.detectors.models.evidence import ModelEvidence

        return ModelEvidence(fitted)
    from geochange.detectors.networks.explanation import NetworkEvidence

    return NetworkEvidence(fitted)


def _region(probability: Floats, fitted: NetworkFitted | ModelFitted, place: shapely.Geometry) -> tuple[int, Bools]:
    """Return which class, and which pixels (y, x) of a tile, are to be explained."""
    shape = probability.shape[1:]
    if place.area > 0:
        inside = rasterize([place], shape, all_touched=True).astype(bool)
        return int(probability[:, inside].mean(axis=1).argmax()), inside
    least = 0.5 if fitted.objects else fitted.thresholds["default"]
    changed = probability.max(axis=0) >= least
    regions, _ = ndimage.label(changed)
    row, col = min(int(place.y), shape[0] - 1), min(int(place.x), shape[1] - 1)
    distance, at = ndimage.distance_transform_edt(~changed, return_indices=True)
    if not changed.any() or distance[row, col] > SEARCH_RADIUS:
        raise NothingValid(
            f"nothing within {SEARCH_RADIUS} pixels of that place is predicted as change (threshold {least:g})"
        )
    own = regions == regions[at[0][row, col], at[1][row, col]]
    return int(probability[:, own].mean(axis=1).argmax()), own


def _draw(found: _Found, path: Path) -> None:
    dates = [date[:3] if len(date) >= 3 else date[:1] for date in found.dates]
    deletion = found.explained.deletion
    captions = Captions(
        before="before",
        after=f"after · {found.explained.label} {deletion.whole:.2f}",
        changes=f"{deletion.without_marked:.2f} without the brightest, {deletion.without_others:.2f} without others",
    )
    render_heat((dates[0], dates[-1]), found.heat, found.pixels, captions).save(path, format="PNG")


def _write(path: Path, scene: Scene, tile: Tile, heat: Floats) -> None:
    """Write the part of the tile that lies in the scene."""
    inside = tile.intersect(scene.grid.area)
    grid = scene.grid.crop(inside)
    profile: dict[str, Any] = {
        "driver": "GTiff",
        "count": len(heat),
        "height": inside.height,
        "width": inside.width,
        "dtype": "float32",
        "crs": rasterio_crs(grid.crs),
        "transform": grid.transform if grid.crs is not None else Affine(*grid.transform[:6]),
        "nodata": np.nan,
        "compress": "DEFLATE",
    }
    with rasterio.open(path, "w", **profile) as dataset:
        dataset.write(heat[:, *inside.slices((tile.row, tile.col))])
        for band, name in enumerate(("before", "after"), start=1):
            dataset.set_band_description(band, name)
