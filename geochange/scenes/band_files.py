"""Bands in files of their own whose names end in the band's: `..._B04.tif`, `..._B04_10m.jp2` or `..._red.tif`."""

from __future__ import annotations

import re

from geochange.scenes.band_names import COMMON_NAMES
from geochange.scenes.containers import RASTERS, Container
from geochange.scenes.dates import date_in_name
from geochange.scenes.product import BandFile, Product
from geochange.scenes.sentinel2 import ATMOSPHERE, COMMON

_BAND = re.compile(
    rf"^(?P<scene>.*?)_?(?P<band>{'|'.join([*COMMON, *COMMON_NAMES])})(?:_\d\dm)?\.[a-z0-9]+$", re.IGNORECASE
)
LEAST = 2
"""Bands of one image; a single file may be called so by chance."""


def band_file_products(container: Container) -> list[Product]:
    """Return the images in a folder whose files hold a band each, by the part of the names before it.

    Files with the names of Sentinel-2's bands are taken for its bands.
    """
    images: dict[str, dict[str, str]] = {}
    for member in container.members:
        match = _BAND.match(member) if RASTERS.search(member) and "/" not in member else None
        if match is not None:
            images.setdefault(match["scene"], {})[_own_name(match["band"])] = member
    several = len(images) > 1
    return [
        _product(container, scene, found, several=several) for scene, found in images.items() if len(found) >= LEAST
    ]


def _own_name(band: str) -> str:
    return band.upper() if band.upper() in COMMON else band.lower()


def _product(container: Container, scene: str, found: dict[str, str], *, several: bool) -> Product:
    order = [*COMMON, *COMMON_NAMES]
    bands = tuple(
        BandFile(
            names=(band, COMMON[band]) if band in COMMON else (band,),
            path=container.path_of(found[band]),
            usual=band not in ATMOSPHERE,
        )
        for band in sorted(found, key=order.index)
    )
    name = f"{container.name}/{scene}" if several else container.name
    return Product(name=name, bands=bands, date=date_in_name(f"{scene}.tif"))
