"""Parts of images that cannot be read: noted as files in a folder, by any worker, once each."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from geochange.files import write_whole
from geochange.scenes.grid import Tile


def note_unread(folder: Path, path: str, part: Tile) -> None:
    """Note that a part of an image cannot be read."""
    place = {"rows": [part.row, part.stop_row], "columns": [part.col, part.stop_col]}
    content = json.dumps({"image": path, **place}).encode()
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / f"{hashlib.sha256(content).hexdigest()[:16]}.json", content)


def noted_unread(folder: Path) -> list[dict[str, Any]]:
    """Return what was noted: `image`, and the `rows` and `columns`, from the first to behind the last."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.json")]
    return sorted(found, key=lambda each: (each["image"], each["rows"], each["columns"]))


def stored_parts(tile: Tile, storage: tuple[int, int], extent: tuple[int, int]) -> Iterator[Tile]:
    """Yield the blocks, as the file stores them, that a tile of an image touches."""
    height, width = storage
    for row in range(tile.row // height * height, tile.stop_row, height):
        for col in range(tile.col // width * width, tile.stop_col, width):
            yield Tile(row, col, min(height, extent[0] - row), min(width, extent[1] - col))
