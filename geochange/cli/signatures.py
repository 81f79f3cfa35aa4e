"""What a command takes, read from the function that it calls: its signature, its docstring, and its options class.

Nothing is imported but the module of the options class, so that help stays quick.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from dataclasses import MISSING, Field, dataclass, fields
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_type_hints

from geochange.declarations import OUTPUT, Options, field_docs

GENERAL = Options.panel  # of what belongs to no group
STANDARD = {
    "out": "File or folder to write.",
    "overwrite": "Replace what is already there.",
    "resume": "Continue an interrupted run.",
}
SHORT = {"out": ("--output", "-o"), "folder": ("--output", "-o")}
INTERNAL = {"options", "cluster", "listener"}


@dataclass(frozen=True, slots=True)
class Parameter:
    """An argument or an option of a command."""

    name: str
    """As the function or the options class has it."""
    hint: Any
    help: str
    flags: tuple[str, ...] = ()
    """Names on the command line; none for an argument, which goes by its place."""
    default: Any = None
    unset: str | None = None
    """What None stands for."""
    required: bool = False
    panel: str = GENERAL
    metavar: str | None = None
    names: str | None = None
    """What its text names: a raster, a layer, a map (either of both), a file, a folder, a band, or an extent."""
    written: bool = False
    """Whether the command writes what it names."""


@dataclass(frozen=True, slots=True)
class Signature:
    """A function that is a command."""

    summary: str
    inputs: tuple[Parameter, ...]
    keywords: tuple[Parameter, ...]
    """The function's own keywords, the output among them."""
    options: type[Any] | None
    clustered: bool
    """Whether it takes a cluster."""
    listened: bool
    """Whether it sends progress updates."""


@cache
def _parse(module: str) -> ast.Module:
    spec = find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    return ast.parse(Path(spec.origin).read_text(encoding="utf-8"))


def _function(module: str, name: str) -> ast.FunctionDef:
    found = (node for node in _parse(module).body if isinstance(node, ast.FunctionDef) and node.name == name)
    return next(found)


def summary_of(module: str, name: str) -> str:
    """Return the first line of a function's docstring."""
    return (ast.get_docstring(_function(module, name)) or "").partition("\n\n")[0].replace("\n", " ")


def signature_of(module: str, name: str) -> Signature:
    """Read what a function of the pipeline takes.

    Args:
        module: its full name.
        name: of the function in it.
    """
    node = _function(module, name)
    docs = argument_docs(ast.get_docstring(node) or "")
    positional: list[Parameter] = []
    keywords: list[Parameter] = []
    optional = len(node.args.args) - len(node.args.defaults)
    for place, argument in enumerate(node.args.args):
        if argument.arg in INTERNAL:
            continue
        found = _parameter(argument, docs, positional=True, required=place < optional)
        (keywords if argument.arg == "out" else positional).append(found)
    given = {argument.arg: argument for argument in (*node.args.args, *node.args.kwonlyargs)}
    keywords += [_parameter(each, docs) for each in node.args.kwonlyargs if each.arg not in INTERNAL]
    return Signature(
        summary_of(module, name),
        tuple(positional),
        tuple(keywords),
        _options_class(module, given["options"]) if "options" in given else None,
        "cluster" in given,
        "listener" in given,
    )


def argument_docs(docstring: str) -> dict[str, str]:
    """Return what a Google-style docstring says of each argument."""
    _, _, rest = docstring.partition("Args:\n")
    section = re.split(r"\n\n", rest)[0]
    docs: dict[str, str] = {}
    for line in textwrap.dedent(section).splitlines():
        name, colon, text = line.partition(": ")
        if colon and name.isidentifier():
            docs[name] = text
        elif docs:
            docs[[*docs][-1]] += " " + line.strip()
    return docs


def _parameter(
    argument: ast.arg, docs: dict[str, str], *, positional: bool = False, required: bool = False
) -> Parameter:
    name, text = argument.arg, ast.unparse(argument.annotation) if argument.annotation else "str"
    required = required and not text.endswith("| None")
    said = STANDARD[name] if name in ("overwrite", "resume") else docs.get(name, STANDARD.get(name, ""))
    words, unset = split_default(said[:1].upper() + said[1:])
    flags = () if positional and name != "out" else SHORT.get(name, (flag_of(name),))
    hint: Any = list[str] if "Sequence[" in text else bool if text == "bool" else str
    panel = OUTPUT if name in STANDARD else GENERAL
    return Parameter(name, hint, words, flags, unset=unset, required=required, panel=panel)


def flag_of(name: str) -> str:
    """Return the option's name on the command line."""
    return "--" + name.replace("_", "-")


def split_default(text: str) -> tuple[str, str | None]:
    """Split "Band numbers; None: all." into the text and what None stands for."""
    match = re.fullmatch(r"(.*?); None: (.*?)\.?", " ".join(text.split()))
    return (f"{match[1].removesuffix('.')}.", match[2]) if match else (" ".join(text.split()), None)


def _options_class(module: str, argument: ast.arg) -> type[Any]:
    """Return the options class that a parameter is annotated with; only its own module is imported."""
    assert argument.annotation is not None
    name = ast.unparse(argument.annotation).partition(" |")[0]
    for node in ast.walk(_parse(module)):
        if isinstance(node, ast.ImportFrom) and node.module and name in [alias.name for alias in node.names]:
            module = node.module
    found: type[Any] = getattr(import_module(module), name)
    return found


def option_parameters(kind: type[Any]) -> Iterator[Parameter]:
    """Yield the options of a class, those of its bases among them, in the order of their declaration.

    A field's metadata may give other `flags`, or none for a field that is not an option of the command line, another
    `panel`, and what its text `names`, with `written` where that is an output.
    """
    hints, docs, panels = get_type_hints(kind), field_docs(kind), _panels(kind)
    for field in fields(kind):
        flags = field.metadata.get("flags", (flag_of(field.name),))
        if flags:
            words, unset = split_default(docs.get(field.name, ""))
            yield Parameter(
                field.name,
                hints[field.name],
                words,
                flags,
                _default(field),
                unset,
                panel=field.metadata.get("panel", panels[field.name]),
                names=field.metadata.get("names"),
                written=field.metadata.get("written", False),
            )


def _default(field: Field[Any]) -> Any:
    return field.default_factory() if field.default_factory is not MISSING else field.default


def _panels(kind: type[Any]) -> dict[str, str]:
    """Return the panel of each field: the `panel` of the class that declares it."""
    panels: dict[str, str] = {}
    for each in reversed(kind.__mro__):
        panels |= dict.fromkeys(inspect.get_annotations(each), getattr(each, "panel", GENERAL))
    return panels
