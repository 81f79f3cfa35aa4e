"""Memory that is free inside the process goes back to the system."""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from typing import Any


@cache
def _c_library() -> Any:
    return ctypes.CDLL(None) if sys.platform == "linux" else None


def return_free_memory() -> None:
    """Hand back what glibc keeps for later: the threads of one stage leave much that the next one does not need.

    Does nothing with other C libraries.
    """
    trim = getattr(_c_library(), "malloc_trim", None)
    if trim is not None:
        trim(0)
