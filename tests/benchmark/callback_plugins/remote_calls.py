# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Count what crosses the connection: every command and file transfer that Ansible sends to a host.

Writes one JSON line per call to the file that REMOTE_CALLS_FILE names: host, role, task, action, kind, and the seconds
that it took. What the controls module says of itself is a line more, of the kind "controls".
"""

from __future__ import annotations

import json
import os
import time
import typing as t
from pathlib import Path

from ansible.plugins.callback import CallbackBase
from ansible.plugins.connection.ssh import Connection

DOCUMENTATION = """
name: remote_calls
type: aggregate
short_description: count and time the remote calls of a run
description: [Writes one JSON line per remote call to the file named by E(REMOTE_CALLS_FILE).]
"""

CURRENT_TASK = {"task": "", "role": "", "action": ""}


def record(host: str, kind: str, seconds: float, **more: t.Any) -> None:
    """Append one call; a single short write, so that forks do not mix lines."""
    path = os.environ.get("REMOTE_CALLS_FILE")
    if path:
        call = {"host": host, "kind": kind, "seconds": round(seconds, 3), **CURRENT_TASK, **more}
        with Path(path).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(call) + "\n")


def counted(kind: str) -> None:
    """Replace a method of the ssh connection by one that records the call, also one that fails."""
    original = getattr(Connection, kind)

    def method(self: t.Any, *args: t.Any, **kwargs: t.Any) -> t.Any:
        started = time.monotonic()
        try:
            return original(self, *args, **kwargs)
        finally:
            record(str(self.get_option("host")), kind, time.monotonic() - started)

    setattr(Connection, kind, method)


class CallbackModule(CallbackBase):  # type: ignore[misc]  # ansible-core is not annotated
    """Loaded before the workers fork, so that the counted methods are in every one of them."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "remote_calls"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        for kind in ("exec_command", "put_file", "fetch_file"):
            counted(kind)

    def v2_playbook_on_task_start(self, task: t.Any, is_conditional: bool) -> None:
        """Remember whose call the next ones are."""
        CURRENT_TASK["task"] = task.get_name()
        CURRENT_TASK["role"] = task._role.get_name() if task._role else ""
        CURRENT_TASK["action"] = str(task.action)

    def v2_runner_on_ok(self, result: t.Any) -> None:
        """Keep how many controls were observed, and the time that the host itself took for it."""
        values = result.result
        if result.task.action == "bulwark.hardening.controls" and "counts" in values:
            record(str(result.host), "controls", values["seconds"], counts=values["counts"])
