# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The generated reference."""

from __future__ import annotations

import pytest

from tools.reference import markdown, options


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("Set O(port) to V(22).", "Set `port` to `22`."),
        ("See RV(transaction.id) and O(bulwark.hardening.sshd#module:port=22).", "See `transaction.id` and `port=22`."),
        ("Runs C(ufw\\), then) M(ansible.builtin.copy)", "Runs `ufw), then` `ansible.builtin.copy`"),
        ("P(ansible.builtin.env#lookup) B(not) I(ever)", "`ansible.builtin.env` **not** *ever*"),
        ("L(the manual, https://example.org/a)", "[the manual](https://example.org/a)"),
        ("U(https://example.org)", "<https://example.org>"),
        ("An IO(no) stays", "An IO(no) stays"),
    ],
)
def test_markup_becomes_markdown(source: str, expected: str) -> None:
    assert markdown(source) == expected


def test_options_are_nested_with_all_their_facts() -> None:
    specification = {
        "rules": {
            "type": "list",
            "elements": "dict",
            "required": True,
            "description": ["What is allowed."],
            "options": {"protocol": {"choices": ["tcp", "udp"], "default": "tcp", "description": "The protocol."}},
        }
    }
    assert options(specification) == [
        "- **`rules`** (list of dict; required)",
        "  What is allowed.",
        "  - **`protocol`** (str; default `tcp`; one of `tcp`, `udp`)",
        "    The protocol.",
        "",
    ]


def test_no_option_is_said_so() -> None:
    assert options({}) == ["None.", ""]
