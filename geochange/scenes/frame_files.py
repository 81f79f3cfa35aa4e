"""Frames of videos, and slices of DICOM and NIfTI, as arrays with what their numbers mean."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from geochange.arrays import Array
from geochange.errors import BadOption, UnreadableInput
from geochange.extras import require_packages
from geochange.files import visible_in
from geochange.parsing import parsing
from geochange.scenes.options import FrameOptions

VIDEO_SUFFIXES = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ts", ".m4v", ".gif")
VOLUME_SUFFIXES = (".nii", ".nii.gz")
DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")


@dataclass(frozen=True, slots=True)
class ExtractedFrame:
    """One image of many."""

    name: str
    """Of the file that it becomes, without a suffix: names sort as the frames follow each other."""
    pixels: Array
    """(band, y, x) as stored."""
    date: str | None = None
    """As TIFF has it, 2024:07:02 10:45:00."""
    scale: float = 1.0
    """A stored number times this, plus the offset, is the quantity."""
    offset: float = 0.0


def read_frames(source: Path, options: FrameOptions) -> Iterator[ExtractedFrame]:
    """Read the frames of a video, or the slices of a volume, in their order.

    Args:
        source: a video, a NIfTI file, a DICOM file, or a folder of DICOM files of one series.
        options: which of them.

    Raises:
        UnreadableInput: it is missing, broken, or none of these.
        BadOption: the package that reads it is not installed, or an option is not for it.
    """
    if not source.exists():
        raise UnreadableInput(f"{source} does not exist")
    name = source.name.lower()
    if source.is_dir() or name.endswith(DICOM_SUFFIXES):
        require_packages(source.name, "medical", "pydicom")
        return _read_dicom(source, options)
    if name.endswith(VOLUME_SUFFIXES):
        require_packages(source.name, "medical", "nibabel")
        return _read_nifti(source, options)
    if name.endswith(VIDEO_SUFFIXES):
        require_packages(source.name, "video", "av")
        return _read_video(source, options)
    known = ", ".join((*VIDEO_SUFFIXES, *VOLUME_SUFFIXES, *DICOM_SUFFIXES))
    raise UnreadableInput(f"{source} is no video, NIfTI or DICOM file, whose names end in {known}")


def _read_video(source: Path, options: FrameOptions) -> Iterator[ExtractedFrame]:
    import av

    if options.slice is not None or options.axis is not None:
        raise BadOption("--slice and --axis are for volumes; a video has --every and --span, in seconds")
    first, last = options.span or (0.0, float("inf"))
    due = first
    with parsing(source, "a video"), av.open(str(source)) as container:
        if not container.streams.video:
            raise UnreadableInput(f"{source} holds no video")
        for frame in container.decode(container.streams.video[0]):
            seconds = float(frame.time or 0.0)
            if seconds > last + 1e-6:
                return
            if seconds < due - 1e-6:
                continue
            due = due + options.every if options.every else due
            form = _pixel_format(frame.format.name)
            pixels = frame.to_ndarray(format=form)
            banded = pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0)
            yield ExtractedFrame(f"{source.stem}_{seconds:010.3f}", banded)


def _pixel_format(name: str) -> str:
    """Return the format that keeps grey as one band, and more than 8 bits."""
    if not name.startswith("gray"):
        return "rgb24"
    return "gray" if name in ("gray", "gray8") else "gray16le"


def _read_nifti(source: Path, options: FrameOptions) -> Iterator[ExtractedFrame]:
    import nibabel

    if options.every is not None:
        raise BadOption("--every is for videos; volumes have --slice, --axis and --span, in slices")
    stem = source.name.removesuffix(".gz").removesuffix(".nii")
    with parsing(source, "a NIfTI file"):
        volume: Any = nibabel.load(source)
        stored, slope, offset = volume.dataobj.get_unscaled(), volume.dataobj.slope, volume.dataobj.inter
        cube = np.asanyarray(stored)
    if cube.ndim not in (3, 4):
        raise UnreadableInput(f"{source} has {cube.ndim} dimensions; a volume has three, or four with time")
    axis = 2 if options.axis is None else options.axis
    if cube.ndim == 4:
        if options.slice is None:
            raise BadOption(f"{source} holds {cube.shape[3]} volumes; name the slice to follow with --slice")
        if not 0 <= options.slice < cube.shape[axis]:
            raise BadOption(f"{source} has {cube.shape[axis]} slices along axis {axis}; there is no {options.slice}")
        cube = np.moveaxis(np.take(cube, options.slice, axis=axis), -1, axis)
    for number in _chosen(cube.shape[axis], options, source):
        plane = np.take(cube, number, axis=axis)[:, ::-1].T  # the second axis upwards, as viewers show it
        yield ExtractedFrame(
            f"{stem}_{number:05d}", np.ascontiguousarray(plane)[None], None, float(slope), float(offset)
        )


def _chosen(count: int, options: FrameOptions, source: Path) -> range:
    first, last = options.span or (0, count - 1)
    if not 0 <= first <= last < count:
        raise BadOption(f"{source} has the slices 0 to {count - 1}; --span {first:g},{last:g} lies outside")
    return range(int(first), int(last) + 1)


def _read_dicom(source: Path, options: FrameOptions) -> Iterator[ExtractedFrame]:
    import pydicom

    if options.every is not None or options.axis is not None or options.slice is not None:
        raise BadOption("--every is for videos, --axis and --slice for NIfTI; DICOM has --span, in slices")
    paths = [source]
    if source.is_dir():
        paths = [path for path in visible_in(source) if path.is_file() and path.suffix.lower() in (*DICOM_SUFFIXES, "")]
        if not paths:
            raise UnreadableInput(f"{source} holds no DICOM files")
    found = []
    for path in paths:
        with parsing(path, "a DICOM file"):
            found.append((pydicom.dcmread(path, stop_before_pixels=True), path))
    found.sort(key=lambda each: _place_of(each[0]))
    stem = source.stem if len(found) == 1 else source.name
    slices = _slices(found) if len(found) == 1 else ((path, None) for _, path in found)
    every = list(slices)
    for number in _chosen(len(every), options, source):
        path, plane = every[number]
        with parsing(path, "a DICOM file"):
            data = pydicom.dcmread(path)
            pixels = data.pixel_array if plane is None else data.pixel_array[plane]
            banded = np.moveaxis(pixels, -1, 0) if data.get("SamplesPerPixel", 1) > 1 else pixels[None]
            scale, offset = float(data.get("RescaleSlope", 1) or 1), float(data.get("RescaleIntercept", 0) or 0)
            yield ExtractedFrame(f"{stem}_{number:05d}", np.ascontiguousarray(banded), _date_of(data), scale, offset)


def _slices(found: list[tuple[Any, Path]]) -> list[tuple[Path, int | None]]:
    ((data, path),) = found
    count = int(data.get("NumberOfFrames", 1) or 1)
    return [(path, None if count == 1 else number) for number in range(count)]


def _place_of(data: Any) -> tuple[float, float]:
    """Return what slices of a series are ordered by: their place along the body, then their number."""
    position = data.get("ImagePositionPatient")
    return float(position[2]) if position else 0.0, float(data.get("InstanceNumber", 0) or 0)


def _date_of(data: Any) -> str | None:
    """Return when a DICOM image was acquired, else when it was studied."""
    for kind in ("Acquisition", "Series", "Study"):
        day, clock = str(data.get(f"{kind}Date", "") or ""), str(data.get(f"{kind}Time", "") or "").partition(".")[0]
        for text, form in ((day + clock, "%Y%m%d%H%M%S"), (day, "%Y%m%d")):
            try:
                return datetime.strptime(text, form).strftime("%Y:%m:%d %H:%M:%S")
            except ValueError:
                continue
    return None
