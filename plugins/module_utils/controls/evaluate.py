# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Observe all controls and say what is true of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .host import Host
from .model import Observation, Unreadable, Verdict, combined
from .parameters import Parameters
from .registry import READERS, prepared

OWN_KERNEL = "own_kernel"
Control = Mapping[str, Any]


class Refused(Exception):
    """Controls that are wrong in themselves; the text is the sentence for the user."""


def evaluate(host: Host, controls: Sequence[Control]) -> list[dict[str, Any]]:
    """Return for each control its verdict with what was expected and observed. Raises Refused."""
    checks = _prepare(controls)
    needed = [bool(not _excluded(host, control)) for control in controls]
    for wanted, readers in zip(needed, checks):
        for name, parameters in readers if wanted else ():
            READERS[name].announce(host, parameters)
    return [_evaluate(host, control, readers) for control, readers in zip(controls, checks)]


def _prepare(controls: Sequence[Control]) -> list[list[tuple[str, Parameters]]]:
    checks, problems = [], []
    for number, control in enumerate(controls):
        path = f"controls[{number}] ({control['id']})"
        readers = []
        if not control["readers"] and not control.get("not_applicable"):
            problems.append(f"{path}.readers: at least one is needed")
        for at, check in enumerate(control["readers"]):
            name, parameters, wrong = prepared(check, f"{path}.readers[{at}]")
            readers.append((name, parameters))
            problems += wrong
        checks.append(readers)
    if problems:
        raise Refused("; ".join(problems))
    return checks


def _excluded(host: Host, control: Control) -> str:
    """Return why a control does not apply to this host, empty if it does."""
    if control.get("not_applicable"):
        return str(control["not_applicable"])
    if OWN_KERNEL in (control.get("needs") or []) and host.container:
        return f"this host ({host.container}) shares the kernel of another one"
    return ""


def _evaluate(host: Host, control: Control, readers: Sequence[tuple[str, Parameters]]) -> dict[str, Any]:
    reason = _excluded(host, control)
    if reason:
        seen = Observation(Verdict.NOT_APPLICABLE, "", "", reason)
    else:
        seen = combined([observe(host, name, parameters) for name, parameters in readers])
    result: dict[str, Any] = {"id": control["id"], "title": control.get("title") or "", **seen.to_dict()}
    result["reported"] = bool(control.get("reported"))
    waiver = control.get("waiver")
    if waiver:
        result.update(verdict=Verdict.WAIVED.value, waiver=dict(waiver), verdict_without_waiver=seen.verdict.value)
    return result


def observe(host: Host, name: str, parameters: Parameters) -> Observation:
    """Return what a reader sees; that it cannot see is an observation too."""
    try:
        return READERS[name].read(host, parameters)
    except Unreadable as error:
        return Observation(Verdict.UNKNOWN, "", "", str(error))
    except Exception as error:  # one reader that stumbles over a strange host must not hide what all others see
        return Observation(Verdict.UNKNOWN, "", "", f"the reader {name} failed: {type(error).__name__}: {error}")


def counts(results: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Return how many controls got each verdict."""
    return {verdict.value: sum(result["verdict"] == verdict.value for result in results) for verdict in Verdict}
