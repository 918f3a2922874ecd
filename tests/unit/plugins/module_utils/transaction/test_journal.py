# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The durable store: fencing, damage, and a power cut at every step."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ansible_collections.bulwark.hardening.plugins.module_utils.transaction.journal import (
    Fenced,
    JournalStore,
    UnreadableJournal,
)
from ansible_collections.bulwark.hardening.plugins.module_utils.transaction.state import (
    Journal,
    Phase,
    TransactionError,
    advance,
)

from .conftest import Host, Power, PowerCut

AT = "2026-11-26T00:00:00Z"


def test_the_second_writer_of_a_generation_is_fenced(host: Host) -> None:
    journal = host.armed().journal
    store = JournalStore(host.root)
    store.write(advance(journal, Phase.ROLLING_BACK, AT))
    with pytest.raises(Fenced):
        store.write(advance(journal, Phase.APPLYING, AT))
    assert store.read(journal.id).phase is Phase.ROLLING_BACK


def test_a_writer_that_slept_through_several_generations_is_fenced(host: Host) -> None:
    journal = host.armed().journal
    store = JournalStore(host.root)
    current = advance(journal, Phase.ROLLING_BACK, AT)
    for _time in range(3):
        store.write(current)
        current = advance(current, Phase.ROLLING_BACK, AT)
    with pytest.raises(Fenced):
        store.write(advance(journal, Phase.APPLYING, AT))


def test_a_write_survives_a_power_cut_at_every_step(host: Host, power: Power) -> None:
    journal = host.armed().journal
    store = JournalStore(host.root)
    following = advance(journal, Phase.APPLYING, AT)
    power.cut_at(10**6)
    store.write(following)
    steps = power.step
    assert steps >= 6
    for step in range(1, steps + 1):
        again = dataclasses.replace(following, generation=following.generation + step, reason=f"cut at {step}")
        before = store.read(journal.id)
        power.cut_at(step)
        with pytest.raises(PowerCut):
            store.write(again)
        power.restore()
        assert store.read(journal.id) in (before, again)
        if store.read(journal.id) != again:
            store.write(again)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_text(""), "Expecting value"),
        (lambda path: path.write_text("{}"), "its schema is None"),
        (lambda path: path.write_bytes(b"\xff\xfe"), "decode"),
        (lambda path: path.write_text(path.read_text().replace('"schema": 1', '"schema": 7')), "its schema is 7"),
        (lambda path: path.write_text(path.read_text().replace('"domain": "test"', '"domain": 5')), "domain is not"),
        (lambda path: path.write_text(path.read_text().replace('"generation": 2', '"generation": 9')), "generation 9"),
        (lambda path: path.chmod(0o666), "mode 0666"),
        (lambda path: (path.unlink(), path.symlink_to("/etc/passwd")), "mode 0777"),
        (lambda path: (path.unlink(), path.mkdir()), "is not a regular file"),
    ],
)
def test_a_journal_that_cannot_be_trusted_stops_the_run_and_is_kept(
    host: Host, damage: Callable[[Path], object], message: str
) -> None:
    transaction = host.armed()
    newest = max(Path(host.root, transaction.id, "journal").iterdir())
    damage(newest)
    host.change()
    changed = host.listing()
    for attempt in (host.begin, lambda: host.engine().resume(transaction.id), host.engine().status):
        with pytest.raises(UnreadableJournal, match=message) as caught:
            attempt()
        assert str(newest.parent.parent) in str(caught.value)
        assert "run again" in str(caught.value)
        assert "\n" not in str(caught.value)
    assert os.path.lexists(newest)
    assert host.listing() == changed


@pytest.mark.parametrize("content", ["file", "foreign link"])
def test_a_pending_mark_that_is_not_ours_stops_the_run_and_is_kept(host: Host, content: str) -> None:
    pending = Path(host.root, "pending")
    pending.parent.mkdir()
    if content == "file":
        pending.write_text("x")
    else:
        pending.symlink_to("/etc")
    with pytest.raises(UnreadableJournal, match="it is kept"):
        host.begin()
    assert os.path.lexists(pending)


@pytest.mark.parametrize("wrong", ["", "..", "../../etc", "20261126T000000Z-0000000g", "/etc"])
def test_an_id_that_is_not_one_never_becomes_a_path(host: Host, wrong: str) -> None:
    with pytest.raises(TransactionError, match="is not the id of a transaction"):
        host.engine().resume(wrong)


def test_an_unknown_transaction_is_said_to_be_unknown(host: Host) -> None:
    with pytest.raises(TransactionError, match="there is no transaction 20261126T000000Z-00000000 on this host"):
        host.engine().resume("20261126T000000Z-00000000")


def test_only_the_newest_closed_transactions_are_kept(host: Host) -> None:
    ids = []
    for _number in range(25):
        transaction = host.armed()
        transaction.rollback("test")
        ids.append(transaction.id)
    assert JournalStore(host.root).ids() == ids[-21:]
    host.settle()
    assert JournalStore(host.root).ids() == ids[-20:]


def test_everything_is_closed_to_others(host: Host) -> None:
    transaction = host.applied()
    for path in [Path(host.root), *Path(host.root).rglob("*")]:
        if not path.is_symlink():
            assert path.stat().st_mode & 0o077 == 0, path
    assert isinstance(transaction.journal, Journal)
