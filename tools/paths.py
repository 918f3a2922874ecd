# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where things are in a checkout."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache"
LOGS = CACHE / "logs"
COLLECTIONS = ROOT / ".ansible" / "collections"
HOSTS_PROGRAM = ROOT / "molecule" / "shared" / "hosts.py"
PYTHON = sys.executable
"""The interpreter of .venv: tools are run as its modules, or found beside it."""


class Problem(Exception):
    """Something the developer can act on; the message is one sentence and is all that is shown."""


def tool(name: str) -> str:
    """Return the path of a program that is installed in .venv."""
    return str(Path(PYTHON).parent / name)


def is_current(stamp: Path, *sources: Path) -> bool:
    """Tell whether ``stamp`` was written for the present content of ``sources``."""
    return stamp.is_file() and stamp.read_text(encoding="ascii") == _fingerprint(*sources)


def mark_current(stamp: Path, *sources: Path) -> None:
    """Remember the present content of ``sources`` in ``stamp``."""
    stamp.parent.mkdir(parents=True, exist_ok=True)
    stamp.write_text(_fingerprint(*sources), encoding="ascii")


def _fingerprint(*sources: Path) -> str:
    digest = hashlib.sha256()
    for source in sources:
        digest.update(hashlib.sha256(source.read_bytes()).digest())
    return digest.hexdigest()
