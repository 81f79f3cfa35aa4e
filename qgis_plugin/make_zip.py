"""Write the plugin as the zip file that QGIS installs: `make qgis-plugin`.

    python qgis_plugin/make_zip.py -o dist/geochange_qgis.zip

It holds the commands and options of this version of geochange, as `geochange --describe` prints them. The bytes are the
same each time: names are sorted, and times are fixed.
"""

from __future__ import annotations

import argparse
import os
import zipfile
from importlib.metadata import version
from pathlib import Path

from geochange.cli.description import description_text

SOURCE = Path(__file__).parent / "geochange_qgis"
LEFT_OUT = ("__pycache__", "commands.json")
TIME = (2000, 1, 1, 0, 0, 0)


def plugin_files() -> dict[str, bytes]:
    """Return the content of each file of the plugin by its name in the zip file."""
    paths = [path for path in SOURCE.rglob("*") if path.is_file() and not is_left_out(path)]
    files = {path.relative_to(SOURCE.parent).as_posix(): path.read_bytes() for path in paths}
    metadata = f"{SOURCE.name}/metadata.txt"
    files[metadata] = files[metadata].replace(b"version=VERSION", f"version={version('geochange')}".encode())
    files[f"{SOURCE.name}/commands.json"] = description_text().encode()
    return dict(sorted(files.items()))


def is_left_out(path: Path) -> bool:
    """Whether a file is of a cache, hidden, or made here."""
    parts = path.relative_to(SOURCE).parts
    return any(part in LEFT_OUT or part.startswith(".") for part in parts)


def write_zip(path: Path) -> None:
    """Write the zip file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f"{path.name}.new")
    with zipfile.ZipFile(new, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, content in plugin_files().items():
            entry = zipfile.ZipInfo(name, TIME)
            entry.external_attr = 0o100644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)
    os.replace(new, path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=Path("dist/geochange_qgis.zip"))
    write_zip(parser.parse_args().output)
