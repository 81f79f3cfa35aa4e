"""Datasets whose variables are bands, as odc-stac loads them, as one date."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from geochange.errors import UnreadableInput
from geochange.scenes.band_names import Names, find_bands
from geochange.scenes.mask_rules import MASKS, rule_of_band
from geochange.scenes.masks import NOT_A_VALUE, hide, note_of
from geochange.scenes.options import SceneOptions
from geochange.scenes.scene import open_array
from geochange.scenes.source import Source
from geochange.scenes.stacked import stack

if TYPE_CHECKING:
    import xarray as xr

TIME = "time"


@dataclass(frozen=True, slots=True)
class DatasetImage:
    """A Dataset (y, x), each of whose variables is a band, or the mask of the others."""

    dataset: xr.Dataset
    name: str

    @property
    def files(self) -> tuple[str, ...]:
        """Files that may be read: none is known."""
        return ()

    def open(self, options: SceneOptions, *, with_own_mask: bool) -> Source:
        """Open the bands that are wanted as one date, see `Product.open`.

        Raises:
            UnreadableInput: it has no variables, or holds several times.
            BandMismatch: a band is not known.
        """
        dataset, date = self._of_one_time()
        variables = [str(each) for each in dataset.data_vars]
        masks = [each for each in variables if rule_of_band(each) is not None]
        known = [each for each in variables if each not in masks]
        if not known:
            raise UnreadableInput(f"{self.name} has no variables that are bands")
        names = [_names(each, dataset[each]) for each in known]
        numbers = find_bands(self.name, options.bands, range(1, len(known) + 1), names)
        sources = [open_array(dataset[known[k - 1]], f"{self.name}: {known[k - 1]}") for k in numbers]
        found = stack(self.name, sources, [names[k - 1] for k in numbers], date, options.nodata)
        rule = rule_of_band(masks[0]) if masks and with_own_mask else None
        if rule is None:
            return found
        mask = open_array(dataset[masks[0]], f"{self.name}: {masks[0]}", nodata=NOT_A_VALUE)
        note = note_of(f"its variable {masks[0]}", rule)
        return hide(replace(found, notes=(*found.notes, note)), mask, MASKS[rule], options.mask_buffer)

    def _of_one_time(self) -> tuple[xr.Dataset, str | None]:
        dataset = self.dataset
        if dataset.sizes.get(TIME, 1) > 1:
            raise UnreadableInput(
                f"{self.name} holds {dataset.sizes[TIME]} times; give one of them, as with .isel({TIME}=0)"
            )
        if TIME in dataset.dims:
            dataset = dataset.isel({TIME: 0})
        when = dataset.coords.get(TIME)
        return dataset, None if when is None or when.ndim else str(when.values)[:19]


def _names(name: str, variable: xr.DataArray) -> Names:
    named = variable.attrs.get("common_name"), variable.attrs.get("long_name")
    return name, *(each for each in named if isinstance(each, str) and each != name)
