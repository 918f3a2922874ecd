# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The variables of the role postgresql become the arguments of the modules that it calls; pure, but for profiles.

What is wrong is found here, on the controller, before any host is touched.
"""

from __future__ import annotations

import typing as t
from collections.abc import Mapping

from ansible_collections.bulwark.hardening.plugins.module_utils.postgresql.hba import model as hba_model
from ansible_collections.bulwark.hardening.plugins.module_utils.postgresql.hba.match import LOCAL, PLAINTEXT
from ansible_collections.bulwark.hardening.plugins.module_utils.postgresql.pgbouncer import model as pgbouncer_model
from ansible_collections.bulwark.hardening.plugins.module_utils.postgresql.server import Refused
from ansible_collections.bulwark.hardening.plugins.module_utils.postgresql.transition_log import model as log_model
from ansible_collections.bulwark.hardening.plugins.modules import (
    postgresql_hba,
    postgresql_login,
    postgresql_pgbouncer,
    postgresql_transition_log,
)

from . import postgresql_policy, postgresql_profiles
from .option_problems import option_problems

Wish = dict[str, t.Any]
SERVICES, RULES, PROBES = "postgresql_services", "postgresql_hba_rules", "postgresql_hba_probes"
ADMINISTRATOR_RULES, LOGS = "postgresql_hba_administrator_rules", "postgresql_transition_logs"
PGBOUNCER = "postgresql_pgbouncer"
# A probe of the role may name the host of the inventory that it is tried from.
PROBE: Wish = {**postgresql_hba.PROBE, "host": {"type": "str"}}
# Predefined roles that older versions lack.
SINCE = {"pg_use_reserved_connections": 16}
LOG_KEYS = ("profile", "guards_enabled")
TRANSITION_LOGS = postgresql_profiles.ROLE / "transition_logs"
LOG: Wish = {
    "profile": {"type": "str"},
    "guards_enabled": {"type": "list", "elements": "str"},
    **{
        name: option
        for name, option in postgresql_transition_log.ARGUMENT_SPEC.items()
        if name in ("database", "tables", "guards", "log_schema", "owner_role", "writer_role", "reader_role")
    },
}
# A login of the role names the host of the inventory that it is tried from.
PGBOUNCER_LOGIN: Wish = {
    "host": {"type": "str", "required": True},
    **{name: option for name, option in postgresql_login.LOGIN.items() if name != "replication"},
}
STORED_FILES = ("client_tls_certificate_file", "client_tls_key_file")
PGBOUNCER_OPTIONS: Wish = {
    **{name: option for name, option in pgbouncer_model.ARGUMENTS.items() if name not in STORED_FILES},
    "client_tls_certificate": {"type": "str", "required": True},
    "restart": postgresql_pgbouncer.ARGUMENT_SPEC["restart"],
    "logins": {"type": "list", "elements": "dict", "default": [], "options": PGBOUNCER_LOGIN},
}
# Its sessions hold advisory locks, and statements that were prepared before.
NEEDS_SESSIONS = "jitsudo"


def build(variables: Mapping[str, t.Any], major: int) -> Wish:
    """Return the arguments of every module by what they are about, and ``problems``, one sentence each."""
    problems: list[str] = []
    own = (SERVICES, RULES, PROBES, ADMINISTRATOR_RULES, LOGS, PGBOUNCER)
    server = postgresql_policy.build({name: value for name, value in variables.items() if name not in own}, major)
    problems += server["problems"]
    result: Wish = {
        "settings": server["settings"],
        "preload_libraries": server["preload_libraries"],
        "grants": _grants(variables.get(SERVICES) or [], major, problems),
        "hba": _hba(variables, major, problems),
        "remote_logins": {},
        "transition_logs": _logs(variables.get(LOGS) or [], problems),
        "pgbouncer": _pgbouncer(variables, problems),
        "problems": problems,
    }
    if not problems:
        result["remote_logins"] = _remote_logins(variables.get(PROBES) or [])
    return result


def _grants(services: t.Any, major: int, problems: list[str]) -> Wish:
    try:
        wish = postgresql_profiles.wish(services)
    except postgresql_profiles.ProfileError as error:
        problems += [f"{SERVICES}{problem}" for problem in str(error).split("; ")]
        return {"roles": [], "databases": []}
    for role in wish["roles"]:
        if "member_of" in role:
            role["member_of"] = [name for name in role["member_of"] if major >= SINCE.get(name, 0)]
    return wish


def _hba(variables: Mapping[str, t.Any], major: int, problems: list[str]) -> Wish:
    """Return rules and probes; without a rule of the user's there is nothing to bring about."""
    rules, probes = variables.get(RULES) or [], variables.get(PROBES) or []
    standing = variables.get(ADMINISTRATOR_RULES) or []
    found: list[str] = []
    for name, value, keys in (
        (ADMINISTRATOR_RULES, standing, postgresql_hba.RULE),
        (RULES, rules, postgresql_hba.RULE),
        (PROBES, probes, PROBE),
    ):
        # The options of a method are the server's, and any number of them.
        options = {key: value for key, value in keys.items() if key != "options"}
        checked = [_without(entry, "options") for entry in value] if isinstance(value, (list, tuple)) else value
        found += option_problems({name: checked}, {name: {"type": "list", "elements": "dict", "options": options}})
    if not found and probes and not rules:
        found.append(f"{PROBES}: there are no rules that they could be tried against; give {RULES}")
    complete = [_defaults(rule, postgresql_hba.RULE) for rule in (*standing, *rules)] if not found else []
    asked = [_without(_defaults(probe, PROBE), "host") for probe in probes] if not found else []
    if rules and not found:
        found += _rule_problems(complete, asked, len(standing), major)
        found += [
            f"{PROBES}[{index}].host: a probe by the socket is tried on the server itself; leave it out"
            for index, probe in enumerate(probes)
            if probe.get("host") and probe.get("connection") == LOCAL
        ]
    problems += found
    return {"rules": complete if rules else [], "probes": asked if rules else []}


def _rule_problems(rules: list[Wish], probes: list[Wish], standing: int, major: int) -> list[str]:
    """Return what the module would refuse, with the paths of the role's variables."""
    try:
        hba_model.policy_of(rules, probes, major, "postgres")
    except ValueError as error:
        return [_with_paths(problem, standing) for problem in str(error).split("; ")]
    return []


def _with_paths(problem: str, standing: int) -> str:
    if problem.startswith("rules["):
        number, _bracket, rest = problem[len("rules[") :].partition("]")
        index = int(number)
        name, index = (RULES, index - standing) if index >= standing else (ADMINISTRATOR_RULES, index)
        return f"{name}[{index}]{rest}"
    return f"{PROBES}{problem[len('probes') :]}" if problem.startswith("probes") else problem


def _remote_logins(probes: t.Iterable[Wish]) -> dict[str, list[Wish]]:
    """Return what each other host of the inventory has to ask the server, by its name."""
    found: dict[str, list[Wish]] = {}
    for probe in probes:
        if probe.get("host"):
            found.setdefault(str(probe["host"]), []).append(
                {
                    "name": probe["name"],
                    "user": probe["user"],
                    "tls": probe.get("connection") != PLAINTEXT,
                    "expect": probe["expect"],
                    **{name: probe[name] for name in ("database", "replication") if probe.get(name)},
                }
            )
    return found


def _logs(logs: t.Any, problems: list[str]) -> list[Wish]:
    found = option_problems({LOGS: logs}, {LOGS: {"type": "list", "elements": "dict", "options": LOG}})
    result = []
    for index, log in enumerate(logs if not found else ()):
        path = f"{LOGS}[{index}]"
        wish = {**_profile(log, path, found), **{key: value for key, value in log.items() if key not in LOG_KEYS}}
        wish = _defaults(wish, {key: option for key, option in LOG.items() if key not in LOG_KEYS})
        names = {guard["name"] for guard in wish["guards"]}
        chosen = log.get("guards_enabled") or []
        found += [
            f"{path}.guards_enabled: {name!r} is no guard of it; accepted are {', '.join(sorted(names)) or 'none'}"
            for name in chosen
            if name not in names
        ]
        wish["guards"] = [
            {**guard, **({"enabled": True} if guard["name"] in chosen else {})} for guard in wish["guards"]
        ]
        try:
            log_model.parse(wish)
        except Refused as error:
            found.append(f"{path}: {error}")
        result.append(wish)
    problems += found
    return result


def _profile(log: Wish, path: str, problems: list[str]) -> Wish:
    """Return what the profile says; nothing without one."""
    if not log.get("profile"):
        return {}
    try:
        return postgresql_profiles.read(log["profile"], TRANSITION_LOGS)
    except postgresql_profiles.ProfileError as error:
        problems.append(f"{path}.profile: {error}")
    return {}


def _pgbouncer(variables: Mapping[str, t.Any], problems: list[str]) -> Wish:
    """Return the module's arguments, and ``logins`` by host; nothing without a wish."""
    given = variables.get(PGBOUNCER) or {}
    if not given:
        return {}
    # The names of other settings are PgBouncer's.
    options = {name: option for name, option in PGBOUNCER_OPTIONS.items() if name != "extra_settings"}
    checked = _without(given, "extra_settings")
    found = option_problems({PGBOUNCER: checked}, {PGBOUNCER: {"type": "dict", "options": options}})
    extra = given.get("extra_settings") if isinstance(given, Mapping) else None
    if not found and not isinstance(extra or {}, Mapping):
        found.append(f"{PGBOUNCER}.extra_settings: {extra!r} is no dictionary; accepted are values by name")
    if found:
        problems += found
        return {}
    wish = _defaults(given, PGBOUNCER_OPTIONS)
    certificate = str(wish.pop("client_tls_certificate"))
    if not postgresql_policy.CERTIFICATE.fullmatch(certificate):
        problems.append(
            f"{PGBOUNCER}.client_tls_certificate: {certificate!r} is no certificate; accepted is a name in "
            "tls_certificates"
        )
    directory = f"{postgresql_policy.STORE}/{certificate}/current"
    wish |= dict(zip(STORED_FILES, (f"{directory}/full_chain.pem", f"{directory}/key.pem")))
    for name, entry in (("databases", pgbouncer_model.DATABASE), ("probes", pgbouncer_model.PROBE)):
        wish[name] = [_defaults(value, entry) for value in wish[name]]
    problems += [f"{PGBOUNCER}.{problem}" for problem in pgbouncer_model.problems(wish)]
    problems += _pool_problems(wish["databases"], variables.get(SERVICES) or [])
    logins: dict[str, list[Wish]] = {}
    for login in wish["logins"]:
        logins.setdefault(str(login["host"]), []).append(_without(login, "host"))
    return {**wish, "logins": logins}


def _pool_problems(databases: t.Iterable[Wish], services: t.Any) -> list[str]:
    needing = {
        service.get("database") or NEEDS_SESSIONS
        for service in services
        if isinstance(service, Mapping) and str(service.get("profile") or "").startswith(NEEDS_SESSIONS)
    }
    return [
        f"{PGBOUNCER}.databases[{index}].pool_mode: 'transaction' breaks {NEEDS_SESSIONS}, whose sessions hold "
        "advisory locks and prepared statements; accepted is session"
        for index, entry in enumerate(databases)
        if entry["pool_mode"] != "session" and (entry.get("database") or entry["name"]) in needing
    ]


def _without(entry: t.Any, key: str) -> t.Any:
    return {name: value for name, value in entry.items() if name != key} if isinstance(entry, Mapping) else entry


def _defaults(entry: Mapping[str, t.Any], options: Mapping[str, Mapping[str, t.Any]]) -> Wish:
    """Return a dictionary as the module would see it."""
    missing = {name: option.get("default") for name, option in options.items() if entry.get(name) is None}
    return {**missing, **{name: value for name, value in entry.items() if value is not None}}
