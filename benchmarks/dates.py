"""Whether Sentinel-2 dates whose bands lie in files of 10 and 20 m give the same bytes as one file a date.

    python benchmarks/dates.py OUT

For each place of OSCD, the bands that `detect` takes by itself are also stacked into one file a date by GDAL, with the
nearest pixel on the grid of B02; `same` says whether both pairs give the same probabilities and polygons, to the byte.
Prints JSON lines.
"""

from __future__ import annotations

import json
from pathlib import Path

import rasterio
from imagery import parser_with_data
from rasterio.vrt import WarpedVRT

import geochange
from geochange.scenes.sentinel2 import ATMOSPHERE, COMMON

USUAL = tuple(name for name in COMMON if name not in ATMOSPHERE)
FILES = "probability.tif", "changes.geojson"


def stacked(folder: Path, path: Path) -> Path:
    """The bands that are taken by themselves as one file, on the grid of B02."""
    files = [next(folder.glob(f"*_{name}.tif")) for name in USUAL]
    with rasterio.open(files[0]) as first:
        grid = {name: getattr(first, name) for name in ("crs", "transform", "width", "height")}
        with rasterio.open(path, "w", driver="GTiff", count=len(files), dtype="uint16", **grid) as out:
            for band, file in enumerate(files, 1):
                with rasterio.open(file) as source, WarpedVRT(source, **grid) as fine:
                    out.write(fine.read(1), band)
    return path


def is_same(place: Path, out: Path) -> bool:
    dates = place / "imgs_1", place / "imgs_2"
    many = geochange.detect(*dates, out / "many", overwrite=True)
    one = geochange.detect(
        *(stacked(date, out / f"{date.name}.tif") for date in dates),
        out / "one",
        overwrite=True,
        date_before=many.changes().date_before.iloc[0],
        date_after=many.changes().date_after.iloc[0],
    )
    return all(many.file(name).read_bytes() == one.file(name).read_bytes() for name in FILES)


def main() -> None:
    parser = parser_with_data(__doc__)
    parser.add_argument("out", type=Path, metavar="OUT")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    places = sorted(path for path in (given.data / "sentinel2_oscd").iterdir() if path.is_dir())
    for place in places:
        print(json.dumps({"place": place.name, "same": is_same(place, given.out)}), flush=True)


if __name__ == "__main__":
    main()
