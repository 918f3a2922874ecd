# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wished: roles, databases, and who may do what; pure.

``ARGUMENTS`` is the form of a wish, as the module's options have it. ``parse`` checks all of it, and names each faulty
value by its path.
"""

from __future__ import annotations

import fnmatch
import typing as t
from dataclasses import dataclass

from .. import scram
from ..names import name_problem
from ..server import Refused

# Everybody, as it is kept here: a role named so cannot exist, while one named "PUBLIC" can.
PUBLIC = "public"
EVERYBODY = ("PUBLIC", PUBLIC)
# What can be granted on each kind of object, as GRANT names it, with the first version that knows it.
PRIVILEGES: dict[str, dict[str, int]] = {
    "DATABASE": {"CREATE": 0, "CONNECT": 0, "TEMPORARY": 0},
    "SCHEMA": {"CREATE": 0, "USAGE": 0},
    "TABLE": {
        "SELECT": 0, "INSERT": 0, "UPDATE": 0, "DELETE": 0, "TRUNCATE": 0, "REFERENCES": 0, "TRIGGER": 0,
        "MAINTAIN": 17,
    },
    "SEQUENCE": {"SELECT": 0, "UPDATE": 0, "USAGE": 0},
    "ROUTINE": {"EXECUTE": 0},
    "TYPE": {"USAGE": 0},
}  # fmt: skip
COLUMN_PRIVILEGES = ("SELECT", "INSERT", "UPDATE", "REFERENCES")
ALL = "ALL"
# The keys of a schema, and the kind that each is about; also what default privileges are given for.
KINDS = {"tables": "TABLE", "sequences": "SEQUENCE", "functions": "ROUTINE", "types": "TYPE"}
DEFAULT_KINDS = {**KINDS, "schemas": "SCHEMA"}
# What lets its holder change or remove rows, or hook into their table.
TAMPERING = ("UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER")
ATTRIBUTES = ("login", "inherit", "superuser", "createrole", "createdb", "replication", "bypassrls")

Options = dict[str, t.Any]
_GRANT: Options = {
    "roles": {"type": "list", "elements": "str", "required": True},
    "privileges": {"type": "list", "elements": "str", "required": True},
}
_GRANTS: Options = {"type": "list", "elements": "dict", "default": [], "options": _GRANT}
_RULE: Options = {
    "names": {"type": "list", "elements": "str", "required": True},
    "except": {"type": "list", "elements": "str", "default": []},
    "grants": _GRANTS,
}
_TABLE_RULE: Options = {
    **_RULE,
    "grants": {**_GRANTS, "options": {**_GRANT, "columns": {"type": "list", "elements": "str", "default": []}}},
    "append_only": {"type": "bool", "default": False},
}
_RULES: Options = {"type": "list", "elements": "dict", "options": _RULE}
ARGUMENTS: Options = {
    "roles": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "name": {"type": "str", "required": True},
            **{name: {"type": "bool", "default": name == "inherit"} for name in ATTRIBUTES},
            "connection_limit": {"type": "int", "default": -1},
            "member_of": {"type": "list", "elements": "str", "default": []},
            "password": {"type": "str", "no_log": True},
            "verifier": {"type": "str", "no_log": True},
            "adopt": {"type": "bool", "default": False},
        },
    },
    "databases": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "name": {"type": "str", "required": True},
            "owner": {"type": "str"},
            "grants": _GRANTS,
            "schemas": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "name": {"type": "str", "required": True},
                    "owner": {"type": "str"},
                    "objects_owner": {"type": "str"},
                    "grants": _GRANTS,
                    "tables": {**_RULES, "default": [], "options": _TABLE_RULE},
                    "sequences": {**_RULES, "default": []},
                    "functions": _RULES,
                    "types": _RULES,
                },
            },
            "default_privileges": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "creator": {"type": "str", "required": True},
                    "schema": {"type": "str"},
                    "objects": {"type": "str", "required": True, "choices": list(DEFAULT_KINDS)},
                    "grants": _GRANTS,
                },
            },
        },
    },
}


@dataclass(frozen=True)
class Role:
    """A role with exactly these attributes and memberships. ``password`` and ``verifier`` are empty if not wished."""

    name: str
    login: bool = False
    inherit: bool = True
    superuser: bool = False
    createrole: bool = False
    createdb: bool = False
    replication: bool = False
    bypassrls: bool = False
    connection_limit: int = -1
    member_of: tuple[str, ...] = ()
    password: str = ""
    verifier: str = ""
    adopt: bool = False


@dataclass(frozen=True)
class Grant:
    """Privileges of one role, on the whole object or on columns of it."""

    role: str
    privileges: tuple[str, ...]
    columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rule:
    """Grants on the objects of a schema whose name matches. ``*`` and ``?`` are patterns; nothing else is."""

    names: tuple[str, ...]
    excepted: tuple[str, ...] = ()
    grants: tuple[Grant, ...] = ()
    append_only: bool = False

    def covers(self, name: str) -> bool:
        """Return whether the rule is about the object of this name."""
        return matches(self.names, name) and not matches(self.excepted, name)

    @property
    def exact_names(self) -> tuple[str, ...]:
        """The names without a pattern, whose objects have to exist."""
        return tuple(name for name in self.names if not is_pattern(name))


@dataclass(frozen=True)
class Schema:
    """A schema and what is in it; of each kind in ``rules`` the privileges are exact."""

    name: str
    owner: str
    objects_owner: str
    grants: tuple[Grant, ...]
    rules: t.Mapping[str, tuple[Rule, ...]]

    def append_only(self, table: str) -> bool:
        """Return whether rows of the table may only be added."""
        return any(rule.append_only and rule.covers(table) for rule in self.rules["TABLE"])


@dataclass(frozen=True)
class DefaultPrivileges:
    """What objects that a role will create are born with; ``schema`` is empty for every schema."""

    creator: str
    schema: str
    kind: str
    grants: tuple[Grant, ...]


@dataclass(frozen=True)
class Database:
    """A database; its privileges, and those of the objects in the schemas that it names, are exact."""

    name: str
    owner: str = ""
    grants: tuple[Grant, ...] = ()
    schemas: tuple[Schema, ...] = ()
    defaults: tuple[DefaultPrivileges, ...] = ()


@dataclass(frozen=True)
class Wish:
    """All of it."""

    roles: tuple[Role, ...] = ()
    databases: tuple[Database, ...] = ()

    def role(self, name: str) -> Role | None:
        """Return the role of this name, if the wish is about it."""
        return next((role for role in self.roles if role.name == name), None)


def is_pattern(name: str) -> bool:
    """Return whether the name stands for many."""
    return "*" in name or "?" in name


def matches(patterns: t.Iterable[str], name: str) -> bool:
    """Return whether one of the patterns is about the name; brackets have no meaning in them."""
    return any(
        fnmatch.fnmatchcase(name, pattern.replace("[", "[[]")) if is_pattern(pattern) else name == pattern
        for pattern in patterns
    )


def expanded(privileges: t.Iterable[str], kind: str, major: int) -> set[str]:
    """Return the privileges by name, with all that this version knows of in place of ALL."""
    known = {name for name, since in PRIVILEGES[kind].items() if major >= since}
    return {name for given in privileges for name in (known if given == ALL else (given,))}


def parse(arguments: t.Mapping[str, t.Any]) -> Wish:
    """Return the wish that the options hold. Raises Refused, with one part for each faulty value."""
    problems: list[str] = []
    values = _typed({name: arguments.get(name) for name in ARGUMENTS}, ARGUMENTS, "", problems)
    if not problems:
        problems = list(_problems(values))
    if problems:
        raise Refused("; ".join(problems))
    return Wish(
        tuple(Role(**{**role, "member_of": tuple(role["member_of"])}) for role in values["roles"]),
        tuple(_database(database) for database in values["databases"]),
    )


def _database(values: Options) -> Database:
    schemas = tuple(
        Schema(
            schema["name"],
            schema["owner"],
            schema["objects_owner"],
            _grants(schema["grants"]),
            {
                kind: tuple(
                    Rule(
                        tuple(rule["names"]),
                        tuple(rule["except"]),
                        _grants(rule["grants"]),
                        bool(rule.get("append_only")),
                    )
                    for rule in schema[key]
                )
                for key, kind in KINDS.items()
                if schema[key] is not None
            },
        )
        for schema in values["schemas"]
    )
    defaults = tuple(
        DefaultPrivileges(entry["creator"], entry["schema"], DEFAULT_KINDS[entry["objects"]], _grants(entry["grants"]))
        for entry in values["default_privileges"]
    )
    return Database(values["name"], values["owner"], _grants(values["grants"]), schemas, defaults)


def _grants(grants: t.Iterable[Options]) -> tuple[Grant, ...]:
    return tuple(
        Grant(
            PUBLIC if role in EVERYBODY else role,
            tuple(name.upper() for name in grant["privileges"]),
            tuple(grant.get("columns") or ()),
        )
        for grant in grants
        for role in grant["roles"]
    )


def _typed(values: t.Mapping[str, t.Any], options: Options, path: str, problems: list[str]) -> Options:
    """Return the values with defaults in place of what is missing; what has the wrong type goes into ``problems``."""
    problems += [
        f"{path}{name}: there is no such key; accepted are {', '.join(options)}"
        for name in values
        if name not in options
    ]
    result: Options = {}
    for name, option in options.items():
        value = values.get(name)
        if value is not None:
            result[name] = _value(value, option, f"{path}{name}", problems)
        elif option.get("required"):
            problems.append(f"{path}{name}: is missing")
        else:
            result[name] = option.get("default", "" if option["type"] == "str" else None)
    return result


def _value(value: t.Any, option: Options, path: str, problems: list[str]) -> t.Any:
    kind = option["type"]
    shown = "a secret" if option.get("no_log") else repr(value)
    if kind == "list":
        if isinstance(value, (list, tuple)):
            element = {**option, "type": option["elements"]}
            return [_value(item, element, f"{path}[{index}]", problems) for index, item in enumerate(value)]
    elif kind == "dict":
        if isinstance(value, t.Mapping):
            return _typed(value, option["options"], f"{path}.", problems)
    elif _is(kind, value) and value in option.get("choices", (value,)):
        return value
    words = {
        "list": "a list",
        "dict": "a dictionary",
        "str": "a text",
        "int": "a whole number",
        "bool": "true or false",
    }
    accepted = f"one of {', '.join(option['choices'])}" if "choices" in option and kind == "str" else words[kind]
    problems.append(f"{path}: {shown} is not accepted; accepted is {accepted}")
    return None


def _is(kind: str, value: t.Any) -> bool:
    accepted: dict[str, type] = {"str": str, "int": int, "bool": bool}
    return isinstance(value, accepted[kind]) and (kind != "int" or not isinstance(value, bool))


def _problems(values: Options) -> t.Iterator[str]:
    yield from _repeated(values["roles"], "roles")
    yield from _repeated(values["databases"], "databases")
    for index, role in enumerate(values["roles"]):
        yield from _role_problems(role, f"roles[{index}]")
    yield from _circles({role["name"]: role["member_of"] for role in values["roles"]})
    for index, database in enumerate(values["databases"]):
        yield from _database_problems(database, f"databases[{index}]")


def _repeated(entries: t.Sequence[Options], path: str) -> t.Iterator[str]:
    first: dict[str, int] = {}
    for index, entry in enumerate(entries):
        before = first.setdefault(entry["name"], index)
        if before != index:
            yield f"{path}[{index}].name: {entry['name']!r} is also the name of {path}[{before}]; join the two"


def _name(name: str, path: str) -> t.Iterator[str]:
    problem = name_problem(name)
    if not problem and any(0xD800 <= ord(character) <= 0xDFFF for character in name):
        problem = f"the name {name!r} is not Unicode; write it in UTF-8"
    if problem:
        yield f"{path}: {problem}"


def _role_name(name: str, path: str, public: bool = False) -> t.Iterator[str]:
    yield from _name(name, path)
    if name == "none" or (name in EVERYBODY and not public):
        yield f"{path}: {name!r} is no role and cannot be one" + ("; everybody is written PUBLIC" if public else "")


def _role_problems(role: Options, path: str) -> t.Iterator[str]:
    yield from _role_name(role["name"], f"{path}.name")
    if role["name"].startswith("pg_"):
        yield f"{path}.name: {role['name']!r} is one of PostgreSQL's own roles; grant it with member_of of another role"
    if not -1 <= role["connection_limit"] <= 2**31 - 1:
        yield f"{path}.connection_limit: {role['connection_limit']} is not accepted; accepted are -1 (none) and more"
    for index, group in enumerate(role["member_of"]):
        yield from _role_name(group, f"{path}.member_of[{index}]")
    if role["password"] and role["verifier"]:
        yield f"{path}: password and verifier are both given; leave one of them out"
    if "\x00" in role["password"]:
        yield f"{path}.password: it contains the character NUL, which PostgreSQL cannot take; choose another password"
    if role["verifier"] and not scram.is_verifier(role["verifier"]):
        yield f"{path}.verifier: this is no SCRAM-SHA-256 verifier; accepted is SCRAM-SHA-256$COUNT:SALT$KEY:KEY"


def _circles(groups: t.Mapping[str, t.Sequence[str]]) -> t.Iterator[str]:
    for start in groups:
        reached, waiting = set[str](), list(groups[start])
        while waiting:
            role = waiting.pop()
            if role not in reached:
                reached.add(role)
                waiting += groups.get(role, ())
        if start in reached:
            yield f"roles: {start!r} would be a member of itself through member_of; break the circle"


def _database_problems(database: Options, path: str) -> t.Iterator[str]:
    yield from _name(database["name"], f"{path}.name")
    if database["owner"]:
        yield from _role_name(database["owner"], f"{path}.owner")
    yield from _grant_problems(database["grants"], "DATABASE", f"{path}.grants")
    yield from _repeated(database["schemas"], f"{path}.schemas")
    for index, schema in enumerate(database["schemas"]):
        yield from _schema_problems(schema, f"{path}.schemas[{index}]")
    seen = set[tuple[str, str, str]]()
    for index, entry in enumerate(database["default_privileges"]):
        place = f"{path}.default_privileges[{index}]"
        yield from _role_name(entry["creator"], f"{place}.creator")
        if entry["schema"]:
            yield from _name(entry["schema"], f"{place}.schema")
            if entry["objects"] == "schemas":
                yield f"{place}.schema: a schema is in no schema; leave this out"
        key = (entry["creator"], entry["schema"], entry["objects"])
        if key in seen:
            yield f"{place}: creator, schema and objects are those of an entry before; join the two"
        seen.add(key)
        yield from _grant_problems(entry["grants"], DEFAULT_KINDS[entry["objects"]], f"{place}.grants")


def _schema_problems(schema: Options, path: str) -> t.Iterator[str]:
    name = schema["name"]
    yield from _name(name, f"{path}.name")
    if name.startswith("pg_") or name == "information_schema":
        yield f"{path}.name: {name!r} is one of PostgreSQL's own schemas, which are not changed; choose another"
    for key in ("owner", "objects_owner"):
        if schema[key]:
            yield from _role_name(schema[key], f"{path}.{key}")
    yield from _grant_problems(schema["grants"], "SCHEMA", f"{path}.grants")
    for key, kind in KINDS.items():
        for index, rule in enumerate(schema[key] or ()):
            place = f"{path}.{key}[{index}]"
            if not rule["names"]:
                yield f"{place}.names: the list is empty; name objects, or write ['*'] for all"
            for position, given in enumerate(rule["names"]):
                yield from _name(given, f"{place}.names[{position}]")
            yield from _grant_problems(rule["grants"], kind, f"{place}.grants")


def _grant_problems(grants: t.Sequence[Options], kind: str, path: str) -> t.Iterator[str]:
    for index, grant in enumerate(grants):
        place = f"{path}[{index}]"
        for position, role in enumerate(grant["roles"]):
            yield from _role_name(role, f"{place}.roles[{position}]", public=True)
        columns = grant.get("columns") or ()
        known = COLUMN_PRIVILEGES if columns else (*PRIVILEGES[kind], ALL)
        of = f"columns of a {kind.lower()}" if columns else f"a {kind.lower()}"
        for position, privilege in enumerate(grant["privileges"]):
            if privilege.upper() not in known:
                yield (
                    f"{place}.privileges[{position}]: {privilege!r} cannot be granted on {of}; "
                    f"accepted are {', '.join(known)}"
                )
        for position, column in enumerate(columns):
            yield from _name(column, f"{place}.columns[{position}]")
