# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files and timers on a host: put there once, mended when they differ, taken away when nothing needs them."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bulwark.hardening.plugins.module_utils.certificates import installation, policy, program
from ansible_collections.bulwark.hardening.plugins.module_utils.certificates.installation import Installation, Places
from ansible_collections.bulwark.hardening.plugins.module_utils.certificates.model import CertificateError

from .test_policy import WISHED


class Systemd:
    """A systemd that remembers which timers are enabled, and what it was told."""

    def __init__(self) -> None:
        self.there = True
        self.enabled: set[str] = set()
        self.told: list[str] = []

    def is_there(self) -> bool:
        return self.there

    def idle(self, names: Any) -> list[str]:
        return [name for name in names if name not in self.enabled]

    def do(self, *words: str) -> None:
        self.told.append(" ".join(words))
        if words[0] == "reset-failed":
            raise CertificateError("it is not loaded")
        names = {word for word in words if word.endswith(".timer")}
        self.enabled = self.enabled | names if words[0] == "enable" else self.enabled - names


class Machine:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.systemd = Systemd()
        self.metrics = path / "metrics"
        self.metrics.mkdir()
        (path / "store").mkdir()
        self.places = Places(
            policy=f"{path}/store/policy.json",
            program=f"{path}/lib/bulwark/certificates.pyz",
            units=f"{path}/units",
            store=f"{path}/store",
            runtime=f"{path}/run",
        )
        self.wished: dict[str, Any] = {**WISHED, "metrics_directory": str(self.metrics)}

    def installation(self, content: bytes = b"program") -> Installation:
        return Installation(content, self.places, self.systemd, (os.getuid(), os.getgid()))

    def apply(self, **values: Any) -> None:
        self.installation().apply({**self.wished, **values})

    def reasons(self, content: bytes = b"program", **values: Any) -> list[str]:
        return self.installation(content).reasons({**self.wished, **values})


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


REPORT = "start --no-block bulwark-certificates-report.service"


def test_all_is_put_there_once(machine: Machine) -> None:
    (reason,) = machine.reasons()
    assert "is not as it should be" in reason
    machine.apply()
    assert machine.reasons() == []
    assert stat.S_IMODE(Path(machine.places.policy).stat().st_mode) == 0o600
    assert stat.S_IMODE(Path(machine.places.program).stat().st_mode) == 0o644
    assert stat.S_IMODE((machine.path / "lib/bulwark").stat().st_mode) == 0o755
    enable = "enable --now bulwark-certificates-renew.timer bulwark-certificates-report.timer"
    assert machine.systemd.told == ["daemon-reload", enable, REPORT]
    machine.systemd.told.clear()
    machine.apply()
    assert machine.systemd.told == [REPORT], "it reloads without need"


def test_what_differs_is_named_and_mended(machine: Machine) -> None:
    machine.apply()
    unit = Path(machine.places.units, "bulwark-certificates-renew.service")

    def disable() -> None:
        machine.systemd.enabled.clear()

    changes: list[tuple[Any, str]] = [
        (lambda: unit.write_text("[Service]\n"), str(unit)),
        (unit.unlink, str(unit)),
        (lambda: Path(machine.places.policy).chmod(0o644), "policy.json"),
        (lambda: Path(machine.places.policy).write_text("{"), "policy.json"),
        (lambda: Path(machine.places.program).write_bytes(b"other"), "certificates.pyz"),
        (
            disable,
            "bulwark-certificates-renew.timer, bulwark-certificates-report.timer does not",
        ),
    ]
    for change, word in changes:
        change()
        (reason,) = machine.reasons()
        assert word in reason
        machine.apply()
        assert machine.reasons() == []
    (reason,) = machine.reasons(alarm_units=["mail@%n.service"])
    assert reason.count(".service") == 2
    assert machine.reasons(content=b"the next version")
    assert machine.reasons(alarm_days=9)


def test_a_link_in_place_of_a_file_is_replaced_and_not_followed(machine: Machine) -> None:
    machine.apply()
    target = machine.path / "victim"
    target.write_text("untouched")
    for path in (Path(machine.places.policy), Path(machine.places.program)):
        path.unlink()
        path.symlink_to(target)
        assert str(path) in machine.reasons()[0]
        machine.apply()
        assert not path.is_symlink()
    assert target.read_text() == "untouched"


def test_a_difference_shows_units_and_hides_the_rest(machine: Machine) -> None:
    before, after = machine.installation().difference(machine.wished)
    assert set(before.values()) == {""}
    assert after[machine.places.policy].startswith("SHA-256 ")
    assert "OnCalendar" in after[f"{machine.places.units}/bulwark-certificates-renew.timer"]
    machine.apply()
    assert machine.installation().difference(machine.wished) == ({}, {})
    before, after = machine.installation().difference({})
    assert set(after.values()) == {""}


def test_a_host_without_certificates_keeps_nothing(machine: Machine) -> None:
    assert machine.reasons(certificates=[]) == []
    machine.apply(certificates=[])
    assert machine.systemd.told == []
    machine.apply()
    (machine.metrics / "bulwark_certificates.prom").write_text("")
    (machine.metrics / "other.prom").write_text("")
    (machine.path / "run").mkdir()
    (machine.path / "run" / "report").write_text("web: it expires")
    (reason,) = machine.reasons(certificates=[])
    assert "this host has no certificates" in reason
    machine.apply(certificates=[])
    assert machine.reasons(certificates=[]) == []
    left = sorted(path.name for path in machine.path.rglob("*") if path.is_file())
    assert left == ["other.prom"]
    assert machine.systemd.enabled == set()
    assert "stop bulwark-certificates-renew.service" in machine.systemd.told


def test_metrics_do_not_stay_where_nobody_renews_them(machine: Machine) -> None:
    machine.apply()
    metrics = machine.metrics / "bulwark_certificates.prom"
    metrics.write_text("")
    machine.apply(alarm_days=9)
    assert metrics.exists()
    machine.apply(metrics_directory="")
    assert not metrics.exists()


def test_nothing_is_kept_where_no_timer_can_run(machine: Machine) -> None:
    machine.systemd.there = False
    assert machine.reasons() == []
    machine.apply()
    assert not Path(machine.places.program).exists()


def test_a_place_that_cannot_be_written_is_told(machine: Machine) -> None:
    Path(machine.places.units).write_text("a file")
    with pytest.raises(CertificateError, match="units/"):
        machine.apply()


def test_python_has_the_name_that_stays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    name = tmp_path / "python3"
    name.symlink_to(os.path.realpath(sys.executable))
    monkeypatch.setattr(installation, "PYTHON", str(name))
    assert installation.interpreter() == str(name)
    monkeypatch.setattr(installation, "PYTHON", "/bin/false")
    assert installation.interpreter() == sys.executable


def test_the_program_is_the_same_each_time_and_runs_alone(tmp_path: Path) -> None:
    assert program.pack() == program.pack()
    path = tmp_path / "certificates.pyz"
    path.write_bytes(program.pack())
    words = [sys.executable, "-I", str(path), "report", "--policy", str(tmp_path / "policy.json")]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd="/")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"{tmp_path}/policy.json cannot be read: No such file or directory; {policy.MEND}\n"
    sources = [zipfile.ZipFile(path).read(name).decode() for name in zipfile.ZipFile(path).namelist()]
    assert not any("ansible_collections" in source or "AnsibleModule(" in source for source in sources)
