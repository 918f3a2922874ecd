# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's half of a transaction against a scripted host."""

from __future__ import annotations

import types
import typing as t

import pytest
from ansible.errors import AnsibleConnectionFailure, AnsibleError

from ansible_collections.bulwark.hardening.plugins.plugin_utils import commit_confirmed as subject
from ansible_collections.bulwark.hardening.plugins.plugin_utils import new_login
from ansible_collections.bulwark.hardening.plugins.plugin_utils.new_login import Login

PENDING = {
    "changed": True,
    "transaction": {
        "id": "T1",
        "nonce": "N1",
        "phase": "APPLIED",
        "pending": True,
        "ports": [22],
        "window_seconds": 30,
    },
}
COMMITTED = {"changed": True, "transaction": {"id": "T1", "phase": "COMMITTED", "pending": False}}
ROLLED_BACK = {"changed": False, "transaction": {"id": "T1", "phase": "ROLLED_BACK", "pending": False}}
UNREACHABLE = AnsibleConnectionFailure("out of reach")


class FakeConnection:
    """A connection with the options the plugin reads."""

    def __init__(self, transport: str = "ssh", password: str | None = None) -> None:
        self.transport = transport
        self.options: dict[str, t.Any] = {
            "password": password,
            "host_key_checking": True,
            "host": "192.0.2.7",
            "port": 22,
            "remote_user": "admin",
            "timeout": 3,
        }
        self.resets = 0

    def get_option(self, name: str) -> t.Any:
        return self.options.get(name)

    def reset(self) -> None:
        self.resets += 1


class Scripted(subject.CommitConfirmedAction):
    """The flow with a host that answers from a table of operation → results."""

    def __init__(self, answers: dict[str, t.Any], connection: FakeConnection | None = None) -> None:
        self.answers = {name: list(values) for name, values in answers.items()}
        self.calls: list[tuple[str, dict[str, t.Any]]] = []
        self._connection = connection or FakeConnection()
        self._task = types.SimpleNamespace(check_mode=False, args={})
        self._vars = {}

    def call(self, arguments: dict[str, t.Any], operation: str, **more: t.Any) -> dict[str, t.Any]:
        self.calls.append((operation, {**arguments, **more}))
        answer = self.answers[operation].pop(0)
        if isinstance(answer, Exception):
            raise answer
        return t.cast("dict[str, t.Any]", answer)


@pytest.fixture(name="logins")
def scripted_logins(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Answers of the next logins; the last one repeats."""
    script: list[bool] = [True]

    def login(target: t.Any, nonce: str, port: int = 0, **_options: t.Any) -> Login:
        ok = script.pop(0) if len(script) > 1 else script[0]
        number = 50000 + len(made)
        made.append(number)
        return Login(
            ok, port or 22, "" if ok else "Connection timed out", "198.51.100.9", number, "192.0.2.7", port or 22
        )

    made: list[int] = []
    monkeypatch.setattr(subject, "new_login", login)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    monkeypatch.setattr(new_login, "new_login", login)
    return script


def transact(action: Scripted, **arguments: t.Any) -> dict[str, t.Any]:
    return action.transact({"confirm_seconds": 0, **arguments})


def test_without_a_pending_transaction_the_host_is_called_once(logins: list[bool]) -> None:
    action = Scripted({"apply": [{"changed": False, "transaction": None}]})
    assert transact(action) == {"changed": False, "transaction": None}
    assert [name for name, _arguments in action.calls] == ["apply"]


def test_three_logins_with_their_own_ports_are_handed_to_the_commit(logins: list[bool]) -> None:
    action = Scripted({"apply": [PENDING], "commit": [COMMITTED]})
    result = transact(action)
    assert result["changed"] is True
    assert not result.get("failed")
    operation, arguments = action.calls[1]
    assert operation == "commit"
    proof = arguments["transaction"]
    assert (proof["id"], proof["nonce"]) == ("T1", "N1")
    assert len({login["client_port"] for login in proof["logins"]}) == 3


def test_a_refused_login_rolls_back_and_fails(logins: list[bool]) -> None:
    logins[:] = [True, False, True]
    action = Scripted({"apply": [PENDING], "rollback": [ROLLED_BACK]})
    result = transact(action)
    assert (result["failed"], result["changed"], result["rolled_back"]) == (True, False, True)
    assert "a new login to admin@192.0.2.7 port 22 failed: Connection timed out" in result["msg"]
    assert [name for name, _arguments in action.calls] == ["apply", "rollback"]


def test_a_host_out_of_reach_is_waited_for(logins: list[bool]) -> None:
    logins[:] = [False, False, False, True]
    pending = {"transaction": {"id": "T1", "phase": "APPLIED", "pending": True}}
    action = Scripted({"apply": [PENDING], "rollback": [UNREACHABLE], "status": [pending, ROLLED_BACK]})
    result = transact(action)
    assert (result["failed"], result["rolled_back"], result["access_restored"]) == (True, True, True)
    assert [name for name, _arguments in action.calls] == ["apply", "rollback", "status", "status"]


def test_a_host_that_never_comes_back_is_not_called_rolled_back(
    logins: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    logins[:] = [False]
    clock = iter(range(0, 100000, 20))
    monkeypatch.setattr("time.monotonic", lambda: float(next(clock)))
    result = transact(Scripted({"apply": [PENDING], "rollback": [UNREACHABLE]}), window_seconds=30)
    assert (result["failed"], result["rolled_back"], result["access_restored"]) == (True, False, False)
    assert "console" in result["msg"]


def test_a_commit_that_the_host_refuses_rolls_back(logins: list[bool]) -> None:
    refused = {"failed": True, "msg": "only 1 login of 3 was new"}
    result = transact(Scripted({"apply": [PENDING], "commit": [refused], "rollback": [ROLLED_BACK]}))
    assert (result["failed"], result["rolled_back"]) == (True, True)
    assert "only 1 login of 3 was new" in result["msg"]


def test_a_connection_lost_in_the_commit_is_read_from_the_host(logins: list[bool]) -> None:
    result = transact(Scripted({"apply": [PENDING], "commit": [UNREACHABLE], "status": [COMMITTED]}))
    assert result["failed"] is True
    assert result["msg"].startswith("the change is committed, but the connection broke")


def test_a_connection_lost_while_applying_fails_with_the_rollback(logins: list[bool]) -> None:
    result = transact(Scripted({"apply": [UNREACHABLE], "status": [ROLLED_BACK]}))
    assert (result["failed"], result["rolled_back"]) == (True, True)


def test_a_login_refused_after_the_commit_is_a_failure(logins: list[bool]) -> None:
    logins[:] = [True, True, True, False]
    result = transact(Scripted({"apply": [PENDING], "commit": [COMMITTED]}))
    assert result["failed"] is True
    assert "committed, but a new login" in result["msg"]


def test_a_local_connection_says_that_no_login_proved_it(logins: list[bool]) -> None:
    action = Scripted({"apply": [PENDING], "commit": [COMMITTED]}, FakeConnection("local"))
    result = transact(action)
    assert "not proven by a login" in result["confirmation"]
    assert action.calls[0][1]["confirm_logins"] == 0


@pytest.mark.parametrize(
    ("connection", "words"),
    [
        (FakeConnection("paramiko"), "use ansible_connection=ssh"),
        (FakeConnection(password="secret"), "put a public key on the host"),
    ],
)
def test_a_connection_that_cannot_be_proven_is_refused(connection: FakeConnection, words: str) -> None:
    action = Scripted({}, connection)
    with pytest.raises(subject.Refused) as caught:
        transact(action)
    assert words in str(caught.value)
    assert "secret" not in str(caught.value)
    assert action.calls == []


def test_a_host_where_sudo_is_broken_goes_back_by_itself(logins: list[bool]) -> None:
    """The login works, and nothing can be asked of the host as root: its timer has to act."""
    no_root = {"failed": True, "msg": "sudo: /etc/sudoers is world writable"}
    answers = {"apply": [PENDING], "commit": [no_root], "rollback": [no_root], "status": [no_root, ROLLED_BACK]}
    action = Scripted(answers)
    result = transact(action)
    assert (result["failed"], result["rolled_back"], result["access_restored"]) == (True, True, True)
    assert "world writable" in result["msg"]
    assert [name for name, _arguments in action.calls] == ["apply", "commit", "rollback", "status", "status"]


def test_a_password_that_sudo_refuses_meanwhile_is_waited_out(logins: list[bool]) -> None:
    wrong = AnsibleError("Incorrect sudo password")
    action = Scripted({"apply": [PENDING], "commit": [wrong], "status": [wrong, ROLLED_BACK]})
    result = transact(action)
    assert (result["failed"], result["rolled_back"]) == (True, True)


def test_every_login_becomes_root_where_that_is_the_proof(logins: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[t.Any] = []
    made = new_login.new_login

    def login(target: t.Any, nonce: str, port: int = 0, **options: t.Any) -> Login:
        seen.append(options.get("elevation"))
        return made(target, nonce, port, **options)

    monkeypatch.setattr(subject, "new_login", login)
    monkeypatch.setattr(new_login, "new_login", login)
    action = Scripted({"apply": [PENDING], "commit": [COMMITTED]})
    elevation = new_login.Elevation("/run/proof")
    monkeypatch.setattr(action, "elevation", lambda: elevation)
    transact(action)
    assert seen == [elevation] * 4
