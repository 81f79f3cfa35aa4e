"""Outputs are read back before they appear: libraries do not report every write that failed."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from geochange.names import plainly_named


def require_readable(path: Path) -> None:
    """Read a file back that has just been written, and put it on the disk.

    Raises:
        OSError: it is missing, cut short, or cannot be read.
    """
    check = CHECKS.get(path.suffix.lower())
    try:
        if check is not None:
            check(path)
    except Exception as error:  # each library has errors of its own
        raise OSError(errno.EIO, f"could not be read back after it was written ({error})", path.name) from error
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _read_raster(path: Path) -> None:
    import rasterio
    from rasterio.enums import MaskFlags

    with rasterio.open(path) as dataset:
        masked = any(MaskFlags.per_dataset in flags for flags in dataset.mask_flag_enums)
        for _, window in dataset.block_windows(1):
            dataset.read(window=window)
            if masked:
                dataset.read_masks(1, window=window)


def _read_layers(path: Path) -> None:
    from pyogrio import list_layers
    from pyogrio.raw import open_arrow

    with plainly_named(str(path)) as plain:
        for name, _ in list_layers(plain):
            with open_arrow(plain, layer=name, use_pyarrow=True) as (_, reader):
                for _ in reader:
                    pass


def _read_parquet(path: Path) -> None:
    import pyarrow.parquet

    pyarrow.parquet.read_metadata(path)  # the last of the file


def _read_picture(path: Path) -> None:
    from PIL import Image

    with Image.open(path) as picture:
        picture.load()


CHECKS: Mapping[str, Callable[[Path], None]] = {
    **dict.fromkeys((".tif", ".tiff"), _read_raster),
    **dict.fromkeys((".gpkg", ".fgb"), _read_layers),
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".webp"), _read_picture),
    ".parquet": _read_parquet,
}
"""By suffix; of other formats the libraries report what fails."""
