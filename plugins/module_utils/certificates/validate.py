# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check certificates and issuers and name every fault with the path to the value; pure, used on the controller too.

The paths carry the role's variable names, because that is what the user wrote.
"""

from __future__ import annotations

import ipaddress
import re
import typing as t

from .model import (
    ACME,
    CHALLENGE_KINDS,
    CLIENT,
    FILES,
    ISSUER_KINDS,
    KEY_MODES,
    KEY_TYPES,
    LIFE_DAYS_AT_MOST,
    ON_CHANGE,
    PRIVATE_CA,
    PROTOCOLS,
    RESTART,
    SERVER,
    USAGES,
    build_certificate,
    covers,
    is_address,
)

PREFIX = "tls_"
NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")
LABEL = r"(?!-)[a-z0-9_-]{1,63}(?<!-)"
DNS_NAME = re.compile(rf"(?:\*\.{LABEL}\.|(?:{LABEL}\.)*){LABEL}(?:\.{LABEL})*")
DNS_NAME_AT_MOST = 253
ACCOUNT = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
UNIT = re.compile(r"[A-Za-z0-9:_.@\\-]{1,247}\.service")
# An account in it would be a secret in the arguments of certbot.
DIRECTORY_URL = re.compile(r"https://(?:[A-Za-z0-9.-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?(?:/[A-Za-z0-9._~/-]*)?")
EMAIL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*@[A-Za-z0-9.-]+")
WEBROOT = re.compile(r"(/(?!\.{1,2}(/|$))[^/\0-\x1f]+)+")
# Of what %n and its like stand for, systemd makes the name of the unit that failed.
ALARM_UNIT = re.compile(r"(?:[A-Za-z0-9:_.@\\-]|%[nNp]){1,240}\.(?:service|target)")
# They go into a unit file, where blanks and percent signs have a meaning.
METRICS_DIRECTORY = re.compile(r"(?:(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._-]+)+)?")
ALARM_DAYS_AT_MOST = 90
OPTION_KEYS = ("certificates", "issuers", "renew", "compromised", "alarm_days", "alarm_units", "metrics_directory")
# Set by the action plugin.
OWN_KEYS = ("operation", "authorities", "issued", "private_keys")
CERTIFICATE_KEYS = (
    "name",
    "issuer",
    "names",
    "usages",
    "life_days",
    "key_type",
    "owner",
    "group",
    "mode",
    "services",
    "certificate_file",
    "key_file",
    "key_passphrase",
)
BROUGHT_KEYS = ("certificate_file", "key_file", "key_passphrase")
SERVICE_KEYS = ("unit", "check", "on_change", "before_restart", "after_restart", "credentials", "listeners")
LISTENER_KEYS = ("address", "port", "server_name", "protocol", "require_client_certificate")
ACME_KEYS = ("directory", "email", "terms_of_service_agreed", "server_trust_file", "challenge")
ISSUER_KEYS = ("name", "kind", "generations", *ACME_KEYS, "trust_file", "system_trust")
CHALLENGE_KEYS = ("kind", "webroot", "port")
GENERATION_KEYS = ("certificate_file", "key_file", "key_passphrase")


def listed(values: t.Iterable[str]) -> str:
    return ", ".join(values)


def choice(value: t.Any, accepted: t.Sequence[str], path: str) -> list[str]:
    """Return a problem when the value is none of the accepted ones; a value that is left out has its default."""
    if value is None or (isinstance(value, str) and value in accepted):
        return []
    return [f"{path}: {value!r} is not accepted; accepted are {listed(accepted)}"]


def keys(entry: t.Any, accepted: t.Sequence[str], required: t.Sequence[str], path: str) -> list[str]:
    """Return what is wrong with the keys of a dictionary."""
    if not isinstance(entry, t.Mapping):
        what = "a list" if isinstance(entry, (list, tuple)) else repr(entry)
        return [f"{path}: {what} is no dictionary; accepted is one with the keys {listed(accepted)}"]
    found = [
        f"{path}.{key}: there is no such key; accepted are {listed(accepted)}" for key in entry if key not in accepted
    ]
    return found + [f"{path}.{key}: is missing" for key in required if entry.get(key) in (None, "", [])]


def as_list(value: t.Any, path: str) -> tuple[list[t.Any], list[str]]:
    """Return the list and no problem, or an empty list and the problem."""
    if value is None:
        return [], []
    if isinstance(value, (list, tuple)):
        return list(value), []
    if isinstance(value, t.Mapping):
        # It may hold a passphrase.
        return [], [f"{path}: a dictionary is not a list; write it as the first entry of one"]
    return [], [f"{path}: {value!r} is not a list; write [{value}]"]


def pattern(value: t.Any, accepted: re.Pattern[str], path: str, what: str) -> list[str]:
    if value is None or (isinstance(value, str) and accepted.fullmatch(value)):
        return []
    return [f"{path}: {value!r} is not accepted; accepted is {what}"]


def text(value: t.Any, path: str) -> list[str]:
    if value is None or (isinstance(value, str) and value and "\0" not in value):
        return []
    return [f"{path}: {value!r} is not accepted; accepted is a text"]


def number(value: t.Any, low: int, high: int, path: str, unit: str = "") -> list[str]:
    try:
        whole = None if isinstance(value, (bool, float)) else int(str(value))
    except ValueError:
        whole = None
    if whole is None or not low <= whole <= high:
        return [f"{path}: {value!r} is not accepted; accepted are {low} to {high}{unit}"]
    return []


def name_problem(value: t.Any, path: str) -> list[str]:
    """Return what is wrong with a name that a certificate shall stand for."""
    accepted = 'accepted are "www.example.org", "*.example.org", "192.0.2.1" and "2001:db8::1"'
    if not isinstance(value, str):
        return [f"{path}: {value!r} is not a name; {accepted}"]
    if is_address(value):
        plain = str(ipaddress.ip_address(value))
        return [] if value == plain else [f"{path}: write {plain} instead of {value}"]
    if not value.isascii():
        return [f"{path}: {value!r} has letters that certificates cannot carry; write the name in its xn-- form"]
    if value != value.lower():
        return [f"{path}: write {value.lower()} instead of {value}"]
    digits = value.replace(".", "").isdigit()
    if digits or len(value) > DNS_NAME_AT_MOST or not DNS_NAME.fullmatch(value):
        return [f"{path}: {value!r} is not a name; {accepted}"]
    return []


def listener_problems(entry: t.Any, names: t.Sequence[str], path: str) -> list[str]:
    found = keys(entry, LISTENER_KEYS, ("port",), path)
    if found:
        return found
    found += number(entry["port"], 1, 65535, f"{path}.port")
    found += choice(entry.get("protocol"), PROTOCOLS, f"{path}.protocol")
    required = entry.get("require_client_certificate")
    if required is not None and not isinstance(required, bool):
        found.append(f"{path}.require_client_certificate: {required!r} is not accepted; accepted are true and false")
    address = entry.get("address")
    if address is not None and not (isinstance(address, str) and is_address(address)):
        found.append(f"{path}.address: {address!r} is not an address; accepted are as 192.0.2.1 and ::1")
    server_name = entry.get("server_name")
    if server_name is not None:
        wrong = name_problem(server_name, f"{path}.server_name")
        if not wrong and (server_name.startswith("*.") or not covers(names, server_name)):
            covered = f"accepted is what its names cover: {listed(names)}"
            wrong = [f"{path}.server_name: the certificate does not stand for {server_name}; {covered}"]
        found += wrong
    return found


def command(value: t.Any, path: str) -> list[str]:
    """Return what is wrong with a program and its arguments, which no shell reads."""
    words, found = as_list(value, path)
    for index, word in enumerate(words):
        found += text(word, f"{path}[{index}]")
    if words and isinstance(words[0], str) and not words[0].startswith("/"):
        found.append(f"{path}[0]: {words[0]!r} is not an absolute path; accepted is one as /usr/sbin/nginx")
    return found


def service_problems(entry: t.Any, names: t.Sequence[str], path: str) -> list[str]:
    found = keys(entry, SERVICE_KEYS, ("unit",), path)
    if found:
        return found
    found += pattern(entry["unit"], UNIT, f"{path}.unit", "the name of a unit as nginx.service")
    found += choice(entry.get("on_change"), ON_CHANGE, f"{path}.on_change")
    for key in ("check", "before_restart", "after_restart"):
        found += command(entry.get(key), f"{path}.{key}")
    for key, other in (("before_restart", "after_restart"), ("after_restart", "before_restart")):
        if entry.get(key) and not entry.get(other):
            found.append(f"{path}.{other}: is missing; what takes a service out of use and what puts it in go together")
    credentials = entry.get("credentials")
    if credentials is not None and not isinstance(credentials, bool):
        found.append(f"{path}.credentials: {credentials!r} is not accepted; accepted are true and false")
    elif credentials and entry.get("on_change") != RESTART:
        found.append(f"{path}.on_change: must be {RESTART}, because systemd hands credentials over at a start only")
    listeners, wrong = as_list(entry.get("listeners"), f"{path}.listeners")
    found += wrong
    for index, listener in enumerate(listeners):
        found += listener_problems(listener, names, f"{path}.listeners[{index}]")
    return found


def mutual_problems(service: t.Mapping[str, t.Any], path: str) -> list[str]:
    """Return the listeners that could not be asked: whoever asks must have a certificate for clients."""
    return [
        f"{path}.listeners[{index}].require_client_certificate: is tried with this certificate; set its usages to "
        f"[{SERVER}, {CLIENT}]"
        for index, listener in enumerate(service.get("listeners") or ())
        if listener.get("require_client_certificate")
    ]


def certificate_problems(entry: t.Any, issuers: t.Mapping[str, str], path: str) -> list[str]:
    found = keys(entry, CERTIFICATE_KEYS, ("name", "issuer", "names"), path)
    if found:
        return found
    found += pattern(entry["name"], NAME, f"{path}.name", "a letter and up to 62 of a-z, 0-9, _ and -")
    if issuers:
        found += choice(entry["issuer"], tuple(issuers), f"{path}.issuer")
    else:
        accepted = "accepted is the name of an issuer, and tls_issuers has none"
        found.append(f"{path}.issuer: {entry['issuer']!r} is not accepted; {accepted}")
    names, wrong = as_list(entry["names"], f"{path}.names")
    for index, name in enumerate(names):
        wrong += name_problem(name, f"{path}.names[{index}]")
    if not wrong:
        twice = sorted({name for name in names if names.count(name) > 1})
        wrong += [f"{path}.names: {name} is there twice" for name in twice]
    found += wrong
    usages, wrong = as_list(entry.get("usages"), f"{path}.usages")
    found += wrong
    for index, usage in enumerate(usages):
        found += choice(usage, USAGES, f"{path}.usages[{index}]")
    if entry.get("life_days") is not None:
        found += number(entry["life_days"], 1, LIFE_DAYS_AT_MOST, f"{path}.life_days", " days")
    found += choice(entry.get("key_type"), KEY_TYPES, f"{path}.key_type")
    for key in ("owner", "group"):
        found += pattern(entry.get(key), ACCOUNT, f"{path}.{key}", "the name of an account")
    mode = entry.get("mode")
    if mode is not None and mode not in KEY_MODES:
        found.append(f"{path}.mode: {mode!r} is not accepted; accepted are {listed(KEY_MODES)}, written in quotes")
    services, wrong = as_list(entry.get("services"), f"{path}.services")
    found += wrong
    usable = [name for name in names if isinstance(name, str)]
    for index, service in enumerate(services):
        wrong = service_problems(service, usable, f"{path}.services[{index}]")
        if not wrong and CLIENT not in usages:
            wrong = mutual_problems(service, f"{path}.services[{index}]")
        found += wrong
    kind = issuers.get(str(entry["issuer"]), "")
    if kind == ACME:
        found += ordered_problems(entry, usable, path)
    return found + brought_problems(entry, kind, path)


def ordered_problems(entry: t.Mapping[str, t.Any], names: t.Sequence[str], path: str) -> list[str]:
    """Return what an ACME server cannot be asked for in the way that is known here."""
    found = []
    if entry.get("life_days") is not None:
        found.append(
            f"{path}.life_days: the server of {entry['issuer']} decides how long it lives; leave life_days out"
        )
    for index, name in enumerate(names):
        if is_address(name) or name.startswith("*."):
            found.append(
                f"{path}.names[{index}]: {name} cannot be ordered over HTTP; accepted are names as www.example.org, "
                "and for others an issuer of another kind"
            )
    return found


def brought_problems(entry: t.Mapping[str, t.Any], kind: str, path: str) -> list[str]:
    """Return what is wrong with the files of a certificate that the user brings."""
    found = []
    for key in BROUGHT_KEYS:
        if kind == FILES:
            found += (
                secret(entry.get(key), f"{path}.{key}")
                if key == "key_passphrase"
                else text(entry.get(key), f"{path}.{key}")
            )
        elif kind and entry.get(key) is not None:
            found.append(
                f"{path}.{key}: is for an issuer of the kind {FILES}; {entry['issuer']} makes the certificate itself"
            )
    if kind == FILES:
        found += [f"{path}.{key}: is missing" for key in ("certificate_file", "key_file") if not entry.get(key)]
    return found


def secret(value: t.Any, path: str) -> list[str]:
    """Return a problem that does not show the value."""
    return (
        [] if value is None or (isinstance(value, str) and value) else [f"{path}: is not accepted; accepted is a text"]
    )


def issuer_problems(entry: t.Any, path: str) -> list[str]:
    found = keys(entry, ISSUER_KEYS, ("name", "kind"), path)
    if found:
        return found
    found += pattern(entry["name"], NAME, f"{path}.name", "a letter and up to 62 of a-z, 0-9, _ and -")
    found += choice(entry["kind"], ISSUER_KINDS, f"{path}.kind")
    system_trust = entry.get("system_trust")
    if system_trust is not None and not isinstance(system_trust, bool):
        found.append(f"{path}.system_trust: {system_trust!r} is not accepted; accepted are true and false")
    elif system_trust and entry["kind"] in (FILES, ACME) and not entry.get("trust_file"):
        found.append(f"{path}.system_trust: there is nothing to trust; set trust_file to the certificates of the CAs")
    generations, wrong = as_list(entry.get("generations"), f"{path}.generations")
    found += wrong
    if entry["kind"] == PRIVATE_CA:
        if not generations and not wrong:
            found.append(f"{path}.generations: is missing; accepted is a list of CAs, of which the last signs")
        if entry.get("trust_file") is not None:
            found.append(
                f"{path}.trust_file: is for the kinds {FILES} and {ACME}; consumers trust the CAs in {path}.generations"
            )
    elif entry["kind"] in (FILES, ACME):
        if generations:
            found.append(f"{path}.generations: is for the kind {PRIVATE_CA}; nothing is signed for {entry['kind']}")
        found += text(entry.get("trust_file"), f"{path}.trust_file")
    if entry["kind"] == ACME:
        found += server_problems(entry, path)
    else:
        found += [f"{path}.{key}: is for the kind {ACME}" for key in ACME_KEYS if entry.get(key) is not None]
    for index, generation in enumerate(generations):
        place = f"{path}.generations[{index}]"
        wrong = keys(generation, GENERATION_KEYS, ("certificate_file", "key_file"), place)
        if not wrong:
            wrong += text(generation["certificate_file"], f"{place}.certificate_file")
            wrong += text(generation["key_file"], f"{place}.key_file")
            wrong += secret(generation.get("key_passphrase"), f"{place}.key_passphrase")
        found += wrong
    return found


def server_problems(entry: t.Mapping[str, t.Any], path: str) -> list[str]:
    """Return what is wrong with an ACME server, and how it may convince itself."""
    found = [f"{path}.{key}: is missing" for key in ("directory", "challenge") if entry.get(key) in (None, "", {})]
    directory = entry.get("directory")
    if directory not in (None, ""):
        url = 'the URL of a directory as "https://acme.example.org/directory"'
        if isinstance(directory, str) and "@" in directory:
            found.append(f"{path}.directory: holds an account; accepted is {url}")
        else:
            found += pattern(directory, DIRECTORY_URL, f"{path}.directory", url)
    found += pattern(entry.get("email"), EMAIL, f"{path}.email", "one address as ops@example.org")
    if entry.get("terms_of_service_agreed") is not True:
        found.append(
            f"{path}.terms_of_service_agreed: must be true before an account is made; read the terms of the server, "
            "and agree by it"
        )
    found += text(entry.get("server_trust_file"), f"{path}.server_trust_file")
    return found + challenge_problems(entry.get("challenge"), f"{path}.challenge")


def challenge_problems(entry: t.Any, path: str) -> list[str]:
    found = [] if entry in (None, "", {}) else keys(entry, CHALLENGE_KEYS, ("kind",), path)
    if found or not isinstance(entry, t.Mapping) or not entry:
        return found
    found += choice(entry["kind"], CHALLENGE_KINDS, f"{path}.kind")
    if (entry.get("webroot") is None) == (entry.get("port") is None):
        found.append(
            f"{path}: set webroot to the directory that a web server shows on port 80, or port to where certbot shall "
            "listen itself, and not both"
        )
    found += pattern(entry.get("webroot"), WEBROOT, f"{path}.webroot", "an absolute path as /var/www/acme")
    if entry.get("port") is not None:
        found += number(entry["port"], 1, 65535, f"{path}.port")
    return found


def duplicates(entries: t.Sequence[t.Any], path: str) -> list[str]:
    names = [entry["name"] for entry in entries if isinstance(entry, t.Mapping) and isinstance(entry.get("name"), str)]
    return [
        f"{path}: {name} is there twice; give each its own name" for name in sorted(set(names)) if names.count(name) > 1
    ]


def shared_listeners(certificates: t.Sequence[t.Mapping[str, t.Any]]) -> list[str]:
    """Return the listeners that would have to serve two certificates for the same name."""
    found = []
    seen: dict[t.Any, str] = {}
    for index, entry in enumerate(certificates):
        built = build_certificate(entry)
        for listener in dict.fromkeys(built.listeners):
            other = seen.setdefault((listener.address, listener.port, listener.server_name), built.name)
            if other != built.name:
                path = f"{PREFIX}certificates[{index}].services"
                found.append(f"{path}: {listener} serves {other} already; a listener serves one certificate for a name")
    return found


def alarm_problems(raw: t.Mapping[str, t.Any]) -> list[str]:
    """Return what is wrong with how and when the host tells that something needs a person."""
    found: list[str] = []
    if raw.get("alarm_days") is not None:
        found += number(raw["alarm_days"], 1, ALARM_DAYS_AT_MOST, f"{PREFIX}alarm_days", " days")
    units, wrong = as_list(raw.get("alarm_units"), f"{PREFIX}alarm_units")
    found += wrong
    for index, unit in enumerate(units):
        accepted = "the name of a unit as mail-alarm@%n.service or pager.target"
        found += pattern(unit, ALARM_UNIT, f"{PREFIX}alarm_units[{index}]", accepted)
    accepted = "an absolute path as /var/lib/prometheus/node-exporter, or nothing"
    return found + pattern(raw.get("metrics_directory"), METRICS_DIRECTORY, f"{PREFIX}metrics_directory", accepted)


def problems(raw: t.Mapping[str, t.Any]) -> list[str]:
    """Return one sentence for each fault of the module's options; an empty list means that they can be planned."""
    found = [
        f"{PREFIX}{key}: unknown option; accepted are {listed(PREFIX + name for name in OPTION_KEYS)}"
        for key in raw
        if key not in (*OPTION_KEYS, *OWN_KEYS) and not str(key).startswith("_")
    ]
    issuers, wrong = as_list(raw.get("issuers"), f"{PREFIX}issuers")
    found += wrong
    for index, entry in enumerate(issuers):
        found += issuer_problems(entry, f"{PREFIX}issuers[{index}]")
    kinds = {
        str(entry["name"]): str(entry.get("kind"))
        for entry in issuers
        if isinstance(entry, t.Mapping) and isinstance(entry.get("name"), str)
    }
    certificates, wrong = as_list(raw.get("certificates"), f"{PREFIX}certificates")
    found += wrong
    for index, entry in enumerate(certificates):
        found += certificate_problems(entry, kinds, f"{PREFIX}certificates[{index}]")
    found += duplicates(issuers, f"{PREFIX}issuers") + duplicates(certificates, f"{PREFIX}certificates")
    if not found:
        found += shared_listeners(certificates)
    found += alarm_problems(raw)
    renew, wrong = as_list(raw.get("renew"), f"{PREFIX}renew")
    known = [
        str(entry.get("name"))
        for entry in certificates
        if isinstance(entry, t.Mapping) and kinds.get(str(entry.get("issuer"))) != FILES
    ]
    found += wrong
    for index, name in enumerate(renew):
        found += choice(name, known, f"{PREFIX}renew[{index}]")
    compromised, wrong = as_list(raw.get("compromised"), f"{PREFIX}compromised")
    found += wrong
    private = [name for name, kind in kinds.items() if kind == PRIVATE_CA]
    for index, name in enumerate(compromised):
        found += choice(name, private, f"{PREFIX}compromised[{index}]")
    return found
