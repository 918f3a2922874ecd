# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Install, remove and verify: each change is one transaction, which commits only what a second look finds right."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ..names import identifier, literal, qualified
from ..server import Failed, Refused, Server
from . import statements
from .expected import Difference, Key, Observed, differences, expected, guard_key
from .model import LOG_TABLE, Guard, Policy
from .observe import casts_to_json, holders, observe, surplus_grants

OLDEST = 140000
LOCK_NOT_AVAILABLE, DEADLOCK = "55P03", "40P01"
WEAK, STRONG = "SHARE ROW EXCLUSIVE", "ACCESS EXCLUSIVE"
Place = tuple[str, str]
Needs = Callable[[], dict[Place, str]]
Change = Callable[[], None]
CASTS = ("pg_catalog", "pg_cast")


@dataclass(frozen=True)
class Outcome:
    """What differed, whether it was changed, and what is on the tables that is not ours."""

    differences: tuple[Difference, ...]
    changed: bool = False
    foreign: tuple[str, ...] = ()


def verify(server: Server, policy: Policy, compare_rows: bool = False, lock_timeout_seconds: float = 10) -> Outcome:
    """Compare without writing anything; with ``compare_rows`` also each row with its newest record."""
    _require(server)
    observed = observe(server, policy)
    found = differences(expected(policy, observed), observed.objects)
    # Not where a cast or a missing column would have its way.
    if compare_rows and not any(entry.blocking or entry.key[0] == "log table" for entry in found):
        found += _unrecorded(server, policy, lock_timeout_seconds)
    return Outcome(tuple(found), foreign=observed.foreign)


def _unrecorded(server: Server, policy: Policy, lock_timeout_seconds: float) -> list[Difference]:
    found = []
    with server.transaction():
        server.rows(f"SET LOCAL lock_timeout = '{max(1, int(lock_timeout_seconds * 1000))}ms'")
        server.rows("LOCK TABLE pg_catalog.pg_cast IN SHARE MODE")
        _refuse(server, [Difference(("casts to json",), "", casts_to_json(server))])
        _plain_text(server)
        for table in policy.recorded:
            count, first = server.row(statements.unrecorded(policy, table))
            if count:
                text = f"{count} not as their newest record says, the first {first!r}"
                found.append(Difference(("rows of", table.schema, table.name), "", text))
    return found


def install(
    server: Server, policy: Policy, lock_timeout_seconds: float, check_mode: bool, baseline: bool = False
) -> Outcome:
    """Bring everything to what the policy says. Raises Refused, and then nothing has changed."""
    server.require_primary()
    if not policy.tables:
        raise Refused("tables is empty, so there is nothing to record; name at least one, or choose operation: remove")
    outcome = verify(server, policy)
    _refuse(server, outcome.differences)
    wanted = baseline or bool(outcome.differences)
    if check_mode or not wanted:
        return Outcome(outcome.differences, wanted, outcome.foreign)
    _locked(server, lock_timeout_seconds, lambda: _install_needs(server, policy), lambda: _install(server, policy))
    return Outcome(outcome.differences, True, outcome.foreign)


def remove(server: Server, policy: Policy, lock_timeout_seconds: float, check_mode: bool) -> Outcome:
    """Remove triggers, functions and guards wherever they are. The log stays, with what keeps it append-only."""
    server.require_primary()
    _require(server)
    surplus = _removable(policy, observe(server, policy))
    found = tuple(Difference(key, "", "there") for key in surplus)
    if surplus and not check_mode:
        _locked(server, lock_timeout_seconds, lambda: _remove_needs(server, policy), lambda: _remove(server, policy))
    return Outcome(found, bool(surplus))


def _require(server: Server) -> None:
    if server.version < OLDEST:
        raise Refused(
            f"the server at {server.place} is PostgreSQL {server.major}; triggers are replaced in place from 14 on"
        )
    if server.encoding != "UTF8":
        raise Refused(
            f"the database {server.database!r} is encoded in {server.encoding}, and records are jsonb, which holds "
            "every character only in UTF8; make a new database with ENCODING 'UTF8' and move the data"
        )


def _refuse(server: Server, found: Iterable[Difference]) -> None:
    listed = "; ".join(str(difference) for difference in found if difference.blocking)
    if listed:
        raise Refused(f"the database {server.database!r} is not what the log needs: {listed}; put that right first")


def _locked(server: Server, seconds: float, needs: Needs, change: Change) -> None:
    """Run a change that holds all its locks, as one transaction.

    Tables are locked together and before anything else is done, and an attempt ends before the server would look for a
    deadlock. So no transaction of the product is ever ended as one half of a deadlock, or waits long behind us.
    """
    deadline = time.monotonic() + seconds
    deadlock_milliseconds = int(server.value("SELECT setting FROM pg_settings WHERE name = 'deadlock_timeout'"))
    while True:
        modes = needs()
        patience = max(1, min(deadlock_milliseconds // 2, int(seconds * 1000)) // len(modes))
        try:
            with server.transaction():
                server.rows(f"SET LOCAL lock_timeout = '{patience}ms'")
                for mode in (STRONG, WEAK):
                    names = ", ".join(qualified(*place) for place, wanted in modes.items() if wanted == mode)
                    if names:
                        server.rows(f"LOCK TABLE {names} IN {mode} MODE")
                # What was seen before may have changed until the locks were there.
                if any(modes.get(place) not in (mode, STRONG) for place, mode in needs().items()):
                    raise Failed("more has to be locked than before", LOCK_NOT_AVAILABLE)
                change()
            return
        except Failed as failure:
            if failure.sqlstate not in (LOCK_NOT_AVAILABLE, DEADLOCK):
                if not failure.sqlstate:
                    raise Refused(
                        f"the connection broke ({failure}); run this again, which shows what is done"
                    ) from failure
                raise Refused(f"the server refused a step, and nothing has changed: {failure}") from failure
            if time.monotonic() >= deadline:
                raise Refused(
                    f"no lock on {', '.join('.'.join(place) for place in modes)} within {seconds:g} s; held by process "
                    f"{holders(server, list(modes))}; end that transaction or raise lock_timeout_seconds, and run this "
                    "again; nothing has changed"
                ) from failure


def _modes(policy: Policy, strong: Iterable[Key], weak: Iterable[Place], observed: Observed) -> dict[Place, str]:
    """Return which lock each table needs: to drop a trigger, nobody may even read it."""
    modes = dict.fromkeys(weak, WEAK)
    if any(kind == "log table" for kind, *_names in observed.objects):
        modes[(policy.log_schema, LOG_TABLE)] = WEAK
    modes[CASTS] = WEAK
    return modes | {(key[1], key[2]): STRONG for key in strong}


def _install_needs(server: Server, policy: Policy) -> dict[Place, str]:
    observed = observe(server, policy)
    found = differences(expected(policy, observed), observed.objects)
    return _modes(policy, [entry.key for entry in _surplus(found, "trigger")], policy.places, observed)


def _surplus(found: Iterable[Difference], kind: str) -> list[Difference]:
    return [difference for difference in found if difference.key[0] == kind and not difference.expected]


def _install(server: Server, policy: Policy) -> None:
    observed = observe(server, policy)
    found = differences(expected(policy, observed), observed.objects)
    _refuse(server, found)
    # First of all, or they would record this with whatever is wrong about them.
    _drop(server, [*observed.of("event trigger"), *(entry.key for entry in _surplus(found, "trigger"))])
    _plain_text(server)
    missing = [key[1] for key in (entry.key for entry in found) if key[0] == "role"]
    _run(server, [f"CREATE ROLE {identifier(role)} NOLOGIN" for role in missing])
    _run(server, statements.create_log(policy))
    _run(server, statements.functions(policy, observed.types))
    _run(server, statements.triggers(policy))
    for guard in policy.guards:
        _guard(server, policy, guard)
    _drop(server, [entry.key for entry in _surplus(found, "function")])
    _run(server, surplus_grants(server, policy))
    _run(server, statements.grants(policy))
    _run(server, [statements.baseline(policy, table) for table in policy.recorded])
    _note(server, policy, "INSTALL")
    _run(server, statements.event_triggers(policy))
    after = observe(server, policy)
    left = differences(expected(policy, after), after.objects)
    if left:
        raise Refused(
            f"what was installed is not what it has to be: {'; '.join(map(str, left))}; nothing has changed; put that "
            "right and run this again"
        )


def _plain_text(server: Server) -> None:
    for setting, value in statements.PLAIN_TEXT.items():
        server.rows("SELECT set_config(%s, %s, true)", [setting, value])


def _guard(server: Server, policy: Policy, guard: Guard) -> None:
    try:
        _run(server, statements.guard_trigger(policy, guard))
    except Failed as failure:
        if failure.sqlstate in (LOCK_NOT_AVAILABLE, DEADLOCK):
            raise
        raise Refused(
            f"guard {guard.name!r} of {guard.schema}.{guard.table}: the server refused {guard.wish!r}: {failure}; "
            "write one condition on the columns of NEW, and of OLD in an update; nothing has changed"
        ) from failure


def _note(server: Server, policy: Policy, operation: str) -> None:
    """Keep what the server made of each guard, and record it."""
    objects = observe(server, policy).objects
    entries = [
        {"key": guard_key(guard), "wish": guard.wish, "definition": objects.get(guard_key(guard), "")}
        for guard in policy.guards
    ]
    note = json.dumps({"guards": entries}, sort_keys=True)
    _run(server, [f"COMMENT ON TABLE {statements.log(policy)} IS {literal(note)}"])
    server.rows(
        f"INSERT INTO {statements.log(policy)} (relation, operation, after) VALUES (%s, %s, %s)",
        [policy.log_schema, operation, note],
    )


def _removable(policy: Policy, observed: Observed) -> list[Key]:
    kept: set[Key] = {("function", policy.log_schema, "refuse", "")}
    kept |= {key for key in observed.of("trigger") if key[1:3] == (policy.log_schema, LOG_TABLE)}
    kinds = ("event trigger", "trigger", "function")
    return [key for kind in kinds for key in observed.of(kind) if key not in kept]


def _remove_needs(server: Server, policy: Policy) -> dict[Place, str]:
    observed = observe(server, policy)
    strong = [key for key in _removable(policy, observed) if key[0] == "trigger"]
    return _modes(policy, strong, (), observed)


def _remove(server: Server, policy: Policy) -> None:
    observed = observe(server, policy)
    _drop(server, _removable(policy, observed))
    if observed.of("log table"):
        _note(server, dataclasses.replace(policy, guards=()), "REMOVE")


def _drop(server: Server, keys: Iterable[Key]) -> None:
    for kind, *names in keys:
        if kind == "event trigger":
            server.rows(f"DROP EVENT TRIGGER {identifier(names[0])}")
        elif kind == "trigger":
            server.rows(f"DROP TRIGGER {identifier(names[2])} ON {qualified(*names[:2])}")
        else:
            server.rows(f"DROP ROUTINE {qualified(*names[:2])}({names[2]})")


def _run(server: Server, texts: Iterable[str]) -> None:
    for text in texts:
        server.rows(text)
