# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the transition log is told, the SQL that makes it, and what differs from it."""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.bulwark.hardening.plugins.module_utils.postgresql.server import Refused
from ansible_collections.bulwark.hardening.plugins.module_utils.postgresql.transition_log import (
    expected,
    model,
    statements,
)

DEFAULTS: dict[str, t.Any] = {"log_schema": "audit", "owner_role": "owner", "writer_role": "writer",
                              "reader_role": "reader", "guards": []}  # fmt: skip
ORDERS: dict[str, t.Any] = {"name": "orders", "key": "id", "state": "state", "hidden": ["card"], "ignored": ["seen"]}
PROFILES = Path(__file__).resolve().parents[5] / "roles/postgresql/transition_logs"


def policy(**changes: t.Any) -> model.Policy:
    return model.parse({**DEFAULTS, "tables": [ORDERS, {"name": "ledger", "append_only": True}], **changes})


def one_table(**changes: t.Any) -> dict[str, t.Any]:
    return {"tables": [{**ORDERS, **changes}]}


def guarded(**guard: t.Any) -> dict[str, t.Any]:
    return {"guards": [{"name": "g", "table": "orders", **guard}]}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (one_table(key=None), "tables[0] (public.orders) has no key"),
        (one_table(key="a\0"), "NUL"),
        (one_table(name="x" * 64), "64 bytes"),
        (one_table(hidden=["state"]), "'state' is hidden and also key or state"),
        (one_table(ignored=["id"]), "'id' is ignored and also key or state"),
        (one_table(ignored=["card"]), "'card' is hidden and also ignored"),
        (one_table(hidden=["card", "card"]), "'card' is there twice"),
        (one_table(append_only=True), "append_only, whose changes are refused instead of recorded"),
        (one_table(schema="audit"), "part of the log itself"),
        ({"tables": [ORDERS, ORDERS]}, "'public.orders' is there twice"),
        ({"reader_role": "owner"}, "three different roles"),
        ({"owner_role": ""}, "owner_role: a name is empty"),
        ({"log_schema": "pg_audit"}, "names that start with pg_ are PostgreSQL's own"),
        (guarded(), "needs either check, or when together with set_null"),
        (guarded(check="true", when="true", set_null=["a"]), "needs either check, or when"),
        (guarded(when="true"), "needs either check, or when"),
        (guarded(check="true; DROP TABLE orders"), "outside of quotes"),
        (guarded(check="true) OR (true"), "closes a parenthesis that it did not open"),
        (guarded(check="true)"), "closes a parenthesis that it did not open"),
        (guarded(check="(true"), "leaves a parenthesis open"),
        (guarded(check="NEW.a = 'b"), "lacks the closing '"),
        (guarded(check="true -- no more"), "outside of quotes"),
        (guarded(check="/* */ true"), "outside of quotes"),
        (guarded(check="$$a$$ = 'a'"), "outside of quotes"),
        (guarded(check="true", name="record"), "the name of one of the log's own triggers"),
        (guarded(check="true", name="n" * 60), "68 bytes"),
    ],
)
def test_a_bad_policy_is_refused_with_what_is_wrong(changes: dict[str, t.Any], words: str) -> None:
    with pytest.raises(Refused) as refusal:
        policy(**changes)
    assert words in str(refusal.value)


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(Refused, match=r"three different roles.*has no key"):
        policy(**one_table(key=None), reader_role="owner")


def test_a_guard_that_is_not_enabled_is_not_there() -> None:
    assert policy(**guarded(check="not even SQL (", enabled=False)).guards == ()


@given(st.text(alphabet="ab ()'\";-/*$\\", max_size=12))
def test_a_condition_that_passes_cannot_end_its_parentheses(text: str) -> None:
    if model.condition_problem(text):
        return
    outside = re.sub(r"'[^']*'|\"[^\"]*\"", "", text)
    assert not set(outside) & set("';\"$\\")
    assert "--" not in outside
    assert "/*" not in outside
    assert outside.count("(") == outside.count(")")


@given(st.lists(st.text(min_size=1, max_size=70), min_size=2, max_size=2, unique=True))
def test_function_names_are_unique_and_fit(names: list[str]) -> None:
    first, second = (model.function_name("record", "public", name) for name in names)
    assert first != second
    assert max(len(name.encode("utf-8", "surrogatepass")) for name in (first, second)) <= 63


def test_recording_resolves_nothing_by_the_callers_path() -> None:
    source = statements.record_source(policy(), policy().recorded[0])
    literals_gone = re.sub(r"'(?:[^']|'')*'", "''", source)
    assert (
        re.findall(r"(?<!OPERATOR\(pg_catalog\.)(?<![:])(<>|->>|\|\||\*=|=(?!\)))", literals_gone.replace(":=", ""))
        == []
    )
    assert re.findall(r"::(?!pg_catalog\.)\w+", literals_gone) == []
    called = set(re.findall(r"(\S*?\b\w+)\(", literals_gone)) - {"OPERATOR", "COALESCE", "VALUES"}
    assert {name.lstrip("(") for name in called if not name.lstrip("(").startswith("pg_catalog.")} <= {"", "transition"}
    # These look up an operator by its bare name, and cannot be told its schema.
    assert not re.search(r"IS (NOT )?DISTINCT|NULLIF|\bIN \(|\bCASE (?!WHEN)|BETWEEN|LIKE", literals_gone)


def test_a_secret_never_enters_a_record() -> None:
    source = statements.record_source(policy(), policy().recorded[0])
    uses = re.findall(r"\w+\.\"card\"[^,)]*", source)
    assert uses
    assert all(
        re.fullmatch(r"(OLD|NEW)\.\"card\" IS NULL THEN NULL ELSE '\[set\]'::pg_catalog\.text END", use) for use in uses
    )


@pytest.mark.parametrize(
    ("types", "names"),
    [
        (["text", "bigint", "jsonb"], []),
        (["text", "timestamp with time zone"], ["TimeZone"]),
        (["text", "double precision"], sorted(statements.PLAIN_TEXT)),
        (["text", "tstzrange"], sorted(statements.PLAIN_TEXT)),
        ([], []),
    ],
)
def test_settings_are_those_that_the_types_need(types: list[str], names: list[str]) -> None:
    assert sorted(statements.settings(types)) == names


def test_tables_that_are_append_only_are_not_recorded() -> None:
    text = "\n".join(statements.triggers(policy()))
    assert 'BEFORE DELETE OR UPDATE ON "public"."ledger"' in text
    assert 'AFTER INSERT OR DELETE OR UPDATE ON "public"."orders"' in text
    assert 'UPDATE ON "public"."ledger" FOR EACH ROW EXECUTE FUNCTION "audit"."record' not in text
    assert text.count("BEFORE TRUNCATE") == 3
    assert text.count("ENABLE ALWAYS") == text.count("CREATE OR REPLACE")


def test_nobody_chooses_number_time_or_login() -> None:
    assert not {"id", "epoch", "transaction_id", "recorded_at", "login", "role", "client_address"} & set(
        statements.WRITTEN
    )
    written = "relation, operation, key, old_state, new_state, before, after"
    assert [text for text in statements.grants(policy()) if "INSERT" in text] == [
        f'GRANT INSERT ({written}) ON "audit"."transition" TO "writer"'
    ]


def test_what_is_on_one_side_only_differs() -> None:
    found = expected.differences({("role", "a"): "x", ("role", "b"): "y"}, {("role", "b"): "z", ("role", "c"): "w"})
    assert [str(difference) for difference in found] == [
        "role a: nothing instead of x",
        "role b: z instead of y",
        "role c: w instead of nothing",
    ]
    assert expected.differences({("casts to json",): ""}, {}) == []


def test_a_guard_is_expected_as_the_server_wrote_it_while_its_wish_is_the_same() -> None:
    wish = policy(**guarded(check="NEW.a > 0"))
    key: expected.Key = ("trigger", "public", "orders", "bulwark_g")
    noted = {key: expected.Noted("NEW.a > 0", "as the server wrote it")}
    other = {key: expected.Noted("NEW.a > 1", "as the server wrote it")}
    assert expected.expected(wish, expected.Observed({}, {}, noted))[key] == "as the server wrote it"
    assert expected.expected(wish, expected.Observed({}, {}, other))[key] == "new: NEW.a > 0"


def test_a_table_that_is_missing_blocks_and_a_role_does_not() -> None:
    found = expected.differences(expected.expected(policy(), expected.Observed({}, {})), {})
    assert {difference.key[0] for difference in found if difference.blocking} == {"table"}
    assert expected.Difference(("attributes of role", "owner"), "", "LOGIN").blocking


@pytest.mark.parametrize(
    ("bits", "words"),
    [
        (1 | 4 | 8 | 16, "AFTER INSERT OR DELETE OR UPDATE FOR EACH ROW"),
        (2 | 32, "BEFORE TRUNCATE FOR EACH STATEMENT"),
        (1 | 64 | 4, "INSTEAD OF INSERT FOR EACH ROW"),
    ],
)
def test_timing_in_words(bits: int, words: str) -> None:
    assert expected.timing(bits) == words


@pytest.mark.parametrize("path", sorted(PROFILES.glob("*.yml")), ids=lambda path: path.stem)
def test_profiles_are_policies(path: Path) -> None:
    profile = yaml.safe_load(path.read_text("utf-8"))
    assert set(profile) <= {"tables", "guards"}
    made = model.parse({**DEFAULTS, **profile})
    assert made.recorded
    for guard in profile["guards"]:
        model.parse({**DEFAULTS, **profile, "guards": [{**guard, "enabled": True}]})
