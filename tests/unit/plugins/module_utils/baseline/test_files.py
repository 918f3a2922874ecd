# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files as they should be: what is refused, what an edit changes, and that a second plan is empty."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.bulwark.hardening.plugins.module_utils.baseline import files
from ansible_collections.bulwark.hardening.plugins.module_utils.baseline.files import Block, Found, Settings
from ansible_collections.bulwark.hardening.plugins.module_utils.baseline.host import Refused

LOGIN_DEFS = "# PASS_MAX_DAYS 1\nPASS_MAX_DAYS\t99999\nUNKNOWN yes\nPASS_MAX_DAYS 10\n"


def plan(entries: list[dict[str, Any]], tree: dict[str, Found]) -> tuple[files.Change, ...]:
    return files.plan(files.parse(entries), tree.get, len, len)


def found(text: str, mode: int = 0o644) -> Found:
    return Found(text.encode(), mode, 0, 0)


def edited(text: str, form: str, values: dict[str, Any], section: str = "", flags: list[str] | None = None) -> str:
    entry = {"path": "/f", "settings": {"format": form, "section": section, "values": values, "flags": flags or []}}
    changes = plan([entry], {"/f": found(text)})
    return text if not changes else (changes[0].after or found("")).content.decode()


def test_the_first_line_of_a_key_is_edited_and_its_second_removed() -> None:
    assert edited(LOGIN_DEFS, "space", {"PASS_MAX_DAYS": 365}) == (
        "# PASS_MAX_DAYS 1\nPASS_MAX_DAYS\t365\nUNKNOWN yes\n"
    )


@pytest.mark.parametrize(
    ("text", "form", "values", "expected"),
    [
        ("A=1\n", "equals", {"A": 1}, "A=1\n"),
        ("A = 1\n", "equals", {"A": 2}, "A = 2\n"),
        ("# a = 1\n", "equals", {"b": 2}, "# a = 1\nb = 2\n"),
        ("#a=1\n", "equals", {"b": 2}, "#a=1\nb=2\n"),
        ("A=1", "equals", {"B": ""}, "A=1\nB=\n"),
        ("A=1\nB=2\n", "equals", {"A": None}, "B=2\n"),
        ("A=1 \\\n 2\nB=3\n", "equals", {"A": 4}, "A=4\nB=3\n"),
        ("A=1\\", "equals", {"B": 4}, "A=1\\\n\nB=4\n"),
        ("export A=1\n", "equals", {"A": 2}, "export A=2\n"),
        ("server a\nserver b\n", "space", {"server": ["b", "c"]}, "server b\nserver c\n"),
        ("K\n", "space", {"K": ""}, "K\n"),
        ("A=1\r\nB=2\r\n", "equals", {"B": 2}, "A=1\r\nB=2\r\n"),
    ],
)
def test_settings_without_sections(text: str, form: str, values: dict[str, Any], expected: str) -> None:
    assert edited(text, form, values) == expected


def test_words_without_a_value_stand_alone() -> None:
    assert edited("# deny = 3\n", "equals", {"deny": 4}, flags=["audit"]) == "# deny = 3\ndeny = 4\naudit\n"
    assert edited("audit\ndeny = 4\n", "equals", {"deny": 4}, flags=["audit"]) == "audit\ndeny = 4\n"
    assert edited("audit\n", "equals", {"audit": None}) == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "[B]\nk=v\n"),
        ("[A]\nk=1\n", "[A]\nk=1\n\n[B]\nk=v\n"),
        ("[B]\nk=1\n[A]\nk=1\n", "[B]\nk=v\n[A]\nk=1\n"),
        ("[B]\n#k=1\n\n# about A\n[A]\nk=1\n", "[B]\n#k=1\nk=v\n\n# about A\n[A]\nk=1\n"),
        ("[B]\nx=1\n[A]\n[B]\nk=1\n", "[B]\nx=1\n[A]\n[B]\nk=v\n"),
        ("k=1\n[B]", "k=1\n[B]\nk=v\n"),
    ],
)
def test_a_key_is_set_in_its_own_section(text: str, expected: str) -> None:
    assert edited(text, "ini", {"k": "v"}, "B") == expected


def test_above_the_first_section_is_a_place_of_its_own() -> None:
    assert edited("[A]\nk=1\n", "ini", {"k": 2}) == "k=2\n[A]\nk=1\n"


def test_bytes_that_are_no_text_survive() -> None:
    tree = {"/f": Found(b"# caf\xe9\nA=1\n", 0o640, 3, 4)}
    changes = plan([{"path": "/f", "settings": {"format": "equals", "values": {"A": 2}}}], tree)
    assert changes[0].after == Found(b"# caf\xe9\nA=2\n", 0o640, 3, 4)
    assert changes[0].what == ("content",)


def test_entries_of_one_path_are_edits_of_one_file() -> None:
    entries: list[dict[str, Any]] = [
        {"path": "/f", "settings": {"format": "ini", "section": "A", "values": {"k": 1}}, "mode": "0600"},
        {"path": "/f", "block": {"name": "more", "text": "x"}, "validate": ["true", "%s"]},
    ]
    (change,) = plan(entries, {})
    assert change.after == Found(b"[A]\nk=1\n# BEGIN bulwark more\nx\n# END bulwark more\n", 0o600, 0, 0)
    assert change.validate == (("true", "%s"),)
    assert change.action == "created"


def test_absent_and_optional_files() -> None:
    tree = {"/there": found("x")}
    entries = [{"path": "/there", "state": "absent"}, {"path": "/gone", "state": "absent"}]
    assert [change.path for change in plan(entries, tree)] == ["/there"]
    assert plan([{"path": "/gone", "content": "x", "only_if_exists": True}], tree) == ()


def test_an_entry_without_content_leaves_it() -> None:
    tree = {"/f": found("x")}
    (change,) = plan([{"path": "/f", "mode": "0600", "owner": "me"}], tree)
    assert change.after == Found(b"x", 0o600, 2, 0)
    assert change.what == ("owner", "mode")


@pytest.mark.parametrize(
    ("text", "block", "expected"),
    [
        ("a\n", Block("n", "x\n", "end"), "a\n# BEGIN bulwark n\nx\n# END bulwark n\n"),
        ("a", Block("n", "x\n", "end"), "a\n# BEGIN bulwark n\nx\n# END bulwark n\n"),
        ("#!/bin/sh\na\n", Block("n", "x\n", "start"), "#!/bin/sh\n# BEGIN bulwark n\nx\n# END bulwark n\na\n"),
        ("a\n# BEGIN bulwark n\nold\n# END bulwark n\nb\n", Block("n", "x\n", "start"),
         "a\n# BEGIN bulwark n\nx\n# END bulwark n\nb\n"),
        ("a\n# BEGIN bulwark n\nold\n# END bulwark n\nb\n", Block("n", ""), "a\nb\n"),
    ],
)  # fmt: skip
def test_a_block_is_there_once_and_keeps_its_place(text: str, block: Block, expected: str) -> None:
    assert files.with_block(text, block) == expected


@pytest.mark.parametrize("text", ["# BEGIN bulwark n\nx\n", "x\n# END bulwark n\n"])
def test_half_a_block_is_left_to_a_person(text: str) -> None:
    with pytest.raises(Refused, match="repair it by hand"):
        files.with_block(text, Block("n", "y\n"), "/f")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"path": "relative"}, r"files\[0\].path is 'relative'; a path is absolute"),
        ({"path": "/a/../b"}, "a path is absolute, without //"),
        ({"path": "/a//b"}, "a path is absolute, without //"),
        ({"path": "/a/"}, "a path is absolute, without //"),
        ({"path": "/f", "content": "x", "block": {"name": "n"}}, "has content and block; give one of them"),
        ({"path": "/f", "state": "absent", "content": "x"}, "is to be absent and has content"),
        ({"path": "/f", "mode": "rw"}, "three or four octal digits"),
        ({"path": "/f", "mode": "0888"}, "three or four octal digits"),
        ({"path": "/f", "content": "", "validate": ["visudo", "-c"]}, "has no %s"),
        ({"path": "/f", "settings": {"format": "xml", "values": {"a": 1}}}, "accepted are space, equals, ini"),
        (
            {"path": "/f", "settings": {"format": "space", "section": "A", "values": {"a": 1}}},
            "only format ini has sections",
        ),
        ({"path": "/f", "settings": {"format": "ini", "section": "[A]", "values": {"a": 1}}}, "named without brackets"),
        ({"path": "/f", "settings": {"format": "ini", "flags": ["a"]}}, "no words without a value"),
        ({"path": "/f", "settings": {"format": "equals", "values": {"a b": 1}}}, "'a b' is not a key"),
        ({"path": "/f", "settings": {"format": "equals", "values": {"a": True}}}, "yes and no in quotes"),
        ({"path": "/f", "settings": {"format": "equals", "values": {"a": {"b": 1}}}}, "give a text or a number"),
        ({"path": "/f", "settings": {"format": "equals", "values": {"a": "1\nevil=1"}}}, "a value is one line"),
        ({"path": "/f", "settings": {"format": "equals", "values": {"a": "1\\"}}}, "does not end in a backslash"),
        ({"path": "/f", "settings": {"format": "equals"}}, "neither values nor flags"),
        ({"path": "/f", "block": {"name": "a\nb", "text": "x"}}, "a name is up to 64"),
        ({"path": "/f", "block": {"name": "a", "text": "x\n# END bulwark a\n"}}, "a line that marks a block"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(entry: dict[str, Any], message: str) -> None:
    with pytest.raises(Refused, match=message):
        files.parse([entry])


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({"path": "/f", "content": "x"}, "once with its whole content"),
        ({"path": "/f", "state": "absent"}, "is to be absent"),
        ({"path": "/f", "block": {"name": "n", "text": "y"}}, "two blocks named 'n'"),
        ({"path": "/f", "mode": "0644"}, "different values of mode"),
    ],
)
def test_entries_of_one_path_may_not_contradict_each_other(second: dict[str, Any], message: str) -> None:
    with pytest.raises(Refused, match=message):
        files.parse([{"path": "/f", "block": {"name": "n", "text": "x"}, "mode": "0600"}, second])


def test_commands_run_once_when_something_of_theirs_changed_or_is_owed() -> None:
    commands = files.parse_commands(
        [
            {"argv": ["reload"], "when_changed": ["/etc/a/*", "/etc/b"]},
            {"argv": ["other"], "when_changed": ["/etc/c"]},
            {"argv": ["reload"], "when_changed": ["/etc/d"]},
        ]
    )
    assert files.due(commands, ["/etc/a/x/y", "/etc/d"]) == [("reload",)]
    assert files.due(commands, [], [("other",), ("unknown",)]) == [("other",)]
    assert files.due(commands, []) == []
    for wrong in ({"argv": [], "when_changed": ["/a"]}, {"argv": ["x"], "when_changed": []}):
        with pytest.raises(Refused, match=r"commands_after\[0\]"):
            files.parse_commands([wrong])


def test_what_not_everybody_may_read_is_not_shown() -> None:
    changes = plan([{"path": "/f", "content": "hunter2", "mode": "0640"}], {"/f": found("old")})
    assert "hunter2" not in str(files.diff(changes))
    entries: list[dict[str, Any]] = [
        {"content": "hunter2 hunter2", "mode": "0640"},
        {"content": "everybody may read it", "mode": "0644"},
        {"settings": {"values": {"key": "grub.pbkdf2", "short": "on"}}, "mode": "0600"},
        {"block": {"text": "a block of it"}, "mode": "0600"},
    ]
    assert files.secrets(entries) == {"hunter2 hunter2", "grub.pbkdf2", "a block of it"}


LINE = st.sampled_from(
    [
        "# KEY=1",
        "KEY=1",
        "KEY = 2",
        "KEY 3",
        "KEY",
        "; KEY=4",
        "[A]",
        "[B]",
        "",
        "  OTHER=5",
        "x \\",
        "\\",
        "#\\",
        "\t",
        "\r",
    ]
)
TEXT = st.builds(lambda lines, end: "\n".join(lines) + end, st.lists(LINE, max_size=12), st.sampled_from(["", "\n"]))
VALUE = st.one_of(
    st.none(), st.sampled_from(["", "1", "2 3", "a=b", "# x", "[A]"]), st.lists(st.sampled_from(["1", "9"]), max_size=3)
)
KEYS = st.dictionaries(st.sampled_from(["KEY", "OTHER", "x"]), VALUE, min_size=1, max_size=3)


@given(
    text=TEXT, form=st.sampled_from(["space", "equals", "ini"]), section=st.sampled_from(["", "A", "C"]), values=KEYS
)
def test_a_second_plan_finds_nothing(text: str, form: str, section: str, values: dict[str, Any]) -> None:
    section = section if form == "ini" else ""
    once = edited(text, form, values, section)
    assert edited(once, form, values, section) == once


@given(text=TEXT, values=KEYS)
def test_lines_that_an_edit_is_not_about_stay_byte_for_byte(text: str, values: dict[str, Any]) -> None:
    settings = Settings("equals", "", tuple((key, files._values(value, "")) for key, value in values.items()))
    after = files.with_settings(text, settings)

    def others(content: str) -> list[str]:
        lines = files._logical_lines(content, "equals")
        # A last line without an end gets one, and one that would draw the next line in gets an empty one after it.
        kept = [line.rstrip("\n") for line in lines if files._assignment(line, "equals")[0] not in values]
        return [line for line in kept if line]

    assert others(after) == others(text)


@given(
    text=TEXT,
    name=st.sampled_from(["a", "b"]),
    body=st.sampled_from(["", "x\n", "y\nz\n"]),
    at=st.sampled_from(["start", "end"]),
)
def test_a_block_is_stable_and_can_be_taken_out_again(text: str, name: str, body: str, at: str) -> None:
    once = files.with_block(text, Block(name, body, at))
    assert files.with_block(once, Block(name, body, at)) == once
    assert files.with_block(once, Block(name, "")).strip("\n") == text.strip("\n")
