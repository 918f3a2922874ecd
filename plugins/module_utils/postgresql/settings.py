# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings of a server as one set: what is wished, what the server shows, and what keeps one from the other; pure."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

HEADER = "# Written by Ansible (bulwark.hardening.postgresql_settings); a change made here is overwritten.\n"
PRELOAD = "shared_preload_libraries"
NAME = re.compile(r"[a-z_][a-z0-9_$]*(\.[a-z_][a-z0-9_$]*)?")
NUMBER = re.compile(r"([+-]?)(0x[0-9a-f]+|\d+)(\.\d+)?\s*([a-zA-Z]*)", re.IGNORECASE)
# How many of the smallest unit one is; the two families never mix.
MEMORY = {"B": 1, "kB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40}
TIME = {"us": 1, "ms": 1000, "s": 10**6, "min": 60 * 10**6, "h": 3600 * 10**6, "d": 86400 * 10**6}
ON = frozenset({"on", "true", "yes", "1"})
OFF = frozenset({"off", "false", "no", "0"})
# Shown as the file modes that they are.
OCTAL = frozenset({"log_file_mode", "unix_socket_permissions", "data_directory_mode"})
# The server writes these its own way.
ANY_CASE = frozenset({"datestyle", "timezone", "log_timezone", "client_encoding", "intervalstyle"})
# With this value the server chooses one, and shows that.
CHOSEN = {
    "wal_buffers": "-1",
    "commit_timestamp_buffers": "0",
    "subtransaction_buffers": "0",
    "transaction_buffers": "0",
}
# A value from here holds for the asking session alone.
OF_SESSION = frozenset({"client", "user", "database", "database user", "session"})
# Over the socket there is nothing to show of these.
OF_TCP = frozenset({"tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count", "tcp_user_timeout"})
NEEDS_RESTART = "cannot be changed without restarting"
NOT_NOW = "setting could not be applied"
RESTART_CONTEXT = "postmaster"
# What says where a cluster is; a module that finds it there cannot move it.
PLACES = {
    "port": "change the port in postgresql.conf, restart the server, then run this with that port",
    "unix_socket_directories": "change it in postgresql.conf, restart the server, then run this with the new directory",
    "data_directory": "a cluster is moved by hand, while it is stopped",
    "config_file": "it belongs to the command line of the server",
    "hba_file": "the module postgresql_hba has the rules",
    "ident_file": "it belongs to postgresql.conf",
    "external_pid_file": "it belongs to postgresql.conf",
}
PGAUDIT_CLASSES = frozenset({"read", "write", "function", "role", "ddl", "misc", "misc_set", "all", "none"})


@dataclass(frozen=True)
class Known:
    """A setting as a new session of the server shows it (pg_settings)."""

    name: str
    setting: str
    unit: str
    context: str
    vartype: str
    accepted: tuple[str, ...]
    source: str
    file: str
    pending_restart: bool


@dataclass(frozen=True)
class Line:
    """A line of the files as the server reads them now (pg_file_settings); the last of a name counts."""

    file: str
    number: int
    name: str
    setting: str
    error: str


@dataclass(frozen=True)
class State:
    """One wished setting and what holds."""

    name: str
    wished: str
    observed: str
    source: str
    context: str
    in_force: bool
    pending_restart: bool


def wishes(settings: Mapping[str, t.Any]) -> tuple[dict[str, str], list[str]]:
    """Return names and texts of the values, and what is wrong with them whatever the server is."""
    wished: dict[str, str] = {}
    problems: list[str] = []
    for given, value in settings.items():
        name = str(given).lower()
        if not NAME.fullmatch(name):
            problems.append(f"{given!r} is no name of a setting, such as work_mem or pgaudit.log")
        elif name in wished:
            problems.append(f"{name} is given twice, in different case; a setting takes one value")
        elif name in PLACES:
            problems.append(f"{name} is not changed here: {PLACES[name]}")
        else:
            try:
                wished[name] = as_text(value)
            except ValueError as error:
                problems.append(f"{name}: {error}")
    return wished, problems


def as_text(value: t.Any) -> str:
    """Return a value as the file has it. Raises ValueError for what no setting can be."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, (list, tuple)):
        return ", ".join(as_text(entry) for entry in value)
    if not isinstance(value, (int, float, str)):
        raise ValueError(f"{value!r} is no value; a text, a number, true, false or a list of these is")
    text = str(value)
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise ValueError(f"{text!r} contains a control character, which a line of the file cannot hold")
    return text


def canonical(known: Known, text: str) -> str:
    """Return a value as the server shows it. Raises ValueError with what is accepted."""
    if known.vartype == "bool":
        return _truth(text)
    if known.vartype == "enum":
        return _choice(known, text)
    if known.vartype in ("integer", "real"):
        return _number(known, text)
    return text.casefold() if known.name.lower() in ANY_CASE else text


def _truth(text: str) -> str:
    word = text.strip().lower()
    if word not in ON | OFF:
        raise ValueError(f"{text!r} is neither on nor off, which are accepted")
    return "on" if word in ON else "off"


def _choice(known: Known, text: str) -> str:
    accepted = {choice.lower(): choice for choice in known.accepted}
    word = text.strip().lower()
    word = "on" if word in ON and word not in accepted else "off" if word in OFF and word not in accepted else word
    if word not in accepted:
        raise ValueError(f"{text!r} is not accepted; accepted are {', '.join(known.accepted)}")
    return accepted[word]


def _number(known: Known, text: str) -> str:
    found = NUMBER.fullmatch(text.strip())
    base = re.fullmatch(r"(\d*)([A-Za-z]*)", known.unit or "")
    family = next((family for family in (MEMORY, TIME) if base and base[2] in family), None)
    units = f"with a unit of {', '.join(family)}, or without one in {known.unit}" if family else "without a unit"
    takes = f"accepted is {'a whole number' if known.vartype == 'integer' else 'a number'} {units}"
    if not found or (found[4] and (family is None or found[4] not in family)):
        raise ValueError(f"{text!r} is not accepted; {takes}")
    sign, digits, fraction, unit = found.groups()
    if fraction and (known.vartype == "integer" or digits.lower().startswith("0x")):
        raise ValueError(f"{text!r} has a fraction; {takes}, so choose a smaller unit")
    octal = known.vartype == "integer" and len(digits) > 1 and digits.isdigit() and digits.startswith("0")
    try:
        value = Fraction(int(digits, 8 if octal else 0 if digits.lower().startswith("0x") else 10))
    except ValueError:
        raise ValueError(f"{text!r} is no octal number, as which the leading 0 is read; leave it out") from None
    value = (value + Fraction(f"0{fraction or '.0'}")) * (-1 if sign == "-" else 1)
    if unit and family and base:
        value = value * family[unit] / (family[base[2]] * int(base[1] or 1))
    if known.name in OCTAL:
        return f"{int(value):04o}"
    # As rint(3): half to even.
    return str(round(value)) if known.vartype == "integer" else f"{float(value):g}"


def problems(wished: Mapping[str, str], known: Mapping[str, Known], major: int) -> list[str]:
    """Return what this server would not take, one sentence each."""
    found: list[str] = []
    loaded = {name.partition(".")[0] for name in known if "." in name}
    named = [part for name in (PRELOAD, "session_preload_libraries") for part in listed(wished.get(name, ""))]
    for name, text in wished.items():
        setting = known.get(name)
        prefix = name.partition(".")[0]
        if setting is None and "." in name:
            if prefix not in loaded and not any(prefix in library for library in named):
                found.append(
                    f"{name} belongs to nothing that the server loads; name the library in preload_libraries, "
                    "or leave the setting out"
                )
            elif prefix in loaded:
                found.append(f"{name} is unknown: the library {prefix} has no such setting; look at its manual")
            elif name == "pgaudit.log":
                found += _pgaudit_problems(text)
            continue
        if setting is None:
            found.append(f"{name} is no setting of PostgreSQL {major}; look at its manual, or leave it out")
            continue
        if setting.context == "internal":
            found.append(f"{name} cannot be set, since it was fixed when the cluster or the program was made")
            continue
        if setting.source == "command line" and not same(setting, text):
            found.append(
                f"{name} is set to {setting.setting!r} on the command line of the server, which wins over every file; "
                "remove it there, on Debian from pg_ctl.conf, and restart"
            )
        try:
            canonical(setting, text)
        except ValueError as error:
            found.append(f"{name}: {error}")
        if name == "pgaudit.log":
            found += _pgaudit_problems(text)
    return found


def _pgaudit_problems(text: str) -> list[str]:
    """The library itself says this only after the restart that loads it."""
    accepted = ", ".join(sorted(PGAUDIT_CLASSES))
    return [
        f"pgaudit.log: {word!r} is no class; accepted are {accepted}, with - in front to leave one out"
        for word in listed(text)
        if word.lower().lstrip("-") not in PGAUDIT_CLASSES
    ]


def listed(text: str) -> list[str]:
    """Return the entries of a value that is a list."""
    return [part.strip().strip('"') for part in text.split(",") if part.strip()]


def with_libraries(base: str, added: Sequence[str]) -> str:
    """Return the libraries of the host's own files and these behind them."""
    return ", ".join(dict.fromkeys([*listed(base), *added]))


def render(wished: Mapping[str, str]) -> str:
    """Return the whole file."""
    return HEADER + "".join(f"{name} = {quoted(text)}\n" for name, text in sorted(wished.items()))


def quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "''")
    return f"'{escaped}'"


def same(known: Known, text: str, observed: str | None = None) -> bool:
    """Return whether a value as written is the one that the server shows."""
    shown = known.setting if observed is None else observed
    if CHOSEN.get(known.name) == text.strip():
        return True
    try:
        return canonical(known, text) == canonical(known, shown)
    except ValueError:
        return False


def broken(lines: Iterable[Line], known: Mapping[str, Known], own: str) -> list[str]:
    """Return what is wrong in the files of others."""
    return [f"{_place(line)} is broken ({_about(line)})" for line in errors(lines, known) if line.file != own]


def own_errors(lines: Iterable[Line], known: Mapping[str, Known], own: str) -> list[str]:
    """Return what the server says against the lines of our file."""
    return [f"line {line.number}: {_about(line)}" for line in errors(lines, known) if line.file == own]


def errors(lines: Iterable[Line], known: Mapping[str, Known]) -> Iterator[Line]:
    """Yield the lines that are wrong, and not only waiting for a restart, of which the server says the same."""
    for line in lines:
        setting = known.get(line.name.lower())
        waits = NEEDS_RESTART in line.error or (
            line.error == NOT_NOW and setting is not None and setting.context == RESTART_CONTEXT
        )
        if line.error and not waits:
            yield line


def blamed(said: str, lines: Sequence[Line], own: str) -> str:
    """Return the complaint with the place of the line in somebody else's file that it is about, if there is one."""
    named = re.search(r'parameter "([^"]+)"', said)
    line = last_of(lines, named[1].lower(), own) if named else None
    return f"{said} ({_place(line)})" if line and line.file not in said else said


def _place(line: Line) -> str:
    return f"{line.file} line {line.number}"


def _about(line: Line) -> str:
    return f"{line.name} = {line.setting!r}: {line.error}" if line.name else line.error


def last_of(lines: Sequence[Line], name: str, own: str) -> Line | None:
    """Return the last line of others that sets a name."""
    return next((line for line in reversed(lines) if line.name.lower() == name and line.file != own), None)


def overridden(name: str, text: str, line: Line) -> str:
    """Return the sentence on a line that comes behind our file."""
    way = f"run 'ALTER SYSTEM RESET {name}'" if line.file.endswith("/postgresql.auto.conf") else "remove that line"
    return (
        f"{name} = {text!r} would have no effect, because {line.file} line {line.number} sets {line.setting!r} "
        f"after it; {way}"
    )


def states(wished: Mapping[str, str], known: Mapping[str, Known], lines: Sequence[Line]) -> list[State]:
    """Return what holds of each wished setting, as a new session shows it."""
    found = []
    for name, text in sorted(wished.items()):
        setting = known.get(name)
        if setting is None:
            # Of a library that the server has not loaded yet.
            found.append(State(name, text, "", "", RESTART_CONTEXT, False, True))
            continue
        observed, source = setting.setting, setting.file or setting.source
        if setting.source in OF_SESSION or name in OF_TCP:
            read = [line for line in lines if line.name.lower() == name and not line.error]
            observed, source = (read[-1].setting, read[-1].file) if read else ("", setting.source)
        in_force = same(setting, text, observed)
        found.append(State(name, text, observed, source, setting.context, in_force, setting.pending_restart))
    return found


def restart_required(states: Iterable[State], known: Mapping[str, Known]) -> list[str]:
    """Return the names that wait for a restart, whoever changed them."""
    waiting = {name for name, setting in known.items() if setting.pending_restart}
    return sorted(waiting | {state.name for state in states if not state.in_force and _waits(state)})


def _waits(state: State) -> bool:
    return state.context == RESTART_CONTEXT


def complaint(output: str) -> str:
    """Return the first line in which a server says what is wrong, without its time, process and level."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    for line in lines:
        found = re.search(r"\b(?:LOG|ERROR|FATAL|PANIC):\s+(.*)|^postgres: (.*)", line)
        if found:
            return (found[1] or found[2])[:300]
    return lines[-1][:300] if lines else "it says nothing"
