# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Installed packages, and what apt trusts."""

from __future__ import annotations

import fnmatch
import re
import time
from collections.abc import Mapping
from typing import Any

from .. import conditions
from ..host import Host
from ..model import Item, Observation, Unreadable, Verdict, item, observation
from ..parameters import Parameter, Parameters
from ..reader import Reader

DPKG = ("dpkg-query", "--show", "--showformat=${Package}\\t${db:Status-Status}\\t${Version}\\n")
RPM = ("rpm", "--query", "--all", "--queryformat", "%{NAME}\\tinstalled\\t%{VERSION}-%{RELEASE}\\n")
GONE = ("not-installed", "config-files")


def manager(host: Host) -> tuple[str, ...]:
    """Return the program that knows the packages."""
    return DPKG if host.exists("/var/lib/dpkg/status") else RPM


def announce_packages(host: Host, _parameters: Parameters) -> None:
    """Ask for all packages."""
    host.start(*manager(host))


def packages(host: Host) -> dict[str, tuple[str, str]]:
    """Return state and version of every package that is there, at least in part."""

    def make() -> dict[str, tuple[str, str]]:
        found = {}
        for line in host.output(*manager(host)).splitlines():
            name, state, version = line.split("\t", 2)
            if state not in GONE:
                found[name] = (state, version)
        return found

    result: dict[str, tuple[str, str]] = host.once("packages", make)
    return result


def package_present(host: Host, parameters: Parameters) -> Observation:
    """Check that packages are installed. ``names``; with ``any_of`` one of them is enough."""
    known = packages(host)
    items = [
        item(name, known.get(name, ("", ""))[0] == "installed", "installed", _state(known.get(name)))
        for name in parameters["names"]
    ]
    if parameters["any_of"] and any(entry.verdict is Verdict.PASS for entry in items):
        items = [entry for entry in items if entry.verdict is Verdict.PASS]
    return observation(items, manager(host)[0])


def package_absent(host: Host, parameters: Parameters) -> Observation:
    """Check that packages are not there. ``names``: names or patterns such as ``xserver-xorg*``."""
    known = packages(host)
    items: list[Item] = []
    for name in parameters["names"]:
        there = [package for package in known if fnmatch.fnmatchcase(package, name)] or [name]
        items += [item(package, package not in known, "not installed", _state(known.get(package))) for package in there]
    return observation(items, manager(host)[0])


def _state(known: tuple[str, str] | None) -> str:
    if known is None:
        return "not installed"
    state, version = known
    return version if state == "installed" else f"{version} ({state})"


# apt

APT = ("apt-config", "dump")
STAMP = "/var/lib/apt/periodic/unattended-upgrades-stamp"
DAY = 86400
TICKS = 100  # of /proc/PID/stat in a second, on every architecture that matters here
START_TIME = 19  # counted from behind the name
TRUSTED = ("/etc/apt/trusted.gpg.d", "/etc/apt/keyrings", "/usr/share/keyrings")


def announce_apt(host: Host, _parameters: Parameters) -> None:
    """Ask apt for its whole configuration."""
    if host.exists("/etc/apt"):
        host.start(*APT)


def apt_policy(host: Host, parameters: Parameters) -> Observation:
    """Check what apt trusts and does by itself.

    ``settings``: options as ``apt-config dump`` names them, each with a condition. ``signed_by``: every source names
    the key that signs it, and none is trusted unsigned. ``key_files``: the keys belong to root and only root may write
    them. ``security_origin_only``: unattended-upgrades takes security updates and nothing else. ``last_run_days``:
    unattended-upgrades ran within so many days; on a host that is up for less it is pending.
    """
    if not host.exists("/etc/apt"):
        return observation([], "apt", "this host has no apt")
    single, lists = apt_configuration(host.output(*APT))
    items = []
    for name, condition in (parameters["settings"] or {}).items():
        value = single.get(name.lower())
        items.append(
            item(name, conditions.met(condition, value), conditions.describe(condition), conditions.shown(value))
        )
    if parameters["signed_by"]:
        items += sources(host)
    if parameters["key_files"]:
        items += key_files(host)
    if parameters["security_origin_only"]:
        items += origins(lists)
    if parameters["last_run_days"] is not None:
        items.append(last_run(host, float(parameters["last_run_days"])))
    return observation(items, "apt-config dump, /etc/apt/sources.list.d")


def apt_configuration(text: str) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Return single values and lists of apt's configuration, by their names in lower case."""
    single: dict[str, str] = {}
    lists: dict[str, list[str]] = {}
    for line in text.splitlines():
        found = re.fullmatch(r'(\S+) "(.*)";', line.strip())
        if found and found[1].endswith("::"):
            lists.setdefault(found[1][:-2].lower(), []).append(found[2])
        elif found:
            single[found[1].lower()] = found[2]
    return single, lists


def sources(host: Host) -> list[Item]:
    """Return for every package source whether it is bound to a key."""
    items = []
    for path in ["/etc/apt/sources.list", *host.glob("/etc/apt/sources.list.d/*.list")]:
        for number, line in enumerate(host.lines(path), 1):
            found = re.match(r"\s*deb(?:-src)?\s+(?:\[([^\]]*)\]\s+)?(\S+)", line)
            if found:
                options = dict(part.lower().partition("=")[::2] for part in (found[1] or "").split())
                items.append(_source(f"{path}:{number}", options))
    for path in host.glob("/etc/apt/sources.list.d/*.sources"):
        for number, stanza in enumerate(stanzas(host.read(path) or ""), 1):
            if "types" in stanza and stanza.get("enabled", "yes").lower() not in ("no", "false", "0"):
                items.append(_source(f"{path} entry {number}", stanza))
    return items


def _source(place: str, options: Mapping[str, str]) -> Item:
    wrong = [
        f"{name}={options[name]}"
        for name in ("trusted", "allow-insecure", "allow-weak", "allow-downgrade-to-insecure")
        if options.get(name, "no").lower() in ("yes", "true", "1")
    ]
    if wrong:
        return item(place, False, "signed", ", ".join(wrong))
    key = options.get("signed-by", "")
    return item(place, bool(key), "signed-by a key", f"signed-by {' '.join(key.split())[:60]}" if key else "any key")


def stanzas(text: str) -> list[dict[str, str]]:
    """Return the entries of a file in deb822 form, field names in lower case."""
    entries: list[dict[str, str]] = [{}]
    field = ""
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        if not line.strip():
            entries.append({})
            field = ""
        elif line[0].isspace() and field:
            entries[-1][field] += f" {line.strip()}"
        elif ":" in line:
            name, _colon, value = line.partition(":")
            field = name.strip().lower()
            entries[-1][field] = value.strip()
    return [entry for entry in entries if entry]


def key_files(host: Host) -> list[Item]:
    """Return for every key file whether only root can change it."""
    items = []
    for folder in TRUSTED:
        for name in host.names(folder):
            path = f"{folder}/{name}"
            status = host.status(path)
            if status is None or status.kind != "file" or not name.endswith((".gpg", ".asc", ".pgp")):
                continue
            passed = status.uid == 0 and status.mode & 0o133 == 0
            items.append(item(path, passed, "root 0644", f"{host.user_name(status.uid)} {status.mode:04o}"))
    return items


def origins(lists: Mapping[str, list[str]]) -> list[Item]:
    """Return for every origin that unattended-upgrades takes whether it is one of security updates."""
    allowed = lists.get("unattended-upgrade::origins-pattern", []) + lists.get(
        "unattended-upgrade::allowed-origins", []
    )
    if not allowed:
        return [item("unattended-upgrades", False, "the security origin", "no origin")]
    return [item("unattended-upgrades", "security" in origin.lower(), "security only", origin) for origin in allowed]


def up_seconds(host: Host) -> float:
    """Return for how long the host's init runs; in a container that is less than its kernel does."""
    uptime = (host.read("/proc/uptime") or "").split()
    init = (host.read("/proc/1/stat") or "").rpartition(")")[2].split()
    if not uptime or len(init) <= START_TIME:
        raise Unreadable("/proc does not say when the host was started")
    return float(uptime[0]) - int(init[START_TIME]) / TICKS


def last_run(host: Host, days: float) -> Item:
    """Return whether unattended-upgrades ran lately."""
    name, expected = "unattended-upgrades", f"ran within {days:g} days"
    status = host.status(STAMP)
    age = None if status is None else (time.time() - status.modified) / DAY
    if age is not None and age <= days:
        return item(name, True, expected, f"ran {age:.1f} days ago")
    observed = "never ran" if age is None else f"ran {age:.1f} days ago"
    up_days = up_seconds(host) / DAY
    if up_days < days:
        return Item(name, Verdict.PENDING, expected, observed, f"this host is up for {up_days:.1f} days only")
    return item(name, False, expected, observed)


NAMES: dict[str, Any] = {"names": Parameter("texts", required=True)}
READERS: Mapping[str, Reader] = {
    "package_present": Reader(
        package_present, {**NAMES, "any_of": Parameter("boolean", default=False)}, announce_packages
    ),
    "package_absent": Reader(package_absent, NAMES, announce_packages),
    "apt_policy": Reader(
        apt_policy,
        {
            "settings": Parameter("conditions"),
            "signed_by": Parameter("boolean", default=False),
            "key_files": Parameter("boolean", default=False),
            "security_origin_only": Parameter("boolean", default=False),
            "last_run_days": Parameter("number"),
        },
        announce_apt,
    ),
}
