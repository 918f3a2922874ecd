# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests pg_hba policies on a disposable host; hba.py copies it there, with the code under test beside it.

hba_host.py PART [ARGUMENTS as JSON]: the answer is one JSON object with the cases and their figures.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ansible_collections.bulwark.hardening.plugins.module_utils.postgresql.hba import (
    change,
    host,
    match,
    rehearsal,
    syntax,
    wire,
)
from ansible_collections.bulwark.hardening.plugins.module_utils.postgresql.server import Place, Refused, Server
from tests.postgresql import hba_cases as cases

psycopg2: Any = importlib.import_module("psycopg2")

PLACE = Place()
MAJOR = int(Path("/etc/postgresql").iterdir().__next__().name)
CONFIGURATION = Path(f"/etc/postgresql/{MAJOR}/main")
HBA = CONFIGURATION / "pg_hba.conf"
UNIT = f"postgresql@{MAJOR}-main.service"
RULES_COLUMNS = "line_number, type, database, user_name, address, netmask, auth_method, options, error"


class Results:
    """Cases that passed or failed, and the figures of this part."""

    def __init__(self) -> None:
        self.cases: list[dict[str, Any]] = []
        self.figures: dict[str, Any] = {}

    def add(self, name: str, problem: object = "") -> None:
        self.cases.append({"name": name, "problem": str(problem) if problem else ""})


def run(*argv: str) -> None:
    subprocess.run(argv, check=True, capture_output=True)


def prepare(_results: Results) -> None:
    """Make the roles and databases of the cases, and let the server listen everywhere."""
    with Server(PLACE) as server:
        server.rows("ALTER SYSTEM SET listen_addresses = '*'")
        server.rows("ALTER SYSTEM SET ssl_ca_file = '/etc/ssl/certs/ssl-cert-snakeoil.pem'")
        server.rows("SET password_encryption = 'scram-sha-256'")
        for role in cases.ROLES:
            name = cases.quoted(role)
            server.rows(f"CREATE ROLE {name} LOGIN PASSWORD '{cases.SERVICE_PASSWORD}'")
        for member, group in (("app", "sub"), ("sub", "team"), ("boss", "team"), ("reader", "all")):
            server.rows(f"GRANT {cases.quoted(group)} TO {cases.quoted(member)}")
        server.rows("ALTER ROLE boss SUPERUSER")
        for database in cases.DATABASES:
            server.rows(f"CREATE DATABASE {cases.quoted(database)}")
    run("systemctl", "restart", UNIT)


@contextlib.contextmanager
def file_kept() -> Iterator[None]:
    """Let the body do what it likes to the file, and load the old one afterwards."""
    content = HBA.read_bytes()
    try:
        yield
    finally:
        HBA.write_bytes(content)
        shutil.rmtree(CONFIGURATION / "extra", ignore_errors=True)
        reload_by_signal()


def reload_by_signal() -> None:
    run("systemctl", "kill", "--kill-who=main", "--signal=HUP", UNIT)


def put(files: Mapping[str, str]) -> None:
    shutil.rmtree(CONFIGURATION / "extra", ignore_errors=True)
    for name, text in files.items():
        path = HBA if name == "main" else CONFIGURATION / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="")


def seen(server: Server) -> list[dict[str, Any]]:
    columns = RULES_COLUMNS.split(", ")
    rows = server.rows(f"SELECT {RULES_COLUMNS} FROM pg_hba_file_rules")
    return [dict(zip(columns, row)) for row in rows]


def compare(rows: Sequence[dict[str, Any]], entries: Sequence[syntax.Entry]) -> str:
    """Return where the server's view differs from ours."""
    if len(rows) != len(entries):
        return f"{len(rows)} rows, {len(entries)} entries"
    for row, entry in zip(rows, entries):
        if isinstance(entry, syntax.Problem) or row["error"]:
            return f"server: {row['error']}; here: {entry}"
        if syntax.view(entry) != syntax.comparable(row) or row["line_number"] != entry.line:
            return f"server: {row}; here: {syntax.view(entry)} line {entry.line}"
        options = {f"{name}={value}" for name, value in entry.options}
        if not options <= set(row["options"] or ()):
            return f"server: {row['options']}; here: {options}"
    return ""


def parser(results: Results, seed: int, files: int) -> None:
    """The server's own parser reads generated files, and what is rendered from them, as ours does."""
    rng = random.Random(f"parser {seed}")
    records = 0
    with file_kept(), Server(PLACE) as server:
        for number in range(files):
            generated = cases.file_set(rng, MAJOR)
            put(generated)
            entries = syntax.read(str(HBA), host.Disk(), MAJOR)
            problem = compare(seen(server), entries)
            if not problem:
                kept = [entry for entry in entries if isinstance(entry, syntax.Record)]
                put({"main": "".join(f"{syntax.render(record)}\n" for record in kept)})
                again = syntax.read(str(HBA), host.Disk(), MAJOR)
                problem = compare(seen(server), again)
                if not problem and [meaning(entry) for entry in again] != [meaning(entry) for entry in kept]:
                    problem = f"rendering changes the meaning: {kept} becomes {again}"
                records += len(kept)
            results.add(f"file {number}", problem and f"{problem}\n{json.dumps(generated)}")
        broken = [*cases.BREAKAGES, *(cases.BREAKAGES_16 if MAJOR >= 16 else ())]
        for line in broken:
            put({"main": f"local all postgres peer\n# a comment\n{line}\n", "extra/there": ""})
            theirs = [row["line_number"] for row in seen(server) if row["error"]]
            ours = [e.line for e in syntax.read(str(HBA), host.Disk(), MAJOR) if isinstance(e, syntax.Problem)]
            agreed = bool(ours) == bool(theirs) or (line in cases.UNCHECKED and not ours)
            results.add(f"broken {line!r}", "" if agreed else f"server: {theirs}, here: {ours}")
    results.figures = {"files": files, "rules": records, "broken lines": len(broken)}


def meaning(entry: syntax.Entry) -> tuple[Any, ...]:
    assert isinstance(entry, syntax.Record), entry
    return entry.type, entry.databases, entry.users, entry.address, entry.method, entry.options


def simulator(results: Results, seed: int, policies: int, connections: int) -> None:
    """What the simulator says of generated connections, the server does."""
    rng = random.Random(f"simulator {seed}")
    own = subprocess.run(["hostname", "-I"], capture_output=True, text=True, check=True).stdout.split()
    answers: dict[str, int] = {}
    with file_kept():
        for number in range(policies):
            text = cases.decided_file(rng, MAJOR)
            tried = [match.Connection(**cases.connection(rng, own)) for _index in range(connections)]
            with Server(PLACE) as server:
                loaded = host.loaded_at(server)
                put({"main": text})
                entries = syntax.read(str(HBA), host.Disk(), MAJOR)
                world, _superusers = host.world_of(server, tried, entries)
            reload_by_signal()
            change.in_force(PLACE, None, loaded)
            records = [entry for entry in entries if isinstance(entry, syntax.Record)]
            for attempt in tried:
                target = wire.socket_of(PLACE.socket_directory, PLACE.port)
                if attempt.address:
                    there = wire.reachable(attempt, ["*"], world.same_host)
                    target = wire.Target(there, PLACE.port, attempt.address)
                answer = wire.ask(target, attempt)
                answers[answer.kind] = answers.get(answer.kind, 0) + 1
                record = match.deciding(records, attempt, world)
                right = wire.agrees(record, answer, True, attempt.kind)
                results.add(f"{number}: {attempt}", "" if right else f"{answer}, rule {record}\n{text}")
    results.figures = {"policies": policies, "connections": policies * connections, **answers}


def wish(rules: Sequence[Mapping[str, Any]], **options: Any) -> change.Wish:
    return change.Wish(rules, options.pop("probes", cases.good_probes()), **{"window_seconds": 30, **options})


def establish() -> bytes:
    """Bring the good policy into force and return the file."""
    change.converge(PLACE, wish(cases.good_rules(), foreign_rules="remove"))
    return HBA.read_bytes()


def reached() -> str:
    """Return why the service or the administrator cannot log in, empty if both can."""
    try:
        with Server(PLACE) as server:
            server.value("SELECT 1")
        for _attempt in range(2):
            connection = psycopg2.connect(
                host="127.0.0.1", user="app", dbname="app", password=cases.SERVICE_PASSWORD, sslmode="require",
                connect_timeout=5,
            )  # fmt: skip
            connection.close()
    except (Refused, psycopg2.Error) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def left(before: bytes) -> str:
    """Return what a refused change left behind."""
    if HBA.read_bytes() != before:
        return f"the file has changed: {HBA.read_text()}"
    found = HBA.stat()
    if (found.st_mode & 0o777, HBA.owner(), HBA.group()) != (0o640, "postgres", "postgres"):
        return f"owner, group or mode have changed: {found}"
    rest = [str(path) for path in CONFIGURATION.iterdir() if path.name.startswith(".bulwark")]
    rest += [str(path) for path in Path("/var/lib/bulwark/transactions").glob("pending")]
    rest += [str(path) for path in Path("/tmp").glob("bulwark-hba-*")]
    return f"left behind: {rest}" if rest else ""


def nothing_is_found(_probe: object, _record: object = None) -> str:
    return ""


def bad(results: Results, seed: int, policies: int) -> None:
    """No bad policy leaves the database unreachable. Half of them get past a simulator that finds nothing."""
    rng = random.Random(f"bad {seed}")
    before = establish()
    kinds: dict[str, int] = {}
    for number in range(policies):
        spoil = cases.KINDS[number % len(cases.KINDS)]
        rules = cases.good_rules()
        spoil(rng, rules)
        blind = rng.random() < 0.5
        refusal = ""
        with contextlib.ExitStack() as patches:
            if blind:
                patches.enter_context(mock.patch.object(change, "_judged", nothing_is_found))
            try:
                change.converge(PLACE, wish(rules))
            except Refused as error:
                refusal = str(error)
        problem = reached() or (left(before) if refusal else "")
        stage = "accepted" if not refusal else "rolled back" if "back in force" in refusal else "refused"
        kinds[stage] = kinds.get(stage, 0) + 1
        if not refusal:
            before = establish()
        if stage == "accepted" and not blind:
            problem = problem or "it was accepted"
        results.add(f"{number} {spoil.__name__}{' blind' if blind else ''}: {refusal}", problem)
    results.figures = kinds


# Where a run can die, as (function, before or after it).
DEATHS = (
    ("rehearsal._ask", "after"),
    ("_candidate", "after"),
    ("reload_command", "before"),
    ("swap", "before"),
    ("swap", "after"),
    ("load", "after"),
    ("in_force", "after"),
    ("prove", "before"),
)


def dying(real: Callable[..., Any], when: str) -> Callable[..., Any]:
    def replacement(*arguments: Any, **options: Any) -> Any:
        if when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        answer = real(*arguments, **options)
        if isinstance(answer, contextlib.AbstractContextManager):
            answer.__enter__()
        os.kill(os.getpid(), signal.SIGKILL)
        return answer

    return replacement


def doomed(rules: list[dict[str, Any]], name: str, when: str) -> None:
    owner = rehearsal if name.startswith("rehearsal.") else change
    attribute = name.rpartition(".")[2]
    replacement = dying(getattr(owner, attribute), when)
    with mock.patch.object(change, "_judged", nothing_is_found), mock.patch.object(owner, attribute, replacement):
        change.converge(PLACE, wish(rules))


def killed(results: Results, seed: int, deaths: int) -> None:
    """A run that is killed is undone by its timer, or by what the timer would start, at any step.

    The first one that has put the file in its place waits for the timer itself.
    """
    by_timer = True
    rng = random.Random(f"killed {seed}")
    before = establish()
    for number in range(deaths):
        name, when = DEATHS[(number + seed) % len(DEATHS)]
        rules = cases.good_rules()
        spoils = [cases.wrong_address, cases.no_rule, cases.administrator_by_missing_map]
        # A run gets to its proofs only while the administrator gets in.
        (cases.wrong_address if name in ("in_force", "prove") else rng.choice(spoils))(rng, rules)
        process = multiprocessing.get_context("fork").Process(target=doomed, args=(rules, name, when))
        process.start()
        process.join(60)
        pending = Path("/var/lib/bulwark/transactions/pending")
        if pending.is_symlink():
            unit = f"bulwark-rollback-{pending.readlink()}"
            if by_timer and (name, when) == ("swap", "after"):
                by_timer = False
                until = time.monotonic() + 60
                while pending.is_symlink() and time.monotonic() < until:
                    time.sleep(0.5)
            else:
                run("systemctl", "start", f"{unit}.service")
        until = time.monotonic() + 5
        problem = reached()
        while problem and time.monotonic() < until:
            problem = reached()
        if not problem and process.exitcode != -signal.SIGKILL:
            problem = f"the run ended with {process.exitcode}"
        # The next run finds nothing in its way.
        try:
            change.converge(PLACE, wish(cases.good_rules()))
        except Refused as error:
            problem = problem or f"the next run: {error}"
        results.add(f"killed {when} {name}", problem or reached() or left(before))


@contextlib.contextmanager
def small_disk(full: bool) -> Iterator[None]:
    """Put the server's configuration on a file system that is full, or read-only."""
    copy = Path("/mnt/configuration")
    copy.mkdir(exist_ok=True)
    run("mount", "-t", "tmpfs", "-o", "size=256k,mode=755", "tmpfs", str(copy))
    run("cp", "-a", f"{CONFIGURATION}/.", str(copy))
    if full:
        with contextlib.suppress(OSError), (copy / "filler").open("wb") as filler:
            while True:
                filler.write(b"x" * 4096)
                filler.flush()
    else:
        run("mount", "-o", "remount,ro", str(copy))
    run("mount", "--bind", str(copy), str(CONFIGURATION))
    if not full:
        run("mount", "-o", "remount,ro,bind", str(CONFIGURATION))
    try:
        yield
    finally:
        run("umount", str(CONFIGURATION))
        run("umount", str(copy))


@contextlib.contextmanager
def replaced_file(prepare_it: Callable[[], None], undo: Callable[[], None] = lambda: None) -> Iterator[None]:
    content = HBA.read_bytes()
    prepare_it()
    try:
        yield
    finally:
        undo()
        if HBA.is_symlink():
            HBA.unlink()
        HBA.write_bytes(content)
        shutil.chown(HBA, "postgres", "postgres")
        HBA.chmod(0o640)
        reload_by_signal()


@contextlib.contextmanager
def stopped() -> Iterator[None]:
    run("systemctl", "stop", UNIT)
    try:
        yield
    finally:
        run("systemctl", "start", UNIT)


@contextlib.contextmanager
def patched(name: str, value: Any) -> Iterator[None]:
    with mock.patch.object(change, name, value), mock.patch.object(change, "RELOAD_SECONDS", 0.3):
        yield


def link() -> None:
    HBA.rename("/root/elsewhere.conf")
    HBA.symlink_to("/root/elsewhere.conf")


def fail(*_arguments: object, **_options: object) -> None:
    raise OSError(28, "No space left on device")


def do_nothing(*_arguments: object) -> None:
    pass


def failures(results: Results) -> None:
    """Each host that cannot, and each wish that must not be, ends with one sentence and nothing half-applied."""
    before = establish()
    changed = [*cases.good_rules(), {"type": "local", "databases": ["app"], "users": ["app"], "method": "peer"}]
    probes = cases.good_probes()
    trust = {"type": "local", "databases": ["app"], "users": ["app"], "method": "trust"}
    far = {"databases": ["all"], "users": ["all"], "addresses": ["192.0.2.0/24"]}

    def probe(**values: Any) -> change.Wish:
        return wish(cases.good_rules(), probes=[{**probes[0], **values}])

    def rule(**values: Any) -> change.Wish:
        return wish([*cases.good_rules(), {**changed[-1], **values}])

    nothing = contextlib.nullcontext
    elsewhere = "/root/elsewhere.conf"
    table: list[tuple[str, Any, Any, str]] = [
        ("server down", stopped(), wish(changed), "no session at"),
        ("full disk", small_disk(True), wish(changed), "cannot be written beside"),
        ("read-only directory", small_disk(False), wish(changed), "cannot be written beside"),
        ("a link", replaced_file(link, lambda: Path(elsewhere).unlink()), wish(changed), "is a symbolic link to"),
        ("no file", replaced_file(HBA.unlink), wish(changed), "cannot be read: No such file"),
        ("a broken file", replaced_file(lambda: append("locla all all peer")), wish(changed), "line"),
        ("a broken file, removed", replaced_file(lambda: append("host all")), wish(changed, foreign_rules="remove"),
         "has an error"),
        ("foreign rules", replaced_file(lambda: append("local all boss peer")), wish(changed), "does not know"),
        ("no reload", patched("load", do_nothing), wish(changed), "did not load its configuration"),
        ("a reload that fails", patched("load", fail), wish(changed), "No space left"),
        ("a swap that fails", patched("swap", fail), wish(changed), "No space left"),
        ("a proof that fails", patched("prove", fail), wish(changed), "No space left"),
        ("no rehearsal", mock.patch("tempfile.mkdtemp", fail), wish(changed), "no room"),
        ("no window", nothing(), wish(changed, window_seconds=5), "a window of 5 seconds"),
        ("no rules", nothing(), wish([]), "rules: there is none"),
        ("wrong password", nothing(), wish(changed, probes=[{**probes[0], "password": "wrong"}]), "could not log in"),
        ("unknown method of a probe", nothing(), probe(method="magic"), "probes[0].method"),
        ("another method", nothing(), probe(method="cert"), "expected to be allowed by the method cert"),
        ("no address", nothing(), probe(address=""), "probes[0].address"),
        ("a name as an address", nothing(), probe(address="localhost"), "probes[0].address"),
        ("no database", nothing(), probe(database=""), "probes[0].database"),
        ("password in the clear", nothing(), probe(connection="plaintext"), "probes[0].password"),
        ("the same name twice", nothing(), wish(changed, probes=[probes[0], probes[0]]), "is given twice"),
        ("trust", nothing(), wish([*cases.good_rules(), trust]), "rules[4].method: trust lets in"),
        ("md5", nothing(), rule(method="md5"), "rules[4].method: md5"),
        ("plaintext", nothing(), wish([*changed, {**far, "type": "host", "method": "scram-sha-256"}]), "without TLS"),
        ("superuser", nothing(), wish([changed[0], *changed[2:]]), "the superuser 'boss' could log in"),
        ("unknown type", nothing(), rule(type="remote"), "rules[4].type"),
        ("unknown method", nothing(), rule(method="magic"), "rules[4].method"),
        ("an address for the socket", nothing(), rule(addresses=["::1"]), "rules[4].addresses"),
        ("a wrong address", nothing(), rule(type="host", addresses=["10.0.0.1/8"]), "has host bits set"),
        ("a file of names", nothing(), rule(users=["@all"]), "rules[4].users[0]"),
        ("a long name", nothing(), rule(databases=["x" * 64]), "rules[4].databases[0]"),
        ("a line break", nothing(), rule(comment="a\nb"), "rules[4].comment"),
        ("an unknown option", nothing(), rule(options={"nonsense": "1"}), "refuses"),
    ]  # fmt: skip
    places = [
        ("wrong port", Place(port=5999), "no session at /var/run/postgresql/.s.PGSQL.5999"),
        ("wrong directory", Place("/nowhere"), "no session at /nowhere/.s.PGSQL.5432"),
        ("no such user", Place(system_user="nobody-here"), "no user of this host"),
    ]
    for name, place, words in places:
        results.add(name, refused(wish(changed), words, place) or left(before) or reached())
    for name, context, wished, words in table:
        with context:
            problem = refused(wished, words)
        results.add(name, problem or left(before) or eventually_reached())
    results.figures = {"failures": len(table) + len(places)}


def flows(results: Results) -> None:
    """What is not a failure: the second run, check mode, foreign rules, a file that was not loaded, a standby."""
    before = establish()
    extra = {"type": "local", "databases": ["my db"], "users": ['"all"'], "method": "scram-sha-256"}
    changed = [*cases.good_rules(), extra]
    outcome = change.converge(PLACE, wish(changed), check_mode=True)
    results.add("check mode", left(before) or ("" if outcome.plan.due else "it sees nothing to do"))
    outcome = change.converge(PLACE, wish(changed))
    found = [decision.found for decision in outcome.decisions]
    results.add("proofs", found != ["logged in", "logged in", "simulated", "asked", "simulated"] and found)
    results.add("second run", change.converge(PLACE, wish(changed)).plan.due)
    time.sleep(0.01)
    HBA.touch()
    results.add("a file that was not loaded", not change.converge(PLACE, wish(changed)).plan.due)
    establish()
    own = HBA.read_text()
    HBA.write_text(f"local all boss peer\n{own}# kept\nlocal all all trust\n")
    outcome = change.converge(PLACE, wish(cases.good_rules(), foreign_rules="adopt"))
    text = HBA.read_text()
    results.add("adopt", text != f"{own}local all boss peer\n# kept\nlocal all all trust\n" and text)
    results.add("adopt warns", "trust lets in everybody" not in " ".join(outcome.plan.warnings))
    again = change.converge(PLACE, wish(cases.good_rules(), foreign_rules="adopt"))
    results.add("adopt again", again.plan.due)
    establish()
    results.add("remove", HBA.read_text() != own and HBA.read_text())
    (Path("/var/lib/postgresql") / f"{MAJOR}/main/standby.signal").touch()
    run("systemctl", "restart", UNIT)
    outcome = change.converge(PLACE, wish(changed))
    with Server(PLACE) as server:
        standby = server.in_recovery
        server.rows("SELECT pg_promote()")
    results.add("a standby", "" if standby and outcome.plan.due else f"{standby} {outcome.plan.due}")
    establish()
    results.add("afterwards", reached() or left(before))


def append(line: str) -> None:
    with HBA.open("a") as file:
        file.write(f"{line}\n")


def eventually_reached() -> str:
    until = time.monotonic() + 10
    while problem := reached():
        if time.monotonic() > until:
            return problem
        time.sleep(0.1)
    return ""


def refused(wished: change.Wish, words: str, place: Place = PLACE) -> str:
    """Return what is wrong with how a wish is refused."""
    try:
        change.converge(place, wished)
    except Refused as error:
        if words not in str(error):
            return f"it was refused with: {error}"
        secret = [name for name in (cases.SERVICE_PASSWORD, "Traceback") if name in str(error)]
        return f"{secret} in {error}" if secret else ""
    return "it was accepted"


PARTS: dict[str, Callable[..., None]] = {
    "prepare": prepare, "parser": parser, "simulator": simulator, "bad": bad, "killed": killed, "failures": failures,
    "flows": flows,
}  # fmt: skip


def main() -> int:
    part, arguments = sys.argv[1], json.loads(sys.argv[2] if len(sys.argv) > 2 else "{}")
    results = Results()
    start = time.monotonic()
    PARTS[part](results, **arguments)
    results.figures["seconds"] = round(time.monotonic() - start, 1)
    json.dump({"cases": results.cases, "figures": results.figures}, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
