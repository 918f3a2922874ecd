# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parameters of readers: declared beside each reader, checked when the catalogue is loaded and on the host; pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Callable

from . import conditions

Parameters = dict[str, Any]
MODE = re.compile(r"0?[0-7]{3,4}")


@dataclass(frozen=True)
class Parameter:
    """One parameter. ``kind`` is one of KINDS; ``fields`` describes the entries of kind ``entries``."""

    kind: str
    required: bool = False
    default: Any = None
    choices: tuple[str, ...] = ()
    fields: Mapping[str, Parameter] = field(default_factory=dict)


def complete(
    specification: Mapping[str, Parameter], parameters: Any, path: str = "parameters"
) -> tuple[Parameters, list[str]]:
    """Return the parameters with their defaults, and what is wrong with them, each with the path to the value."""
    if not isinstance(parameters, Mapping):
        return {}, [f"{path}: takes a dictionary, not {parameters!r}"]
    accepted = ", ".join(specification) or "none"
    found = [
        f"{path}.{name}: there is no such parameter; accepted are {accepted}"
        for name in parameters
        if name not in specification
    ]
    values: Parameters = {}
    for name, parameter in specification.items():
        if parameters.get(name) is None:
            if parameter.required:
                found.append(f"{path}.{name}: is required")
            values[name] = parameter.default
            continue
        values[name], wrong = _value(parameter, parameters[name], f"{path}.{name}")
        found += wrong
    return values, found


def _value(parameter: Parameter, value: Any, path: str) -> tuple[Any, list[str]]:
    if conditions.placeholder(value):
        return value, []
    if parameter.kind == "entries":
        if not isinstance(value, list):
            return [], [f"{path}: takes a list of dictionaries, not {value!r}"]
        results = [complete(parameter.fields, entry, f"{path}[{number}]") for number, entry in enumerate(value)]
        return [entry for entry, _wrong in results], [problem for _entry, wrong in results for problem in wrong]
    accepted, words = KINDS[parameter.kind]
    if not accepted(value):
        return value, [f"{path}: takes {words}, not {value!r}"]
    if parameter.kind == "condition":
        return value, [f"{path}: {problem}" for problem in conditions.problems(value)]
    if parameter.kind == "conditions":
        return value, _problems(value, path)
    if parameter.kind == "nested_conditions":
        return value, [problem for name in value for problem in _problems(value[name], f"{path}.{name}")]
    if parameter.choices:
        chosen = value if isinstance(value, list) else [value]
        return value, [
            f"{path}: {choice!r} is not accepted; accepted are {', '.join(parameter.choices)}"
            for choice in chosen
            if choice not in parameter.choices
        ]
    return value, []


def _problems(value: Any, path: str) -> list[str]:
    if not isinstance(value, Mapping):
        return [f"{path}: takes a dictionary of conditions, not {value!r}"]
    return [f"{path}.{name}: {wrong}" for name, condition in value.items() for wrong in conditions.problems(condition)]


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(entry, str) for entry in value)


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


KINDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "text": (lambda value: isinstance(value, str), "a text"),
    "texts": (_texts, "a list of texts"),
    "text_or_texts": (lambda value: isinstance(value, str) or _texts(value), "a text or a list of texts"),
    "number": (_number, "a number"),
    "numbers": (lambda value: isinstance(value, list) and all(_number(entry) for entry in value), "a list of numbers"),
    "port": (lambda value: value == "*" or (isinstance(value, int) and 0 < value < 65536), 'a port, or "*"'),
    "boolean": (lambda value: isinstance(value, bool), "true or false"),
    "mode": (
        lambda value: isinstance(value, str) and MODE.fullmatch(value) is not None,
        'an octal mode such as "0640"',
    ),
    "condition": (lambda value: value is not None, "a condition"),
    "conditions": (lambda value: isinstance(value, Mapping), "a dictionary of conditions"),
    "nested_conditions": (lambda value: isinstance(value, Mapping), "a dictionary of dictionaries of conditions"),
    "values": (lambda value: isinstance(value, Mapping), "a dictionary"),
}
