# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One change of pg_hba.conf from plan to proof: what the module calls.

Nothing is changed before the policy was simulated and read by the server's own program; what the running server then
does not prove is taken back.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
import typing as t
from dataclasses import dataclass

from ...transaction import files
from ...transaction.commands import run_command
from ...transaction.engine import Engine
from ...transaction.snapshot import resolve
from ...transaction.state import Command, TransactionError
from .. import server as postgresql
from ..server import Place, Refused, Server
from ..undo import taken_back
from . import host, model, rehearsal, wire
from .match import LOCAL, TLS, World, deciding, method_of
from .syntax import Problem, Record, logical_lines, parse, render, words

ADOPT, REFUSE, REMOVE = "adopt", "refuse", "remove"
FOREIGN = (ADOPT, REFUSE, REMOVE)
RELOAD_SECONDS = 10.0
POLL_SECONDS = 0.05
SIMULATED, ASKED, LOGGED_IN = "simulated", "asked", "logged in"
# A server that does not run has nothing to reload, and reads the restored file when it starts.
RELOAD = '"$0" status --pgdata "$1" >/dev/null || exit 0; exec "$0" reload --silent --pgdata "$1"'


@dataclass(frozen=True)
class Wish:
    """A module's arguments."""

    rules: t.Sequence[t.Mapping[str, t.Any]]
    probes: t.Sequence[t.Mapping[str, t.Any]] = ()
    foreign_rules: str = REFUSE
    window_seconds: int = 60


@dataclass(frozen=True)
class Decision:
    """A probe, the rule that decides on it, and how that was found."""

    probe: model.Probe
    record: Record | None
    found: str = SIMULATED

    def to_dict(self) -> dict[str, t.Any]:
        """Return what may be told of it, which is all but the password."""
        return {
            "name": self.probe.name,
            "expect": self.probe.expect,
            "method": method_of(self.record),
            "rule": render(self.record) if self.record else "",
            "line": self.record.line if self.record else 0,
            "found": self.found,
        }


@dataclass(frozen=True)
class Plan:
    """The candidate and all that was found out about it without touching anything."""

    cluster: host.Cluster
    path: str
    before: str
    after: str
    records: tuple[Record, ...]
    world: World
    decisions: tuple[Decision, ...]
    loaded: float
    due: bool
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Outcome:
    """What a run found and did."""

    plan: Plan
    decisions: tuple[Decision, ...]


def converge(place: Place, wish: Wish, check_mode: bool = False, engine: Engine | None = None) -> Outcome:
    """Bring the policy into force, or in check mode find out whether that could be. Raises Refused."""
    if os.geteuid() != 0:
        raise Refused("the owner and the rollback of pg_hba.conf need root; set become to true")
    engine = engine or Engine()
    try:
        if not check_mode:
            # An earlier run may have died with its file in place: look only after its rollback.
            engine.settle()
        plan = _plan(place, wish)
        if not check_mode:
            _tidy(plan.path)
        if not plan.due:
            return Outcome(plan, plan.decisions)
        with _candidate(plan, place) as candidate:
            if check_mode:
                return Outcome(plan, plan.decisions)
            return Outcome(plan, _apply(plan, place, engine, candidate, wish.window_seconds))
    except TransactionError as error:
        raise Refused(str(error)) from error
    finally:
        engine.close()


def _tidy(path: str) -> None:
    """Remove what a run left behind that was killed before it changed anything."""
    parent, _name = files.split(path)
    rehearsal.tidy()
    with contextlib.suppress(OSError), files.directory(parent) as descriptor:
        for name in os.listdir(descriptor):
            if files.TEMPORARY.fullmatch(name):
                files.remove_at(descriptor, name)


def _plan(place: Place, wish: Wish) -> Plan:
    with Server(place) as server:
        cluster = host.cluster_of(server)
        path, before, modified = _present(cluster.hba_file)
        broken = host.problems_of(server)
        if broken:
            raise Refused(f"the present file has an error, so there is no way back to it: {broken[0]}; mend it first")
        try:
            policy = model.policy_of(wish.rules, wish.probes, cluster.major, place.system_user)
        except ValueError as error:
            raise Refused(str(error)) from error
        after = _text(policy, wish.foreign_rules, path, before, cluster.major, place.system_user)
        entries = parse(after, path, host.Disk(), cluster.major)
        problems = [str(entry) for entry in entries if isinstance(entry, Problem)]
        if problems:
            raise Refused(f"the new file would have an error: {problems[0]}")
        world, superusers = host.world_of(server, [probe.connection for probe in policy.probes], entries)
        loaded = host.loaded_at(server)
    records = tuple(entry for entry in entries if isinstance(entry, Record))
    decisions = tuple(Decision(probe, deciding(records, probe.connection, world)) for probe in policy.probes)
    problems = [
        *([] if cluster.checks_clients else model.certificate_problems(policy)),
        *model.superuser_problems(policy, superusers, world),
        *(text for decision in decisions if (text := _judged(decision, cluster))),
    ]
    if problems:
        raise Refused(f"the policy was not tried: {'; '.join(problems)}")
    kept = records[sum(len(rule.records) for rule in policy.rules) :]
    due = after != before or modified > loaded
    return Plan(cluster, path, before, after, records, world, decisions, loaded, due, _warnings(kept))


def _present(hba_file: str) -> tuple[str, str, float]:
    """Return the path, content and time of the file that the server reads."""
    path = resolve(hba_file)
    try:
        found = os.lstat(path)
        if stat.S_ISLNK(found.st_mode):
            raise Refused(
                f"{path} is a symbolic link to {os.readlink(path)}, which is never written through; "
                "name the file itself in the server's setting hba_file"
            )
        content = files.read_file(path).decode("utf-8", "surrogateescape")
    except OSError as error:
        raise Refused(
            f"{path}, which the server's setting hba_file names, cannot be read: {error.strerror or error}; "
            "bring it back first, since there would be no way back to it"
        ) from error
    return path, content, found.st_mtime


def _text(policy: model.Policy, foreign_rules: str, path: str, before: str, major: int, system_user: str) -> str:
    outside = model.outside(before)
    foreign = [line.strip() for _number, line in logical_lines(outside, major) if words(line)]
    if foreign_rules == REFUSE and model.is_of_new_cluster(foreign, system_user):
        return model.text_of(policy)
    if foreign and foreign_rules == REFUSE:
        raise Refused(
            f"{path} has {len(foreign)} lines that the policy does not know, the first of them {foreign[0]!r}; set "
            "foreign_rules to adopt to keep them after the policy's rules, or to remove"
        )
    return model.text_of(policy) + ("" if foreign_rules == REMOVE else outside)


def _judged(decision: Decision, cluster: host.Cluster) -> str:
    probe = decision.probe
    if probe.connection.kind == TLS and probe.expect == model.ALLOWED and not cluster.offers_tls:
        return f"{probe.name} ({model.describe(probe.connection)}) needs TLS, and the server's setting ssl is off"
    return model.judge(probe, decision.record)


def _warnings(kept: t.Sequence[Record]) -> tuple[str, ...]:
    return tuple(
        f"{record.file} line {record.line} was adopted, and {record.method} {model.WEAK[record.method]}"
        for record in kept
        if record.method in model.WEAK
    )


@contextlib.contextmanager
def _candidate(plan: Plan, place: Place) -> t.Iterator[str]:
    """Yield the name of the new file beside the old one, after the server's own program has read it there."""
    parent, name = files.split(plan.path)
    try:
        with files.directory(parent) as descriptor:
            found = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            content = plan.after.encode("utf-8", "surrogateescape")
            mode = stat.S_IMODE(found.st_mode)
            candidate = files.create_temporary(descriptor, content, mode, found.st_uid, found.st_gid)
    except OSError as error:
        raise Refused(
            f"the new file cannot be written beside {plan.path}: {error.strerror or error}; nothing was changed"
        ) from error
    try:
        rows = rehearsal.rows_of(f"{parent}/{candidate}", plan.cluster, place.system_user)
        problem = rehearsal.problem_of(plan.records, rows, f"{parent}/{candidate}", plan.path)
        if problem:
            raise Refused(f"{problem}; nothing was changed")
        yield candidate
    finally:
        with contextlib.suppress(OSError):
            os.unlink(f"{parent}/{candidate}")


def _apply(plan: Plan, place: Place, engine: Engine, candidate: str, window_seconds: int) -> tuple[Decision, ...]:
    reload = reload_command(plan.cluster, place)
    transaction = engine.begin("postgresql_hba", [plan.path], [reload], window_seconds=window_seconds)
    by_hand = f"reload the server after putting the old {plan.path} back"
    with taken_back(transaction, lambda moment: _left(plan, place, moment), by_hand):
        transaction.arm()
        transaction.applying()
        swap(plan.path, candidate)
        load(reload)
        in_force(place, plan.records, plan.loaded)
        decisions = tuple(prove(decision, plan, place) for decision in plan.decisions)
        transaction.applied()
        transaction.commit(transaction.nonce, [], lambda: None, minimum_logins=0)
    return decisions


def reload_command(cluster: host.Cluster, place: Place) -> Command:
    """Return the command that lets the server read its files again, for this run and for a rollback without it."""
    control = f"{cluster.programs}/pg_ctl"
    return Command(("runuser", "-u", place.system_user, "--", "sh", "-c", RELOAD, control, cluster.data_directory))


def swap(path: str, candidate: str) -> None:
    """Put the candidate, which is complete and beside it, in the place of the file."""
    parent, name = files.split(path)
    with files.directory(parent) as descriptor:
        os.rename(candidate, name, src_dir_fd=descriptor, dst_dir_fd=descriptor)
        os.fsync(descriptor)


def load(command: Command) -> None:
    """Send the signal to reload; whether it helped is found out by new sessions."""
    done, line = run_command(command)
    if not done:
        raise Refused(f"the server could not be told to reload: {line}")


def in_force(place: Place, records: t.Sequence[Record] | None, loaded: float) -> None:
    """Wait until new sessions of the administrator live by files that were loaded later and are free of errors."""
    until = time.monotonic() + RELOAD_SECONDS
    while True:
        with Server(place) as server:
            if host.loaded_at(server) > loaded:
                problems = host.problems_of(server)
                count = int(server.value("SELECT count(*) FROM pg_hba_file_rules"))
                break
        if time.monotonic() >= until:
            raise Refused(f"the server did not load its configuration again within {RELOAD_SECONDS:.0f} seconds")
        time.sleep(POLL_SECONDS)
    if problems:
        raise Refused(f"the server did not load the file: {problems[0]}")
    if records is not None and count != len(records):
        raise Refused(f"the server reads {count} rules, and {len(records)} are meant")


def prove(decision: Decision, plan: Plan, place: Place) -> Decision:
    """Try a probe on the running server, as far as that is possible from here. Raises Refused if it ends otherwise."""
    probe, connection = decision.probe, decision.probe.connection
    if probe.name == model.ADMINISTRATOR:
        # in_force() has just logged in as this one.
        return Decision(probe, decision.record, LOGGED_IN)
    target = wire.socket_of(place.socket_directory, place.port)
    if connection.kind != LOCAL:
        address = wire.reachable(connection, plan.cluster.listening, plan.world.same_host)
        if not address:
            return decision
        target = wire.Target(address, plan.cluster.port, connection.address)
    answer = wire.ask(target, connection)
    if answer.kind == wire.UNREACHABLE:
        return decision
    if not wire.agrees(decision.record, answer, plan.cluster.offers_tls, connection.kind):
        raise Refused(
            f"the server answered {probe.name} ({model.describe(connection)}) with {answer.kind} ({answer.detail}), "
            f"and the method of the rule is {method_of(decision.record)}"
        )
    if not probe.password or connection.address not in ("", target.host):
        return Decision(probe, decision.record, ASKED)
    log_in(probe, target, place)
    return Decision(probe, decision.record, LOGGED_IN)


def log_in(probe: model.Probe, target: wire.Target, place: Place) -> None:
    """Log in with the probe's password. Raises Refused if the server does not take it."""
    local = probe.connection.kind == LOCAL
    try:
        postgresql.psycopg2.connect(
            host=place.socket_directory if local else target.host,
            port=place.port,
            user=probe.connection.user,
            dbname=probe.connection.database,
            password=probe.password,
            sslmode="disable" if local else "require",
            connect_timeout=postgresql.CONNECT_SECONDS,
            application_name="bulwark",
        ).close()
    except postgresql.psycopg2.Error as error:
        said = postgresql.in_words(error)
        raise Refused(f"{probe.name} ({model.describe(probe.connection)}) could not log in: {said}") from error


def _left(plan: Plan, place: Place, moment: float) -> str:
    """Say what the rollback left, after a new login of the administrator."""
    try:
        in_force(place, None, moment or plan.loaded)
    except Refused as error:
        return f"the old {plan.path} is back, BUT THE ADMINISTRATOR DOES NOT GET IN: {error}"
    return "the old file is back in force, and the administrator has logged in with it"
