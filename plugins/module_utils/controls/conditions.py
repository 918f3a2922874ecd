# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Conditions on observed values, as the catalogue writes them; pure.

A condition is a value, which the observed one must equal, or a dictionary of which every entry must hold:

=============  =========================================================================
``equals``     the value itself
``not``        any other value, or none
``at_least``   a number, the smallest that passes
``at_most``    a number, the largest that passes
``one_of``     a list of values
``contains``   a word of the value, words being divided by blanks or commas; or a list of them
``lacks``      a word that must not be there; or a list of them
``matches``    a regular expression for the whole value
``set``        true: any value; false: none
=============  =========================================================================

``true`` equals 1, yes, true and on; ``false`` equals 0, no, false and off; numbers are compared as numbers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Callable

TRUE = frozenset({"1", "yes", "true", "on", "y"})
FALSE = frozenset({"0", "no", "false", "off", "n"})
NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?")


def met(condition: Any, observed: str | None) -> bool:
    """Return whether the observed value, None for none, satisfies the condition."""
    if not isinstance(condition, Mapping):
        return observed is not None and equal(condition, observed)
    return all(TESTS[name](wanted, observed) for name, wanted in condition.items())


def equal(wanted: Any, observed: str) -> bool:
    """Return whether two values are the same in the eyes of the programs that read them."""
    text = " ".join(observed.split())
    if isinstance(wanted, bool):
        return text.lower() in (TRUE if wanted else FALSE)
    if isinstance(wanted, (int, float)):
        return number(text) == wanted
    return text == " ".join(str(wanted).split())


def number(text: str | None) -> float | None:
    """Return the number that a text is, None if it is none."""
    return float(text) if text is not None and NUMBER.fullmatch(text.strip()) else None


def words(text: str | None) -> list[str]:
    return re.split(r"[\s,]+", (text or "").strip())


def describe(condition: Any) -> str:
    """Return the condition in words."""
    if not isinstance(condition, Mapping):
        return plain(condition)
    return " and ".join(DESCRIPTIONS[name](wanted) for name, wanted in condition.items())


def plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def shown(observed: str | None) -> str:
    """Return an observed value as a person reads it."""
    if observed is None:
        return "not set"
    return " ".join(observed.split()) or "empty"


def problems(condition: Any) -> list[str]:
    """Return what is wrong with a condition."""
    if isinstance(condition, Mapping):
        if not condition:
            return ["a condition must not be empty"]
        found = [
            f"{name!r} is no condition; accepted are {', '.join(TESTS)}" for name in condition if name not in TESTS
        ]
        for name in ("at_least", "at_most"):
            wanted = condition.get(name, 0)
            if isinstance(wanted, bool) or not (isinstance(wanted, (int, float)) or placeholder(wanted)):
                found.append(f"{name} takes a number, not {wanted!r}")
        if not isinstance(condition.get("one_of", []), list):
            found.append("one_of takes a list")
        return found
    if isinstance(condition, (bool, int, float, str)):
        return []
    return [f"{condition!r} is no condition; accepted are a value or a dictionary of {', '.join(TESTS)}"]


def placeholder(value: Any) -> bool:
    """Return whether a variable's value is to be put here: a whole value that begins with ``$``."""
    return isinstance(value, str) and re.fullmatch(r"\$[a-z_]+", value) is not None


def _many(wanted: Any) -> list[str]:
    return [str(word) for word in wanted] if isinstance(wanted, list) else [str(wanted)]


def _within(wanted: Any, observed: str | None, low: bool) -> bool:
    value = number(observed)
    return value is not None and (value >= wanted if low else value <= wanted)


TESTS: dict[str, Callable[[Any, str | None], bool]] = {
    "equals": lambda wanted, observed: observed is not None and equal(wanted, observed),
    "not": lambda wanted, observed: observed is None or not equal(wanted, observed),
    "at_least": lambda wanted, observed: _within(wanted, observed, True),
    "at_most": lambda wanted, observed: _within(wanted, observed, False),
    "one_of": lambda wanted, observed: observed is not None and any(equal(value, observed) for value in wanted),
    "contains": lambda wanted, observed: all(word in words(observed) for word in _many(wanted)),
    "lacks": lambda wanted, observed: not any(word in words(observed) for word in _many(wanted)),
    "matches": lambda wanted, observed: observed is not None and re.fullmatch(wanted, observed.strip()) is not None,
    "set": lambda wanted, observed: (observed is not None) == bool(wanted),
}
DESCRIPTIONS: dict[str, Callable[[Any], str]] = {
    "equals": plain,
    "not": lambda wanted: f"not {plain(wanted)}",
    "at_least": lambda wanted: f"at least {wanted}",
    "at_most": lambda wanted: f"at most {wanted}",
    "one_of": lambda wanted: f"one of {', '.join(plain(value) for value in wanted)}",
    "contains": lambda wanted: f"with {', '.join(_many(wanted))}",
    "lacks": lambda wanted: f"without {', '.join(_many(wanted))}",
    "matches": lambda wanted: f"matching {wanted}",
    "set": lambda wanted: "set" if wanted else "not set",
}
