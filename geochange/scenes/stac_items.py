"""STAC Items as dates: assets by the names of their bands, with what the extensions eo, proj and raster say of them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit
from urllib.request import url2pathname

from affine import Affine
from pyproj import CRS

from geochange.errors import UnreadableInput
from geochange.names import is_elsewhere
from geochange.parsing import parsing
from geochange.remote import fetched
from geochange.scenes.band_names import Names
from geochange.scenes.grid import Grid
from geochange.scenes.mask_rules import rule_of_band
from geochange.scenes.product import BandFile, Product, ProductMask
from geochange.scenes.sentinel2 import NO_DATA

UNUSUAL = {"coastal", "nir09", "cirrus", "pan", "lwir", "lwir11", "lwir12"}
"""Common names of bands that show the atmosphere, or warmth, or have pixels of another size."""
RASTER = re.compile(r"tiff?|jp2|geotiff|netcdf|vrt", re.IGNORECASE)
APPLIED = "earthsearch:boa_offset_applied"
"""Property of items of Earth Search whose assets hold numbers that the offset has been taken off already."""
BASELINE = "s2:processing_baseline"
SENTINEL2_SCALE, SENTINEL2_OFFSET, OFFSET_SINCE = 0.0001, -0.1, 4.0
"""Of Level-2A numbers, where nothing but the baseline is said; the offset since the baseline of January 2022."""


def read_items(source: str) -> tuple[list[dict[str, Any]], str] | None:
    """Read a STAC Item, or an ItemCollection, from a file or an http address.

    Returns:
        The items, and the address that their relative links start at; None where it holds none.

    Raises:
        UnreadableInput: an address does not answer, or the answer is not JSON.
    """
    if not is_address_of_item(source):
        if not (source.lower().endswith((".json", ".geojson")) and os.path.isfile(source)):
            return None
        with parsing(source, "a STAC Item"):
            found = json.loads(Path(source).read_text(encoding="utf-8"))
        return items_in(found, os.path.abspath(source))
    with parsing(source, "a STAC Item"):
        found = json.loads(fetched(source))
    items = items_in(found, source)
    if items is None:
        raise UnreadableInput(f"{source} is not a STAC Item: it has no assets")
    return items


def is_address_of_item(source: str) -> bool:
    """Return whether a name is the address of an item, on a web server or in an API."""
    if not source.startswith(("http://", "https://")):
        return False
    path = urlsplit(source).path.lower()
    return path.endswith((".json", ".geojson")) or re.search(r"/items/[^/.]+/?$", path) is not None


def items_in(found: Any, base: str) -> tuple[list[dict[str, Any]], str] | None:
    """Return the items in JSON, and the address that their relative links start at; None where it holds none."""
    if not isinstance(found, Mapping):
        return None
    items = found.get("features") if found.get("type") == "FeatureCollection" else [found]
    known = [dict(each) for each in items or () if isinstance(each, Mapping)]
    return (known, base) if known and all(isinstance(each.get("assets"), Mapping) for each in known) else None


def self_address(item: Mapping[str, Any]) -> str:
    """Return where an item says that it lies; empty where it does not."""
    found = [str(link.get("href", "")) for link in item.get("links") or () if link.get("rel") == "self"]
    return found[0] if found else ""


def item_product(item: Mapping[str, Any], base: str, name: str) -> Product:
    """Return the product that an item describes.

    Args:
        item: as JSON.
        base: path or address that relative links start at.
        name: what messages call it.

    Raises:
        UnreadableInput: it has no asset with bands.
    """
    with parsing(name, "a STAC Item"):
        properties: Mapping[str, Any] = item.get("properties") or {}
        assets = dict(item["assets"])
        bands = tuple(_bands_of(assets, properties, base))
        when = properties.get("datetime") or properties.get("start_datetime")
        mask = _mask_of(assets, base)
    if not bands:
        raise UnreadableInput(f"{name} has no asset with bands; its assets are {', '.join(assets) or 'none'}")
    return Product(name=name, bands=bands, date=None if when is None else str(when)[:19], mask=mask)


def _bands_of(assets: Mapping[str, Mapping[str, Any]], properties: Mapping[str, Any], base: str) -> Iterator[BandFile]:
    """Yield bands of assets that hold one band each; where there are none, of the first that holds several."""
    images = [(key, asset, _described(asset)) for key, asset in assets.items() if _is_image(key, asset)]
    single = [each for each in images if len(each[2]) == 1]
    several = [each for each in images if len(each[2]) > 1 and "overview" not in (each[1].get("roles") or ())]
    known: set[str] = set()
    for key, asset, described in single or several[:1]:
        for number, band in enumerate(described, start=1):
            names = _names(key, band, several=len(described) > 1)
            if names[0] not in known:  # of an image in two formats the first counts
                known.add(names[0])
                yield _band(names, asset, band, number, (properties, base))


def _is_image(key: str, asset: Mapping[str, Any]) -> bool:
    roles = set(asset.get("roles") or ())
    kind = f"{asset.get('type', '')} {urlsplit(str(asset.get('href', ''))).path.rpartition('.')[2]}"
    return rule_of_band(key) is None and not roles & {"thumbnail", "metadata"} and RASTER.search(kind) is not None


def _described(asset: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what an asset says of each of its bands: in STAC 1.0 by the extensions eo and raster, in 1.1 in one list.

    Empty where no band has a name.
    """
    shared = {key: asset[key] for key in ("raster:scale", "raster:offset", "nodata") if key in asset}
    lists = [asset.get(key) or () for key in ("eo:bands", "raster:bands", "bands")]
    bands = [{**shared, **one, **two, **three} for one, two, three in zip_longest(*lists, fillvalue={})]
    return bands if any(band.get("name") or _common_of(band) for band in bands) else []


def _common_of(band: Mapping[str, Any]) -> str | None:
    return band.get("common_name") or band.get("eo:common_name")


def _names(key: str, band: Mapping[str, Any], *, several: bool) -> Names:
    found = (band.get("name"), _common_of(band), None if several else key)
    return tuple(dict.fromkeys(str(each) for each in found if each))


def _band(
    names: Names, asset: Mapping[str, Any], band: Mapping[str, Any], number: int, about: tuple[Mapping[str, Any], str]
) -> BandFile:
    properties, base = about
    scaling = _scaling_of(band, properties)
    nodata = band.get("nodata")
    return BandFile(
        names=names,
        path=resolve(str(asset["href"]), base),
        number=number,
        scaling=scaling,
        nodata=NO_DATA if nodata is None and BASELINE in properties else None if nodata is None else float(nodata),
        place=_place_of({**properties, **asset}),
        usual=_common_of(band) not in UNUSUAL,
    )


def _scaling_of(band: Mapping[str, Any], properties: Mapping[str, Any]) -> tuple[float, float] | None:
    """Return (scale, offset) of a band; None where nothing is said, and it is not of Sentinel-2."""
    scale, offset = (band.get(key, band.get(f"raster:{key}")) for key in ("scale", "offset"))
    if scale is None and offset is None and BASELINE in properties:
        late = float(properties[BASELINE]) >= OFFSET_SINCE
        scale, offset = SENTINEL2_SCALE, SENTINEL2_OFFSET if late else 0.0
    if scale is None and offset is None:
        return None
    return float(1.0 if scale is None else scale), 0.0 if properties.get(APPLIED) else float(offset or 0.0)


def _place_of(about: Mapping[str, Any]) -> Grid | None:
    """Return where the pixels of an asset lie, by the extension proj; None where it does not say."""
    code, transform, shape = (
        about.get("proj:code") or about.get("proj:epsg"),
        *map(about.get, ("proj:transform", "proj:shape")),
    )
    if code is None or not transform or not shape:
        return None
    return Grid(CRS.from_user_input(code), Affine(*transform[:6]), (int(shape[0]), int(shape[1])))


def _mask_of(assets: Mapping[str, Mapping[str, Any]], base: str) -> ProductMask | None:
    """Return the first asset that is a mask whose numbers are known."""
    for key, asset in assets.items():
        if (rule := rule_of_band(key)) is not None:
            return ProductMask(path=resolve(str(asset["href"]), base), rule=rule)
    return None


def resolve(href: str, base: str) -> str:
    """Return a link of an item as GDAL takes it: relative ones start at the item's own place."""
    if href.startswith("file://"):
        address = urlsplit(href)
        server = "" if address.netloc in ("", "localhost") else f"//{address.netloc}"  # of a share
        return url2pathname(f"{server}{address.path}")
    if is_elsewhere(href) or os.path.isabs(href):
        return href
    return urljoin(base, href) if "://" in base else os.path.normpath(os.path.join(os.path.dirname(base), href))
