# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""sudo."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from ansible_collections.bulwark.hardening.plugins.module_utils.controls.model import Unreadable

from ..conftest import MakeHost

BUILT = """Sudo version 1.9
Authentication timestamp timeout: 15.0 minutes
Reset the environment to a default set of variables
"""
Entries = Sequence[dict[str, Any]]


def programs(defaults: Entries = (), rules: Entries = (), built: str = BUILT) -> dict[str, str]:
    return {"cvtsudoers": json.dumps({"Defaults": defaults, "User_Specs": rules}), "sudo -V": built}


def options(*more: dict[str, Any], binding: dict[str, str] | None = None) -> dict[str, Any]:
    entry: dict[str, Any] = {"Options": list(more)}
    return {**entry, "Binding": [binding]} if binding else entry


@pytest.mark.parametrize(
    ("said", "values", "verdict", "observed"),
    [
        (programs([options({"use_pty": True})]), {"use_pty": True}, "pass", "use_pty yes"),
        (programs(), {"use_pty": True}, "fail", "use_pty no"),
        (programs(built=f"{BUILT}Always run commands in a pseudo-tty\n"), {"use_pty": True}, "pass", "use_pty yes"),
        (programs([options({"use_pty": True}), options({"use_pty": False})]), {"use_pty": True}, "fail", "use_pty no"),
        (
            programs([options({"use_pty": True}), options({"use_pty": False}, binding={"username": "eve"})]),
            {"use_pty": True},
            "fail",
            "use_pty for eve no",
        ),
        (programs([options({"logfile": "/var/log/sudo.log"})]), {"logfile": "/var/log/sudo.log"}, "pass", "sudo.log"),
        (programs(), {"logfile": "/var/log/sudo.log"}, "fail", "logfile not set"),
        (programs(), {"timestamp_timeout": {"at_most": 5}}, "fail", "timestamp_timeout 15.0"),
        (programs([options({"timestamp_timeout": "5"})]), {"timestamp_timeout": {"at_most": 5}}, "pass", "5"),
        (programs(), {"requiretty": False}, "pass", "requiretty no"),
    ],
)
def test_defaults(
    make_host: MakeHost, said: dict[str, str], values: dict[str, Any], verdict: str, observed: str
) -> None:
    seen = make_host({}, said).observe("sudo_defaults", values=values)
    assert seen.verdict == verdict
    assert observed in seen.observed


def rule(user: dict[str, str], command: str = "ALL", negated: bool = False, **more: bool) -> dict[str, Any]:
    commands: list[dict[str, Any]] = [{"command": command}]
    if negated:
        commands.append({"command": "/bin/su", "negated": True})
    settings = [{name: value} for name, value in more.items()]
    return {"User_List": [user], "Cmnd_Specs": [{"Commands": commands, "Options": settings}]}


SUDO = rule({"usergroup": "sudo"})
ROBOT = rule({"username": "robot"}, authenticate=False)


@pytest.mark.parametrize(
    ("rules", "parameters", "verdict", "observed"),
    [
        ([SUDO], {"forbid": ["nopasswd", "negation", "all"]}, "pass", "none"),
        ([ROBOT], {"forbid": ["nopasswd"]}, "fail", "robot: NOPASSWD: ALL"),
        ([ROBOT], {"forbid": ["nopasswd"], "except": ["robot"]}, "pass", "none"),
        ([ROBOT], {"forbid": ["all"]}, "fail", "robot: ALL"),
        ([rule({"username": "bob"}, "/bin/ls", negated=True)], {"forbid": ["negation"]}, "fail", "!/bin/su"),
        ([rule({"username": "bob"}, "/bin/ls")], {"forbid": ["all", "negation"]}, "pass", "none"),
        ([rule({"usergroup": "ops"})], {"forbid": ["all"], "except": ["%ops"]}, "pass", "none"),
    ],
)
def test_rules(
    make_host: MakeHost, rules: Entries, parameters: dict[str, list[str]], verdict: str, observed: str
) -> None:
    seen = make_host({}, programs(rules=rules)).observe("sudo_rules", **parameters)
    assert seen.verdict == verdict
    assert observed in seen.observed


def test_a_default_without_a_password_is_a_rule_too(make_host: MakeHost) -> None:
    host = make_host({}, programs([options({"authenticate": False})]))
    assert (
        host.observe("sudo_rules", forbid=["nopasswd"]).observed
        == "rules without a password: Defaults !authenticate for everybody"
    )


def test_an_answer_that_is_no_policy_is_unknown(make_host: MakeHost) -> None:
    host = make_host({}, {"cvtsudoers": "syntax error", "sudo -V": BUILT})
    with pytest.raises(Unreadable, match="cvtsudoers wrote no JSON"):
        host.observe("sudo_rules", forbid=["all"])
