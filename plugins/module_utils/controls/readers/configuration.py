# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings as programs read them from files, for programs that have no other answer; pure but for the host's reads."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from ..host import Host

SYSTEMD_FOLDERS = ("/etc/systemd", "/run/systemd", "/usr/local/lib/systemd", "/usr/lib/systemd", "/lib/systemd")
Setting = tuple[str, str, str]  # section, key, value


def settings(text: str, style: str, comments: str = "#;", ignore_case: bool = False) -> list[Setting]:
    """Return all settings of a text in their order.

    ``style``: ``equals`` (key = value), ``space`` (key value), ``ini`` and ``systemd`` (key = value in sections). A key
    without a value is a setting with an empty one.
    """
    found: list[Setting] = []
    section = ""
    for line in joined(text.splitlines()):
        line = line.strip()
        if not line or line[0] in comments:
            continue
        heading = re.fullmatch(r"\[([^\]]+)\]", line)
        if heading and style in ("ini", "systemd"):
            section = heading[1]
            continue
        if style == "space":
            key, _blank, value = line.replace("\t", " ").partition(" ")
        else:
            key, _equals, value = line.partition("=")
        if style == "equals":
            value = re.split(r"\s[#]", f" {value}")[0]
        found.append((section, key.strip().lower() if ignore_case else key.strip(), unquoted(value.strip())))
    return found


def joined(lines: Iterable[str]) -> list[str]:
    """Return lines with those that a backslash at the end continues put together."""
    found: list[str] = []
    open_line = ""
    for line in lines:
        if line.endswith("\\"):
            open_line += f"{line[:-1]} "
            continue
        found.append(open_line + line)
        open_line = ""
    return [*found, open_line] if open_line else found


def unquoted(value: str) -> str:
    """Return a value without the quotes around it."""
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
        return value[1:-1]
    return value


def value_of(entries: Sequence[Setting], key: str, section: str, wins: str) -> str | None:
    """Return the value that counts, None if there is none. ``section`` empty means that sections do not matter."""
    values = [value for place, name, value in entries if name == key and section in ("", place)]
    if not values:
        return None
    return values[0] if wins == "first" else values[-1]


def systemd_files(host: Host, path: str) -> list[str]:
    """Return the files that make up a configuration of systemd, such as /etc/systemd/journald.conf, in their order.

    Of main files the first that is found counts; of drop-ins with the same name likewise; a drop-in that is a link to
    /dev/null, or empty, hides those of later folders. Drop-ins come after the main file, sorted by name.
    """
    name = path.removeprefix("/etc/systemd/") if path.startswith("/etc/systemd/") else path.rsplit("/", 1)[-1]
    main = next((f"{folder}/{name}" for folder in SYSTEMD_FOLDERS if host.exists(f"{folder}/{name}")), "")
    drop_ins: dict[str, str] = {}
    for folder in SYSTEMD_FOLDERS:
        for entry in host.names(f"{folder}/{name}.d"):
            if entry.endswith(".conf"):
                drop_ins.setdefault(entry, f"{folder}/{name}.d/{entry}")
    return [*([main] if main else []), *(drop_ins[entry] for entry in sorted(drop_ins))]


def configuration_files(host: Host, path: str, style: str, drop_ins: Sequence[str], drop_ins_first: bool) -> list[str]:
    """Return the files of a configuration in the order in which the program reads them."""
    if style == "systemd":
        return systemd_files(host, path)
    more = [found for pattern in drop_ins for found in host.glob(pattern)]
    main = [path] if host.exists(path) else []
    return [*more, *main] if drop_ins_first else [*main, *more]


def login_definitions(host: Host) -> dict[str, str]:
    """Return what /etc/login.defs says; shadow's programs take the last of several, PAM's the first."""

    def make() -> dict[str, str]:
        return {key: value for _section, key, value in settings(host.read("/etc/login.defs") or "", "space", "#")}

    found: dict[str, str] = host.once("login.defs", make)
    return found
