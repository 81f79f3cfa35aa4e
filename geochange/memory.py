"""Memory that is free inside the process goes back to the system."""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from typing import Any

M_MMAP_THRESHOLD, M_TRIM_THRESHOLD = -3, -1  # of glibc's malloc.h


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


def keep_freed_memory() -> None:
    """Let glibc keep large pieces of memory for the next use instead of returning and fetching them anew.

    A network allocates the same large arrays for every tile: without this, one core takes up to twice as long for
    it. Does nothing with other C libraries.
    """
    tune = getattr(_c_library(), "mallopt", None)
    if tune is not None:
        tune(M_MMAP_THRESHOLD, 1 << 30)
        tune(M_TRIM_THRESHOLD, 2**31 - 1)
