"""The command line, and what becomes of errors: one line on stderr, or one event, and the exit code.

2 after a mistake of the user's, 130 after Ctrl-C, 143 after SIGTERM, 1 after a fault of ours or a broken pipe.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

from geochange.allocator import use_one_arena
from geochange.cli.commands import COMMANDS
from geochange.cli.consoles import write_plainly
from geochange.cli.events import PROGRESS, ProgressForm, emit, wants_events
from geochange.declarations import parse_option
from geochange.errors import SEE, ClusterFailed, GeochangeError
from geochange.interrupts import Interrupts
from geochange.redaction import one_line

FAULT, USER_ERROR, INTERRUPTED = 1, 2, 130
SIGNALLED = 128  # plus the number of the signal
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
        for words in (2, 1):  # "model describe" is one command, as "detect" is
            name = " ".join(args[:words])
            if len(args) >= words and name in COMMANDS:
                return name, COMMANDS[name].build(), args[words:]
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


def _choose_progress(form: str) -> str:
    """Set how progress is shown, before anything else can go wrong."""
    PROGRESS.set(parse_option("--progress", form, ProgressForm))
    return form


def _print_description(wanted: bool) -> None:
    if wanted:
        from geochange.cli.description import description_text

        typer.echo(description_text(), nl=False)
        raise typer.Exit


@app.callback()
def _root(
    progress: Annotated[
        str,
        typer.Option(
            metavar="[bar|json]",
            help="How progress is shown: json writes events on stderr, one a line. (default: bar)",
            show_default=False,
            callback=_choose_progress,
            is_eager=True,
        ),
    ] = "bar",
    describe: Annotated[
        bool,
        typer.Option(
            "--describe",
            callback=_print_description,
            is_eager=True,
            help="Print all commands with their arguments and options as JSON.",
        ),
    ] = False,
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
    """Keep warnings of libraries for logs, and print what the console cannot show as what it can."""
    for stream in (sys.stdout, sys.stderr):
        write_plainly(stream)
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)


@_quiet_streams()
def _outcome(program: typer.Typer, arguments: Sequence[str] | None) -> int:
    """Run a program, and report what stops it; its exit code."""
    PROGRESS.set("bar")  # until the root option says something else
    use_one_arena()
    _silence_gdal()
    with Interrupts() as interrupts:
        try:
            code = program(args=None if arguments is None else list(arguments), standalone_mode=False)
        except KeyboardInterrupt:
            code = INTERRUPTED  # as typer returns itself, where it is the one to see it
        except Exception as error:
            if not interrupts.wanted:  # else a library, in whose midst the signal came, has made this of it
                return _report(error, sys.argv[1:] if arguments is None else arguments)
            code = INTERRUPTED
    if code != INTERRUPTED:
        return code if isinstance(code, int) else 0
    number = signal.Signals(interrupts.number or signal.SIGINT)
    how = "interrupted" if number == signal.SIGINT else f"stopped by {number.name}"
    _say(f"{how}; {_way_on(sys.argv[1:] if arguments is None else arguments)}")
    return SIGNALLED + number


def _report(error: Exception, arguments: Sequence[str]) -> int:
    """Report an error on one line; return the exit code."""
    if isinstance(error, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAULT
    if isinstance(error, ClusterFailed):
        _say(f"{error}; {_way_on(arguments)}")
        return USER_ERROR
    if isinstance(error, _USAGE_ERROR | GeochangeError | OSError):
        _say(_message_of(error))
        return USER_ERROR
    if isinstance(error, typer.Abort):  # typer turns EOFError into it
        return _report_fault(error.__cause__ or error)
    return _report_fault(error)


def _silence_gdal() -> None:
    """Keep the threads of GDAL from writing to stderr what is reported as an error anyway; CPL_DEBUG shows all."""
    if "CPL_DEBUG" not in os.environ:
        os.environ.setdefault("CPL_LOG", os.devnull)


def _message_of(error: Exception) -> str:
    if isinstance(error, _USAGE_ERROR):
        return str(error.format_message())
    if isinstance(error, OSError) and not isinstance(error, GeochangeError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def _way_on(arguments: Sequence[str]) -> str:
    """Return how a program that was stopped is gone on with."""
    command = next((COMMANDS[each] for each in arguments if each in COMMANDS), None)
    resumable = command is not None and any(each.name == "resume" for each in command.keywords)
    return "add --resume to go on from what is done" if resumable else "run it again"


def _report_fault(error: BaseException) -> int:
    """Report a fault of ours on one line, which names the log with its traceback; return the exit code."""
    logged = next((note for note in getattr(error, "__notes__", ()) if note.startswith(SEE)), None)
    what = " ".join([f"unexpected {type(error).__name__}:", *str(error).splitlines()[:1]])
    _say(f"{what}; {logged or SEE + _write_log(error)}")
    return FAULT


def _write_log(error: BaseException) -> str:
    with tempfile.NamedTemporaryFile(
        "w", prefix="geochange-", suffix=".log", delete=False, encoding="utf-8", errors="backslashreplace"
    ) as file:
        file.writelines(traceback.format_exception(error))
    return file.name


def _say(message: str) -> None:
    if not message:  # help has been printed
        return
    if wants_events():
        emit("error", text=one_line(message))
    else:
        print("geochange:", one_line(message), file=sys.stderr)
