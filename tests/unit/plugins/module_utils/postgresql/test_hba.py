# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""pg_hba.conf: what is written reads back as the same, the first rule that fits decides, and weak rules are refused."""

from __future__ import annotations

import ipaddress
import json
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.bulwark.hardening.plugins.module_utils.postgresql.hba import match, model, syntax, wire
from ansible_collections.bulwark.hardening.plugins.module_utils.postgresql.hba.match import LOCAL, PLAINTEXT, TLS
from ansible_collections.bulwark.hardening.plugins.module_utils.postgresql.hba.syntax import (
    Address,
    Problem,
    Record,
    Token,
)
from ansible_collections.bulwark.hardening.plugins.modules import postgresql_login

PATH = "/etc/postgresql/17/main/pg_hba.conf"
CONNECTION = match.Connection(TLS, "app", "app", "192.0.2.10")


class Disk:
    """Files in memory."""

    def __init__(self, **files: str) -> None:
        self.files = {f"/etc/postgresql/17/main/{name}": text for name, text in files.items()}

    def read(self, path: str) -> str:
        if path not in self.files:
            raise FileNotFoundError(2, "No such file or directory", path)
        return self.files[path]

    def names(self, directory: str) -> list[str]:
        return [path.rpartition("/")[2] for path in self.files if path.rpartition("/")[0] == directory]


def parsed(text: str, major: int = 17, files: dict[str, str] | None = None) -> list[syntax.Entry]:
    return syntax.parse(text, PATH, Disk(**(files or {})), major)


# A word whose first character would mean something else is one in quotes; that is how the policy makes them.
letters = st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1, max_size=8)
tokens = st.builds(Token, letters, st.booleans()).filter(
    lambda token: token.quoted or (token.text[0] != "@" and syntax.BARE.fullmatch(token.text[0]) is not None)
)
fields = st.lists(tokens, min_size=1, max_size=3).map(tuple)


@st.composite
def records(draw: st.DrawFn) -> Record:
    kind = draw(st.sampled_from(("local", "host", "hostssl", "hostnossl")))
    network = draw(
        st.one_of(st.ip_addresses(v=4).map(ipaddress.ip_network), st.ip_addresses(v=6).map(ipaddress.ip_network))
    )
    address = draw(
        st.one_of(
            st.just(Address(keyword="all")),
            st.just(Address(keyword="samenet")),
            st.just(Address(name="db.example.org")),
            st.just(Address(base=int(network.network_address), mask=int(network.netmask), version=network.version)),
        )
    )
    method = draw(st.sampled_from(("reject", "scram-sha-256", "trust", "md5")))
    return Record(kind, draw(fields), draw(fields), None if kind == "local" else address, method, (), PATH, 1)


@given(records())
def test_a_record_reads_back_as_the_same(record: Record) -> None:
    (back,) = parsed(syntax.render(record))
    assert isinstance(back, Record), back
    # A word that begins with a quote is quoted, whatever is in it.
    assert back.method == record.method
    assert back.address == record.address
    for written, found in ((record.databases, back.databases), (record.users, back.users)):
        assert [token.text for token in found] == [token.text for token in written]
        assert [token.quoted for token in found if token.text] == [token.quoted for token in written if token.text]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("local all all peer", [["local"], ["all"], ["all"], ["peer"]]),
        ("host a,b , c x", [["host"], ["a", "b"], ["c"], ["x"]]),
        ('local "a b" "c""d" peer # why', [["local"], ["a b"], ['c"d'], ["peer"]]),
        ('local al"l" x#y', [["local"], ["all"], ["x"]]),
        ("   ", []),
    ],
)
def test_words(line: str, expected: list[list[str]]) -> None:
    assert [[token.text for token in field] for field in syntax.words(line)] == expected


def test_continued_lines_count_as_the_first() -> None:
    text = "local all \\\n  all peer\nhost\n"
    record, problem = parsed(text)
    assert isinstance(record, Record)
    assert record.line == 1
    assert isinstance(problem, Problem)
    assert problem.line == 3
    first = parsed(text, major=13)[0]
    assert isinstance(first, Problem)


def test_included_files_take_the_place_of_their_line() -> None:
    found = parsed(
        "include more.conf\ninclude_if_exists none.conf\nlocal @users all peer\n",
        files={"more.conf": "local one all peer\n", "users": "a, b\nc\n"},
    )
    assert [[token.text for token in entry.databases] for entry in found if isinstance(entry, Record)] == [
        ["one"],
        ["a", "b", "c"],
    ]
    (missing,) = parsed("include none.conf\n")
    assert "cannot be read" in str(missing)
    (circle,) = parsed("include loop.conf\n", files={"loop.conf": "include loop.conf\n"})
    assert "levels deep" in str(circle)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("hosts all all 127.0.0.1/32 trust", "the connection type is 'hosts'"),
        ("local all", "the line ends before the users"),
        ("local all all", "the line ends before the method"),
        ("local all all scram", "the method is 'scram'"),
        ("local,host all all peer", "the connection type has 2 values"),
        ("host all all 127.0.0.1/33 trust", "accepted are /0 to /32"),
        ("host all all 127.0.0.1 255.0.0 trust", ""),
        ("host all all name.example.org/32 trust", "a name with a mask"),
        ("host all all ::1 255.255.255.255 trust", "different versions of IP"),
        ("host all all 127.0.0.1/32 peer", "the method peer does not exist for host"),
        ("host all all 127.0.0.1/32 cert", "needs hostssl"),
        ("host all all 127.0.0.1/32 scram-sha-256 clientcert=verify-ca", "needs hostssl"),
        ("host all all 127.0.0.1/32 scram-sha-256 map", "is not written name=value"),
        ("host all all 127.0.0.1/32 scram-sha-256 map=x", "is for the methods"),
        ("local all all oauth", "the method is 'oauth'"),
    ],
)
def test_a_line_that_the_server_refuses_is_told_with_its_place(line: str, words: str) -> None:
    entries = parsed(f"\n{line}\n")
    if words:
        (problem,) = entries
        assert isinstance(problem, Problem)
        assert words in str(problem)
        assert str(problem).startswith(f"{PATH} line 2: ")


def records_of(*lines: str, major: int = 17) -> list[Record]:
    found = parsed("\n".join(lines), major)
    assert all(isinstance(entry, Record) for entry in found), found
    return [entry for entry in found if isinstance(entry, Record)]


@pytest.mark.parametrize(
    ("lines", "line"),
    [
        (["hostssl app app 192.0.2.10/32 scram-sha-256"], 1),
        (["local app app peer", "host app app 192.0.2.0/24 scram-sha-256"], 2),
        (["hostnossl all all all reject", "hostssl all all all scram-sha-256"], 2),
        (["host other app all reject", "host all app all trust"], 2),
        (["host sameuser all all trust"], 1),
        (["host samerole all all trust"], 1),
        (["host all +team all trust"], 1),
        (["host all +others all trust"], 0),
        (['host all "+team" all trust'], 0),
        (['host "all" all all trust'], 0),
        (["host replication all all trust"], 0),
        (["host all all samenet trust"], 1),
        (["host all all samehost trust"], 0),
        (["host all all .example.org trust"], 1),
        (["host all all client.example.org trust"], 1),
        (["host all all example.org trust"], 0),
        (["host all /^ap all trust"], 1),
        (["host all all 192.0.2.11/32 trust"], 0),
        (["host all all ::/0 trust"], 0),
    ],
)
def test_the_first_rule_that_fits_decides(lines: list[str], line: int) -> None:
    world = match.World(
        17,
        {"app": {"app", "team"}},
        (Address(base=int(ipaddress.ip_address("192.0.2.1")), mask=0xFFFFFF00, version=4),),
        {"192.0.2.10": ["client.example.org"]},
        lambda pattern, text: pattern == "^ap" and text.startswith("ap"),
    )
    decision = match.deciding(records_of(*lines), CONNECTION, world)
    assert (decision.line if decision else 0) == line


def test_replication_and_the_socket_are_matched_apart() -> None:
    world = match.World(17)
    rules = records_of("local all all peer", "hostssl replication standby all scram-sha-256")
    standby = match.Connection(TLS, "standby", "", "192.0.2.20", replication=True)
    found = match.deciding(rules, standby, world)
    assert found is not None
    assert found.line == 2
    assert match.deciding(rules, match.Connection(LOCAL, "app", "app"), world) is rules[0]
    assert match.deciding(rules, match.Connection(PLAINTEXT, "standby", "", "192.0.2.20", True), world) is None


def test_a_slash_is_a_name_before_version_16() -> None:
    world = match.World(15, matches=lambda _pattern, _text: True)
    assert match.deciding(records_of("host all /^ap all trust", major=15), CONNECTION, world) is None


REJECTED = {"type": "host", "databases": ["all"], "users": ["postgres"], "addresses": ["all"], "method": "reject"}
RULE: dict[str, Any] = {"type": "hostssl", "databases": ["app"], "users": ["app"], "addresses": ["192.0.2.10"]}


def policy(*rules: dict[str, Any], probes: Any = (), major: int = 17) -> model.Policy:
    complete = [{"method": "scram-sha-256", **RULE, **rule} for rule in rules]
    return model.policy_of(complete, probes, major, "postgres")


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"method": "trust"}, "rules[0].method: trust lets in everybody without a password"),
        ({"method": "md5"}, "rules[0].method: md5 takes hashes"),
        ({"type": "host"}, "rules[0].type: host lets clients of other hosts in without TLS"),
        ({"type": "hosts"}, "rules[0].type: 'hosts' is no type"),
        ({"addresses": []}, "rules[0].addresses: a rule of the type hostssl needs at least one"),
        ({"type": "local"}, "rules[0].addresses: a rule of the type local has none"),
        ({"addresses": ["192.0.2.300"]}, "rules[0].addresses[0]: '192.0.2.300' is no address"),
        ({"addresses": ["192.0.2.1/24"]}, "rules[0].addresses[0]: '192.0.2.1/24' is no address"),
        ({"users": []}, "rules[0].users: there is none"),
        ({"users": ["@file"]}, "would be read as a file's name"),
        ({"databases": ["a\nb"]}, "rules[0].databases[0]:"),
        ({"comment": "two\nlines"}, "rules[0].comment:"),
        ({"method": "cert", "type": "host"}, "rules[0]:"),
    ],
)
def test_a_rule_that_must_not_be_is_named_by_its_path(rule: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match="rules") as refused:
        policy(rule)
    assert words in str(refused.value)


def test_a_regular_expression_needs_a_version_that_knows_it() -> None:
    with pytest.raises(ValueError, match="regular expression, which PostgreSQL 15 does not know"):
        policy({"users": ["/^app_"]}, major=15)
    assert policy({"users": ["/^app_"]}, major=16).rules[0].records[0].users[0].text == "/^app_"


def test_a_risk_that_is_accepted_is_written_before_its_rule() -> None:
    text = model.text_of(policy({"method": "md5", "accepted_risk": "an old client", "comment": "billing"}))
    assert text == (
        f"{model.BEGIN}\n# billing\n# accepted risk: an old client\nhostssl app app 192.0.2.10/32 md5\n{model.END}\n"
    )


def test_only_what_is_between_the_marks_is_the_policys() -> None:
    text = f"local all all peer\n{model.text_of(policy(RULE))}host all all all reject\n"
    assert model.outside(text) == "local all all peer\nhost all all all reject\n"
    assert model.outside("local all all peer\n") == "local all all peer\n"


@pytest.mark.parametrize(
    ("rules", "refused"),
    [
        ([{"users": ["all"], "addresses": ["all"]}], True),
        ([{"users": ["app"], "addresses": ["all"]}], False),
        ([{"users": ["all"], "addresses": ["127.0.0.1"]}], False),
        ([{"users": ["+keepers"], "addresses": ["all"]}], True),
        ([REJECTED, {"users": ["all"], "addresses": ["all"]}], False),
        (
            [
                {
                    "type": "hostnossl",
                    "databases": ["all"],
                    "users": ["postgres"],
                    "addresses": ["all"],
                    "method": "reject",
                },
                {"users": ["all"], "addresses": ["all"]},
            ],
            True,
        ),
    ],
)
def test_no_rule_lets_a_superuser_in_from_elsewhere(rules: list[dict[str, Any]], refused: bool) -> None:
    world = match.World(17, {"postgres": {"postgres", "keepers"}})
    found = model.superuser_problems(policy(*rules), ["postgres"], world)
    assert bool(found) is refused


def test_a_probe_that_ends_otherwise_is_told_with_its_rule() -> None:
    probe = {"name": "the service", "connection": TLS, "user": "app", "database": "app", "address": "192.0.2.10"}
    made = policy(RULE, probes=[{**probe, "expect": "refused"}])
    record = records_of("hostssl app app 192.0.2.10/32 scram-sha-256")[0]
    said = model.judge(made.probes[1], record)
    assert said.startswith("the service ('app' to database 'app' over tls from 192.0.2.10) would be allowed")
    assert "is expected to be refused" in said
    assert model.judge(policy(RULE, probes=[{**probe, "expect": "allowed"}]).probes[1], record) == ""


@pytest.mark.parametrize(
    ("probe", "words"),
    [
        ({"connection": "carrier pigeon"}, "probes[0].connection:"),
        ({"address": ""}, "probes[0].address: a probe over tls needs the client's"),
        ({"address": "here"}, "probes[0].address: 'here' is no address"),
        ({"database": ""}, "probes[0].database: name the one to connect to"),
        ({"replication": True}, "probes[0].database:"),
        ({"expect": "perhaps"}, "probes[0].expect: 'perhaps'"),
        ({"method": "reject"}, ""),
        ({"expect": "refused", "method": "md5"}, "probes[0].method:"),
        ({"expect": "refused", "password": "canary"}, "probes[0].password:"),
    ],
)
def test_a_probe_that_makes_no_sense_is_named_by_its_path(probe: dict[str, Any], words: str) -> None:
    sound = {
        "name": "a",
        "connection": TLS,
        "user": "app",
        "database": "app",
        "address": "192.0.2.10",
        "expect": "allowed",
    }
    if not words:
        policy(RULE, probes=[{**sound, **probe}])
        return
    with pytest.raises(ValueError, match="probes") as refused:
        policy(RULE, probes=[{**sound, **probe}])
    assert words in str(refused.value)
    assert "canary" not in str(refused.value)


def test_the_file_of_a_new_cluster_is_nobodys_choice() -> None:
    lines = [line.format(user="postgres", method="scram-sha-256").replace(" ", "  ") for line in model.NEW_CLUSTER]
    assert model.is_of_new_cluster(lines, "postgres")
    assert model.is_of_new_cluster([line.replace("scram-sha-256", "md5") for line in lines], "postgres")
    assert not model.is_of_new_cluster([*lines, "host all all 192.0.2.0/24 md5"], "postgres")
    assert not model.is_of_new_cluster(lines[:-1], "postgres")
    assert not model.is_of_new_cluster([], "postgres")


# What the server answers


def message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack(">i", len(body) + 4) + body


def failure(state: str, text: str, routine: str = "ClientAuthentication") -> bytes:
    parts = (f"SFATAL\0C{state}\0M{text}\0R{routine}\0").encode()
    return message(b"E", parts + b"\0")


@pytest.fixture
def answering() -> Iterator[Any]:
    """Return a function that starts a listener which answers every client alike, and gives its port."""
    listeners: list[socket.socket] = []

    def listen(answer: bytes) -> int:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def serve() -> None:
            while True:
                try:
                    client, _address = listener.accept()
                except OSError:
                    return
                with client:
                    client.recv(4096)
                    client.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        return int(listener.getsockname()[1])

    yield listen
    for listener in listeners:
        listener.close()


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (message(b"R", struct.pack(">i", 10) + b"SCRAM-SHA-256\0\0"), wire.SCRAM),
        (message(b"R", struct.pack(">i", 10) + b"OAUTHBEARER\0\0"), wire.OAUTH),
        (message(b"R", struct.pack(">i", 5) + b"salt"), wire.MD5),
        (message(b"R", struct.pack(">i", 3)), wire.PASSWORD),
        (message(b"R", struct.pack(">i", 0)), wire.ADMITTED),
        (failure("28000", "no pg_hba.conf entry"), wire.REFUSED),
        (failure("28P01", "password authentication failed", "auth_failed"), wire.FAILED),
        (failure("53300", "sorry, too many clients already"), wire.ERROR),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", wire.ERROR),
        (b"", wire.UNREACHABLE),
    ],
)
def test_the_first_answer_tells_how_one_is_let_in(answering: Any, answer: bytes, kind: str) -> None:
    target = wire.Target("127.0.0.1", answering(answer))
    assert wire.ask(target, match.Connection(PLAINTEXT, "app", "app", "127.0.0.1")).kind == kind


def test_a_server_without_tls_is_told_from_one_that_is_not_there(answering: Any) -> None:
    assert wire.ask(wire.Target("127.0.0.1", answering(b"N")), CONNECTION).kind == wire.NO_TLS
    assert wire.ask(wire.Target("127.0.0.1", answering(b"Sno handshake")), CONNECTION).kind == wire.NO_TLS
    assert wire.ask(wire.Target("/nowhere/.s.PGSQL.5432"), match.Connection(LOCAL, "a", "a")).kind == wire.UNREACHABLE


def test_a_name_is_sent_as_it_is() -> None:
    sent = wire.startup(match.Connection(TLS, "ä", "app", "192.0.2.1"))
    assert "user\0ä\0application_name\0bulwark\0database\0app\0\0".encode() in sent
    assert b"replication\0true\0" in wire.startup(match.Connection(TLS, "standby", "", "192.0.2.1", True))


def test_a_certificate_is_verified_against_the_cas_that_are_named(tmp_path: Any) -> None:
    with pytest.raises(OSError, match=r"."):
        wire.verified(str(tmp_path / "none.pem"))
    (tmp_path / "empty.pem").write_text("nothing")
    with pytest.raises(ssl.SSLError):
        wire.verified(str(tmp_path / "empty.pem"))


@pytest.mark.parametrize(
    ("answer", "expect", "words"),
    [
        (wire.Answer(wire.SCRAM), "allowed", ""),
        (wire.Answer(wire.REFUSED, "no entry"), "refused", ""),
        (wire.Answer(wire.NO_TLS), "refused", ""),
        (wire.Answer(wire.REFUSED, "no entry"), "allowed", "is expected to be allowed, and the answer is refused"),
        (wire.Answer(wire.SCRAM), "refused", "is expected to be refused, and the answer is scram"),
        (wire.Answer(wire.UNTRUSTED, "expired"), "refused", "no answer to go by: expired"),
        (wire.Answer(wire.UNREACHABLE, "timed out"), None, "no answer to go by: timed out"),
        (wire.Answer(wire.MD5), None, ""),
    ],
)
def test_a_login_ends_as_expected_or_is_told(answer: wire.Answer, expect: str | None, words: str) -> None:
    assert postgresql_login.judged(answer, expect).startswith(words)
    assert bool(postgresql_login.judged(answer, expect)) is bool(words)


def test_logins_of_one_call_are_told_one_by_one(answering: Any) -> None:
    port = answering(failure("28000", "no pg_hba.conf entry"))
    login = {"user": "app", "database": "app", "replication": None, "tls": False}
    result = postgresql_login.operate(
        {
            "host": "127.0.0.1",
            "port": port,
            "ca_file": None,
            "source": "",
            "logins": [{**login, "name": "a", "expect": "refused"}, {**login, "name": "b", "expect": "allowed"}],
        }
    )
    assert [entry["answer"] for entry in result["answers"]] == ["refused", "refused"]
    assert "b ('app' to database 'app'" in result["msg"]
    assert "a ('app'" not in result["msg"]
    json.dumps(result)
