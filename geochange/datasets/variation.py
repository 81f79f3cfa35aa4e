"""How far training samples are varied: options of augmentation, and how they are given by name. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from math import inf
from typing import Any, TypeVar, get_type_hints

from geochange.declarations import parse_option
from geochange.errors import BadOption

OFF, ON = "off", "on"
SHARES = ("resampled", "misregistered", "centred", "share", "haze", "hazy", "blurred", "sharpened", "noisy")
"""Options between 0 and 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GeometryOptions:
    """How far crops may differ from the image as it lies."""

    flip: bool = True
    quarter_turns: bool = True
    rotation: float = 8.0  # degrees to either side
    shear: float = 4.0  # degrees to either side
    scale: tuple[float, float] = (0.75, 1.35)  # enlargement, on top of that to the wanted pixel size
    resampled: float = 0.6  # share of samples that are rotated, sheared and scaled at all; the others stay sharp
    misregistration: float = 1.5  # pixels that one date may lie off, in each direction
    misregistered: float = 0.3  # share of samples with a shift between the dates
    centred: float = 0.5  # share of samples whose crop holds some change, where there is any


@dataclass(frozen=True, slots=True, kw_only=True)
class LookOptions:
    """How far the look of a date may be changed, each date on its own."""

    share: float = 0.8  # of dates that are changed at all
    brightness: float = 0.3  # standard deviations
    contrast: float = 0.25  # relative
    colour: float = 0.15  # standard deviations a band, and relative a band
    haze: float = 0.25  # largest share of white
    hazy: float = 0.1  # share of dates with haze
    blur: float = 1.2  # largest sigma in pixels
    blurred: float = 0.2  # share of dates that are blurred
    sharpening: float = 1.0  # largest share of what a blur of 1 pixel takes away that is added
    sharpened: float = 0.1  # share of dates that are sharpened, where they are not blurred
    noise: float = 0.12  # standard deviations
    noisy: float = 0.2  # share of dates with noise
    swap: bool = True  # the dates of a pair may change places; for classes that have no direction


NO_GEOMETRY = GeometryOptions(
    flip=False, quarter_turns=False, rotation=0, shear=0, scale=(1, 1), resampled=0, misregistered=0, centred=0
)
NO_LOOK = LookOptions(share=0, swap=False)

Options = TypeVar("Options", GeometryOptions, LookOptions)


def parse_variation(given: Mapping[str, str]) -> tuple[GeometryOptions, LookOptions]:
    """Return how samples are varied.

    Args:
        given: name of an option -> its value as text; `geometry` or `look` -> off, for none of it.

    Raises:
        BadOption: there is no such option, or it cannot have that value.
    """
    whole: dict[str, GeometryOptions | LookOptions] = {
        "geometry": _whole("geometry", given, GeometryOptions(), NO_GEOMETRY),
        "look": _whole("look", given, LookOptions(), NO_LOOK),
    }
    known = {each.name: name for name, options in whole.items() for each in fields(options)}
    for option, text in given.items():
        if option in whole:
            continue
        if option not in known:
            raise BadOption(f"augmentation has no option {option!r}; it has geometry, look, {', '.join(known)}")
        options = whole[known[option]]
        value = parse_option(f"augmentation {option}", text, get_type_hints(type(options))[option])
        _require_possible(option, value)
        whole[known[option]] = replace(options, **{option: value})
    geometry, look = whole["geometry"], whole["look"]
    assert isinstance(geometry, GeometryOptions)
    assert isinstance(look, LookOptions)
    return geometry, look


def _whole(name: str, given: Mapping[str, str], options: Options, without: Options) -> Options:
    text = given.get(name, ON)
    if text not in (ON, OFF):
        raise BadOption(f"augmentation {name} must be {ON} or {OFF}, not {text!r}")
    return options if text == ON else without


def _require_possible(option: str, value: Any) -> None:
    if option == "scale":
        if not 0 < value[0] <= value[1] < inf:
            raise BadOption(f"augmentation scale {value} must be two numbers above 0 that do not fall")
    elif not isinstance(value, bool) and not 0 <= value <= (1 if option in SHARES else 1e6):
        limit = "0..1" if option in SHARES else "0 and more"
        raise BadOption(f"augmentation {option} {value:g} must lie in {limit}")
