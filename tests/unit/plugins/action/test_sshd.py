# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's side of sshd: the rehearsed login, what it leaves behind, and following a port that moves."""

from __future__ import annotations

import types
import typing as t

import pytest
from ansible.errors import AnsibleConnectionFailure

from ansible_collections.bulwark.hardening.plugins.action import sshd as subject
from ansible_collections.bulwark.hardening.plugins.plugin_utils.commit_confirmed import Refused
from ansible_collections.bulwark.hardening.plugins.plugin_utils.new_login import Login

STAGED = {"changed": True, "current_ports": [22], "stage": {"port": 40022, "reason": ""}}
DONE = {"changed": True, "transaction": {"id": "T1", "phase": "COMMITTED", "pending": False}}


class FakeConnection:
    """A connection with the options the plugin reads and sets."""

    transport = "ssh"

    def __init__(self, password: str | None = None) -> None:
        self.options: dict[str, t.Any] = {
            "password": password,
            "host_key_checking": True,
            "host": "192.0.2.7",
            "port": 22,
            "remote_user": "admin",
        }

    def get_option(self, name: str) -> t.Any:
        return self.options.get(name)

    def set_option(self, name: str, value: t.Any) -> None:
        self.options[name] = value

    def reset(self) -> None:
        pass


class Scripted(subject.ActionModule):
    """The plugin with a host that answers from a table of operation → results."""

    def __init__(self, answers: dict[str, t.Any], connection: FakeConnection | None = None) -> None:
        self.answers = {name: list(values) for name, values in answers.items()}
        self.calls: list[str] = []
        self._connection = connection or FakeConnection()
        self._task = types.SimpleNamespace(check_mode=False, args={})
        self._vars = {}

    def call(self, arguments: dict[str, t.Any], operation: str, **more: t.Any) -> dict[str, t.Any]:
        self.calls.append(operation)
        answer = self.answers[operation].pop(0)
        if isinstance(answer, Exception):
            raise answer
        return t.cast("dict[str, t.Any]", answer)


@pytest.fixture(name="logins")
def scripted_logins(monkeypatch: pytest.MonkeyPatch) -> list[Login]:
    """Answers of the next logins."""
    script: list[Login] = []
    monkeypatch.setattr(subject, "new_login", lambda *_arguments, **_options: script.pop(0))
    return script


def test_a_rehearsed_login_that_succeeds_is_followed_by_the_change(logins: list[Login]) -> None:
    logins[:] = [Login(True, 40022, "")]
    action = Scripted({"stage": [STAGED], "apply": [DONE]})
    assert action.execute({})["changed"]
    assert action.calls == ["stage", "apply"]


@pytest.mark.parametrize("answer", [{"changed": False}, AnsibleConnectionFailure("out of reach")])
def test_a_rehearsed_login_that_is_refused_ends_the_staged_sshd_and_changes_nothing(
    logins: list[Login], answer: t.Any
) -> None:
    logins[:] = [Login(False, 40022, "Permission denied (publickey).")]
    action = Scripted({"stage": [STAGED], "unstage": [answer]})
    result = action.execute({})
    assert (result["failed"], result["changed"]) == (True, False)
    assert "the rehearsed sshd refused a login as admin on loopback: Permission denied" in result["msg"]
    assert action.calls == ["stage", "unstage"]


def test_a_connection_that_cannot_be_proven_is_refused_before_anything_is_staged(logins: list[Login]) -> None:
    action = Scripted({}, FakeConnection(password="secret"))
    with pytest.raises(Refused, match="password"):
        action.execute({})
    assert action.calls == []


def test_without_a_staged_sshd_the_change_goes_on_without_a_rehearsed_login(logins: list[Login]) -> None:
    staged = {**STAGED, "stage": {"port": 0, "reason": "not rehearsed"}}
    action = Scripted({"stage": [staged], "apply": [DONE]})
    assert action.execute({})["changed"]
    assert action.calls == ["stage", "apply"]


@pytest.mark.parametrize(("alias", "extra"), [("192.0.2.7", " -o HostKeyAlias=192.0.2.7"), ("", None)])
def test_a_port_that_moves_is_followed_under_the_name_by_which_the_host_is_known(
    logins: list[Login], alias: str, extra: str | None
) -> None:
    logins[:] = [
        Login(True, 40022, ""),
        Login(True, 2222, "", host_key_alias=alias),
        Login(True, 40023, ""),
    ]
    action = Scripted({"stage": [STAGED, STAGED], "apply": [DONE, DONE]})
    result = action.execute({"ports": [2222]})
    assert result["connection_port"] == 2222
    assert action.calls == ["stage", "apply", "stage", "apply"]
    assert action._connection.get_option("port") == 2222
    assert action._connection.get_option("ssh_extra_args") == extra
    assert action.target().known_port == (22 if alias else 0)
