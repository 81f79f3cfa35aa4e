"""Radiometric normalisation of two dates by what has not changed between them (Canty and Nielsen 2008). Pure."""

from __future__ import annotations

from functools import partial, reduce
from math import sqrt
from typing import TypeAlias

import numpy as np

from geochange.arrays import Bools, Floats
from geochange.detectors.contrast import require_pair
from geochange.detectors.detector import MapBlocks, Series
from geochange.detectors.ir_mad import IrMad, mad_variates
from geochange.detectors.reweighting import NoChange, no_change_table, on_bands, reweight
from geochange.detectors.statistics import Moments, chunks_of, find_inliers, moments_of, valid_pixels, varying_bands
from geochange.errors import NothingValid
from geochange.scenes.grid import Tile

SURE = 0.95  # probability of no change from which a pixel counts as invariant
FEWEST = 100  # invariant pixels
NAME = "normalisation"

GainsAndOffsets: TypeAlias = tuple[tuple[float, float], ...]
"""(gain, offset) of each band, which bring AFTER's values to BEFORE's."""


def invariant_moments(dates: Floats, valid: Bools, tile: Tile, *, weigh: NoChange) -> Moments:
    """Kernel: moments of the pixels that surely have not changed."""
    nothing = moments_of(np.zeros((len(weigh.contrast.mean), 0)))
    chunks = chunks_of([valid_pixels(dates, valid)])
    return reduce(Moments.__add__, (moments_of(chunk[:, weigh(chunk) > SURE]) for chunk in chunks), nothing)


def fit_normalisation(series: Series, map_blocks: MapBlocks) -> GainsAndOffsets:
    """Find what brings AFTER's values to BEFORE's, band by band.

    Pixels that have not changed are those to which IR-MAD gives a probability of that of more than 0.95; through their
    values goes an orthogonal regression, which takes both dates as noisy. A band that is constant stays as it is.

    Args:
        series: two dates.
        map_blocks: runs kernels over them.

    Raises:
        BadOption: there are more dates.
        NothingValid: fewer than a hundred pixels have not changed, no band varies, or one falls as its earlier self
            rises, as between seasons.
    """
    require_pair(series, NAME)
    inliers, options = find_inliers(series, map_blocks), IrMad()
    varies = varying_bands(inliers.moments, series.bands)
    found = reweight(inliers, on_bands(partial(mad_variates, ridge=options.ridge), varies), options)
    weigh = NoChange(found.contrast, no_change_table(found.freedom))
    moments = reduce(Moments.__add__, inliers.within(partial(invariant_moments, weigh=weigh)))
    if moments.weight < FEWEST:
        raise NothingValid(
            f"AFTER cannot be normalised: {moments.weight:.0f} pixels have surely not changed, {FEWEST} are needed"
        )
    lines = [orthogonal_line(moments, band, len(varies)) for band in range(len(varies))]
    falling = [
        number for number, vary, (gain, _) in zip(series.bands, varies, lines, strict=True) if vary and gain <= 0
    ]
    if falling:
        raise NothingValid(
            f"AFTER cannot be normalised: where nothing has changed, band {falling[0]} falls as BEFORE's rises; leave "
            "it out with --bands, mask clouds, or choose dates of one season"
        )
    return tuple(line if vary else (1.0, 0.0) for line, vary in zip(lines, varies, strict=True))


def orthogonal_line(moments: Moments, band: int, bands: int) -> tuple[float, float]:
    """(gain, offset) of the orthogonal regression of BEFORE on AFTER, of one of so many bands of each."""
    places = [band, band + bands]
    (before, cross), (_, after) = moments.covariance[np.ix_(places, places)]
    if cross == 0:
        return 1.0, 0.0
    gain = (before - after + sqrt((before - after) ** 2 + 4 * cross**2)) / (2 * cross)
    mean_before, mean_after = moments.mean[places]
    return float(gain), float(mean_before - gain * mean_after)
