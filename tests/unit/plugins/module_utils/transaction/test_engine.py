# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine from begin to commit or rollback, on a host whose power may fail at any step."""

from __future__ import annotations

import json
import os
import random
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bulwark.hardening.plugins.module_utils.transaction import engine as engine_module
from ansible_collections.bulwark.hardening.plugins.module_utils.transaction import locks, restore
from ansible_collections.bulwark.hardening.plugins.module_utils.transaction.clock import Clock
from ansible_collections.bulwark.hardening.plugins.module_utils.transaction.engine import Transaction
from ansible_collections.bulwark.hardening.plugins.module_utils.transaction.journal import JournalStore
from ansible_collections.bulwark.hardening.plugins.module_utils.transaction.probe import Probe, Verdict
from ansible_collections.bulwark.hardening.plugins.module_utils.transaction.session import SshSession
from ansible_collections.bulwark.hardening.plugins.module_utils.transaction.state import (
    Command,
    Phase,
    TransactionError,
)

from .conftest import Host, Power, PowerCut


def login(client_port: int, client: str = "192.0.2.1", server_port: int = 22) -> dict[str, Any]:
    return {
        "client_address": client, "client_port": client_port, "server_address": "192.0.2.2",
        "server_port": server_port,
    }  # fmt: skip


LOGINS = [login(50001), login(50002), login(50003)]


def nothing() -> None:
    pass


def phase_of(host: Host, transaction: Transaction) -> Phase:
    return JournalStore(host.root).read(transaction.id).phase


def leftovers(host: Host) -> list[str]:
    kept = ("lock", "journal", "mutation")
    return [
        str(path.relative_to(host.root))
        for path in Path(host.root).rglob("*")
        if path.name not in kept and path.parent.name != "journal" and path.parent != Path(host.root)
    ] + [name for name in ("pending",) if Path(host.root, name).is_symlink()]


class TestTheGoodPath:
    def test_a_commit_keeps_the_change_and_leaves_nothing_armed(self, host: Host) -> None:
        transaction = host.applied(ports=[22])
        persisted: list[str] = []
        host.engine().resume(transaction.id).commit(transaction.nonce, LOGINS, lambda: persisted.append("yes"))
        assert persisted == ["yes"]
        assert phase_of(host, transaction) is Phase.COMMITTED
        assert host.listing() != host.old
        assert host.systemd.timers == {}
        assert leftovers(host) == []

    def test_what_a_program_wrote_without_syncing_is_durable_before_the_commit(
        self, host: Host, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        transaction = host.applied()
        real, synced = os.fsync, set[int]()

        def fsync(descriptor: int) -> None:
            if phase_of(host, transaction) is Phase.COMMITTING:
                synced.add(os.fstat(descriptor).st_ino)
            real(descriptor)

        monkeypatch.setattr(os, "fsync", fsync)
        transaction.commit(transaction.nonce, LOGINS, lambda: None)
        wanted = {host.tree, *host.tree.rglob("*"), host.tree.parent}
        assert {path.stat().st_ino for path in wanted} <= synced

    def test_a_commit_repeated_by_a_controller_that_lost_the_answer_is_fine(self, host: Host) -> None:
        transaction = host.applied()
        for _time in range(2):
            host.engine().resume(transaction.id).commit(transaction.nonce, LOGINS, nothing)
        assert phase_of(host, transaction) is Phase.COMMITTED

    def test_the_timer_stays_armed_until_persist_is_done(self, host: Host) -> None:
        transaction = host.applied()
        armed: list[int] = []
        transaction.commit(transaction.nonce, LOGINS, lambda: armed.append(len(host.systemd.timers)))
        assert armed == [1]

    def test_the_result_is_json_and_says_what_the_controller_needs(self, host: Host) -> None:
        transaction = host.armed(ports=[22, 2222], window_seconds=45)
        result = json.loads(json.dumps(transaction.to_result()))
        assert result["nonce"] == transaction.nonce
        assert (result["phase"], result["pending"]) == ("ARMED", True)
        assert (result["ports"], result["window_seconds"]) == ([22, 2222], 45)
        assert result["deadline"] == transaction.deadline > result["created_at"]

    def test_verdicts_are_kept(self, host: Host) -> None:
        transaction = host.armed()
        transaction.applying()
        transaction.applied([Verdict(Probe("ssh", "", "192.0.2.2", 22, "open"), "open")])
        assert host.engine().status(transaction.id)["verdicts"][0]["passed"] is True

    def test_the_domains_own_data_comes_back_in_the_commit_call(self, host: Host) -> None:
        transaction = host.applied(data={"wanted": ["a", {"b": None}]})
        assert host.engine().resume(transaction.id).journal.data == {"wanted": ["a", {"b": None}]}

    def test_status_tells_all_but_the_nonce(self, host: Host) -> None:
        assert host.engine().status() == {}
        transaction = host.applied()
        status = host.engine().status()
        assert status["id"] == transaction.id
        assert [moment["phase"] for moment in status["history"]] == ["ARMED", "APPLYING", "APPLIED"]
        assert transaction.nonce not in json.dumps(status)

    def test_the_window_starts_when_it_is_armed(self, host: Host) -> None:
        transaction = host.begin(window_seconds=30)
        host.clock.seconds += 29
        transaction.arm()
        host.clock.seconds += 29
        transaction.applying()
        transaction.applied()
        transaction.commit(transaction.nonce, LOGINS, nothing)
        assert phase_of(host, transaction) is Phase.COMMITTED


class TestTheProof:
    @pytest.mark.parametrize(
        ("logins", "message"),
        [
            ([], "0 new logins were seen and 3 are needed"),
            (LOGINS[:2], "2 new logins were seen and 3 are needed"),
            ([LOGINS[0]] * 3, "1 new logins were seen and 3 are needed"),
            ([*LOGINS[:2], login(50001, "::ffff:192.0.2.1")], "2 new logins were seen"),
            ([*LOGINS, login(40000)], "192.0.2.1 40000 is the session that this run came by"),
            ([*LOGINS, login(40001, "2001:db8::1%eth0")], "2001:db8::1 40001 is the session that this run came by"),
            ([*LOGINS, {}], "a login is not described"),
            ([*LOGINS, login(1) | {"client_address": "somewhere"}], "a login is not described"),
            ([*LOGINS, login(1) | {"server_port": None}], "a login is not described"),
        ],
    )
    def test_a_weak_proof_is_refused_and_changes_nothing(
        self, host: Host, monkeypatch: pytest.MonkeyPatch, logins: list[Mapping[str, Any]], message: str
    ) -> None:
        monkeypatch.setattr(engine_module, "ssh_session", lambda: SshSession("192.0.2.1", 40000, "192.0.2.2", 22))
        transaction = host.applied()
        monkeypatch.setattr(engine_module, "ssh_session", lambda: SshSession("2001:db8::1", 40001, "::2", 22))
        with pytest.raises(TransactionError, match=message):
            transaction.commit(transaction.nonce, logins, nothing)
        assert phase_of(host, transaction) is Phase.APPLIED
        assert len(host.systemd.timers) == 1
        transaction.commit(transaction.nonce, LOGINS, nothing)

    def test_every_port_must_be_reached(self, host: Host) -> None:
        transaction = host.applied(ports=[22, 2222])
        with pytest.raises(TransactionError, match="no new login reached port 2222"):
            transaction.commit(transaction.nonce, LOGINS, nothing)
        transaction.commit(transaction.nonce, [*LOGINS, login(50004, server_port=2222)], nothing)

    @pytest.mark.parametrize("nonce", ["", "x", "ü"])
    def test_a_wrong_nonce_is_refused(self, host: Host, nonce: str) -> None:
        transaction = host.applied()
        with pytest.raises(TransactionError, match="the nonce does not belong to transaction"):
            transaction.commit(nonce, LOGINS, nothing)
        assert phase_of(host, transaction) is Phase.APPLIED

    def test_without_a_login_to_lose_none_is_asked_for(self, host: Host) -> None:
        transaction = host.applied(ports=[22])
        transaction.commit(transaction.nonce, [], nothing, minimum_logins=0)
        assert phase_of(host, transaction) is Phase.COMMITTED

    @pytest.mark.parametrize("reach", [Host.begin, Host.armed])
    def test_only_an_applied_change_can_be_confirmed(self, host: Host, reach: Callable[[Host], Transaction]) -> None:
        transaction = reach(host)
        with pytest.raises(TransactionError, match="cannot be confirmed"):
            transaction.commit(transaction.nonce, LOGINS, nothing)

    def test_a_confirmation_after_the_window_rolls_back_even_if_the_timer_slept(self, host: Host) -> None:
        transaction = host.applied(window_seconds=60)
        host.clock.seconds += 60
        with pytest.raises(TransactionError, match="was rolled back: the window of 60 seconds passed"):
            transaction.commit(transaction.nonce, LOGINS, nothing)
        assert host.listing() == host.old
        assert phase_of(host, transaction) is Phase.ROLLED_BACK

    def test_a_confirmation_after_a_restart_rolls_back_whatever_the_clock_says(self, host: Host) -> None:
        transaction = host.applied()
        host.clock.boot = "second"
        host.clock.seconds = 1.0
        with pytest.raises(TransactionError, match="the host was restarted before the change was confirmed"):
            transaction.commit(transaction.nonce, LOGINS, nothing)
        assert host.listing() == host.old


class TestTheWayBack:
    def test_the_timer_restores_everything(self, host: Host) -> None:
        transaction = host.applied()
        host.systemd.fire()
        assert host.listing() == host.old
        journal = JournalStore(host.root).read(transaction.id)
        assert (journal.phase, journal.pending) == (Phase.ROLLED_BACK, False)
        assert journal.reason == "the window passed without a confirmation"
        assert leftovers(host) == []

    def test_a_commit_after_the_timer_fails_with_the_reason(self, host: Host) -> None:
        transaction = host.applied()
        host.systemd.fire()
        with pytest.raises(TransactionError, match="is ROLLED_BACK and cannot be confirmed: the window passed"):
            transaction.commit(transaction.nonce, LOGINS, nothing)
        assert host.listing() == host.old

    def test_asked_for_it_uses_the_timers_own_service_and_tells_the_reason(self, host: Host) -> None:
        transaction = host.applied()
        transaction.rollback("a new login failed")
        assert host.listing() == host.old
        assert transaction.to_result()["phase"] == "ROLLED_BACK"
        assert transaction.to_result()["reason"] == "a new login failed"
        assert host.systemd.timers == {}
        transaction.rollback("once more")
        assert transaction.to_result()["reason"] == "a new login failed"

    def test_it_works_without_the_service(self, host: Host) -> None:
        transaction = host.applied()
        host.systemd.timers.clear()
        transaction.rollback("asked")
        assert host.listing() == host.old
        assert leftovers(host) == []

    def test_what_is_committed_cannot_go_back(self, host: Host) -> None:
        transaction = host.applied()
        transaction.commit(transaction.nonce, LOGINS, nothing)
        with pytest.raises(TransactionError, match="is committed and cannot be rolled back"):
            transaction.rollback("too late")

    def test_a_failing_persist_rolls_back(self, host: Host) -> None:
        transaction = host.applied()

        def persist() -> None:
            (host.tree / "half").write_text("half")
            raise ValueError("no space left")

        with pytest.raises(TransactionError, match="the change was rolled back, it could not be made permanent: no sp"):
            transaction.commit(transaction.nonce, LOGINS, persist)
        assert host.listing() == host.old
        assert phase_of(host, transaction) is Phase.ROLLED_BACK

    def test_the_timer_during_persist_wins_and_undoes_it_as_well(self, host: Host) -> None:
        transaction = host.applied()
        threads: list[threading.Thread] = []

        def persist() -> None:
            timer = threading.Thread(
                target=restore.restore, args=(JournalStore(host.root), transaction.id, restore.TIMER)
            )
            timer.start()
            threads.append(timer)
            while timer.is_alive() and phase_of(host, transaction) is not Phase.ROLLING_BACK:
                timer.join(0.01)
            (host.tree / "late").write_text("written after the rollback began")

        with pytest.raises(TransactionError, match="ROLLING_BACK meanwhile and cannot become COMMITTED"):
            transaction.commit(transaction.nonce, LOGINS, persist)
        threads[0].join()
        assert host.listing() == host.old
        assert phase_of(host, transaction) is Phase.ROLLED_BACK

    def test_the_timer_during_apply_wins_and_undoes_late_writes(self, host: Host) -> None:
        transaction = host.armed()
        transaction.applying()
        timer = threading.Thread(target=restore.restore, args=(JournalStore(host.root), transaction.id, restore.TIMER))
        timer.start()
        while timer.is_alive() and phase_of(host, transaction) is not Phase.ROLLING_BACK:
            timer.join(0.01)
        host.change()
        with pytest.raises(TransactionError, match="meanwhile and cannot become APPLIED: the window passed"):
            transaction.applied()
        timer.join()
        assert host.listing() == host.old

    def test_the_timer_between_arm_and_apply_keeps_the_change_from_starting(self, host: Host) -> None:
        transaction = host.armed()
        host.systemd.fire()
        with pytest.raises(TransactionError, match="cannot become APPLYING"):
            transaction.applying()


def fire_timer(
    host: Host, transaction: Transaction, start: threading.Barrier, pause: float, restored: list[Phase]
) -> None:
    start.wait()
    Clock().sleep(pause)
    restored.append(restore.restore(JournalStore(host.root), transaction.id, restore.TIMER).phase)


def test_commit_and_timer_hammered_at_once_have_exactly_one_winner(host: Host) -> None:
    seed = random.Random(20261126)
    for _round in range(60):
        transaction = host.applied()
        changed = host.listing()
        start = threading.Barrier(2)
        pauses = (seed.random() / 500, seed.random() / 500)
        restored: list[Phase] = []

        rival = threading.Thread(target=fire_timer, args=(host, transaction, start, pauses[0], restored))
        rival.start()
        start.wait()
        Clock().sleep(pauses[1])
        try:
            transaction.commit(transaction.nonce, LOGINS, lambda: None)
            committed = True
        except TransactionError:
            committed = False
        rival.join()
        final = phase_of(host, transaction)
        assert final is (Phase.COMMITTED if committed else Phase.ROLLED_BACK)
        assert restored == [final]
        assert host.listing() == (changed if committed else host.old)
        assert leftovers(host) == []
        restore_tree(host)


def restore_tree(host: Host) -> None:
    for path in sorted(host.tree.rglob("*"), reverse=True):
        if path.is_dir():
            path.rmdir()
        else:
            path.unlink()
    for name, content in host.old.items():
        (host.tree / name).write_text(content)


def run_through(host: Host) -> None:
    transaction = host.applied()

    def persist() -> None:
        (host.tree / "persisted").write_text("x")

    transaction.commit(transaction.nonce, LOGINS, persist)


def test_a_power_cut_at_every_step_ends_in_the_old_state_or_the_new_one(host: Host, power: Power) -> None:
    power.cut_at(10**6)
    run_through(host)
    steps = power.step
    power.restore()
    new = host.listing()
    assert steps > 60
    outcomes = set()
    for step in range(1, steps + 1):
        restore_tree(host)
        power.cut_at(step)
        with pytest.raises(PowerCut):
            run_through(host)
        power.restore()
        host.restart()
        host.settle()
        status = host.newest()
        assert status.get("pending", False) is False
        assert host.listing() == (new if status.get("phase") == "COMMITTED" else host.old), f"cut at {step}"
        assert leftovers(host) == []
        outcomes.add(status.get("phase"))
        # The host is ready for the next change.
        host.armed().rollback("test")
    assert outcomes == {None, "COMMITTED", "ROLLED_BACK"}


def test_a_kill_at_every_step_without_a_restart_is_settled_by_the_next_run(host: Host, power: Power) -> None:
    power.cut_at(10**6)
    run_through(host)
    steps = power.step
    power.restore()
    new = host.listing()
    for step in range(1, steps + 1):
        restore_tree(host)
        power.cut_at(step)
        with pytest.raises(PowerCut):
            run_through(host)
        power.restore()
        host.die()
        host.settle()
        assert host.listing() == (new if host.newest().get("phase") == "COMMITTED" else host.old), f"killed at {step}"
        assert leftovers(host) == []
        host.systemd.timers.clear()


class TestArming:
    def test_without_systemd_nothing_is_begun(self, host: Host) -> None:
        host.systemd.refused = "systemd is not the init of this host"
        transaction = host.begin()
        with pytest.raises(TransactionError, match="systemd is not the init of this host"):
            transaction.arm()
        assert phase_of(host, transaction) is Phase.ROLLED_BACK
        assert leftovers(host) == []

    def test_a_timer_that_does_not_arm_stops_the_run(self, host: Host) -> None:
        host.systemd.fails = "the rollback timer could not be armed"
        transaction = host.begin()
        with pytest.raises(TransactionError, match="could not be armed"):
            transaction.arm()
        assert leftovers(host) == []
        host.systemd.fails = ""
        host.armed()

    def test_a_rollback_that_would_not_work_stops_the_run(self, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(engine_module, "run_command", lambda _command: (False, "the kept copy was changed"))
        with pytest.raises(TransactionError, match=r"the rollback would not work.*the kept copy was changed"):
            host.armed()
        assert host.systemd.timers == {}
        assert leftovers(host) == []

    def test_the_guard_is_installed_before_the_timer(self, host: Host) -> None:
        host.armed()
        assert host.systemd.guards == [host.root]

    @pytest.mark.parametrize("seconds", [0, 29, 601, -1])
    def test_a_window_out_of_range_is_refused(self, host: Host, seconds: int) -> None:
        with pytest.raises(
            TransactionError, match=f"a window of {seconds} seconds is not possible; accepted are 30 to"
        ):
            host.begin(window_seconds=seconds)

    def test_a_snapshot_that_fails_leaves_nothing(self, host: Host) -> None:
        with pytest.raises(TransactionError, match="no snapshot could be taken, so nothing was changed"):
            host.engine().begin("test", ["relative/path"], [])
        assert JournalStore(host.root).ids() == []


class TestPredecessors:
    def test_one_within_its_window_is_waited_for_and_its_timer_acts(self, host: Host) -> None:
        transaction = host.applied()
        deadline = transaction.journal.boottime_deadline
        sleep = host.clock.sleep

        def sleep_and_fire(seconds: float) -> None:
            sleep(seconds)
            if host.clock.boottime() >= deadline:
                host.systemd.fire()

        host.clock.sleep = sleep_and_fire  # type: ignore[method-assign]  # time passes here
        engine = host.engine()
        assert engine.settle()["phase"] == "ROLLED_BACK"
        assert deadline <= host.clock.boottime() < deadline + 2
        engine.begin("test", [str(host.tree)], [])

    def test_one_that_is_confirmed_meanwhile_is_left_alone(self, host: Host) -> None:
        transaction = host.applied()
        sleep = host.clock.sleep

        def sleep_and_commit(seconds: float) -> None:
            sleep(seconds)
            if phase_of(host, transaction) is Phase.APPLIED:
                transaction.commit(transaction.nonce, LOGINS, nothing)

        host.clock.sleep = sleep_and_commit  # type: ignore[method-assign]  # time passes here
        assert host.engine().settle()["phase"] == "COMMITTED"
        assert host.listing() != host.old

    def test_one_whose_timer_never_came_is_rolled_back(self, host: Host) -> None:
        transaction = host.applied()
        host.systemd.timers.clear()
        assert host.engine().settle()["phase"] == "ROLLED_BACK"
        assert host.clock.boottime() > transaction.journal.boottime_deadline
        assert host.listing() == host.old

    def test_one_of_an_earlier_boot_is_rolled_back_at_once(self, host: Host) -> None:
        host.applied()
        host.systemd.timers.clear()
        host.clock.boot = "second"
        before = host.clock.boottime()
        assert host.engine().settle()["phase"] == "ROLLED_BACK"
        assert host.clock.boottime() == before
        assert host.listing() == host.old

    def test_a_plan_made_before_it_was_settled_is_not_used(self, host: Host) -> None:
        host.applied()
        with pytest.raises(TransactionError, match=r"an earlier transaction .test, ROLLED_BACK. was still pending"):
            host.begin()
        host.begin()

    def test_one_that_cannot_be_rolled_back_stops_the_run_with_what_to_do(self, host: Host) -> None:
        transaction = host.applied(live_commands=[Command(("false",))])
        host.systemd.fire()
        with pytest.raises(TransactionError, match=r"could not be rolled back: .*false: no output; put this right"):
            host.begin()
        assert Path(host.root, transaction.id, "runner.pyz").exists()
        assert Path(host.root, transaction.id, "snapshot").exists()
        assert Path(host.root, "pending").is_symlink()

    def test_a_second_run_on_the_host_waits_for_the_lock_and_then_says_who_has_it(self, host: Host) -> None:
        holder = host.engine()
        holder.settle()
        with pytest.raises(TransactionError, match=r"another run \(process \d+\) is changing this host"):
            host.begin()
        holder.close()
        host.begin()

    def test_a_hung_apply_is_ended_when_the_timer_comes(self, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
        transaction = host.armed()
        transaction.applying()
        ended: list[locks.Holder] = []

        def end(holder: locks.Holder, clock: object) -> None:
            ended.append(holder)
            transaction._mutation.release()

        monkeypatch.setattr(restore, "end", end)
        restore.restore(JournalStore(host.root), transaction.id, restore.TIMER, clock=host.clock)
        assert [holder.role for holder in ended] == ["module"]
        assert phase_of(host, transaction) is Phase.ROLLED_BACK
