# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From one set of privileges of an object to another, in an order that never needs CASCADE; pure."""

from __future__ import annotations

import typing as t
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..names import identifier
from .model import PRIVILEGES, PUBLIC
from .state import Entry, Item

# To whom, what, on which column; the owner is who grants.
Key = tuple[str, str, str]

REVOKE = "REVOKE"
REVOKE_OPTION = "REVOKE GRANT OPTION FOR"
GRANT = "GRANT"
# A statement about more objects is split.
OBJECTS_OF_A_STATEMENT = 200
ORDER = {name: index for index, name in enumerate(dict.fromkeys(n for kind in PRIVILEGES.values() for n in kind))}


@dataclass(frozen=True)
class Statement:
    """One change, and the facts that it ends and brings, for people. ``secret`` is what nobody may see of it."""

    sql: str
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    secret: str = ""

    @property
    def shown(self) -> str:
        """The statement as it may be shown."""
        return self.sql.replace(self.secret, "********") if self.secret else self.sql


@dataclass(frozen=True)
class Step:
    """One privilege that comes or goes. Steps of a lower rank come first."""

    rank: int
    verb: str
    item: Item
    grantor: str
    grantee: str
    privilege: str
    column: str


def key_of(entry: Entry) -> Key:
    """Return what the entry gives, whoever gave it."""
    return entry.grantee, entry.privilege, entry.column


def steps(item: Item, wished: Collection[Key], concerned: Callable[[Entry], bool] = lambda _entry: True) -> list[Step]:
    """Return what leads from the privileges of the object to those wished, all given by its owner.

    Entries that are not ``concerned`` stay, unless they rest on one that goes.
    """
    unwished = {
        entry
        for entry in item.entries
        if concerned(entry) and (entry.grantor != item.owner or key_of(entry) not in wished)
    }
    demoted = {entry for entry in item.entries if entry.grantable and concerned(entry) and entry not in unwished}
    _add_dependents(item, unwished, demoted)
    # REVOKE on a table takes the columns along.
    whole = {(entry.grantee, entry.grantor, entry.privilege) for entry in unwished if not entry.column}
    kept = {
        key_of(entry)
        for entry in item.entries
        if entry not in unwished
        and entry.grantor == item.owner
        and not (entry.column and (entry.grantee, entry.grantor, entry.privilege) in whole)
    }
    ranks = _ranks(item, unwished | demoted)
    gone = [
        Step(
            rank, REVOKE if entry in unwished else REVOKE_OPTION, item, entry.grantor, entry.grantee, entry.privilege,
            entry.column,
        )
        for entry, rank in ranks.items()
    ]  # fmt: skip
    last = max(ranks.values(), default=-1) + 1
    return gone + [Step(last, GRANT, item, item.owner, *key) for key in wished if key not in kept]


def _rests_on(later: Entry, earlier: Entry) -> bool:
    """Return whether the server may refuse to revoke ``earlier`` while ``later`` is there."""
    return (
        later.grantor == earlier.grantee
        and later.privilege == earlier.privilege
        and earlier.column in ("", later.column)
        and later is not earlier
    )


def _add_dependents(item: Item, unwished: set[Entry], demoted: set[Entry]) -> None:
    passed_on = [entry for entry in item.entries if entry.grantor != item.owner]
    found = bool(passed_on)
    while found:
        gone = unwished | demoted
        found = False
        for entry in passed_on:
            if entry not in unwished and any(other.grantable and _rests_on(entry, other) for other in gone):
                remaining = (other for other in item.entries if other not in gone)
                if not any(other.grantable and _rests_on(entry, other) for other in remaining):
                    unwished.add(entry)
                    found = True


def _ranks(item: Item, entries: set[Entry]) -> dict[Entry, int]:
    ranks: dict[Entry, int] = {}
    passed_on = [entry for entry in entries if entry.grantor != item.owner]
    rank = 0
    remaining = set(entries)
    while remaining:
        leaves = {entry for entry in remaining if not any(_rests_on(other, entry) for other in passed_on)}
        # Nothing is free in a circle, which only columns of different grants can make; the server decides.
        leaves = leaves or remaining
        ranks.update(dict.fromkeys(leaves, rank))
        remaining -= leaves
        passed_on = [entry for entry in passed_on if entry in remaining]
        rank += 1
    return ranks


def role_sql(name: str) -> str:
    """Return a role as GRANT names it."""
    return "PUBLIC" if name == PUBLIC else identifier(name)


def clause(privileges: Iterable[tuple[str, str]]) -> str:
    """Return privileges as GRANT lists them, from pairs of privilege and column; no column is the whole object."""
    columns: dict[tuple[bool, str], list[str]] = defaultdict(list)
    for privilege, column in privileges:
        columns[(bool(column), privilege)].append(column)
    parts = []
    for (partly, privilege), names in sorted(columns.items(), key=lambda part: (ORDER.get(part[0][1], 99), part[0])):
        listed = f" ({', '.join(identifier(name) for name in sorted(names))})" if partly else ""
        parts.append(f"{privilege}{listed}")
    return ", ".join(parts)


def statements(all_steps: Iterable[Step], schemas: Mapping[str, Item]) -> list[Statement]:
    """Return statements for the steps on any number of objects, as few as possible."""
    by_grantee: dict[tuple[int, str, str, str, Item, str], list[tuple[str, str]]] = defaultdict(list)
    for step in all_steps:
        grantor = "" if step.grantor == step.item.owner else step.grantor
        by_grantee[(step.rank, step.verb, step.item.kind, grantor, step.item, step.grantee)].append(
            (step.privilege, step.column)
        )
    by_item: dict[tuple[int, str, str, str, str, Item], list[str]] = defaultdict(list)
    for (rank, verb, kind, grantor, item, grantee), privileges in by_grantee.items():
        by_item[(rank, verb, kind, grantor, clause(privileges), item)].append(grantee)
    groups: dict[tuple[int, str, str, str, str, tuple[str, ...]], list[Item]] = defaultdict(list)
    for (rank, verb, kind, grantor, privileges_sql, item), grantees in by_item.items():
        groups[(rank, verb, kind, grantor, privileges_sql, tuple(sorted(grantees)))].append(item)
    verbs = (REVOKE, REVOKE_OPTION, GRANT)
    return [
        _statement(
            verb, kind, grantor, privileges_sql, grantees, items[start : start + OBJECTS_OF_A_STATEMENT], schemas
        )
        for (rank, verb, kind, grantor, privileges_sql, grantees), items in sorted(
            groups.items(),
            # A schema last: who revokes in it has to see it.
            key=lambda group: (
                group[0][1] == GRANT,
                group[0][2] == "SCHEMA",
                group[0][0],
                verbs.index(group[0][1]),
                group[0][2:],
            ),
        )
        for start in range(0, len(items), OBJECTS_OF_A_STATEMENT)
    ]


def _statement(
    verb: str,
    kind: str,
    grantor: str,
    privileges: str,
    grantees: Sequence[str],
    items: Sequence[Item],
    schemas: Mapping[str, Item],
) -> Statement:
    objects = ", ".join(item.sql for item in items)
    people = ", ".join(role_sql(grantee) for grantee in grantees)
    sql = f"{verb} {privileges} ON {kind} {objects} {'TO' if verb == GRANT else 'FROM'} {people}"
    if grantor:
        # A superuser's REVOKE is about what the owner gave, and no other way names a grantor.
        sql = f"SET LOCAL ROLE {identifier(grantor)}; {sql}; SET LOCAL ROLE NONE"
        for schema in sorted({item.schema for item in items if item.schema}):
            if not any(
                entry.grantee in (grantor, PUBLIC) and entry.privilege == "USAGE" for entry in schemas[schema].entries
            ):
                usage = f"USAGE ON SCHEMA {identifier(schema)}"
                sql = f"GRANT {usage} TO {identifier(grantor)}; {sql}; REVOKE {usage} FROM {identifier(grantor)}"
    given_by = f", given by {grantor}" if grantor else ""
    option = " with grant option" if verb == REVOKE_OPTION else ""
    facts = tuple(
        f"{kind.lower()} {item.sql}: {grantee} has {privileges}{option}{given_by}"
        for item in items
        for grantee in grantees
    )
    if verb == REVOKE_OPTION:
        return Statement(sql, facts, tuple(fact.replace(option, "") for fact in facts))
    return Statement(sql, (), facts) if verb == GRANT else Statement(sql, facts)


def default_statements(creator: str, schema: str, all_steps: Iterable[Step]) -> list[Statement]:
    """Return statements for steps on what future objects of a role are born with."""
    place = f"FOR ROLE {identifier(creator)}" + (f" IN SCHEMA {identifier(schema)}" if schema else "")
    grouped: dict[tuple[int, str, str, str], list[tuple[str, str]]] = defaultdict(list)
    for step in all_steps:
        grouped[(step.rank, step.verb, step.item.kind, step.grantee)].append((step.privilege, ""))
    result = []
    for (_rank, verb, kind, grantee), privileges in sorted(grouped.items()):
        direction = "TO" if verb == GRANT else "FROM"
        sql = f"{verb} {clause(privileges)} ON {kind}S {direction} {role_sql(grantee)}"
        fact = f"default privileges {place}: {grantee} has {clause(privileges)} on {kind}S"
        change: dict[str, t.Any] = {"after" if verb == GRANT else "before": (fact,)}
        result.append(Statement(f"ALTER DEFAULT PRIVILEGES {place} {sql}", **change))
    return result
