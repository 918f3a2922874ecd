# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What systemd is told to hand over, and what it has."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.bulwark.hardening.plugins.module_utils.certificates import credentials
from ansible_collections.bulwark.hardening.plugins.module_utils.certificates.credentials import Credentials
from ansible_collections.bulwark.hardening.plugins.module_utils.certificates.model import CertificateError
from ansible_collections.bulwark.hardening.plugins.module_utils.certificates.store import Store

ME = (os.getuid(), os.getgid())
UNIT = "identity.service"


def state(name: str, wished: bool = True, trust: str = "root", unit: str = UNIT) -> Any:
    service = SimpleNamespace(unit=unit, credentials=wished)
    return SimpleNamespace(
        name=name, wished=SimpleNamespace(services=(service,)), authority=SimpleNamespace(trust=trust)
    )


class System:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.store = Store(str(path / "tls"), ME)
        self.credentials = Credentials(self.store, str(path / "units"), str(path / "run"))
        self.reloads = 0
        self.drop_in = path / "units" / f"{UNIT}.d" / "50-bulwark-certificates.conf"
        self.deploy(b"1")
        self.store.write_trust("web", b"root")

    def deploy(self, content: bytes) -> None:
        self.store.stage("web", b"key " + content, b"request")
        self.store.add_certificate("web", b"certificate " + content, b" chain")
        self.store.swap("web", *ME, 0o600)

    def reload(self, command: Any) -> tuple[bool, str]:
        self.reloads += 1
        return True, ""

    def start(self) -> None:
        """Do what systemd does when the unit starts."""
        for line in self.drop_in.read_text().splitlines()[1:]:
            name, _colon, source = line.removeprefix("LoadCredential=").partition(":")
            target = self.path / "run" / UNIT / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(Path(source).read_bytes())


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> System:
    found = System(tmp_path)
    monkeypatch.setattr(credentials, "run_command", found.reload)
    return found


def test_a_unit_is_given_what_is_deployed_and_a_new_one_counts(system: System) -> None:
    states = [state("web")]
    assert system.credentials.missing(UNIT, states, False) == [
        f"systemd does not give {UNIT} the credentials that it should"
    ]
    system.credentials.install([UNIT], states)
    assert system.reloads == 1
    assert system.credentials.missing(UNIT, states, False) == []
    assert len(system.credentials.missing(UNIT, states, True)) == 3
    system.start()
    assert system.credentials.missing(UNIT, states, True) == []
    system.deploy(b"2")
    assert system.credentials.missing(UNIT, states, True) == [
        f"{UNIT} was not given what is deployed as web-key.pem",
        f"{UNIT} was not given what is deployed as web-full_chain.pem",
    ]
    system.start()
    assert system.credentials.missing(UNIT, states, True) == []


def test_nothing_is_handed_over_that_is_not_there(system: System) -> None:
    """systemd does not start a unit of which one credential is missing."""
    system.credentials.install([UNIT], [state("web", trust="")])
    assert "trust" not in system.drop_in.read_text()


def test_who_does_not_wish_it_any_more_loses_it(system: System) -> None:
    assert system.credentials.missing(UNIT, [state("web", wished=False)], True) == []
    system.credentials.install([UNIT], [state("web")])
    unwished = [state("web", wished=False)]
    assert system.credentials.missing(UNIT, unwished, True) != []
    system.credentials.install([UNIT], unwished)
    assert system.credentials.missing(UNIT, unwished, True) == []
    assert not system.drop_in.exists()


def test_a_link_in_the_place_of_the_drop_in_is_not_followed(system: System) -> None:
    target = system.path / "target"
    target.mkdir()
    (system.path / "units").mkdir()
    system.drop_in.parent.symlink_to(target)
    with pytest.raises(CertificateError, match="units"):
        system.credentials.install([UNIT], [state("web")])
    assert list(target.iterdir()) == []
