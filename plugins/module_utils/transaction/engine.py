# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Begin, arm, apply, prove, commit, else roll back: the engine's public face."""

from __future__ import annotations

import contextlib
import dataclasses
import hmac
import json
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from . import files, restore, snapshot
from .clock import Clock, iso, later
from .commands import run_command
from .journal import ROOT, Fenced, JournalStore, UnreadableJournal
from .locks import Lock
from .probe import Verdict
from .runner import pack_rollback
from .session import plain_address, ssh_session
from .state import (
    CLOSED_PHASES,
    DEFAULT_WINDOW_SECONDS,
    MAXIMUM_WINDOW_SECONDS,
    MINIMUM_WINDOW_SECONDS,
    Command,
    Journal,
    Phase,
    RestorePlan,
    TransactionError,
    advance,
)
from .timer import LocalSystemd, Systemd, interpreter, unit_name

__all__ = ["ROOT", "Engine", "Transaction", "TransactionError"]

HOST_LOCK_SECONDS = 60.0
# After its window a predecessor gets this long to be rolled back by its own timer.
TIMER_GRACE_SECONDS = 20.0
POLL_SECONDS = 0.5
RESERVE_BYTES = 256 * 1024
ID_TIME = "%Y%m%dT%H%M%SZ"


class Engine:
    """Opens, resumes and reports transactions below root. Only one is open on a host at a time."""

    def __init__(self, root: str = ROOT, systemd: Systemd | None = None, clock: Clock | None = None) -> None:
        self.store = JournalStore(root)
        self.systemd: Systemd = systemd or LocalSystemd()
        self.clock = clock or Clock()
        self._lock: Lock | None = None

    def settle(self) -> dict[str, Any]:
        """Take the host lock and deal with a pending predecessor. Call it before the host is observed for a plan.

        A predecessor within its window is waited for, since its run may still confirm it; one beyond it is rolled back.
        Returns {} or the predecessor's status. Raises TransactionError when the predecessor cannot be closed.
        """
        self._take_host_lock()
        transaction_id = self.store.pending()
        if transaction_id is None:
            self._tidy()
            return {}
        journal = self._wait_until_closed(transaction_id)
        if journal.phase not in CLOSED_PHASES:
            journal = self.roll_back(journal)
        if journal.phase not in CLOSED_PHASES:
            raise TransactionError(
                f"the earlier transaction {journal.id} ({journal.domain}) could not be rolled back: {journal.reason}; "
                f"put this right by hand, then run: {interpreter()} -I {self.store.path(journal.id, 'runner.pyz')} "
                "restore"
            )
        self.systemd.disarm(unit_name(journal.id))
        self.store.clear(journal)
        self._tidy()
        return journal_status(journal)

    def begin(
        self,
        domain: str,
        paths: Sequence[str],
        live_commands: Sequence[Command],
        boot_commands: Sequence[Command] = (),
        window_seconds: int = DEFAULT_WINDOW_SECONDS,
        ports: Sequence[int] = (),
        data: Mapping[str, Any] | None = None,
    ) -> Transaction:
        """Snapshot paths (files or directory trees, present or absent) and write the journal as PLANNED.

        live_commands follow the restored files on a running host, boot_commands after a restart, before the network.
        ports are those on which the controller must prove new logins. data is the domain's own, kept for its commit.
        Raises TransactionError, also when a predecessor had to be closed first: the plan was made from its state.
        """
        check_window(window_seconds)
        predecessor = self.settle()
        if predecessor:
            raise TransactionError(
                f"an earlier transaction ({predecessor['domain']}, {predecessor['phase']}) was still pending and is "
                "closed now; run again, so that the plan starts from what the host is like"
            )
        now = self.clock.now()
        session = ssh_session()
        journal = Journal(
            id=new_id(now, self.store.ids()),
            domain=domain,
            generation=1,
            phase=Phase.PLANNED,
            nonce=secrets.token_urlsafe(24),
            created_at=iso(now),
            deadline=later(now, window_seconds),
            boottime_deadline=self.clock.boottime() + window_seconds,
            boot_id=self.clock.boot_id(),
            window_seconds=window_seconds,
            ports=tuple(ports),
            session_client=endpoint(session.client_address, session.client_port) if session else "",
            data=json.loads(json.dumps(dict(data or {}))),
        )
        journal = self._store_snapshot(journal, paths, live_commands, boot_commands)
        return Transaction(self, journal)

    def resume(self, transaction_id: str) -> Transaction:
        """Return a transaction that an earlier call began. Raises TransactionError when there is none."""
        return Transaction(self, self.store.read(transaction_id))

    def status(self, transaction_id: str | None = None) -> dict[str, Any]:
        """Return {} or id, domain, phase, pending, deadline, window_seconds, ports, reason, verdicts and history.

        Without an id: the pending transaction, else the newest. The nonce is not told.
        """
        wanted = transaction_id or self.store.pending() or next(iter(reversed(self.store.ids())), None)
        return journal_status(self.store.read(wanted)) if wanted else {}

    def close(self) -> None:
        """Release the host lock, which otherwise ends with the process."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _take_host_lock(self) -> None:
        self.store.prepare()
        lock = self._lock or Lock(f"{self.store.root}/lock")
        if not lock.acquire(self.clock, HOST_LOCK_SECONDS):
            holder = lock.holder()
            raise TransactionError(
                f"another run{f' (process {holder.process})' if holder else ''} is changing this host and did not "
                f"finish within {HOST_LOCK_SECONDS:.0f} seconds; run again when it has"
            )
        self._lock = lock

    def _wait_until_closed(self, transaction_id: str) -> Journal:
        journal = self.store.read(transaction_id)
        while journal.pending and journal.boot_id == self.clock.boot_id():
            if self.clock.boottime() > journal.boottime_deadline + TIMER_GRACE_SECONDS:
                break
            self.clock.sleep(POLL_SECONDS)
            journal = self.store.read(transaction_id)
        return journal

    def roll_back(self, journal: Journal) -> Journal:
        """Roll back by the timer's own service, or here when there is none, as after a restart."""
        started = self.systemd.start(unit_name(journal.id))
        after = self.store.read(journal.id)
        if not started and after.generation == journal.generation:
            return restore.restore(self.store, journal.id, restore.ASKED, clock=self.clock)
        return after

    def _store_snapshot(
        self, journal: Journal, paths: Sequence[str], live_commands: Sequence[Command], boot_commands: Sequence[Command]
    ) -> Journal:
        folder = self.store.path(journal.id)
        try:
            os.mkdir(folder, 0o700)
            os.mkdir(f"{folder}/snapshot", 0o700)
            states = snapshot.capture(paths, f"{folder}/snapshot")
            self._reserve(folder)
            journal = dataclasses.replace(
                journal, restore=RestorePlan(states, tuple(live_commands), tuple(boot_commands))
            )
            self.store.create(journal)
        except (OSError, TransactionError) as error:
            with contextlib.suppress(OSError), files.directory(self.store.root) as descriptor:
                files.remove_at(descriptor, journal.id)
            raise TransactionError(f"no snapshot could be taken, so nothing was changed: {error}") from error
        return journal

    def _reserve(self, folder: str) -> None:
        """Keep disk space for the rollback; it must work on a disk that filled up meanwhile."""
        with files.directory(f"{folder}/snapshot") as descriptor:
            names = os.listdir(descriptor)
            size = sum(os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_blocks * 512 for name in names)
        descriptor = os.open(f"{folder}/reserve", files.CREATE, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, size + RESERVE_BYTES)
        finally:
            os.close(descriptor)

    def _tidy(self) -> None:
        """Close what a run left behind before it armed anything, finish interrupted clearing, forget the oldest."""
        for transaction_id in self.store.unfinished():
            try:
                journal = self.store.read(transaction_id)
            except UnreadableJournal:
                continue
            except TransactionError:
                # A run that ended before its first journal was written.
                with files.directory(self.store.root) as descriptor:
                    files.remove_at(descriptor, transaction_id)
                continue
            if journal.phase is Phase.PLANNED:
                restore.restore(self.store, transaction_id, restore.ASKED, "the run ended early", clock=self.clock)
            elif journal.phase in CLOSED_PHASES:
                self.store.clear(journal)
        self.store.prune()


class Transaction:
    """One change and its way back."""

    def __init__(self, engine: Engine, journal: Journal) -> None:
        self.engine = engine
        self.journal = journal
        self._mutation = Lock(engine.store.path(journal.id, "mutation"))

    @property
    def id(self) -> str:
        return self.journal.id

    @property
    def nonce(self) -> str:
        return self.journal.nonce

    @property
    def deadline(self) -> str:
        return self.journal.deadline

    def arm(self) -> None:
        """Make the way back certain: runner, boot guard, pending link, timer, all checked. The window starts here.

        Raises TransactionError with nothing changed on the host when that is not possible.
        """
        store, systemd, clock = self.engine.store, self.engine.systemd, self.engine.clock
        try:
            if systemd.refusal():
                raise TransactionError(systemd.refusal())
            runner = store.path(self.id, "runner.pyz")
            files.write_file(runner, pack_rollback(), 0o600, os.geteuid(), os.getegid())
            program = (interpreter(), "-I", runner)
            ready, line = run_command(Command((*program, "check", "--root", store.root, "--id", self.id)))
            if not ready:
                raise TransactionError(f"the rollback would not work, so nothing was changed: {line}")
            systemd.install_guard(store.root)
            store.set_pending(self.id)
            now, window = clock.now(), self.journal.window_seconds
            renewed = dataclasses.replace(
                self.journal,
                deadline=later(now, window),
                boottime_deadline=clock.boottime() + window,
                boot_id=clock.boot_id(),
            )
            systemd.arm(
                unit_name(self.id),
                (*program, "restore", "--root", store.root, "--id", self.id, "--reason", restore.TIMER),
                window,
            )
            self._advance(Phase.ARMED, renewed)
        except (OSError, TransactionError) as error:
            systemd.disarm(unit_name(self.id))
            self.journal = restore.restore(store, self.id, restore.ASKED, str(error), clock=clock)
            if isinstance(error, TransactionError):
                raise
            raise TransactionError(f"no rollback could be armed, so nothing was changed: {error}") from error

    def applying(self) -> None:
        """Say that the host is changed from now on. Raises TransactionError when the window has passed."""
        self._hold()
        self._advance(Phase.APPLYING)

    def applied(self, verdicts: Sequence[Verdict] = ()) -> None:
        """Say that the host is changed. Raises TransactionError when the rollback came first."""
        try:
            self._advance(Phase.APPLIED, verdicts=[verdict.to_dict() for verdict in verdicts])
        finally:
            self._mutation.release()

    def commit(
        self, nonce: str, logins: Sequence[Mapping[str, Any]], persist: Callable[[], None], minimum_logins: int = 3
    ) -> None:
        """Check the proof, persist, and end the rollback. A commit that is done already is fine.

        logins: {client_address, client_port, server_address, server_port} each, as the new logins saw them. At least
        minimum_logins must differ in their client's endpoint, none may be a session that carries this module, and
        every port of the transaction must be among them; with 0, no login is asked for.
        A refused proof changes nothing: the rollback stays armed. When persist fails, or the rollback comes first,
        the change is rolled back. Until persist has succeeded, the timer and the boot guard stay armed, so a crash in
        between ends in a rollback. Raises TransactionError in all these cases.
        """
        self.journal = self.engine.store.read(self.id)
        if not hmac.compare_digest(nonce.encode(), self.journal.nonce.encode()):
            raise TransactionError(f"the nonce does not belong to transaction {self.id}; it stays unconfirmed")
        if self.journal.phase is Phase.COMMITTED:
            return
        self._check_window()
        if self.journal.phase is not Phase.APPLIED:
            raise TransactionError(
                f"transaction {self.id} is {self.journal.phase.value} and cannot be confirmed: "
                f"{self.journal.reason or 'only an applied one can be'}"
            )
        session = ssh_session()
        carriers = {self.journal.session_client}
        if session is not None:
            carriers.add(endpoint(session.client_address, session.client_port))
        problem = proof_problem(logins, minimum_logins, self.journal.ports, carriers)
        if problem:
            raise TransactionError(f"{problem}; transaction {self.id} stays unconfirmed")
        self._hold()
        self._advance(Phase.COMMITTING)
        try:
            persist()
            snapshot.settle(self.journal.restore.files)
        except BaseException as error:
            self.rollback(f"the change could not be made permanent: {error or type(error).__name__}")
            if not isinstance(error, Exception):
                raise
            raise TransactionError(f"the change was rolled back, it could not be made permanent: {error}") from error
        try:
            self._advance(Phase.COMMITTED)
        finally:
            self._mutation.release()
        # From here a rollback that still starts finds a closed transaction and does nothing.
        self.engine.systemd.disarm(unit_name(self.id))
        self.engine.store.clear(self.journal)
        self.engine.store.prune()

    def rollback(self, reason: str) -> None:
        """Go back now, by the same service that the timer would start. The journal tells how it went.

        A transaction that is rolled back already is fine. Raises TransactionError when it is committed.
        """
        store, clock = self.engine.store, self.engine.clock
        self._mutation.release()
        self.journal = self._move_to_rolling_back(reason)
        if self.journal.phase not in CLOSED_PHASES:
            self.journal = self.engine.roll_back(self.journal)
            if self.journal.phase is Phase.ROLLING_BACK:
                self.journal = restore.restore(store, self.id, restore.ASKED, clock=clock)
        if self.journal.phase is Phase.COMMITTED:
            raise TransactionError(f"transaction {self.id} is committed and cannot be rolled back")
        if self.journal.phase is Phase.ROLLED_BACK:
            self.engine.systemd.disarm(unit_name(self.id))
            store.clear(self.journal)

    def to_result(self) -> dict[str, Any]:
        """Return id, nonce, phase, pending, deadline, window_seconds, ports, reason and verdicts."""
        status = journal_status(self.journal)
        return {**{key: value for key, value in status.items() if key != "history"}, "nonce": self.nonce}

    def _move_to_rolling_back(self, reason: str) -> Journal:
        store, clock = self.engine.store, self.engine.clock
        while True:
            journal = store.read(self.id)
            if journal.phase in CLOSED_PHASES or journal.phase is Phase.ROLLING_BACK:
                return journal
            if journal.phase is Phase.PLANNED:
                return restore.restore(store, self.id, restore.ASKED, reason, clock=clock)
            with contextlib.suppress(Fenced):
                following = advance(journal, Phase.ROLLING_BACK, iso(clock.now()), reason)
                store.write(following)
                return following

    def _hold(self) -> None:
        if not self._mutation.acquire(self.engine.clock):
            raise TransactionError(f"transaction {self.id} is being rolled back or confirmed by another process")

    def _check_window(self) -> None:
        clock = self.engine.clock
        open_phase = self.journal.phase not in (*CLOSED_PHASES, Phase.ROLLING_BACK, Phase.ROLLBACK_FAILED)
        restarted = self.journal.boot_id != clock.boot_id()
        if open_phase and (restarted or clock.boottime() >= self.journal.boottime_deadline):
            passed = f"the window of {self.journal.window_seconds} seconds passed without a confirmation"
            reason = restore.REASONS[restore.BOOT] if restarted else passed
            self.rollback(reason)
            raise TransactionError(f"transaction {self.id} was rolled back: {reason}")

    def _advance(
        self, phase: Phase, journal: Journal | None = None, verdicts: Sequence[Mapping[str, Any]] = ()
    ) -> None:
        store, clock = self.engine.store, self.engine.clock
        following = advance(journal or self.journal, phase, iso(clock.now()), verdicts=verdicts)
        try:
            store.write(following)
        except (Fenced, OSError) as error:
            self._mutation.release()
            if isinstance(error, OSError):
                raise TransactionError(
                    f"the journal of transaction {self.id} cannot be written ({error}), so the rollback will come"
                ) from error
            self.journal = store.read(self.id)
            raise TransactionError(
                f"transaction {self.id} is {self.journal.phase.value} meanwhile and cannot become {phase.value}: "
                f"{self.journal.reason or 'another process changed it'}"
            ) from error
        self.journal = following


def new_id(now: datetime, existing: Sequence[str]) -> str:
    """Return an id that sorts after all existing ones, even when the clock was set back."""
    stamp = f"{now:{ID_TIME}}"
    newest = max(existing, default="")[: len(stamp)]
    if stamp <= newest:
        stamp = f"{datetime.strptime(newest, ID_TIME) + timedelta(seconds=1):{ID_TIME}}"
    return f"{stamp}-{secrets.token_hex(4)}"


def check_window(seconds: int) -> None:
    """Raise TransactionError unless seconds is an acceptable window."""
    if not MINIMUM_WINDOW_SECONDS <= seconds <= MAXIMUM_WINDOW_SECONDS:
        raise TransactionError(
            f"a window of {seconds} seconds is not possible; accepted are {MINIMUM_WINDOW_SECONDS} to "
            f"{MAXIMUM_WINDOW_SECONDS}"
        )


def endpoint(address: str, port: int) -> str:
    return f"{plain_address(address)} {port}"


def proof_problem(logins: Sequence[Mapping[str, Any]], minimum: int, ports: Sequence[int], carriers: set[str]) -> str:
    """Return why these logins prove nothing, or ""."""
    if minimum <= 0:
        return ""
    try:
        seen = {endpoint(str(login["client_address"]), int(login["client_port"])) for login in logins}
        reached = {int(login["server_port"]) for login in logins}
    except (KeyError, TypeError, ValueError) as error:
        return f"a login is not described by addresses and ports ({error!r})"
    if seen & carriers:
        return f"the login from {sorted(seen & carriers)[0]} is the session that this run came by, not a new one"
    if len(seen) < minimum:
        return f"{len(seen)} new logins were seen and {minimum} are needed"
    missing = sorted(set(ports) - reached)
    if missing:
        return f"no new login reached port {missing[0]}"
    return ""


def journal_status(journal: Journal) -> dict[str, Any]:
    """Return what may be told about a transaction, ready for JSON; the nonce and the restore plan may not."""
    return {
        "id": journal.id,
        "domain": journal.domain,
        "phase": journal.phase.value,
        "pending": journal.pending,
        "created_at": journal.created_at,
        "deadline": journal.deadline,
        "window_seconds": journal.window_seconds,
        "ports": list(journal.ports),
        "reason": journal.reason,
        "verdicts": [dict(verdict) for verdict in journal.verdicts],
        "history": [{"phase": m.phase.value, "at": m.at, "reason": m.reason} for m in journal.history],
    }
