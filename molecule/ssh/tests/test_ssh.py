# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Logins tried from another host: passwords, keys, certificates, algorithms; and what ssh-audit says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

TARGETS = ["ssh12", "ssh13", "socket12", "socket13"]
CREDENTIALS = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "credentials"
QUICK = ["-o", "ConnectTimeout=5", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
ALONE = [*QUICK, "-F", "none", "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none", "-o", "BatchMode=yes"]
OLD = [
    "KexAlgorithms=diffie-hellman-group14-sha1",
    "KexAlgorithms=diffie-hellman-group14-sha256",
    "KexAlgorithms=ecdh-sha2-nistp256",
    "Ciphers=aes128-cbc",
    "Ciphers=chacha20-poly1305@openssh.com",
    "MACs=hmac-sha1",
    "HostKeyAlgorithms=ssh-rsa",
    "HostKeyAlgorithms=ecdsa-sha2-nistp256",
]


def login(
    scenario: Any, target: str, user: str, key: str, *options: str, family: int = 4
) -> subprocess.CompletedProcess[str]:
    """Try a login from the controller with one key, alone."""
    command = [
        "ssh",
        *ALONE,
        *options,
        "-i",
        str(CREDENTIALS / key),
        f"{user}@{scenario.address(target, family)}",
        "id -un",
    ]
    return subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)


def login_trusting(
    scenario: Any, folder: Path, authority: str, address: str, *options: str
) -> subprocess.CompletedProcess[str]:
    """Try a login as bob by a client that knows no host key, only a CA of hosts."""
    known = folder / "known_hosts"
    known.write_text(f"@cert-authority * {(CREDENTIALS / f'{authority}.pub').read_text('ascii')}", encoding="ascii")
    strict = ["-o", "StrictHostKeyChecking=yes", "-o", f"UserKnownHostsFile={known}", "-o", "GlobalKnownHostsFile=none"]
    command = ["ssh", *strict, *ALONE, *options, "-i", str(CREDENTIALS / "good"), f"bob@{address}", "id -un"]
    return subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("target", TARGETS)
def test_a_key_admits(scenario: Any, target: str, family: int) -> None:
    done = login(scenario, target, "bob", "good", family=family)
    assert done.stdout.strip() == "bob", done.stderr


@pytest.mark.parametrize("kind", ["ssh-ed25519", "rsa-sha2-512"])
@pytest.mark.parametrize("target", TARGETS)
def test_a_client_that_trusts_only_the_host_ca_knows_the_host(
    scenario: Any, tmp_path: Path, target: str, kind: str
) -> None:
    options = ["-o", f"HostKeyAlgorithms={kind}-cert-v01@openssh.com"]
    done = login_trusting(scenario, tmp_path, "host_ca", scenario.address(target), *options)
    assert done.stdout.strip() == "bob", done.stderr


@pytest.mark.parametrize("target", TARGETS)
def test_a_client_that_trusts_another_ca_does_not(scenario: Any, tmp_path: Path, target: str) -> None:
    done = login_trusting(scenario, tmp_path, "stranger_ca", scenario.address(target))
    assert done.returncode == 255
    assert "Host key verification failed" in done.stderr


@pytest.mark.parametrize("target", TARGETS)
def test_a_certificate_with_the_right_principal_admits(scenario: Any, target: str) -> None:
    done = login(scenario, target, "alice", "certified")
    assert done.stdout.strip() == "alice", done.stderr


@pytest.mark.parametrize(
    ("user", "key"),
    [
        ("bob", "revoked"),
        ("alice", "wrong_principal"),
        ("alice", "expired"),
        ("alice", "revoked_serial"),
        ("alice", "foreign"),
        ("bob", "certified"),
        ("root", "certified"),
        ("alice", "good"),
    ],
)
@pytest.mark.parametrize("target", TARGETS)
def test_everything_else_is_refused(scenario: Any, target: str, user: str, key: str) -> None:
    done = login(scenario, target, user, key)
    assert done.returncode == 255
    assert "Permission denied" in done.stderr


@pytest.mark.parametrize("method", ["password", "keyboard-interactive"])
@pytest.mark.parametrize("target", TARGETS)
def test_a_correct_password_is_refused(scenario: Any, target: str, method: str) -> None:
    options = " ".join([*QUICK, "-o", f"PreferredAuthentications={method}", "-o", "PubkeyAuthentication=no"])
    address = scenario.address(target)
    done = scenario.host("client").run(f"sshpass -p 'correct horse' ssh {options} bob@{address} true || exit 7")
    # Testinfra takes 255 for its own connection's failure.
    assert done.rc == 7
    assert "Permission denied (publickey)" in done.stderr


@pytest.mark.parametrize("option", OLD)
@pytest.mark.parametrize("target", TARGETS)
def test_an_old_algorithm_finds_no_partner(scenario: Any, target: str, option: str) -> None:
    done = login(scenario, target, "bob", "good", "-o", option)
    assert done.returncode == 255
    assert "Unable to negotiate" in done.stderr or "no matching" in done.stderr


@pytest.mark.parametrize("target", TARGETS)
def test_forwarding_is_refused(scenario: Any, target: str) -> None:
    command = ["ssh", *ALONE, "-i", str(CREDENTIALS / "good"), "-W", "127.0.0.1:22", f"bob@{scenario.address(target)}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert "administratively prohibited" in done.stderr


@pytest.mark.parametrize("target", TARGETS)
def test_the_banner_is_shown_before_the_login(scenario: Any, target: str) -> None:
    done = login(scenario, target, "bob", "good", "-o", "LogLevel=INFO")
    assert "Authorized use only" in done.stderr


@pytest.mark.parametrize("target", TARGETS)
def test_the_listener_is_held_by_whom_the_policy_says(scenario: Any, target: str) -> None:
    host = scenario.host(target)
    held_by_systemd = target.startswith("socket")
    assert host.service("ssh.socket").is_running == held_by_systemd
    assert host.service("ssh.socket").is_enabled == held_by_systemd


@pytest.mark.parametrize("target", TARGETS)
def test_each_socket_keeps_its_way_of_accepting(scenario: Any, target: str) -> None:
    host = scenario.host(target)
    each = target == "socket12"
    assert host.check_output("systemctl show --value --property=Accept ssh.socket") == ("yes" if each else "no")
    # A process for each connection needs no service that stays.
    assert host.service("ssh.service").is_running != each


@pytest.mark.parametrize("target", TARGETS)
def test_ssh_audit_finds_no_failure_and_no_warning(scenario: Any, target: str) -> None:
    program = str(Path(sys.executable).with_name("ssh-audit"))
    done = subprocess.run(
        [program, "--json", "--skip-rate-test", scenario.address(target)], capture_output=True, text=True, check=False
    )
    report = json.loads(done.stdout)
    found = [
        f"{level} {entry['algorithm']}: {note}"
        for kind in ("kex", "key", "enc", "mac")
        for entry in report[kind]
        for level in ("fail", "warn")
        for note in entry.get("notes", {}).get(level, [])
    ]
    assert found == []
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("target", TARGETS)
def test_the_transaction_was_committed_and_none_is_pending(scenario: Any, target: str) -> None:
    host = scenario.host(target)
    assert "COMMITTED" in host.check_output("cat /var/lib/bulwark/transactions/*/journal/*.json")
    assert not host.file("/var/lib/bulwark/transactions/pending").exists
    assert "bulwark-rollback" not in host.check_output("systemctl list-timers --all --no-legend")
