# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One worker for each target: its tests restart the server, and count what the server finds."""

from __future__ import annotations

from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling


class ByTarget(LoadScopeScheduling):  # type: ignore[misc]  # xdist is not annotated
    """Hands out the tests of one target together."""

    def _split_scope(self, nodeid: str) -> str:
        """Return the target, which is the first parameter."""
        return nodeid.partition("[")[2].rstrip("]").split("-")[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByTarget:
    """Replace the scheduler that hands out single tests."""
    return ByTarget(config, log)
