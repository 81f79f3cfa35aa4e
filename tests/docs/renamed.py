"""Commands of the pages with option names that the command line does not have yet."""

import re

import pytest

RENAMED = re.compile(r"^geochange (kinds .*--split-kinds|from-to .*--label-column)")


def as_parameters(commands):
    """Return the commands as parameters of a test; those with new names are expected to fail until they exist."""
    expected = pytest.mark.xfail(strict=True, reason="a new name of an option")
    return [pytest.param(each, marks=[expected] if RENAMED.match(each) else []) for each in commands]
