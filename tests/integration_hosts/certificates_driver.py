# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Uses the certificates package on a real host; test_certificates.py copies it there and calls it.

certificates_driver.py OPERATION KILL_AT: arguments as JSON on standard input; the answer is one JSON object with the
number of steps. The process kills itself at the step KILL_AT, unless that is negative.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

sys.path.insert(0, "/root/bulwark-test")

from ansible_collections.bulwark.hardening.plugins.module_utils.certificates import change, consumers, probe
from ansible_collections.bulwark.hardening.plugins.module_utils.certificates.model import CertificateError

STEPS = ("mkdir", "rename", "symlink", "fsync", "unlink", "rmdir", "fchmod", "fchown", "open", "write")


class Reaper:
    def __init__(self, kill_at: int) -> None:
        self.kill_at = kill_at
        self.steps = 0

    def watch(self, place: Any, name: str) -> None:
        real: Callable[..., Any] = getattr(place, name)

        def step(*arguments: Any, **options: Any) -> Any:
            if self.steps == self.kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            self.steps += 1
            return real(*arguments, **options)

        setattr(place, name, step)


def main() -> None:
    operation, kill_at = sys.argv[1:]
    arguments = json.load(sys.stdin)
    reaper = Reaper(int(kill_at))
    for name in STEPS:
        reaper.watch(os, name)
    for place, name in ((consumers, "check"), (consumers, "load"), (probe, "ask"), (probe, "rehearse")):
        reaper.watch(place, name)
    try:
        work = change.Change(arguments, False)
        answer = work.deploy() if operation == "deploy" else work.plan()
    except CertificateError as error:
        answer = {"failed": True, "msg": str(error)}
    print(json.dumps({**answer, "steps": reaper.steps}))


if __name__ == "__main__":
    main()
