"""A change grown from a click: the region of the probability about a pixel."""

from __future__ import annotations

import numpy as np
import shapely
from rasterio.features import shapes
from scipy import ndimage
from shapely.affinity import translate

from geochange.probability.raster import ScoreRaster
from geochange.review.actions import BadShape
from geochange.scenes.grid import Tile

LARGEST = 2048  # px, side of the window in which a region grows
SHARE = 0.5  # of the probability where it was clicked, down to which a region grows where that is below the threshold
LEAST_PROBABILITY = 0.01


def grow(scores: ScoreRaster, row: int, col: int, threshold: float) -> shapely.Polygon:
    """Return the region of pixels, connected by their edges, that are about as probable as the one that was clicked.

    Args:
        scores: of the scene.
        row: of the pixel.
        col: of the pixel.
        threshold: down to which the region grows; where the pixel lies below it, down to half of its probability.

    Returns:
        The outline in pixels of the scene, without holes.

    Raises:
        BadShape: the probability is 0 there, or not known; or the region is larger than `LARGEST` pixels.
    """
    window = Tile(row - LARGEST // 2, col - LARGEST // 2, LARGEST, LARGEST).intersect(scores.source.grid.area)
    codes, valid = scores.read(window)
    probability = np.where(valid, codes.max(axis=0) * scores.step, 0.0)
    here = float(probability[row - window.row, col - window.col])
    if here < LEAST_PROBABILITY:
        raise BadShape("nothing is probable here; draw the change instead")
    regions, _ = ndimage.label(probability >= (threshold if here >= threshold else SHARE * here))
    region = regions == regions[row - window.row, col - window.col]
    edges = (region[0].any(), region[:, 0].any(), region[-1].any(), region[:, -1].any())
    area = scores.source.grid.area
    cut = (window.row > 0, window.col > 0, window.stop_row < area.stop_row, window.stop_col < area.stop_col)
    if any(at and inner for at, inner in zip(edges, cut, strict=True)):
        raise BadShape(f"the region is larger than {LARGEST} pixels; draw the change instead")
    (outline, _), *_ = shapes(region.astype(np.uint8), mask=region)
    return translate(shapely.Polygon(outline["coordinates"][0]), window.col, window.row)
