"""Fitted detectors as files: one JSON of numbers and one .npy for each array, never a pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from geochange.arrays import Array
from geochange.errors import UnreadableInput

NUMBERS = "fitted.json"
MOST_BYTES = 1 << 20  # of what goes into a record: networks do not


def write_fitted(folder: Path, name: str, numbers: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
    """Write a fitted detector into an existing folder."""
    for key, array in arrays.items():
        np.save(folder / f"{key}.npy", array, allow_pickle=False)
    (folder / NUMBERS).write_text(json.dumps({"detector": name, **numbers}, indent=1), encoding="utf-8")


def fitted_name(folder: Path) -> str:
    """Read the name of the detector whose statistics lie in a folder.

    Raises:
        UnreadableInput: there are none, or they are damaged.
    """
    return str(_numbers(folder)["detector"])


def read_fitted(folder: Path, name: str, keys: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, Array]]:
    """Read what `write_fitted` wrote: the numbers without the name, and the arrays called for.

    Raises:
        UnreadableInput: a file is missing or damaged, or belongs to another detector.
    """
    numbers = _numbers(folder)
    if (found := numbers.pop("detector")) != name:
        raise UnreadableInput(f"{folder} holds statistics of {found}, not of {name}; fit {name} first")
    try:
        return numbers, {key: _array(folder / f"{key}.npy") for key in keys}
    except (OSError, ValueError) as error:
        raise UnreadableInput(f"{folder} does not hold the arrays of {name}: {error}; fit it again") from error


def pack_fitted(folder: Path) -> dict[str, Any] | None:
    """Return what `write_fitted` wrote as plain values; None where it is not that alone, or too much for a record."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    arrays = [path for path in paths if path.suffix == ".npy"]
    if {*paths} != {*arrays, folder / NUMBERS} or sum(path.stat().st_size for path in paths) > MOST_BYTES:
        return None
    packed = {path.stem: _array(path) for path in sorted(arrays)}
    return {
        "numbers": _numbers(folder),
        "arrays": {name: {"dtype": each.dtype.str, "values": each.tolist()} for name, each in packed.items()},
    }


def unpack_fitted(saved: Mapping[str, Any], folder: Path) -> None:
    """Write what `pack_fitted` returned into an existing folder.

    Raises:
        ValueError: it is not that.
    """
    for name, array in saved["arrays"].items():
        dtype = np.dtype(array["dtype"])
        if not name.isidentifier() or dtype.kind not in "biuf":
            raise ValueError(f"array {name!r} is not one of a detector")
        np.save(folder / f"{name}.npy", np.array(array["values"], dtype), allow_pickle=False)
    (folder / NUMBERS).write_text(json.dumps(saved["numbers"]), encoding="utf-8")


def _array(path: Path) -> Array:
    with path.open("rb") as file:
        array: Array = np.load(file, allow_pickle=False)
        return array


def _numbers(folder: Path) -> dict[str, Any]:
    try:
        numbers = json.loads((folder / NUMBERS).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UnreadableInput(f"{folder} does not hold a fitted detector: {error}; fit it again") from error
    if not isinstance(numbers, dict) or "detector" not in numbers:
        raise UnreadableInput(f"{folder / NUMBERS} does not name its detector; fit it again")
    return numbers
