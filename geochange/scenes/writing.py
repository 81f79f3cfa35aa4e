"""What a new raster takes over from its source."""

from __future__ import annotations

from typing import Any

import rasterio
from rasterio.enums import ColorInterp

from geochange.scenes.grid import Grid
from geochange.scenes.scene import rasterio_crs, readable
from geochange.scenes.source import Source

DATE_TAGS = "TIFFTAG_DATETIME", "ACQUISITION_DATE"


def describe_like(dataset: Any, source: Source, *, with_scales: bool = True) -> None:
    """Give a new file its source's colours, band descriptions, scales and date, before there are pixels in it.

    Args:
        dataset: the new file.
        source: what it is made of.
        with_scales: whether its values are those that the source stores, and not what they stand for.
    """
    if source.path is None:
        _describe(dataset, source, with_scales=with_scales)
        return
    with readable(source.path), rasterio.open(source.path) as original:
        if original.count < max(source.bands):  # the colours of a colour table
            dataset.colorinterp = [(ColorInterp.red, ColorInterp.green, ColorInterp.blue)[b - 1] for b in source.bands]
            return
        colours = [original.colorinterp[band - 1] for band in source.bands]
        dataset.colorinterp = [_colour_of_values(colour) for colour in colours]
        for place, band in enumerate(source.bands, 1):
            if original.descriptions[band - 1]:
                dataset.set_band_description(place, original.descriptions[band - 1])
        if with_scales:
            dataset.scales = [original.scales[band - 1] for band in source.bands]
            dataset.offsets = [original.offsets[band - 1] for band in source.bands]
        dataset.update_tags(**{name: text for name, text in original.tags().items() if name in DATE_TAGS})


def _describe(dataset: Any, source: Source, *, with_scales: bool) -> None:
    """Give a new file what a source without a file of its own says of itself."""
    places = [source.choices.index(band) for band in source.bands]
    for number, place in enumerate(places, 1):
        if source.band_names and source.band_names[place]:
            dataset.set_band_description(number, source.band_names[place][-1])
    if with_scales and source.scaling is not None:
        dataset.scales, dataset.offsets = zip(*(source.scaling[place] for place in places), strict=True)
    if source.date is not None:
        dataset.update_tags(ACQUISITION_DATE=source.date)


def _colour_of_values(colour: ColorInterp) -> ColorInterp:
    """Return the colour for a band that was read as values: never a mask."""
    return ColorInterp.undefined if colour is ColorInterp.alpha else colour


def geotiff_profile(grid: Grid, bands: int, dtype: Any, nodata: float | None = None, *, tile: int) -> dict[str, Any]:
    """Return how a GeoTIFF is created whose bands are values, in tiles of so many pixels per side."""
    return {
        "driver": "GTiff",
        "count": bands,
        "height": grid.shape[0],
        "width": grid.shape[1],
        "dtype": dtype,
        "crs": rasterio_crs(grid.crs),
        "transform": grid.transform,
        "nodata": nodata,
        "photometric": "MINISBLACK",  # else GDAL takes the fourth band of 8-bit files for alpha
        "tiled": True,
        "blockxsize": tile,
        "blockysize": tile,
        "compress": "DEFLATE",
        "bigtiff": "IF_SAFER",
    }
