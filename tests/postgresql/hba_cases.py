# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Generated pg_hba.conf files, policies and connections. Everything follows from the random numbers that are given."""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Sequence
from typing import Any

ROLES = ("app", "reader", "boss", "team", "sub", "Up Case", 'q"uote', "all")
GROUPS = ("team", "sub", "nobody-is-here")
DATABASES = ("app", "other", "team", "reader", "my db", "a,b", "all", "replication")
# Legal, but none that a server has.
ODD = (
    "#hash",
    "back\\slash",
    "tail\\",
    "\u00e9t\u00e9",
    "@file",
    "+plus",
    "/slash",
    "x=y",
    "$user",
    "include",
    "%",
    "''",
)
PATTERNS = ("/^app", "/o", "/^(team|reader)$", "/^[A-Z ]+", "/a,b", '/"', "/^t.*m$", "/\\mmy\\M", "/")
METHODS = {"local": ("trust", "reject", "md5", "password", "scram-sha-256", "peer", "ident", "pam"),
           "host": ("trust", "reject", "md5", "password", "scram-sha-256", "ident", "pam", "gss")}  # fmt: skip
HOST_TYPES = ("host", "hostssl", "hostnossl", "hostgssenc", "hostnogssenc")
SERVICE_PASSWORD = "Canary-of-the-service-7"


def quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def written_name(rng: random.Random, name: str, literal: bool) -> str:
    """Write a name in one of the ways in which it can be; a literal one begins with a quote."""
    plain = not set(name) & set(' \t",#\\') and not name.startswith("@") and name.isascii()
    ways = [quoted(name)] if literal else [name[:1] + quoted(name[1:])] if name[:1] not in '"# ,' else [quoted(name)]
    if plain and not literal:
        ways += [name, name, name]
    return rng.choice(ways)


def written_list(rng: random.Random, words: Sequence[str]) -> str:
    text = words[0]
    for word in words[1:]:
        text += rng.choice([",", ", ", ",\t", ",,", ", ,"]) + word
    return text


def names(rng: random.Random, pool: Sequence[str], keywords: Sequence[str], major: int) -> str:
    found = []
    for _index in range(rng.choice([1, 1, 1, 2, 3])):
        draw = rng.random()
        if draw < 0.4:
            found.append(rng.choice(keywords))
        elif draw < 0.55 and major >= 16:
            found.append(written_name(rng, rng.choice(PATTERNS), rng.random() < 0.3))
        else:
            # What has a meaning of its own is written with quotes, and then has none; but a slash keeps it since 16.
            name = rng.choice([*pool, *ODD, *keywords])
            meant = name[:1] not in "+/@" and name not in keywords and rng.random() < 0.5
            found.append(written_name(rng, name, not meant))
    return written_list(rng, found)


def address(rng: random.Random) -> str:
    """Write an address in one of all notations."""
    four = ipaddress.IPv4Address(rng.getrandbits(32))
    six = ipaddress.IPv6Address(rng.getrandbits(128) >> rng.choice([0, 64, 100, 127]))
    return rng.choice(
        [
            "all", "samehost", "samenet", f"{four}/{rng.randrange(33)}", f"{six}/{rng.randrange(129)}",
            f"{four} {ipaddress.IPv4Address(rng.getrandbits(32))}", f"{four}\t255.255.{rng.choice([0, 255])}.0",
            f"{six} ffff:ffff::", "host.example.org", ".example.org", '"all"', '"samenet"', "127.1/8", "10.1 255.0.0.0",
            f'"{four}/8"', "UPPER.Example",
        ]
    )  # fmt: skip


def line(rng: random.Random, major: int) -> str:
    """Return one rule that the server accepts."""
    kind = rng.choice(["local", *HOST_TYPES])
    columns = [kind if rng.random() < 0.9 else quoted(kind)]
    columns.append(names(rng, DATABASES, ("all", "sameuser", "samerole", "replication", "samegroup"), major))
    columns.append(names(rng, ROLES, ("all", "+team", '+"Up Case"', "+all"), major))
    if kind != "local":
        columns.append(address(rng))
    methods = METHODS["local" if kind == "local" else "host"] + (("cert",) if kind == "hostssl" else ())
    method = rng.choice(methods)
    columns.append(method)
    if method in ("peer", "ident", "cert", "gss") and rng.random() < 0.5:
        columns.append(rng.choice(["map=people", 'map="my map"', '"map=a,b"', "map=a=b"]))
    if kind == "hostssl" and method != "cert" and rng.random() < 0.3:
        columns.append(f"clientcert={rng.choice(['verify-ca', 'verify-full'])}")
    if method == "pam" and rng.random() < 0.5:
        columns.append(rng.choice(["pamservice=postgresql", 'pamservice="a b"']))
    text = rng.choice(["", "", " ", "\t"]) + columns[0]
    for column in columns[1:]:
        text += rng.choice([" ", " ", "\t", "   ", " \t"]) + column
    return text + rng.choice(["", "", " ", ' # why, "not"', "#", "\r"])


def continued(rng: random.Random, text: str) -> str:
    """Break a line with backslashes where that changes nothing: anywhere, even within a word."""
    for _index in range(rng.choice([0, 0, 0, 1, 2])):
        place = rng.randrange(len(text) + 1)
        # A backslash that is content must not end up at the end of a line, nor a carriage return within one.
        if text[:place].endswith("\\") or text[place:].startswith("\\") or "\r" in text:
            continue
        text = f"{text[:place]}\\\n{text[place:]}"
    return text


def file_set(rng: random.Random, major: int) -> dict[str, str]:
    """Return files by name, relative to the directory of the first, "main"; the server accepts all of it."""
    files: dict[str, str] = {}
    lines = [line(rng, major) for _index in range(rng.randrange(1, 12))]
    for number in range(rng.choice([0, 0, 1, 2])):
        name = f"names-{number}"
        listed = [written_name(rng, rng.choice(ROLES), rng.random() < 0.5) for _index in range(rng.randrange(1, 5))]
        files[f"extra/{name}"] = "\n".join([rng.choice(["", "# people"]), *listed, ""])
        lines.append(f"local {rng.choice(['all', 'app'])} {rng.choice(['', 'boss,'])}@extra/{name} peer")
    if major >= 16:
        for number in range(rng.choice([0, 0, 1])):
            files[f"extra/more-{number}"] = body(rng, [line(rng, major) for _index in range(rng.randrange(3))], major)
            lines.append(rng.choice(["include", "include_if_exists", '"include"']) + f" extra/more-{number}")
        if rng.random() < 0.2:
            files["extra/d/b.conf"] = body(rng, [line(rng, major), "include ../deeper"], major)
            files["extra/deeper"] = body(rng, [line(rng, major)], major)
            files["extra/d/a.conf"] = body(rng, [line(rng, major)], major)
            files["extra/d/.hidden.conf"] = files["extra/d/not.config"] = "nonsense\n"
            lines.append("include_dir extra/d")
        if rng.random() < 0.2:
            lines.append("include_if_exists extra/there-is-none")
    rng.shuffle(lines)
    files["main"] = body(rng, lines, major)
    return files


def body(rng: random.Random, lines: Sequence[str], major: int) -> str:
    text = []
    for one in lines:
        text += rng.choice([[], [], [""], ["# a comment"], ["   # local all all trust"], ["\t"]])
        text.append(continued(rng, one) if major >= 14 else one)
    return "\n".join(text) + rng.choice(["\n", "\n", ""])


BREAKAGES = (
    "locla all all peer",
    "local",
    "local all",
    "local all all",
    "local all all peers",
    "host all all",
    "local,host all all peer",
    "host all all 10.0.0.0/33 reject",
    "host all all 10.0.0.0 reject",
    "host all all 10.0.0.0 ffff:: reject",
    "host all all name/8 reject",
    "host all all 10.0.0.0/8",
    "host all all 10.0.0.0/8 peer",
    "host all all all cert",
    "host all all all,samenet reject",
    "local all all trust,peer",
    "local all all gss",
    "local all all peer map",
    "host all all all scram-sha-256 clientcert=verify-ca",
    "local all all scram-sha-256 map=x",
    "host all all 10.0.0.0/ reject",
    "local @extra/missing all peer",
    "host all all 1.2.3.4/8x reject",
    "local all all peer nonsense=1",
    "host all all all ldap",
    "hostssl all all all cert clientcert=verify-ca",
    "local all all trust pamservice=x",
    "host all all 1.2.3.4 255.0.0 x reject",
)
BREAKAGES_16 = (
    "include extra/missing",
    "include_dir extra/missing",
    "local /( all peer",
    "include main",
    "include_dir",
)
# What these lines are refused for, only the server checks: the values of options, and regular expressions.
UNCHECKED = frozenset(("local /( all peer", "local all all peer nonsense=1", "host all all all ldap",
                       "hostssl all all all cert clientcert=verify-ca"))  # fmt: skip


def loopback(rng: random.Random) -> str:
    """Return a network that holds some addresses of this host, some of the time."""
    base = ipaddress.IPv4Address(
        (127 << 24) | rng.choice([0x000001, 0x000002, 0x000100, 0x010203, rng.getrandbits(24)])
    )
    bits = rng.choice([8, 16, 24, 30, 31, 32])
    return rng.choice(
        [f"{base}/{bits}", f"{base}/{bits}", f"{base} 255.0.255.0", "::1/128", "::/0", "0.0.0.0/0", "10.0.0.0/8", "all",
         "all", "127.0.0.0/8", "samehost", "samenet", "localhost", "no-such-host.invalid"]
    )  # fmt: skip


def decided_line(rng: random.Random, major: int) -> str:
    """Return a rule about roles, databases and addresses that a test host has."""
    kind = rng.choice(["local", "host", "host", "hostssl", "hostssl", "hostnossl", "hostnogssenc", "hostgssenc"])
    columns = [kind]
    databases = names(rng, DATABASES[:6], ("all", "all", "sameuser", "samerole", "replication"), major)
    columns.append(rng.choice(["all", databases, databases]))
    users = names(rng, ROLES, ("all", "all", "+team", "+sub"), major)
    columns.append(rng.choice(["all", users, users]))
    if kind != "local":
        columns.append(loopback(rng))
    method = rng.choice(["reject", "scram-sha-256", "scram-sha-256", "md5", "password", "trust"])
    columns.append(method)
    if kind == "hostssl" and rng.random() < 0.15:
        columns.append("clientcert=verify-ca" if method != "trust" else "clientcert=verify-full")
    return " ".join(columns)


def decided_file(rng: random.Random, major: int) -> str:
    lines = [decided_line(rng, major) for _index in range(rng.randrange(2, 14))]
    return "\n".join(["local all postgres peer", *lines, ""])


def connection(rng: random.Random, own: Sequence[str]) -> dict[str, Any]:
    """Return an attempt to log in from one of this host's addresses, or by the socket."""
    kind = rng.choice(["local", "tls", "tls", "plaintext", "plaintext"])
    replication = rng.random() < 0.15
    source = rng.choice(
        ["127.0.0.1", "127.0.0.1", "127.0.0.2", "127.0.1.0", "127.1.2.3", "::1", "::1",
         str(ipaddress.IPv4Address((127 << 24) | rng.randrange(1, (1 << 24) - 1))), *own]
    )  # fmt: skip
    return {
        "kind": kind,
        "user": rng.choice([*ROLES, *ROLES, "stranger", "postgres"]),
        "database": "" if replication else rng.choice([*DATABASES, *DATABASES, "postgres", "no-such"]),
        "address": "" if kind == "local" else source,
        "replication": replication,
    }


def good_rules() -> list[dict[str, Any]]:
    """Return the policy that every bad one is made from."""
    return [
        {"type": "local", "databases": ["all"], "users": ["postgres"], "method": "peer"},
        {"type": "host", "databases": ["all", "replication"], "users": ["postgres", "boss"], "addresses": ["all"],
         "method": "reject"},
        {"type": "hostssl", "databases": ["app"], "users": ["app"], "addresses": ["127.0.0.1/32", "192.0.2.0/24"],
         "method": "scram-sha-256"},
        {"type": "hostssl", "databases": ["other"], "users": ["+team"], "addresses": ["192.0.2.0/24"],
         "method": "scram-sha-256"},
    ]  # fmt: skip


def good_probes() -> list[dict[str, Any]]:
    return [
        {"name": "service", "connection": "tls", "user": "app", "database": "app", "address": "127.0.0.1",
         "expect": "allowed", "password": SERVICE_PASSWORD},
        {"name": "service host", "connection": "tls", "user": "app", "database": "app", "address": "192.0.2.7",
         "expect": "allowed"},
        {"name": "plaintext", "connection": "plaintext", "user": "app", "database": "app", "address": "127.0.0.1",
         "expect": "refused"},
        {"name": "stranger", "connection": "tls", "user": "stranger", "database": "app", "address": "198.51.100.1",
         "expect": "refused"},
    ]  # fmt: skip


# What can be wrong with the rules: those that the simulation finds, and those that only the server does.
def no_rule(rng: random.Random, rules: list[dict[str, Any]]) -> None:
    del rules[rng.choice([0, 2])]


def reject_first(rng: random.Random, rules: list[dict[str, Any]]) -> None:
    shut = rng.choice([
        {"type": "hostssl", "databases": ["all"], "users": ["all"], "addresses": ["all"]},
        {"type": "host", "databases": ["app"], "users": ["+sub"], "addresses": ["127.0.0.0/8"]},
        {"type": "host", "databases": ["sameuser"], "users": ["all"], "addresses": ["samehost"]},
        {"type": "local", "databases": ["all"], "users": ["all"]},
        {"type": "local", "databases": ["postgres"], "users": ["postgres"]},
    ])  # fmt: skip
    rules.insert(0, {**shut, "method": "reject"})


def wrong_name(rng: random.Random, rules: list[dict[str, Any]]) -> None:
    column, wrong = rng.choice([
        ("databases", "ap"), ("databases", '"all"'), ("databases", "replication"), ("users", "apq"), ("users", "+app2"),
        ("users", "APP"),
    ])  # fmt: skip
    rules[2][column] = [wrong]


def wrong_address(rng: random.Random, rules: list[dict[str, Any]]) -> None:
    rules[2]["addresses"] = [
        rng.choice(["192.0.2.0/24", "127.0.0.2/32", "::1/128", "no-such-host.invalid", ".invalid"])
    ]


def wrong_type(rng: random.Random, rules: list[dict[str, Any]]) -> None:
    rules[2].update(type=rng.choice(["hostnossl", "hostgssenc"]), accepted_risk="the test wants it so")


def wrong_method(rng: random.Random, rules: list[dict[str, Any]]) -> None:
    rules[2].update(method=rng.choice(["cert", "pam", "gss", "ident", "reject"]), accepted_risk="the test wants it so")


def needs_certificate(rng: random.Random, rules: list[dict[str, Any]]) -> None:
    rules[2]["options"] = {"clientcert": rng.choice(["verify-ca", "verify-full"])}


def administrator_by_password(rng: random.Random, rules: list[dict[str, Any]]) -> None:
    rules[0]["method"] = rng.choice(["scram-sha-256", "reject"])


def administrator_by_missing_map(rng: random.Random, rules: list[dict[str, Any]]) -> None:
    rules[0]["options"] = {"map": rng.choice(["nobody", "there is none"])}


def not_readable(rng: random.Random, rules: list[dict[str, Any]]) -> None:
    rules[rng.randrange(4)].update(
        rng.choice(
            [
                {"options": {"nonsense": "1"}},
                {"databases": ["a\nb"]},
                {"users": ["x" * 64]},
                {"databases": []},
                {"options": {"map": "a\nlocal all all trust"}},
                {"users": ["@/etc/passwd"]},
                {"databases": ["/("]},
                {"method": "sspi"},
                {"type": "localhost"},
                {"comment": "a\nhost all all all trust"},
            ]
        )
    )


def dangerous(rng: random.Random, rules: list[dict[str, Any]]) -> None:
    rules.insert(rng.choice([0, 2, 4]), rng.choice([
        {"type": "host", "databases": ["all"], "users": ["all"], "addresses": ["all"], "method": "trust"},
        {"type": "hostssl", "databases": ["all"], "users": ["all"], "addresses": ["all"], "method": "md5"},
        {"type": "local", "databases": ["all"], "users": ["all"], "method": "trust"},
        {"type": "host", "databases": ["all"], "users": ["app"], "addresses": ["0.0.0.0/0"], "method": "scram-sha-256"},
    ]))  # fmt: skip


KINDS = (no_rule, reject_first, wrong_name, wrong_address, wrong_type, wrong_method, needs_certificate,
         administrator_by_password, administrator_by_missing_map, not_readable, dangerous)  # fmt: skip
