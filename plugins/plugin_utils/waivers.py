# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waivers: who takes it upon them, and until when, that a control is not met; pure."""

from __future__ import annotations

import datetime
import re
import typing as t

KEYS = ("control", "owner", "reason", "expires")
DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


def problems(lists: t.Mapping[str, t.Any], known: t.Collection[str], today: datetime.date) -> list[str]:
    """Return what is wrong with waivers, one sentence each with the path to the value.

    ``lists``: the variables that hold them, by name. ``known``: the ids of all controls. A waiver holds through the
    day on which it expires.
    """
    found: list[str] = []
    places: dict[str, str] = {}
    for name, entries in lists.items():
        if not isinstance(entries, (list, tuple, type(None))):
            found.append(f"{name}: takes a list of waivers, not {entries!r}")
            continue
        for number, entry in enumerate(entries or ()):
            found += _entry(f"{name}[{number}]", entry, known, places, today)
    return found


def _entry(
    path: str, entry: t.Any, known: t.Collection[str], places: dict[str, str], today: datetime.date
) -> list[str]:
    keys = ", ".join(KEYS)
    if not isinstance(entry, t.Mapping):
        return [f"{path}: a waiver is a dictionary of {keys}, not {entry!r}"]
    found = [f"{path}.{key}: a waiver has no such key; accepted are {keys}" for key in entry if key not in KEYS]
    found += [f"{path}.{key}: is missing; a waiver needs {keys}" for key in KEYS if not _text(entry.get(key))]
    if _text(entry.get("control")):
        found += _control(path, _text(entry["control"]), known, places)
    if _text(entry.get("expires")):
        found += _expiry(path, entry["expires"], today)
    return found


def _text(value: t.Any) -> str:
    """Return a value without blanks around it; YAML makes a date of what looks like one."""
    return "" if value is None else str(value).strip()


def _control(path: str, control: str, known: t.Collection[str], places: dict[str, str]) -> list[str]:
    if control not in known:
        near = sorted(identifier for identifier in known if _family(identifier) == _family(control))
        hint = f"known are {', '.join(near)}" if near else "ids look like OS-14"
        return [f"{path}.control: there is no control {control!r}; {hint}"]
    if control in places:
        return [f"{path}.control: {control} is waived already by {places[control]}; keep one of the two"]
    places[control] = path
    return []


def _family(identifier: str) -> str:
    return identifier.upper().partition(".")[0]


def _expiry(path: str, value: t.Any, today: datetime.date) -> list[str]:
    text = _text(value)
    try:
        if not DATE.fullmatch(text):
            raise ValueError
        expires = datetime.date.fromisoformat(text)
    except ValueError:
        return [f"{path}.expires: {text!r} is no date; accepted is YYYY-MM-DD"]
    if expires < today:
        return [f"{path}.expires: the waiver expired on {text}; meet the control, or let its owner set a later date"]
    return []
