# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.bulwark.hardening.plugins.module_utils.postgresql import names


@pytest.mark.parametrize(
    ("name", "quoted"), [("app", '"app"'), ('a"; DROP TABLE x; --', '"a""; DROP TABLE x; --"'), ("Ä b", '"Ä b"')]
)
def test_a_name_stays_one_name(name: str, quoted: str) -> None:
    assert names.identifier(name) == quoted


def test_a_name_in_its_schema() -> None:
    assert names.qualified("public", 'a"b') == '"public"."a""b"'


@pytest.mark.parametrize(
    ("name", "words"), [("", "is empty"), ("a\x00b", "the character NUL"), (32 * "ä", "has 64 bytes")]
)
def test_a_name_that_cannot_be_stored_is_refused(name: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        names.identifier(name)


@pytest.mark.parametrize(("text", "quoted"), [("a'b", "'a''b'"), ("a\\'b", " E'a\\\\''b'"), ("", "''"), ("\n", "'\n'")])
def test_a_text_stays_one_text(text: str, quoted: str) -> None:
    assert names.literal(text) == quoted


def test_a_text_with_nul_is_refused() -> None:
    with pytest.raises(ValueError, match="NUL"):
        names.literal("a\x00")
