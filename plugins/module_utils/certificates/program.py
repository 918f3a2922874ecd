# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pack what a host needs to look after its certificates into one file that runs without the collection."""

from __future__ import annotations

from ..transaction import application, clock, commands, files, locks, state
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


def pack() -> bytes:
    """Return a zip application: python3 -I certificates.pyz report."""
    return application.pack("certificates.on_host", (*TRANSACTION, *CERTIFICATES))
