"""The command `geochange`: one file per command, whose body calls one function of the pipeline."""

from geochange.cli.main import app, main

__all__ = ["app", "main"]
