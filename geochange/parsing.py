"""The boundary for all that comes from elsewhere: any fault of a file is one line that names it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike, fspath

from geochange.errors import GeochangeError, UnreadableInput

LONGEST_CAUSE = 300  # characters


@contextmanager
def parsing(
    name: str | PathLike[str], form: str = "", refusal: type[GeochangeError] = UnreadableInput
) -> Iterator[None]:
    """Turn any fault of what is read inside into one line that names the file; errors of geochange pass.

    Only what opens, decodes or checks foreign content belongs inside, since a fault of geochange would look the same.

    Args:
        name: of the file, or of what stands for one.
        form: what it is read as, such as "a vector layer".
        refusal: the class of the error.

    Raises:
        UnreadableInput: whatever went wrong, or `refusal`.
    """
    try:
        yield
    except GeochangeError:
        raise
    except FileNotFoundError as error:
        raise refusal(f"{fspath(name)} does not exist") from error
    except IsADirectoryError as error:
        raise refusal(f"{fspath(name)} is a folder; name a file in it") from error
    except Exception as error:
        wanted = f" as {form}" if form else ""
        raise refusal(f"{fspath(name)} cannot be read{wanted}: {cause_of(error)}") from error


def cause_of(error: BaseException) -> str:
    """Return what went wrong, in one line: of libraries' errors their first, of Python's own what they stand for."""
    text = " ".join(next(iter(str(error).strip().splitlines()), "").split())[:LONGEST_CAUSE]
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, MemoryError):
        return "it does not fit into memory"
    if isinstance(error, UnicodeError):
        return "it holds, or is named by, text that is not UTF-8"
    if isinstance(error, KeyError):
        return f"it has no {text}"
    if isinstance(error, (AttributeError, TypeError, IndexError)):
        return f"it is not of the expected form ({text})"
    return text or type(error).__name__
