"""Which images belong together: folders A, B and label, with or without lists, and CSV tables of scenes."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn, TypeAlias

from geochange.errors import BadOption, GeochangeError, UnreadableInput
from geochange.files import visible_in
from geochange.names import file_of, is_elsewhere
from geochange.parsing import parsing
from geochange.scenes.pairing import Opening

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
SPLITS = ("train", "val", "test")
LABEL, LISTS = "label", "list"
TABLE_COLUMNS = ("before", "after", "labels")
DATE_COLUMN = re.compile(r"date_(\d+)")
"""Columns of a table of series, in the order of their numbers, in place of before and after."""

LeaveOut: TypeAlias = Callable[[str, GeochangeError], None]
"""Called with the name of a pair that cannot be used, and why; the pair is left out, unless this raises."""


@dataclass(frozen=True, slots=True)
class LabelledPair:
    """Images of one place at two dates or more, and the labels of what changed."""

    name: str
    dates: tuple[str, ...]
    labels: str | None
    """None where there are none."""
    split: str | None = None
    opening: Opening | None = None
    """How the dates are opened, and labels lie on that scene's grid; None: as the options say, on the first date's."""


def refuse(name: str, error: GeochangeError) -> NoReturn:
    """Raise the error: nothing is left out."""
    raise error


def is_table(path: Path) -> bool:
    """Return whether a path names a CSV of scenes."""
    return path.suffix.lower() == ".csv"


def find_datasets(path: Path) -> tuple[Path, ...]:
    """Return the data sets that a path holds: itself, or the folders and tables in it.

    Raises:
        UnreadableInput: there are none.
    """
    if is_table(path) or _has_pairs(path) or _split_folders(path):
        return (path,)
    inside = visible_in(path) if path.is_dir() else []
    found = tuple(
        each
        for each in inside
        if (_is_scene_table(each) if is_table(each) else _has_pairs(each) or _split_folders(each))
    )
    if not found:
        raise _not_a_dataset(path)
    return found


def list_pairs(path: Path, leave_out: LeaveOut = refuse, *, labelled: bool = True) -> tuple[LabelledPair, ...]:
    """List the labelled pairs of a folder or a CSV, in a fixed order.

    With `labelled=False` labels are neither asked for nor used, in folders and in tables.

    A folder holds A, B (and C ... for series) and label, with files of the same names, or folders train, val and test
    which do. Lists of names, list/train.txt and so on, give the split of each pair; pairs in none are not used. A CSV
    has the columns before, after and labels, or date_1, date_2, ... and labels for series, and may have split; its
    paths start at its own folder.

    Raises:
        UnreadableInput: folders, files or columns are missing.
        BadOption: a split has another name, or a pair is in two lists.
    """
    if is_table(path):
        return tuple(_pairs_in_table(path, leave_out, labelled))
    if _has_pairs(path, labelled):
        listed = _pairs_in_lists if _lists(path) else _pairs_in_folder
        return tuple(listed(path, leave_out, labelled))
    if splits := _split_folders(path, labelled):
        return tuple(
            replace(pair, name=f"{split}/{pair.name}", split=split)
            for split in splits
            for pair in _pairs_in_folder(path / split, leave_out, labelled)
        )
    raise _not_a_dataset(path, labelled)


def _not_a_dataset(path: Path, labelled: bool = True) -> UnreadableInput:
    if not path.exists():
        return UnreadableInput(f"{path} does not exist")
    if not labelled:
        return UnreadableInput(
            f"{path} must hold the folders A and B, with files of the same names; or be a CSV with the columns "
            f"{', '.join(TABLE_COLUMNS[:2])}"
        )
    return UnreadableInput(
        f"{path} must hold the folders A, B and label, with files of the same names, or folders train, val and test "
        f"with those; or be a CSV with the columns {', '.join(TABLE_COLUMNS)}"
    )


def _dates(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    return sorted(each.name for each in visible_in(folder) if len(each.name) == 1 and each.is_dir())


def _has_pairs(folder: Path, labelled: bool = True) -> bool:
    return len(_dates(folder)) > 1 and ((folder / LABEL).is_dir() or not labelled)


def _split_folders(folder: Path, labelled: bool = True) -> list[str]:
    return [split for split in SPLITS if _has_pairs(folder / split, labelled)]


def _lists(folder: Path) -> dict[str, Path]:
    return {split: path for split in SPLITS if (path := folder / LISTS / f"{split}.txt").is_file()}


def _pairs_in_folder(folder: Path, leave_out: LeaveOut, labelled: bool) -> Iterator[LabelledPair]:
    """List every pair, by name."""
    stems = _files(folder, leave_out, labelled)
    for name in sorted(set().union(*stems.values())):
        if pair := _pair(folder, name, stems, leave_out):
            yield pair


def _pairs_in_lists(folder: Path, leave_out: LeaveOut, labelled: bool) -> Iterator[LabelledPair]:
    """List the pairs that the lists name, in their order."""
    stems = _files(folder, leave_out, labelled)
    seen: dict[str, str] = {}
    for split, path in _lists(folder).items():
        for line in _text(path).splitlines():
            if not line.strip():
                continue
            name = _stem_in_list(line.strip())
            if seen.setdefault(name, split) != split:
                raise BadOption(f"{path} names {name}, which {LISTS}/{seen[name]}.txt does too; leave it in one")
            if pair := _pair(folder, name, stems, leave_out, named_in=path):
                yield replace(pair, split=split)


def _text(path: Path) -> str:
    """Read a list or a table.

    Raises:
        UnreadableInput: it is missing, or not text.
    """
    with parsing(path, "text"):
        text = path.read_text(encoding="utf-8-sig")
        if "\0" in text:
            raise UnreadableInput(f"{path} is not text: it holds a zero byte")
    return text


def _stem_in_list(line: str) -> str:
    """Return the stem of a line, which may have a suffix, and a folder before it."""
    name = Path(line)
    return name.stem if name.suffix.lower() in IMAGE_SUFFIXES else name.name


def _files(folder: Path, leave_out: LeaveOut, labelled: bool) -> dict[str, dict[str, str]]:
    """Return folder of a date, or label -> stem -> path."""
    names = (*_dates(folder), LABEL) if labelled else _dates(folder)
    return {name: _by_stem(folder / name, leave_out) for name in names}


def _by_stem(folder: Path, leave_out: LeaveOut) -> dict[str, str]:
    found: dict[str, str] = {}
    for each in visible_in(folder):
        if each.suffix.lower() not in IMAGE_SUFFIXES:
            continue
        if each.stem in found:
            leave_out(each.stem, UnreadableInput(f"{found[each.stem]} and {each} have one name; keep one of them"))
        found.setdefault(each.stem, str(each))
    return found


def _pair(
    folder: Path,
    name: str,
    stems: Mapping[str, Mapping[str, str]],
    leave_out: LeaveOut,
    named_in: Path | None = None,
) -> LabelledPair | None:
    """Return the pair of a name; None, after `leave_out`, where a file is missing."""
    missing = [part for part, files in stems.items() if name not in files]
    if not missing:
        dates = tuple(stems[part][name] for part in stems if part != LABEL)
        return LabelledPair(name, dates, stems[LABEL][name] if LABEL in stems else None)
    there = named_in or next(files[name] for files in stems.values() if name in files)
    leave_out(name, UnreadableInput(f"{folder / missing[0]} has no image {name}, which {there} asks for"))
    return None


def _is_scene_table(path: Path) -> bool:
    try:
        header = next(csv.reader(io.StringIO(_text(path), newline=""), strict=True), [])
        return {*_date_columns(header), TABLE_COLUMNS[-1]} <= {*header}
    except (UnreadableInput, csv.Error):  # one that is named by itself is refused
        return False


def _date_columns(header: Sequence[str]) -> tuple[str, ...]:
    """Return the columns of a table's dates: those of a series, where it has two of them, else before and after."""
    numbered = {int(match[1]): name for name in header if (match := DATE_COLUMN.fullmatch(name))}
    return tuple(numbered[number] for number in sorted(numbered)) if len(numbered) > 1 else TABLE_COLUMNS[:2]


def _pairs_in_table(path: Path, leave_out: LeaveOut, labelled: bool) -> Iterator[LabelledPair]:
    header, rows = _table(path)
    dates = _date_columns(header)
    columns = (*dates, *TABLE_COLUMNS[2:]) if labelled else dates
    _require_cells(path, header, rows, columns)
    for line, row in rows:
        name = f"{Path(row[columns[-1]]).stem} (line {line})"
        split = row.get("split") or None
        if split not in (None, *SPLITS):
            raise BadOption(f"{path}, line {line}: split {split!r} is not one of {', '.join(SPLITS)}")
        files = [_located(path.parent, row[column]) for column in columns]
        missing = [each for each in files if not _exists(each)]
        if missing:
            leave_out(name, UnreadableInput(f"{missing[0]}, which {path} names in line {line}, does not exist"))
        else:
            yield LabelledPair(name, tuple(files[: len(dates)]), files[-1] if labelled else None, split)


Rows: TypeAlias = Sequence[tuple[int, dict[str, str]]]


def _table(path: Path) -> tuple[Sequence[str], Rows]:
    """Return the header of a CSV, and (line number, cells) of each row.

    Raises:
        UnreadableInput: it is missing, or no text.
    """
    text = _text(path)
    with parsing(path, "a CSV"):
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        header = reader.fieldnames or []
        rows = [(reader.line_num, {key: (cell or "").strip() for key, cell in row.items() if key}) for row in reader]
    return header, rows


def _require_cells(path: Path, header: Sequence[str], rows: Rows, needed: Sequence[str]) -> None:
    """Refuse, with UnreadableInput, a table that lacks columns or cells."""
    if lacking := [column for column in needed if column not in header]:
        raise UnreadableInput(f"{path} has no column {lacking[0]}; it has {', '.join(header) or 'none'}")
    for line, row in rows:
        if empty := [column for column in needed if not row[column]]:
            raise UnreadableInput(f"{path}, line {line}: {empty[0]} is empty")


def _located(folder: Path, name: str) -> str:
    return name if is_elsewhere(name) else str(folder / name)


def _exists(name: str) -> bool:
    return is_elsewhere(name) or Path(file_of(name)).exists()
