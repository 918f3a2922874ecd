# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads metrics as strictly as Prometheus' text format is written down, and refuses what is not of it."""

from __future__ import annotations

import re

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"'
SAMPLE = re.compile(rf"({NAME})(?:\{{({LABEL}(?:,{LABEL})*)\}})? (-?[0-9]+(?:\.[0-9]+)?)")
HELP = re.compile(rf"# HELP ({NAME}) (\S.*)")
TYPE = re.compile(rf"# TYPE ({NAME}) (gauge|counter)")
Labels = tuple[tuple[str, str], ...]


def parse(text: str) -> dict[str, dict[Labels, float]]:
    """Return the samples of each metric; each has its HELP, then its TYPE, then samples, once and together."""
    assert text.endswith("\n"), "the last line is cut off"
    found: dict[str, dict[Labels, float]] = {}
    name, announced = "", ""
    for line in text.splitlines():
        explained, typed, sample = HELP.fullmatch(line), TYPE.fullmatch(line), SAMPLE.fullmatch(line)
        if explained:
            announced = explained[1]
            assert announced not in found, f"{announced} is there twice"
        elif typed:
            assert typed[1] == announced, f"{typed[1]} has a type and no explanation before it"
            name = announced
            found[name] = {}
        else:
            assert sample, f"{line!r} is no sample"
            assert sample[1] == name, f"{sample[1]} is among the samples of {name}"
            labels = tuple((key, plain(value)) for key, value in re.findall(LABEL, sample[2] or ""))
            assert labels not in found[name], f"{line!r} is there twice"
            found[name][labels] = float(line.rpartition(" ")[2])
    assert all(found.values()), "a metric has no sample"
    return found


def plain(value: str) -> str:
    return re.sub(r"\\(.)", lambda match: "\n" if match[1] == "n" else match[1], value)
