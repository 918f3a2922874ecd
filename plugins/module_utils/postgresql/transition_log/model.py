# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is to be logged and guarded, as data. Pure."""

from __future__ import annotations

import hashlib
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..names import name_problem
from ..server import Refused

# Every trigger of ours starts so.
PREFIX = "bulwark_"
RECORD = "bulwark_record"
REFUSE_CHANGE = "bulwark_refuse_change"
REFUSE_TRUNCATE = "bulwark_refuse_truncate"
TRIGGERS = (RECORD, REFUSE_CHANGE, REFUSE_TRUNCATE)
LOG_TABLE = "transition"
READABLE_BYTES = 40


@dataclass(frozen=True)
class Table:
    """A table whose changes are recorded, or, if it is append-only, refused."""

    schema: str
    name: str
    key: str = ""
    state: str = ""
    hidden: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    append_only: bool = False

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the policy names."""
        return tuple(name for name in (self.key, self.state, *self.hidden, *self.ignored) if name)


@dataclass(frozen=True)
class Guard:
    """A condition that no written row may fail, or columns that are emptied when a row changes in a certain way."""

    schema: str
    table: str
    name: str
    check: str = ""
    when: str = ""
    set_null: tuple[str, ...] = ()

    @property
    def object_name(self) -> str:
        """The name of its trigger."""
        return PREFIX + self.name

    @property
    def wish(self) -> str:
        """All that makes it, as one text."""
        return self.check or f"{self.when} → {', '.join(self.set_null)}"


@dataclass(frozen=True)
class Policy:
    """Everything that one database is to have."""

    log_schema: str = "bulwark_audit"
    owner_role: str = "bulwark_audit"
    writer_role: str = "bulwark_audit_writer"
    reader_role: str = "bulwark_audit_reader"
    tables: tuple[Table, ...] = ()
    guards: tuple[Guard, ...] = field(default=())

    @property
    def roles(self) -> tuple[str, str, str]:
        """Owner of the log, owner of the functions, reader."""
        return self.owner_role, self.writer_role, self.reader_role

    @property
    def places(self) -> list[tuple[str, str]]:
        """Schema and name of every table that the policy is about."""
        guarded = [(guard.schema, guard.table) for guard in self.guards]
        return sorted({(table.schema, table.name) for table in self.tables} | set(guarded))

    @property
    def recorded(self) -> tuple[Table, ...]:
        """The tables whose changes are recorded."""
        return tuple(table for table in self.tables if not table.append_only)


def function_name(kind: str, *parts: str) -> str:
    """Return the name of a function that belongs to one table or guard: readable, unique, and short enough."""
    digest = hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:8]
    readable = parts[-1].encode("utf-8", "surrogatepass")[:READABLE_BYTES].decode("utf-8", "ignore")
    return f"{kind}_{readable}_{digest}"


def parse(parameters: Mapping[str, t.Any]) -> Policy:
    """Return the policy of a module's arguments. Raises Refused with everything that is wrong about them."""
    policy = Policy(
        **{
            name: parameters[name]
            for name in ("log_schema", "owner_role", "writer_role", "reader_role")
            if parameters.get(name) is not None
        },
        tables=tuple(_table(entry) for entry in parameters.get("tables") or ()),
        guards=tuple(_guard(entry) for entry in parameters.get("guards") or () if entry.get("enabled") is not False),
    )
    found = problems(policy)
    if found:
        raise Refused("; ".join(found))
    return policy


def _table(entry: Mapping[str, t.Any]) -> Table:
    return Table(
        schema=entry.get("schema") or "public",
        name=entry["name"],
        key=entry.get("key") or "",
        state=entry.get("state") or "",
        hidden=tuple(entry.get("hidden") or ()),
        ignored=tuple(entry.get("ignored") or ()),
        append_only=bool(entry.get("append_only")),
    )


def _guard(entry: Mapping[str, t.Any]) -> Guard:
    return Guard(
        schema=entry.get("schema") or "public",
        table=entry["table"],
        name=entry["name"],
        check=entry.get("check") or "",
        when=entry.get("when") or "",
        set_null=tuple(entry.get("set_null") or ()),
    )


def problems(policy: Policy) -> list[str]:
    """Return what is wrong about a policy, one sentence each."""
    found = []
    named = {"log_schema": policy.log_schema} | dict(zip(("owner_role", "writer_role", "reader_role"), policy.roles))
    found += [f"{option}: {problem}" for option, name in named.items() for problem in [name_problem(name)] if problem]
    found += [
        f"{option} is {name!r}, and names that start with pg_ are PostgreSQL's own; choose another"
        for option, name in named.items()
        if name.startswith("pg_")
    ]
    if len(set(policy.roles)) < len(policy.roles):
        found.append(
            f"owner_role, writer_role and reader_role are {', '.join(map(repr, policy.roles))}; they have to be three "
            "different roles, or one of them could do what another is kept from"
        )
    found += [
        problem for number, table in enumerate(policy.tables) for problem in _table_problems(number, table, policy)
    ]
    found += [problem for guard in policy.guards for problem in _guard_problems(guard)]
    found += _repeated("tables", [str(table) for table in policy.tables])
    found += _repeated("guards", [f"{guard.schema}.{guard.table} {guard.name}" for guard in policy.guards])
    return found


def _table_problems(number: int, table: Table, policy: Policy) -> list[str]:
    where = f"tables[{number}] ({table})"
    found = [
        f"{where}: {problem}" for problem in map(name_problem, (table.schema, table.name, *table.columns)) if problem
    ]
    if table.schema == policy.log_schema:
        found.append(f"{where} is part of the log itself, which no trigger may write to; leave it out")
    if table.append_only:
        if table.columns:
            found.append(
                f"{where} is append_only, whose changes are refused instead of recorded; leave out key, state, hidden "
                "and ignored, or set append_only to false"
            )
        return found
    if not table.key:
        found.append(f"{where} has no key; name the column by which a row is found, or set append_only to true")
    for name in table.columns:
        uses = [use for use in ("hidden", "ignored") if name in getattr(table, use)]
        if uses and name in (table.key, table.state):
            found.append(
                f"{where}: {name!r} is {uses[0]} and also key or state, which each record shows; decide for one"
            )
    both = sorted(set(table.hidden) & set(table.ignored))
    if both:
        found.append(f"{where}: {both[0]!r} is hidden and also ignored; decide for one of both")
    return found + _repeated(where, [*table.hidden]) + _repeated(where, [*table.ignored])


def _guard_problems(guard: Guard) -> list[str]:
    where = f"guard {guard.name!r} of {guard.schema}.{guard.table}"
    found = [
        f"{where}: {problem}"
        for problem in map(name_problem, (guard.schema, guard.table, guard.object_name, *guard.set_null))
        if problem
    ]
    if guard.object_name in TRIGGERS:
        found.append(f"{where} has the name of one of the log's own triggers; choose another")
    if bool(guard.check) == bool(guard.when) or bool(guard.when) != bool(guard.set_null):
        found.append(f"{where} needs either check, or when together with set_null")
    for option, text in (("check", guard.check), ("when", guard.when)):
        problem = condition_problem(text) if text else ""
        if problem:
            found.append(f"{where}: {option} {problem}; write one SQL condition, such as NEW.state <> 'CLOSED'")
    return found


def condition_problem(text: str) -> str:
    """Return why a text cannot stand in parentheses as one SQL condition; empty if nothing speaks against it.

    The server has the last word; this keeps a slip of the pen from becoming a second statement.
    """
    depth, quote = 0, ""
    for position, sign in enumerate(text):
        if quote:
            quote = "" if sign == quote else quote
        elif sign in "'\"":
            quote = sign
        elif sign in ";$\\\0" or text[position : position + 2] in ("--", "/*"):
            return f"contains {text[position : position + 2].strip()!r} outside of quotes"
        else:
            depth += {"(": 1, ")": -1}.get(sign, 0)
            if depth < 0:
                return "closes a parenthesis that it did not open"
    if quote:
        return f"lacks the closing {quote}"
    if depth:
        return "leaves a parenthesis open"
    return "is empty" if not text.strip() else ""


def _repeated(where: str, names: Sequence[str]) -> list[str]:
    twice = sorted({name for name in names if names.count(name) > 1})
    return [f"{where}: {name!r} is there twice; keep one" for name in twice]
