# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The roles of the collection, as fixtures."""

from __future__ import annotations

import pytest

from .repository import ROLES, Role


@pytest.fixture(scope="session")
def roles() -> dict[str, Role]:
    """All roles by name."""
    return {path.name: Role(path) for path in ROLES}


@pytest.fixture(params=[path.name for path in ROLES])
def role(request: pytest.FixtureRequest, roles: dict[str, Role]) -> Role:
    """One role after the other."""
    return roles[request.param]
