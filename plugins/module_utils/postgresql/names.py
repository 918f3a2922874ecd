# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of objects and texts, as SQL writes them."""

from __future__ import annotations

MAXIMUM_BYTES = 63


def identifier(name: str) -> str:
    """Return a name in double quotes, whatever it contains. Raises ValueError for what PostgreSQL cannot store."""
    problem = name_problem(name)
    if problem:
        raise ValueError(problem)
    return '"' + name.replace('"', '""') + '"'


def qualified(*parts: str) -> str:
    """Return a name in its schema: "schema"."name"."""
    return ".".join(identifier(part) for part in parts)


def name_problem(name: str) -> str:
    """Return why PostgreSQL would not take this as a name as it is written; empty if it would."""
    if not name:
        return "a name is empty; PostgreSQL's names have 1 to 63 bytes"
    if "\x00" in name:
        return f"the name {name!r} contains the character NUL, which PostgreSQL cannot store"
    size = len(name.encode("utf-8", "surrogatepass"))
    if size > MAXIMUM_BYTES:
        return f"the name {name!r} has {size} bytes, and PostgreSQL would cut it at 63; choose a shorter one"
    return ""


def literal(text: str) -> str:
    """Return a text as SQL writes it, independent of standard_conforming_strings. Raises ValueError for NUL."""
    if "\x00" in text:
        raise ValueError(f"the text {text!r} contains the character NUL, which PostgreSQL cannot store")
    quoted = "'" + text.replace("'", "''") + "'"
    return " E" + quoted.replace("\\", "\\\\") if "\\" in text else quoted
