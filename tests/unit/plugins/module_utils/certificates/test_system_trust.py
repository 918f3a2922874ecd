# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Roots in the trust store of the system, with a program that rebuilds it as Debian's does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ansible_collections.bulwark.hardening.plugins.module_utils.certificates.model import (
    PRIVATE_CA,
    Authority,
    CertificateError,
)
from ansible_collections.bulwark.hardening.plugins.module_utils.certificates.system_trust import Place, SystemTrust

from . import pki


class System:
    def __init__(self, path: Path, program: str = "cat {directory}/*.crt > {bundle} 2>/dev/null; true") -> None:
        self.directory, self.bundle = path / "added", path / "bundle.pem"
        self.directory.mkdir()
        self.program = path / "update"
        self.program.write_text(f"#!/bin/sh\n{program.format(directory=self.directory, bundle=self.bundle)}\n")
        self.program.chmod(0o755)
        self.trust = SystemTrust([Place(str(self.directory), str(self.bundle), (str(self.program),))])


@pytest.fixture
def system(tmp_path: Path) -> System:
    return System(tmp_path)


def authority(*cas: pki.TestCA, system_trust: bool = True) -> Authority:
    return Authority("internal", PRIVATE_CA, trust="".join(ca.trust for ca in cas), system_trust=system_trust)


def test_a_root_is_trusted_once_and_taken_away_again(system: System, root: pki.TestCA, stranger: pki.TestCA) -> None:
    foreign = system.directory / "company.crt"
    foreign.write_text("of somebody else\n")
    both = [authority(root, stranger)]
    assert system.trust.reasons(both) == ["the system does not trust CN=root", "the system does not trust CN=stranger"]
    system.trust.apply(both)
    assert system.trust.reasons(both) == []
    assert root.trust in system.bundle.read_text()
    one = [authority(stranger)]
    (reason,) = system.trust.reasons(one)
    assert "which no issuer wishes any more" in reason
    system.trust.apply(one)
    assert system.trust.reasons(one) == []
    assert root.trust not in system.bundle.read_text()
    assert system.trust.reasons([replace(one[0], system_trust=False)])
    system.trust.apply([])
    assert system.trust.reasons([]) == []
    assert foreign.exists()


def test_a_bundle_that_lost_a_root_is_rebuilt(system: System, root: pki.TestCA) -> None:
    system.trust.apply([authority(root)])
    system.bundle.write_text("")
    assert system.trust.reasons([authority(root)]) == ["the system does not trust CN=root"]
    system.trust.apply([authority(root)])
    assert system.trust.reasons([authority(root)]) == []


def test_a_program_that_fails_or_does_nothing_is_told(tmp_path: Path, root: pki.TestCA) -> None:
    for name, program, word in (("a", "echo error: disk full; exit 1", "disk full"), ("b", "true", "and still")):
        (tmp_path / name).mkdir()
        with pytest.raises(CertificateError, match=word):
            System(tmp_path / name, program).trust.apply([authority(root)])


def test_a_host_without_a_store_is_told(root: pki.TestCA) -> None:
    with pytest.raises(CertificateError, match="install the package ca-certificates"):
        SystemTrust(()).apply([authority(root)])
    assert SystemTrust(()).reasons([authority(root, system_trust=False)]) == []
