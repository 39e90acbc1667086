"""NAME=VALUE as people write options of a recipe or of a map method: read as YAML, written so that it is read again."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from getam.errors import InputError


class _Yaml(yaml.SafeLoader):
    """YAML 1.1 as PyYAML reads it, but 1e-5 is a number, as in YAML 1.2, JSON and Python."""


_Yaml.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def read_named(options: Iterable[str]) -> dict[str, Any]:
    """NAME=VALUE → values by name; a value is read as in a YAML file.

    Raises:
        InputError: no name, no value, a value that cannot be read, or a name twice.

    >>> read_named(["rounds=2", "zoom=[0.5, 2]", "go_on=false", "start=", "coupling=grad"])
    {'rounds': 2, 'zoom': [0.5, 2], 'go_on': False, 'start': None, 'coupling': 'grad'}
    """
    found: dict[str, Any] = {}
    for option in options:
        name, equals, text = option.partition("=")
        name = name.strip()
        if not name or not equals:
            raise InputError(f"option {option!r} is not NAME=VALUE, as in rounds=2")
        if name in found:
            raise InputError(f"option {name} was given twice")
        try:
            found[name] = _read(text)
        except yaml.YAMLError:
            raise InputError(f"option {option!r}: the value cannot be read; lists are [1,2]") from None
    return found


def write_named(options: Mapping[str, Any]) -> str:
    """Options in brackets, as `read_named` reads what is between commas outside of inner brackets; "" for none.

    >>> write_named({"start": 9, "layers": ("a", "b"), "coupling": "grad"})
    '[start=9,layers=[a,b],coupling=grad]'
    """
    if not options:
        return ""
    return "[" + ",".join(list_named(options)) + "]"


def list_named(options: Mapping[str, Any]) -> tuple[str, ...]:
    """Options as `read_named` reads them.

    >>> list_named({"rounds": 2, "zoom": [0.5, 2], "start": None, "least": 1e-5})
    ('rounds=2', 'zoom=[0.5,2]', 'start=null', 'least=1e-05')
    """
    return tuple(f"{name}={_text(value)}" for name, value in options.items())


def split_outside(text: str) -> list[str]:
    r"""What is between commas that are not in brackets and have no backslash before them.

    >>> split_outside("acr[start=9,layers=[a,b]],gradcam")
    ['acr[start=9,layers=[a,b]]', 'gradcam']
    """
    parts, depth = [""], 0
    for piece in re.findall(r"\\.|.", text, flags=re.DOTALL):
        depth = max(0, depth + (piece == "[") - (piece == "]"))
        if piece == "," and not depth:
            parts.append("")
        else:
            parts[-1] += piece
    return parts


def _read(text: str) -> Any:
    return yaml.load(text, Loader=_Yaml)  # a SafeLoader


def _text(value: Any) -> str:
    """A value as YAML that fits a line; words without quotes where they are read as words."""
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(_text(each) for each in value) + "]"
    if isinstance(value, str) and re.fullmatch(r"[\w.-]+", value) and _read(value) == value:
        return value
    written = json.dumps(value, default=os.fspath)
    return written.replace("Infinity", ".inf") if isinstance(value, float) else written
