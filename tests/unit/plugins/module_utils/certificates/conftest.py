# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""CAs that are made once."""

from __future__ import annotations

import pytest

from . import pki


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> pki.TestCA:
    return pki.make_ca(tmp_path_factory.mktemp("root"), "root")


@pytest.fixture(scope="session")
def ca(tmp_path_factory: pytest.TempPathFactory, root: pki.TestCA) -> pki.TestCA:
    """A CA below a root, which signs."""
    return pki.make_ca(tmp_path_factory.mktemp("ca"), "signing", below=root)


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> pki.TestCA:
    """A CA that nobody trusts."""
    return pki.make_ca(tmp_path_factory.mktemp("stranger"), "stranger")
