# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The units with which a host looks after its certificates alone, as text; pure."""

from __future__ import annotations

import posixpath
import typing as t

REPORT, RENEW = "report", "renew"
PREFIX = "bulwark-certificates"
RUNTIME = f"/run/{PREFIX}"
ALARM = f"{PREFIX}-alarm@.service"
# What a renewal may write beside the store: the trust of the system, on Debian and on Red Hat.
TRUST_DIRECTORIES = ("/usr/local/share/ca-certificates", "/etc/ssl/certs", "/etc/pki")
# Twice a day would do for renewals; what is served and is not deployed should not wait that long. The report comes
# after the renewal, so that it need not tell of what the host mends by itself.
TIMES = {RENEW: "*-*-* 00/6:00:00", REPORT: "*-*-* 02/6:00:00"}
DESCRIPTIONS = {
    RENEW: "Renew the TLS certificates of this host, and let services serve what is deployed",
    REPORT: "Tell which TLS certificates of this host need a person",
}

SANDBOX = """\
NoNewPrivileges=yes
PrivateDevices=yes
PrivateTmp=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
LockPersonality=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
KeyringMode=private
SystemCallArchitectures=native
UMask=0077
"""
# A renewal runs what checks the configuration of services, and that may write logs, open ports, and bring a compiler
# of its own.
SANDBOXES = {
    RENEW: """\
ProtectSystem=full
ProtectHome=read-only
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
SystemCallFilter=@system-service
CapabilityBoundingSet=CAP_CHOWN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_FSETID CAP_KILL
CapabilityBoundingSet=CAP_NET_BIND_SERVICE CAP_SETGID CAP_SETUID
""",
    REPORT: """\
ProtectSystem=strict
ProtectHome=yes
MemoryDenyWriteExecute=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
SystemCallFilter=@system-service
SystemCallFilter=~@resources @setuid
CapabilityBoundingSet=CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH
""",
}


def service_name(command: str) -> str:
    return f"{PREFIX}-{command}.service"


def timer_name(command: str) -> str:
    return f"{PREFIX}-{command}.timer"


TIMERS = tuple(timer_name(command) for command in TIMES)
SERVICES = tuple(service_name(command) for command in TIMES)


def render(python: str, program: str, store: str, metrics: str, alarm_units: t.Iterable[str]) -> dict[str, str]:
    """Return the content of each unit file, by name."""
    units = {ALARM: alarm()}
    for command in TIMES:
        # Beside the store there are the bundles, and the account at an ACME server.
        own = posixpath.dirname(store) if command == RENEW else store
        writable = [own, *(TRUST_DIRECTORIES if command == RENEW else [metrics] if metrics else [])]
        units[service_name(command)] = service(command, f"{python} -I {program} {command}", writable, alarm_units)
        units[timer_name(command)] = timer(command)
    return units


def service(command: str, start: str, writable: t.Iterable[str], alarm_units: t.Iterable[str]) -> str:
    alarms = " ".join((ALARM.replace("@", f"@{command}"), *alarm_units))
    return f"""\
[Unit]
Description={DESCRIPTIONS[command]}
Wants=network-online.target
After=network-online.target
OnFailure={alarms}

[Service]
Type=oneshot
ExecStartPre=-/bin/rm -f {RUNTIME}/{command}
ExecStart={start}
TimeoutStartSec=30min
RuntimeDirectory={PREFIX}
RuntimeDirectoryMode=0755
RuntimeDirectoryPreserve=yes
ReadWritePaths={" ".join(f"-{path}" for path in writable)}
{SANDBOX}{SANDBOXES[command]}"""


def timer(command: str) -> str:
    return f"""\
[Unit]
Description={DESCRIPTIONS[command]}

[Timer]
OnCalendar={TIMES[command]}
RandomizedDelaySec=1h
Persistent=yes

[Install]
WantedBy=timers.target
"""


def alarm() -> str:
    """Return the unit that says in the journal, as an error, what a service of ours has found.

    It needs neither Python nor our program, because these may be what is broken.
    """
    return f"""\
[Unit]
Description=Say in the journal what a person must do about TLS certificates (%i)

[Service]
Type=oneshot
ExecStart=-/bin/grep -hs "" {RUNTIME}/%i
ExecStart=/bin/echo "{PREFIX}-%i.service failed: systemctl status {PREFIX}-%i.service shows all that it said, \
and systemctl start {PREFIX}-%i.service tries it again"
SyslogIdentifier={PREFIX}
SyslogLevel=err
ProtectSystem=strict
ProtectHome=yes
PrivateNetwork=yes
MemoryDenyWriteExecute=yes
RestrictAddressFamilies=AF_UNIX
SystemCallFilter=@system-service
CapabilityBoundingSet=
{SANDBOX}"""
