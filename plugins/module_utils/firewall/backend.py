# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a backend offers to the domain: observe the host, build a candidate, apply it, make it last."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from ..transaction.state import Command
from .model import Entry, Policy


class FirewallError(Exception):
    """The text is one sentence for the user."""


@dataclass
class Candidate:
    """A policy rendered for one host, not yet live.

    before/after hold defaults and rules for the diff. reasons say what differs; without one nothing is done.
    entries are the effective order, foreign ones included. staged is the directory with the rendered files.
    """

    before: dict[str, t.Any]
    after: dict[str, t.Any]
    reasons: list[str]
    added: list[Entry]
    removed: list[Entry]
    kept: int
    entries: list[Entry]
    foreign: list[Entry]
    defaults: dict[str, str]
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    data: dict[str, t.Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RehearsalPlan:
    """How the candidate is loaded, and unloaded again, inside the rehearsal's namespace.

    admitted_before tells for (source, destination, port) whether the old state admits a TCP connection. check lets the
    program that will read the candidate check it, beside the rehearsal, and raises FirewallError.
    """

    mounts: tuple[tuple[str, str], ...]
    load: tuple[Command, ...]
    unload: tuple[Command, ...]
    admitted_before: t.Callable[[str, str, int], bool]
    check: t.Callable[[], object]


class Backend(t.Protocol):
    """One firewall manager."""

    name: str

    def missing(self) -> str:
        """Return the package that has to be installed first, or nothing."""

    def active(self) -> bool:
        """Return whether this manager filters now, or will after a reboot."""

    def candidate(self, policy: Policy) -> Candidate:
        """Observe the host and return what the policy would make of it. Reads only."""

    def snapshot_paths(self) -> list[str]:
        """Return files and directories that a rollback restores."""

    def rollback_commands(self) -> list[Command]:
        """Return the commands that make the restored files effective again; called before apply."""

    def rehearsal(self, candidate: Candidate) -> RehearsalPlan:
        """Return how to check the rendered candidate with the program that reads it, and how to try it."""

    def prepare(self) -> None:
        """Do what has to be done before the snapshot, and is safe even if the change is rolled back."""

    def apply(self, candidate: Candidate) -> None:
        """Put the candidate into place and load it, with the least disturbance that the manager allows."""

    def retire(self) -> None:
        """Stop filtering and take the own rules out, because the other manager took over."""

    def persist(self) -> None:
        """Make the applied state last over a reboot."""

    def retire_persist(self) -> None:
        """Keep this manager from starting at the next boot."""

    def is_persistent(self) -> bool:
        """Return whether the manager starts at the next boot."""
