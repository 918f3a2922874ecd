# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's side: a wrong policy never reaches the host, and a candidate is tried before it is applied."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleError

from ansible_collections.bulwark.hardening.plugins.action import access_policy as subject
from ansible_collections.bulwark.hardening.plugins.plugin_utils.commit_confirmed import Refused
from ansible_collections.bulwark.hardening.plugins.plugin_utils.new_login import Login, SshTarget

STAGED = {"changed": True, "stage": {"port": 40123}}


class Become:
    def __init__(self, name: str = "ansible.builtin.sudo", **options: str | None) -> None:
        self.name, self.options = name, options

    def get_option(self, name: str, playcontext: object = None) -> str | None:
        return self.options.get(name)


class Connection:
    def __init__(self, become: Become | None, transport: str = "ssh") -> None:
        self.become, self.transport = become, transport
        self.options: dict[str, Any] = {
            "host": "192.0.2.7",
            "port": 22,
            "remote_user": "admin",
            "host_key_checking": True,
        }

    def get_option(self, name: str) -> Any:
        return self.options.get(name)


class Action(subject.ActionModule):
    """The plugin without Ansible around it; answers come from a table of operations."""

    def __init__(
        self,
        become: Become | None = None,
        transport: str = "ssh",
        check_mode: bool = False,
        answers: dict[str, dict[str, Any]] | None = None,
    ) -> None:
        self._connection = Connection(become, transport)
        self._task = SimpleNamespace(args={}, check_mode=check_mode)
        self._play_context = None
        self._vars = {}
        self.answers = answers or {"stage": STAGED, "apply": {"changed": True}}
        self.called: list[str] = []

    def call(self, arguments: dict[str, Any], operation: str, **more: Any) -> dict[str, Any]:
        self.called.append(operation)
        answer = self.answers.get(operation, {})
        if "error" in answer:
            raise answer["error"]
        return answer


@pytest.fixture(name="logins")
def scripted_logins(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    made: list[dict[str, Any]] = []

    def login(target: SshTarget, nonce: str, **options: Any) -> Login:
        made.append(options)
        return Login(made_ok[0], 40123, "" if made_ok[0] else "sudo: a password is required")

    made_ok = [True]
    monkeypatch.setattr(subject, "new_login", login)
    return SimpleNamespace(made=made, ok=made_ok)


def test_a_wrong_policy_is_refused_on_the_controller() -> None:
    with pytest.raises(Refused, match=r"mounts\[0\]"):
        Action().prepare({"mounts": [{"path": "/usr"}]}, {})


@pytest.mark.parametrize(("password", "known"), [(None, False), ("secret", True)])
def test_the_host_learns_whether_there_is_a_password_and_never_which(password: str | None, known: bool) -> None:
    prepared = Action(Become(become_pass=password)).prepare({"operation": "apply"}, {})
    assert prepared == {"operation": "apply", "has_become_password": known}


@pytest.mark.parametrize(
    ("become", "message"), [(Become("su"), "'su' cannot be proven"), (Become(become_user="bob"), "'bob'")]
)
def test_root_by_other_means_than_sudo_is_refused(become: Become, message: str) -> None:
    with pytest.raises(Refused, match=message):
        Action(become).prepare({}, {})


def test_a_login_as_root_needs_no_sudo(logins: SimpleNamespace) -> None:
    action = Action(None)
    assert action.elevation() is None
    assert action.execute({})["changed"] is True
    assert logins.made[0]["elevation"] is None


def test_the_candidate_is_tried_before_it_is_applied(logins: SimpleNamespace) -> None:
    action = Action(Become())
    action.execute({})
    assert action.called == ["stage", "apply"]
    assert logins.made[0]["loopback_port"] == 40123
    assert logins.made[0]["elevation"].proof_path == "/run/bulwark-access-proof"


def test_a_candidate_without_sudo_is_not_applied(logins: SimpleNamespace) -> None:
    logins.ok[0] = False
    action = Action(Become())
    result = action.execute({})
    assert (result["failed"], result["changed"]) == (True, False)
    assert "with the new policy admin could not log in and become root: sudo: a password is required" in result["msg"]
    assert action.called == ["stage", "discard"]


def test_a_host_that_cannot_be_asked_removes_the_rehearsal_by_itself(logins: SimpleNamespace) -> None:
    logins.ok[0] = False
    action = Action(Become())
    action.answers["discard"] = {"error": AnsibleError("out of reach")}
    assert "could not log in and become root" in action.execute({})["msg"]


@pytest.mark.parametrize(
    ("answer", "check_mode"),
    [({"changed": False}, False), ({"failed": True, "msg": "no"}, False), ({"changed": True}, True)],
)
def test_without_anything_to_do_the_host_is_called_once(
    logins: SimpleNamespace, answer: dict[str, Any], check_mode: bool
) -> None:
    action = Action(Become(), check_mode=check_mode, answers={"stage": answer})
    assert action.execute({}) == answer
    assert action.called == ["stage"]
    assert logins.made == []


def test_the_proof_is_where_the_module_writes_it() -> None:
    from ansible_collections.bulwark.hardening.plugins.module_utils.baseline import access_service

    assert subject.PROOF_PATH == access_service.PROOF
