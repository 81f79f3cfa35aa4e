"""Text read by the types of fields."""

from collections.abc import Mapping
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any, Literal, Optional

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geochange.declarations import conform, describe_type, parse_option, parse_value
from geochange.errors import BadOption

Box = str | tuple[float, float, float, float]
Nodata = Literal["any", "all"] | float


@pytest.mark.parametrize(
    ("text", "hint", "value"),
    [
        ("Yes", bool, True),
        ("0", bool, False),
        ("7", int, 7),
        ("1e-4", float, 1e-4),
        ("none", str, "none"),
        ("out/a.tif", Path, Path("out/a.tif")),
        ("bf16", Literal["fp32", "bf16"], "bf16"),
        ("8", Literal[4, 8], 8),
        ("4, 3", tuple[int, int], (4, 3)),
        ("4,3,2", tuple[int, ...], (4, 3, 2)),
        ("red,nir", tuple[str, ...], ("red", "nir")),
        ("none", tuple[str, ...], ()),
        ("3:32", tuple[float, float], (3.0, 32.0)),
        ("None", int | None, None),
        ("none", str | None, None),
        ("none", Optional[tuple[int, ...]], None),  # noqa: UP045  (another kind of union)
        ("any", Nodata, "any"),
        ("0", Nodata, 0.0),
        ("1,2,3,4.5", Box, (1.0, 2.0, 3.0, 4.5)),
        ("fields.gpkg", Box, "fields.gpkg"),
        ("1,2", Box, "1,2"),
        ("0.5", Path | float, 0.5),
    ],
)
def test_text_becomes_a_value_of_the_type(text: str, hint: Any, value: Any) -> None:
    found = parse_value(text, hint)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("perhaps", bool),
        ("1.5", int),
        ("many", float),
        ("fp64", Literal["fp32", "bf16"]),
        ("1,2,3", tuple[int, int]),
        ("1", tuple[int, int]),
        ("", tuple[int, int]),
        ("1,x", tuple[int, ...]),
        ("some", Nodata),
        ("x", int | None),
    ],
)
def test_other_text_is_refused(text: str, hint: Any) -> None:
    with pytest.raises(ValueError, match=r".*"):
        parse_value(text, hint)


@pytest.mark.parametrize(
    ("hint", "words"),
    [
        (bool, "true or false"),
        (int | None, "a whole number or none"),
        (Path, "a path"),
        (Literal["fp32", "bf16"], "one of fp32, bf16"),
        (tuple[int, int], "2 whole numbers with commas between"),
        (tuple[float, ...], "numbers with commas between"),
        (Nodata, "one of any, all or a number"),
    ],
)
def test_types_are_described_in_words(hint: Any, words: str) -> None:
    assert describe_type(hint) == words


def test_a_wrong_option_is_named_with_what_is_possible() -> None:
    with pytest.raises(BadOption, match=r"^engine must be one of torch, openvino, not 'x'$"):
        parse_option("engine", "x", Literal["torch", "openvino"])


@pytest.mark.parametrize(
    ("value", "hint", "expected"),
    [
        ([3, 2, 1], tuple[int, ...] | None, (3, 2, 1)),
        ("3,2,1", tuple[int, ...] | None, (3, 2, 1)),
        (range(1, 3), tuple[int, ...], (1, 2)),
        (np.array([1, 2]), tuple[int, ...], (1, 2)),
        (np.float32(0.5), float, 0.5),
        (4.0, int | str, 4),
        (2, float, 2.0),
        (None, int | None, None),
        (Path("best.pt"), str | None, "best.pt"),
        (date(2020, 1, 31), str | None, "2020-01-31"),
        ("1,2,3,4", str | tuple[float, float, float, float], (1.0, 2.0, 3.0, 4.0)),
        ("area.gpkg", str | tuple[float, float, float, float], "area.gpkg"),
        ("gpkg", tuple[Literal["gpkg", "geojson"], ...], ("gpkg",)),
        (0, Literal["any", "all"] | float, 0.0),
        ({"checkpoint": Path("best.pt"), "batch": 2}, Mapping[str, Any], {"checkpoint": "best.pt", "batch": 2}),
    ],
)
def test_values_become_those_of_their_type(value: Any, hint: Any, expected: Any) -> None:
    found = conform(value, hint)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (3, tuple[int, ...]),
        (("a",), tuple[int, ...]),
        ((1, 2, 3), tuple[float, float, float, float]),
        (1.5, int),
        (True, int),
        (True, float),
        ("no", bool),
        (1, bool),
        ("256", int),
        (True, Literal[1, 2]),
        ([], Mapping[str, str]),
        (None, str),
    ],
)
def test_values_of_other_types_are_refused(value: Any, hint: Any) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (the caller names the option)
        conform(value, hint)


@given(st.one_of(st.integers(), st.floats(allow_nan=False), st.text(), st.booleans(), st.none()))
def test_a_conformed_value_stays_as_it_is(value: Any) -> None:
    for hint in (int | None, float | str, bool | str | None, tuple[int, ...] | str):
        with suppress(ValueError):
            once = conform(value, hint)
            assert conform(once, hint) == once
