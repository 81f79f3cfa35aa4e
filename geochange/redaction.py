"""Secrets taken out of names that are printed or kept: passwords, tokens, signatures. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import unquote

T = TypeVar("T")

HIDDEN = "***"

_SECRETS = r"[\w.-]*(?:password|passwd|passphrase|pwd|secret|token|signature|credentials?|api[_-]?key|access[_-]?key)"
_KEY = rf"(?:{_SECRETS}|(?<![\w-])(?:sig|pw|auth|authorization|userpwd))"
_VALUE = r"(?:'(?:[^'\\]|\\.)*'?|\"(?:[^\"\\]|\\.)*\"?|[^\s&;,|'\"]*)"

_RULES: tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = (
    (re.compile(r"(authorization\s*:\s*)(?:(?:basic|bearer|digest|token)\s+)?\S+", re.I), rf"\1{HIDDEN}"),
    (re.compile(r"(/vsi\w+\?)([^\s'\"|]*)"), lambda match: match[1] + _vsi_options(match[2])),
    (re.compile(r"(\b[a-z][a-z0-9+.-]+:/+)(?:[^\s/?#:]*:\S*|[^\s/?#]*)@", re.I), rf"\1{HIDDEN}@"),
    (re.compile(r"(?<![\w/@])[\w.+-]+:[^\s:@/\\'\"]+@(?=[\w\[])"), f"{HIDDEN}@"),
    (re.compile(r"(\b(?:https?|ftps?)://[^\s?'\"|]*\?)[^\s'\"|]+", re.I), rf"\1{HIDDEN}"),
    (re.compile(rf"({_KEY}\s*(?:=|:|%3D)\s*){_VALUE}", re.I), rf"\1{HIDDEN}"),
)
"""What is hidden: headers, GDAL's options, user names with passwords, queries, and values by their names."""


def redact(text: str) -> str:
    """Return a text with the secrets of paths, URLs and connection strings in it replaced by `***`.

    Law: what is redacted stays as it is when it is redacted again.

    Args:
        text: a name, or a sentence with names in it.
    """
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    return text


def _vsi_options(options: str) -> str:
    """Keep the address among the options of a `/vsicurl?` name."""
    address = next((each for each in options.split("&") if each.startswith("url=")), None)
    return HIDDEN if address is None else redact(unquote(address)) + (f"&{HIDDEN}" if "&" in options else "")


def one_line(text: str) -> str:
    """Return a text as one line for terminals and logs: without secrets; breaks and what does not print as escapes."""
    lines = " \\n ".join(each.strip() for each in redact(text).strip().splitlines())
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in lines)


def plain(values: T) -> T:
    """Return values as JSON gives them back, with the secrets in their texts redacted."""
    kept: T = _redacted(json.loads(json.dumps(values)))
    return kept


def _redacted(value: Any) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, list):
        return [_redacted(each) for each in value]
    if isinstance(value, dict):
        return {redact(key): _redacted(each) for key, each in value.items()}
    return value
