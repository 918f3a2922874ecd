# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sessions, probes, the timer's units, and the rehearsal's network as data."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.bulwark.hardening.plugins.module_utils.transaction import (
    commands,
    namespace,
    rehearsal,
    session,
    timer,
)
from ansible_collections.bulwark.hardening.plugins.module_utils.transaction.probe import Probe, Verdict, tcp_connect
from ansible_collections.bulwark.hardening.plugins.module_utils.transaction.session import (
    SshSession,
    parse_connection,
    session_owner,
    ssh_session,
)
from ansible_collections.bulwark.hardening.plugins.module_utils.transaction.state import Command, TransactionError


@pytest.mark.parametrize(
    ("value", "session"),
    [
        ("192.0.2.1 50000 192.0.2.2 22", SshSession("192.0.2.1", 50000, "192.0.2.2", 22)),
        ("fe80::1%eth0 50000 fe80::2%eth0 22", SshSession("fe80::1", 50000, "fe80::2", 22)),
        ("::ffff:192.0.2.1 1 ::ffff:192.0.2.2 65535", SshSession("192.0.2.1", 1, "192.0.2.2", 65535)),
        ("2001:DB8:0::1 50000 2001:db8::2 22", SshSession("2001:db8::1", 50000, "2001:db8::2", 22)),
        ("", None),
        ("192.0.2.1 50000 192.0.2.2", None),
        ("UNKNOWN 65535 UNKNOWN 65535", None),
        ("192.0.2.1 0 192.0.2.2 22", None),
        ("192.0.2.1 x 192.0.2.2 22", None),
    ],
)
def test_ssh_connection_is_parsed(value: str, session: SshSession | None) -> None:
    assert parse_connection(value) == session


def process(proc: Path, number: int, parent: int, environment: dict[str, str], name: str = "sh") -> None:
    folder = proc / str(number)
    folder.mkdir()
    (folder / "stat").write_text(f"{number} ({name}) S {parent} 1 1 0")
    (folder / "environ").write_text("".join(f"{key}={value}\0" for key, value in environment.items()))


def test_the_nearest_ancestor_with_a_session_counts(tmp_path: Path) -> None:
    process(tmp_path, 30, 20, {"A": "1"}, "odd) name (")
    process(tmp_path, 20, 10, {"SSH_CONNECTION": "192.0.2.1 50000 192.0.2.2 22"})
    process(tmp_path, 10, 1, {"SSH_CONNECTION": "192.0.2.9 1 192.0.2.2 22"})
    nearest = ssh_session(str(tmp_path), 30)
    assert nearest is not None
    assert nearest.client_port == 50000


def test_the_owner_of_the_outermost_process_of_the_session_is_who_logged_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process(tmp_path, 30, 20, {"SUDO_USER": "somebody"})
    process(tmp_path, 20, 10, {"SSH_CONNECTION": "192.0.2.1 50000 192.0.2.2 22"})
    process(tmp_path, 10, 5, {"SSH_CONNECTION": "192.0.2.1 50000 192.0.2.2 22"})
    process(tmp_path, 5, 1, {})
    monkeypatch.setattr(session, "_owner", lambda _proc, number: 1000 + number)
    assert session_owner(str(tmp_path), 30) == 1010
    assert session_owner(str(tmp_path), 5) == -1


def test_without_a_session_there_is_none(tmp_path: Path) -> None:
    process(tmp_path, 30, 1, {})
    process(tmp_path, 1, 0, {})
    assert ssh_session(str(tmp_path), 30) is None
    assert ssh_session(str(tmp_path), 99) is None


@pytest.fixture
def listener() -> Iterator[int]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


def test_an_open_port_is_open(listener: int) -> None:
    assert tcp_connect("127.0.0.1", listener) == ("open", "connected")


def test_a_closed_port_is_closed() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        assert tcp_connect("127.0.0.1", unused.getsockname()[1])[0] == "closed"


def test_a_source_that_is_not_ours_says_nothing_about_the_far_side(listener: int) -> None:
    observed, detail = tcp_connect("127.0.0.1", listener, "192.0.2.77")
    assert observed == "unknown"
    assert "192.0.2.77 cannot be used as a source" in detail


@pytest.mark.parametrize(
    ("port", "expected", "protocol"),
    [(0, "open", "tcp"), (65536, "open", "tcp"), (1, "ajar", "tcp"), (1, "open", "udp")],
)
def test_a_probe_that_cannot_be_tried_is_refused(port: int, expected: str, protocol: str) -> None:
    with pytest.raises(ValueError, match="accepted"):
        Probe("name", "", "192.0.2.1", port, expected, protocol)


@pytest.mark.parametrize(("expected", "observed", "passed"), [
    ("open", "open", True), ("open", "closed", False), ("closed", "closed", True), ("closed", "open", False),
    ("closed", "unknown", False), ("open", "unknown", False),
])  # fmt: skip
def test_only_what_was_seen_as_expected_passes(expected: str, observed: str, passed: bool) -> None:
    assert Verdict(Probe("name", "", "192.0.2.1", 1, expected), observed).to_dict()["passed"] is passed


def test_the_guard_comes_before_everything_that_it_may_have_to_restore() -> None:
    unit = timer.guard_unit("/var/lib/x", "/usr/bin/python3")
    before = {name for line in unit.splitlines() if line.startswith("Before=") for name in line[7:].split()}
    assert {"network-pre.target", "ssh.service", "ssh.socket", "sshd.service", "ufw.service"} <= before
    assert {"firewalld.service", "nftables.service", "sysinit.target"} <= before
    assert "DefaultDependencies=no" in unit
    assert "ConditionPathExists=/var/lib/x/pending\n" in unit
    assert "ExecStart=/usr/bin/python3 -I /var/lib/x/pending/runner.pyz restore --root /var/lib/x --reason boot" in unit


def test_the_guard_is_written_once_and_enabled(tmp_path: Path) -> None:
    systemd = timer.LocalSystemd(str(tmp_path))
    systemd.install_guard("/var/lib/x")
    unit = tmp_path / timer.GUARD
    link = tmp_path / "sysinit.target.wants" / timer.GUARD
    assert link.readlink() == unit
    inodes = unit.stat().st_ino, link.lstat().st_ino
    systemd.install_guard("/var/lib/x")
    assert (unit.stat().st_ino, link.lstat().st_ino) == inodes
    unit.write_text("tampered")
    link.unlink()
    link.symlink_to("/dev/null")
    systemd.install_guard("/var/lib/x")
    assert unit.read_text().startswith("[Unit]")
    assert link.readlink() == unit


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Command]:
    seen: list[Command] = []

    def run(command: Command) -> tuple[bool, str]:
        seen.append(command)
        return True, ""

    monkeypatch.setattr(timer, "run_command", run)
    return seen


def test_the_timer_is_armed_exactly_and_then_checked(calls: list[Command]) -> None:
    timer.LocalSystemd().arm("unit", ["program", "argument"], 90)
    assert calls[0].argv[0] == "systemd-run"
    assert {"--unit=unit", "--on-active=90.0s", "--timer-property=AccuracySec=100ms", "--collect"} <= set(calls[0].argv)
    assert calls[0].argv[-2:] == ("program", "argument")
    assert calls[1].argv == ("systemctl", "is-active", "unit.timer")


@pytest.mark.parametrize("failing", [0, 1])
def test_a_timer_that_is_not_armed_is_an_error(monkeypatch: pytest.MonkeyPatch, failing: int) -> None:
    answers = iter([(number != failing, "said so") for number in range(2)])
    monkeypatch.setattr(timer, "run_command", lambda _command: next(answers))
    with pytest.raises(TransactionError, match="said so"):
        timer.LocalSystemd().arm("unit", ["program"], 90)


def test_the_private_network_owns_every_address_that_is_probed() -> None:
    probes = [
        Probe("in", "203.0.113.9", "192.0.2.2", 22, "open"),
        Probe("in6", "2001:db8:9::9", "2001:db8::2", 22, "open"),
        Probe("out", "", "198.51.100.53", 53, "open"),
    ]
    network = rehearsal.Network("eth0", ["192.0.2.2/24", "2001:db8::2/64"], probes)
    assert network._near_commands() == [
        "link set lo up",
        "link set eth0 up",
        "address add 192.0.2.2/24 dev eth0",
        "address add 2001:db8::2/64 dev eth0 nodad",
        "route add 0.0.0.0/0 dev eth0",
        "route add ::/0 dev eth0",
    ]
    assert network._far_commands({"203.0.113.9", "2001:db8:9::9"}) == [
        "link set lo up",
        "link set bulwark-far up",
        "address add 2001:db8:9::9 dev bulwark-far nodad",
        "address add 203.0.113.9 dev bulwark-far",
        "route add 192.0.2.2 dev bulwark-far",
        "route add 2001:db8::2 dev bulwark-far",
    ]


def fake_unshare(folder: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    script = folder / "unshare"
    script.write_text(f"#!/bin/sh\n{body}\n")
    script.chmod(0o755)
    monkeypatch.setitem(commands.ENVIRONMENT, "PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("echo 'unshare: unshare failed: Operation not permitted' >&2; exit 1", "not permitted.*unshare failed"),
        ("""echo '{"started": true}'; echo '{"unsupported": "no veth"}'""", "no veth"),
    ],
)
def test_a_host_without_namespaces_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, reason: str
) -> None:
    fake_unshare(tmp_path, monkeypatch, body)
    result = namespace.rehearse("eth0", ["192.0.2.2/24"], [], [])
    assert not result.supported
    assert not result.passed
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(result.reason)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("""echo '{"started": true}'; echo '{"failed": "nft: Error"}'""", "could not be loaded .*: nft: Error"),
        ("""echo '{"started": true}'; echo killed >&2; exit 9""", "the rehearsal ended early: killed"),
        ("""echo '{"started": true}'; sleep 60""", "did not end within 0.5 seconds"),
    ],
)
def test_a_candidate_that_cannot_be_rehearsed_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, message: str
) -> None:
    fake_unshare(tmp_path, monkeypatch, body)
    with pytest.raises(TransactionError, match=message):
        namespace.rehearse("eth0", ["192.0.2.2/24"], [], [], timeout_seconds=0.5)


def test_verdicts_come_back_to_their_probes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = '{"verdicts": [["open", "connected"]], "verdicts_after_rollback": [["closed", "no answer"]]}'
    fake_unshare(tmp_path, monkeypatch, f"""echo '{{"started": true}}'; echo '{answer}'""")
    probe = Probe("in", "203.0.113.9", "192.0.2.2", 22, "open")
    result = namespace.rehearse("eth0", ["192.0.2.2/24"], [], [probe], probes_after_rollback=[probe])
    assert [verdict["passed"] for verdict in result.to_dict()["verdicts"]] == [True]
    assert not result.passed
