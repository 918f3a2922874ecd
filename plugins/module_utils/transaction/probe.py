# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One observation with a verdict: a TCP connect from a source to a destination."""

from __future__ import annotations

import socket
from dataclasses import asdict, dataclass
from typing import Any

OPEN = "open"
CLOSED = "closed"
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Probe:
    """A connection that must be open, or must be closed.

    source is an address, or empty for the probing host itself. expected is "open" or "closed".
    """

    name: str
    source: str
    destination: str
    port: int
    expected: str
    protocol: str = "tcp"

    def __post_init__(self) -> None:
        if self.expected not in (OPEN, CLOSED):
            raise ValueError(f"probe {self.name}: expected is {self.expected!r}; accepted are open and closed")
        if self.protocol != "tcp":
            raise ValueError(f"probe {self.name}: protocol is {self.protocol!r}; accepted is tcp")
        if not 1 <= self.port <= 65535:
            raise ValueError(f"probe {self.name}: {self.port} is not a port; accepted are 1 to 65535")


@dataclass(frozen=True)
class Verdict:
    """What a probe observed: "open", "closed", or "unknown" when the attempt itself was not possible."""

    probe: Probe
    observed: str
    detail: str = ""

    @property
    def passed(self) -> bool:
        return self.observed == self.probe.expected

    def to_dict(self) -> dict[str, Any]:
        """Return the probe's fields with observed, detail and passed, ready for JSON."""
        return {**asdict(self.probe), "observed": self.observed, "detail": self.detail, "passed": self.passed}


def tcp_connect(destination: str, port: int, source: str = "", timeout_seconds: float = 2.0) -> tuple[str, str]:
    """Try one TCP connection and return (observed, detail).

    A refusal and a time-out both mean closed: a firewall rejects or drops. An address that cannot be used at all
    (no such source address, no route on this host) is unknown, because it says nothing about the far side.
    """
    family = socket.AF_INET6 if ":" in destination else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout_seconds)
            try:
                if source:
                    connection.bind((source, 0))
            except OSError as error:
                return UNKNOWN, f"{source} cannot be used as a source: {error.strerror or error}"
            try:
                connection.connect((destination, port))
            except (TimeoutError, socket.timeout):
                return CLOSED, "no answer"
            except ConnectionError as error:
                return CLOSED, (error.strerror or str(error)).lower()
            except PermissionError:
                # An outbound rule with reject answers the local connect with EPERM.
                return CLOSED, "not permitted by this host"
            except OSError as error:
                return _unreachable(error)
            return OPEN, "connected"
    except OSError as error:
        return UNKNOWN, error.strerror or str(error)


def _unreachable(error: OSError) -> tuple[str, str]:
    detail = (error.strerror or str(error)).lower()
    # ICMP "unreachable" and "prohibited" are what rejecting firewalls send.
    if error.errno in (_errno("EHOSTUNREACH"), _errno("ENETUNREACH"), _errno("EACCES")):
        return CLOSED, detail
    return UNKNOWN, detail


def _errno(name: str) -> int:
    import errno

    return int(getattr(errno, name))
