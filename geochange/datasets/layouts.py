"""Published data sets of change, as they unpack: which images belong together, and what their labels stand for."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeAlias

import shapely

from geochange.arrays import IGNORE
from geochange.datasets.foreign import (
    NOT_LABELLED,
    SPLIT_FOLDERS,
    Coded,
    Colour,
    Coloured,
    ForeignData,
    ForeignPair,
    LabelledObjects,
    Mask,
    Outline,
    Within,
    beside,
    folders_in,
    image_pairs,
    images_in,
)
from geochange.errors import BadOption, UnreadableInput
from geochange.parsing import parsing

LabelDate: TypeAlias = Literal["change", "before", "after"]
"""What labels of land cover at both dates become: change alone, or the class that was there before, or after."""

MASK_SUFFIXES = (".png", ".tif", ".tiff", ".jpg", ".bmp")
DAMAGE = ("minor-damage", "major-damage", "destroyed")  # of xBD, Gupta et al. 2019
SECOND_CLASSES: Mapping[str, Colour] = {
    "ground": (128, 128, 128),
    "tree": (0, 255, 0),
    "low vegetation": (0, 128, 0),
    "water": (0, 0, 255),
    "building": (128, 0, 0),
    "playground": (255, 0, 0),
}  # of Yang et al. 2021; what has not changed is white
HRSCD_CLASSES = ("artificial", "agricultural", "forest", "wetland", "water")  # of Daudt et al. 2019, from 1
HRSCD_PLACE = re.compile(r"^(\d\d)-\d{4}-(\d{4}-\d{4})")  # department, year, easting and northing
OSCD_BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")


def _of_masks(*folders: str) -> Callable[[Path, LabelDate], ForeignData]:
    """Return how to read a data set whose masks are 0, and 1 or 255, in a folder of one of these names."""

    def read(folder: Path, date: LabelDate) -> ForeignData:
        _require_change(date)
        pairs = []
        for pair in image_pairs(folder):
            path = beside(pair, folders, MASK_SUFFIXES)
            if path is None:
                raise UnreadableInput(f"{pair.after} has no labels of its name in {', '.join(folders)} beside it")
            pairs.append(ForeignPair(pair.relative, ((pair.before,), (pair.after,)), Mask(path), pair.split))
        return ForeignData(("change",), tuple(pairs))

    return read


def _require_change(date: LabelDate) -> None:
    if date != "change":
        raise BadOption(f"only second and hrscd tell what was there {date}; leave out --of")


def read_whu_cd(folder: Path, date: LabelDate) -> ForeignData:
    """Read WHU-CD (Ji et al. 2019): whole images of 2012 and 2016, as it was published, or tiles in A, B and label."""
    if not (folder / "2012").is_dir():
        return _of_masks("label", "OUT")(folder, date)
    _require_change(date)
    pairs = []
    for split in ("train", "test"):
        dates = [_only(folder / year / "whole_image" / split / "image") for year in ("2012", "2016")]
        labels = _only(folder / "change_label" / split)
        pairs.append(ForeignPair(split, ((dates[0],), (dates[1],)), Mask(labels), split))
    return ForeignData(("change",), tuple(pairs))


def _only(folder: Path) -> Path:
    found = [*images_in(folder).values()] if folder.is_dir() else []
    if len(found) != 1:
        raise UnreadableInput(f"{folder} must hold one image, and holds {len(found)}")
    return found[0]


def read_oscd(folder: Path, date: LabelDate) -> ForeignData:
    """Read OSCD (Daudt et al. 2018): a file a band, on the grid of the 10 m bands; 1 in labels is no change, 2 change.

    Cities with labels are used; train.txt and test.txt give the split, where they are there.
    """
    _require_change(date)
    splits = {
        name.strip(): split
        for split in ("train", "test")
        for path in folder.rglob(f"{split}.txt")
        for name in path.read_text(encoding="utf-8").replace("\n", ",").split(",")
        if name.strip()
    }
    pairs, unlabelled = [], 0
    labels = {path.name.removesuffix("-cm.tif"): path for path in sorted(folder.rglob("*-cm.tif"))}
    for first in sorted({*folder.rglob("imgs_1_rect"), *folder.rglob("imgs_1")}):
        if first.name == "imgs_1" and first.with_name("imgs_1_rect").is_dir():
            continue
        city = first.parent.name
        if city not in labels:
            unlabelled += 1
            continue
        dates = tuple(_bands_of(first.with_name(first.name.replace("imgs_1", name))) for name in ("imgs_1", "imgs_2"))
        pairs.append(ForeignPair(city, (dates[0], dates[1]), Coded(labels[city], {1: 0, 2: 1}), splits.get(city)))
    notes = (f"{unlabelled} cities without labels are left out",) if unlabelled else ()
    return _some(folder, ("change",), pairs, notes)


def _bands_of(folder: Path) -> tuple[Path, ...]:
    files = [*images_in(folder).values()] if folder.is_dir() else []
    found = [next((each for each in files if each.stem.endswith(band)), None) for band in OSCD_BANDS]
    bands = tuple(each for each in found if each is not None)
    if len(bands) < len(OSCD_BANDS):
        raise UnreadableInput(f"{folder} holds {len(bands)} of the bands {', '.join(OSCD_BANDS)}")
    return bands


def read_xbd(folder: Path, date: LabelDate) -> ForeignData:
    """Read xBD (Gupta et al. 2019): buildings with minor or major damage, or destroyed; others have not changed."""
    _require_change(date)
    pairs, unsure = [], 0
    for place in [folder, *(each for each in folders_in(folder, ("train", "tier1", "tier3", "hold", "test")))]:
        split = SPLIT_FOLDERS.get(place.name, "train" if place.name.startswith("tier") else None)
        for path in sorted((place / "labels").glob("*_post_disaster.json")):
            name = path.stem.removesuffix("_post_disaster")
            dates = [_image_of(place / "images", f"{name}_{when}_disaster") for when in ("pre", "post")]
            with parsing(path, "labels of xBD"):
                features = json.loads(path.read_text(encoding="utf-8"))["features"]["xy"]
                kinds = [(each["properties"].get("subtype", "un-classified"), each["wkt"]) for each in features]
            unsure += sum(kind == "un-classified" for kind, _ in kinds)
            names = {**{kind: kind for kind in DAMAGE}, "un-classified": NOT_LABELLED}
            objects = tuple(Outline(shapely.from_wkt(wkt), names[kind]) for kind, wkt in kinds if kind in names)
            pairs.append(ForeignPair(name, ((dates[0],), (dates[1],)), LabelledObjects(objects), split))
    notes = (f"{unsure} buildings whose damage is not classified are not labelled",) if unsure else ()
    return _some(folder, DAMAGE, pairs, notes)


def _image_of(folder: Path, stem: str) -> Path:
    found = images_in(folder).get(stem)
    if found is None:
        raise UnreadableInput(f"{folder} has no image {stem}")
    return found


def read_second(folder: Path, date: LabelDate) -> ForeignData:
    """Read SECOND (Yang et al. 2021): colours of land cover at each date, where it has changed."""
    classes = tuple(SECOND_CLASSES) if date != "change" else ("change",)
    numbers = {colour: k if date != "change" else 1 for k, colour in enumerate(SECOND_CLASSES.values(), start=1)}
    folders = {"change": ("label1", "label2"), "before": ("label1",), "after": ("label2",)}[date]
    pairs = []
    for pair in image_pairs(folder):
        paths = [beside(pair, (name, f"{name}_rgb"), (".png",)) for name in folders]
        found = tuple(path for path in paths if path is not None)
        if len(found) < len(folders):
            raise UnreadableInput(f"{pair.after} has no labels of its name in {' and '.join(folders)} beside it")
        labels = Coloured(found, {(255, 255, 255): 0, **numbers})
        pairs.append(ForeignPair(pair.relative, ((pair.before,), (pair.after,)), labels, pair.split))
    return ForeignData(classes, tuple(pairs))


def read_hrscd(folder: Path, date: LabelDate) -> ForeignData:
    """Read HRSCD (Daudt et al. 2019): change, or the land cover of 2006 or 2012 where it has changed."""
    names = ["images_2006", "images_2012", "labels_change"]
    if date != "change":
        names.append(f"labels_land_cover_{'2006' if date == 'before' else '2012'}")
    found = [_by_place(folder / name) for name in names]
    if not found[0] or any({*each} != {*found[0]} for each in found):
        counts = ", ".join(f"{name} ({len(each)})" for name, each in zip(names, found, strict=True))
        raise UnreadableInput(f"{folder} must hold files of the same places in each of {counts}")
    cover = {0: IGNORE, **{k: k for k in range(1, len(HRSCD_CLASSES) + 1)}}
    pairs = []
    for place in sorted(found[0]):
        before, after, change, *rest = (each[place] for each in found)
        labels = Coded(change, {0: 0, 1: 1})
        chosen = Within(labels, Coded(rest[0], cover)) if rest else labels
        pairs.append(ForeignPair("-".join(place), ((before,), (after,)), chosen))
    return ForeignData(("change",) if date == "change" else HRSCD_CLASSES, tuple(pairs))


def _by_place(folder: Path) -> dict[tuple[str, ...], Path]:
    files = images_in(folder).values() if folder.is_dir() else ()
    return {match.groups(): path for path in files if (match := HRSCD_PLACE.match(path.name))}


def _some(folder: Path, classes: Sequence[str], pairs: Sequence[ForeignPair], notes: Sequence[str]) -> ForeignData:
    if not pairs:
        raise UnreadableInput(f"{folder} holds no labelled pair in this layout")
    return ForeignData(tuple(classes), tuple(pairs), tuple(notes))


LAYOUTS: Mapping[str, Callable[[Path, LabelDate], ForeignData]] = {
    "levir-cd": _of_masks("label"),
    "whu-cd": read_whu_cd,
    "s2looking": _of_masks("label"),
    "oscd": read_oscd,
    "xbd": read_xbd,
    "dsifn": _of_masks("mask", "label"),
    "sysu-cd": _of_masks("label"),
    "second": read_second,
    "hrscd": read_hrscd,
}
"""Published data sets: folder, and which date labels of land cover are taken from -> what is there."""
