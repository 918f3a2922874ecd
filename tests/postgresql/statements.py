# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tables of statements in ``statements/``: what is run as whom, with which profile, and what has to come of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent
Case = tuple[str, str, str]


def table(product: str) -> dict[str, Any]:
    """Return the table of a product, with the text of its schema."""
    found: dict[str, Any] = yaml.safe_load((HERE / "statements" / f"{product}.yml").read_text(encoding="utf-8"))
    return {**found, "schema": (HERE / "statements" / found["schema"]).read_text(encoding="utf-8")}


def cases(product: str, profile: str, roles: tuple[str, ...]) -> list[Case]:
    """Return (role, statement, expected) for each statement that is about the profile and these roles."""
    found: list[Case] = []
    for kind in ("works", "attempts"):
        for group in table(product)[kind]:
            if profile in group.get("only", [profile]) and group["as"] in roles:
                refused = kind == "attempts" or profile in group.get("refused_by", ())
                found += [(group["as"], statement, "refused" if refused else "works") for statement in group["run"]]
                found += [(group["as"], statement, "quiet") for statement in group.get("quiet", ())]
    return found


def program(database: str, audit_table: str, logins: dict[str, tuple[str, str]], listed: list[Case]) -> str:
    """Return the program that runs the cases on a host."""
    order = {"database": database, "audit_table": audit_table, "logins": logins, "cases": listed}
    source = (HERE / "replay.py").read_text(encoding="utf-8")
    return source.replace("ORDER: dict[str, t.Any] = {}", f"ORDER = json.loads({json.dumps(order)!r})")
