# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The variables of the role postgresql become settings of a server of one version; pure.

What a setting must not fall below stands in one table, and is asked of the result: it does not matter which variable a
value came from.
"""

from __future__ import annotations

import re
import typing as t
from collections.abc import Callable, Mapping

from ansible_collections.bulwark.hardening.plugins.module_utils.postgresql import settings

from .option_problems import option_problems

STORE = "/etc/bulwark/tls"
SUITES = (
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
)
VERSIONS = range(13, 20)
# From which major version on the server has a setting.
SINCE = {"idle_session_timeout": 14, "reserved_connections": 16}
EVERYWHERE = frozenset({"*", "0.0.0.0", "::"})  # noqa: S104 - what is refused
CERTIFICATE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
EXTRA, RISKS, PGAUDIT = "postgresql_extra_settings", "postgresql_accepted_risks", "pgaudit"

Variables = Mapping[str, t.Any]
Result = dict[str, t.Any]


def _option(kind: str, default: t.Any, **more: t.Any) -> dict[str, t.Any]:
    return {"type": kind, "default": default, **more}


# Types and defaults of the variables.
SPECIFICATION: dict[str, dict[str, t.Any]] = {
    "postgresql_tls_certificate": _option("str", ""),
    "postgresql_tls_client_ca_file": _option("str", ""),
    "postgresql_tls_minimum_version": _option("str", "TLSv1.2", choices=["TLSv1.2", "TLSv1.3"]),
    "postgresql_listen_addresses": _option("list", ["localhost"], elements="str"),
    "postgresql_max_connections": _option("int", 100),
    "postgresql_superuser_reserved_connections": _option("int", 3),
    "postgresql_reserved_connections": _option("int", 3),
    "postgresql_statement_timeout_seconds": _option("int", 300),
    "postgresql_lock_timeout_seconds": _option("int", 30),
    "postgresql_idle_in_transaction_session_timeout_seconds": _option("int", 60),
    "postgresql_idle_session_timeout_seconds": _option("int", 3600),
    "postgresql_authentication_timeout_seconds": _option("int", 30),
    "postgresql_tcp_keepalives_idle_seconds": _option("int", 60),
    "postgresql_tcp_keepalives_interval_seconds": _option("int", 10),
    "postgresql_tcp_keepalives_count": _option("int", 6),
    "postgresql_log_statement": _option("str", "none", choices=["none", "ddl"]),
    "postgresql_log_min_messages": _option("str", "warning", choices=["info", "notice", "warning", "error"]),
    "postgresql_log_line_prefix": _option("str", "%m [%p] %q%u@%d %h %a "),
    "postgresql_log_error_verbosity": _option("str", "default", choices=["terse", "default", "verbose"]),
    "postgresql_pgaudit": _option("bool", True),
    "postgresql_pgaudit_log": _option("list", ["ddl", "role"], elements="str"),
    "postgresql_preload_libraries": _option("list", [], elements="str"),
    EXTRA: _option("dict", {}),
    RISKS: _option("list", [], elements="str"),
}


def build(variables: Variables, major: int) -> Result:
    """Return settings, preload_libraries and problems; with problems, the others are empty."""
    found = problems(variables, major)
    if found:
        return {"settings": {}, "preload_libraries": [], "problems": found}
    values = {name: variables.get(name, option["default"]) for name, option in SPECIFICATION.items()}
    wished = {name: value for name, value in _settings(values).items() if major >= SINCE.get(name, 0)}
    extra = {str(name).lower(): value for name, value in values[EXTRA].items()}
    wished.update(extra)
    libraries = [*values["postgresql_preload_libraries"], *([PGAUDIT] if _truth(values["postgresql_pgaudit"]) else [])]
    found = weakened(wished, values[RISKS], libraries)
    if found:
        return {"settings": {}, "preload_libraries": [], "problems": found}
    return {"settings": wished, "preload_libraries": list(dict.fromkeys(libraries)), "problems": []}


def problems(variables: Variables, major: int) -> list[str]:
    """Return what is wrong with the variables themselves, one sentence each."""
    if major not in VERSIONS:
        return [f"PostgreSQL {major} is not known; accepted are {VERSIONS[0]} to {VERSIONS[-1]}"]
    found = option_problems(
        {name: value for name, value in variables.items() if name != EXTRA},
        {name: option for name, option in SPECIFICATION.items() if name != EXTRA},
    )
    extra = variables.get(EXTRA, {})
    if not isinstance(extra, Mapping):
        return [*found, f"{EXTRA}: {extra!r} is no dictionary; accepted is one of settings and their values"]
    found += [f"{EXTRA}: {problem}" for problem in settings.wishes(extra)[1]]
    if settings.PRELOAD in map(str.lower, map(str, extra)):
        found.append(
            f"{EXTRA}.{settings.PRELOAD}: is made of what the host has; name libraries in postgresql_preload_libraries"
        )
    certificate = variables.get("postgresql_tls_certificate") or ""
    if certificate and not CERTIFICATE.fullmatch(str(certificate)):
        found.append(
            f"postgresql_tls_certificate: {certificate!r} is no certificate; accepted is a name in tls_certificates"
        )
    risks = variables.get(RISKS) or []
    if isinstance(risks, (list, tuple)):
        known = ", ".join(sorted([*FLOORS, PGAUDIT]))
        found += [
            f"{RISKS}: {risk!r} is no setting that is guarded; accepted are {known}"
            for risk in risks
            if risk not in FLOORS and risk != PGAUDIT
        ]
    return found


def _settings(values: Variables) -> dict[str, t.Any]:
    made: dict[str, t.Any] = {
        "ssl": True,
        "ssl_min_protocol_version": values["postgresql_tls_minimum_version"],
        "ssl_ciphers": ":".join(SUITES),
        "ssl_prefer_server_ciphers": True,
        "password_encryption": "scram-sha-256",
        "listen_addresses": list(values["postgresql_listen_addresses"]),
        "log_connections": True,
        "log_disconnections": True,
        "log_hostname": False,
        "log_lock_waits": True,
        "log_parameter_max_length": 0,
        "log_parameter_max_length_on_error": 0,
        **{name: values[f"postgresql_{name}"] for name in PLAIN},
        **{name: f"{values[f'postgresql_{name}_seconds']}s" for name in SECONDS},
    }
    if values["postgresql_tls_certificate"]:
        directory = f"{STORE}/{values['postgresql_tls_certificate']}/current"
        made |= {"ssl_cert_file": f"{directory}/full_chain.pem", "ssl_key_file": f"{directory}/key.pem"}
    if values["postgresql_tls_client_ca_file"]:
        made["ssl_ca_file"] = values["postgresql_tls_client_ca_file"]
    if _truth(values["postgresql_pgaudit"]):
        classes = ", ".join(values["postgresql_pgaudit_log"])
        made |= {"pgaudit.log": classes, "pgaudit.log_parameter": False, "pgaudit.log_catalog": False}
    return made


PLAIN = (
    "max_connections",
    "superuser_reserved_connections",
    "reserved_connections",
    "tcp_keepalives_count",
    "log_statement",
    "log_min_messages",
    "log_line_prefix",
    "log_error_verbosity",
)
SECONDS = (
    "statement_timeout",
    "lock_timeout",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "authentication_timeout",
    "tcp_keepalives_idle",
    "tcp_keepalives_interval",
)


def _truth(value: t.Any) -> bool:
    return settings.as_text(value).lower() in settings.ON


# What a setting must not fall below


def _number(unit: str, low: int, high: int | None = None) -> Callable[[str], bool]:
    shape = settings.Known("", "", unit, "", "integer", (), "", "", False)

    def within(text: str) -> bool:
        try:
            value = int(settings.canonical(shape, text))
        except ValueError:
            # The server has the last word on what is no number.
            return True
        return value >= low and (high is None or value <= high)

    return within


def _one_of(*accepted: str) -> Callable[[str], bool]:
    return lambda text: text.strip().lower() in {word.lower() for word in accepted}


def _on(text: str) -> bool:
    return text.strip().lower() in settings.ON


def _off(text: str) -> bool:
    return text.strip().lower() in settings.OFF


def _said(text: str) -> bool:
    return text.strip().lower() not in {*settings.OFF, ""}


def _suites(text: str) -> bool:
    return bool(text) and set(text.split(":")) <= set(SUITES)


def _addresses(text: str) -> bool:
    return not EVERYWHERE & set(settings.listed(text))


def _prefix(text: str) -> bool:
    return all(
        any(escape in text for escape in group)
        for group in (("%m", "%n", "%t"), ("%p",), ("%u",), ("%d",), ("%h", "%r"))
    )


def _audited(text: str) -> bool:
    words = {word.lower() for word in settings.listed(text)}
    return {"ddl", "role"} <= words and not {"none", "-all", "-ddl", "-role"} & words


def _mode(text: str) -> bool:
    return re.fullmatch(r"0?[0-7]{3}", text) is not None and not int(text, 8) & 0o137


Floor = tuple[Callable[[str], bool], str]
ONLY_ON: Floor = (_on, "on")
ONLY_OFF: Floor = (_off, "off")
LIMITED: Floor = (_number("ms", 1), "any time above 0, which means without end")
FLOORS: dict[str, Floor] = {
    "ssl": ONLY_ON,
    "ssl_min_protocol_version": (_one_of("TLSv1.2", "TLSv1.3"), "TLSv1.2 and TLSv1.3"),
    "ssl_max_protocol_version": (_one_of("", "TLSv1.3"), "TLSv1.3 and nothing"),
    "ssl_ciphers": (_suites, ":".join(SUITES)),
    "ssl_prefer_server_ciphers": ONLY_ON,
    "password_encryption": (_one_of("scram-sha-256"), "scram-sha-256"),
    "scram_iterations": (_number("", 4096), "4096 and more"),
    "listen_addresses": (_addresses, "addresses and names of this host, or nothing"),
    "superuser_reserved_connections": (_number("", 1), "1 and more, for whoever responds to an incident"),
    "reserved_connections": (_number("", 1), "1 and more, for whoever responds to an incident"),
    "statement_timeout": LIMITED,
    "lock_timeout": LIMITED,
    "idle_in_transaction_session_timeout": LIMITED,
    "idle_session_timeout": LIMITED,
    "authentication_timeout": (_number("s", 1, 60), "1s to 60s"),
    "tcp_keepalives_idle": (_number("s", 1, 7200), "1s to 7200s"),
    "tcp_keepalives_interval": (_number("s", 1, 300), "1s to 300s"),
    "tcp_keepalives_count": (_number("", 1, 20), "1 to 20"),
    "log_connections": (_said, "on, and from 18 on a list"),
    "log_disconnections": ONLY_ON,
    "log_hostname": ONLY_OFF,
    "log_lock_waits": ONLY_ON,
    "log_statement": (_one_of("none", "ddl"), "none and ddl; more writes secrets into the log"),
    "log_min_messages": (_one_of("info", "notice", "warning", "error"), "info, notice, warning and error"),
    "log_parameter_max_length": (_one_of("0"), "0, since parameters are secrets"),
    "log_parameter_max_length_on_error": (_one_of("0"), "0, since parameters are secrets"),
    "log_line_prefix": (_prefix, "one with %m, %p, %u, %d and %h"),
    "log_file_mode": (_mode, "0600 and 0640"),
    "pgaudit.log": (_audited, "one that names ddl and role"),
    "pgaudit.log_parameter": ONLY_OFF,
    "fsync": ONLY_ON,
    "full_page_writes": ONLY_ON,
    "row_security": ONLY_ON,
    "event_triggers": ONLY_ON,
    "allow_system_table_mods": ONLY_OFF,
    "allow_in_place_tablespaces": ONLY_OFF,
    "ignore_system_indexes": ONLY_OFF,
    "zero_damaged_pages": ONLY_OFF,
    "ignore_checksum_failure": ONLY_OFF,
    "db_user_namespace": ONLY_OFF,
    "lo_compat_privileges": ONLY_OFF,
    "session_replication_role": (_one_of("origin"), "origin"),
    "debug_print_parse": ONLY_OFF,
    "debug_print_rewritten": ONLY_OFF,
    "debug_print_plan": ONLY_OFF,
}


def weakened(wished: Mapping[str, t.Any], risks: t.Collection[str], libraries: t.Collection[str]) -> list[str]:
    """Return a sentence for each value that is weaker than it may be and not accepted as a risk."""
    found = []
    for name, value in wished.items():
        strong, accepted = FLOORS.get(name, (None, ""))
        text = settings.as_text(value)
        if strong and name not in risks and not strong(text):
            found.append(
                f"{name}: {text!r} weakens the server; accepted is {accepted}; name {name} in {RISKS} to have it anyway"
            )
    if PGAUDIT not in libraries and PGAUDIT not in risks:
        found.append(f"postgresql_pgaudit: without it nothing is audited; name {PGAUDIT} in {RISKS} to have it so")
    return found
