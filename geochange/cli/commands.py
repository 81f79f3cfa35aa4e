"""The commands: each is a function of the pipeline, and how its answer is shown."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib import import_module
from inspect import Parameter as Place
from inspect import Signature as Places
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

import typer

from geochange.cli.signatures import GENERAL, Parameter, Signature, option_parameters, signature_of, summary_of
from geochange.declarations import OUTPUT, REGIONS, TILES, describe_type, parse_named, parse_value
from geochange.errors import BadOption
from geochange.extras import import_for

ARGUMENTS, FIRST = "Arguments", "Most used"
PANELS = (
    ARGUMENTS,
    FIRST,
    GENERAL,
    "Images",
    "Detector",
    "Network",
    "Model",
    REGIONS,
    "Kinds of change",
    TILES,
    OUTPUT,
)
"""In the order of the help."""

SHORT_CHOICES = 24  # characters
BETWEEN, IMAGES = "between", "images"


@dataclass(frozen=True)
class Command:
    """A function of the pipeline as a command."""

    name: str
    show: str
    """The function that prints the answer."""
    function: str = ""
    """The name of the function, where it is not the command's."""
    first: tuple[str, ...] = ()
    """Options that most people need, shown first."""
    hidden: tuple[str, ...] = ()
    """Fields of the options class that the command does not offer."""
    finish: str = ""
    """A function beside it that has the last word on the answer, however it is shown."""
    tables: str = "tables"
    """The module of `cli` that holds both."""
    file: bool = False
    """Whether options may come from a JSON file."""

    @property
    def module(self) -> str:
        """The module of the pipeline."""
        return f"geochange.pipeline.{_identifier(self.name)}"

    @property
    def function_name(self) -> str:
        """The name of the function in its module."""
        return self.function or _identifier(self.name)

    @property
    def summary(self) -> str:
        """The first line of the function's docstring."""
        return summary_of(self.module, self.function_name)

    @cached_property
    def signature(self) -> Signature:
        """What the function takes."""
        return signature_of(self.module, self.function_name)

    @cached_property
    def options(self) -> tuple[Parameter, ...]:
        """Fields of the function's options class."""
        kind = self.signature.options
        found = () if kind is None else option_parameters(kind)
        return tuple(each for each in found if each.name not in self.hidden)

    @cached_property
    def cluster(self) -> tuple[Parameter, ...]:
        """Fields of `ClusterOptions`, where the function takes a cluster."""
        if not self.signature.clustered:
            return ()
        from geochange.engine.cluster import ClusterOptions

        return tuple(option_parameters(ClusterOptions))

    @cached_property
    def inputs(self) -> tuple[Parameter, ...]:
        """Arguments; where the function takes dates between the first and the last, a list of all."""
        between = [each for each in self.signature.keywords if each.name == BETWEEN]
        if not between:
            return self.signature.inputs
        words = " ".join(each.help for each in (*self.signature.inputs, *between))
        first, last = (each.name.upper() for each in self.signature.inputs)
        return (Parameter(IMAGES, list[str], words, required=True, metavar=f"{first} [...] {last}"),)

    @cached_property
    def keywords(self) -> tuple[Parameter, ...]:
        """Keywords of the function itself."""
        return tuple(each for each in self.signature.keywords if each.name not in (BETWEEN, *self.hidden))

    @cached_property
    def switches(self) -> tuple[Parameter, ...]:
        """What a command has beside its function."""
        as_json = Parameter("as_json", bool, "Print the answer as JSON.", ("--json",), panel=OUTPUT)
        quiet = Parameter("quiet", bool, "Show no progress bar and no table.", ("--quiet", "-q"), panel=OUTPUT)
        file = Parameter(
            "options_file", str, "JSON file of options by name, as `geochange tune` writes.", ("--options",)
        )
        return (as_json, quiet, file) if self.file else (as_json, quiet)

    def parameters(self) -> list[Parameter]:
        """All arguments and options, in the order of the help."""
        found = [*self.inputs, *self.keywords, *self.options, *self.cluster, *self.switches]
        return sorted(found, key=self._place_of)

    def panel_of(self, parameter: Parameter) -> str:
        """Return where the help lists a parameter."""
        if not parameter.flags:
            return ARGUMENTS
        return FIRST if parameter.name in self.first else parameter.panel

    def _place_of(self, parameter: Parameter) -> tuple[int, int]:
        rank = self.first.index(parameter.name) if parameter.name in self.first else 0
        return PANELS.index(self.panel_of(parameter)), rank

    def build(self) -> Any:
        """Make the command as typer has it."""
        places = [_place(each, self.panel_of(each)) for each in self.parameters()]

        def body(**given: Any) -> None:
            self.run(given)

        body.__dict__["__signature__"] = Places(places)
        body.__annotations__ = {place.name: place.annotation for place in places}
        holder = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        holder.command(self.name, help=self.summary)(body)
        return typer.main.get_command(holder)

    def run(self, given: Mapping[str, Any]) -> None:
        """Call the function with what was given on the command line, and show its answer."""
        from geochange.cli.events import emit, finite, wants_events
        from geochange.cli.progress import progress_bar
        from geochange.cli.tables import print_json

        if first_rank_elsewhere():
            given = {**given, "quiet": True, "as_json": False}
        inputs, keywords = self._inputs(given), self._keywords(given)
        if self.signature.options is not None:
            keywords["options"] = self._options(given)
        if self.signature.clustered:
            from geochange.engine.cluster import ClusterOptions

            keywords["cluster"] = ClusterOptions(**_read(self.cluster, given))
        function: Callable[..., Any] = getattr(import_for(self.name, self.module), self.function_name)
        with progress_bar(quiet=given["quiet"], as_json=given["as_json"]) as listener:
            if self.signature.listened:
                keywords["listener"] = listener
            answer = function(*inputs, **keywords)
        if wants_events() and not given["quiet"]:
            emit("answer", answer=finite(plain(answer)))
        if given["as_json"]:
            print_json(plain(answer))
        elif not given["quiet"]:
            self._function(self.show)(answer)
        if self.finish:
            self._function(self.finish)(answer)

    def _function(self, name: str) -> Callable[[Any], None]:
        found: Callable[[Any], None] = getattr(import_module(f"geochange.cli.{self.tables}"), name)
        return found

    def _options(self, given: Mapping[str, Any]) -> Any:
        chosen, kind = _read(self.options, given), self.signature.options
        assert kind is not None
        if not given.get("options_file"):
            return kind(**chosen)
        from geochange.learning.run_options import options_from, read_options

        return options_from(kind, {**read_options(Path(given["options_file"])), **chosen})

    @property
    def _takes_series(self) -> bool:
        return self.inputs != self.signature.inputs

    def _inputs(self, given: Mapping[str, Any]) -> list[Any]:
        if not self._takes_series:
            return [given[each.name] for each in self.inputs]
        images = given[IMAGES]
        if len(images) < len(self.signature.inputs):
            names = " and ".join(each.name.upper() for each in self.signature.inputs)
            raise BadOption(f"{names} are needed: one image was given")
        return [images[0], images[-1]]

    def _keywords(self, given: Mapping[str, Any]) -> dict[str, Any]:
        keywords = _read(self.keywords, given)
        return {**keywords, BETWEEN: given[IMAGES][1:-1]} if self._takes_series else keywords


def _identifier(name: str) -> str:
    return name.replace("-", "_").replace(" ", "_")


def first_rank_elsewhere() -> bool:
    """Whether this is one of several processes of torchrun, and not the one that reports."""
    return int(os.environ.get("RANK", "0")) > 0


def plain(answer: Any) -> Any:
    """Return an answer as JSON values."""
    if isinstance(answer, list | tuple):
        return [plain(each) for each in answer]
    if isinstance(answer, Mapping):
        return dict(answer)
    return answer.to_dict() if hasattr(answer, "to_dict") else asdict(answer)


def _read(parameters: Sequence[Parameter], given: Mapping[str, Any]) -> dict[str, Any]:
    """Values of the options that were given, by the types that are declared."""
    return {each.name: read_value(each, given[each.name]) for each in parameters if given[each.name] is not None}


def read_value(parameter: Parameter, text: Any) -> Any:
    """Return the text of an option as a value of its type.

    Raises:
        BadOption: it is not of that type.
    """
    if isinstance(text, bool):
        return text
    if not text:
        raise BadOption(f"{parameter.flags[0]} must not be empty")
    if isinstance(text, list):
        return parse_named(parameter.flags[0], text) if is_mapping(parameter.hint) else tuple(text)
    try:
        return parse_value(text, parameter.hint)
    except ValueError as error:
        wanted = describe_type(parameter.hint).removesuffix(" or none")
        raise BadOption(f"{parameter.flags[0]} must be {wanted}, not {text!r}") from error


def is_mapping(hint: Any) -> bool:
    """Whether an option takes names with values."""
    return get_origin(hint) is not None and isinstance(get_origin(hint), type) and issubclass(get_origin(hint), Mapping)


def _place(parameter: Parameter, panel: str) -> Place:
    """Return the parameter of a function that typer makes the argument or option of."""
    if not parameter.flags:
        kind: Any = parameter.hint if parameter.hint == list[str] else str
        info: Any = typer.Argument(help=parameter.help, metavar=parameter.metavar or parameter.name.upper())
        default: Any = Place.empty if parameter.required else None
        return Place(parameter.name, Place.KEYWORD_ONLY, default=default, annotation=Annotated[kind, info])
    flags, choices = parameter.flags, [each for each in get_args(parameter.hint) if each is not NoneType]
    kind, metavar = str, ""
    if parameter.hint is bool and parameter.default is not True:
        kind = bool
    elif parameter.hint is bool or choices == [bool]:
        kind, flags = bool, (f"{flags[0]}/--no-{flags[0].removeprefix('--')}",)
    elif is_mapping(parameter.hint) or parameter.hint == list[str]:
        kind, metavar = list[str], "NAME=VALUE" if is_mapping(parameter.hint) else "TEXT"
    else:
        metavar = metavar_of(parameter.hint)
    info = typer.Option(*flags, help=help_of(parameter), metavar=metavar, rich_help_panel=panel, show_default=False)
    default = Place.empty if parameter.required else None
    optional = kind if parameter.required else kind | None
    return Place(parameter.name, Place.KEYWORD_ONLY, default=default, annotation=Annotated[optional, info])


def choices_of(hint: Any) -> str:
    """Return the choices of an option as text; empty where it has none."""
    inner = [each for each in get_args(hint) if each is not NoneType]
    if get_origin(hint) is Literal:
        return ", ".join(map(str, inner))
    return "" if get_origin(hint) is None else next(filter(None, map(choices_of, inner)), "")


def help_of(parameter: Parameter) -> str:
    """Return the help of an option, with its default."""
    default = default_of(parameter)
    return f"{described(parameter)} (default: {default})" if default else described(parameter)


def described(parameter: Parameter) -> str:
    """Return what an option does, with its choices where these are too long to stand for the value."""
    choices = choices_of(parameter.hint)
    return parameter.help if len(choices) <= SHORT_CHOICES else f"{parameter.help} Choices: {choices}."


def metavar_of(hint: Any) -> str:
    """Return what stands for a value in the help: its choices, or its form."""
    parts = [each for each in get_args(hint) if each is not NoneType]
    if get_origin(hint) is Literal:
        return f"[{'|'.join(map(str, parts))}]" if len(choices_of(hint)) <= SHORT_CHOICES else "NAME"
    if get_origin(hint) is tuple:
        inner = metavar_of(parts[0])
        return f"{inner},..." if parts[-1] is Ellipsis else ",".join([inner] * len(parts))
    if parts:
        found = [metavar_of(each) for each in parts]
        return "TEXT" if "TEXT" in found else "|".join(dict.fromkeys(found))
    return {int: "INTEGER", float: "NUMBER"}.get(hint, "TEXT")


def default_of(parameter: Parameter) -> str:
    """Return the default as the help shows it; empty where there is none worth showing."""
    value = parameter.default
    if parameter.required:
        return ""
    if value is None or value is False or value == () or isinstance(value, Mapping):
        return parameter.unset or ""
    if value is True:
        return "on"
    many = value if isinstance(value, tuple) else (value,)
    return ",".join(f"{each:g}" if isinstance(each, float) else str(each) for each in many)


LEARNING = "learning_tables"
SEARCHED = ("rate", "loss", "batch", "weight_decay", "encoder_rate")  # by `tune`, among its `rates`, `losses` ...
MASKS = ("mask_before", "mask_after", "masks", "mask_values", "mask_buffer")
NEEDED = (
    "out",
    "detector",
    "checkpoint",
    "align",
    "bands",
    "threshold",
    "min_area",
    "kinds",
    "workers",
    "resume",
)
COMMANDS: dict[str, Command] = {
    command.name: command
    for command in (
        Command("check", "print_report", hidden=("align",)),
        Command("align", "print_aligned", hidden=("align", "aoi")),
        Command("detect", "print_run", first=NEEDED),
        Command(
            "detect-many",
            "print_many",
            first=(*NEEDED, "merge"),
            finish="require_done",
        ),
        Command(
            "watch",
            "print_watched",
            first=("reference", "until_idle", *(name for name in NEEDED if name != "kinds")),
            hidden=("labels", "label_column", "date_before", "date_after", "mosaic", *MASKS),
        ),
        Command("refine", "print_refined"),
        Command("vectorize", "print_layer"),
        Command("kinds", "print_kinds"),
        Command("fuse", "print_fused"),
        Command("evaluate", "print_evaluation"),
        Command("detectors", "print_detectors", function="list_detectors"),
        Command("datasets", "print_datasets", tables=LEARNING, function="describe_datasets", finish="require_whole"),
        Command("datasets import", "print_imported", tables=LEARNING, function="import_dataset"),
        Command("datasets export", "print_exported_labels", tables=LEARNING, function="export_labels"),
        Command(
            "datasets doubts",
            "print_doubts",
            tables=LEARNING,
            function="doubt_labels",
            hidden=("val", "val_share", "every", "patience", "unlabelled", "skip_bad", "match_dates"),
        ),
        Command("review", "print_reviewed", first=("port", "open", "reviewer", "export", "only", "status")),
        Command("from-to", "print_from_to"),
        Command("frames", "print_frames", function="extract_frames"),
        Command("synthesize", "print_synthesized", tables=LEARNING),
        Command("train", "print_trained", tables=LEARNING, file=True),
        Command(
            "finetune",
            "print_trained",
            tables=LEARNING,
            hidden=("network", "network_options", "pretrained", "encoder_weights", "encoder_bands"),
        ),
        Command("tune", "print_tuned", tables=LEARNING, hidden=SEARCHED),
        Command("export-model", "print_exported", tables=LEARNING),
        Command("model describe", "print_described", tables=LEARNING, function="describe_model"),
        Command("explain", "print_explained", hidden=("device", "precision", "engine", "augment", "shift_tolerance")),
    )
}
