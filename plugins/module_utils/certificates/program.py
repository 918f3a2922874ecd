# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pack what a host needs to look after its certificates into one file that runs without the collection."""

from __future__ import annotations

import io
import pkgutil
import typing as t
import zipfile
from types import ModuleType

from ..transaction import clock, commands, files, locks, state
from . import (
    acme,
    bundles,
    change,
    consumers,
    credentials,
    facts,
    judge,
    model,
    observe,
    on_host,
    planner,
    policy,
    probe,
    report,
    rotation,
    serve,
    store,
    system_trust,
    timers,
    validate,
    x509,
)

# Imported above, so that Ansible ships them and their source can be asked for wherever they are loaded from.
TRANSACTION = (clock, commands, files, locks, state)
CERTIFICATES = (
    acme, bundles, change, consumers, credentials, facts, judge, model, observe, on_host, planner, policy, probe,
    report, rotation, serve, store, system_trust, timers, validate, x509,
)  # fmt: skip
PACKAGE = "bulwark"
# A zip entry needs a date; the content alone shall decide.
DATE = (2026, 1, 1, 0, 0, 0)
MAIN = f"from {PACKAGE}.certificates.on_host import main\n\nraise SystemExit(main())\n"


def pack() -> bytes:
    """Return a zip application: python3 -I certificates.pyz report."""
    entries = {"__main__.py": MAIN.encode(), f"{PACKAGE}/__init__.py": b""}
    entries.update(_sources("transaction", TRANSACTION))
    entries.update(_sources("certificates", CERTIFICATES))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in sorted(entries.items()):
            archive.writestr(zipfile.ZipInfo(name, DATE), content)
    return buffer.getvalue()


def _sources(part: str, modules: t.Iterable[ModuleType]) -> dict[str, bytes]:
    found = {f"{PACKAGE}/{part}/__init__.py": b""}
    for module in modules:
        name = module.__name__.rpartition(".")[2]
        source = pkgutil.get_data(module.__name__, f"{name}.py")
        if source is None:
            raise RuntimeError(f"the source of {module.__name__} is not available")
        found[f"{PACKAGE}/{part}/{name}.py"] = source
    return found
