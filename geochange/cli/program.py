"""The command line, and what becomes of errors: one line on stderr, exit code 2; 130 after Ctrl-C."""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

from geochange.allocator import use_one_arena
from geochange.cli.commands import COMMANDS
from geochange.errors import GeochangeError
from geochange.redaction import one_line

USER_ERROR, INTERRUPTED = 2, 130
_USAGE_ERROR: Any = typer.BadParameter.__mro__[2]  # click's base of usage errors, wherever typer keeps click


class Commands(TyperGroup):
    """All commands: their names and summaries at once, what they take only when they are called."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command's name and summary."""
        command = COMMANDS.get(cmd_name)
        return None if command is None else TyperCommand(command.name, help=command.summary)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command that is called, whole."""
        if args and args[0] in COMMANDS:
            return args[0], COMMANDS[args[0]].build(), args[1:]
        return super().resolve_command(ctx, args)


app = typer.Typer(
    name="geochange",
    cls=Commands,
    help="Find what changed between satellite or aerial images, as GIS layers.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"geochange {version('geochange')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Find what changed between satellite or aerial images, as GIS layers."""


def run(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line; always ends the process."""
    sys.exit(_outcome(app, arguments))


def run_command(command: Callable[..., None]) -> NoReturn:
    """Run one function as a program of its own, with the errors and exit codes of `geochange`."""
    single = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    single.command()(command)
    sys.exit(_outcome(single, None))


@contextmanager
def _quiet_streams() -> Iterator[None]:
    """Keep warnings of libraries for logs, and print names that are not UTF-8 as escapes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)


@_quiet_streams()
def _outcome(program: typer.Typer, arguments: Sequence[str] | None) -> int:
    """Run a program; its exit code."""
    use_one_arena()
    try:
        code = program(args=None if arguments is None else list(arguments), standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except _USAGE_ERROR as error:
        _say(error.format_message())
        return USER_ERROR
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except GeochangeError as error:
        _say(str(error))
        return USER_ERROR
    except OSError as error:
        _say(f"{error.filename}: {error.strerror}" if error.filename else str(error))
        return USER_ERROR
    if code == INTERRUPTED:  # typer turns Ctrl-C into this code itself
        _say("interrupted; commands with --resume go on from what is done")
    return code if isinstance(code, int) else 0


def _say(message: str) -> None:
    if message:  # empty where help has been printed
        print("geochange:", one_line(message), file=sys.stderr)
