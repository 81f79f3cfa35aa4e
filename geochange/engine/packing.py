"""What travels with a task: a few kilobytes, whatever the task needs.

A task is a function and its arguments. The function, with all that it holds, is packed once for all tasks. Where that
is large, it is left as a file in the run's scratch folder, and each worker loads it once; arrays are left as files of
their own, which workers map into memory, so that a scene in memory is held once, by its owner.
"""

from __future__ import annotations

import io
import itertools
import pickle
from collections import deque
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from geochange.arrays import Array

LARGE_FUNCTION = 64 << 10  # bytes of a packed function that becomes a file
LARGE_ARRAY = 1 << 20  # bytes of an array that becomes a file of its own
FUNCTIONS = 4  # that are kept, packed by the driver and loaded by each worker


class Packer:
    """Packs the tasks of one run."""

    def __init__(self, folder: Path | None) -> None:
        """Take the folder that all workers see; without one, everything travels with each task."""
        self.folder = folder
        self._numbers = itertools.count()
        self._functions: deque[tuple[Callable[..., Any], bytes | Path]] = deque(maxlen=FUNCTIONS)
        self._arrays: dict[int, tuple[Array, Path]] = {}  # by identity; kept, so that none is taken for another

    def pack(self, function: Callable[..., Any], *arguments: Any) -> bytes:
        """Turn a task into bytes, for `run_packed`."""
        return self._dumps((self._packed(function), *arguments))

    def _packed(self, function: Callable[..., Any]) -> bytes | Path:
        for known, packed in self._functions:
            if known is function:
                return packed
        packed = self._leave(self._dumps(function))
        self._functions.append((function, packed))
        return packed

    def _leave(self, packed: bytes) -> bytes | Path:
        if self.folder is None or len(packed) < LARGE_FUNCTION:
            return packed
        path = self._new_file("task")
        path.write_bytes(packed)
        return path

    def _dumps(self, thing: object) -> bytes:
        buffer = io.BytesIO()
        pickler = _by_value(buffer)
        if self.folder is not None:
            pickler.persistent_id = self._file_of
        pickler.dump(thing)
        return buffer.getvalue()

    def _file_of(self, thing: object) -> Path | None:
        """Return the file of a large array; None for anything else."""
        if not isinstance(thing, np.ndarray) or thing.nbytes < LARGE_ARRAY or thing.dtype.hasobject:
            return None
        if id(thing) not in self._arrays:
            path = self._new_file("npy")
            np.save(path, thing)
            self._arrays[id(thing)] = thing, path
        return self._arrays[id(thing)][1]

    def _new_file(self, suffix: str) -> Path:
        assert self.folder is not None
        return self.folder / f"{next(self._numbers)}.{suffix}"


def _by_value(buffer: io.BytesIO) -> Any:
    """Return a pickler that takes functions of `__main__` along, which workers do not have."""
    import cloudpickle

    return cloudpickle.Pickler(buffer, protocol=pickle.HIGHEST_PROTOCOL)


class _Unpickler(pickle.Unpickler):
    def persistent_load(self, path: Path) -> Array:
        mapped: Array = np.load(path, mmap_mode="r")
        return mapped


def run_packed(packed: bytes) -> Any:
    """Run what `Packer.pack` packed."""
    function, *arguments = _loads(packed)
    return (_function_of(function) if isinstance(function, Path) else _loads(function))(*arguments)


@lru_cache(maxsize=FUNCTIONS)
def _function_of(path: Path) -> Any:
    return _loads(path.read_bytes())


def _loads(packed: bytes) -> Any:
    return _Unpickler(io.BytesIO(packed)).load()
