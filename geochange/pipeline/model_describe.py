"""`model describe`: what is known of a network in a file of another program, as its manifest."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from math import ceil
from pathlib import Path
from typing import Any

from geochange.detectors.models.guessing import BYTES, complete
from geochange.detectors.models.manifest import SUFFIXES, Manifest, manifest_beside, manifest_from, read_manifest
from geochange.detectors.models.measuring import dates_without_effect, measure
from geochange.detectors.models.programs import Program, Runtime, companions, metadata_of, open_program
from geochange.errors import BadOption
from geochange.files import require_writable, write_whole
from geochange.pipeline.options import choose_options


@dataclass(frozen=True, slots=True)
class DescribedModel:
    """A model's manifest, and where it lies."""

    path: Path
    form: str
    """The format of the model."""
    manifest: Manifest
    notes: tuple[str, ...]
    """What somebody who uses the model should know."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "file": str(self.path),
            "form": self.form,
            "manifest": self.manifest.to_dict(),
            "notes": list(self.notes),
        }


def describe_model(
    model: str | os.PathLike[str],
    out: str | os.PathLike[str],
    options: Manifest | None = None,
    *,
    overwrite: bool = False,
    **settings: Any,
) -> DescribedModel:
    """Write the manifest of a network in ONNX, OpenVINO, TorchScript or torch.export, for `detect -d model`.

    Inputs, sizes, stride, receptive radius, classes and activation are read from the model, or found by running it. How
    values are scaled cannot be seen: without a manifest or options that say so, they are divided by 255.

    Args:
        model: the file of the model.
        out: the manifest to write, a TOML or JSON file; beside the model, with its name, `detect` finds it.
        options: what is known; a manifest that lies beside the model says the rest.
        overwrite: replace a file that is there.
        settings: options by name, in place of those in `options`.

    Raises:
        UnreadableInput: the model cannot be read.
        BadOption: the model cannot be run as its manifest says, or a package is missing.
        OutputInTheWay: the file exists and `overwrite` is off, or it cannot be written.
    """
    options, path = choose_options(Manifest, options, settings), Path(out)
    if path.suffix.lower() not in SUFFIXES:
        raise BadOption(f"{path} must end with {' or '.join(SUFFIXES)}")
    file = Path(model)
    require_writable([path], overwrite=overwrite, inputs=[file])
    program = open_program(file, Runtime())
    manifest = measure(program, complete(program, _known(program, file, options), None))
    write_whole(path, (manifest.as_toml() if path.suffix.lower() == ".toml" else manifest.as_json()).encode())
    return DescribedModel(path, program.form, manifest, tuple(_notes(program, manifest, file)))


def _known(program: Program, file: Path, options: Manifest) -> Manifest | None:
    """Return what the options say, and where they are silent the manifest beside the model, or its metadata."""
    beside, within = manifest_beside(file), metadata_of(program)
    known = read_manifest(beside) if beside else manifest_from(within, str(file)) if within else None
    given = {
        each.name: getattr(options, each.name)
        for each in fields(Manifest)
        if getattr(options, each.name) != each.default
    }
    if known is None and {"divide_by", "mean", "std", "value_range", "values"}.isdisjoint(given):
        known = BYTES
    return replace(known or Manifest(), **given)


def _notes(program: Program, manifest: Manifest, file: Path) -> Iterator[str]:
    for date in dates_without_effect(program, manifest):
        yield (
            f"date {date + 1} has no effect on the output: where the model was exported with one example for both "
            "dates, export it again with two"
        )
    if manifest.fixed:
        size = f"{manifest.tile} x {manifest.tile}"
        yield f"tiles always have {size} pixels: the model takes no others, or a score depends on all of a tile"
    elif manifest.receptive_radius is not None and manifest.stride is not None:
        overlap = 2 * ceil(manifest.receptive_radius / manifest.stride) * manifest.stride
        yield f"with --overlap {overlap} or more, tiles leave no trace in the scores"
    if manifest.divide_by == 1 and manifest.mean is None and manifest.std is None and not manifest.valid:
        yield "values are given as stored; where the model was trained with others, say so by divide_by, mean and std"
    if not manifest.licence:
        yield f"the licence of {file.name} is not known; --licence records it"
    if (total := sum(each.stat().st_size for each in companions(file))) > 1 << 30:
        yield f"{total / (1 << 30):.1f} GB are copied into the folder of each run, and read by each worker"
