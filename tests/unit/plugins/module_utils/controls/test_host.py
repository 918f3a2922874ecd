# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is told of a program that failed."""

from __future__ import annotations

import pytest

from ansible_collections.bulwark.hardening.plugins.module_utils.controls.host import Answer


@pytest.mark.parametrize(
    ("error", "complaint"),
    [
        (
            "/etc/sudoers.d/x:1:19: syntax error\nadmin ALL=(ALL) BROKEN(\n                  ^\n",
            "/etc/sudoers.d/x:1:19: syntax error",
        ),
        ("one\nfind: /proc/1: Permission denied\n", "find: /proc/1: Permission denied"),
        ("\n", "exit code 1"),
    ],
)
def test_the_line_with_the_place_or_the_last_one(error: str, complaint: str) -> None:
    assert Answer(1, "", error).complaint() == complaint
