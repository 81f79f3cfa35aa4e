"""Where memory comes from, and when what is free goes back: with the GNU C library; with others nothing is done."""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from typing import Any

M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8  # of glibc's malloc.h


@cache
def _c_library() -> Any:
    return ctypes.CDLL(None) if sys.platform == "linux" else None


def return_free_memory() -> None:
    """Hand back what glibc keeps for later: the threads of one stage leave much that the next one does not need."""
    trim = getattr(_c_library(), "malloc_trim", None)
    if trim is not None:
        trim(0)


def use_one_arena() -> None:
    """Let all threads that are still to come take their memory from one place.

    What glibc gives each thread of its own holds pieces of up to 64 MB: larger ones, as a network's, would be fetched
    from the system and handed back for every layer. It helps most before libraries start threads, as in a process of
    our own.
    """
    _tune(M_ARENA_MAX, 1)


def keep_freed_memory() -> None:
    """Let glibc keep large pieces of memory for the next use instead of returning and fetching them anew.

    A network allocates the same large arrays for every tile: without this, it takes up to twice as long for it. It
    holds for the whole process from here on, a user's own too; `return_free_memory` hands back what is free.
    """
    _tune(M_MMAP_MAX, 0)
    _tune(M_TRIM_THRESHOLD, 2**31 - 1)
    use_one_arena()


def _tune(parameter: int, value: int) -> None:
    tune = getattr(_c_library(), "mallopt", None)
    if tune is not None:
        tune(parameter, value)
