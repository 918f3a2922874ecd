# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""sudo, as its own programs tell it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from .. import conditions
from ..host import Host
from ..model import Item, Observation, Unreadable, item, observation
from ..parameters import Parameter, Parameters
from ..reader import Reader

RULES = ("cvtsudoers", "-e", "-f", "json", "/etc/sudoers")
VERSION = ("sudo", "-V")
# Where the files say nothing, sudo tells root what it was built with.
SENTENCES = {
    "logfile": re.compile(r"^Path to log file: (.+)$", re.MULTILINE),
    "timestamp_timeout": re.compile(r"^Authentication timestamp timeout: ([\d.]+) minutes$", re.MULTILINE),
    "passwd_tries": re.compile(r"^Number of tries to enter a password: (\d+)$", re.MULTILINE),
}
SWITCHES = {
    "use_pty": "Always run commands in a pseudo-tty",
    "env_reset": "Reset the environment to a default set of variables",
    "requiretty": "Only allow the user to run sudo if they have a tty",
}
# Kinds of rules, and what they are called in the verdict.
FORBIDDEN = {
    "nopasswd": "rules without a password:",
    "negation": "rules that exclude commands:",
    "all": "rules that allow every command:",
}
ADMINISTRATORS = ("root", "%sudo", "%wheel", "%admin")


def announce_sudo(host: Host, _parameters: Parameters) -> None:
    """Ask sudo for its settings and rules."""
    host.start(*RULES)
    host.start(*VERSION)


def policy(host: Host) -> dict[str, Any]:
    """Return the whole policy, files that are included and aliases resolved."""

    def make() -> dict[str, Any]:
        output = host.output(*RULES)
        try:
            read: dict[str, Any] = json.loads(output[output.index("{") :])
        except ValueError as error:
            raise Unreadable(f"cvtsudoers wrote no JSON: {error}") from error
        return read

    found: dict[str, Any] = host.once("sudoers", make)
    return found


def sudo_defaults(host: Host, parameters: Parameters) -> Observation:
    """Compare sudo's Defaults.

    ``values``: such as use_pty, logfile, timestamp_timeout (minutes), each with a condition; the last line counts, and
    what sudo was built with where there is none. A line for some users, hosts or commands only that breaks a condition
    fails too.
    """
    built = host.output(*VERSION)
    items = []
    for name, condition in parameters["values"].items():
        value = built_in(built, name)
        for binding, options in _defaults(policy(host)):
            if name not in options:
                continue
            stated = _plain(options[name])
            if not binding:
                value = stated
            elif not conditions.met(condition, stated):
                items.append(
                    item(f"{name} for {binding}", False, conditions.describe(condition), conditions.shown(stated))
                )
        items.append(
            item(name, conditions.met(condition, value), conditions.describe(condition), conditions.shown(value))
        )
    return observation(items, "sudo -V, cvtsudoers")


def built_in(text: str, name: str) -> str | None:
    """Return what ``sudo -V`` says about a setting, None if nothing."""
    if name in SWITCHES:
        return "yes" if SWITCHES[name] in text.splitlines() else "no"
    found = SENTENCES[name].search(text) if name in SENTENCES else None
    return found[1] if found else None


def _defaults(read: Mapping[str, Any]) -> Iterable[tuple[str, dict[str, Any]]]:
    for entry in read.get("Defaults", []):
        options = {name: value for option in entry.get("Options", []) for name, value in option.items()}
        yield _names(entry.get("Binding", [])), options


def _plain(value: Any) -> str | None:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return " ".join(str(part) for part in value)
    return str(value)


def _names(members: Iterable[Mapping[str, Any]]) -> str:
    return ", ".join(_name(member) for member in members)


def _name(member: Mapping[str, Any]) -> str:
    signs = {"usergroup": "%", "netgroup": "+", "usergid": "%#", "userid": "#"}
    return next((f"{signs.get(kind, '')}{value}" for kind, value in member.items() if kind != "negated"), "somebody")


def sudo_rules(host: Host, parameters: Parameters) -> Observation:
    """Check who may do what by sudo.

    ``forbid``: ``nopasswd``, a rule without a password; ``negation``, a rule that excludes commands, which is easily
    got round; ``all``, every command for somebody other than root and the administrators' groups. ``except``: users and
    %groups whose rules may be so.
    """
    items: list[Item] = []
    unauthenticated = [
        binding or "everybody" for binding, options in _defaults(policy(host)) if options.get("authenticate") is False
    ]
    rules = list(_rules(policy(host)))
    for kind in parameters["forbid"]:
        found = []
        if kind == "nopasswd":
            found += [f"Defaults !authenticate for {who}" for who in unauthenticated if who not in parameters["except"]]
        for who, specification in rules:
            if who in parameters["except"] or (kind == "all" and who in ADMINISTRATORS):
                continue
            wrong = _wrong(kind, specification)
            if wrong:
                found.append(f"{who}: {wrong}")
        name = FORBIDDEN[kind]
        items += [item(name, False, "none", text) for text in found] or [item(name, True, "none", "none")]
    return observation(items, "cvtsudoers")


def _rules(read: Mapping[str, Any]) -> Iterable[tuple[str, Mapping[str, Any]]]:
    for entry in read.get("User_Specs", []):
        for member in entry.get("User_List", []):
            for specification in entry.get("Cmnd_Specs", []):
                yield _name(member), specification


def _wrong(kind: str, specification: Mapping[str, Any]) -> str:
    commands = specification.get("Commands", [])
    shown = ", ".join(f"{'!' if one.get('negated') else ''}{one.get('command', 'a command')}" for one in commands)
    options = {name: value for option in specification.get("Options", []) for name, value in option.items()}
    if kind == "nopasswd":
        return f"NOPASSWD: {shown}" if options.get("authenticate") is False else ""
    if kind == "negation":
        return shown if any(one.get("negated") for one in commands) else ""
    return shown if any(one.get("command") == "ALL" and not one.get("negated") for one in commands) else ""


READERS: Mapping[str, Reader] = {
    "sudo_defaults": Reader(sudo_defaults, {"values": Parameter("conditions", required=True)}, announce_sudo),
    "sudo_rules": Reader(
        sudo_rules,
        {
            "forbid": Parameter("texts", required=True, choices=tuple(FORBIDDEN)),
            "except": Parameter("texts", default=()),
        },
        announce_sudo,
    ),
}
