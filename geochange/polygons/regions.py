"""Classified pixels to regions: 4- or 8-connected areas of one class, with their outlines and statistics. Pure.

A block is traced by itself. Regions that end inside it are finished; those that reach a seam (an edge of the
block that is not the scene's) are handed on as pieces, which `seams.SeamMerger` joins. Everything is kept in
whole numbers, in pixels of the scene, so that the result does not depend on how the scene was cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import shapely
from scipy import ndimage

from geochange.arrays import Array, Bools, Ints
from geochange.polygons.confidence import confidence_of
from geochange.polygons.rings import Corners, Rings, find_corners, trace_rings
from geochange.scenes.grid import Tile

CONNECTIVITIES = (4, 8)


@dataclass(frozen=True, slots=True, eq=False)
class Counts:
    """What is counted of regions: columns of one length."""

    classes: Ints
    """(n,) class, from 1."""

    area_px: Ints
    """(n,) int64 pixels."""

    score_sum: Ints
    """(n,) int64 sum of the stored scores."""

    score_max: Ints
    """(n,) int64 largest stored score."""

    on_edge: Bools
    """(n,) whether a pixel has a 4-neighbour that is not valid or lies outside the scene."""

    rim: Ints
    """(n,) int64 sides of pixels that a valid pixel of another class, or of none, lies behind."""

    rim_sum: Ints
    """(n,) int64 sum of the stored scores behind these sides."""

    def __len__(self) -> int:
        return self.classes.size

    def where(self, chosen: Bools | Ints) -> Counts:
        """Choose rows, in their order."""
        return Counts(*(getattr(self, column.name)[chosen] for column in fields(self)))

    def group(self, group: Ints, count: int) -> Counts:
        """One row for each of `count` groups, given the (n,) `group` of each row; a group has one class."""
        grouped = _no_counts(count)
        grouped.classes[group] = self.classes
        np.add.at(grouped.area_px, group, self.area_px)
        np.add.at(grouped.score_sum, group, self.score_sum)
        np.maximum.at(grouped.score_max, group, self.score_max)
        np.logical_or.at(grouped.on_edge, group, self.on_edge)
        np.add.at(grouped.rim, group, self.rim)
        np.add.at(grouped.rim_sum, group, self.rim_sum)
        return grouped


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionFilter:
    """Which regions are kept. It acts on whole regions, after merging over seams."""

    min_area: int = 0  # pixels
    min_peak: int = 0  # stored score that one pixel must reach: the upper threshold of a hysteresis
    min_confidence: float = 0.0  # see `confidence_of`
    score_scale: float = 1.0  # what a stored score of 1 means

    def keeps(self, counts: Counts) -> Bools:
        """(n,) whether a region is large, strong and sure enough."""
        kept = (counts.area_px >= self.min_area) & (counts.score_max >= self.min_peak)
        return kept & (confidence_of(counts, self.score_scale) >= self.min_confidence) if self.min_confidence else kept


@dataclass(frozen=True, slots=True, eq=False)
class Regions:
    """Finished regions: rows of one length."""

    counts: Counts

    first: Ints
    """(n, 2) int64 (row, col) of each region's first pixel in raster order; no two regions share it."""

    polygons: Array
    """(n,) shapely geometries, x = column and y = row of pixel corners; multipolygons where
    regions are 8-connected.
    """

    def __len__(self) -> int:
        return len(self.counts)

    def where(self, chosen: Bools | Ints) -> Regions:
        """Choose regions, in their order."""
        return Regions(self.counts.where(chosen), self.first[chosen], self.polygons[chosen])

    def sort(self) -> Regions:
        """Sort regions by their first pixel."""
        return self.where(np.lexsort((self.first[:, 1], self.first[:, 0])))


@dataclass(frozen=True, slots=True, eq=False)
class SeamPixels:
    """Changed pixels along seams: columns of one length."""

    row: Ints
    """(n,) int64 in the scene."""

    col: Ints
    """(n,) int64 in the scene."""

    part: Ints
    """(n,) the part that the pixel belongs to."""

    block: Ints
    """(n,) the number of the block that the pixel lies in; 0 until a merger has numbered it."""

    def where(self, chosen: Bools | Ints) -> SeamPixels:
        """Choose pixels, in their order."""
        return SeamPixels(self.row[chosen], self.col[chosen], self.part[chosen], self.block[chosen])


@dataclass(frozen=True, slots=True, eq=False)
class Pieces:
    """Pieces of regions that may go on beyond a seam."""

    counts: Counts
    """One row a piece; a piece is what a block holds of a region."""

    piece_of_part: Ints
    """(parts,) the piece that each 4-connected part belongs to; part and piece are the same thing with
    4-connectivity.
    """

    corners: Corners
    """Corners of the parts."""

    seam: SeamPixels
    """Where the pieces may go on."""


@dataclass(frozen=True, slots=True, eq=False)
class BlockRegions:
    """What one block holds; arrays of whole numbers, cheap to send."""

    block: Tile
    counts: Counts
    """Regions that end inside the block."""

    region_of_part: Ints
    """(parts,) the region of each 4-connected part that `rings` outlines."""

    rings: Rings
    pieces: Pieces

    def without_whole(self) -> BlockRegions:
        """Return what may go on beyond the block, alone."""
        nothing = np.zeros(0, np.int64)
        none = Corners(nothing, nothing, nothing, nothing)
        return replace(self, counts=_no_counts(0), region_of_part=nothing, rings=trace_rings(none))


def trace_block(
    classes: Ints,
    scores: Ints,
    valid: Bools,
    block: Tile,
    scene: Tile,
    *,
    connectivity: int = 4,
    keep: RegionFilter | None = None,
) -> BlockRegions:
    """Find the regions of a block.

    Args:
        classes: (y, x) uint8 class of each pixel, 0 where unchanged, of the block and one pixel more on each side.
        scores: as `classes`, whole numbers: the score as stored.
        valid: as `classes`, True where there is data; False beyond the scene. A pixel that is not valid
            belongs to no region.
        block: where the block lies.
        scene: the area that all blocks together cover.
        connectivity: 4, or 8 to join areas of one class that touch at a corner.
        keep: which regions are kept; all where None.

    Raises:
        ValueError: the shapes do not fit the block, or the connectivity is neither 4 nor 8.
    """
    _check(classes, scores, valid, block, connectivity)
    inner = (slice(1, -1), slice(1, -1))
    changed = np.where(valid[inner], classes[inner], 0)
    parts = label_classes(changed, 4)
    regions = parts if connectivity == 4 else label_classes(changed, 8)
    counts = _count(regions, changed, scores[inner], _beside_invalid(valid))
    _count_rims(counts, regions, np.where(valid, classes, 0), scores, valid)
    seam = _seam_pixels(parts, block, scene)
    region_of_part = _pair_labels(parts, regions)
    reaches_seam = np.zeros(len(counts), bool)
    reaches_seam[region_of_part[seam.part]] = True
    kept = ~reaches_seam & (keep or RegionFilter()).keeps(counts)
    corners = find_corners(parts, (block.row, block.col))
    corners = replace(corners, part=corners.part - 1)
    whole = _choose(counts, region_of_part, corners, seam, kept)
    pieces = _choose(counts, region_of_part, corners, seam, reaches_seam)
    return BlockRegions(block, whole.counts, whole.piece_of_part, trace_rings(whole.corners), pieces)


def finished_regions(counts: Counts, region_of_part: Ints, rings: Rings, connectivity: int) -> Regions:
    """Put outlines and counts together.

    Args:
        counts: one row a region.
        region_of_part: (parts,) the region of each part.
        rings: outlines of the parts, each of which has at least one.
        connectivity: with 8 all polygons become multipolygons, their parts by their first pixels.
    """
    shells = np.unique(rings.part, return_index=True)[1]
    first = rings.coordinates[rings.offsets[shells], ::-1].astype(np.int64)
    polygons = rings.polygons()
    order = np.lexsort((first[:, 1], first[:, 0], region_of_part))
    leading = order[np.unique(region_of_part[order], return_index=True)[1]]
    if connectivity == 8:
        polygons = shapely.multipolygons(polygons[order], indices=region_of_part[order])
    else:
        polygons = polygons[leading]
    return Regions(counts, first[leading], polygons)


def concatenate(regions: Sequence[Regions]) -> Regions:
    """Regions one after the other; none where there is nothing to join."""
    if not regions:
        return Regions(_no_counts(0), np.zeros((0, 2), np.int64), np.zeros(0, object))
    return Regions(
        concatenate_counts([part.counts for part in regions]),
        np.concatenate([part.first for part in regions]),
        np.concatenate([part.polygons for part in regions]),
    )


def concatenate_counts(counts: Sequence[Counts]) -> Counts:
    """Rows one after the other."""
    return Counts(*(np.concatenate([getattr(part, column.name) for part in counts]) for column in fields(Counts)))


def label_classes(classes: Ints, connectivity: int) -> Ints:
    """(y, x) int32 number, from 1, of the connected area of one class that holds each pixel; 0 for class 0."""
    structure = ndimage.generate_binary_structure(2, 1 if connectivity == 4 else 2)
    labels, total = np.zeros(classes.shape, np.int32), 0
    for value in np.flatnonzero(np.bincount(classes.ravel())[1:]) + 1:
        own, count = ndimage.label(classes == value, structure)
        own[own > 0] += total
        labels, total = (labels + own if total else own), total + count
    return labels


def choose_pieces(pieces: Pieces, chosen: Bools) -> Pieces:
    """Choose pieces, numbered anew, with what belongs to them."""
    return _choose(pieces.counts, pieces.piece_of_part, pieces.corners, pieces.seam, chosen)


def _choose(counts: Counts, region_of_part: Ints, corners: Corners, seam: SeamPixels, chosen: Bools) -> Pieces:
    chosen_part = chosen[region_of_part]
    region, part = np.cumsum(chosen) - 1, np.cumsum(chosen_part) - 1
    corners = corners.where(chosen_part[corners.part])
    seam = seam.where(chosen_part[seam.part])
    return Pieces(
        counts.where(chosen),
        region[region_of_part[chosen_part]],
        replace(corners, part=part[corners.part]),
        replace(seam, part=part[seam.part]),
    )


def _check(classes: Ints, scores: Ints, valid: Bools, block: Tile, connectivity: int) -> None:
    expected = block.grow(1).shape
    shapes = classes.shape, scores.shape, valid.shape
    if any(shape != expected for shape in shapes):
        raise ValueError(f"classes, scores and valid are {shapes}; with one pixel around the block they are {expected}")
    if connectivity not in CONNECTIVITIES:
        raise ValueError(f"connectivity {connectivity} must be 4 or 8")


def _no_counts(count: int) -> Counts:
    area_px, score_sum, score_max, rim, rim_sum = np.zeros((5, count), np.int64)
    return Counts(np.zeros(count, np.uint8), area_px, score_sum, score_max, np.zeros(count, bool), rim, rim_sum)


def _count(labels: Ints, classes: Ints, scores: Ints, beside_invalid: Bools) -> Counts:
    """Count regions 1..n of (y, x) labels. Stored scores are never negative."""
    pixels = np.flatnonzero(labels)
    region = labels.ravel()[pixels] - 1
    score = scores.ravel()[pixels].astype(np.int64)
    counts = _no_counts(int(region.max(initial=-1)) + 1)
    counts.classes[region] = classes.ravel()[pixels]
    counts.area_px[:] = np.bincount(region, minlength=len(counts))
    np.add.at(counts.score_sum, region, score)
    np.maximum.at(counts.score_max, region, score)
    counts.on_edge[labels[beside_invalid & (labels > 0)] - 1] = True
    return counts


def _count_rims(counts: Counts, labels: Ints, classes: Ints, scores: Ints, valid: Bools) -> None:
    """Count the sides of regions 1..n of (y, x) labels, and the scores behind them; the rest with one pixel around."""
    own = classes[1:-1, 1:-1]
    before, here, behind = slice(0, -2), slice(1, -1), slice(2, None)
    for rows, cols in ((before, here), (behind, here), (here, before), (here, behind)):
        pixels = np.flatnonzero((labels > 0) & valid[rows, cols] & (classes[rows, cols] != own))
        region = labels.ravel()[pixels] - 1
        np.add.at(counts.rim, region, 1)
        np.add.at(counts.rim_sum, region, scores[rows, cols].ravel()[pixels].astype(np.int64))


def _beside_invalid(valid: Bools) -> Bools:
    """(y - 2, x - 2), whether a 4-neighbour of each inner pixel of (y, x) `valid` is not valid."""
    return ~(valid[:-2, 1:-1] & valid[2:, 1:-1] & valid[1:-1, :-2] & valid[1:-1, 2:])


def _seam_pixels(parts: Ints, block: Tile, scene: Tile) -> SeamPixels:
    """Pixels of (y, x) parts along those edges of the block that are not the scene's.

    Parts are numbered from 1 in the array, and from 0 in what is returned.
    """
    rim = np.zeros(parts.shape, bool)
    rim[0] |= block.row > scene.row
    rim[-1] |= block.stop_row < scene.stop_row
    rim[:, 0] |= block.col > scene.col
    rim[:, -1] |= block.stop_col < scene.stop_col
    row, col = np.nonzero(rim & (parts > 0))
    return SeamPixels(row + block.row, col + block.col, parts[row, col] - 1, np.zeros(row.size, np.int64))


def _pair_labels(parts: Ints, regions: Ints) -> Ints:
    """(parts,) the region, from 0, that holds each part; both (y, x), numbered from 1."""
    region_of_part = np.arange(int(parts.max(initial=0)))
    if regions is not parts:
        changed = parts > 0
        region_of_part[parts[changed] - 1] = regions[changed] - 1
    return region_of_part
