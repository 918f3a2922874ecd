# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare values with an argument specification, and name each faulty one by its path.

Ansible's own check says less: it stops inside of lists, and does not name the place.
"""

from __future__ import annotations

import re
import typing as t

from ansible.module_utils.parsing.convert_bool import boolean

Specification = t.Mapping[str, t.Mapping[str, t.Any]]


def option_problems(values: t.Mapping[str, t.Any], specification: Specification, prefix: str = "") -> list[str]:
    """Return one sentence for each value that the specification does not accept; none if all is well.

    Types are bool, int, str, list and dict, nested to any depth.
    """
    names = ", ".join(sorted(specification))
    found = [
        f"{prefix}{name}: there is no such key; accepted are {names}" for name in values if name not in specification
    ]
    for name, option in specification.items():
        if values.get(name) is not None:
            found += _value(f"{prefix}{name}", values[name], option)
        elif option.get("required"):
            found.append(f"{prefix}{name}: is missing")
        elif name in values and not prefix:
            found.append(f"{prefix}{name}: is empty; leave it out for the default")
    return found


def _value(path: str, value: t.Any, option: t.Mapping[str, t.Any]) -> list[str]:
    kind = option.get("type", "str")
    if kind == "list":
        if not isinstance(value, (list, tuple)):
            return [f"{path}: {value!r} is not a list; write one value as [{value}]"]
        element = {**option, "type": option.get("elements", "str")}
        return [problem for index, item in enumerate(value) for problem in _value(f"{path}[{index}]", item, element)]
    if kind == "dict":
        if not isinstance(value, t.Mapping):
            keys = ", ".join(sorted(option.get("options") or {}))
            return [f"{path}: {value!r} is no dictionary; accepted is one with the keys {keys}"]
        return option_problems(value, option.get("options") or {}, f"{path}.")
    accepted = _accepted(kind, value, option.get("choices"))
    return [f"{path}: {value!r} is not accepted; accepted {accepted}"] if accepted else []


def _accepted(kind: str, value: t.Any, choices: t.Sequence[t.Any] | None) -> str:
    """Return what would be accepted in place of this value; nothing if it is accepted itself."""
    if kind == "bool":
        return "" if _is_boolean(value) else "are true and false"
    if kind == "int":
        whole = isinstance(value, int) or (isinstance(value, str) and re.fullmatch(r"\s*[+-]?[0-9]+\s*", value))
        return "" if whole and not isinstance(value, bool) else "is a whole number"
    if not isinstance(value, (str, int, float)):
        return "is a text"
    if choices and str(value) not in map(str, choices):
        return f"are {', '.join(map(str, choices))}"
    return ""


def _is_boolean(value: t.Any) -> bool:
    try:
        boolean(value)
    except TypeError:
        return False
    return True
