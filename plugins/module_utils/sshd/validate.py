# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks of a raw policy that need no host. Pure; the action plugin runs them on the controller."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Any, Callable, TypeVar

from ..transaction.window import proof_problem
from . import algorithms, keys
from .options import ARGUMENT_SPEC, MAXIMUM_WINDOW_SECONDS, MINIMUM_WINDOW_SECONDS

PREFIX = "ssh_"
_BOOLEANS = ("true", "false", "yes", "no", "on", "off", "1", "0")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@\\-]{0,63}\$?\Z")
_PATTERN = re.compile(r"[A-Za-z0-9_*?][A-Za-z0-9_.*?\\-]{0,63}\$?(@[A-Za-z0-9_.:*?/!-]{1,128})?\Z")
_ALGORITHM = re.compile(r"[a-z0-9][a-zA-Z0-9@.-]{0,79}\Z")
_PRINCIPAL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@:/+=-]{0,127}\Z")
_KEY_ID = re.compile(r"[\x21-\x7e]([\x20-\x7e]{0,254}[\x21-\x7e])?\Z")
_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}\Z")
_METHOD = re.compile(r"(publickey|password|keyboard-interactive(:[a-z]+)?|hostbased|gssapi-with-mic)\Z")
_STARTUPS = re.compile(r"([0-9]{1,5}):([0-9]{1,3}):([0-9]{1,5})\Z")
_RANGES = {
    "max_auth_tries": (1, 20, "tries"),
    "max_sessions": (1, 1000, "sessions"),
    "login_grace_seconds": (10, 600, "seconds"),
    "client_alive_interval_seconds": (0, 86400, "seconds"),
    "client_alive_count_max": (0, 100, "unanswered messages"),
    "per_source_max_startups": (0, 10000, "connections; 0 sets no limit"),
    "required_rsa_bits": (2048, 16384, "bits"),
    "window_seconds": (MINIMUM_WINDOW_SECONDS, MAXIMUM_WINDOW_SECONDS, "seconds"),
    "confirm_logins": (0, 20, "logins; 0 only for connections that are no login"),
    "confirm_seconds": (0, 120, "seconds"),
}

Problems = list[str]
Policy = dict[str, Any]
_Parsed = TypeVar("_Parsed")


def validate_policy(raw: Mapping[str, Any]) -> list[str]:
    """Return one sentence for each thing that is wrong with the policy; each starts with the variable's path."""
    problems: Problems = []
    values: Policy = {name: spec.get("default") for name, spec in ARGUMENT_SPEC.items()}
    for name, value in raw.items():
        if name not in ARGUMENT_SPEC:
            problems.append(f"{PREFIX}{name}: there is no such option; accepted are {', '.join(sorted(ARGUMENT_SPEC))}")
        elif value is not None:
            before = len(problems)
            _check_type(PREFIX + name, ARGUMENT_SPEC[name], value, problems)
            if len(problems) == before:
                values[name] = value
    # Later checks look at values of the right type only: what failed above stands at its default.
    for check in (_numbers, _listening, _accounts, _authentication, _penalties, _algorithm_lists, _text, _trust):
        check(values, problems)
    return problems


def _check_type(path: str, spec: Mapping[str, Any], value: Any, problems: Problems) -> None:
    """Check type, choices and nested options of one value."""
    checks: dict[str, Callable[[Any], bool]] = {
        "str": lambda item: isinstance(item, str),
        "int": lambda item: (
            (isinstance(item, int) and not isinstance(item, bool))
            or (isinstance(item, str) and re.match(r"-?[0-9]{1,18}\Z", item) is not None)
        ),
        "float": lambda item: (
            (isinstance(item, (int, float)) and not isinstance(item, bool))
            or (isinstance(item, str) and re.match(r"[0-9]+(\.[0-9]+)?\Z", item) is not None)
        ),
        "bool": lambda item: isinstance(item, bool) or (isinstance(item, str) and item.lower() in _BOOLEANS),
        "list": lambda item: isinstance(item, (list, tuple)),
        "dict": lambda item: isinstance(item, Mapping),
    }
    names = {"str": "text", "int": "a whole number", "float": "a number", "bool": "true or false"}
    kind = spec["type"]
    if not checks[kind](value):
        problems.append(f"{path}: {value!r} is not {names.get(kind, 'a ' + kind)}")
        return
    if kind == "list":
        element = {key: spec[key] for key in ("choices", "options") if key in spec}
        for index, item in enumerate(value):
            _check_type(f"{path}[{index}]", {"type": spec["elements"], **element}, item, problems)
    elif kind == "dict":
        _check_keys(path, spec.get("options", {}), value, problems)
    elif "choices" in spec and value not in spec["choices"]:
        problems.append(f"{path}: {value!r} is not one of {', '.join(spec['choices'])}")


def _check_keys(path: str, options: Mapping[str, Any], value: Mapping[str, Any], problems: Problems) -> None:
    for key, item in value.items():
        if key not in options:
            problems.append(f"{path}.{key}: there is no such option; accepted are {', '.join(sorted(options))}")
        elif item is not None:
            _check_type(f"{path}.{key}", options[key], item, problems)
    for key, spec in options.items():
        if spec.get("required") and value.get(key) is None:
            problems.append(f"{path}: {key} is missing")


def _items(values: Policy, name: str) -> list[tuple[str, Any]]:
    return [(f"{PREFIX}{name}[{index}]", item) for index, item in enumerate(values[name] or [])]


def _numbers(values: Policy, problems: Problems) -> None:
    for name, (low, high, unit) in _RANGES.items():
        if not low <= float(values[name]) <= high:
            problems.append(f"{PREFIX}{name}: {values[name]} is outside {low} to {high} {unit}")
            values[name] = ARGUMENT_SPEC[name].get("default")
    problem = proof_problem(values["confirm_seconds"], values["window_seconds"], PREFIX)
    problems += [problem] if problem else []
    startups = _STARTUPS.match(str(values["max_startups"]))
    if not startups:
        problems.append(f"{PREFIX}max_startups: {values['max_startups']!r} is not START:PERCENT:FULL, such as 10:30:60")
    elif not (1 <= int(startups[1]) <= int(startups[3]) and 1 <= int(startups[2]) <= 100):
        problems.append(
            f"{PREFIX}max_startups: {values['max_startups']} needs START from 1 to FULL and PERCENT from 1 to 100"
        )


def _listening(values: Policy, problems: Problems) -> None:
    seen: set[int] = set()
    for path, port in _items(values, "ports"):
        if not 1 <= int(port) <= 65535:
            problems.append(f"{path}: {port} is not a port; accepted are 1 to 65535")
        elif int(port) in seen:
            problems.append(f"{path}: port {port} is listed twice")
        seen.add(int(port))
    for path, address in _items(values, "listen_addresses"):
        if not _is_address(address):
            problems.append(f"{path}: {address!r} is not an IPv4 or IPv6 address; give ports in {PREFIX}ports")


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def _accounts(values: Policy, problems: Problems) -> None:
    for path, name in _items(values, "administrators"):
        if not _USER.match(name):
            problems.append(f"{path}: {name!r} is not a user name")
    for option in ("allow_users", "allow_groups", "deny_users", "deny_groups"):
        for path, pattern in _items(values, option):
            if not _PATTERN.match(pattern) or ("@" in pattern and option.endswith("groups")):
                example = "admin, ops* or admin@192.0.2.*" if option.endswith("users") else "ssh-users or ops*"
                problems.append(f"{path}: {pattern!r} is not a name pattern such as {example}")


def _authentication(values: Policy, problems: Problems) -> None:
    for path, chain in _items(values, "authentication_methods"):
        methods = chain.split(",")
        if not all(_METHOD.match(method) for method in methods):
            problems.append(
                f"{path}: {chain!r} is not a comma-separated list of publickey, password, keyboard-interactive, "
                "hostbased or gssapi-with-mic"
            )
            continue
        needs = {"password": "password_authentication", "keyboard-interactive": "keyboard_interactive_authentication"}
        for method, option in needs.items():
            wanted = any(name.split(":")[0] == method for name in methods)
            if wanted and str(values[option]).lower() in ("false", "no", "off", "0"):
                problems.append(f"{path}: {method} is demanded but {PREFIX}{option} is false")


def _penalties(values: Policy, problems: Problems) -> None:
    penalties = values["per_source_penalties"] or {}
    path = f"{PREFIX}per_source_penalties"
    for name, value in penalties.items():
        if name == "exempt_sources":
            for index, source in enumerate(value or []):
                if not _is_network(source):
                    problems.append(f"{path}.{name}[{index}]: {source!r} is not an address or CIDR network")
        elif value is not None and not 0 <= int(value) <= 86400:
            problems.append(f"{path}.{name}: {value} is outside 0 to 86400 seconds")


def _algorithm_lists(values: Policy, problems: Problems) -> None:
    for option in algorithms.DEFAULTS:
        if not values[option]:
            problems.append(f"{PREFIX}{option}: the list is empty; leave the variable out to use the policy's own")
        for path, name in _items(values, option):
            if not _ALGORITHM.match(name):
                problems.append(f"{path}: {name!r} is not the name of an algorithm")
    if not values["host_key_types"]:
        problems.append(f"{PREFIX}host_key_types: sshd needs at least one of ed25519, rsa, ecdsa")


def _text(values: Policy, problems: Problems) -> None:
    banner = str(values["banner"] or "")
    if any((ord(character) < 32 and character not in "\n\t") or ord(character) == 127 for character in banner):
        problems.append(f"{PREFIX}banner: the text holds a control character; only line ends and tabs are accepted")
    if len(banner) > 4096:
        problems.append(f"{PREFIX}banner: the text has {len(banner)} characters; at most 4096 are accepted")


def _parsed(path: str, text: str, parse: Callable[[str], _Parsed], kind: str, problems: Problems) -> _Parsed | None:
    try:
        parsed = parse(text)
    except keys.InvalidKey as error:
        problems.append(f"{path}: not a {kind}: {error}")
        return None
    if any(ord(character) < 32 or ord(character) == 127 for character in text.strip()):
        problems.append(f"{path}: the {kind} holds a control character")
    return parsed


def _key(path: str, text: str, problems: Problems) -> None:
    key = _parsed(path, text, keys.parse_public_key, "public key", problems)
    if key and key.is_certificate:
        problems.append(f"{path}: {key.type} is a certificate")


def _host_certificates(values: Policy, problems: Problems) -> None:
    seen: set[str] = set()
    for path, text in _items(values, "host_certificates"):
        certificate = _parsed(path, text, keys.parse_certificate, "host certificate", problems)
        if certificate is None:
            continue
        if not certificate.is_host:
            problems.append(f"{path}: this is the certificate of a user; the CA signs a host's with ssh-keygen -h")
        if certificate.type in seen:
            problems.append(f"{path}: a second {certificate.type}; sshd shows one for each type of key")
        seen.add(certificate.type)


def _trust(values: Policy, problems: Problems) -> None:
    for path, text in _items(values, "trusted_user_ca_keys"):
        _key(path, text, problems)
    _host_certificates(values, problems)
    users: set[str] = set()
    for path, entry in _items(values, "authorized_principals"):
        user = str(entry.get("user") or "")
        if not _USER.match(user) or user in users:
            reason = "is listed twice" if user in users else "is not a user name"
            problems.append(f"{path}.user: {user!r} {reason}")
        users.add(user)
        if not entry.get("principals"):
            problems.append(f"{path}.principals: the list is empty; leave the user out instead")
        for index, principal in enumerate(entry.get("principals") or []):
            if not _PRINCIPAL.match(principal):
                problems.append(f"{path}.principals[{index}]: {principal!r} is not a principal")
    if values["authorized_principals"] and not values["trusted_user_ca_keys"]:
        problems.append(f"{PREFIX}authorized_principals: principals need a CA in {PREFIX}trusted_user_ca_keys")
    for path, entry in _items(values, "revoked_keys"):
        _revoked(path, entry, problems)


def _revoked(path: str, entry: Mapping[str, Any], problems: Problems) -> None:
    given = [name for name in ("public_key", "fingerprint", "serial", "key_id") if entry.get(name) is not None]
    if len(given) != 1:
        problems.append(f"{path}: give exactly one of public_key, fingerprint, serial, key_id, not {given or 'none'}")
        return
    if entry.get("public_key") is not None:
        _key(f"{path}.public_key", entry["public_key"], problems)
    if entry.get("fingerprint") is not None and not _FINGERPRINT.match(entry["fingerprint"]):
        problems.append(f"{path}.fingerprint: {entry['fingerprint']!r} is not SHA256: and 43 base64 characters")
    if entry.get("serial") is not None and not 0 < int(entry["serial"]) < 2**63:
        problems.append(f"{path}.serial: {entry['serial']} is not the serial number of a certificate")
    if entry.get("key_id") is not None and not _KEY_ID.match(entry["key_id"]):
        problems.append(f"{path}.key_id: {entry['key_id']!r} is not the key id of a certificate")
    needs_ca = given[0] in ("serial", "key_id")
    if needs_ca and not entry.get("ca"):
        problems.append(f"{path}: {given[0]} needs ca, the public key of the CA that signed the certificate")
    elif entry.get("ca") and not needs_ca:
        problems.append(f"{path}.ca: only serial and key_id belong to a CA; leave it out with {given[0]}")
    elif entry.get("ca"):
        _key(f"{path}.ca", entry["ca"], problems)
