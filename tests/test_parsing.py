"""The boundary for foreign input: any fault is one line that names the file."""

import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geochange.errors import BadOption, GridMismatch, UnreadableInput
from geochange.parsing import parsing

FAULTS = [
    ValueError("no number\nat all"),
    KeyError("crs"),
    AttributeError("'list' object has no attribute 'items'"),
    TypeError("'int' object is not iterable"),
    IndexError("list index out of range"),
    RecursionError("maximum recursion depth exceeded"),
    EOFError(),
    MemoryError(),
    OSError(5, "Input/output error"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    pickle.UnpicklingError("pickle data was truncated"),
    RuntimeError("x" * 10_000),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
@pytest.mark.parametrize("refusal", [UnreadableInput, BadOption])
def test_any_fault_becomes_one_short_line_with_the_name(fault, refusal):
    with pytest.raises(refusal) as caught, parsing("folder/x.json", "options", refusal):
        raise fault
    assert str(caught.value).startswith("folder/x.json cannot be read as options: ")
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 400
    assert caught.value.__cause__ is fault


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    for name, reason in ((tmp_path / "missing", "does not exist"), (tmp_path, "is a folder")):
        with pytest.raises(UnreadableInput, match=rf"{name.name} {reason}"), parsing(name):
            name.read_text()


def test_errors_of_geochange_and_interrupts_pass():
    for error in (GridMismatch("as it is"), KeyboardInterrupt(), SystemExit(3)):
        with pytest.raises(type(error)) as caught, parsing("x"):
            raise error
        assert caught.value is error


@given(st.binary(max_size=100))
def test_garbage_is_json_or_refused(content):
    try:
        json.loads(content)
    except ValueError:
        with pytest.raises(UnreadableInput, match=r"^x\.json cannot be read as JSON: "), parsing("x.json", "JSON"):
            json.loads(content)
