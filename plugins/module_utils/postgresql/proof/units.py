# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The units that look at a cluster again and again, as text; pure."""

from __future__ import annotations

import typing as t

NAME = "bulwark-postgresql-proof"
SERVICE, TIMER = f"{NAME}.service", f"{NAME}.timer"
DESCRIPTION = "Look whether roles, privileges and audit trail of PostgreSQL are as they were made"


def render(program: str, interval_minutes: int, metrics_directory: str, alarm_units: t.Iterable[str]) -> dict[str, str]:
    """Return the content of each unit file, by name."""
    alarms = " ".join(alarm_units)
    return {SERVICE: service(program, metrics_directory, alarms), TIMER: timer(interval_minutes)}


def service(program: str, metrics_directory: str, alarms: str) -> str:
    on_failure = f"OnFailure={alarms}\n" if alarms else ""
    writable = f"ReadWritePaths=-{metrics_directory}\n" if metrics_directory else ""
    # It becomes the user of the server to be let in by the socket.
    return f"""\
[Unit]
Description={DESCRIPTION}
After=postgresql.service
StartLimitIntervalSec=0
{on_failure}
[Service]
Type=oneshot
ExecStart={program}
TimeoutStartSec=10min
{writable}ProtectSystem=strict
ProtectHome=yes
NoNewPrivileges=yes
PrivateDevices=yes
PrivateTmp=yes
PrivateNetwork=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RestrictAddressFamilies=AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
KeyringMode=private
SystemCallArchitectures=native
SystemCallFilter=@system-service
CapabilityBoundingSet=CAP_DAC_READ_SEARCH CAP_DAC_OVERRIDE CAP_SETUID CAP_SETGID
UMask=0077
"""


def timer(interval_minutes: int) -> str:
    return f"""\
[Unit]
Description={DESCRIPTION}

[Timer]
OnBootSec=5min
OnUnitActiveSec={interval_minutes}min
RandomizedDelaySec={max(1, interval_minutes // 10)}min

[Install]
WantedBy=timers.target
"""
