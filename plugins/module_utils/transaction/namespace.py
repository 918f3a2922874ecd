# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rehearse a firewall in a private network and mount namespace, with real TCP connects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .probe import Probe, Verdict
from .state import Command


@dataclass(frozen=True)
class Rehearsal:
    """supported is False, with the reason, where the host does not allow namespaces."""

    supported: bool
    reason: str = ""
    verdicts: tuple[Verdict, ...] = ()
    verdicts_after_rollback: tuple[Verdict, ...] = ()

    @property
    def passed(self) -> bool:
        return self.supported and all(v.passed for v in (*self.verdicts, *self.verdicts_after_rollback))

    def to_dict(self) -> dict[str, Any]:
        return {
            "supported": self.supported,
            "reason": self.reason,
            "verdicts": [verdict.to_dict() for verdict in self.verdicts],
            "verdicts_after_rollback": [verdict.to_dict() for verdict in self.verdicts_after_rollback],
        }


def rehearse(
    interface: str,
    addresses: Sequence[str],
    load: Sequence[Command],
    probes: Sequence[Probe],
    unload: Sequence[Command] = (),
    probes_after_rollback: Sequence[Probe] = (),
    mounts: Sequence[tuple[str, str]] = (),
    environment: Mapping[str, str] | None = None,
    timeout_seconds: float = 60.0,
) -> Rehearsal:
    """Load a candidate where it can do no harm, and try real connections.

    interface: the real network card's name, given to the private one. addresses: "192.0.2.10/24" and so on, its own.
    mounts: (staged directory or file, path that it covers); read and written privately. load: the candidate, in order;
    a failing required command raises TransactionError with its last line. A background command is left running
    (a private dbus-daemon, a firewalld). unload: the rollback, after which probes_after_rollback are tried.
    A probe with an empty source goes from this host outwards, to its destination; one with a source comes in.
    /run is private and empty, except for what mounts puts there. Daemons end with the namespace.
    Source: unshare(1), ip(8), nsenter(1).
    """
    raise NotImplementedError
