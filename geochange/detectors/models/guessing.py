"""What a manifest leaves open: read from the program, or found out by running it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from geochange.arrays import Array, Bools, Floats
from geochange.detectors.models.manifest import Manifest, manifest_from
from geochange.detectors.models.programs import Port, Program, metadata_of
from geochange.detectors.models.tiles import inputs_of, map_of
from geochange.errors import BadOption

DEFAULT_STRIDE = 32  # pixels: most encoders halve their input five times
SIZES = (256, 224, 512, 128, 1024)  # pixels a side, in the order in which they are tried
RGB = 3
BYTES = Manifest(divide_by=255.0, value_range=(0.0, 255.0))
"""What is taken where nothing is known of values."""


def complete(program: Program, given: Manifest | None, bands: int | None) -> Manifest:
    """Fill in what is not known of a model.

    Args:
        program: the model.
        given: what is known; None: what the file says of itself, and where it says nothing, that values are bytes.
        bands: of the scene; None: what the program says, or three.

    Returns:
        With nothing left open but the receptive radius, the tile, value range and pixel size.

    Raises:
        BadOption: it is not to be seen how the model is used, or it does not run so.
    """
    within = metadata_of(program)
    manifest = given or (manifest_from(within, "the metadata of the model") if within else BYTES)
    manifest = _with_inputs(program, manifest, bands)
    manifest = _with_size(program, manifest)
    return _with_output(program, manifest)


def _with_inputs(program: Program, manifest: Manifest, bands: int | None) -> Manifest:
    """Find how the program takes the dates, and of how many bands."""
    ports = program.ports
    if manifest.inputs is None:
        manifest = replace(manifest, **_layout(program, manifest))
    needed = (2 if manifest.inputs == "pair" else 1) + bool(manifest.valid)
    if needed != len(ports):
        names = ", ".join(each.name for each in ports)
        raise BadOption(f"the model has {len(ports)} inputs ({names}), where the manifest says {needed}")
    found = _bands_of(ports[0], manifest)
    if manifest.bands is None:
        count = found or len(manifest.mean or manifest.std or ()) or bands or RGB
        manifest = replace(manifest, bands=_band_names(count))
    assert manifest.bands is not None
    if found not in (None, len(manifest.bands)):
        raise BadOption(f"the model takes {found} bands, where the manifest names {len(manifest.bands)}")
    return replace(manifest, valid=bool(manifest.valid))


def _layout(program: Program, manifest: Manifest) -> dict[str, Any]:
    ports = program.ports
    ranks = [None if each.shape is None else len(each.shape) for each in ports]
    if len(ports) == 2 and (ranks == [5, 4] or [each.name for each in ports] == ["dates", "valid"]):
        return {"inputs": "series", "valid": True}
    if len(ports) == 2 and ranks in ([4, 4], [None, None]):
        return {"inputs": "pair"}
    if ranks == [4]:
        return {"inputs": "stacked"}
    if ranks == [5]:
        return {"inputs": "series"}
    if ranks == [None]:
        return {"inputs": "series" if _runs(program, replace(manifest, inputs="series")) else "stacked"}
    shapes = ", ".join(f"{each.name} {each.shape}" for each in ports)
    raise BadOption(
        f"it is not to be seen how the model takes two dates (its inputs: {shapes}); say so in a manifest, which "
        "geochange model describe writes"
    )


def _runs(program: Program, manifest: Manifest) -> bool:
    bands = len(manifest.bands or manifest.mean or ()) or RGB
    return any(_try(program, manifest, bands, size) is not None for size in SIZES[:2])


def _bands_of(port: Port, manifest: Manifest) -> int | None:
    if port.shape is None:
        return None
    count = port.shape[2] if manifest.inputs == "series" else port.shape[1]
    if manifest.inputs != "stacked" or count is None:
        return count
    if count % 2:
        raise BadOption(f"the model takes {count} bands at once, which is not twice those of a date")
    return count // 2


def _band_names(count: int) -> tuple[str, ...]:
    return ("red", "green", "blue") if count == RGB else tuple(f"band {k + 1}" for k in range(count))


def _with_size(program: Program, manifest: Manifest) -> Manifest:
    """Find the tiles that the program takes: of one size, or of any that is a multiple of the stride."""
    shape = program.ports[0].shape
    rows, cols = (None, None) if shape is None else shape[-2:]
    if rows != cols:
        raise BadOption(f"the model takes images of {rows} x {cols} pixels; only square ones can be tiles")
    if rows is not None and manifest.tile not in (None, rows):
        raise BadOption(f"the model takes tiles of {rows} pixels, where the manifest says {manifest.tile}")
    if rows is not None:
        return replace(manifest, tile=rows, fixed=True, stride=manifest.stride or rows)
    if manifest.fixed and manifest.tile is None:
        raise BadOption("fixed = true in a manifest needs tile, the pixels per side")
    return replace(manifest, fixed=bool(manifest.fixed), stride=manifest.stride or DEFAULT_STRIDE)


def _with_output(program: Program, manifest: Manifest) -> Manifest:
    """Find the classes, and what makes probabilities of the output, from what it is for noise."""
    if manifest.classes is not None and manifest.activation is not None:
        return manifest
    found = list(_probes(program, manifest))
    channels = {each.shape[1] for each in found}
    least, greatest = min(each.min() for each in found), max(each.max() for each in found)
    activation = manifest.activation
    if activation is None and np.issubdtype(found[0].dtype, np.integer):
        activation = "labels"
    elif activation is None and least >= 0 and greatest <= 1:
        activation = "none"
    elif activation is None:  # as many channels as classes leave none for no change: each stands for itself
        activation = "sigmoid" if channels <= {1, len(manifest.classes or ())} else "softmax"
    count = max(int(greatest), 1) if activation == "labels" else max(max(channels) - 1, 1)
    names = ("change",) if count == 1 else tuple(f"class {k + 1}" for k in range(count))
    return replace(manifest, classes=manifest.classes or names, activation=activation)


def _probes(program: Program, manifest: Manifest) -> Iterator[Array]:
    """Run the program on noise."""
    assert manifest.bands is not None
    size = size_that_runs(program, manifest)
    low, high = manifest.value_range or (0.0, 255.0)
    training = manifest.training
    mean, spread = (np.array(each, np.float32)[:, None, None] for each in (training.mean, training.spread))
    for seed in range(2):
        shape = dates_of(program, manifest), len(manifest.bands), size, size
        noise = np.random.default_rng(seed).uniform(low, high, shape)
        dates = ((noise.astype(np.float32) - mean) / spread)[None]
        yield map_of(program.run(inputs_of(with_validity(dates, manifest), manifest)), manifest)


def dates_of(program: Program, manifest: Manifest) -> int:
    """Return how many dates a program compares: two, unless a series has another fixed number."""
    shape = program.ports[0].shape
    fixed = shape[1] if manifest.inputs == "series" and shape is not None else None
    return fixed or 2


def with_validity(dates: Floats, manifest: Manifest) -> Floats:
    """(n, time, band, y, x), and one more band where validity is an input: all of it valid."""
    if not manifest.valid:
        return dates
    valid: Bools = np.ones((*dates.shape[:2], 1, *dates.shape[-2:]), bool)
    return np.concatenate([dates, valid.astype(dates.dtype)], axis=2)


def size_that_runs(program: Program, manifest: Manifest) -> int:
    """Return pixels a side of a tile that the program runs on.

    Raises:
        BadOption: it runs on none of those tried; the reason is that of the first.
    """
    assert manifest.bands is not None
    bands, error = len(manifest.bands), None
    for size in [manifest.tile] if manifest.tile is not None else SIZES:
        try:
            program.run(_zeros(program, manifest, bands, size))
            return size
        except BadOption as problem:
            error = error or problem
    assert error is not None
    raise error


def _try(program: Program, manifest: Manifest, bands: int, size: int) -> list[Array] | None:
    try:
        return program.run(_zeros(program, manifest, bands, size))
    except BadOption:
        return None


def _zeros(program: Program, manifest: Manifest, bands: int, size: int) -> list[Array]:
    zeros = np.zeros((1, dates_of(program, manifest), bands, size, size), np.float32)
    return inputs_of(with_validity(zeros, manifest), manifest)
