"""`frames`: frames of a video, slices of DICOM and NIfTI → GeoTIFFs, which all commands take."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import rasterio

from geochange.engine.progress import Listener, Silent, Stages
from geochange.errors import NothingValid
from geochange.files import require_space
from geochange.pipeline.options import choose_options
from geochange.pipeline.run_folder import RunFolder
from geochange.redaction import plain
from geochange.scenes.frame_files import ExtractedFrame, read_frames
from geochange.scenes.options import FrameOptions

COMMAND = "frames"
TARGETS = ("*.tif",)


@dataclass(frozen=True, slots=True)
class Frames:
    """What was extracted, and where it lies."""

    folder: Path
    record: dict[str, Any]
    """Content of run.json."""

    @property
    def paths(self) -> list[Path]:
        """The images, in their order."""
        return [self.folder / name for name in self.record["files"]["frames"]]

    def to_dict(self) -> dict[str, Any]:
        """Return the record."""
        return self.record


def extract_frames(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    options: FrameOptions | None = None,
    *,
    overwrite: bool = False,
    listener: Listener | None = None,
    **settings: Any,
) -> Frames:
    """Write frames of a video, or slices of DICOM and NIfTI, as GeoTIFFs without a CRS, as they are stored.

    Grey stays one band, 16 bits stay 16 bits; scale and offset of a volume are those of the band, its date is the
    image's. Names sort as the frames follow each other: those of a video end in its seconds.

    Args:
        source: a video, a NIfTI file, a DICOM file, or a folder of DICOM files of one series.
        out: folder for the images, and run.json.
        options: which frames; see `FrameOptions`.
        overwrite: replace what an earlier run left.
        listener: receives progress updates.
        settings: options by name, in place of those in `options`.

    Raises:
        UnreadableInput: the source is missing, broken, or none of these.
        BadOption: the package that reads it is not installed, or an option is not for it.
        NothingValid: no frame lies in the span.
        OutputInTheWay: OUT holds another run, and `overwrite` is off.
        DiskFull: the disk has no room for the images.
    """
    options, stages = choose_options(FrameOptions, options, settings), Stages(listener or Silent())
    folder = RunFolder(Path(out), COMMAND, TARGETS, [source])
    with folder.owned():
        folder.begin({"command": COMMAND}, resume=None, overwrite=overwrite)
        try:
            with stages.stage("frames") as progress:
                record = _write_all(read_frames(Path(source), options), folder.ready, progress)
            if not record:
                raise NothingValid(f"{source} has no frame in the span {options.span}")
            told = {"source": str(source), "options": asdict(options), "versions": {"geochange": version("geochange")}}
            record = plain(told | record)
            folder.publish(record)
        except BaseException:
            folder.abandon()
            raise
    return Frames(folder.out, record)


def _write_all(frames: Iterator[ExtractedFrame], folder: Path, progress: Listener) -> dict[str, Any]:
    """Write all frames; return what to record of them, nothing where there are none."""
    names: list[str] = []
    record: dict[str, Any] = {}
    for frame in frames:
        names.append(f"{frame.name}.tif")
        _write(frame, folder / names[-1])
        bands, rows, cols = frame.pixels.shape
        progress.advance(rows * cols)
        record = {"bands": bands, "dtype": str(frame.pixels.dtype), "shape": [rows, cols]}
    return record | {"count": len(names), "files": {"frames": names}} if names else {}


def _write(frame: ExtractedFrame, path: Path) -> None:
    require_space(path.parent, frame.pixels.nbytes)
    count, height, width = frame.pixels.shape
    profile = {"driver": "GTiff", "count": count, "height": height, "width": width, "dtype": frame.pixels.dtype}
    if count == 3:
        profile["photometric"] = "RGB"
    with rasterio.open(path, "w", **profile, compress="deflate") as image:
        image.write(frame.pixels)
        if (frame.scale, frame.offset) != (1.0, 0.0):
            image.scales, image.offsets = (frame.scale,) * count, (frame.offset,) * count
        if frame.date is not None:
            image.update_tags(TIFFTAG_DATETIME=frame.date)
