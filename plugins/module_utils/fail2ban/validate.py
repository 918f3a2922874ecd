# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check jails and filters and name every fault with the path to the value; pure, used on the controller too.

The paths carry the role's variable names, because that is what the user wrote. ``group:NAME`` is accepted wherever an
address is: the controller replaces it before the policy reaches the managed host.
"""

from __future__ import annotations

import ipaddress
import re
import typing as t
import warnings

from .model import FILES, JOURNAL, PROTOCOLS, filter_of, merged, network, port_range

PREFIX = "fail2ban_"
BACKENDS = ("auto", JOURNAL, FILES)
SOURCES = (JOURNAL, "file")
BASE_KEYS = ("base_jails", "base_filters")
OPTION_KEYS = (
    "jails",
    "filters",
    "ignored_addresses",
    "management_sources",
    "maximum_attempts",
    "find_seconds",
    "ban_seconds",
    "ban_growth_factor",
    "maximum_ban_seconds",
    "history_seconds",
    "sandbox",
)
# What the server cannot see from its sandbox.
HIDDEN = ("/home/", "/root/", "/run/user/", "/tmp/", "/var/tmp/")  # noqa: S108 - names, nothing is written there
OPERATIONS = ("apply", "validate")
JAIL_KEYS = (
    "name",
    "enabled",
    "filter",
    "package_filter",
    "backend",
    "journal_matches",
    "log_paths",
    "ports",
    "protocol",
    "maximum_attempts",
    "find_seconds",
    "ban_seconds",
    "ignored_addresses",
)
FILTER_KEYS = ("name", "prefix", "fail_patterns", "ignore_patterns", "date_pattern", "samples")
SAMPLE_KEYS = ("line", "address", "source")
YEAR = 31536000
LIMITS = {
    "maximum_attempts": (1, 1000, " attempts"),
    "find_seconds": (1, YEAR, " seconds"),
    "ban_seconds": (1, YEAR, " seconds"),
    "ban_growth_factor": (1, 100, ""),
    "maximum_ban_seconds": (1, YEAR, " seconds"),
    "history_seconds": (60, 10 * YEAR, " seconds"),
}
NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")
GROUP = re.compile(r"group:[A-Za-z0-9_.-]+")
PACKAGE_FILTER = re.compile(r"[a-z0-9][a-z0-9_.-]*(?:\[[a-z_]+=[a-z0-9_-]+\])?", re.IGNORECASE)
JOURNAL_TERM = re.compile(r"[A-Z_][A-Z0-9_]{0,63}=[A-Za-z0-9_@:./,-]{1,200}")
LOG_PATH = re.compile(r"/[A-Za-z0-9_@:.,/*?-]+")
# What fail2ban replaces in a pattern. The names of hosts are left out: whoever attacks may choose them.
ADDRESS_TAGS = ("ADDR", "IP4", "IP6")
FIELD_TAGS = ("F-NOFAIL", "F-MLFID", "F-MLFFORGET", "F-MLFGAINED", "F-CONTENT", "F-USER")
# A name in angle brackets that is not a group of the regular expression itself.
TAG = re.compile(r"(?<!\?P)(?<!\?)<(/?[A-Za-z][A-Za-z0-9_/-]*)>")
MAXIMUM_TEXT = 4000


def listed(values: t.Iterable[str]) -> str:
    """Return the accepted values for a message."""
    return ", ".join(values)


def choice(value: t.Any, accepted: t.Sequence[str], path: str) -> list[str]:
    """Return a problem when the value is none of the accepted ones."""
    if isinstance(value, str) and value in accepted:
        return []
    return [f"{path}: {value!r} is not accepted; accepted are {listed(accepted)}"]


def unknown_keys(entry: t.Mapping[str, t.Any], accepted: t.Sequence[str], path: str) -> list[str]:
    return [f"{path}.{key}: unknown key; accepted are {listed(accepted)}" for key in entry if key not in accepted]


def as_list(value: t.Any, path: str) -> tuple[list[t.Any], list[str]]:
    """Return the list and no problem, or an empty list and the problem."""
    if value is None:
        return [], []
    if isinstance(value, (list, tuple)):
        return list(value), []
    return [], [f"{path}: {value!r} is not a list; write [{value}]"]


def number_problem(value: t.Any, key: str, path: str) -> list[str]:
    """Return a problem when the value is no whole number between the bounds of its kind."""
    low, high, unit = LIMITS[key]
    try:
        number = None if isinstance(value, (bool, float)) else int(str(value))
    except ValueError:
        number = None
    if number is None or not low <= number <= high:
        return [f"{path}: {value!r} is not accepted; accepted are {low} to {high}{unit}"]
    return []


def address_problem(value: t.Any, path: str) -> list[str]:
    """Return what is wrong with an address, a network or a group that is never to be banned."""
    if isinstance(value, str) and value.startswith("group:"):
        if GROUP.fullmatch(value):
            return []
        return [f'{path}: {value!r} does not name a group; accepted is "group:NAME" with a group of the inventory']
    try:
        if not isinstance(value, str):
            raise ValueError(value)
        parsed = network(value)
    except ValueError:
        try:
            loose = ipaddress.ip_network(str(value).strip(), strict=False)
        except ValueError:
            return [
                (
                    f'{path}: {value} is not an address; accepted are "192.0.2.1", "192.0.2.0/24", "2001:db8::/32" '
                    'or "group:NAME"'
                )
            ]
        return [
            f"{path}: {value} has bits set after its prefix; write {loose} for the network, or leave the prefix away"
        ]
    if parsed.prefixlen == 0:
        return [f"{path}: {value} is everybody, so nobody would ever be banned; name the networks that you mean"]
    return []


def address_list(value: t.Any, path: str) -> list[str]:
    """Return the problems of a list of addresses."""
    items, problems = as_list(value, path)
    for index, item in enumerate(items):
        problems += address_problem(item, f"{path}[{index}]")
    return problems


def text_problem(value: t.Any, path: str) -> list[str]:
    """Return a problem when the value is not one line of text."""
    if isinstance(value, str) and value and len(value) <= MAXIMUM_TEXT and value.isprintable():
        return []
    return [f"{path}: accepted is one line of 1 to {MAXIMUM_TEXT} printable characters"]


def ports_problems(value: t.Any, path: str) -> list[str]:
    """Return the problems of a list of ports and ranges, which must not overlap."""
    items, problems = as_list(value, path)
    taken: list[tuple[int, int, t.Any]] = []
    for index, item in enumerate(items):
        try:
            low, high = port_range(item)
        except ValueError:
            problems.append(f'{path}[{index}]: {item} is not a port; accepted are 1 to 65535 or "from-to"')
            continue
        for other_low, other_high, other in taken:
            if low <= other_high and other_low <= high:
                problems.append(f"{path}[{index}]: {item} is already in {other}; write each port once")
                break
        taken.append((low, high, item))
    return problems


def journal_problems(value: t.Any, path: str) -> list[str]:
    """Return the problems of journal matches: each must hold a field that no user can forge."""
    items, problems = as_list(value, path)
    for index, item in enumerate(items):
        terms = item.split() if isinstance(item, str) else []
        wrong = [term for term in terms if not JOURNAL_TERM.fullmatch(term)]
        if not terms or wrong:
            shown = wrong[0] if wrong else item
            problems.append(
                f'{path}[{index}]: {shown!r} is not a journal match; accepted are fields such as "_UID=0 '
                'SYSLOG_IDENTIFIER=sshd", divided by blanks'
            )
        elif not any(term.startswith("_") for term in terms):
            problems.append(
                f"{path}[{index}]: any user of the host can write a line with {item}, and so ban whom he likes; add a "
                "field that the journal itself sets, such as _UID=0 or _SYSTEMD_UNIT=NAME.service"
            )
    return problems


def log_paths_problems(value: t.Any, path: str) -> list[str]:
    items, problems = as_list(value, path)
    return problems + [
        f'{path}[{index}]: {item!r} is not a path; accepted are absolute ones, with * and ?, as "/var/log/auth.log"'
        for index, item in enumerate(items)
        if not (isinstance(item, str) and LOG_PATH.fullmatch(item) and "/../" not in item)
    ]


def jail_problems(entry: t.Any, path: str) -> list[str]:
    """Return what is wrong in one entry by itself."""
    if not isinstance(entry, t.Mapping):
        return [f"{path}: {entry!r} is not a jail; accepted is a dictionary with the keys {listed(JAIL_KEYS)}"]
    problems = unknown_keys(entry, JAIL_KEYS, path)
    name = entry.get("name")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        problems.append(f"{path}.name: {name!r} is not a name; accepted are a letter and up to 31 of a-z 0-9 _ -")
    enabled = entry.get("enabled")
    if enabled is not None and not isinstance(enabled, bool):
        problems.append(f"{path}.enabled: {enabled!r} is not accepted; accepted are true and false")
    declared, package = entry.get("filter"), entry.get("package_filter")
    if declared not in (None, "") and not (isinstance(declared, str) and NAME.fullmatch(declared)):
        problems.append(f"{path}.filter: {declared!r} is not the name of a filter")
    if package not in (None, "") and not (isinstance(package, str) and PACKAGE_FILTER.fullmatch(package)):
        problems.append(
            f'{path}.package_filter: {package!r} is not accepted; accepted are "NAME" and "NAME[mode=WORD]"'
        )
    if declared and package:
        problems.append(f"{path}: filter and package_filter exclude each other; leave one away")
    for key, accepted in (("backend", BACKENDS), ("protocol", PROTOCOLS)):
        if entry.get(key) is not None:
            problems += choice(entry[key], accepted, f"{path}.{key}")
    for key in ("maximum_attempts", "find_seconds", "ban_seconds"):
        if entry.get(key) is not None:
            problems += number_problem(entry[key], key, f"{path}.{key}")
    problems += journal_problems(entry.get("journal_matches"), f"{path}.journal_matches")
    problems += log_paths_problems(entry.get("log_paths"), f"{path}.log_paths")
    problems += ports_problems(entry.get("ports"), f"{path}.ports")
    return problems + address_list(entry.get("ignored_addresses"), f"{path}.ignored_addresses")


def lost_problem(text: str, path: str) -> list[str]:
    """Return a problem when fail2ban's parser would drop a part of the text."""
    if text != text.strip() or text[0] in "#;":
        return [f"{path}: {text!r} begins or ends with what fail2ban would drop; write [#], [;] or \\x20"]
    if " ;" in text:
        return [f"{path}: {text!r} has a blank before a semicolon, which begins a comment for fail2ban; write \\x20;"]
    return []


def pattern_problems(value: t.Any, path: str, anchored: bool) -> list[str]:
    """Return what is wrong with one pattern.

    ``anchored``: it must be for a whole line, so that text chosen by an attacker cannot pass for the log's own.
    """
    problems = text_problem(value, path)
    if problems:
        return problems
    text = str(value)
    problems = lost_problem(text, path)
    if problems:
        return problems
    for tag in TAG.findall(text):
        name = tag.lstrip("/").upper()
        if name in ("HOST", "DNS"):
            return [f"{path}: <{tag}> also takes host names, which an attacker may choose; write <ADDR>"]
        if name not in (*ADDRESS_TAGS, *FIELD_TAGS):
            accepted = [*(f"<{known}>" for known in ADDRESS_TAGS), *(f"<{known}>…</{known}>" for known in FIELD_TAGS)]
            return [f"{path}: there is no tag <{tag}>; accepted are {listed(accepted)}"]
    if anchored and not (text.startswith("^") and text.endswith("$")):
        return [
            (
                f"{path}: {text!r} is not for a whole line; begin it with ^ and end it with $, else a user name could "
                "hold what looks like an address of somebody else"
            )
        ]
    try:
        with warnings.catch_warnings():
            # What Python warns of today has another meaning tomorrow.
            warnings.simplefilter("error")
            re.compile(TAG.sub("(?:)", text))
    except (re.error, Warning) as error:
        return [f"{path}: {text!r} is not a regular expression: {error}"]
    return []


def sample_problems(entry: t.Any, path: str) -> list[str]:
    if not isinstance(entry, t.Mapping):
        return [f"{path}: {entry!r} is not a sample; accepted is a dictionary with the keys {listed(SAMPLE_KEYS)}"]
    problems = unknown_keys(entry, SAMPLE_KEYS, path) + text_problem(entry.get("line"), f"{path}.line")
    address = entry.get("address")
    if address not in (None, ""):
        try:
            ipaddress.ip_address(str(address))
        except ValueError:
            problems.append(f"{path}.address: {address!r} is not an address; empty means that nobody may be counted")
    if entry.get("source") is not None:
        problems += choice(entry["source"], SOURCES, f"{path}.source")
    return problems


def filter_problems(entry: t.Any, path: str) -> list[str]:
    """Return what is wrong in one entry by itself."""
    if not isinstance(entry, t.Mapping):
        return [f"{path}: {entry!r} is not a filter; accepted is a dictionary with the keys {listed(FILTER_KEYS)}"]
    problems = unknown_keys(entry, FILTER_KEYS, path)
    name = entry.get("name")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        problems.append(f"{path}.name: {name!r} is not a name; accepted are a letter and up to 31 of a-z 0-9 _ -")
    if entry.get("prefix") not in (None, ""):
        problems += pattern_problems(entry["prefix"], f"{path}.prefix", anchored=True)
        if not problems and "<F-CONTENT>" not in entry["prefix"]:
            problems.append(f"{path}.prefix: say what is left for the patterns: <F-CONTENT>.+</F-CONTENT>")
    if entry.get("date_pattern") not in (None, ""):
        faults = text_problem(entry["date_pattern"], f"{path}.date_pattern")
        problems += faults or lost_problem(entry["date_pattern"], f"{path}.date_pattern")
    for key, anchored in (("fail_patterns", True), ("ignore_patterns", False)):
        patterns, faults = as_list(entry.get(key), f"{path}.{key}")
        problems += faults
        for index, pattern in enumerate(patterns):
            problems += pattern_problems(pattern, f"{path}.{key}[{index}]", anchored)
    samples, faults = as_list(entry.get("samples"), f"{path}.samples")
    problems += faults
    for index, sample in enumerate(samples):
        problems += sample_problems(sample, f"{path}.samples[{index}]")
    return problems


def whole_filter_problems(entry: t.Mapping[str, t.Any], path: str) -> list[str]:
    """Return what a filter lacks once all layers are merged."""
    patterns = list(entry.get("fail_patterns") or ())
    if not any(f"<{tag}>" in pattern for pattern in patterns for tag in ADDRESS_TAGS):
        return [f"{path}.fail_patterns: no pattern says where the address is; write <ADDR> there"]
    with_address = [bool(sample.get("address")) for sample in entry.get("samples") or ()]
    if not any(with_address) or all(with_address):
        return [
            (
                f"{path}.samples: give at least one line that counts against an address, and one that counts against "
                "nobody; the engine is tried on them before the filter goes live"
            )
        ]
    return []


def whole_jail_problems(
    entry: t.Mapping[str, t.Any], filters: t.Container[str], known: t.Iterable[str], path: str
) -> list[str]:
    """Return what a jail lacks once all layers are merged."""
    problems: list[str] = []
    wanted = filter_of(entry)
    if wanted and wanted not in filters:
        problems.append(
            f'{path}.filter: there is no filter "{wanted}"; define it in fail2ban_filters, or name one of fail2ban\'s '
            f"own as package_filter; known are {listed(sorted(known))}"
        )
    backend = entry.get("backend") or "auto"
    for kind, key in ((JOURNAL, "journal_matches"), (FILES, "log_paths")):
        if backend == kind and not entry.get(key):
            problems.append(f"{path}.{key}: backend {kind} needs it")
    if not entry.get("journal_matches") and not entry.get("log_paths"):
        problems.append(f"{path}: say where the log is, with journal_matches, log_paths or both")
    return problems


def seconds_problems(raw: t.Mapping[str, t.Any]) -> list[str]:
    """Return what does not fit together in the durations."""
    problems: list[str] = []
    ban, longest = int(raw.get("ban_seconds") or 0), int(raw.get("maximum_ban_seconds") or 0)
    history = int(raw.get("history_seconds") or 0)
    if ban and longest and longest < ban:
        problems.append(
            f"{PREFIX}maximum_ban_seconds: {longest} is shorter than the first ban; accepted are {ban} or more"
        )
    if longest and history and history < longest:
        problems.append(
            f"{PREFIX}history_seconds: after {history} seconds an address is forgotten, before its longest ban of "
            f"{longest} seconds ends, so bans would not grow; accepted are {longest} or more"
        )
    for index, jail in enumerate(raw.get("jails") or ()):
        own = int(jail.get("ban_seconds") or 0)
        if own and longest and longest < own:
            problems.append(
                f"{PREFIX}jails[{index}].ban_seconds: {own} is longer than fail2ban_maximum_ban_seconds; accepted are "
                f"1 to {longest}"
            )
    return problems


def hidden_problems(raw: t.Mapping[str, t.Any]) -> list[str]:
    """Return the logs that the server could not read from its sandbox."""
    if raw.get("sandbox") is False:
        return []
    return [
        f"{PREFIX}jails[{index}].log_paths: {path} is out of reach of the service's sandbox; let the log be below "
        "/var/log, or set fail2ban_sandbox to false"
        for index, jail in enumerate(raw.get("jails") or ())
        for path in jail.get("log_paths") or ()
        if path.startswith(HIDDEN)
    ]


def validate_policy(raw: t.Mapping[str, t.Any]) -> list[str]:
    """Return one sentence for each fault of the module's options; an empty list means that the policy can be planned.

    Options are named as the module names them; a missing option has its default.
    """
    accepted = (*OPTION_KEYS, *BASE_KEYS, "operation")
    problems = [
        f"{PREFIX}{key}: unknown option; accepted are {listed(PREFIX + name for name in OPTION_KEYS)}"
        for key in raw
        if key not in accepted and not str(key).startswith("_")
    ]
    for key in LIMITS:
        if raw.get(key) is not None:
            problems += number_problem(raw[key], key, f"{PREFIX}{key}")
    for key in ("ignored_addresses", "management_sources"):
        problems += address_list(raw.get(key), f"{PREFIX}{key}")
    if raw.get("sandbox") is not None and not isinstance(raw["sandbox"], bool):
        problems.append(f"{PREFIX}sandbox: {raw['sandbox']!r} is not accepted; accepted are true and false")
    layers: dict[str, list[t.Any]] = {}
    for key, check in (
        ("base_jails", jail_problems),
        ("jails", jail_problems),
        ("base_filters", filter_problems),
        ("filters", filter_problems),
    ):
        layers[key], faults = as_list(raw.get(key), f"{PREFIX}{key}")
        problems += faults
        for index, entry in enumerate(layers[key]):
            problems += check(entry, f"{PREFIX}{key}[{index}]")
    if problems:
        return problems
    problems += seconds_problems(raw) + hidden_problems(raw)
    filters = {str(entry["name"]): entry for entry in merged(layers["base_filters"], layers["filters"])}
    for name, entry in filters.items():
        problems += whole_filter_problems(entry, _path("filters", layers, name))
    for entry in merged(layers["base_jails"], layers["jails"]):
        if entry.get("enabled", True):
            path = _path("jails", layers, str(entry["name"]))
            problems += whole_jail_problems(entry, filters, filters, path)
    return problems


def _path(key: str, layers: t.Mapping[str, t.Sequence[t.Mapping[str, t.Any]]], name: str) -> str:
    """Return the path to the last entry of a name that the user wrote."""
    places = [index for index, entry in enumerate(layers[key]) if entry["name"] == name]
    return f"{PREFIX}{key}[{places[-1]}]" if places else f"{PREFIX}{key} ({name})"
