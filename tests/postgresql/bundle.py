# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The package `postgresql` and the programs that need it, as one archive that a host's Python imports from."""

from __future__ import annotations

import base64
import io
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
MODULE_UTILS = HERE.parents[1] / "plugins" / "module_utils"
PROGRAMS = ("grants_driver.py", "grants_failures.py")
ON_HOST = "/root/bulwark-tests.zip"
UNPACK = f"base64 -d > {ON_HOST}"


def encoded() -> str:
    """Return the archive as a text for UNPACK."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in (MODULE_UTILS / "postgresql").rglob("*.py"):
            archive.write(path, path.relative_to(MODULE_UTILS))
        for name in PROGRAMS:
            archive.write(HERE / name, f"tests/postgresql/{name}")
        for package in ("tests", "tests/postgresql"):
            archive.writestr(f"{package}/__init__.py", "")
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def command(module: str, *arguments: object) -> str:
    """Return the command that runs one of the programs on a host."""
    return " ".join(map(str, (f"PYTHONPATH={ON_HOST}", "python3", "-m", module, *arguments)))
