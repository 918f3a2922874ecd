# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pack modules into one file that a host's Python runs without the collection."""

from __future__ import annotations

import io
import pkgutil
import typing as t
import zipfile
from types import ModuleType

PACKAGE = "bulwark"
# A zip entry needs a date; the content alone shall decide.
DATE = (2026, 1, 1, 0, 0, 0)


def pack(entry_point: str, modules: t.Iterable[ModuleType]) -> bytes:
    """Return a zip application that calls main() of the module ``entry_point``, such as certificates.on_host.

    Modules are below module_utils, and keep their place there; their packages come without content.
    """
    main = f"from {PACKAGE}.{entry_point} import main\n\nraise SystemExit(main())\n"
    entries = {"__main__.py": main.encode(), f"{PACKAGE}/__init__.py": b""}
    for module in modules:
        parts = module.__name__.partition("module_utils.")[2].split(".") or [module.__name__]
        for depth in range(1, len(parts)):
            entries[f"{PACKAGE}/{'/'.join(parts[:depth])}/__init__.py"] = b""
        entries[f"{PACKAGE}/{'/'.join(parts)}.py"] = _source(module, parts[-1])
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in sorted(entries.items()):
            archive.writestr(zipfile.ZipInfo(name, DATE), content)
    return buffer.getvalue()


def _source(module: ModuleType, name: str) -> bytes:
    source = pkgutil.get_data(module.__name__, f"{name}.py")
    if source is None:
        raise RuntimeError(f"the source of {module.__name__} is not available")
    return source
