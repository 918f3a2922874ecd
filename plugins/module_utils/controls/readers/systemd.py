# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Units as systemd has them, and the limits of the processes that run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from .. import conditions
from ..host import Host
from ..model import Item, Observation, Unreadable, Verdict, item, missing, observation
from ..parameters import Parameter, Parameters
from ..reader import Reader

SUFFIX = re.compile(r"\.(?:service|socket|target|timer|mount|automount|path|slice|scope|swap|device)$")
BASIC = ("LoadState", "ActiveState", "UnitFileState")
CONDITIONS = ("ConditionResult", "ConditionTimestampMonotonic")
STARTED_AT_BOOT = ("enabled", "enabled-runtime", "linked", "linked-runtime", "alias", "static", "indirect", "generated")
NOT_THERE = {"LoadState": "not-found", "ActiveState": "inactive", "UnitFileState": ""}
LOADED = ("systemctl", "list-units", "--all", "--plain", "--full", "--no-legend", "--no-pager")
FOLDERS = (
    "/etc/systemd/system",
    "/run/systemd/system",
    "/run/systemd/generator",
    "/run/systemd/generator.early",
    "/run/systemd/generator.late",
    "/run/systemd/transient",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
)
UNITS, PROPERTIES, MANAGER = "units", "unit properties", "manager properties"


def full_name(name: str) -> str:
    """Return the name of a unit as systemctl completes it."""
    return name if SUFFIX.search(name) else f"{name}.service"


def announce_units(host: Host, parameters: Parameters) -> None:
    """Note the units that will be asked for."""
    host.start(*LOADED)
    host.wish(UNITS, (full_name(entry["name"]) for entry in parameters["units"]))
    if any(entry["only_if_conditions_met"] for entry in parameters["units"]):
        host.wish(PROPERTIES, CONDITIONS)


def announce_show(host: Host, parameters: Parameters) -> None:
    """Note the units and properties that will be asked for."""
    if parameters["units"]:
        host.start(*LOADED)
    host.wish(MANAGER, parameters["manager"] or {})
    for name, values in (parameters["units"] or {}).items():
        host.wish(UNITS, [full_name(name)])
        host.wish(PROPERTIES, values)


def announce_limits(host: Host, parameters: Parameters) -> None:
    """Note the manager's defaults that will be asked for."""
    name = f"DefaultLimit{parameters['limit'].upper()}"
    host.wish(MANAGER, [name, f"{name}Soft"])


def unit_properties(host: Host, name: str) -> Mapping[str, str]:
    """Return what systemd says about a unit; all units that were announced are asked together."""

    def make() -> dict[str, dict[str, str]]:
        names = [unit for unit in host.wished(UNITS) if exists(host, unit)]
        if not names:
            return {}
        wanted = ",".join([*BASIC, *host.wished(PROPERTIES)])
        output = host.output("systemctl", "show", f"--property={wanted}", "--", *names)
        blocks = [block for block in output.split("\n\n") if block.strip()]
        if len(blocks) != len(names):
            raise Unreadable(f"systemctl answered for {len(blocks)} of {len(names)} units")
        return {unit: pairs(block) for unit, block in zip(names, blocks)}

    known: dict[str, dict[str, str]] = host.once("units", make)
    if full_name(name) not in host.wished(UNITS):
        raise LookupError(f"the unit {name} was not announced")
    return known.get(full_name(name), NOT_THERE)


def exists(host: Host, name: str) -> bool:
    """Return whether there is a unit, loaded or as a file; most that are asked for are not, and asking each is slow."""

    def make() -> frozenset[str]:
        files = (entry for folder in FOLDERS for entry in host.names(folder))
        loaded = (line.split()[0] for line in host.output(*LOADED).splitlines() if line.split())
        return frozenset((*files, *loaded))

    known: frozenset[str] = host.once("unit names", make)
    return name in known or re.sub(r"@[^.]*\.", "@.", name) in known


def manager_properties(host: Host) -> dict[str, str]:
    """Return what systemd says about itself."""

    def make() -> dict[str, str]:
        return pairs(host.output("systemctl", "show", f"--property={','.join(host.wished(MANAGER))}"))

    known: dict[str, str] = host.once("manager", make)
    return known


def pairs(block: str) -> dict[str, str]:
    """Return the lines NAME=VALUE of a block; of a name that is repeated, all values."""
    found: dict[str, str] = {}
    for line in block.splitlines():
        name, equals, value = line.partition("=")
        if equals:
            found[name] = f"{found[name]} {value}" if found.get(name) else value
    return found


def unit(host: Host, parameters: Parameters) -> Observation:
    """Check how systemd has units.

    ``units``: each with ``name`` and what must hold: ``active``, ``enabled`` (it is started at boot, or static),
    ``masked``, ``absent`` (not there, or masked and not active); with ``only_if_conditions_met`` one that its own
    conditions keep from starting is not applicable, with ``only_if_exists`` a unit that is not there is
    not applicable. A unit that is not there is neither active nor enabled, and counts as masked.
    """
    items: list[Item] = []
    for entry in parameters["units"]:
        items += _unit(unit_properties(host, entry["name"]), entry)
    return observation(items, "systemctl show")


def _unit(known: Mapping[str, str], wanted: Parameters) -> list[Item]:
    name = wanted["name"]
    load, active, file_state = (known.get(key, "") for key in BASIC)
    there = load not in ("not-found", "")
    running = active in ("active", "activating", "reloading", "deactivating")
    masked = load == "masked" or file_state.startswith("masked")
    if not there and wanted["only_if_exists"]:
        return [missing(name, "there is no such unit")]
    result, checked = (known.get(key, "") for key in CONDITIONS)
    if wanted["only_if_conditions_met"] and not running and result == "no" and checked not in ("", "0"):
        return [missing(name, "this host does not meet the unit's own conditions")]
    observed = ", ".join(filter(None, (active, file_state))) if there else "not there"
    items = []
    if wanted["absent"]:
        items.append(item(name, not there or (masked and not running), "not there, or masked", observed))
    if wanted["active"] is not None:
        state = active == "active" if wanted["active"] else running
        items.append(item(name, state == wanted["active"], "active" if wanted["active"] else "not active", observed))
    if wanted["enabled"] is not None:
        at_boot = there and file_state in STARTED_AT_BOOT
        if not wanted["enabled"]:
            at_boot = there and file_state in ("enabled", "enabled-runtime", "linked", "generated")
        items.append(item(name, at_boot == wanted["enabled"], "enabled" if wanted["enabled"] else "disabled", observed))
    if wanted["masked"] is not None:
        state = masked if there else wanted["masked"]
        items.append(item(name, state == wanted["masked"], "masked" if wanted["masked"] else "not masked", observed))
    return items


def systemd_show(host: Host, parameters: Parameters) -> Observation:
    """Compare properties as ``systemctl show`` prints them.

    ``manager``: properties of systemd itself, each with a condition. ``units``: units, each with such properties; a
    unit that does not exist is not applicable, with ``only_if_active`` also one that does not run.
    """
    items = []
    for name, condition in (parameters["manager"] or {}).items():
        items.append(_property(name, manager_properties(host).get(name), condition))
    for unit_name, values in (parameters["units"] or {}).items():
        known = unit_properties(host, unit_name)
        if known.get("LoadState") in ("not-found", "masked"):
            items.append(missing(unit_name, "there is no such unit"))
        elif parameters["only_if_active"] and known.get("ActiveState") != "active":
            items.append(missing(unit_name, "the unit does not run"))
        else:
            items += [_property(f"{unit_name} {name}", known.get(name), values[name]) for name in values]
    return observation(items, "systemctl show")


def _property(name: str, value: str | None, condition: Any) -> Item:
    return item(name, conditions.met(condition, value), conditions.describe(condition), conditions.shown(value))


# Limits

LABELS = {
    "as": "Max address space",
    "core": "Max core file size",
    "cpu": "Max cpu time",
    "data": "Max data size",
    "fsize": "Max file size",
    "memlock": "Max locked memory",
    "nofile": "Max open files",
    "nproc": "Max processes",
    "stack": "Max stack size",
}


def process_limit(host: Host, parameters: Parameters) -> Observation:
    """Check a resource limit of processes that run.

    ``limit``: such as ``core``; ``soft`` and ``hard``: conditions, in the units of /proc/PID/limits, or ``unlimited``.
    ``of``: ``login`` is the session that this runs in, ``services`` all processes of systemd's services but those of
    ``except``. A service that was started before systemd's own default was right is pending.
    """
    label = LABELS[parameters["limit"]]
    wanted = {kind: parameters[kind] for kind in ("soft", "hard") if parameters[kind] is not None}
    items: list[Item] = []
    if "login" in parameters["of"]:
        items += _limits("login", limits(host.read("/proc/self/limits") or "", label), wanted)
    if "services" in parameters["of"]:
        items += _service_limits(host, label, wanted, parameters)
    return observation(items, "/proc/PID/limits")


def _service_limits(host: Host, label: str, wanted: Mapping[str, Any], parameters: Parameters) -> list[Item]:
    name = f"DefaultLimit{parameters['limit'].upper()}"
    defaults = {"hard": manager_properties(host).get(name), "soft": manager_properties(host).get(f"{name}Soft")}
    default_is_right = all(
        conditions.met(wanted[kind], _unlimited(defaults[kind])) for kind in wanted if defaults[kind] is not None
    )
    failed: dict[str, Item] = {}
    passed: list[Item] = []
    for process, service in services(host):
        if service in parameters["except"]:
            continue
        try:
            text = host.read(f"/proc/{process}/limits")
        except Unreadable:
            continue  # it ended meanwhile
        for entry in _limits(service, limits(text or "", label), wanted) if text else []:
            if entry.verdict is Verdict.PASS:
                passed.append(entry)
            elif default_is_right:
                reason = "it was started before systemd's default changed, or sets its own limit"
                failed[entry.name] = Item(entry.name, Verdict.PENDING, entry.expected, entry.observed, reason)
            else:
                failed[entry.name] = entry
    return list(failed.values()) or passed[:1]


def _unlimited(value: str | None) -> str | None:
    return "unlimited" if value == "infinity" else value


def _limits(name: str, values: tuple[str, str] | None, wanted: Mapping[str, Any]) -> list[Item]:
    if values is None:
        return []
    observed = dict(zip(("soft", "hard"), values))
    return [
        item(
            f"{name} {kind}",
            conditions.met(wanted[kind], observed[kind]),
            conditions.describe(wanted[kind]),
            observed[kind],
        )
        for kind in wanted
    ]


def limits(text: str, label: str) -> tuple[str, str] | None:
    """Return soft and hard limit out of /proc/PID/limits."""
    for line in text.splitlines():
        if line.startswith(f"{label} "):
            soft, hard = line[len(label) :].split()[:2]
            return soft, hard
    return None


def services(host: Host) -> Iterable[tuple[int, str]]:
    """Return every process of a service with the service's name; containers and sessions are left out."""
    for process in host.processes:
        try:
            text = host.read(f"/proc/{process}/cgroup") or ""
        except Unreadable:
            continue
        found = re.search(r"/system\.slice/(?:[^/\n]+\.slice/)*([^/\n]+\.service)", text)
        if found:
            yield process, found[1]


UNIT_FIELDS: Mapping[str, Parameter] = {
    "name": Parameter("text", required=True),
    "active": Parameter("boolean"),
    "enabled": Parameter("boolean"),
    "masked": Parameter("boolean"),
    "absent": Parameter("boolean", default=False),
    "only_if_exists": Parameter("boolean", default=False),
    "only_if_conditions_met": Parameter("boolean", default=False),
}
READERS: Mapping[str, Reader] = {
    "unit": Reader(unit, {"units": Parameter("entries", required=True, fields=UNIT_FIELDS)}, announce_units),
    "systemd_show": Reader(
        systemd_show,
        {
            "manager": Parameter("conditions"),
            "units": Parameter("nested_conditions"),
            "only_if_active": Parameter("boolean", default=False),
        },
        announce_show,
    ),
    "process_limit": Reader(
        process_limit,
        {
            "limit": Parameter("text", required=True, choices=tuple(LABELS)),
            "soft": Parameter("condition"),
            "hard": Parameter("condition"),
            "of": Parameter("texts", default=("login", "services"), choices=("login", "services")),
            "except": Parameter("texts", default=()),
        },
        announce_limits,
    ),
}
