# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pack parts of this package into one file that runs without the collection."""

from __future__ import annotations

import io
import pkgutil
import zipfile
from collections.abc import Sequence
from types import ModuleType

from . import clock, commands, files, journal, locks, probe, rehearsal, restore, snapshot, state

# Imported above, so that Ansible ships them and their source can be asked for wherever they are loaded from.
ROLLBACK = (clock, commands, files, journal, locks, restore, snapshot, state)
REHEARSAL = (commands, probe, rehearsal, state)
PACKAGE = "bulwark_transaction"
# A zip entry needs a date; the content alone shall decide.
DATE = (2026, 1, 1, 0, 0, 0)


def pack_rollback() -> bytes:
    """Return a zip application: python3 -I runner.pyz restore --id ID --reason timer."""
    return _pack(ROLLBACK, "restore")


def pack_rehearsal() -> bytes:
    """Return the zip application that runs inside the private namespaces."""
    return _pack(REHEARSAL, "rehearsal")


def _pack(modules: Sequence[ModuleType], entry: str) -> bytes:
    main = f"from {PACKAGE}.{entry} import main\n\nraise SystemExit(main())\n"
    entries = {"__main__.py": main.encode(), f"{PACKAGE}/__init__.py": b""}
    for module in modules:
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
