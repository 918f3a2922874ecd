# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rollback. Runs alone from runner.pyz: by the timer, by the boot guard, or in the module's own process.

It needs neither the controller nor the network, only the standard library and the transaction's directory.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import sys
from collections.abc import Callable, Sequence

from . import files, snapshot
from .clock import Clock, iso
from .commands import run_command
from .journal import ROOT, Fenced, JournalStore
from .locks import RESTORE, Lock, end
from .state import CLOSED_PHASES, Command, Journal, Phase, TransactionError, advance

TIMER = "timer"
BOOT = "boot"
ASKED = "asked"
REASONS = {
    TIMER: "the window passed without a confirmation",
    BOOT: "the host was restarted before the change was confirmed",
    ASKED: "the rollback was asked for",
}
# A module that is about to finish may; one that hangs is ended.
MODULE_GRACE_SECONDS = 10.0
RESTORE_GRACE_SECONDS = 600.0
RETRY_SECONDS = 2.0
MAXIMUM_WRITES = 20

Run = Callable[[Command], "tuple[bool, str]"]


def restore(
    store: JournalStore,
    transaction_id: str,
    reason: str,
    because: str = "",
    clock: Clock | None = None,
    run: Run = run_command,
) -> Journal:
    """Roll a transaction back and return its journal; a closed one is only tidied up.

    reason is "timer", "boot" or "asked"; because replaces the sentence that goes with it. An interrupted rollback is
    repeated from the start. Raises TransactionError when the journal cannot be read.
    """
    clock = clock or Clock()
    sentence = because or REASONS[reason]
    journal = _take_over(store, transaction_id, sentence, clock)
    if journal.phase in CLOSED_PHASES:
        store.clear(journal)
        return journal
    lock = Lock(store.path(transaction_id, "mutation"), RESTORE)
    _wait_for_module(lock, clock)
    try:
        journal = store.read(transaction_id)
        if journal.phase in CLOSED_PHASES:
            store.clear(journal)
            return journal
        commands = journal.restore.boot_commands if reason == BOOT else journal.restore.live_commands
        problems = snapshot.restore(journal.restore.files, store.path(transaction_id, "snapshot"))
        problems += _run_all(commands, clock, run)
        journal = _close(store, transaction_id, problems, clock)
    finally:
        lock.release()
    if journal.phase is Phase.ROLLED_BACK:
        store.clear(journal)
    return journal


def _take_over(store: JournalStore, transaction_id: str, sentence: str, clock: Clock) -> Journal:
    """Write ROLLING_BACK, after which no commit can succeed."""
    # Room for the journal and the files, should the disk have filled up meanwhile.
    with contextlib.suppress(OSError), files.directory(store.path(transaction_id)) as descriptor:
        os.unlink("reserve", dir_fd=descriptor)
    for _attempt in range(MAXIMUM_WRITES):
        journal = store.read(transaction_id)
        if journal.phase in CLOSED_PHASES:
            return journal
        target = Phase.ROLLED_BACK if journal.phase is Phase.PLANNED else Phase.ROLLING_BACK
        repeated = journal.phase in (Phase.ROLLING_BACK, Phase.ROLLBACK_FAILED)
        following = advance(journal, target, iso(clock.now()), "repeated" if repeated else sentence)
        if repeated:
            following = dataclasses.replace(following, reason=journal.reason)
        try:
            store.write(following)
        except Fenced:
            continue
        except OSError as error:
            # Nobody else can write either, so no commit can win; access comes before the record.
            sys.stderr.write(f"the journal cannot be written ({error}); the rollback goes on\n")
        return following
    raise TransactionError(f"the journal of transaction {transaction_id} changes too fast to be rolled back")


def _wait_for_module(lock: Lock, clock: Clock) -> None:
    if lock.acquire(clock, MODULE_GRACE_SECONDS):
        return
    holder = lock.holder()
    if holder is not None and holder.role == RESTORE:
        lock.acquire(clock, RESTORE_GRACE_SECONDS)
        return
    if holder is not None:
        end(holder, clock)
    # Not taken even now: the holder cannot be ended. Restoring beside it is better than not at all.
    lock.acquire(clock, MODULE_GRACE_SECONDS)


def _run_all(commands: Sequence[Command], clock: Clock, run: Run) -> list[str]:
    """Run every command, failing ones once more, and return a sentence for each required one that failed twice."""
    failed = [command for command in commands if not run(command)[0] and command.required]
    if failed:
        clock.sleep(RETRY_SECONDS)
    problems = []
    for command in failed:
        success, line = run(command)
        if not success:
            problems.append(f"{' '.join(command.argv)}: {line}")
    return problems


def _close(store: JournalStore, transaction_id: str, problems: Sequence[str], clock: Clock) -> Journal:
    phase = Phase.ROLLBACK_FAILED if problems else Phase.ROLLED_BACK
    for _attempt in range(MAXIMUM_WRITES):
        journal = store.read(transaction_id)
        if journal.phase in CLOSED_PHASES:
            return journal
        if journal.phase is not Phase.ROLLING_BACK:
            # The record that the rollback began could not be written, or another rollback failed meanwhile.
            journal = advance(journal, Phase.ROLLING_BACK, iso(clock.now()), "recorded late")
            with contextlib.suppress(Fenced):
                store.write(journal)
            continue
        following = advance(journal, phase, iso(clock.now()), "; ".join(problems))
        following = dataclasses.replace(
            following, reason="; ".join([journal.reason, *problems]) if problems else journal.reason
        )
        try:
            store.write(following)
        except Fenced:
            continue
        return following
    raise TransactionError(f"the journal of transaction {transaction_id} changes too fast to be closed")


def check(store: JournalStore, transaction_id: str) -> None:
    """Raise TransactionError unless a rollback would find all that it needs."""
    journal = store.read(transaction_id)
    snapshot.check(journal.restore.files, store.path(transaction_id, "snapshot"))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="runner.pyz", description="Roll back a change that was not confirmed.")
    parser.add_argument("action", choices=["restore", "check"])
    parser.add_argument("--id", default="pending", help="the transaction; default: the pending one")
    parser.add_argument("--reason", choices=sorted(REASONS), default=ASKED)
    parser.add_argument("--root", default=ROOT)
    options = parser.parse_args(arguments)
    store = JournalStore(options.root)
    try:
        transaction_id = store.pending() if options.id == "pending" else options.id
        if transaction_id is None:
            sys.stdout.write("no transaction is pending\n")
            return 0
        if options.action == "check":
            check(store, transaction_id)
            return 0
        journal = restore(store, transaction_id, options.reason)
    except (TransactionError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"transaction {journal.id} is {journal.phase.value}: {journal.reason}\n")
    return 1 if journal.phase is Phase.ROLLBACK_FAILED else 0
