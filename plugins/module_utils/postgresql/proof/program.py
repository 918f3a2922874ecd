# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program as one file."""

from __future__ import annotations

from ...transaction import application, files
from .. import names, scram, server
from ..grants import append_only, model, observe, planner, privileges, standing, state
from ..grants import change as grants_change
from ..transition_log import change, expected, statements
from ..transition_log import model as log_model
from ..transition_log import observe as log_observe
from . import findings, on_host, policy

# Imported above, so that Ansible ships them and their source can be asked for wherever they are loaded from.
MODULES = (
    files, names, scram, server, append_only, model, observe, planner, privileges, standing, state, grants_change,
    change, expected, statements, log_model, log_observe, findings, on_host, policy,
)  # fmt: skip
# Isolated, so that nothing of the caller's environment decides what is imported.
SHEBANG = b"#!/usr/bin/python3 -I\n"


def pack() -> bytes:
    """Return an executable zip application."""
    return SHEBANG + application.pack("postgresql.proof.on_host", MODULES)
