# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""sshd_config as text: what goes in comes out, and nothing breaks out of its word."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.bulwark.hardening.plugins.module_utils.sshd import grammar

ANY_WORD = st.text(min_size=1, max_size=40)
CARRIED = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="".join(map(chr, [*range(32), 127]))), max_size=40
)
FILE_LINES = st.lists(
    st.sampled_from(
        [
            "# a comment",
            "",
            "Port 2222",
            "  port = 2200",
            "ListenAddress 192.0.2.1",
            "PermitRootLogin yes",
            "Include /etc/ssh/sshd_config.d/*.conf",
            "HostKey /etc/ssh/own",
            "AllowUsers alice bob",
            "X11Forwarding yes # why not",
            "Match User bob",
            "Match all",
            "Subsystem sftp internal-sftp",
            'Banner "/etc/my banner"',
        ]
    ),
    max_size=12,
)


@given(st.lists(CARRIED, min_size=1, max_size=4))
def test_what_is_rendered_is_read_back(arguments: list[str]) -> None:
    line = grammar.render("Keyword", arguments)
    (parsed,) = grammar.parse(line + "\n")
    assert parsed.keyword == "keyword"
    assert list(parsed.arguments) == arguments


@given(ANY_WORD)
def test_no_value_breaks_out_of_its_line(value: str) -> None:
    """A value is one word of one line, or it is refused."""
    try:
        text = grammar.render("Banner", [value]) + "\nPort 22\n"
    except grammar.GrammarError:
        assert any(ord(character) < 32 or ord(character) == 127 for character in value)
        return
    lines = grammar.parse(text)
    assert [line.keyword for line in lines] == ["banner", "port"]
    assert lines[0].arguments == (value,)


@pytest.mark.parametrize(
    ("line", "keyword", "arguments"),
    [
        ("Port 22", "port", ("22",)),
        ("\tPORT=22  ", "port", ("22",)),
        ("Port = 22", "port", ("22",)),
        ("AllowUsers a b # c", "allowusers", ("a", "b")),
        ("AllowUsers a#b", "allowusers", ("a#b",)),
        ('Banner "/etc/a b"', "banner", ("/etc/a b",)),
        ("Banner '/etc/a b'", "banner", ("/etc/a b",)),
        (r'Banner "a\"b"', "banner", ('a"b',)),
        (r"Banner a\ b", "banner", ("a b",)),
        ("Match", "match", ()),
    ],
)
def test_words_are_split_as_sshd_does(line: str, keyword: str, arguments: tuple[str, ...]) -> None:
    (parsed,) = grammar.parse(line)
    assert (parsed.keyword, parsed.arguments) == (keyword, arguments)


@pytest.mark.parametrize("line", ['Banner "open', "Banner 'open", "-- nothing"])
def test_a_line_that_sshd_cannot_read_is_refused(line: str) -> None:
    with pytest.raises(grammar.GrammarError):
        grammar.parse(line)


def test_lines_know_their_match_block() -> None:
    lines = grammar.parse("Port 22\nMatch User bob\nX11Forwarding yes\nMatch all\nBanner none\n")
    assert [line.match for line in lines] == [None, ("User", "bob"), ("User", "bob"), ("all",), ("all",)]
    assert [line.is_global for line in lines] == [True, False, False, False, False]


@given(FILE_LINES, st.booleans(), st.sampled_from(["\n", ""]))
def test_an_edit_can_be_taken_back_exactly(lines: list[str], with_block: bool, end: str) -> None:
    text = "\n".join(lines) + (end if lines else "")
    block = ["Include /etc/ssh/sshd_config.d/*.conf", "Port 22"] if with_block else []
    managed = grammar.manage(text, block, lambda line: line.keyword in ("port", "include") and line.is_global)
    assert grammar.restore(managed) == text


@given(FILE_LINES)
def test_an_edit_made_twice_is_the_edit_made_once(lines: list[str]) -> None:
    def edit(text: str) -> str:
        return grammar.manage(grammar.restore(text), ["Port 22"], lambda line: line.keyword == "port")

    once = edit("\n".join(lines))
    assert edit(once) == once
    assert [line.arguments for line in grammar.parse(once) if line.keyword == "port"] == [("22",)]


def test_a_block_without_an_end_is_refused() -> None:
    with pytest.raises(grammar.GrammarError, match="has no end"):
        grammar.restore(f"{grammar.BEGIN}\nPort 22\n")


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("Include /etc/ssh/sshd_config.d/*.conf\nPort 22\n", True),
        ("# text\n\nAcceptEnv LANG\nInclude sshd_config.d/*.conf\n", True),
        ("Port 22\nInclude /etc/ssh/sshd_config.d/*.conf\n", False),
        ("Match User a\nInclude /etc/ssh/sshd_config.d/*.conf\n", False),
        ("Include /etc/ssh/other.conf\n", False),
        ("", False),
    ],
)
def test_whether_the_drop_ins_come_first(text: str, first: bool) -> None:
    assert grammar.include_comes_first(text, ["Port"]) is first


def test_included_files_are_read_in_place_and_inherit_the_match_block() -> None:
    files = {
        "main": "Port 1\nInclude a\nMatch User bob\nInclude b\nPort 4\n",
        "a": "Port 2\n",
        "b": "Port 3\n",
    }
    found = grammar.in_reading_order("main", files, lambda argument: [argument])
    assert [(setting.path, setting.line.arguments[0]) for setting in found] == [
        ("main", "1"),
        ("a", "2"),
        ("b", "3"),
        ("main", "4"),
    ]
    assert found[2].where() == "b line 1 (Match User bob)"


def test_files_that_include_each_other_end_with_an_error() -> None:
    with pytest.raises(grammar.GrammarError, match="nest deeper"):
        grammar.in_reading_order("a", {"a": "Include a\n"}, lambda argument: [argument])
