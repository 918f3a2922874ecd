# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A file with the roots of each issuer."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.bulwark.hardening.plugins.module_utils.certificates.bundles import Bundles
from ansible_collections.bulwark.hardening.plugins.module_utils.certificates.model import (
    PRIVATE_CA,
    Authority,
    CertificateError,
)

from . import pki


def authority(name: str, *cas: pki.TestCA) -> Authority:
    return Authority(name, PRIVATE_CA, trust="".join(ca.trust for ca in cas))


def test_each_issuer_has_its_roots_and_no_more(tmp_path: Path, root: pki.TestCA, stranger: pki.TestCA) -> None:
    bundles = Bundles(str(tmp_path / "trust"))
    wished = [authority("internal", root, stranger), authority("other", stranger), authority("of_the_system")]
    assert [reason.split("/")[-1] for reason in bundles.reasons(wished)] == [
        "internal.pem is not that of internal",
        "other.pem is not that of other",
    ]
    bundles.apply(wished)
    assert bundles.reasons(wished) == []
    assert {name: len(facts) for name, facts in bundles.roots().items()} == {"internal": 2, "other": 1}
    file = tmp_path / "trust" / "internal.pem"
    assert file.stat().st_mode & 0o777 == 0o644
    file.write_text(root.trust)
    assert bundles.reasons(wished) != []
    bundles.apply(wished[1:])
    assert not file.exists()
    assert bundles.reasons(wished[1:]) == []


def test_a_link_that_somebody_planted_is_not_followed(tmp_path: Path, root: pki.TestCA) -> None:
    target = tmp_path / "target"
    target.write_text("kept")
    (tmp_path / "trust").mkdir()
    (tmp_path / "trust" / "internal.pem").symlink_to(target)
    bundles = Bundles(str(tmp_path / "trust"))
    bundles.apply([authority("internal", root)])
    assert target.read_text() == "kept"
    assert bundles.reasons([authority("internal", root)]) == []
    (tmp_path / "linked").symlink_to(tmp_path / "trust")
    with pytest.raises(CertificateError, match="linked"):
        Bundles(str(tmp_path / "linked")).apply([authority("other", root)])
