# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the controls say of the hosts of this scenario, observed once."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent.parent


# Before every test: what the tests do, such as letting apt write, must not be taken for what the host is.
@pytest.fixture(scope="session", autouse=True)
def observed(scenario: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Let every target tell about its controls, once for all processes that test."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "observed"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            done = scenario.run_playbook(HERE / "observe.yml", "-e", f"observe_to={folder}")
            assert done.returncode == 0, done.stdout + done.stderr
            (folder / "complete").touch()
    return {file.stem: json.loads(file.read_text()) for file in folder.glob("*.json")}
