# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state machine and the journal's text form."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.bulwark.hardening.plugins.module_utils.transaction.state import (
    CLOSED_PHASES,
    MOVES,
    Command,
    FileState,
    IllegalMove,
    Journal,
    Moment,
    Phase,
    RestorePlan,
    advance,
)

AT = "2026-11-26T00:00:00Z"
LEGAL = {
    ("PLANNED", "ARMED"), ("PLANNED", "ROLLED_BACK"),
    ("ARMED", "APPLYING"), ("ARMED", "ROLLING_BACK"),
    ("APPLYING", "APPLIED"), ("APPLYING", "ROLLING_BACK"),
    ("APPLIED", "COMMITTING"), ("APPLIED", "ROLLING_BACK"),
    ("COMMITTING", "COMMITTED"), ("COMMITTING", "ROLLING_BACK"),
    ("ROLLING_BACK", "ROLLING_BACK"), ("ROLLING_BACK", "ROLLED_BACK"), ("ROLLING_BACK", "ROLLBACK_FAILED"),
    ("ROLLBACK_FAILED", "ROLLING_BACK"), ("ROLLBACK_FAILED", "ROLLBACK_FAILED"),
}  # fmt: skip

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
counts = st.integers(0, 2**40)
states = st.builds(
    FileState, texts, st.sampled_from(["file", "absent", "link", "directory"]), counts, counts, counts, counts, texts,
    texts, st.lists(st.tuples(texts, texts), max_size=2).map(tuple),
)  # fmt: skip
commands = st.builds(
    Command, st.lists(words, min_size=1, max_size=3).map(tuple), st.floats(0, 600), st.booleans(), st.booleans(),
    st.lists(st.tuples(words, words), max_size=2).map(tuple),
)  # fmt: skip
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | counts | texts, lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
    max_leaves=5,
)  # fmt: skip
objects = st.dictionaries(texts, json_values, max_size=3)
journals = st.builds(
    Journal,
    id=texts, domain=texts, generation=st.integers(1, 10**6), phase=st.sampled_from(Phase), nonce=texts,
    created_at=texts, deadline=texts, boottime_deadline=st.floats(0, 1e9), boot_id=texts, window_seconds=counts,
    ports=st.lists(st.integers(1, 65535), max_size=3).map(tuple), session_client=texts,
    restore=st.builds(
        RestorePlan, st.lists(states, max_size=3).map(tuple), st.lists(commands, max_size=2).map(tuple),
        st.lists(commands, max_size=2).map(tuple),
    ),
    verdicts=st.lists(objects, max_size=2).map(tuple), reason=texts,
    history=st.lists(st.builds(Moment, st.sampled_from(Phase), texts, texts), max_size=3).map(tuple), data=objects,
)  # fmt: skip


@pytest.mark.parametrize("start", list(Phase))
@pytest.mark.parametrize("goal", list(Phase))
def test_exactly_the_documented_moves_are_legal(start: Phase, goal: Phase) -> None:
    journal = make(phase=start)
    if (start.value, goal.value) in LEGAL:
        assert advance(journal, goal, AT).phase is goal
    else:
        with pytest.raises(IllegalMove, match=f"is {start.value} and cannot become {goal.value}"):
            advance(journal, goal, AT)


def test_every_armed_phase_leads_back() -> None:
    for phase in set(Phase) - CLOSED_PHASES - {Phase.PLANNED}:
        assert Phase.ROLLING_BACK in MOVES[phase]


@given(journals, texts)
def test_a_legal_move_adds_one_generation_and_one_line_of_history(journal: Journal, reason: str) -> None:
    for goal in MOVES[journal.phase]:
        following = advance(journal, goal, AT, reason, [{"passed": True}])
        assert following.generation == journal.generation + 1
        assert following.history == (*journal.history, Moment(goal, AT, reason))
        assert following.reason == (reason or journal.reason)
        assert following.verdicts[-1] == {"passed": True}
        assert following.restore == journal.restore


@given(journals)
def test_a_journal_survives_its_text_form(journal: Journal) -> None:
    assert Journal.from_json(journal.to_json()) == journal


@given(journals, st.data())
def test_a_damaged_journal_is_refused_and_never_half_read(journal: Journal, data: st.DataObject) -> None:
    text = journal.to_json().rstrip("\n")
    with pytest.raises(ValueError, match=r".+"):
        Journal.from_json(text[: data.draw(st.integers(0, len(text) - 1))])


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("generation", "1", "journal.generation is not int"),
        ("generation", True, "journal.generation is not int"),
        ("phase", "HALFWAY", "HALFWAY"),
        ("ports", [22, "22"], r"journal.ports\[1\] is not int"),
        ("ports", 22, "journal.ports is not a list"),
        ("schema", 2, "its schema is 2 and this version reads 1"),
        ("restore", [], "journal.restore is not an object"),
        ("data", [], "journal.data is not an object"),
        ("history", [{}], r"journal.history\[0\] has unknown or missing fields: at, phase, reason"),
        ("surprise", 1, "unknown or missing fields: surprise"),
    ],
)
def test_a_wrong_field_is_named(field: str, value: object, message: str) -> None:
    raw = json.loads(make().to_json())
    raw[field] = value
    with pytest.raises(ValueError, match=message):
        Journal.from_json(json.dumps(raw))


@pytest.mark.parametrize("argv", [(), ("a\0b",), ("ok", "a\0")])
def test_a_command_without_a_program_or_with_nul_is_refused(argv: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="a command needs a program"):
        Command(argv)


def make(**fields: Any) -> Journal:
    base: dict[str, Any] = {
        "id": "20261126T000000Z-00000000", "domain": "test", "generation": 1, "phase": Phase.PLANNED, "nonce": "n",
        "created_at": AT, "deadline": AT, "boottime_deadline": 1.0, "boot_id": "b", "window_seconds": 90,
    }  # fmt: skip
    return Journal(**{**base, **fields})
