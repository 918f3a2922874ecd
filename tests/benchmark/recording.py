# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a playbook and keep what crossed the connection."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent


@dataclass(frozen=True)
class Recording:
    """How long a playbook took, with Ansible's own start; its remote calls in their order; and its recap."""

    seconds: float
    calls: list[dict[str, Any]]
    changed: int


def record(inventory: Path, playbook: Path, host: str, variables: dict[str, Any], *arguments: str) -> Recording:
    """Run a playbook against one host; ends the program if that fails."""
    with tempfile.TemporaryDirectory() as folder:
        calls = Path(folder) / "calls"
        calls.touch()
        environment = {
            **os.environ,
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_CALLBACK_PLUGINS": str(HERE / "callback_plugins"),
            "ANSIBLE_CALLBACKS_ENABLED": "remote_calls",
            "REMOTE_CALLS_FILE": str(calls),
        }
        given = Path(folder) / "variables.json"
        given.write_text(json.dumps(variables), encoding="utf-8")
        command = [
            *("ansible-playbook", "-i", str(inventory), str(playbook)),
            *("--limit", host, "-e", f"@{given}", *arguments),
        ]
        started = time.monotonic()
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        seconds = time.monotonic() - started
        if done.returncode != 0:
            raise SystemExit(f"the run failed:\n{done.stdout[-4000:]}{done.stderr[-2000:]}")
        recap = done.stdout.rpartition("PLAY RECAP")[2]
        return Recording(
            seconds,
            [json.loads(line) for line in calls.read_text(encoding="utf-8").splitlines()],
            int(recap.partition("changed=")[2].split()[0]),
        )
