# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long the proof of a change may take within the time after which it is rolled back. Pure."""

from __future__ import annotations


def proof_problem(confirm_seconds: float, window_seconds: float, prefix: str = "") -> str:
    """Return why logins that are spread over so many seconds do not fit into the window, empty if they do.

    They get half of it: the change itself, and a controller that is slow, need the rest.
    """
    if 2 * confirm_seconds <= window_seconds:
        return ""
    return (
        f"{prefix}confirm_seconds: {confirm_seconds:g} seconds of proof do not fit into a window of"
        f" {window_seconds:g} seconds; set {prefix}window_seconds to {2 * confirm_seconds:g} or more"
    )
