# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""systemd units as they should be, compared with what systemd says of them. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .host import Refused

PROPERTIES = ("LoadState", "UnitFileState", "ActiveState", "ConditionResult", "ConditionTimestampMonotonic")
STARTED = "started"
STOPPED = "stopped"
NAME = re.compile(
    r"[A-Za-z0-9:_.\\-]+(?:@[A-Za-z0-9:_.\\-]+)?\.(?:service|socket|timer|target|mount|automount|path|swap|slice)"
)
# Without an [Install] section of its own, others pull such a unit in.
NOT_ENABLED_BY_ITSELF = ("static", "indirect", "generated", "alias", "transient")
# In this order: what is to be disabled and masked has to be disabled first.
VERBS = ("unmask", "enable", "disable", "stop", "mask", "start")


@dataclass(frozen=True)
class Wish:
    """One entry of the argument `units`; None leaves it as it is."""

    name: str
    enabled: bool | None = None
    masked: bool | None = None
    state: str = ""
    only_if_exists: bool = True


@dataclass(frozen=True)
class Unit:
    """What systemd says of a unit."""

    load: str = "not-found"
    file: str = ""
    active: str = "inactive"
    condition: str = ""
    condition_checked: str = ""

    @property
    def conditions_unmet(self) -> bool:
        """Whether its own conditions kept it from starting the last time (systemd.unit(5))."""
        return self.condition == "no" and self.condition_checked not in ("", "0")

    @property
    def exists(self) -> bool:
        return self.load not in ("not-found", "")

    @property
    def masked(self) -> bool:
        return self.load == "masked" or self.file.startswith("masked")

    @property
    def enabled(self) -> bool:
        return self.file in ("enabled", "linked")

    @property
    def running(self) -> bool:
        return self.active in ("active", "reloading")

    def shown(self) -> dict[str, str]:
        return {"unit_file": self.file or self.load, "active": self.active}


@dataclass(frozen=True)
class Step:
    """One verb of systemctl for one unit."""

    verb: str
    name: str


def parse(entries: Sequence[Mapping[str, Any]], place: str = "units") -> tuple[Wish, ...]:
    """Return the entries of the argument, defaults filled in. Raises Refused with everything that is wrong."""
    problems: list[str] = []
    wishes: dict[str, Wish] = {}
    for number, entry in enumerate(entries):
        name = str(entry.get("name") or "")
        here = f"{place}[{number}] ({name})"
        wish = Wish(
            name=name,
            enabled=entry.get("enabled"),
            masked=entry.get("masked"),
            state=str(entry.get("state") or ""),
            only_if_exists=entry.get("only_if_exists") is not False,
        )
        if not NAME.fullmatch(name):
            problems.append(f"{here}.name is not a unit; give it with its type, such as cron.service")
        if wish.state not in ("", STARTED, STOPPED):
            problems.append(f"{here}.state is {wish.state!r}; accepted are started and stopped")
        if wish.masked and (wish.enabled or wish.state == STARTED):
            problems.append(f"{here} is to be masked, which keeps it from starting; leave out enabled and started")
        if name in wishes:
            problems.append(f"{here} stands twice; leave one entry")
        wishes[name] = wish
    if problems:
        raise Refused("; ".join(problems))
    return tuple(wishes.values())


def parse_show(text: str, names: Sequence[str]) -> dict[str, Unit]:
    """Return the units of `systemctl show`, which describes them in the order of its arguments."""
    found: dict[str, Unit] = {}
    blocks = [block for block in text.split("\n\n") if block.strip()]
    for name, block in zip(names, blocks):
        values = dict(line.partition("=")[::2] for line in block.splitlines())
        found[name] = Unit(*(values.get(key, "").strip() for key in PROPERTIES))
    return found


def plan(wishes: Sequence[Wish], units: Mapping[str, Unit], check_mode: bool = False) -> tuple[list[Step], list[str]]:
    """Return the steps, by verb in the order to run them, and a sentence for each wish that is left out.

    Raises Refused for a unit that has to exist and does not, except in check mode: its package may come before.
    """
    steps: list[Step] = []
    left_out: list[str] = []
    problems: list[str] = []
    for wish in wishes:
        unit = units.get(wish.name, Unit())
        if not unit.exists:
            if wish.only_if_exists or check_mode:
                left_out.append(f"{wish.name} does not exist")
            else:
                problems.append(f"there is no unit {wish.name} on this host; install what brings it")
            continue
        if unit.masked and wish.masked is None and (wish.enabled or wish.state == STARTED):
            problems.append(f"{wish.name} is masked and cannot start; set masked to false as well, or leave it out")
            continue
        steps += [Step(verb, wish.name) for verb in _verbs(wish, unit)]
        if wish.state == STARTED and unit.conditions_unmet and not unit.running:
            left_out.append(f"{wish.name} does not run, since this host does not meet the unit's own conditions")
        if wish.enabled is False and unit.file in NOT_ENABLED_BY_ITSELF:
            left_out.append(
                f"{wish.name} is {unit.file} and cannot be disabled, because others start it; mask it instead"
            )
    if problems:
        raise Refused("; ".join(problems))
    return sorted(steps, key=lambda step: VERBS.index(step.verb)), left_out


def _verbs(wish: Wish, unit: Unit) -> list[str]:
    verbs = []
    if wish.masked is False and unit.masked:
        verbs.append("unmask")
    if wish.masked and not unit.masked:
        verbs.append("mask")
    # What an unmasked unit is enabled as shows only afterwards; enabling it once more does no harm.
    if wish.enabled and not unit.enabled and (unit.file not in NOT_ENABLED_BY_ITSELF):
        verbs.append("enable")
    if wish.enabled is False and unit.file in ("enabled", "enabled-runtime", "linked", "linked-runtime"):
        verbs.append("disable")
    if wish.state == STARTED and not (unit.running or unit.conditions_unmet):
        verbs.append("start")
    if wish.state == STOPPED and unit.active not in ("inactive", "failed"):
        verbs.append("stop")
    return verbs


def unmet(step: Step, unit: Unit) -> str:
    """Return what a step that succeeded has not reached, or ""."""
    reached = {
        "unmask": not unit.masked,
        "mask": unit.masked,
        "enable": unit.enabled or unit.file in NOT_ENABLED_BY_ITSELF,
        "disable": not unit.enabled,
        "start": unit.running or unit.conditions_unmet,
        "stop": not unit.running,
    }
    if reached[step.verb]:
        return ""
    return f"{step.name} is {unit.active} and {unit.file or unit.load} after systemctl {step.verb}"
