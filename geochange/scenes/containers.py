"""What holds the files of a date: a folder, a zip or a tar file."""

from __future__ import annotations

import os
import re
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from geochange.parsing import parsing

RASTERS = re.compile(r"\.(tiff?|jp2|vrt|img)$", re.IGNORECASE)
"""Names of files that are taken for images."""
PRODUCTS = re.compile(r"\.(SAFE|zip|tar)$", re.IGNORECASE)
"""Names of what is taken for a product among the tiles of a folder."""


class Container(Protocol):
    """Something that holds files."""

    @property
    def name(self) -> str:
        """Its own path."""

    @property
    def members(self) -> tuple[str, ...]:
        """Names of what lies in it, with `/` between folders, sorted."""

    def path_of(self, member: str) -> str:
        """Return a member's path as GDAL takes it."""

    def read(self, member: str) -> bytes:
        """Read a member; only small ones are asked for."""


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder; what lies in folders of it counts where it is a product's."""

    name: str
    members: tuple[str, ...]

    def path_of(self, member: str) -> str:
        """See `Container.path_of`."""
        return os.path.join(self.name, *member.split("/"))

    def read(self, member: str) -> bytes:
        """See `Container.read`."""
        return Path(self.path_of(member)).read_bytes()


@dataclass(frozen=True, slots=True)
class ZipFile:
    """A zip file."""

    name: str
    members: tuple[str, ...]

    def path_of(self, member: str) -> str:
        """See `Container.path_of`."""
        return f"/vsizip/{os.path.abspath(self.name)}/{member}"

    def read(self, member: str) -> bytes:
        """See `Container.read`."""
        with zipfile.ZipFile(self.name) as archive:
            return archive.read(member)


@dataclass(frozen=True, slots=True)
class TarFile:
    """A tar file."""

    name: str
    members: tuple[str, ...]

    def path_of(self, member: str) -> str:
        """See `Container.path_of`."""
        return f"/vsitar/{os.path.abspath(self.name)}/{member}"

    def read(self, member: str) -> bytes:
        """See `Container.read`."""
        with tarfile.open(self.name) as archive:
            found = archive.extractfile(member)
            return b"" if found is None else found.read()


def open_container(path: str) -> Container | None:
    """Return what holds files at a path; None where there is nothing, or one file.

    Raises:
        UnreadableInput: it is an archive that breaks off.
    """
    if os.path.isdir(path):
        return Folder(path, _members_of(path))
    if not os.path.isfile(path):
        return None
    with parsing(path, "an archive"):
        if path.lower().endswith(".zip") and zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return ZipFile(path, tuple(sorted(archive.namelist())))
        if path.lower().endswith((".tar", ".tar.gz", ".tgz")) and tarfile.is_tarfile(path):
            with tarfile.open(path) as archive:
                return TarFile(path, tuple(sorted(each.name for each in archive if each.isfile())))
    return None


def _members_of(folder: str) -> tuple[str, ...]:
    with parsing(folder, "a folder"):
        names = sorted(each for each in os.listdir(folder) if not each.startswith("."))
        if not any(each.startswith("MTD_MSI") for each in names):
            return tuple(names)
        found = []
        for place, _, files in os.walk(folder):
            inner = os.path.relpath(place, folder).replace(os.sep, "/")
            found += [each if inner == "." else f"{inner}/{each}" for each in files if not each.startswith(".")]
        return tuple(sorted(found))
