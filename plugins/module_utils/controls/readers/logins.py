# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a login gets: umask, variables, limits.

The shells are started as nobody, so that whatever their profiles do, it can change nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .. import conditions
from ..host import Host
from ..model import Item, Observation, Unreadable, item, observation
from ..parameters import Parameter, Parameters
from ..reader import Reader
from .configuration import settings, value_of
from .pam import SCENARIOS, stack, ways

QUESTION = "umask; ulimit -Sc; ulimit -Hc; declare -p"
AS_NOBODY = (
    *("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"),
    *("env", "-i", "HOME=/nonexistent", "USER=nobody", "LOGNAME=nobody", "SHELL=/bin/bash", "TERM=dumb", "LC_ALL=C"),
    *("PATH=/usr/local/bin:/usr/bin:/bin", "bash"),
)
SHELLS = {"login_shell": (*AS_NOBODY, "-lc", QUESTION), "interactive_shell": (*AS_NOBODY, "-ic", QUESTION)}
CONTEXTS = (*SHELLS, "pam")


def announce_umask(host: Host, parameters: Parameters) -> None:
    """Start the shells that will be asked."""
    for context in parameters["of"]:
        if context in SHELLS:
            host.start(*SHELLS[context])


def announce_variable(host: Host, _parameters: Parameters) -> None:
    """Start the shell that will be asked."""
    host.start(*SHELLS["login_shell"])


def answer(host: Host, context: str) -> list[str]:
    """Return what a shell says: umask, soft and hard limit of core files, then its variables."""
    lines = host.run(*SHELLS[context]).output.splitlines()
    # A profile may have said something before.
    start = next((number for number, line in enumerate(lines) if re.fullmatch("[0-7]{4}", line)), None)
    if start is None or len(lines) < start + 3:
        raise Unreadable(f"bash as nobody did not answer: {host.run(*SHELLS[context]).complaint()}")
    return lines[start:]


def shell_umask(host: Host, parameters: Parameters) -> Observation:
    """Check that files of a login are born closed.

    ``umask``: bits that must be masked at least. ``of``: ``login_shell`` and ``interactive_shell`` ask bash, ``pam``
    follows pam_umask in the session stacks of ``services``: it is what ``ssh host command``, sudo and cron get.
    """
    wanted = int(parameters["umask"], 8)
    items: list[Item] = []
    for context in parameters["of"]:
        if context in SHELLS:
            items.append(_umask(context.replace("_", " "), int(answer(host, context)[0], 8), wanted))
        else:
            items += [_pam_umask(host, service, wanted) for service in parameters["services"]]
    return observation(items, "bash, /etc/pam.d")


def _umask(name: str, value: int | None, wanted: int) -> Item:
    passed = value is not None and value & wanted == wanted
    return item(name, passed, f"{wanted:03o} or stricter", "not set" if value is None else f"{value:03o}")


def _pam_umask(host: Host, service: str, wanted: int) -> Item:
    name = f"session of {service}"
    entries = stack(host, service, "session")
    called = ways(entries, SCENARIOS["success"]).every
    value = None
    for number, entry in enumerate(entries):
        if entry.module == "pam_umask" and number in called:
            value = pam_umask(host, entry.arguments)
    return _umask(name, value, wanted)


def pam_umask(host: Host, arguments: tuple[str, ...]) -> int | None:
    """Return the umask that pam_umask sets for a user with a group of its own, as it looks for it."""
    given = dict(argument.partition("=")[::2] for argument in arguments)
    text = given.get("umask") or _first(host, "/etc/login.defs", "space", "UMASK")
    text = text or _first(host, "/etc/default/login", "equals", "UMASK")
    if text is None or not re.fullmatch(r"[0-7]{1,4}", text):
        return None
    value = int(text, 8)
    if "nousergroups" not in given and ("usergroups" in given or _lets_private_groups_write(host)):
        value = (value & ~0o070) | ((value >> 3) & 0o070)
    return value


def _first(host: Host, path: str, style: str, name: str) -> str | None:
    """Return the first value of several, which is the one that PAM takes."""
    return value_of(settings(host.read(path) or "", style, "#"), name, "", "first")


def _lets_private_groups_write(host: Host) -> bool:
    """Return whether pam_umask, as it is built here, gives a group that only the user is in what the user has.

    Measured on Debian 12 (no) and 13 (yes, whatever login.defs says). Ubuntu's is patched to ask login.defs.
    """
    release = {key: value for _section, key, value in settings(host.read("/etc/os-release") or "", "equals", "#")}
    if release.get("ID") == "ubuntu":
        return (_first(host, "/etc/login.defs", "space", "USERGROUPS_ENAB") or "").lower() == "yes"
    version = release.get("VERSION_ID", "")
    # Testing and unstable have no version.
    return release.get("ID") == "debian" and (not version.isdigit() or int(version) >= 13)


def shell_variable(host: Host, parameters: Parameters) -> Observation:
    """Check what a login shell sets. ``values``: variables, each with a condition; ``read_only``: variables that nobody
    can set anew; ``core_limit``: a condition on the hard limit of core files.
    """
    lines = answer(host, "login_shell")
    variables = declared(lines[3:])
    items = []
    for name, condition in (parameters["values"] or {}).items():
        value = variables.get(name, ("", None))[1]
        items.append(
            item(name, conditions.met(condition, value), conditions.describe(condition), conditions.shown(value))
        )
    for name in parameters["read_only"]:
        attributes = variables.get(name, ("", None))[0]
        items.append(item(name, "r" in attributes, "read-only", "read-only" if "r" in attributes else "changeable"))
    if parameters["core_limit"] is not None:
        condition = parameters["core_limit"]
        items.append(item("core limit", conditions.met(condition, lines[2]), conditions.describe(condition), lines[2]))
    return observation(items, "bash --login")


def declared(lines: list[str]) -> dict[str, tuple[str, str | None]]:
    """Return attributes and value of each variable that ``declare -p`` shows."""
    found: dict[str, tuple[str, str | None]] = {}
    for line in lines:
        match: Any = re.match(r'declare -(\S+) (\w+)(?:="(.*)")?$', line)
        if match:
            found[match[2]] = (match[1], match[3])
    return found


READERS: Mapping[str, Reader] = {
    "shell_umask": Reader(
        shell_umask,
        {
            "umask": Parameter("mode", required=True),
            "of": Parameter("texts", default=CONTEXTS, choices=CONTEXTS),
            "services": Parameter("texts", default=("sshd",)),
        },
        announce_umask,
    ),
    "shell_variable": Reader(
        shell_variable,
        {
            "values": Parameter("conditions"),
            "read_only": Parameter("texts", default=()),
            "core_limit": Parameter("condition"),
        },
        announce_variable,
    ),
}
