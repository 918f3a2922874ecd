# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names as certificates and their clients compare them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.bulwark.hardening.plugins.module_utils.certificates.model import (
    Listener,
    build,
    covers,
    default_server_name,
    example,
)

LABELS = st.from_regex(r"[a-z][a-z0-9]{0,10}", fullmatch=True)
NAMES = st.lists(LABELS, min_size=2, max_size=4).map(".".join)


@pytest.mark.parametrize(
    ("names", "name", "covered"),
    [
        (["www.example.org"], "www.example.org", True),
        (["www.example.org"], "WWW.example.org", True),
        (["www.example.org"], "example.org", False),
        (["*.example.org"], "www.example.org", True),
        (["*.example.org"], "example.org", False),
        (["*.example.org"], "a.b.example.org", False),
        (["192.0.2.1"], "192.0.2.1", True),
        (["*.0.2.1"], "192.0.2.1", False),
        (["2001:db8::1"], "2001:db8:0::1", True),
        ([], "www.example.org", False),
    ],
)
def test_what_a_name_stands_for(names: list[str], name: str, covered: bool) -> None:
    assert covers(names, name) is covered


@given(name=NAMES, label=LABELS)
def test_a_wildcard_stands_for_one_label_and_its_example_is_one(name: str, label: str) -> None:
    assert covers([f"*.{name}"], f"{label}.{name}")
    assert covers([f"*.{name}"], example(f"*.{name}"))
    assert not covers([f"*.{name}"], f"x.{label}.{name}")
    assert not covers([f"*.{name}"], name)


def test_a_listener_is_asked_for_the_first_name_that_a_client_can_send() -> None:
    assert default_server_name(["192.0.2.1", "*.example.org"]) == "wildcard.example.org"
    assert default_server_name(["192.0.2.1"]) == "192.0.2.1"


@pytest.mark.parametrize(
    ("given_mode", "group", "mode"), [(None, None, 0o600), (None, "postgres", 0o640), ("0440", "postgres", 0o440)]
)
def test_a_group_is_there_to_read(given_mode: str | None, group: str | None, mode: int) -> None:
    raw = {"name": "a", "issuer": "ca", "names": ["a.example.org"], "mode": given_mode, "group": group}
    assert build({"certificates": [raw]})[0].mode == mode


def test_a_listener_names_itself() -> None:
    assert str(Listener("::1", 443, "a.example.org")) == "[::1]:443 (a.example.org)"
    assert str(Listener("127.0.0.1", 5432, "")) == "127.0.0.1:5432"
