"""Keeps the room `geochange.kinds` known to the API reference, beside the function of the same name in the stub."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from griffe import Extension

if TYPE_CHECKING:
    from griffe import Module

FUNCTION = "kinds"


class Rooms(Extension):
    """Gives the package its room back, which the stub's function takes the place of."""

    room: Module | None = None

    def on_module_instance(self, *, mod: Module, **_: Any) -> None:
        """Remember the room."""
        if mod.name == FUNCTION and mod.is_init_module:
            self.room = mod

    def on_package(self, *, pkg: Module, **_: Any) -> None:
        """Put the room back."""
        if self.room is not None and pkg.name == "geochange":
            pkg.set_member(FUNCTION, self.room)
