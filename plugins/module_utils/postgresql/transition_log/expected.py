# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the catalogue says once the log is installed, and how that differs from what it says. Pure.

Both sides are texts by key; a key is a kind of object and its name. What is on one side only differs from nothing, and
an empty text is nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from . import statements
from .model import LOG_TABLE, RECORD, REFUSE_CHANGE, REFUSE_TRUNCATE, Guard, Policy

Key = tuple[str, ...]
ROW, BEFORE, INSERT, DELETE, UPDATE, TRUNCATE, INSTEAD = (1 << bit for bit in range(7))
PLAIN_TABLE = "plain, permanent, without children or parents"
# No statement of ours makes these right; they need a decision.
BLOCKING = frozenset(
    ("table", "columns missing in", "casts to json", "columns of", "attributes of role", "members of role",
     "memberships of role")
)  # fmt: skip


@dataclass(frozen=True)
class Noted:
    """A guard as it was installed: its wish, and what the server made of it."""

    wish: str
    definition: str


@dataclass(frozen=True)
class Observed:
    """What the catalogue says."""

    objects: Mapping[Key, str]
    types: Mapping[str, Sequence[str]]
    noted: Mapping[Key, Noted] = field(default_factory=dict)
    foreign: tuple[str, ...] = ()

    def of(self, kind: str) -> list[Key]:
        """Return the keys of one kind."""
        return [key for key in self.objects if key[0] == kind]


@dataclass(frozen=True)
class Difference:
    """One object that is not as expected; an empty text means that it is not there."""

    key: Key
    expected: str
    observed: str

    @property
    def blocking(self) -> bool:
        """Whether installing cannot make it right."""
        return self.key[0] in BLOCKING and (bool(self.observed) or self.key[0] == "table")

    def __str__(self) -> str:
        return f"{spelled(self.key)}: {self.observed or 'nothing'} instead of {self.expected or 'nothing'}"


def spelled(key: Key) -> str:
    """Return a key in words."""
    kind, *names = key
    if kind == "trigger":
        return f"trigger {names[2]} of {names[0]}.{names[1]}"
    return f"{kind} {'.'.join(name for name in names if name)}".strip()


def timing(kind: int) -> str:
    """Return in words when a trigger fires, from the bits of tgtype."""
    when = "INSTEAD OF" if kind & INSTEAD else "BEFORE" if kind & BEFORE else "AFTER"
    bits = {"INSERT": INSERT, "DELETE": DELETE, "UPDATE": UPDATE, "TRUNCATE": TRUNCATE}
    events = " OR ".join(name for name, bit in bits.items() if kind & bit)
    return f"{when} {events} FOR EACH {'ROW' if kind & ROW else 'STATEMENT'}"


def function_text(owner: str, returns: str, definer: bool, settings: Iterable[str], callers: str, source: str) -> str:
    """Return all that makes a function, as one text; of its source only a digest, since that would be long."""
    security = "definer" if definer else "invoker"
    chosen = "; ".join(sorted(settings)) or "none"
    return (
        f"owner {owner}, plpgsql, returns {returns}, security {security}, settings {chosen}, "
        f"callers {callers or 'none'}, source {hashlib.sha256(source.encode()).hexdigest()[:32]}"
    )


def trigger_text(enabled: str, kind: int, function: str, extras: Iterable[str] = ()) -> str:
    """Return all that makes a trigger, as one text."""
    return ", ".join((ENABLED.get(enabled, enabled), timing(kind), f"function {function}", *extras))


ENABLED = {"A": "enabled always", "O": "enabled for origin only", "R": "enabled for replicas only", "D": "disabled"}


def guard_key(guard: Guard) -> Key:
    """Return the key of a guard's trigger."""
    return ("trigger", guard.schema, guard.table, guard.object_name)


def expected(policy: Policy, observed: Observed) -> dict[Key, str]:
    """Return what the catalogue has to say, given the types of the columns and the guards as they were installed."""
    owner, writer, reader = policy.roles
    schema = policy.log_schema
    columns = ",".join(statements.WRITTEN)
    wished: dict[Key, str] = {("role", role): "there" for role in policy.roles}
    wished[("schema", schema)] = f"owner {owner}, {acl({writer: 'USAGE', reader: 'USAGE'})}"
    wished[("log table", schema, LOG_TABLE)] = (
        f"owner {owner}, {acl({writer: f'INSERT({columns})', reader: 'SELECT'})}, {PLAIN_TABLE}, without row security"
    )
    wished[("columns of", schema, LOG_TABLE)] = columns_text(statements.COLUMNS)
    wished[("constraints of", schema, LOG_TABLE)] = "PRIMARY KEY (epoch, transaction_id, id)"
    for place in policy.places:
        wished[("table", *place)] = PLAIN_TABLE
    return wished | _functions(policy, observed) | _triggers(policy) | _guards(policy, observed)


def _functions(policy: Policy, observed: Observed) -> dict[Key, str]:
    owner, writer, _reader = policy.roles
    made: dict[Key, str] = {}

    def add(name: str, role: str, returns: str, definer: bool, settings: Mapping[str, str], source: str) -> None:
        chosen = [f"{setting}={value}" for setting, value in settings.items()]
        made[("function", policy.log_schema, name, "")] = function_text(role, returns, definer, chosen, "", source)

    for name, source in statements.REFUSERS.items():
        add(name, owner, "trigger", False, statements.INTERNAL_PATH, source)
    add("record_ddl", writer, "event_trigger", True, statements.INTERNAL_PATH, statements.ddl_source(policy))
    for table in policy.recorded:
        settings = statements.settings(observed.types.get(str(table), ()))
        add(statements.recorder(table), writer, "trigger", True, settings, statements.record_source(policy, table))
    for guard in policy.guards:
        if guard.set_null:
            add(statements.emptier(guard), owner, "trigger", False, {}, statements.guard_source(guard))
    return made


def _triggers(policy: Policy) -> dict[Key, str]:
    made: dict[Key, str] = {}
    refuse = f"{policy.log_schema}.refuse"
    append_only = [(policy.log_schema, LOG_TABLE)] + [
        (one.schema, one.name) for one in policy.tables if one.append_only
    ]
    for table in policy.recorded:
        function = f"{policy.log_schema}.{statements.recorder(table)}"
        kind = ROW | INSERT | DELETE | UPDATE
        made[("trigger", table.schema, table.name, RECORD)] = trigger_text("A", kind, function)
    for place in append_only:
        made[("trigger", *place, REFUSE_CHANGE)] = trigger_text("A", ROW | BEFORE | DELETE | UPDATE, refuse)
    for place in append_only + [(table.schema, table.name) for table in policy.recorded]:
        made[("trigger", *place, REFUSE_TRUNCATE)] = trigger_text("A", BEFORE | TRUNCATE, refuse)
    for name, event in statements.EVENT_TRIGGERS.items():
        made[("event trigger", name)] = event_trigger_text("A", event, f"{policy.log_schema}.record_ddl", [], True)
    return made


def event_trigger_text(enabled: str, event: str, function: str, tags: Sequence[str], superuser: bool) -> str:
    """Return all that makes an event trigger, as one text."""
    owner = "a superuser" if superuser else "no superuser"
    return (
        f"{ENABLED.get(enabled, enabled)}, {event}, function {function}, tags {', '.join(tags) or 'all'}, owner {owner}"
    )


def _guards(policy: Policy, observed: Observed) -> dict[Key, str]:
    made: dict[Key, str] = {}
    for guard in policy.guards:
        noted = observed.noted.get(guard_key(guard))
        known = noted is not None and noted.wish == guard.wish
        made[guard_key(guard)] = noted.definition if noted is not None and known else f"new: {guard.wish}"
    return made


def acl(privileges: Mapping[str, str]) -> str:
    """Return who has what, as one text."""
    return "granted " + ("; ".join(f"{role} {what}" for role, what in sorted(privileges.items())) or "nothing")


def columns_text(columns: Mapping[str, str]) -> str:
    """Return columns with types and defaults, as one text."""
    return "; ".join(f"{name} {definition}" for name, definition in columns.items())


def differences(wished: Mapping[Key, str], found: Mapping[Key, str]) -> list[Difference]:
    """Return what differs, in the order of the keys."""
    pairs = [(key, wished.get(key, ""), found.get(key, "")) for key in {**wished, **found}]
    return [Difference(*pair) for pair in sorted(pairs) if pair[1] != pair[2]]
