"""What stands for one date, opened as one source: a file, a product, tiles, a STAC Item, or arrays."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from geochange.errors import UnreadableInput
from geochange.names import is_elsewhere, text_of
from geochange.parsing import parsing
from geochange.scenes.array_bands import DatasetImage
from geochange.scenes.band_files import band_file_products
from geochange.scenes.containers import PRODUCTS, RASTERS, Container, open_container
from geochange.scenes.landsat import landsat_products
from geochange.scenes.mosaic import mosaic
from geochange.scenes.options import SceneOptions
from geochange.scenes.product import Product
from geochange.scenes.scene import open_array, open_file
from geochange.scenes.sentinel2 import sentinel2_products
from geochange.scenes.source import Source
from geochange.scenes.stac_items import item_product, items_in, read_items, self_address

if TYPE_CHECKING:
    import pystac
    import xarray as xr

Image: TypeAlias = (
    "str | os.PathLike[str] | xr.DataArray | xr.Dataset | pystac.Item | Mapping[str, Any] | Sequence[Image]"
)
"""What names one date: a path or an address of a file, a folder or archive, or a STAC Item; a name that GDAL takes; a
DataArray, or a Dataset of bands; an item of pystac; or a list of these, which are tiles."""

PRODUCT_READERS: tuple[Callable[[Container], list[Product]], ...] = (
    sentinel2_products,
    landsat_products,
    band_file_products,
)
"""In turn, until one knows what a folder or an archive holds."""
LISTS = ".txt"
"""Ends the name of a text that lists tiles, a line each."""
METADATA = "MTD_MSIL"
"""Begins the name of the file that a Sentinel-2 product is opened by in other programs."""


class Piece(Protocol):
    """What one date may be made of, before it is opened."""

    @property
    def files(self) -> tuple[str, ...]:
        """All files that may be read."""

    def open(self, options: SceneOptions, *, with_own_mask: bool) -> Source:
        """Open it; without what a mask of its own hides, where that is wanted."""


@dataclass(frozen=True, slots=True)
class RasterFile:
    """A file that rasterio opens."""

    path: str

    @property
    def files(self) -> tuple[str, ...]:
        """All files that may be read."""
        return (self.path,)

    def open(self, options: SceneOptions, *, with_own_mask: bool) -> Source:
        """See `Piece.open`."""
        return open_file(self.path, bands=options.bands, nodata=options.nodata)


@dataclass(frozen=True, slots=True)
class ArrayImage:
    """A DataArray."""

    array: xr.DataArray
    name: str

    @property
    def files(self) -> tuple[str, ...]:
        """Files that may be read: that which it has been opened from, where it says so."""
        source = self.array.encoding.get("source")
        return (source,) if isinstance(source, str) else ()

    def open(self, options: SceneOptions, *, with_own_mask: bool) -> Source:
        """See `Piece.open`."""
        return open_array(self.array, self.name, bands=options.bands, nodata=options.nodata)


def open_date(image: Image, name: str, options: SceneOptions, *, with_own_mask: bool = True) -> Source:
    """Open what stands for one date.

    Args:
        image: see `Image`.
        name: what messages call what has no name of its own.
        options: bands, nodata rule, order of tiles, width around masks.
        with_own_mask: whether what the mask of a product hides is left out.

    Raises:
        UnreadableInput: it is missing, or holds no image.
        BandMismatch: a band is not known, or tiles differ in bands.
        GridMismatch: tiles are not of one image.
        BadOption: the newest tile is wanted, and one has no date.
    """
    called, pieces = find_pieces(image, name)
    opened = [piece.open(options, with_own_mask=with_own_mask) for piece in pieces]
    return mosaic(called, opened, options.mosaic)


def files_of(image: Image) -> tuple[str, ...]:
    """Return the names of all files that an image may be read from, none of which is opened but lists and metadata.

    Raises:
        UnreadableInput: it is missing, or a list or metadata cannot be read.
    """
    _, pieces = find_pieces(image, "date")
    return tuple(dict.fromkeys(name for piece in pieces for name in piece.files))


def find_pieces(image: Image, name: str) -> tuple[str, list[Piece]]:
    """Return what messages call an image, and what it is made of: several pieces are tiles of one date."""
    if isinstance(image, str | os.PathLike):
        path = text_of(image)
        if os.path.exists(path):
            path = os.path.abspath(path)  # workers may stand in another folder
        return path, _pieces_at(path)
    if isinstance(image, list | tuple):
        if not image:
            raise UnreadableInput(f"{name} is an empty list; give the tiles of the date")
        pieces = [piece for k, each in enumerate(image, 1) for piece in find_pieces(each, f"{name}, tile {k}")[1]]
        return name, pieces
    return _in_memory(image, name)


def _in_memory(image: Any, name: str) -> tuple[str, list[Piece]]:
    """Return name and pieces of an array, a Dataset, or an item: as pystac has it, or as JSON."""
    if hasattr(image, "data_vars"):
        return name, [DatasetImage(image, name)]
    if hasattr(image, "dims"):
        called = image.name if isinstance(image.name, str) else name
        return called, [ArrayImage(image, called)]
    with parsing(name, "an image"):
        found = image if isinstance(image, Mapping) else image.to_dict()
        called = self_address(found) or str(found.get("id", name))
    items = items_in(found, self_address(found))
    if items is None:
        raise UnreadableInput(f"{name} is not a STAC Item: it has no assets")
    return called, _products_of(items, called)


def _products_of(items: tuple[list[dict[str, Any]], str], name: str) -> list[Piece]:
    found, base = items
    return [item_product(item, base, name if len(found) == 1 else str(item.get("id", name))) for item in found]


def _pieces_at(path: str) -> list[Piece]:
    """Return what lies at a path: what no reader knows is a file for rasterio."""
    found = next(filter(None, (reader(path) for reader in PATH_READERS)), None)
    return [RasterFile(path)] if found is None else found


def _items_at(path: str) -> list[Piece]:
    items = read_items(path)
    return [] if items is None else _products_of(items, path)


def _listed_at(path: str) -> list[Piece]:
    """Return the tiles that a text lists; relative paths start at its folder."""
    if not (path.lower().endswith(LISTS) and os.path.isfile(path)):
        return []
    with parsing(path, "a list of tiles"):
        lines = [line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines()]
    places = [each if is_elsewhere(each) else os.path.join(os.path.dirname(path), each) for each in lines if each]
    if not places:
        raise UnreadableInput(f"{path} lists no tiles; write the path of one in each line")
    return [piece for place in places for piece in _pieces_at(place)]


def _product_at(path: str) -> list[Piece]:
    """Return the products, or the tiles, of a folder or an archive."""
    if os.path.basename(path).startswith(METADATA) and os.path.isfile(path):
        path = os.path.dirname(path)
    container = open_container(path)
    if container is None:
        return []
    products = next(filter(None, (reader(container) for reader in PRODUCT_READERS)), [])
    return list(products) or list(_tiles_in(container))


def _tiles_in(container: Container) -> Iterator[Piece]:
    for member in container.members:
        if RASTERS.search(member):
            yield RasterFile(container.path_of(member))
        elif PRODUCTS.search(member):
            yield from _product_at(container.path_of(member))


PATH_READERS: tuple[Callable[[str], list[Piece]], ...] = (_items_at, _listed_at, _product_at)
"""In turn, until one knows what lies at a path."""
