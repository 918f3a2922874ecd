# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The database of the file integrity checker AIDE."""

from __future__ import annotations

from collections.abc import Mapping

from ..host import Host
from ..model import Observation, Verdict
from ..parameters import Parameter, Parameters
from ..reader import Reader
from .systemd import PROPERTIES, UNITS, unit_properties


def announce_units(host: Host, parameters: Parameters) -> None:
    """Note the units that make a database."""
    host.wish(UNITS, parameters["running"])
    host.wish(PROPERTIES, ["SubState"])


def aide_database(host: Host, parameters: Parameters) -> Observation:
    """Check that AIDE has something to compare files with.

    ``databases``: paths of which one must be a file. ``running``: units that make the first one; while a service of
    them runs, or a timer waits, the verdict is pending.
    """
    expected = " or ".join(parameters["databases"])
    for path in parameters["databases"]:
        status = host.status(path)
        if status is not None and status.kind == "file":
            return Observation(Verdict.PASS, expected, path, source=path)
    working = [unit for unit in parameters["running"] if is_working(unit_properties(host, unit))]
    if working:
        return Observation(Verdict.PENDING, expected, "none", f"{working[0]} has not come to it yet", source=working[0])
    return Observation(Verdict.FAIL, expected, "none", source=expected)


def is_working(properties: Mapping[str, str]) -> bool:
    """Return whether a service runs or a timer waits; one that has elapsed is active too, and does nothing more."""
    return properties.get("ActiveState") in ("active", "activating") and properties.get("SubState") != "elapsed"


READERS: Mapping[str, Reader] = {
    "aide_database": Reader(
        aide_database,
        {"databases": Parameter("texts", required=True), "running": Parameter("texts", default=[])},
        announce_units,
    )
}
