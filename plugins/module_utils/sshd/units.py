# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""systemd units of sshd: which mode it runs in, and how to get from one to another. Pure."""

from __future__ import annotations

import calendar
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

UNIT_DIRECTORY = "/etc/systemd/system"
PROPERTIES = (
    "Id",
    "Names",
    "LoadState",
    "ActiveState",
    "UnitFileState",
    "MainPID",
    "ExecMainStartTimestamp",
    "ExecReload",
    "Listen",
    "Accept",
)
CANDIDATES = ("ssh.service", "sshd.service", "ssh.socket", "sshd.socket")


@dataclass(frozen=True)
class Units:
    """The service and the socket, and how they stand; socket is empty where there is none."""

    service: str
    socket: str
    service_active: bool
    socket_active: bool
    service_enabled: bool
    socket_enabled: bool
    main_pid: int = 0
    loaded_at: int = 0
    listen: tuple[str, ...] = ()
    accept: bool = False

    @property
    def by_socket(self) -> bool:
        """Return whether systemd holds the listening sockets."""
        return self.socket_active


def parse_show(output: str) -> list[dict[str, str]]:
    """Return the properties of each unit; a property that appears twice keeps all its values, one a line."""
    units: list[dict[str, str]] = []
    for block in re.split(r"\n\s*\n", output.strip()):
        properties: dict[str, str] = {}
        for line in block.splitlines():
            name, found, value = line.partition("=")
            if found:
                properties[name] = f"{properties[name]}\n{value}" if name in properties else value
        if properties:
            units.append(properties)
    return units


def observe(output: str) -> Units | None:
    """Return the units from ``systemctl show`` of the candidates, or None if no service is installed."""
    loaded = [unit for unit in parse_show(output) if unit.get("LoadState") == "loaded"]
    services = [unit for unit in loaded if unit.get("Id", "").endswith(".service")]
    sockets = [unit for unit in loaded if unit.get("Id", "").endswith(".socket")]
    if not services:
        return None
    service = services[0]
    socket: Mapping[str, str] = sockets[0] if sockets else {}
    return Units(
        service=service["Id"],
        socket=socket.get("Id", ""),
        service_active=service.get("ActiveState") in ("active", "reloading"),
        socket_active=socket.get("ActiveState") == "active",
        service_enabled=service.get("UnitFileState", "").startswith("enabled"),
        socket_enabled=socket.get("UnitFileState", "").startswith("enabled"),
        main_pid=int(service.get("MainPID") or 0),
        loaded_at=_loaded_at(service),
        listen=tuple(re.findall(r"(\S+) \(Stream\)", socket.get("Listen", ""))),
        accept=socket.get("Accept") == "yes",
    )


def _loaded_at(service: Mapping[str, str]) -> int:
    """Return when the service last read its configuration: at its start, or when a reload sent the signal.

    Seconds since 1970, 0 if unknown. systemctl runs with TZ=UTC.
    """
    stamps = [service.get("ExecMainStartTimestamp", "")]
    stamps += re.findall(r"argv\[\]=\S*kill .*?start_time=\[([^\]]+)\]", service.get("ExecReload", ""))
    return max(_seconds(stamp) for stamp in stamps)


def _seconds(stamp: str) -> int:
    try:
        return calendar.timegm(time.strptime(stamp, "%a %Y-%m-%d %H:%M:%S UTC"))
    except ValueError:
        return 0


def listen_ports(listen: Sequence[str]) -> tuple[int, ...]:
    """Return the ports of a socket's Listen entries."""
    found = [entry.rsplit(":", 1)[-1] for entry in listen]
    return tuple(dict.fromkeys(int(port) for port in found if port.isdigit()))


def drop_in_path(socket: str) -> str:
    """Return where the socket's ports and addresses go."""
    return f"{UNIT_DIRECTORY}/{socket}.d/bulwark.conf"


def render_drop_in(ports: Sequence[int], addresses: Sequence[str]) -> str:
    """Return the socket's drop-in; the empty ListenStream drops what the unit itself lists."""
    lines = ["# Made by Ansible (bulwark.hardening.ssh); changes here are lost.", "[Socket]", "ListenStream="]
    for port in ports:
        if not addresses:
            lines.append(f"ListenStream={port}")
        for address in addresses:
            lines.append(f"ListenStream=[{address}]:{port}" if ":" in address else f"ListenStream={address}:{port}")
    if addresses:
        lines.append("FreeBind=yes")
    return "\n".join(lines) + "\n"


def snapshot_paths(units: Units) -> tuple[str, ...]:
    """Return the unit files and enablement links that a change of mode touches."""
    paths = [
        f"{UNIT_DIRECTORY}/multi-user.target.wants/{units.service}",
        f"{UNIT_DIRECTORY}/sshd.service",
        f"{UNIT_DIRECTORY}/ssh.service",
    ]
    if units.socket:
        paths += [
            f"{UNIT_DIRECTORY}/sockets.target.wants/{units.socket}",
            f"{UNIT_DIRECTORY}/{units.service}.requires/{units.socket}",
            f"{UNIT_DIRECTORY}/{units.socket}.d",
        ]
    return tuple(paths)


@dataclass(frozen=True)
class Switch:
    """What happens to the units: mode now and then, and whether the socket's own drop-in changes."""

    from_socket: bool
    to_socket: bool
    socket_changes: bool = False

    @property
    def touches_units(self) -> bool:
        """Return whether unit files or enablement change."""
        return self.from_socket != self.to_socket or self.socket_changes


def apply_commands(units: Units, switch: Switch) -> list[list[str]]:
    """Return the systemctl commands that put the candidate in force. Sessions stay: KillMode is process."""
    if not switch.touches_units:
        # Under socket activation a restart keeps the listening sockets, and a service that idles stays so.
        return [["systemctl", "try-restart" if switch.to_socket else "reload-or-restart", units.service]]
    if not (switch.from_socket or switch.to_socket):
        return [["systemctl", "daemon-reload"], ["systemctl", "reload-or-restart", units.service]]
    on, off = (units.socket, units.service) if switch.to_socket else (units.service, units.socket)
    commands = _stopped(units)
    if switch.from_socket != switch.to_socket:
        commands += [["systemctl", "disable", off], ["systemctl", "enable", on]]
    return [*commands, ["systemctl", "daemon-reload"], ["systemctl", "start", on]]


def rollback_commands(units: Units, switch: Switch) -> list[list[str]]:
    """Return the commands that put restored files in force again, whatever state the candidate left."""
    if switch.from_socket or switch.to_socket:
        on = units.socket if switch.from_socket else units.service
        return [*_stopped(units), ["systemctl", "daemon-reload"], ["systemctl", "start", on]]
    reload = [["systemctl", "daemon-reload"]] if switch.touches_units else []
    return [*reload, ["systemctl", "restart", units.service]]


def _stopped(units: Units) -> list[list[str]]:
    """Stop both before systemd reads changed units.

    It loses track of a service that runs while its alias sshd.service comes or goes, and the process that is left over
    keeps the ports. systemd also refuses to start a socket whose service runs.
    """
    return [["systemctl", "stop", units.socket, units.service]]


def boot_commands(units: Units, switch: Switch) -> list[list[str]]:
    """Return what the boot guard runs after it restored the files: systemd may have read the candidate's units."""
    if not switch.touches_units:
        return []
    start = units.socket if switch.from_socket else units.service
    stop = units.service if switch.from_socket else units.socket
    commands = [["systemctl", "daemon-reload"]]
    if switch.from_socket != switch.to_socket and stop:
        commands.append(["systemctl", "--no-block", "stop", stop])
    commands.append(["systemctl", "--no-block", "restart", start])
    return commands
