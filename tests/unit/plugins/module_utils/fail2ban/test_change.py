# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan, try, replace, read back, and put back, on a host that is a dictionary."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import pytest

from ansible_collections.bulwark.hardening.plugins.module_utils.fail2ban import change, host, observe, render
from ansible_collections.bulwark.hardening.plugins.module_utils.fail2ban.change import complaints
from ansible_collections.bulwark.hardening.plugins.module_utils.fail2ban.model import Fail2banError, Jail

from . import policies


class FakeHost:
    """fail2ban as host.py sees it. ``obeys``: whether the server does what its files say."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.active = self.enabled = False
        self.obeys = True
        self.accepts = True
        self.found: list[list[str]] | None = None
        self.calls: list[str] = []
        self.flushed = False
        self.policy = policies.policy()
        self.banned = ["192.0.2.1"]
        self.settings: dict[str, Any] = {}
        self.loaded: dict[str, bytes] = {}

    def installed(self) -> bool:
        return True

    def find_log(self, jail: Jail, journal: bool) -> render.Log:
        return policies.JOURNAL

    def read(self, path: str) -> bytes | None:
        return self.files.get(path)

    def own_files(self) -> list[str]:
        return [path for path in self.files if path.startswith(render.FILTERS)]

    def write(self, contents: Mapping[str, bytes | None]) -> None:
        self.calls.append("write")
        for path, content in contents.items():
            if content is None:
                self.files.pop(path, None)
            else:
                self.files[path] = content

    def staged(self, contents: Mapping[str, bytes | None]) -> AbstractContextManager[str]:
        self.calls.append("stage")

        class Staged:
            def __enter__(self) -> str:
                return "/staged"

            def __exit__(self, *error: object) -> None:
                return None

        return Staged()

    def live(self) -> dict[str, Any]:
        if not self.active:
            return {"answers": False, "jails": {}}
        jail = {**observe.expected(self.policy, self.policy.jails[0], policies.JOURNAL), "banned": self.banned}
        jail.update(self.settings)
        if not self.obeys and self.loaded != {}:
            jail["maxretry"] = 99
        return {"answers": True, "history": self.policy.history_seconds, "jails": {"sshd": jail}}

    def ask(self, *operations: str, **request: Any) -> dict[str, Any]:
        answers: dict[str, Any] = {
            "environment": {"version": "1.1.0", "journal": True},
            "live": copy.deepcopy(self.live()),
        }
        if "samples" in operations:
            found = [[sample.address] if sample.address else [] for sample in self.policy.filters[0].samples]
            answers["samples"] = [{"name": "bulwark-sshd", "error": "", "found": self.found or found}]
        return {name: answers[name] for name in operations}

    def kernel_table(self) -> dict[str, Any]:
        if self.flushed:
            return {}
        rule = {"rule": {"chain": "jail-sshd", "expr": [{"drop": None}]}}
        return {
            "nftables": [
                {"chain": {"name": "jail-sshd", "hook": "prerouting"}},
                {"set": {"name": "jail-sshd-inet4", "elem": list(self.banned)}},
                rule,
                rule,
            ]
        }

    def run(self, *argv: str, text: str = "") -> host.Answer:
        self.calls.append(" ".join(argv[1:]))
        if argv[-1] == "-t":
            return host.Answer(0, "OK", "") if self.accepts else host.Answer(255, "", "ERROR: no filter")
        if "reload" in argv:
            self.settings = {}
            self.loaded = dict(self.files)
            self.flushed = self.flushed and "--restart" not in argv
        return host.Answer(0, "OK", "")

    def systemctl(self, *words: str) -> host.Answer:
        self.calls.append(" ".join(words))
        if words[0] in ("start", "restart"):
            self.active, self.loaded = True, dict(self.files)
        if words[0] == "stop":
            self.active = False
        if words[0] == "enable":
            self.enabled = True
        return host.Answer(0, "", "")

    def is_active(self) -> bool:
        return self.active

    def is_enabled(self) -> bool:
        return self.enabled

    def last_error(self) -> str:
        return ""


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    result = FakeHost()
    for name in [name for name in dir(FakeHost) if not name.startswith("_") and hasattr(host, name)]:
        monkeypatch.setattr(host, name, getattr(result, name))
    monkeypatch.setattr(change, "ssh_session", lambda: None)
    monkeypatch.setattr(change, "LIVE_SECONDS", 0.3)
    monkeypatch.setattr(change, "POLL_SECONDS", 0.0)
    return result


def run(check_mode: bool = False, **options: Any) -> dict[str, Any]:
    return change.Change({**policies.shipped(), **options}, check_mode).run()


def test_a_first_run_starts_the_server_with_the_finished_files_only(fake: FakeHost) -> None:
    result = run()
    assert result["changed"]
    assert result["samples"] == len(fake.policy.filters[0].samples)
    steps = ("stage", "write", "start fail2ban.service", "enable fail2ban.service")
    order = [call for call in fake.calls if call in steps]
    assert order == list(steps)
    assert render.JAILS in fake.files
    assert result["jails"][0]["live"]


def test_a_second_run_does_nothing(fake: FakeHost) -> None:
    run()
    fake.calls.clear()
    result = run()
    assert (result["changed"], result["reasons"], fake.calls) == (False, [], [])


def test_check_mode_tries_and_writes_nothing(fake: FakeHost) -> None:
    result = run(check_mode=True)
    assert result["changed"]
    assert fake.files == {}
    assert fake.calls == ["stage", "-c /staged -t"]
    assert json.dumps(result["diff"])


def test_a_change_is_a_reload_that_keeps_bans(fake: FakeHost) -> None:
    run()
    fake.calls.clear()
    fake.policy = policies.policy(maximum_attempts=3)
    assert run(maximum_attempts=3)["reasons"] == [f"{render.JAILS} differs"]
    assert "reload" in fake.calls
    assert not [call for call in fake.calls if call.startswith(("restart", "start"))]


def test_another_sandbox_takes_a_restart(fake: FakeHost) -> None:
    run()
    fake.calls.clear()
    fake.files[render.SANDBOX] = b"[Service]\n"
    run()
    assert "restart fail2ban.service" in fake.calls


@pytest.mark.parametrize(
    ("interfere", "reason"),
    [
        (lambda fake: fake.settings.update(maxretry=500), "jail sshd has maxretry 500, not 5"),
        (lambda fake: setattr(fake, "flushed", True), "jail sshd has no rules in the kernel"),
        (lambda fake: setattr(fake, "active", False), "the server does not run"),
        (lambda fake: setattr(fake, "enabled", False), "the service does not start at boot"),
    ],
)
def test_what_somebody_changed_at_run_time_is_noticed_and_repaired(
    fake: FakeHost, interfere: Callable[[FakeHost], None], reason: str
) -> None:
    run()
    interfere(fake)
    assert run()["reasons"] == [reason]
    assert run()["reasons"] == []


def test_a_file_that_no_policy_has_any_more_is_removed(fake: FakeHost) -> None:
    run()
    fake.files[f"{render.FILTERS}/bulwark-old.conf"] = render.HEADER.encode()
    assert run()["changed"]
    assert f"{render.FILTERS}/bulwark-old.conf" not in fake.files


def test_the_administrators_own_file_stays(fake: FakeHost) -> None:
    fake.files[render.OWN_JAILS] = b"[DEFAULT]\nbantime = 1d\n"
    run()
    assert fake.files[render.OWN_JAILS] == b"[DEFAULT]\nbantime = 1d\n"


def test_what_fail2ban_does_not_accept_is_never_written(fake: FakeHost) -> None:
    fake.accepts = False
    with pytest.raises(Fail2banError, match=r"does not accept the jails: ERROR: no filter; nothing is changed"):
        run()
    assert fake.files == {}


def test_a_complaint_names_everything_that_is_wrong_and_the_real_files() -> None:
    output = (
        "2026-11-26 22:11:40,869 fail2ban.configreader   [7362]: WARNING 'allowipv6' not defined in 'Definition'.\n"
        "2026-11-26 22:11:40,875 fail2ban.configreader   [7362]: ERROR   Found no accessible config files for "
        "'filter.d/none' under /run/copy/fail2ban\n"
        "2026-11-26 22:11:40,875 fail2ban.jailsreader    [7362]: ERROR   Errors in jail 'broken'.\n"
        "2026-11-26 22:11:41,003 fail2ban                [7365]: ERROR   Failed during configuration: no sections.\n"
        "file: '/run/copy/fail2ban/jail.d/broken.local', line: 1\n"
        "2026-11-26 22:11:41,003 fail2ban                [7365]: ERROR   ERROR: test configuration failed\n"
    )
    assert complaints(output, "/run/copy/fail2ban") == (
        "Found no accessible config files for 'filter.d/none' under /etc/fail2ban, Errors in jail 'broken', "
        "Failed during configuration: no sections file: '/etc/fail2ban/jail.d/broken.local', line: 1"
    )
    assert complaints("no log line", "/run/copy/fail2ban") == ""


def test_a_filter_that_fails_its_samples_is_never_written(fake: FakeHost) -> None:
    fake.found = [[] for _sample in fake.policy.filters[0].samples]
    with pytest.raises(Fail2banError, match=r"samples\[0\]: it counts against nobody, and should count against"):
        run()
    assert fake.files == {}


def test_a_server_that_does_not_obey_gets_its_old_files_back(fake: FakeHost) -> None:
    run()
    before = dict(fake.files)
    fake.policy = policies.policy(maximum_attempts=3)
    fake.obeys = False
    with pytest.raises(Fail2banError, match=r"jail sshd has maxretry 99, not 3; the old configuration is back"):
        run(maximum_attempts=3)
    assert fake.files == before
    assert fake.active


def test_a_server_that_never_lived_is_stopped_again(fake: FakeHost) -> None:
    fake.obeys = False
    with pytest.raises(Fail2banError, match="the old configuration is back"):
        run()
    assert (fake.files, fake.active, fake.enabled) == ({}, False, False)
