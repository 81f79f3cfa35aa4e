"""Text read by the types of fields."""

from pathlib import Path
from typing import Any, Literal, Optional

import pytest

from geochange.declarations import describe_type, parse_option, parse_value
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
