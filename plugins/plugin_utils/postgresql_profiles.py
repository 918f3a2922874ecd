# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Profiles of services become one wish for all databases of a cluster.

A profile is a file of ``roles/postgresql/profiles/``: variables with their defaults, roles by what they are for, and
databases as the module postgresql_grants takes them. ``$name`` stands for a variable or for the name of a role; a list
in a list is spliced in, and what is left without a role or a name is left out.
"""

from __future__ import annotations

import copy
import typing as t
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from ansible_collections.bulwark.hardening.plugins.module_utils.postgresql.grants import model
from ansible_collections.bulwark.hardening.plugins.module_utils.postgresql.server import Refused

ROLE = Path(__file__).resolve().parents[2] / "roles" / "postgresql"
PROFILES = ROLE / "profiles"
LOGIN_KEYS = ("name", "password", "verifier", "connection_limit", "adopt")
ROLE_KEYS = (*LOGIN_KEYS, "logins")
SHAPE = (("variables", Mapping, "dictionary"), ("roles", Mapping, "dictionary"), ("databases", list, "list"))
Wish = dict[str, t.Any]


class ProfileError(Exception):
    """What is wrong with the services; one part for each value, which begins with its path."""


def names(directory: Path = PROFILES) -> list[str]:
    """Return the names of all profiles that the collection brings."""
    return sorted(path.stem for path in directory.glob("*.yml"))


def read(name: t.Any, directory: Path = PROFILES) -> Wish:
    """Return a profile of the collection, or one of the user's in a file. Raises ProfileError."""
    text = str(name)
    if not text.endswith(".yml") and text not in names(directory):
        known = ", ".join(names(directory))
        raise ProfileError(f"{name!r} is no profile; accepted are {known}, or the path of a file that ends in .yml")
    path = Path(text) if text.endswith(".yml") else directory / f"{text}.yml"
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeError, yaml.YAMLError) as error:
        reason = str(error).splitlines()[0]
        raise ProfileError(f"{text!r} cannot be read: {reason}; accepted is a file with YAML") from error
    if not isinstance(found, dict):
        raise ProfileError(f"{text!r} holds no dictionary; docs/postgresql.md says what a profile is made of")
    return found


def _check_shape(profile: Wish, name: str) -> None:
    """Raise ProfileError unless a profile has the parts that are gone through here; the model does the rest."""
    for key, kind, words in SHAPE:
        if not isinstance(profile.get(key), kind):
            raise ProfileError(
                f"{name!r} has no {words} called {key}; docs/postgresql.md says what a profile is made of"
            )
    for key, role in profile["roles"].items():
        if not isinstance(role, Mapping) or "name" not in role:
            raise ProfileError(f"{name!r}: roles.{key} has no name; write one, or null where the user has to")
    for index, database in enumerate(profile["databases"]):
        if not isinstance(database, Mapping) or "name" not in database:
            raise ProfileError(f"{name!r}: databases[{index}] has no name; write one, such as $database")


def wish(services: t.Any) -> Wish:
    """Return what the module postgresql_grants takes, for all services at once. Raises ProfileError."""
    if isinstance(services, (str, Mapping)) or not isinstance(services, Sequence):
        raise ProfileError("services: this is no list; accepted is a list of dictionaries with the key profile")
    problems: list[str] = []
    roles: dict[str, Wish] = {}
    databases: dict[str, Wish] = {}
    for index, service in enumerate(services):
        path = f"[{index}]"
        found = _one(service, path, problems)
        for role in found.get("roles", ()):
            before = roles.setdefault(role["name"], role)
            if before != role:
                problems.append(
                    f"{path}.roles: {role['name']!r} is described otherwise by a service before; make them agree"
                )
        for database in found.get("databases", ()):
            _merge(databases.setdefault(database["name"], {"name": database["name"]}), database, path, problems)
    result = {"roles": list(roles.values()), "databases": list(databases.values())}
    if not problems:
        try:
            model.parse(result)
        except Refused as error:
            problems.append(str(error))
    if problems:
        raise ProfileError("; ".join(problems))
    return result


def _one(service: t.Any, path: str, problems: list[str]) -> Wish:
    """Return the wish of one service; empty with problems."""
    if not isinstance(service, Mapping):
        problems.append(f"{path}: {service!r} is no dictionary; accepted is one with the key profile")
        return {}
    try:
        profile = read(service.get("profile"))
        _check_shape(profile, str(service["profile"]))
    except ProfileError as error:
        problems.append(f"{path}.profile: {error}")
        return {}
    values = _variables(service, profile["variables"], path, problems)
    given_roles = service.get("roles") or {}
    if not isinstance(given_roles, Mapping):
        problems.append(
            f"{path}.roles: {given_roles!r} is no dictionary; accepted keys are {', '.join(profile['roles'])}"
        )
        return {}
    problems += [
        f"{path}.roles.{key}: there is no such role; accepted are {', '.join(profile['roles'])}"
        for key in given_roles
        if key not in profile["roles"]
    ]
    roles: list[Wish] = []
    for key, default in profile["roles"].items():
        made = _roles(default, given_roles.get(key) or {}, f"{path}.roles.{key}", problems)
        values[key] = made[0]["name"] if made else ""
        roles += made
    # Lists and dictionaries that YAML shares by anchors are copied, because they are changed.
    databases = [_filled(copy.deepcopy(database), values) for database in profile["databases"]]
    return {"roles": roles, "databases": databases}


def _variables(
    service: Mapping[str, t.Any], defaults: Mapping[str, t.Any], path: str, problems: list[str]
) -> dict[str, t.Any]:
    known = ("profile", "roles", *defaults)
    problems += [
        f"{path}.{name}: there is no such key; accepted are {', '.join(known)}" for name in service if name not in known
    ]
    values: dict[str, t.Any] = {}
    for name, default in defaults.items():
        value = service.get(name)
        values[name] = default if value is None else value
        is_list = isinstance(default, list)
        if values[name] is None or values[name] == "":
            problems.append(f"{path}.{name}: is missing")
        elif is_list != isinstance(values[name], list) or not (is_list or isinstance(values[name], str)):
            accepted = "a list of names" if is_list else "a name"
            problems.append(f"{path}.{name}: {values[name]!r} is not accepted; accepted is {accepted}")
    return values


def _roles(default: Wish, given: t.Any, path: str, problems: list[str]) -> list[Wish]:
    """Return the role, and those that log in as its members; nothing if its name is set to an empty text."""
    if not _checked(given, ROLE_KEYS, path, problems):
        return []
    role: Wish = {**default, **{key: value for key, value in given.items() if key != "logins" and value is not None}}
    if role["name"] is None:
        problems.append(f"{path}.name: is missing")
    if not role["name"]:
        return []
    logins = given.get("logins") or []
    if not isinstance(logins, list):
        problems.append(f"{path}.logins: this is no list; accepted is a list of dictionaries with the key name")
        return []
    members = []
    for index, login in enumerate(logins):
        if not _checked(login, LOGIN_KEYS, f"{path}.logins[{index}]", problems) or not login.get("name"):
            problems.append(f"{path}.logins[{index}].name: is missing")
            continue
        members.append({**login, "login": True, "member_of": [role["name"]]})
    if members:
        role["login"] = False
    elif role.get("password") or role.get("verifier"):
        role["login"] = True
    return [role, *members]


def _checked(given: t.Any, known: Sequence[str], path: str, problems: list[str]) -> bool:
    if not isinstance(given, Mapping):
        problems.append(f"{path}: this is no dictionary; accepted keys are {', '.join(known)}")
        return False
    unknown = [name for name in given if name not in known]
    problems += [f"{path}.{name}: there is no such key; accepted are {', '.join(known)}" for name in unknown]
    return True


def _filled(value: t.Any, values: Mapping[str, t.Any]) -> t.Any:
    """Return a part of a profile with everything in place of ``$name``."""
    if isinstance(value, str):
        return values[value[1:]] if value.startswith("$") else value
    if isinstance(value, dict):
        return {key: _filled(item, values) for key, item in value.items()}
    if not isinstance(value, list):
        return value
    items: list[t.Any] = []
    for item in value:
        new = _filled(item, values)
        if isinstance(new, list):
            items += new
        elif new != "" and not (isinstance(new, dict) and _is_empty(new)):
            items.append(new)
    return items


def _is_empty(entry: Wish) -> bool:
    return any(entry.get(key) == [] for key in ("names", "roles")) or entry.get("creator") == ""


def _merge(into: Wish, found: Wish, path: str, problems: list[str]) -> None:
    """Add a database or a schema to one of the same name: lists are joined, and a single value must be the same."""
    for key, value in found.items():
        if key == "schemas":
            schemas = into.setdefault(key, [])
            for schema in value:
                same = next((known for known in schemas if known["name"] == schema["name"]), None)
                if same is None:
                    schemas.append(schema)
                else:
                    _merge(same, schema, path, problems)
        elif isinstance(value, list):
            into[key] = [*into.get(key, ()), *(item for item in value if item not in into.get(key, ()))]
        elif into.setdefault(key, value) != value:
            problems.append(
                f"{path}: {key} of {into['name']!r} would be {value!r}, and a service before has {into[key]!r}; make "
                "them agree"
            )
