# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each server of this scenario."""

from __future__ import annotations

from typing import Any

import pytest

from tests.postgresql.seen_from_outside import SERVERS, Database


@pytest.fixture(params=sorted(SERVERS))
def server(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def database(scenario: Any, server: str) -> Database:
    return Database(scenario, server)
