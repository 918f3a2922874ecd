# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program that a host runs by its timers: python3 -I certificates.pyz report | renew. Needs no controller."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import typing as t

from ..transaction import files
from . import policy as kept
from . import report, x509
from .change import Change
from .facts import Facts
from .model import CertificateError, Raw
from .observe import State
from .store import CHAIN, Store
from .timers import RENEW, REPORT

METRICS_FILE = "bulwark_certificates.prom"
# A run of the controller may wait for many services.
LOCK_SECONDS = 600.0
# What the journal takes for an error.
ERROR = "<3>"
Say = t.Callable[[str], None]


def main(arguments: t.Sequence[str] | None = None) -> int:
    """Do what a timer or a person asks for; the exit code is 1 when something needs a person."""
    parser = argparse.ArgumentParser(prog="certificates.pyz", description="Look after the certificates of this host.")
    parser.add_argument(
        "command",
        choices=(REPORT, RENEW),
        help=f"{REPORT}: tell how they are, change nothing; {RENEW}: do what needs no controller",
    )
    parser.add_argument("--policy", default=kept.POLICY, help="what the role has written")
    options = parser.parse_args(arguments)
    return run(options.command, lambda: kept.read(options.policy))


def run(command: str, policy: t.Callable[[], Raw], change: t.Callable[..., Change] = Change) -> int:
    try:
        work = renew if command == RENEW else tell
        found = work(change(policy(), False, alone=True), print_line)
    except CertificateError as error:
        found = [str(error)]
    except OSError as error:
        found = [f"{error.filename}: {error.strerror}" if error.filename else str(error)]
    for sentence in found:
        complain(sentence)
    leave(command, found)
    return 1 if found else 0


def tell(change: Change, say: Say) -> list[str]:
    """Print the report, write the metrics, and return what needs a person."""
    found = []
    try:
        with change.store.locked(change.clock, LOCK_SECONDS):
            sight = look(change)
    except CertificateError as error:
        # A disk that takes no lock, or a run that hangs, must not keep the host from telling the rest.
        found.append(str(error))
        sight = look(change)
    found += report.findings(sight)
    say(report.describe(sight).rstrip("\n"))
    for state in sight.states:
        for warning in state.warnings:
            say(warning)
    try:
        write_metrics(change.arguments, report.metrics(sight, found))
    except CertificateError as error:
        found.append(str(error))
    return found


def look(change: Change) -> report.Sight:
    states = change.observe()
    return report.Sight(
        states=states,
        authorities={state.name: authorities(state, change.store) for state in states},
        trust_reasons=change.reasons_of_trust(),
        now=change.clock.now(),
        host=change.host,
        alarm_days=change.arguments.get("alarm_days"),
    )


def authorities(state: State, store: Store) -> list[Facts]:
    """Return the CAs that signed the deployed certificate, up to the root that its consumers trust."""
    if state.deployed.facts is None:
        return []
    with contextlib.suppress(CertificateError):
        chain = x509.parse_chain(store.read(state.name, state.deployed.version, CHAIN) or b"")
        roots = x509.parse_chain(state.authority.trust.encode())
        last = chain[-1] if chain else state.deployed.facts
        return [*chain, *(root for root in roots if root.key_identifier == last.authority_key_identifier)]
    return []


def write_metrics(policy: Raw, content: str) -> None:
    """Replace the file of the node exporter in one step; a directory that nobody asked for need not be there."""
    directory = kept.metrics_directory(policy)
    if not directory or (directory == kept.METRICS_DIRECTORY and not os.path.isdir(directory)):
        return
    try:
        files.write_file(f"{directory}/{METRICS_FILE}", content.encode(), 0o644, os.geteuid(), os.getegid())
    except OSError as error:
        raise CertificateError(
            f"the metrics cannot be written to {directory}: {error.strerror or error}; "
            "make room or create the directory, or set tls_metrics_directory to another one or to nothing"
        ) from error


def renew(change: Change, say: Say) -> list[str]:
    """Do what needs no controller, and return what failed."""
    done = change.deploy()
    for line in (*done["reasons"], *done["warnings"]):
        say(line)
    for line in change.waiting:
        say(f"{line}; this waits for the controller")
    if not done["reasons"] and not change.waiting:
        say("everything is as it should be")
    return [done["msg"]] if done.get("failed") else []


# How it speaks


def print_line(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def complain(sentence: str) -> None:
    sys.stdout.flush()
    sys.stderr.write(f"{ERROR if os.environ.get('JOURNAL_STREAM') else ''}{sentence}\n")


def leave(command: str, found: t.Sequence[str]) -> None:
    """Leave the sentences where alarm units find them, if systemd has made a place for them."""
    directory = os.environ.get("RUNTIME_DIRECTORY")
    if directory:
        with contextlib.suppress(OSError):
            content = "".join(f"{sentence}\n" for sentence in found).encode()
            files.write_file(f"{directory}/{command}", content, 0o644, os.geteuid(), os.getegid())
