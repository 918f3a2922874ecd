# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module's operations: stage, unstage, apply, commit, rollback, status."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

from ..transaction import files as safe_files
from ..transaction.engine import Engine, Transaction, TransactionError
from ..transaction.session import SshSession
from ..transaction.state import Command
from . import algorithms, grammar, host, keys, planner, rehearsal
from . import policy as model
from . import units as systemd
from .planner import HOST_KEY_PATHS, Observation, Plan, Refused
from .policy import FileContent, Policy

Result = dict[str, Any]

DOMAIN = "sshd"
SETTLE_SECONDS = 10.0
# What a user can cause, each with a sentence as its text.
USER_ERRORS = (Refused, TransactionError, grammar.GrammarError, algorithms.NoCommonAlgorithm, keys.InvalidKey)


class RolledBack(TransactionError):
    """The change was taken back at once; transaction is how that ended."""

    def __init__(self, message: str, transaction: Result) -> None:
        super().__init__(message)
        self.transaction = transaction


def stage(raw: Mapping[str, Any], check_mode: bool) -> Result:
    """Plan and examine; with a difference, and outside check mode, start the candidate on loopback."""
    if not check_mode:
        Engine().settle()
    policy, seen, changes, session = _plan(raw)
    result = _examined(policy, seen, changes, session)
    if changes.is_empty or check_mode:
        return result
    result["stage"] = rehearsal.stage(policy, changes, seen.connecting_user)
    return result


def unstage() -> Result:
    """End the second sshd, which would otherwise stay for its full time."""
    rehearsal.clear()
    return {"changed": False}


def apply(raw: Mapping[str, Any], check_mode: bool) -> Result:
    """Plan again, arm the rollback, put the candidate in force and leave the transaction pending."""
    engine = Engine()
    if not check_mode:
        rehearsal.clear()
        engine.settle()
    policy, seen, changes, session = _plan(raw)
    if changes.is_empty or check_mode:
        return _examined(policy, seen, changes, session)
    with rehearsal.staged(changes) as candidate:
        result = _examined(policy, seen, changes, session, candidate.directory)
        transaction = _begin(engine, raw, seen, changes)
        transaction.arm()
        try:
            transaction.applying()
            _install(changes, candidate)
            _activate(seen.units, changes)
            transaction.applied()
        except (OSError, *USER_ERRORS) as error:
            transaction.rollback(str(error))
            raise _rolled_back(transaction, error) from error
    result["transaction"] = transaction.to_result()
    return result


def _rolled_back(transaction: Transaction, error: Exception) -> RolledBack:
    state = transaction.to_result()
    if state["phase"] == "ROLLED_BACK":
        return RolledBack(f"the change was rolled back: {error}", state)
    return RolledBack(f"{error}; the rollback did not finish (phase {state['phase']}): {state['reason']}", state)


def commit(raw: Mapping[str, Any]) -> Result:
    """Confirm the pending transaction with the logins that the controller made."""
    proof = raw.get("transaction") or {}
    engine = Engine()
    transaction = engine.resume(str(proof.get("id") or ""))
    expected: Mapping[str, str] = transaction.journal.data.get("files", {})

    def unchanged() -> None:
        for path, digest in expected.items():
            if host.digest(path) != digest:
                raise TransactionError(f"{path} was changed by someone else meanwhile")

    minimum = int(raw.get("confirm_logins", 3) if raw.get("confirm_logins") is not None else 3)
    transaction.commit(str(proof.get("nonce") or ""), proof.get("logins") or (), unchanged, minimum)
    return {"changed": True, "transaction": transaction.to_result()}


def rollback(raw: Mapping[str, Any]) -> Result:
    """Go back now."""
    asked = raw.get("transaction") or {}
    transaction = Engine().resume(str(asked.get("id") or ""))
    transaction.rollback(str(asked.get("reason") or "the controller asked for it"))
    return {"changed": False, "transaction": transaction.to_result()}


def status(raw: Mapping[str, Any]) -> Result:
    """Report a transaction, the pending or newest one without an id."""
    asked = raw.get("transaction") or {}
    return {"changed": False, "transaction": Engine().status(asked.get("id") or None)}


def _plan(raw: Mapping[str, Any]) -> tuple[Policy, Observation, Plan, SshSession | None]:
    policy = Policy.of(raw)
    seen, session = host.observe()
    return policy, seen, planner.plan(policy, seen), session


def _examined(
    policy: Policy, seen: Observation, changes: Plan, session: SshSession | None, directory: str = ""
) -> Result:
    """Examine the candidate, or the host as it is when nothing changes, and return the common result."""
    addresses = (session.client_address, session.server_address, session.server_port) if session else ("", "", 0)

    def look(at: str) -> rehearsal.Findings:
        return rehearsal.examine(at, policy, changes, seen.connecting_user, addresses, changes.switch.to_socket)

    if directory:
        findings = look(directory)
    elif changes.is_empty:
        findings = look("/etc/ssh")
    else:
        with rehearsal.staged(changes) as candidate:
            findings = look(candidate.directory)
    return {
        "changed": not changes.is_empty,
        "diff": planner.differences(changes, seen),
        "current_ports": list(seen.current_ports),
        "ports": list(changes.ports),
        "socket_activation": changes.switch.to_socket,
        "administrators": [verdict.to_dict() for verdict in findings.verdicts],
        "notes": list(changes.notes),
        "warnings": [*changes.warnings, *findings.warnings],
    }


def _begin(engine: Engine, raw: Mapping[str, Any], seen: Observation, changes: Plan) -> Transaction:
    """Snapshot what changes, with the commands that put the old state in force again."""
    paths: Sequence[str] = ["/etc/ssh"]
    if changes.switch.touches_units:
        paths = [*paths, *systemd.snapshot_paths(seen.units)]
    live = [Command(tuple(argv)) for argv in systemd.rollback_commands(seen.units, changes.switch)]
    boot = [Command(tuple(argv)) for argv in systemd.boot_commands(seen.units, changes.switch)]
    return engine.begin(
        DOMAIN,
        paths,
        live,
        boot,
        window_seconds=int(raw.get("window_seconds") or 90),
        ports=changes.ports_to_prove,
        data={"files": {path: _sha(file) for path, file in changes.writes.items()}},
    )


def _sha(file: FileContent) -> str:
    return hashlib.sha256(file.content.encode("utf-8", "surrogateescape")).hexdigest()


def _install(changes: Plan, candidate: rehearsal.Candidate) -> None:
    """Bring what was examined, byte for byte, from the candidate to /etc/ssh; unit files come from the plan."""
    for path, file in changes.writes.items():
        safe_files.make_directories(os.path.dirname(path))
        safe_files.write_file(path, file.content.encode("utf-8", "surrogateescape"), file.mode)
    made = [(HOST_KEY_PATHS[kind], 0o600) for kind in changes.generate]
    made += [(f"{HOST_KEY_PATHS[kind]}.pub", 0o644) for kind in changes.generate]
    if changes.make_krl:
        made += [(model.KRL_FILE, 0o644), (model.KRL_RECORD, 0o644)]
    for path, mode in made:
        safe_files.make_directories(os.path.dirname(path))
        safe_files.write_file(path, safe_files.read_file(candidate.path(path)), mode)
    for path in changes.removals:
        parent, name = safe_files.split(path)
        with safe_files.directory(parent) as descriptor:
            safe_files.remove_at(descriptor, name)


def _activate(units: systemd.Units, changes: Plan) -> None:
    """Put the installed files in force and see that sshd listens; raises TransactionError if it does not."""
    for argv in systemd.apply_commands(units, changes.switch):
        done = host.run(argv)
        if not done.ok:
            raise TransactionError(f"{' '.join(argv)} failed: {done.first_line()}")
    # A process that the new files kill dies within a moment of the signal; a greeting before that proves nothing.
    time.sleep(0.5)
    until = time.monotonic() + SETTLE_SECONDS
    missing = "sshd does not run"
    while time.monotonic() < until:
        missing = _missing(units, changes)
        if not missing:
            host.mark_loaded(host.observe_units().main_pid)
            return
        time.sleep(0.2)
    raise TransactionError(missing)


def _missing(units: systemd.Units, changes: Plan) -> str:
    """Return what is not there yet."""
    now = host.observe_units()
    if changes.switch.to_socket and not now.socket_active:
        return f"{units.socket} is not active after the change"
    if not changes.switch.to_socket and not (now.service_active and now.main_pid):
        return f"{units.service} is not active after the change"
    listening = host.listening()
    asked = [line.arguments[0] for line in changes.lines if line.keyword == "ListenAddress"]
    for port in changes.ports:
        addresses = asked or listening.get(port, ())
        if port not in listening:
            return f"nothing listens on port {port} after the change"
        silent = [address for address in addresses if not rehearsal.speaks_ssh(address, port)]
        if silent:
            return f"no SSH server answers on {silent[0]} port {port} after the change"
    return ""
