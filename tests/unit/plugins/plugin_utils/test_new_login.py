# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fresh login: what is asked of ssh, and what its answers mean."""

from __future__ import annotations

import dataclasses
import shlex
import typing as t
from pathlib import Path

import pytest

from ansible_collections.bulwark.hardening.plugins.plugin_utils import new_login as subject

TARGET = subject.SshTarget(
    host="192.0.2.7",
    port=22,
    user="admin",
    identity_file="/keys/admin key",
    arguments=("-o", "ControlMaster=auto", "-o", "ControlPath=/run/mux"),
)


def fake_ssh(folder: Path, body: str) -> subject.SshTarget:
    script = folder / "ssh"
    script.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
    script.chmod(0o755)
    return subject.SshTarget(host="192.0.2.7", port=22, user="admin", executable=str(script), timeout_seconds=2)


def options(command: list[str]) -> list[str]:
    return [value for flag, value in zip(command, command[1:]) if flag == "-o"]


def test_multiplexing_is_off_before_anything_the_user_configured() -> None:
    given = options(subject.login_command(TARGET, 22, "true"))
    assert given.index("ControlMaster=no") < given.index("ControlMaster=auto")
    assert given.index("ControlPath=none") < given.index("ControlPath=/run/mux")


def test_the_remote_command_comes_last_and_the_identity_stays_one_argument() -> None:
    command = subject.login_command(TARGET, 22, "echo hello")
    assert command[-2:] == ["192.0.2.7", "echo hello"]
    assert "IdentityFile=/keys/admin key" in command


@pytest.mark.parametrize(
    ("own_port", "port", "aliases"),
    [(22, 22, [""]), (22, 2222, ["192.0.2.7", ""]), (2222, 22, ["[192.0.2.7]:2222", ""]), (2222, 2222, [""])],
)
def test_another_port_is_known_under_the_name_of_the_usual_one_or_by_a_ca(
    own_port: int, port: int, aliases: list[str]
) -> None:
    target = subject.SshTarget(host="192.0.2.7", port=own_port)
    assert subject.host_key_aliases(target, port) == aliases
    given = [options(subject.login_command(target, port, "true", alias)) for alias in aliases]
    found = [[option for option in each if "HostKeyAlias" in option] for each in given]
    assert found == [[f"HostKeyAlias={alias}"] if alias else [] for alias in aliases]


REFUSING = """case "$*" in
*HostKeyAlias={name}*) echo 'Host key verification failed.' >&2; exit 255;;
esac
echo bulwark-login N1 198.51.100.9 50001 192.0.2.7 2222"""


@pytest.mark.parametrize(("refused", "alias"), [("192.0.2.7", ""), ("another", "192.0.2.7")])
def test_a_login_says_under_which_name_the_host_was_known(tmp_path: Path, refused: str, alias: str) -> None:
    login = subject.new_login(fake_ssh(tmp_path, REFUSING.format(name=refused)), "N1", 2222)
    assert (login.ok, login.port, login.host_key_alias) == (True, 2222, alias)


def test_a_host_that_is_known_under_no_name_is_no_login(tmp_path: Path) -> None:
    target = fake_ssh(tmp_path, "echo 'Host key verification failed.' >&2; exit 255")
    login = subject.new_login(target, "N1", 2222)
    assert (login.ok, login.detail) == (False, "Host key verification failed.")


def test_a_login_that_fails_otherwise_is_not_tried_again_under_another_name(tmp_path: Path) -> None:
    target = fake_ssh(tmp_path, f"echo x >> {tmp_path}/calls; echo 'Permission denied (publickey).' >&2; exit 255")
    assert not subject.new_login(target, "N1", 2222).ok
    assert (tmp_path / "calls").read_text(encoding="ascii") == "x\n"


@pytest.mark.parametrize("own_port", [22, 2222])
def test_the_rehearsed_sshd_is_known_as_the_host_itself(tmp_path: Path, own_port: int) -> None:
    body = f"printf '%s\\n' \"$@\" > {tmp_path}/given; echo bulwark-login N1 127.0.0.1 50001 127.0.0.1 40022"
    target = dataclasses.replace(fake_ssh(tmp_path, body), port=own_port)
    assert subject.new_login(target, "N1", loopback_port=40022).ok
    given = (tmp_path / "given").read_text(encoding="utf-8").splitlines()
    assert f"Port={own_port}" in given
    assert not [word for word in given if word.startswith("HostKeyAlias")]


def test_the_relay_survives_the_shell_and_the_percent_expansion_of_ssh() -> None:
    target = subject.SshTarget(host="192.0.2.7", port=22, arguments=("-o", "UserKnownHostsFile=/h/%k"))
    proxy = subject.relay_command(target, 40022)
    words = shlex.split(proxy.replace("%%", "%"))
    assert "UserKnownHostsFile=/h/%k" in words
    assert "-n" not in words
    remote = shlex.split(words[-1])
    assert remote[0] == "python3"
    assert remote[-1] == "40022"
    compile(remote[2], "relay", "exec")


def test_a_login_is_read_from_the_line_with_the_nonce(tmp_path: Path) -> None:
    target = fake_ssh(tmp_path, "echo welcome; echo bulwark-login N1 198.51.100.9 50001 192.0.2.7 22")
    login = subject.new_login(target, "N1")
    assert login.ok
    assert login.to_dict() == {
        "client_address": "198.51.100.9",
        "client_port": 50001,
        "server_address": "192.0.2.7",
        "server_port": 22,
        "port": 22,
    }


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("echo 'ssh: connect to host 192.0.2.7 port 22: Connection timed out' >&2; exit 255", "timed out"),
        ("echo bulwark-login OTHER 198.51.100.9 50001 192.0.2.7 22", "forced command"),
        ("exit 0", "forced command"),
        ("exit 1", "no output"),
        ("echo bulwark-login N1 198.51.100.9 notaport 192.0.2.7 22", "forced command"),
    ],
)
def test_anything_else_is_no_login(tmp_path: Path, body: str, reason: str) -> None:
    login = subject.new_login(fake_ssh(tmp_path, body), "N1")
    assert not login.ok
    assert reason in login.detail


def test_a_missing_ssh_is_said_in_words() -> None:
    login = subject.new_login(subject.SshTarget(host="h", port=22, executable="/nonexistent/ssh"), "N1")
    assert not login.ok
    assert "/nonexistent/ssh" in login.detail


@pytest.mark.parametrize(
    ("count", "seconds", "waits"), [(0, 10, []), (1, 10, [0]), (3, 10, [0, 5, 5]), (6, 5, [0] + [1] * 5)]
)
def test_logins_are_spread_over_the_time(count: int, seconds: float, waits: list[float]) -> None:
    assert subject.spread(count, seconds) == waits


def test_the_first_failure_ends_the_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([True, True, False, True])

    def answer(target: t.Any, nonce: str, port: int, elevation: t.Any = None) -> subject.Login:
        return subject.Login(next(answers), port, "")

    monkeypatch.setattr(subject, "new_login", answer)
    logins = subject.prove_logins(TARGET, "N1", [22, 2222], 3, 0)
    assert [(login.ok, login.port) for login in logins] == [(True, 22), (True, 2222), (False, 22)]


ELEVATION = subject.Elevation("/run/a proof")
ECHO = 'eval "last=\\${$#}"; SSH_CONNECTION="198.51.100.9 50001 192.0.2.7 22"; export SSH_CONNECTION; '


def fake_sudo(folder: Path, body: str) -> None:
    script = folder / "sudo"
    script.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
    script.chmod(0o755)


def test_sudo_is_asked_anew_and_reads_nothing_without_a_password() -> None:
    command = ELEVATION.command()
    assert command[:3] == ["sudo", "-k", "-n"]
    assert ELEVATION.input is None
    assert "/bin/cat '/run/a proof'" in command[-1]


def test_the_password_is_in_no_argument_and_in_no_representation() -> None:
    elevation = subject.Elevation("/run/proof", password="s3cret!")
    assert elevation.input == "s3cret!\n"
    assert "-S" in elevation.command()
    assert "s3cret!" not in " ".join(elevation.command()) + repr(elevation)


def test_a_login_that_becomes_root_carries_what_root_read(tmp_path: Path) -> None:
    fake_sudo(tmp_path, "echo bulwark-elevated 0a1b")
    target = fake_ssh(tmp_path, f'PATH={tmp_path}:$PATH; {ECHO} sh -c "$last"')
    login = subject.new_login(target, "N1", elevation=ELEVATION)
    assert (login.ok, login.client_port, login.elevation_proof) == (True, 50001, "0a1b")
    assert login.to_dict()["elevation_proof"] == "0a1b"


def test_the_password_reaches_sudo_by_its_input(tmp_path: Path) -> None:
    fake_sudo(tmp_path, 'read -r given; echo "bulwark-elevated $given"')
    target = fake_ssh(tmp_path, f'PATH={tmp_path}:$PATH; {ECHO} sh -c "$last"')
    elevation = subject.Elevation("/run/proof", password="s3cret")
    assert subject.new_login(target, "N1", elevation=elevation).elevation_proof == "s3cret"


@pytest.mark.parametrize(
    ("body", "detail"),
    [("echo 'sudo: a password is required' >&2; exit 1", "a password is required"), ("exit 0", "did not become root")],
)
def test_a_login_that_does_not_become_root_is_none(tmp_path: Path, body: str, detail: str) -> None:
    fake_sudo(tmp_path, body)
    target = fake_ssh(tmp_path, f'PATH={tmp_path}:$PATH; {ECHO} sh -c "$last"')
    login = subject.new_login(target, "N1", elevation=ELEVATION)
    assert not login.ok
    assert detail in login.detail


def test_a_plain_login_says_nothing_about_root() -> None:
    assert "elevation_proof" not in subject.Login(True, 22, "").to_dict()
