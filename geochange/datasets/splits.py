"""Training, validation and test parts of collections: by name, or by blocks of a scene with a gap between them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b

import numpy as np
import shapely
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from shapely import STRtree

from geochange.arrays import Array, Floats, Ints
from geochange.datasets.collection import Collection, Item
from geochange.datasets.listings import SPLITS, LabelledPair
from geochange.errors import BadOption
from geochange.scenes.grid import Grid
from geochange.scenes.scene import open_file


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitOptions:
    """How a collection is divided."""

    shares: tuple[float, float, float] = (0.7, 0.15, 0.15)
    """Of train, val and test; they sum to 1."""

    seed: int = 0

    block: int = 2048
    """Rows and columns, in pixels, of the squares of a scene that stay together."""

    gap: int = 0
    """Pixels that tiles of different splits lie apart, at least; with 0 they just do not touch."""

    group: str | None = None
    """A regular expression for the start of names: images whose matches are equal stay together, as in `[a-z]+[0-9]+`
    for the tiles of a scene. None: each image is on its own."""

    def __post_init__(self) -> None:
        if len(self.shares) != len(SPLITS) or min(self.shares) < 0 or not np.isclose(sum(self.shares), 1):
            raise BadOption(f"shares {self.shares} of {', '.join(SPLITS)} must be 0 or more and sum to 1")
        if self.block < 1 or self.gap < 0:
            raise BadOption(f"block {self.block} must be at least 1 pixel, gap {self.gap} at least 0")
        try:
            re.compile(self.group or "")
        except re.error as error:
            raise BadOption(f"group {self.group!r} is no regular expression: {error}") from error


def split_collection(collection: Collection, options: SplitOptions | None = None) -> Collection:
    """The collection with a split for each item, whatever it had.

    Images that have a place on earth, or are cut into tiles, are divided by blocks, and tiles too near to those of
    another split are dropped; others, and all where a group is given, by name.

    Raises:
        BadOption: a split with a share above 0 gets nothing.
        UnreadableInput: an image is missing.
    """
    options = options or SplitOptions()
    pairs = [item.pair for item in collection.items]
    if options.group is not None or _are_separate(pairs):
        splits: Sequence[str | None] = split_by_name([pair.name for pair in pairs], options)
    else:
        splits = split_by_blocks(*places_of(collection.items), options)
    empty = [name for name, share in zip(SPLITS, options.shares, strict=True) if share > 0 and name not in splits]
    if empty:
        raise BadOption(
            f"nothing falls to {empty[0]}, which should get {options.shares[SPLITS.index(empty[0])]:g} of "
            f"{len(pairs)} items; choose smaller blocks than {options.block} pixels, another seed or other shares"
        )
    kept = [
        replace(item, pair=replace(item.pair, split=split))
        for item, split in zip(collection.items, splits, strict=True)
        if split is not None
    ]
    return replace(collection, items=tuple(kept))


def _are_separate(pairs: Sequence[LabelledPair]) -> bool:
    """Whether nobody can say that one lies beside another."""
    return len({*pairs}) == len(pairs) and all(open_file(pair.dates[0]).grid.crs is None for pair in pairs)


def split_by_name(names: Sequence[str], options: SplitOptions) -> tuple[str, ...]:
    """The split of each name, from a hash of the seed and its group: it does not change when names are added."""
    bounds = np.cumsum(options.shares)[:-1]
    return tuple(
        SPLITS[int(np.searchsorted(bounds, _fraction(options.seed, group_of(name, options.group)), side="right"))]
        for name in names
    )


def group_of(name: str, pattern: str | None) -> str:
    """What the pattern, or its first group, matches at the start of a name; the name where it does not."""
    match = None if pattern is None else re.match(pattern, name)
    if match is None:
        return name
    return match[1] if match.re.groups and match[1] is not None else match[0]


def _fraction(seed: int, text: str) -> float:
    """A number in 0..1 that looks drawn, from the seed and the text alone."""
    digest = blake2b(f"{seed}:{text}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest) >> 11) / 2**53


def split_by_blocks(sites: Sequence[int] | Ints, areas: Floats, options: SplitOptions) -> tuple[str | None, ...]:
    """The split of each tile; None for those dropped, which lie within the gap of another split's.

    Whole blocks are dealt in a seeded order, each to the split that lacks most; so shares are met to within a block,
    before tiles are dropped. Where two tiles are too near, that of the larger split goes.

    Args:
        sites: (n,) which tiles lie in one frame of coordinates.
        areas: (n, 4) top, left, bottom and right of each, in pixels of its site.
        options: shares, block, gap and seed.
    """
    areas = np.asarray(areas, float).reshape(-1, 4)
    centres = (areas[:, :2] + areas[:, 2:]) / 2
    cells = np.floor(centres / options.block).astype(int)
    blocks = [(int(site), *map(int, cell)) for site, cell in zip(sites, cells, strict=True)]
    dealt = _deal(Counter(blocks), options)
    parts = np.array([dealt[block] for block in blocks], int)
    kept = _keep_apart(np.asarray(sites, int), areas, parts, options)
    return tuple(SPLITS[part] if keep else None for part, keep in zip(parts, kept, strict=True))


def _deal(sizes: Mapping[tuple[int, ...], int], options: SplitOptions) -> dict[tuple[int, ...], int]:
    """Block -> the place of its split."""
    blocks, total = sorted(sizes), sum(sizes.values())
    wanted, got, dealt = np.array(options.shares) * total, np.zeros(len(SPLITS)), {}
    for k in np.random.default_rng(options.seed).permutation(len(blocks)):
        part = int(np.argmax(wanted - got))
        dealt[blocks[k]] = part
        got[part] += sizes[blocks[k]]
    return dealt


def _keep_apart(sites: Ints, areas: Floats, parts: Ints, options: SplitOptions) -> Array:
    """(n,) bool: False for tiles within the gap of a tile that is kept, of another split with a smaller share."""
    keep = np.ones(len(areas), bool)
    boxes = shapely.box(areas[:, 1], areas[:, 0], areas[:, 3], areas[:, 2])
    grown = shapely.box(*(areas[:, [1, 0, 3, 2]] + np.array([-1, -1, 1, 1]) * options.gap).T)
    smallest_first = sorted(range(len(SPLITS)), key=lambda part: (options.shares[part], -part))
    for place, part in enumerate(smallest_first):
        own = np.nonzero(parts == part)[0]
        others = np.nonzero(np.isin(parts, smallest_first[:place]) & keep)[0]
        if not own.size or not others.size:
            continue
        mine, theirs = STRtree(boxes[others]).query(grown[own])
        near = sites[own[mine]] == sites[others[theirs]]
        keep[own[mine[near]]] = False
    return keep


def places_of(items: Sequence[Item]) -> tuple[Ints, Floats]:
    """Where items lie: (n,) the site of each, and (n, 4) top, left, bottom and right in pixels of its site.

    Scenes that overlap are one site, whatever their grids, if they have one CRS; its pixels are those of its first
    scene. Scenes in different CRSs, and images without one that are not the same file, are sites of their own.
    """
    pairs = list(dict.fromkeys(item.pair for item in items))
    grids = [open_file(pair.dates[0]).grid for pair in pairs]
    sites = _sites(pairs, grids)
    place = {pair: k for k, pair in enumerate(pairs)}
    areas = [_area(item, grids[place[item.pair]], grids[sites[place[item.pair]]]) for item in items]
    return np.array([sites[place[item.pair]] for item in items], int), np.array(areas, float).reshape(-1, 4)


def _sites(pairs: Sequence[LabelledPair], grids: Sequence[Grid]) -> list[int]:
    """For each pair the first one that it is joined with, be it over others."""
    links = [*_shared_files(pairs), *_overlaps(grids)]
    rows, cols = np.array(links, int).reshape(-1, 2).T
    graph = coo_array((np.ones(len(rows)), (rows, cols)), shape=(len(pairs), len(pairs)))
    _, components = connected_components(graph, directed=False)
    _, firsts = np.unique(components, return_index=True)
    return [int(firsts[component]) for component in components]


def _shared_files(pairs: Sequence[LabelledPair]) -> Iterator[tuple[int, int]]:
    """Pairs that use one image."""
    first: dict[str, int] = {}
    for k, pair in enumerate(pairs):
        yield from ((first.setdefault(path, k), k) for path in pair.dates)


def _overlaps(grids: Sequence[Grid]) -> Iterator[tuple[int, int]]:
    """Grids of one CRS whose bounds meet."""
    for crs in {grid.crs for grid in grids} - {None}:
        own = [k for k, grid in enumerate(grids) if grid.crs == crs]
        boxes = shapely.box(*np.array([grids[k].bounds for k in own]).T)
        yield from ((own[i], own[j]) for i, j in STRtree(boxes).query(boxes).T)


def _area(item: Item, grid: Grid, frame: Grid) -> tuple[float, float, float, float]:
    """(top, left, bottom, right) of an item in pixels of the frame."""
    to_frame = ~frame.transform @ grid.transform
    tile = item.tile
    corners = [to_frame @ (col, row) for col in (tile.col, tile.stop_col) for row in (tile.row, tile.stop_row)]
    cols, rows = zip(*corners, strict=True)
    edges = np.round((min(rows), min(cols), max(rows), max(cols)), 6)
    return float(edges[0]), float(edges[1]), float(edges[2]), float(edges[3])
