# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Uses the postgresql package on a real host; test_postgresql_settings.py copies it there and calls it.

postgresql_settings_driver.py KILL_AT: arguments of settings_host.converge() as JSON on standard input; the answer is
one JSON object with the number of steps. The process kills itself before the step KILL_AT, unless that is negative.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

sys.path.insert(0, "/root/bulwark-test")

from ansible_collections.bulwark.hardening.plugins.module_utils.postgresql import server, settings_host

STEPS = ("mkdir", "rename", "fsync", "unlink", "fchmod")


def main() -> None:
    kill_at, steps = int(sys.argv[1]), 0

    def watch(place: Any, name: str) -> None:
        real: Callable[..., Any] = getattr(place, name)

        def step(*arguments: Any, **options: Any) -> Any:
            nonlocal steps
            if steps == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            steps += 1
            return real(*arguments, **options)

        setattr(place, name, step)

    for name in STEPS:
        watch(os, name)
    for name in ("run_to_end", "observe"):
        watch(settings_host, name)
    arguments = json.load(sys.stdin)
    answer: dict[str, Any]
    try:
        outcome = settings_host.converge(server.Place(), **arguments, restart_seconds=60.0, check_mode=False)
        answer = {"changed": outcome.changed, "restarted": outcome.restarted, "waiting": list(outcome.restart_required)}
    except server.Refused as error:
        answer = {"msg": str(error)}
    print(json.dumps({**answer, "steps": steps}))


if __name__ == "__main__":
    main()
