# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings as data: what a value is to the server, what it would not take, and what keeps one from being in force."""

from __future__ import annotations

import dataclasses
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.bulwark.hardening.plugins.module_utils.postgresql import settings
from ansible_collections.bulwark.hardening.plugins.module_utils.postgresql.settings import Known, Line

OWN = "/etc/postgresql/17/main/conf.d/zz-bulwark.conf"
MAIN = "/etc/postgresql/17/main/postgresql.conf"


def setting(name: str, vartype: str, value: str = "", unit: str = "", context: str = "user", **more: object) -> Known:
    shown = Known(name, value, unit, context, vartype, (), "default", "", False)
    return dataclasses.replace(shown, **more)  # type: ignore[arg-type]


SERVER = {
    known.name.lower(): known
    for known in (
        setting("statement_timeout", "integer", "0", "ms"),
        setting("work_mem", "integer", "4096", "kB"),
        setting("shared_buffers", "integer", "16384", "8kB", "postmaster"),
        setting("max_wal_size", "integer", "1024", "MB", "sighup"),
        setting("max_connections", "integer", "100", "", "postmaster"),
        setting("log_file_mode", "integer", "0600", "", "sighup"),
        setting("wal_buffers", "integer", "512", "8kB", "postmaster"),
        setting("vacuum_cost_delay", "real", "0", "ms"),
        setting("random_page_cost", "real", "4"),
        setting("ssl", "bool", "on", "", "sighup"),
        setting("wal_level", "enum", "replica", "", "postmaster", accepted=("minimal", "replica", "logical")),
        setting("synchronous_commit", "enum", "on", accepted=("local", "remote_write", "remote_apply", "on", "off")),
        setting("ssl_min_protocol_version", "enum", "TLSv1.2", accepted=("", "TLSv1", "TLSv1.2", "TLSv1.3")),
        setting("DateStyle", "string", "ISO, MDY"),
        setting("log_line_prefix", "string", "%m [%p] ", "", "sighup"),
        setting("shared_preload_libraries", "string", "", "", "postmaster"),
        setting("session_preload_libraries", "string"),
        setting("block_size", "integer", "8192", "", "internal"),
        setting("auto_explain.log_format", "enum", "text", accepted=("text", "json")),
    )
}


@pytest.mark.parametrize(
    ("name", "written", "shown"),
    [
        ("statement_timeout", "5min", "300000"),
        ("statement_timeout", "1 h", "3600000"),
        ("statement_timeout", "250us", "0"),
        ("statement_timeout", "1500us", "2"),
        ("statement_timeout", "2500us", "2"),
        ("statement_timeout", "+7", "7"),
        ("statement_timeout", "-1", "-1"),
        ("work_mem", "0x1000", "4096"),
        ("work_mem", "64MB", "65536"),
        ("work_mem", "65536B", "64"),
        ("shared_buffers", "128MB", "16384"),
        ("max_wal_size", "2GB", "2048"),
        ("max_connections", " 200 ", "200"),
        ("log_file_mode", "0640", "0640"),
        ("log_file_mode", "416", "0640"),
        ("vacuum_cost_delay", "2.5", "2.5"),
        ("vacuum_cost_delay", "500us", "0.5"),
        ("random_page_cost", "1.10", "1.1"),
        ("ssl", "yes", "on"),
        ("ssl", "OFF", "off"),
        ("wal_level", "Logical", "logical"),
        ("synchronous_commit", "true", "on"),
        ("ssl_min_protocol_version", "tlsv1.3", "TLSv1.3"),
        ("datestyle", "iso, mdy", "iso, mdy"),
        ("log_line_prefix", "%m [%p] %q%u ", "%m [%p] %q%u "),
    ],
)
def test_a_value_is_what_the_server_shows(name: str, written: str, shown: str) -> None:
    assert settings.canonical(SERVER[name], written) == shown


@pytest.mark.parametrize(
    ("name", "written", "words"),
    [
        ("statement_timeout", "5 parsecs", "unit of us, ms, s, min, h, d, or without one in ms"),
        ("statement_timeout", "5MB", "accepted is a whole number"),
        ("statement_timeout", "1.5h", "has a fraction"),
        ("work_mem", "4kb", "unit of B, kB, MB, GB, TB"),
        ("work_mem", "", "accepted is a whole number"),
        ("max_connections", "100MB", "without a unit"),
        ("max_connections", "09", "no octal number"),
        ("random_page_cost", "cheap", "accepted is a number"),
        ("ssl", "perhaps", "neither on nor off"),
        ("wal_level", "hot_standby", "accepted are minimal, replica, logical"),
    ],
)
def test_a_value_that_the_server_does_not_take_is_told_with_what_it_takes(name: str, written: str, words: str) -> None:
    with pytest.raises(ValueError, match=r"accepted|fraction|octal") as error:
        settings.canonical(SERVER[name], written)
    assert words in str(error.value)
    assert repr(written) in str(error.value)


@given(st.integers(0, 1 << 20), st.sampled_from(list(settings.MEMORY)), st.sampled_from(["kB", "8kB", "MB", "B"]))
def test_memory_is_the_same_in_every_unit(number: int, unit: str, base: str) -> None:
    shown = settings.canonical(setting("x", "integer", unit=base), f"{number}{unit}")
    pages = {"8kB": 8192, **settings.MEMORY}[base]
    assert abs(int(shown) - Fraction(number * settings.MEMORY[unit], pages)) <= Fraction(1, 2)


@given(st.text(st.characters(min_codepoint=32, exclude_characters="\x7f", codec="utf-8")))
def test_a_text_is_read_back_from_the_file_as_it_was(text: str) -> None:
    line = settings.render({"log_line_prefix": text}).removeprefix(settings.HEADER)
    assert line.startswith("log_line_prefix = '")
    assert line.endswith("'\n")
    assert line.count("\n") == 1
    # What the server's reader of the file does with a quoted value.
    inner, read, position = line[len("log_line_prefix = '") : -2], "", 0
    while position < len(inner):
        position += inner[position] in "\\'"
        read += inner[position]
        position += 1
    assert read == text


def test_values_come_as_yaml_has_them() -> None:
    given = {"SSL": True, "max_connections": 7, "random_page_cost": 1.1, "listen_addresses": ["::1", "192.0.2.1"]}
    assert settings.wishes(given) == (
        {"ssl": "on", "max_connections": "7", "random_page_cost": "1.1", "listen_addresses": "::1, 192.0.2.1"},
        [],
    )


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"port": 5433}, "port is not changed here: change the port in postgresql.conf"),
        ({"data_directory": "/x"}, "data_directory is not changed here"),
        ({"work mem": 1}, "is no name of a setting"),
        ({"a.b.c": 1}, "is no name of a setting"),
        ({"work_mem": 1, "WORK_MEM": 2}, "work_mem is given twice"),
        ({"work_mem": None}, "work_mem: None is no value"),
        ({"work_mem": {"a": 1}}, "is no value"),
        ({"log_line_prefix": "a\nssl = off"}, "contains a control character"),
    ],
)
def test_what_is_no_setting_of_any_server_is_refused(given: dict[str, object], words: str) -> None:
    problems = settings.wishes(given)[1]
    assert len(problems) == 1
    assert words in problems[0]


@pytest.mark.parametrize(
    ("wished", "words"),
    [
        ({"reserved_connections": "3"}, "reserved_connections is no setting of PostgreSQL 15"),
        ({"block_size": "1"}, "block_size cannot be set"),
        ({"work_mem": "much"}, "work_mem: 'much' is not accepted"),
        ({"pgaudit.log": "ddl"}, "pgaudit.log belongs to nothing that the server loads"),
        ({"shared_preload_libraries": "pgaudit", "pgaudit.log": "ddl, -misc, dll"}, "pgaudit.log: 'dll' is no class"),
        ({"auto_explain.nope": "1"}, "the library auto_explain has no such setting"),
    ],
)
def test_what_this_server_would_not_take_is_refused(wished: dict[str, str], words: str) -> None:
    (problem,) = settings.problems(wished, SERVER, 15)
    assert words in problem


def test_what_it_takes_is_not_refused() -> None:
    wished = {"shared_preload_libraries": "auto_explain, pgaudit", "pgaudit.log": "ddl, role", "work_mem": "8MB"}
    assert settings.problems({**wished, "auto_explain.log_format": "json"}, SERVER, 17) == []
    assert settings.problems({"pgaudit.log": "ALL, -misc", "session_preload_libraries": "pgaudit"}, SERVER, 17) == []


def test_a_value_of_the_command_line_cannot_be_won_over() -> None:
    given = {"ssl": dataclasses.replace(SERVER["ssl"], setting="off", source="command line")}
    (problem,) = settings.problems({"ssl": "on"}, given, 17)
    assert "command line of the server" in problem
    assert settings.problems({"ssl": "off"}, given, 17) == []


def test_a_line_that_waits_for_a_restart_is_not_broken() -> None:
    lines = [
        Line(MAIN, 3, "max_connections", "90", settings.NOT_NOW),
        Line(MAIN, 4, "shared_buffers", "9MB", 'parameter "shared_buffers" cannot be changed without restarting'),
        Line(MAIN, 5, "statement_timeout", "x", settings.NOT_NOW),
        Line(MAIN, 6, "", "", "syntax error"),
        Line(OWN, 1, "work_mem", "x", settings.NOT_NOW),
        Line(OWN, 2, "work_mem", "1MB", ""),
    ]
    assert settings.broken(lines, SERVER, OWN) == [
        f"{MAIN} line 5 is broken (statement_timeout = 'x': setting could not be applied)",
        f"{MAIN} line 6 is broken (syntax error)",
    ]
    assert settings.own_errors(lines, SERVER, OWN) == ["line 1: work_mem = 'x': setting could not be applied"]


def test_a_complaint_gets_the_place_that_the_server_left_out() -> None:
    lines = [Line(MAIN, 3, "max_connections", "many", settings.NOT_NOW), Line(OWN, 1, "max_connections", "9", "")]
    said = settings.complaint('LOG:  invalid value for parameter "max_connections": "many"\nFATAL:  contains errors\n')
    assert settings.blamed(said, lines, OWN) == f"{said} ({MAIN} line 3)"
    assert settings.blamed("no room", lines, OWN) == "no room"
    assert settings.complaint("postgres: a must be less than b\n") == "a must be less than b"
    assert settings.complaint("") == "it says nothing"


def test_what_comes_behind_our_file_is_named_with_its_way_out() -> None:
    lines = [Line(MAIN, 1, "work_mem", "1MB", ""), Line("/d/postgresql.auto.conf", 3, "work_mem", "2MB", "")]
    line = settings.last_of([*lines, Line(OWN, 1, "work_mem", "9MB", "")], "work_mem", OWN)
    assert line is lines[1]
    said = settings.overridden("work_mem", "9MB", line)
    assert "/d/postgresql.auto.conf line 3 sets '2MB' after it; run 'ALTER SYSTEM RESET work_mem'" in said
    assert settings.overridden("work_mem", "9MB", lines[0]).endswith("remove that line")


def test_a_value_of_the_asking_session_does_not_hide_that_of_the_server() -> None:
    known = {"work_mem": dataclasses.replace(SERVER["work_mem"], setting="1024", source="user")}
    lines = [Line(MAIN, 1, "work_mem", "1MB", ""), Line(OWN, 2, "work_mem", "8MB", "")]
    (state,) = settings.states({"work_mem": "8MB"}, known, lines)
    assert (state.in_force, state.observed, state.source) == (True, "8MB", OWN)
    known = {"tcp_keepalives_idle": setting("tcp_keepalives_idle", "integer", "0", "s", file=OWN)}
    lines = [Line(OWN, 2, "tcp_keepalives_idle", "60s", "")]
    (state,) = settings.states({"tcp_keepalives_idle": "60s"}, known, lines)
    assert (state.in_force, state.observed) == (True, "60s")


def test_what_waits_for_a_restart_is_told_whoever_changed_it() -> None:
    known = {**SERVER, "wal_level": dataclasses.replace(SERVER["wal_level"], pending_restart=True)}
    wished = {"max_connections": "90", "work_mem": "4MB", "pgaudit.log": "ddl", "wal_buffers": "-1"}
    states = settings.states(wished, known, [])
    assert [state.name for state in states if not state.in_force] == ["max_connections", "pgaudit.log"]
    assert settings.restart_required(states, known) == ["max_connections", "pgaudit.log", "wal_level"]


def test_libraries_of_the_host_stay_in_front() -> None:
    assert settings.with_libraries("", ["pgaudit"]) == "pgaudit"
    assert settings.with_libraries('"auto_explain", pgaudit', ["pgaudit", "x"]) == "auto_explain, pgaudit, x"
