"""Text on consoles and in pipes whose encoding lacks letters, as code pages of Windows do."""

from __future__ import annotations

import codecs
import io
from typing import TextIO

PLAINLY = "geochange.plainly"
"""The name under which streams know `plainly`."""
_PLAIN = str.maketrans(
    {
        **dict.fromkeys("…", "."),  # as wide, for tables
        **dict.fromkeys("‐‑–—−━╸╺─", "-"),
        **dict.fromkeys("│┃", "|"),
        **dict.fromkeys("‘’", "'"),
        **dict.fromkeys("“”", '"'),
        **dict.fromkeys("•·", "*"),
        "×": "x",
        "²": "2",
        "≥": ">=",
        "≤": "<=",
        "→": "->",
    }
)


def plainly(error: UnicodeError) -> tuple[str | bytes, int]:
    """Put what an encoding has in the place of signs that it lacks; names in other alphabets become escapes."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    text = lacking.translate(_PLAIN)
    return text.encode("ascii", "backslashreplace").decode(), error.end


def write_plainly(stream: TextIO) -> None:
    """Have a stream write what its encoding lacks `plainly`."""
    codecs.register_error(PLAINLY, plainly)
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors=PLAINLY)
