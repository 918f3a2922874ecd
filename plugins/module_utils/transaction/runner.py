# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pack the rollback into one file that runs without this collection."""

from __future__ import annotations

import io
import pkgutil
import zipfile

from . import clock, files, journal, locks, restore, snapshot, state

# Imported above, so that Ansible ships them and their source can be asked for wherever they are loaded from.
MODULES = (clock, files, journal, locks, restore, snapshot, state)
PACKAGE = "bulwark_rollback"
MAIN = f"from {PACKAGE}.restore import main\n\nraise SystemExit(main())\n"
# A zip entry needs a date; the content alone shall decide.
DATE = (2026, 1, 1, 0, 0, 0)


def pack() -> bytes:
    """Return a zip application: python3 -I runner.pyz restore --id ID --reason timer."""
    entries = {"__main__.py": MAIN.encode(), f"{PACKAGE}/__init__.py": b""}
    for module in MODULES:
        name = module.__name__.rpartition(".")[2]
        source = pkgutil.get_data(module.__name__, f"{name}.py")
        if source is None:
            raise RuntimeError(f"the source of {module.__name__} is not available")
        entries[f"{PACKAGE}/{name}.py"] = source
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in sorted(entries.items()):
            archive.writestr(zipfile.ZipInfo(name, DATE), content)
    return buffer.getvalue()
