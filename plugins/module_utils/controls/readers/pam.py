# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PAM stacks: read with their includes and substacks, and walked as libpam walks them.

A line that stands in a file proves nothing: a jump, a ``sufficient`` or a ``die`` before it may skip it for ever. So
each stack is run with pretended results, and a module counts only if it is really called.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .. import conditions
from ..host import Host
from ..model import Item, Observation, Unreadable, item, observation
from ..parameters import Parameter, Parameters
from ..reader import Reader
from .configuration import joined, settings

FOLDERS = ("/etc/pam.d", "/usr/lib/pam.d", "/usr/share/pam.d")
STACKS = ("auth", "account", "password", "session")
MAXIMUM_DEPTH = 16
SIMPLE_CONTROLS: dict[str, dict[str, str]] = {
    "required": {"success": "ok", "new_authtok_reqd": "ok", "ignore": "ignore", "default": "bad"},
    "requisite": {"success": "ok", "new_authtok_reqd": "ok", "ignore": "ignore", "default": "die"},
    "sufficient": {"success": "done", "new_authtok_reqd": "done", "default": "ignore"},
    "optional": {"success": "ok", "new_authtok_reqd": "ok", "default": "ignore"},
}


@dataclass(frozen=True)
class Entry:
    """One module of a stack. ``level`` counts the substacks around it; ``module`` is empty where a substack begins."""

    module: str
    control: str
    actions: Mapping[str, str]
    arguments: tuple[str, ...]
    level: int
    place: str

    def argument(self, name: str) -> str | None:
        """Return the value of an argument, ``yes`` for one without a value, None if it is not there."""
        found = None
        for argument in self.arguments:
            key, equals, value = argument.partition("=")
            if key == name:
                found = value if equals else "yes"
        return found


# Reading


def stack(host: Host, service: str, kind: str) -> list[Entry]:
    """Return the modules of a service's stack in their order; one that its file leaves empty is that of ``other``.

    Raises Unreadable if there is neither file.
    """
    paths = [path for path in (_file(host, service), _file(host, "other")) if path]
    if not paths:
        raise Unreadable(f"PAM has no service {service} on this host")
    return next((entries for entries in (list(_entries(host, path, kind, 0, 0)) for path in paths) if entries), [])


def _file(host: Host, name: str) -> str:
    if name.startswith("/"):
        return name if host.exists(name) else ""
    return next((f"{folder}/{name}" for folder in FOLDERS if host.exists(f"{folder}/{name}")), "")


def _entries(host: Host, path: str, kind: str, level: int, depth: int) -> Iterable[Entry]:
    if depth > MAXIMUM_DEPTH:
        raise Unreadable(f"{path} includes itself")
    for line in joined(host.lines(path)):
        words = split(line.partition("#")[0])
        if not words:
            continue
        if words[0] == "@include" and len(words) > 1:
            yield from _included(host, words[1], kind, level, depth)
            continue
        if words[0].lstrip("-").lower() != kind or len(words) < 3:
            continue
        control, target = words[1], words[2]
        if control == "include":
            yield from _included(host, target, kind, level, depth)
        elif control == "substack":
            yield Entry("", control, {}, (), level, path)
            yield from _included(host, target, kind, level + 1, depth)
        else:
            yield Entry(short_name(target), control, actions(control), tuple(words[3:]), level, path)


def _included(host: Host, name: str, kind: str, level: int, depth: int) -> Iterable[Entry]:
    path = _file(host, name)
    if not path:
        raise Unreadable(f"PAM includes {name}, which does not exist")
    return _entries(host, path, kind, level, depth + 1)


def split(line: str) -> list[str]:
    """Return the words of a line; brackets keep blanks together, and those of arguments are taken off."""
    words = []
    for found in re.finditer(r"\[((?:\\\]|[^\]])*)\]|(\S+)", line):
        bracketed = found[1]
        if bracketed is None:
            words.append(found[2])
        else:
            words.append(f"[{bracketed}]" if len(words) == 1 else bracketed.replace("\\]", "]"))
    return words


def short_name(module: str) -> str:
    """Return pam_unix for pam_unix.so and for its path."""
    name = module.rsplit("/", 1)[-1]
    return name[:-3] if name.endswith(".so") else name


def actions(control: str) -> dict[str, str]:
    """Return what each result of a module leads to."""
    if control.startswith("["):
        return dict(pair.partition("=")[::2] for pair in control[1:-1].split())
    return SIMPLE_CONTROLS.get(control.lower(), {"default": "bad"})


# Walking


@dataclass(frozen=True)
class Scenario:
    """What modules are pretended to return: some always, others one of several, the rest success."""

    results: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


# They ask for what the user knows or has; a wrong answer is theirs to refuse.
VERIFIERS = ("pam_unix", "pam_sss", "pam_ldap", "pam_krb5", "pam_winbind", "pam_pwdb", "pam_systemd_home", "pam_userdb")
ALWAYS: dict[str, tuple[str, ...]] = {
    "pam_deny": ("auth_err",),
    "pam_rootok": ("auth_err",),  # whoever is of interest here is not root
    "pam_localuser": ("success", "perm_denied"),
    "pam_succeed_if": ("success", "auth_err"),
    "pam_listfile": ("success", "auth_err"),
    "pam_permit": ("success",),
}
SCENARIOS: dict[str, Scenario] = {
    "success": Scenario(ALWAYS),
    "failure": Scenario({**ALWAYS, **dict.fromkeys(VERIFIERS, ("auth_err",))}),
}


@dataclass(frozen=True)
class Ways:
    """All ways through a stack: what is called on some of them, on every one, and whether one ends well."""

    some: frozenset[int]
    every: frozenset[int]
    may_succeed: bool


@dataclass(frozen=True)
class State:
    """Where libpam's dispatcher is: the next entry, and what it thinks so far."""

    position: int
    impression: str  # undefined, positive, negative
    status: str
    saved: tuple[tuple[str, str], ...]  # impression and status at the beginning of each substack around


START = State(0, "undefined", "", ())


def ways(entries: Sequence[Entry], scenario: Scenario) -> Ways:
    """Return all ways through a stack that the scenario allows, as libpam's dispatcher goes them."""
    following: dict[State, tuple[State, ...]] = {}
    pending = [START]
    while pending:
        state = pending.pop()
        if state not in following:
            following[state] = _following(entries, state, scenario)
            pending += following[state]
    some = frozenset(state.position for state in following if state.position < len(entries))
    every = frozenset(number for number in some if not _may_avoid(following, number, len(entries)))
    may_succeed = any(
        state.position >= len(entries) and state.impression == "positive" and state.status == "success"
        for state in following
    )
    return Ways(some, every, may_succeed)


def _may_avoid(following: Mapping[State, tuple[State, ...]], number: int, end: int) -> bool:
    """Return whether there is a way to the end on which an entry is not called."""
    pending, seen = [START], set()
    while pending:
        state = pending.pop()
        if state in seen or state.position == number:
            continue
        if state.position >= end:
            return True
        seen.add(state)
        pending += following[state]
    return False


def _following(entries: Sequence[Entry], state: State, scenario: Scenario) -> tuple[State, ...]:
    if state.position >= len(entries):
        return ()
    entry = entries[state.position]
    saved = state.saved[: entry.level]
    if not entry.module:
        begun = (*saved, (state.impression, state.status))
        return (State(state.position + 1, state.impression, state.status, begun),)
    return tuple(_after(entries, state, saved, result) for result in results(entry, scenario))


def results(entry: Entry, scenario: Scenario) -> tuple[str, ...]:
    """Return what a module may return; faillock counts a failure and leaves the verdict to others."""
    if entry.module == "pam_faillock" and "authfail" in entry.arguments:
        return ("ignore",)
    return scenario.results.get(entry.module, ("success",))


def _after(entries: Sequence[Entry], state: State, saved: tuple[tuple[str, str], ...], result: str) -> State:
    entry = entries[state.position]
    action = entry.actions.get(result, entry.actions.get("default", "ignore"))
    impression, status = state.impression, state.status
    following = state.position + 1
    if action in ("ok", "done"):
        if impression == "undefined" or (impression == "positive" and status == "success"):
            impression, status = "positive", result
        if action == "done" and impression == "positive":
            following = _end_of_level(entries, state.position, entry.level)
    elif action in ("bad", "die"):
        if impression != "negative":
            impression, status = "negative", result
        if action == "die":
            following = _end_of_level(entries, state.position, entry.level)
    elif action == "reset":
        impression, status = saved[-1] if saved else ("undefined", "")
    elif action.isdigit():
        following, left = _jump(entries, state.position, entry.level, int(action))
        if left:  # libpam refuses the login rather than to jump past the end
            impression, status = "negative", "perm_denied"
    return State(following, impression, status, saved)


def _end_of_level(entries: Sequence[Entry], position: int, level: int) -> int:
    position += 1
    while position < len(entries) and entries[position].level >= level:
        position += 1
    return position


def _jump(entries: Sequence[Entry], position: int, level: int, count: int) -> tuple[int, int]:
    """Skip so many modules, and return where that leads and how many could not be skipped.

    A substack counts as one, and a jump does not leave the substack that it is in.
    """
    position += 1
    while count and position < len(entries) and entries[position].level >= level:
        position += 1
        while position < len(entries) and entries[position].level > level:
            position += 1
        count -= 1
    return position, count


# Comparing


def pam_stack(host: Host, parameters: Parameters) -> Observation:
    """Check which modules of a PAM stack are really called, in what order, and with which arguments.

    ``services``: such as sshd; one that has no file is not applicable. ``stack``: auth, account, password or session.
    ``modules``: each with ``module`` and, of one and the same line, ``arguments`` (a dictionary of conditions; an
    argument without a value is true), ``control``, ``before`` and ``after`` (modules that, if called as well, come
    later or earlier), and ``reached_on``: outcomes of the password check, success or failure, in which it must be
    called (both by default). What an argument does not say ``settings_file`` may (key = value), else ``defaults``.
    ``absent``: modules that must not be there, or only without the ``arguments`` named. ``sound``: for auth, a wrong
    password must be refused and a right one accepted.
    """
    items: list[Item] = []
    for service in parameters["services"]:
        if not _file(host, service):
            continue
        entries = stack(host, service, parameters["stack"])
        walked = {name: ways(entries, scenario) for name, scenario in SCENARIOS.items()}
        items += [_required(host, service, entries, walked, wanted) for wanted in parameters["modules"]]
        items += [_forbidden(service, entries, wanted) for wanted in parameters["absent"]]
        if parameters["sound"] and parameters["stack"] == "auth":
            items.append(_sound(service, walked))
    return observation(items, "/etc/pam.d", f"PAM has no service {', '.join(parameters['services'])} on this host")


def _required(
    host: Host, service: str, entries: Sequence[Entry], walked: Mapping[str, Ways], wanted: Parameters
) -> Item:
    name = f"{service}: {short_name(wanted['module'])}"
    expected = _words(wanted)
    candidates = [number for number, entry in enumerate(entries) if entry.module == short_name(wanted["module"])]
    if not candidates:
        return item(name, False, expected, "not in the stack")
    complaints = []
    for number in candidates:
        entry = entries[number]
        wrong = _arguments(host, entry, wanted)
        if not wrong and wanted["control"] is not None and entry.control != wanted["control"]:
            wrong = f"its control is {entry.control}"
        if not wrong and not _installed(host, entry.module):
            wrong = "the module is not installed"
        wrong = wrong or _reached(number, walked, wanted["reached_on"]) or _order(number, entries, wanted)
        if not wrong:
            return item(name, True, expected, f"in {entry.place}: {' '.join((entry.control, *entry.arguments))}")
        complaints.append((_lacks_a_word(entry, wanted), wrong))
    # A line without the words that tell it from others, such as preauth, is not the one that is meant.
    meant = [wrong for other, wrong in complaints if not other] or [wrong for _other, wrong in complaints]
    return item(name, False, expected, "; ".join(dict.fromkeys(meant)))


def _lacks_a_word(entry: Entry, wanted: Parameters) -> bool:
    return any(condition is True and entry.argument(key) is None for key, condition in wanted["arguments"].items())


def _words(wanted: Parameters) -> str:
    said = [f"{key} {conditions.describe(value)}" for key, value in wanted["arguments"].items()]
    if wanted["control"] is not None:
        said.append(f"as {wanted['control']}")
    for relation in ("before", "after"):
        if wanted[relation]:
            said.append(f"{relation} {', '.join(wanted[relation])}")
    return ", ".join(["called", *said])


def _arguments(host: Host, entry: Entry, wanted: Parameters) -> str:
    """Return which argument is wrong, empty if none."""
    from_file: dict[str, str] = {}
    if wanted["settings_file"]:
        text = host.read(wanted["settings_file"]) or ""
        # A word without a value is a switch that is on.
        from_file = {key: value or "yes" for _section, key, value in settings(text, "equals", "#")}
    for key, condition in wanted["arguments"].items():
        value = entry.argument(key)
        if value is None:
            value = from_file.get(key)
        if value is None and key in (wanted["defaults"] or {}):
            value = conditions.plain(wanted["defaults"][key])
        if condition is False and value is None:
            continue
        if not conditions.met(condition, value):
            return f"{key} is {conditions.shown(value)}"
    return ""


def _reached(number: int, walked: Mapping[str, Ways], outcomes: Sequence[str]) -> str:
    for outcome in outcomes:
        if number not in walked[outcome].some:
            return f"is never called on {outcome} of the password check"
        if number not in walked[outcome].every:
            return f"is not always called on {outcome} of the password check"
    return ""


def _order(number: int, entries: Sequence[Entry], wanted: Parameters) -> str:
    for other in wanted["before"]:
        if any(entry.module == short_name(other) for entry in entries[:number]):
            return f"comes after {short_name(other)}"
    for other in wanted["after"]:
        if not any(entry.module == short_name(other) for entry in entries[:number]):
            return f"does not come after {short_name(other)}"
    return ""


def _installed(host: Host, module: str) -> bool:
    def make() -> frozenset[str]:
        folders = ("/lib/security", "/lib64/security", "/usr/lib/security", "/usr/lib64/security")
        more = [folder for pattern in ("/lib/*/security", "/usr/lib/*/security") for folder in host.glob(pattern)]
        return frozenset(short_name(name) for folder in (*folders, *more) for name in host.names(folder))

    known: frozenset[str] = host.once("pam modules", make)
    return module in known


def _forbidden(service: str, entries: Sequence[Entry], wanted: Parameters) -> Item:
    module = short_name(wanted["module"])
    name = f"{service}: {module}"
    for entry in entries:
        if entry.module != module:
            continue
        there = [argument for argument in wanted["arguments"] if entry.argument(argument) is not None]
        if there or not wanted["arguments"]:
            observed = f"in {entry.place}: {' '.join((entry.control, *entry.arguments))}"
            return item(name, False, f"without {', '.join(there)}" if there else "not in the stack", observed)
    if wanted["arguments"]:
        return item(name, True, f"without {', '.join(wanted['arguments'])}", "without")
    return item(name, True, "not in the stack", "not in the stack")


def _sound(service: str, walked: Mapping[str, Ways]) -> Item:
    expected = "accepts a right password and refuses a wrong one"
    if walked["failure"].may_succeed:
        return item(service, False, expected, "a wrong password may be accepted")
    if not walked["success"].may_succeed:
        return item(service, False, expected, "no password can be accepted")
    return item(service, True, expected, "does so")


NO_ARGUMENTS: Mapping[str, Any] = {}
MODULE_FIELDS: Mapping[str, Parameter] = {
    "module": Parameter("text", required=True),
    "arguments": Parameter("conditions", default=NO_ARGUMENTS),
    "settings_file": Parameter("text"),
    "defaults": Parameter("values"),
    "control": Parameter("text"),
    "before": Parameter("texts", default=()),
    "after": Parameter("texts", default=()),
    "reached_on": Parameter("texts", default=("success", "failure"), choices=("success", "failure")),
}
ABSENT_FIELDS: Mapping[str, Parameter] = {
    "module": Parameter("text", required=True),
    "arguments": Parameter("texts", default=()),
}
READERS: Mapping[str, Reader] = {
    "pam_stack": Reader(
        pam_stack,
        {
            "services": Parameter("texts", required=True),
            "stack": Parameter("text", required=True, choices=STACKS),
            "modules": Parameter("entries", default=(), fields=MODULE_FIELDS),
            "absent": Parameter("entries", default=(), fields=ABSENT_FIELDS),
            "sound": Parameter("boolean", default=True),
        },
    )
}
