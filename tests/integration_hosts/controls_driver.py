# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on the disposable host: observes controls, or walks PAM stacks with the real libpam."""

from __future__ import annotations

import ctypes
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

CONVERSATION = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
PAM_CONV_ERR = 19
WITNESS = """#!/bin/sh
echo "$1" >> "{log}"
[ "$2" = success ]
"""


class Conversation(ctypes.Structure):
    """struct pam_conv."""

    _fields_ = (("function", CONVERSATION), ("data", ctypes.c_void_p))


def evaluate(controls: list[dict[str, Any]]) -> dict[str, Any]:
    from controls.evaluate import evaluate as observe  # copied beside this file
    from controls.host import Host

    started = time.monotonic()
    host = Host()
    results = observe(host, controls)
    host.close()
    return {"controls": results, "seconds": time.monotonic() - started}


def walk(stacks: dict[str, Any]) -> list[tuple[list[int], bool]]:
    """Return for each service which modules libpam called, and whether it let the user in.

    Each module is pam_exec with a program that notes its number.
    """
    library = ctypes.CDLL("libpam.so.0")
    library.pam_authenticate.argtypes = [ctypes.c_void_p, ctypes.c_int]
    library.pam_end.argtypes = [ctypes.c_void_p, ctypes.c_int]
    conversation = Conversation(CONVERSATION(lambda *_arguments: PAM_CONV_ERR), None)
    places = [Path("/etc/pam.d", name) for name in stacks["files"]]
    found = []
    with tempfile.TemporaryDirectory(dir=Path(__file__).parent) as folder:
        log, program = Path(folder, "log"), Path(folder, "witness")
        program.write_text(WITNESS.format(log=log), encoding="ascii")
        program.chmod(0o700)
        for place, text in zip(places, stacks["files"].values()):
            place.write_text(text.replace("WITNESS", str(program)), encoding="ascii")
        for service in stacks["services"]:
            log.write_text("", encoding="ascii")
            handle = ctypes.c_void_p()
            library.pam_start(service.encode(), b"root", ctypes.byref(conversation), ctypes.byref(handle))
            result = library.pam_authenticate(handle, 0)
            library.pam_end(handle, result)
            found.append((sorted(int(line) for line in log.read_text(encoding="ascii").split()), result == 0))
    for place in places:
        place.unlink()
    return found


def main() -> None:
    operations: dict[str, Callable[[Any], Any]] = {"evaluate": evaluate, "walk": walk}
    print(json.dumps(operations[sys.argv[1]](json.load(sys.stdin))))


if __name__ == "__main__":
    main()
