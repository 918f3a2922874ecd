# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host keeps of the policy, the units that look at it, and what the program says."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bulwark.hardening.plugins.module_utils.postgresql.proof import on_host, policy, program, units
from ansible_collections.bulwark.hardening.plugins.module_utils.postgresql.server import Refused

ARGUMENTS: dict[str, Any] = {
    "socket_directory": "/var/run/postgresql",
    "port": 5432,
    "system_user": "postgres",
    "roles": [{"name": "app", "login": True, "password": "canary-1", "verifier": "canary-2", "adopt": None}],
    "databases": [{"name": "shop", "owner": None, "schemas": [{"name": "public", "tables": None}]}],
    "transition_logs": [{"database": "shop", "tables": [{"name": "orders", "key": "id", "state": None}]}],
    "missing_objects": "fail",
    "metrics_directory": None,
}


def test_a_host_keeps_no_secret() -> None:
    kept = policy.dump(policy.policy_of(ARGUMENTS))
    assert b"canary" not in kept
    loaded = policy.load(kept, "proof.json")
    assert loaded["roles"] == [{"name": "app", "login": True}]
    assert loaded["databases"] == [{"name": "shop", "schemas": [{"name": "public"}]}]
    assert loaded["transition_logs"] == [{"database": "shop", "tables": [{"name": "orders", "key": "id"}]}]
    assert policy.place_of(loaded).port == 5432


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ({"tables": []}, "a database, or the name"),
        ({"database": "shop", "tables": [{"key": "id"}]}, "a database, or the name"),
        ({"database": "shop", "tabels": []}, "transition_logs[0].tabels: there is no such key"),
    ],
)
def test_a_log_that_is_incomplete_is_refused(log: dict[str, Any], words: str) -> None:
    with pytest.raises(Refused) as refused:
        policy.policy_of({**ARGUMENTS, "transition_logs": [log]})
    assert words in str(refused.value)


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"not json"])
def test_a_file_that_is_no_policy_is_told(content: bytes) -> None:
    with pytest.raises(Refused) as refused:
        policy.load(content, "/etc/bulwark/postgresql/proof.json")
    assert "run the role postgresql again" in str(refused.value)


def test_units_look_as_often_as_wished_and_start_what_alarms() -> None:
    made = units.render("/usr/local/sbin/program", 20, "/metrics", ["alarm@%n.service", "page.service"])
    service, timer = made[units.SERVICE], made[units.TIMER]
    assert "OnFailure=alarm@%n.service page.service\n" in service
    assert "ExecStart=/usr/local/sbin/program\n" in service
    assert "ReadWritePaths=-/metrics\n" in service
    assert "OnUnitActiveSec=20min\n" in timer
    assert "RandomizedDelaySec=2min\n" in timer
    bare = units.render("/p", 1, "", [])[units.SERVICE]
    assert "OnFailure" not in bare
    assert "ReadWritePaths" not in bare


def test_the_program_is_one_file_with_all_that_it_imports(tmp_path: Path) -> None:
    packed = program.pack()
    assert packed.startswith(b"#!/usr/bin/python3 -I\n")
    names = zipfile.ZipFile(io.BytesIO(packed)).namelist()
    assert "__main__.py" in names
    assert program.pack() == packed


def test_metrics_say_nothing_of_what_could_not_be_looked_at() -> None:
    seen = on_host.metrics(on_host.DIFFERS, 3, 1700000000.9)
    assert "bulwark_postgresql_proof_differences 3\n" in seen
    assert "bulwark_postgresql_proof_looked 1\n" in seen
    assert "bulwark_postgresql_proof_timestamp_seconds 1700000000\n" in seen
    blind = on_host.metrics(on_host.UNKNOWN, 0, 1.0)
    assert "differences" not in blind
    assert "bulwark_postgresql_proof_looked 0\n" in blind


@pytest.mark.parametrize(
    ("found", "code", "words"),
    [([], 0, "as they were made"), (["drift: one"], 1, "drift: one"), (Refused("no session"), 2, "no session")],
)
def test_the_exit_code_tells_a_difference_from_blindness(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    found: Any,
    code: int,
    words: str,
) -> None:
    def answer(_policy: Any) -> list[str]:
        if isinstance(found, Refused):
            raise found
        return list(found)

    monkeypatch.setattr(on_host, "findings", answer)
    path = tmp_path / "proof.json"
    path.write_bytes(policy.dump(policy.policy_of({**ARGUMENTS, "metrics_directory": str(tmp_path)})))
    assert on_host.run(str(path)) == code
    captured = capsys.readouterr()
    assert words in captured.out + captured.err
    assert (tmp_path / on_host.METRICS_FILE).read_text().count("# TYPE") == (2 if code == 2 else 3)


def test_without_a_policy_there_is_nothing_to_look_at(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert on_host.run(str(tmp_path / "none.json")) == 2
    assert "after the role postgresql" in capsys.readouterr().err


def test_a_difference_is_an_error_in_the_journal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "8:1")
    on_host.complain("drift")
    assert capsys.readouterr().err == "<3>drift\n"
