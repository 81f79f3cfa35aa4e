"""Results as STAC: an Item beside what a run leaves, and a Collection of the Items of many."""

from __future__ import annotations

import calendar
import json
import os
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from geochange.errors import BadOption
from geochange.extras import require_packages
from geochange.files import write_whole
from geochange.names import is_elsewhere, relative_name
from geochange.parsing import parsing
from geochange.redaction import redact
from geochange.scenes.dates import date_in_name
from geochange.scenes.pairing import Scene
from geochange.scenes.stac_items import is_address_of_item

if TYPE_CHECKING:
    import pystac

ITEM, COLLECTION = "item.json", "collection.json"
MEDIA = {
    ".gpkg": "application/geopackage+sqlite3",
    ".geojson": "application/geo+json",
    ".fgb": "application/vnd.flatgeobuf",
    ".parquet": "application/vnd.apache.parquet",
    ".png": "image/png",
    ".tif": "image/tiff; application=geotiff; profile=cloud-optimized",
    ".json": "application/json",
}
PROCESSING = "https://stac-extensions.github.io/processing/v1.2.0/schema.json"
Interval = tuple[datetime, datetime]


def require_stac(scene: Scene, given: tuple[str | None, str | None]) -> Interval:
    """Return the time from the first to the last date of a scene, which an Item must tell.

    Args:
        scene: of the run.
        given: dates before and after as options have them; None: those of the images, or of their names.

    Raises:
        BadOption: packages are missing, the scene has no CRS, or a date is not known.
    """
    require_packages("--stac", "stac", "pystac", "rio_stac")
    if scene.grid.crs is None:
        raise BadOption("--stac needs images with a CRS: an Item says where on the earth its results lie")
    ends = scene.sources[0], scene.sources[-1]
    dates = [own or each.date or date_in_name(each.name) for own, each in zip(given, ends, strict=True)]
    for date, source, option in zip(dates, ends, ("--date-before", "--date-after"), strict=True):
        if date is None:
            raise BadOption(f"--stac needs the date of {source.name}; give it with {option}, as in 2021-07-05")
    start, stop = (_moment(str(date), last=last) for date, last in zip(dates, (False, True), strict=True))
    if start > stop:
        raise BadOption(f"--stac needs dates in their order; {dates[0]} lies after {dates[1]}")
    return start, stop


def _moment(date: str, *, last: bool) -> datetime:
    """Return the first, or the last, second of a year, a month or a day; a time as it is."""
    try:
        if len(date) > 10:
            return datetime.fromisoformat(date[:19]).replace(tzinfo=UTC)
        year, month, day = (*map(int, date.split("-")), *[None] * 2)[:3]
        month = month or (12 if last else 1)
        day = day or (calendar.monthrange(year or 1, month)[1] if last else 1)
        return datetime(year or 1, month, day, *((23, 59, 59) if last else (0, 0, 0)), tzinfo=UTC)
    except ValueError as error:
        raise BadOption(f"--stac needs dates as in 2021-07-05 or 2021-07-05T10:30:31, not {date!r}") from error


def write_item(folder: Path, place: str, record: dict[str, Any], time: Interval) -> str:
    """Write the Item of a run into the folder of its files; return the Item's own name.

    Args:
        folder: holds the files that the record lists.
        place: where they will lie, whose last part becomes the Item's id.
        record: of the run.
        time: of the first and the last image.
    """
    import pystac
    from rio_stac import create_stac_item

    files = record["files"]
    item = create_stac_item(
        str(folder / files["probability"]),
        id=PurePath(place).name,
        input_datetime=time[1],
        asset_name="probability",
        asset_href=f"./{files['probability']}",
        asset_media_type=MEDIA[".tif"],
        asset_roles=["data"],
        with_proj=True,
        with_raster=True,
    )
    item.datetime = None
    item.properties |= {
        "datetime": None,
        "start_datetime": pystac.utils.datetime_to_str(time[0]),
        "end_datetime": pystac.utils.datetime_to_str(time[1]),
        "processing:software": {"geochange": version("geochange")},
        "geochange:detector": record["detector"]["name"],
        "geochange:changes": record["changes"]["count"],
    }
    item.stac_extensions.append(PROCESSING)
    for key, file, role in _assets(files):
        asset = pystac.Asset(f"./{file}", media_type=MEDIA[PurePath(file).suffix], roles=[role])
        item.add_asset(key, asset)
    item.links = [*_origins(record["inputs"], place)]
    content = json.dumps(item.to_dict(include_self_link=False, transform_hrefs=False), indent=2)
    write_whole(folder / ITEM, content.encode())
    return ITEM


def _assets(files: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield (key, file, role) of the files of a run but for the probabilities."""
    for file in files["changes"]:
        yield PurePath(file).name, file, "data"
    for file in files["layers"]:
        yield PurePath(file).stem, file, "data"
    yield "preview", files["preview"], "overview"
    yield "record", "run.json", "metadata"


def _origins(inputs: Iterable[str], place: str) -> Iterator[pystac.Link]:
    """Yield links to the Items that the images come from; those on a disk relative to results on a disk."""
    import pystac

    for name in inputs:
        if is_address_of_item(name):
            yield pystac.Link(pystac.RelType.DERIVED_FROM, redact(name))
        elif name.lower().endswith((".json", ".geojson")) and not is_elsewhere(place):
            yield pystac.Link(pystac.RelType.DERIVED_FROM, _link_to(name, place))


def _link_to(path: str, folder: str) -> str:
    """Return the link to a file on a disk, in a file that lies in a folder."""
    found = relative_name(path, folder)
    return Path(found).as_uri() if os.path.isabs(found) else found


def write_collection(folder: Path, results: dict[str, str]) -> str | None:
    """Write the Collection of many runs' Items; return its own name, None where no run has left an Item.

    Args:
        folder: for the Collection.
        results: name of each run -> folder of its results, on a disk.
    """
    import pystac

    items = {name: Path(place) / ITEM for name, place in results.items() if (Path(place) / ITEM).is_file()}
    if not items:
        return None
    opened = []
    for path in items.values():
        with parsing(path, "a STAC Item"):
            opened.append(pystac.Item.from_dict(json.loads(path.read_text(encoding="utf-8"))))
    collection = pystac.Collection(
        id=folder.name,
        description="Changes that geochange found between pairs of images.",
        extent=pystac.Extent.from_items(opened),
        license="other",
    )
    for name, path in items.items():
        place = _link_to(str(path), str(folder))
        href = place if place.startswith(("..", "file:")) else f"./{place}"
        collection.add_link(pystac.Link(pystac.RelType.ITEM, href, media_type="application/geo+json", title=name))
    content = json.dumps(collection.to_dict(include_self_link=False, transform_hrefs=False), indent=2)
    write_whole(folder / COLLECTION, content.encode())
    return COLLECTION
