# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What systemd says of services and is told, and what a program says of its configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.bulwark.hardening.plugins.module_utils.certificates import consumers
from ansible_collections.bulwark.hardening.plugins.module_utils.certificates.consumers import Unit
from ansible_collections.bulwark.hardening.plugins.module_utils.certificates.model import CertificateError, Service

# Answers for each unit in the order in which it is asked, and notes what it is told.
SYSTEMCTL = """#!/bin/sh
echo "$*" >> {log}
[ "$1" = show ] || exit {code}
shift 3
for unit; do
  case $unit in
    a.service) printf 'Id=a.service\\nLoadState=loaded\\nActiveState=active\\nCanReload=yes\\n\\n' ;;
    b.service) printf 'Id=b.service\\nLoadState=loaded\\nActiveState=inactive\\nCanReload=no\\n\\n' ;;
    *) printf 'Id=none\\nLoadState=not-found\\nActiveState=inactive\\nCanReload=no\\n\\n' ;;
  esac
done
"""


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return systemctl(tmp_path, monkeypatch, 0)


def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> Path:
    program, log = tmp_path / "systemctl", tmp_path / "log"
    program.write_text(SYSTEMCTL.format(log=log, code=code))
    program.chmod(0o755)
    monkeypatch.setattr(consumers, "SYSTEMCTL", str(program))
    return log


def test_the_state_of_all_units_takes_one_call(log: Path) -> None:
    assert consumers.units(["b.service", "a.service", "c.service", "a.service"]) == {
        "a.service": Unit(exists=True, active=True, can_reload=True),
        "b.service": Unit(exists=True, active=False, can_reload=False),
        "c.service": Unit(exists=False, active=False, can_reload=False),
    }
    assert len(log.read_text().splitlines()) == 1
    assert consumers.units([]) == {}


@pytest.mark.parametrize(
    ("on_change", "can_reload", "verb"),
    [("reload", True, "reload"), ("reload", False, "restart"), ("restart", True, "restart")],
)
def test_what_cannot_reload_is_restarted(log: Path, on_change: str, can_reload: bool, verb: str) -> None:
    assert consumers.load(Service("a.service", on_change=on_change), Unit(True, True, can_reload)) == ""
    assert log.read_text() == f"{verb} -- a.service\n"


def test_a_reload_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    systemctl(tmp_path, monkeypatch, 1)
    assert "reload a.service fails" in consumers.load(Service("a.service"), Unit(True, True, True))


def test_a_host_without_systemd_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumers, "SYSTEMCTL", str(tmp_path / "none"))
    with pytest.raises(CertificateError, match="need systemd"):
        consumers.units(["a.service"])


def test_what_a_program_says_of_its_configuration_is_told() -> None:
    assert consumers.check(Service("a.service")) == ""
    assert consumers.check(Service("a.service", ("/bin/true",))) == ""
    said = consumers.check(Service("a.service", ("/bin/sh", "-c", "echo bad line 7 >&2; echo failed; exit 1")))
    assert said.endswith("fails: bad line 7, failed")
    assert "it says nothing" in consumers.check(Service("a.service", ("/bin/false",)))
    assert "/bin/none cannot be run" in consumers.check(Service("a.service", ("/bin/none",)))


def test_a_command_of_the_user_is_run_without_a_shell_and_says_why_it_failed() -> None:
    assert consumers.call("before_restart", ("/bin/sh", "-c", 'test "$1" = "a b; c"', "x", "a b; c")) == ""
    fault = consumers.call("before_restart", ("/bin/sh", "-c", "echo no such server; exit 1"))
    assert fault.startswith("before_restart (/bin/sh -c")
    assert fault.endswith("fails: no such server")
    assert "/nowhere cannot be run" in consumers.call("after_restart", ("/nowhere",))
