# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From actual to wished privileges: every REVOKE is one that the server takes, and nothing is left to do after it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.bulwark.hardening.plugins.module_utils.postgresql import scram
from ansible_collections.bulwark.hardening.plugins.module_utils.postgresql.grants import (
    append_only,
    model,
    planner,
    privileges,
)
from ansible_collections.bulwark.hardening.plugins.module_utils.postgresql.grants.state import (
    Cluster,
    Contents,
    DefaultEntry,
    Entry,
    Item,
    Membership,
    RoleState,
    born_with,
    new_database,
    own_privileges,
)
from ansible_collections.bulwark.hardening.plugins.module_utils.postgresql.server import Refused

OWNER, OTHERS = "owner", ("app", "auditor", "stranger")
NAMES = ("SELECT", "INSERT", "UPDATE", "DELETE")
COLUMNS = ("", "id", "note")


def table(*entries: Entry, owner: str = OWNER, name: str = "audit") -> Item:
    return Item("TABLE", "public", name, owner, (*own_privileges("TABLE", owner, 17), *entries), columns=COLUMNS[1:])


@st.composite
def tables(draw: st.DrawFn) -> Item:
    """A table as a server could hold it: whoever passes a privilege on has it, and may."""
    entries: dict[tuple[str, str, str, str], Entry] = {}
    able = {(name, column): [OWNER] for name in NAMES for column in COLUMNS}
    for _number in range(draw(st.integers(0, 14))):
        privilege, column = draw(st.sampled_from(NAMES)), draw(st.sampled_from(COLUMNS))
        # Of the whole table or of this column; never back to whom it comes from.
        grantor = draw(st.sampled_from(sorted({*able[privilege, ""], *able[privilege, column]})))
        grantee = draw(st.sampled_from([name for name in (*OTHERS, model.PUBLIC) if name != grantor]))
        if grantor != OWNER and any(e.grantor == grantee and e.grantee == grantor for e in entries.values()):
            continue
        grantable = grantee != model.PUBLIC and draw(st.booleans())
        key = (grantee, grantor, privilege, column)
        grantable = grantable or (key in entries and entries[key].grantable)
        entries[key] = Entry(grantee, grantor, privilege, column, grantable)
        if grantable and column == "" and grantor == OWNER:
            able[privilege, ""].append(grantee)
    return table(*entries.values())


wishes = st.sets(st.tuples(st.sampled_from((*OTHERS, model.PUBLIC)), st.sampled_from(NAMES), st.sampled_from(COLUMNS)))


def applied(item: Item, steps: Iterable[privileges.Step]) -> Item:
    """Do what the server does. A privilege that another one rests on is not revoked without CASCADE."""
    held = {(e.grantee, e.grantor, e.privilege, e.column): e for e in item.entries}
    for step in sorted(steps, key=lambda step: (step.verb == privileges.GRANT, step.rank)):
        key = (step.grantee, step.grantor, step.privilege, step.column)
        if step.verb == privileges.GRANT:
            held.setdefault(key, Entry(*key))
            continue
        gone = [found for found in held if found == key or (not step.column and found[:3] == key[:3])]
        for found in gone:
            if step.verb == privileges.REVOKE_OPTION:
                held[found] = Entry(*found)
            else:
                del held[found]
        for left in held.values():
            rests = left.grantor == step.grantee and left.privilege == step.privilege and left.grantor != OWNER
            if rests and step.column in ("", left.column):
                able = any(
                    e.grantee == left.grantor and e.grantable and e.privilege == left.privilege
                    and e.column in ("", left.column)
                    for e in held.values()
                )  # fmt: skip
                assert able, f"{step} would need CASCADE because of {left}"
    return Item(item.kind, item.schema, item.name, item.owner, tuple(held.values()), columns=item.columns)


@given(tables(), wishes)
def test_what_was_planned_leaves_nothing_to_plan(item: Item, wished: set[privileges.Key]) -> None:
    wished |= {privileges.key_of(entry) for entry in own_privileges("TABLE", OWNER, 17)}
    after = applied(item, privileges.steps(item, wished))
    assert {privileges.key_of(entry) for entry in after.entries} == wished
    assert not any(entry.grantable for entry in after.entries)
    assert privileges.steps(after, wished) == []


@given(tables())
def test_privileges_of_nobody_concerned_stay(item: Item) -> None:
    assert privileges.steps(item, (), lambda entry: False) == []


def test_objects_that_change_alike_share_a_statement() -> None:
    items = [table(Entry("app", OWNER, "DELETE"), name=f"t{number}") for number in range(3)]
    wished = {privileges.key_of(entry) for entry in own_privileges("TABLE", OWNER, 17)}
    found = privileges.statements([step for item in items for step in privileges.steps(item, wished)], {})
    assert sql(found) == ["REVOKE DELETE ON TABLE public.t0, public.t1, public.t2 FROM app"]


def test_what_others_gave_is_revoked_in_their_name() -> None:
    item = table(Entry("app", OWNER, "SELECT", grantable=True), Entry("auditor", "app", "SELECT"))
    wished = {privileges.key_of(entry) for entry in own_privileges("TABLE", OWNER, 17)}
    schema = Item("SCHEMA", "", "public", OWNER, (Entry("app", OWNER, "USAGE"),))
    first, second = sql(privileges.statements(privileges.steps(item, wished), {"public": schema}))
    assert first == "SET LOCAL ROLE app; REVOKE SELECT ON TABLE public.audit FROM auditor; SET LOCAL ROLE NONE"
    assert second == "REVOKE SELECT ON TABLE public.audit FROM app"
    blind = Item("SCHEMA", "", "public", OWNER)
    first, _second = sql(privileges.statements(privileges.steps(item, wished), {"public": blind}))
    assert first.startswith("GRANT USAGE ON SCHEMA public TO app; SET LOCAL ROLE app;")
    assert first.endswith("; REVOKE USAGE ON SCHEMA public FROM app")


def state(name: str, **changes: Any) -> RoleState:
    values: dict[str, Any] = {
        "login": False, "inherit": True, "superuser": False, "createrole": False, "createdb": False,
        "replication": False, "bypassrls": False, "connection_limit": -1,
    }  # fmt: skip
    return RoleState(name, **{**values, **changes})


def cluster(*roles: RoleState, major: int = 17, memberships: tuple[Membership, ...] = ()) -> Cluster:
    everybody = {role.name: role for role in (state("postgres", login=True, superuser=True), *roles)}
    database = Item("DATABASE", "", "shop", OWNER, born_with("DATABASE", OWNER, major))
    return Cluster(major, "postgres", "postgres", everybody, memberships, {"shop": database})


SHOP: dict[str, Any] = {
    "roles": [{"name": OWNER}, {"name": "app", "login": True}],
    "databases": [
        {
            "name": "shop",
            "owner": OWNER,
            "grants": [{"roles": ["app"], "privileges": ["CONNECT"]}],
            "schemas": [
                {
                    "name": "public",
                    "owner": OWNER,
                    "objects_owner": OWNER,
                    "grants": [{"roles": ["app"], "privileges": ["USAGE"]}],
                    "tables": [
                        {
                            "names": ["audit"],
                            "append_only": True,
                            "grants": [{"roles": ["app"], "privileges": ["SELECT", "INSERT"]}],
                        }
                    ],
                }
            ],
        }
    ],
}


def shop(*items: Item, **more: Any) -> Contents:
    schema = Item("SCHEMA", "", "public", OWNER, born_with("SCHEMA", OWNER, 17))
    return Contents("shop", (schema, *items), **more)


def sql(statements: Iterable[privileges.Statement]) -> list[str]:
    """Return the statements without the quotes that every name has in them."""
    return [statement.sql.replace('"', "") for statement in statements]


def test_roles_are_made_with_exactly_their_attributes() -> None:
    wish = model.parse(SHOP)
    made = planner.plan_cluster(wish, cluster())
    powerless = "INHERIT NOSUPERUSER NOCREATEROLE NOCREATEDB NOREPLICATION NOBYPASSRLS CONNECTION LIMIT -1"
    assert sql(made.statements) == [
        f"CREATE ROLE owner NOLOGIN {powerless}",
        f"CREATE ROLE app LOGIN {powerless}",
        "REVOKE CONNECT, TEMPORARY ON DATABASE shop FROM PUBLIC",
        "GRANT CONNECT ON DATABASE shop TO app",
    ]
    changed = planner.plan_cluster(wish, cluster(state(OWNER, superuser=True), state("app", login=True)))
    assert sql(changed.statements)[0] == "ALTER ROLE owner NOSUPERUSER"


def test_a_password_is_a_verifier_and_never_shown() -> None:
    wish = model.parse({"roles": [{"name": "app", "login": True, "password": "canary-1f2e"}]})
    made = planner.plan_cluster(wish, cluster(state("app", login=True)))
    (statement,) = made.roles
    verifier = statement.secret.strip("'")
    assert scram.matches(verifier, "canary-1f2e")
    assert "canary" not in statement.sql
    assert statement.shown == 'ALTER ROLE "app" PASSWORD ********'
    again = planner.plan_cluster(wish, cluster(state("app", login=True, verifier=verifier)))
    assert again.statements == ()


@pytest.mark.parametrize(
    ("major", "found", "expected"),
    [
        (15, (), ["GRANT shop_group TO app"]),
        (17, (), ["GRANT shop_group TO app WITH INHERIT TRUE, SET TRUE"]),
        (17, (Membership("shop_group", "app", "postgres"),), []),
        (
            17,
            (Membership("shop_group", "app", "postgres", inherit=False),),
            ["GRANT shop_group TO app WITH INHERIT TRUE, SET TRUE"],
        ),
        (
            17,
            (Membership("shop_group", "app", "postgres", admin=True),),
            ["REVOKE ADMIN OPTION FOR shop_group FROM app"],
        ),
        (
            17,
            (Membership("shop_group", "app", "postgres"), Membership("other", "app", "postgres")),
            ["REVOKE other FROM app"],
        ),
        (
            17,
            (
                Membership("other", "app", "postgres", admin=True),
                Membership("other", "auditor", "app"),
                Membership("shop_group", "app", "postgres"),
            ),
            ["REVOKE other FROM auditor GRANTED BY app", "REVOKE other FROM app"],
        ),
    ],
)
def test_memberships(major: int, found: tuple[Membership, ...], expected: list[str]) -> None:
    roles = [{"name": "shop_group"}, {"name": "app", "login": True, "member_of": ["shop_group"]}]
    there = [state(name) for name in ("shop_group", "other", "auditor")]
    made = planner.plan_cluster(
        model.parse({"roles": roles}), cluster(*there, state("app", login=True), major=major, memberships=found)
    )
    assert sql(made.statements) == expected


def test_a_database_is_brought_to_the_wish_once() -> None:
    wish = model.parse(SHOP)
    (database,) = wish.databases
    item = Item("TABLE", "public", "audit", "app", own_privileges("TABLE", "app", 17), columns=("id",))
    made = planner.plan_database(wish, database, cluster(), shop(item))
    assert sql(made) == [
        "ALTER TABLE public.audit OWNER TO owner",
        "GRANT SELECT, INSERT ON TABLE public.audit TO app",
        "GRANT USAGE ON SCHEMA public TO app",
    ]
    owned = table(Entry("app", OWNER, "SELECT"), Entry("app", OWNER, "INSERT"))
    schema = Item("SCHEMA", "", "public", OWNER, (*born_with("SCHEMA", OWNER, 17), Entry("app", OWNER, "USAGE")))
    assert planner.plan_database(wish, database, cluster(), Contents("shop", (schema, owned))) == ()


def test_default_privileges_that_nobody_wishes_go() -> None:
    wish = model.parse(SHOP)
    (database,) = wish.databases
    entry = DefaultEntry(OWNER, "public", "TABLE", (Entry(model.PUBLIC, OWNER, "SELECT"),))
    schema = Item("SCHEMA", "", "public", OWNER, (*born_with("SCHEMA", OWNER, 17), Entry("app", OWNER, "USAGE")))
    owned = table(Entry("app", OWNER, "SELECT"), Entry("app", OWNER, "INSERT"))
    made = planner.plan_database(wish, database, cluster(), Contents("shop", (schema, owned), (entry,)))
    assert sql(made) == ["ALTER DEFAULT PRIVILEGES FOR ROLE owner IN SCHEMA public REVOKE SELECT ON TABLES FROM PUBLIC"]


def test_what_is_missing_and_what_no_rule_is_about_is_named() -> None:
    (database,) = model.parse(SHOP).databases
    assert planner.missing(database, shop()) == ['table "public"."audit"']
    extra = Item("TABLE", "public", "later", OWNER)
    assert planner.missing(database, shop(table(), extra)) == []
    assert planner.without_rule(database, shop(table(), extra)) == ['"public"."later"']


def test_a_new_database_holds_the_schema_public_only() -> None:
    inside = new_database("shop", "postgres", 15, True)
    assert [(item.kind, item.name, item.owner) for item in inside.items] == [("SCHEMA", "public", "pg_database_owner")]
    old = new_database("shop", "postgres", 13, True)
    assert Entry(model.PUBLIC, "postgres", "CREATE") in old.items[0].entries


@pytest.mark.parametrize(
    ("roles", "memberships", "words"),
    [
        ([{"name": "postgres"}], (), "the administrator's role"),
        ([{"name": "app", "member_of": ["postgres"]}], (), "a superuser, and so one itself"),
        ([{"name": "app", "member_of": ["nobody"]}], (), "does not exist; add it to roles"),
        (
            [{"name": "app", "member_of": ["auditor"]}],
            (Membership("app", "auditor", "postgres"),),
            "through roles that the wish does not name",
        ),
    ],
)
def test_roles_that_must_not_be(roles: list[Any], memberships: tuple[Membership, ...], words: str) -> None:
    found = planner.problems(model.parse({"roles": roles}), cluster(state("auditor"), memberships=memberships))
    assert len(found) == 1
    assert words in found[0]


def test_a_role_of_somebody_else_is_adopted_by_choice_only() -> None:
    there = cluster(state("app", elsewhere=("ledger",)))
    assert "owns objects in 'ledger'" in planner.problems(model.parse({"roles": [{"name": "app"}]}), there)[0]
    assert planner.problems(model.parse({"roles": [{"name": "app", "adopt": True}]}), there) == []


def with_audit(**changes: Any) -> model.Wish:
    """Return the wish for the shop with another entry for its audit table."""
    database = SHOP["databases"][0]
    schema = database["schemas"][0]
    changed = {**schema, "tables": [{**schema["tables"][0], **changes}]}
    return model.parse({**SHOP, "databases": [{**database, "schemas": [changed]}]})


@pytest.mark.parametrize("privilege", ["UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER", "ALL"])
def test_no_privilege_that_changes_rows_is_given_on_an_append_only_table(privilege: str) -> None:
    wish = with_audit(grants=[{"roles": ["app"], "privileges": [privilege]}])
    (problem,) = append_only.problems(wish, cluster(), {"shop": shop(table())})
    assert f"is append_only, and 'app' would have {privilege} on it" in problem


@pytest.mark.parametrize(
    ("roles", "memberships", "words"),
    [
        ([{"name": "app", "login": True, "bypassrls": True}], (), "has BYPASSRLS"),
        ([{"name": "app", "login": True, "createrole": True}], (), "has CREATEROLE"),
        ([{"name": "app", "login": True, "member_of": [OWNER]}], (), "is a member of 'owner'"),
        (
            [{"name": "app", "login": True}],
            (Membership(OWNER, "stranger", "postgres"),),
            "which the wish does not know",
        ),
        (
            [{"name": "app", "login": True}],
            (Membership("pg_write_all_data", "stranger", "postgres"),),
            "writes to every append-only table",
        ),
    ],
)
def test_roles_that_could_tamper_are_refused(roles: list[Any], memberships: tuple[Membership, ...], words: str) -> None:
    wish = model.parse({**SHOP, "roles": [{"name": OWNER}, *roles]})
    there = cluster(state("stranger", login=True), state("pg_write_all_data"), memberships=memberships)
    found = append_only.problems(wish, there, {"shop": shop(table())})
    assert any(words in problem for problem in found), found


def test_who_works_with_an_append_only_table_does_not_own_it() -> None:
    wish = model.parse({**SHOP, "databases": [{**SHOP["databases"][0], "owner": "app"}]})
    found = append_only.problems(wish, cluster(), {"shop": shop(table())})
    assert any("owns the database 'shop'" in problem for problem in found)


def test_a_sequence_that_numbers_an_append_only_table_is_not_set_back() -> None:
    database = SHOP["databases"][0]
    schema = database["schemas"][0]
    sequences = [{"names": ["audit_id_seq"], "grants": [{"roles": ["app"], "privileges": ["USAGE", "UPDATE"]}]}]
    wish = model.parse({**SHOP, "databases": [{**database, "schemas": [{**schema, "sequences": sequences}]}]})
    sequence = Item("SEQUENCE", "public", "audit_id_seq", OWNER, linked=True)
    inside = shop(table(), sequence, numbering={("public", "audit"): (("public", "audit_id_seq"),)})
    (problem,) = append_only.problems(wish, cluster(), {"shop": inside})
    assert "would have UPDATE on" in problem
    assert "audit_id_seq" in problem


def test_what_the_server_itself_says_counts_last() -> None:
    wish = model.parse(SHOP)
    inside = shop(table(), effective=(("public", "audit", "stranger", "DELETE"),))
    (problem,) = append_only.effective(wish, cluster(state("stranger", login=True)), {"shop": inside})
    assert "stranger" in problem
    assert "DELETE" in problem
    assert append_only.effective(wish, cluster(), {"shop": shop(table())}) == []


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ({"roles": [{"name": "pg_monitor"}]}, "roles[0].name: 'pg_monitor' is one of PostgreSQL's own roles"),
        ({"roles": [{"name": "none"}]}, "roles[0].name: 'none' is no role"),
        ({"roles": [{"name": "a"}, {"name": "a"}]}, "roles[1].name: 'a' is also the name of roles[0]"),
        ({"roles": [{"name": "a", "connection_limit": -2}]}, "roles[0].connection_limit: -2 is not accepted"),
        ({"roles": [{"name": "a", "password": "x", "verifier": "y"}]}, "password and verifier are both given"),
        ({"roles": [{"name": "a", "verifier": "md5abc"}]}, "roles[0].verifier: this is no SCRAM-SHA-256 verifier"),
        ({"roles": [{"name": "a", "login": "maybe"}]}, "roles[0].login: 'maybe' is not accepted"),
        ({"roles": [{"name": "a", "colour": 1}]}, "roles[0].colour: there is no such key"),
        (
            {"roles": [{"name": "a", "member_of": ["b"]}, {"name": "b", "member_of": ["a"]}]},
            "roles: 'a' would be a member of itself",
        ),
        (
            {"databases": [{"name": "d", "schemas": [{"name": "pg_catalog"}]}]},
            "databases[0].schemas[0].name: 'pg_catalog' is one of PostgreSQL's own schemas",
        ),
        (
            {"databases": [{"name": "d", "grants": [{"roles": ["a"], "privileges": ["DELETE"]}]}]},
            "databases[0].grants[0].privileges[0]: 'DELETE' cannot be granted on a database",
        ),
        ({"databases": [{"schemas": []}]}, "databases[0].name: is missing"),
    ],
)
def test_bad_input_is_named_by_its_path(wish: dict[str, Any], words: str) -> None:
    with pytest.raises(Refused) as refused:
        model.parse(wish)
    assert words in str(refused.value)


def test_a_secret_of_the_wrong_type_is_not_shown() -> None:
    with pytest.raises(Refused) as refused:
        model.parse({"roles": [{"name": "a", "password": ["canary-77"]}]})
    assert "canary" not in str(refused.value)


def test_patterns_know_stars_and_question_marks_only() -> None:
    assert model.matches(["events*"], "events2")
    assert not model.matches(["events[12]"], "events2")
    assert model.matches(["events[12]"], "events[12]")
    assert model.matches(["event?[1]*"], "events[1]x")
