# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the plan to the refusal: who may never be cut off, and what the host is asked."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bulwark.hardening.plugins.module_utils.firewall.backend import Candidate, FirewallError
from ansible_collections.bulwark.hardening.plugins.module_utils.firewall.change import (
    first_candidate,
    foreign_dicts,
    lock_out,
    management_of,
    partly_blocked,
    plan_dict,
)
from ansible_collections.bulwark.hardening.plugins.module_utils.firewall.host import (
    Card,
    parse_cards,
    parse_listeners,
    parse_socket_ports,
)
from ansible_collections.bulwark.hardening.plugins.module_utils.firewall.model import (
    Entry,
    PortRange,
    Rule,
    parse_network,
    policy_from,
)
from ansible_collections.bulwark.hardening.plugins.module_utils.firewall.probes import (
    after_rollback,
    inbound_probes,
    representative,
)
from ansible_collections.bulwark.hardening.plugins.module_utils.firewall.system import read_text, run, write_text
from ansible_collections.bulwark.hardening.plugins.module_utils.transaction.session import SshSession

SESSION = SshSession("203.0.113.9", 40000, "192.0.2.10", 22)


def candidate(options: dict[str, Any], foreign: list[Entry] | None = None, session: SshSession | None = SESSION) -> Any:
    management = management_of(options, session, [22])
    policy = policy_from(options, management.sources, management.ports)
    made = first_candidate("ufw", policy, "ufw")
    made.entries[:0] = foreign or []
    made.foreign = foreign or []
    return made, management


def deny(source: str) -> Entry:
    network = parse_network(source)
    rule = Rule("hand made", action="deny", protocol="any", sources=(network,))
    entry = rule.entries()[0]
    return Entry(**{**entry.__dict__, "own": False, "name": "", "origin": "ufw"})


def problems(options: dict[str, Any], foreign: list[Entry] | None = None) -> list[str]:
    made, management = candidate(options, foreign)
    return lock_out(made, management, SESSION)


def test_no_variable_at_all_is_safe() -> None:
    assert problems({}) == []
    _made, management = candidate({})
    assert management.to_dict() == {"sources": ["anywhere"], "ports": [22], "controller": "203.0.113.9"}


def test_the_controller_outside_the_sources_is_refused_with_the_missing_value() -> None:
    sentence = (
        'the controller 203.0.113.9 could not reach tcp/22 after this change: add "203.0.113.9/32" '
        "to firewall_management_sources"
    )
    assert problems({"management_sources": ["10.0.0.0/8"]}) == [sentence]


def test_the_session_port_outside_the_ports_is_refused_with_the_missing_value() -> None:
    sentence = (
        "the controller 203.0.113.9 came in on tcp/22, which this change would close: "
        "add 22 to firewall_management_ports"
    )
    assert problems({"management_ports": [2222]}) == [sentence]


def test_a_foreign_denial_of_the_controller_is_refused() -> None:
    found = problems({}, [deny("203.0.113.0/24")])
    assert len(found) == 1
    assert "the controller 203.0.113.9 could not reach tcp/22 after this change: the host's own rule" in found[0]
    assert "remove that rule, or allow the source ahead of it" in found[0]


def test_a_foreign_denial_of_a_whole_source_is_refused_and_of_a_part_is_told() -> None:
    sources = {"management_sources": ["203.0.113.9", "10.0.0.0/8"]}
    assert "the management source 10.0.0.0/8 could not reach" in problems(sources, [deny("10.0.0.0/7")])[0]
    assert problems(sources, [deny("10.6.6.6")]) == []
    made, management = candidate(sources, [deny("10.6.6.6")])
    sentence = (
        "the host's own rule 'deny in any from 10.6.6.6' keeps a part of the management source 10.0.0.0/8 "
        "away from tcp/22"
    )
    assert partly_blocked(made, management) == [sentence]


def test_without_ports_the_session_and_the_daemon_decide() -> None:
    assert management_of({}, SshSession("203.0.113.9", 1, "192.0.2.10", 2222), [22, 2222]).ports == (2222, 22)
    assert management_of({}, None, [22]).ports == (22,)
    assert management_of({"management_ports": ["2200"]}, SESSION, [22]).ports == (2200,)


def test_ports_to_come_are_opened_but_not_proven_yet() -> None:
    coming = {"dependent_management_ports": [2222, 22]}
    made = management_of(coming, SESSION, [22])
    assert (made.ports, made.answering()) == ((22, 2222), (22,))
    made = management_of({**coming, "management_ports": [22]}, SESSION, [])
    assert (made.ports, made.answering()) == ((22, 2222), (22,))
    assert problems(coming) == []
    moved = SshSession("203.0.113.9", 1, "192.0.2.10", 2222)
    assert management_of({"dependent_management_ports": [2222]}, moved, [2222]).ports == (2222,)


def test_a_foreign_denial_of_a_port_to_come_is_refused() -> None:
    denial = Entry(**{**Rule("x", action="deny", ports=(PortRange(2222, 2222),)).entries()[0].__dict__, "own": False})
    found = problems({"dependent_management_ports": [2222]}, [denial])
    assert "the controller 203.0.113.9 could not reach tcp/2222 after this change: the host's own rule" in found[0]


def test_the_plan_counts_entries_and_marks_wide_rules() -> None:
    wide = Entry(**{**Rule("x", ports=()).entries()[0].__dict__, "own": False, "name": "", "origin": "ufw"})
    made, _management = candidate({"rules": [{"name": "web", "ports": [80]}]}, [wide, deny("10.0.0.1")])
    assert plan_dict(made)["added"] == len(made.added)
    assert [item["widens"] for item in foreign_dicts(made)] == [True, False]


def test_before_the_package_is_there_check_mode_shows_the_policy() -> None:
    made, _management = candidate({"rules": [{"name": "web", "ports": [80]}]})
    assert isinstance(made, Candidate)
    assert made.before["enabled"] is False
    assert {rule["name"] for rule in made.after["rules"]} == {"management", "web"}
    assert made.reasons == ["the package ufw is not installed yet"]


def test_probes_cover_management_strangers_and_a_closed_port() -> None:
    options = {
        "management_sources": ["203.0.113.9", "10.0.0.0/24"],
        "rules": [{"name": "web", "ports": [443]}, {"name": "inside", "ports": [5432], "sources": ["10.1.0.0/16"]}],
    }
    made, management = candidate(options)
    policy = policy_from(options, management.sources, management.ports)
    probes = inbound_probes(
        made.entries,
        "deny",
        policy.rules,
        management.sources,
        management.ports,
        management.controller,
        {4: "192.0.2.10"},
    )
    seen = {(probe.name, probe.source, probe.port): probe.expected for probe in probes}
    assert seen == {
        ("management", "203.0.113.9", 22): "open",
        ("management", "10.0.0.1", 22): "open",
        ("stranger", "192.0.2.77", 22): "closed",
        ("closed port", "192.0.2.77", 9): "closed",
        ("web", "192.0.2.77", 443): "open",
        ("inside", "10.1.0.1", 5432): "open",
    }
    before = after_rollback(probes, lambda source, _destination, _port: source != "10.0.0.1")
    assert [(probe.source, probe.expected) for probe in before] == [("203.0.113.9", "open"), ("10.0.0.1", "closed")]


def test_a_representative_is_never_the_host_itself() -> None:
    assert representative(parse_network("10.0.0.0/30"), {"10.0.0.1"}) == "10.0.0.2"
    assert representative(parse_network("10.0.0.1"), {"10.0.0.1"}) == ""
    assert representative(parse_network("fd00::/64"), ()) == "fd00::1"


def test_cards_without_global_addresses_are_left_out() -> None:
    links: list[dict[str, Any]] = [
        {"ifname": "lo", "flags": ["LOOPBACK"], "addr_info": [{"local": "127.0.0.1", "prefixlen": 8, "scope": "host"}]},
        {
            "ifname": "eth0",
            "flags": ["UP"],
            "addr_info": [
                {"local": "192.0.2.10", "prefixlen": 24, "scope": "global"},
                {"local": "2001:db8::99", "prefixlen": 64, "scope": "global", "temporary": True},
                {"local": "2001:db8::10", "prefixlen": 64, "scope": "global"},
                {"local": "fe80::1", "prefixlen": 64, "scope": "link"},
            ],
        },
        {"ifname": "dummy0", "flags": [], "addr_info": []},
    ]
    cards = parse_cards(links)
    assert cards == [Card("eth0", ("192.0.2.10/24", "2001:db8::10/64"))]
    assert cards[0].address(4) == "192.0.2.10"
    assert cards[0].address(6) == "2001:db8::10"


def test_listeners_of_sshd_only() -> None:
    text = (
        'LISTEN 0 128 0.0.0.0:22 0.0.0.0:* users:(("sshd",pid=1,fd=3))\n'
        'LISTEN 0 128 [::]:2222 [::]:* users:(("sshd",pid=1,fd=4))\n'
        'LISTEN 0 128 127.0.0.1:6010 0.0.0.0:* users:(("sshd",pid=9,fd=4))\n'
        'LISTEN 0 128 *:80 *:* users:(("nginx",pid=2,fd=4))\nshort\n'
    )
    assert parse_listeners(text) == [22, 2222]
    assert parse_socket_ports("Listen=[::]:22 (Stream)\nListen=0.0.0.0:2200 (Stream)\nListen=/run/x (Stream)\n") == [
        22,
        2200,
    ]


def test_a_file_is_replaced_with_its_mode_and_a_link_is_not_followed(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_text("old")
    kept.chmod(0o604)
    write_text(str(kept), "new")
    assert kept.read_text() == "new"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o604
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("untouched")
    link.symlink_to(target)
    write_text(str(link), "new", 0o600)
    assert target.read_text() == "untouched"
    assert not link.is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept", "link", "target"]


def test_faults_of_files_and_programs_are_sentences(tmp_path: Path) -> None:
    with pytest.raises(FirewallError, match="does not exist on this host"):
        read_text(str(tmp_path / "none"))
    assert read_text(str(tmp_path / "none"), "") == ""
    with pytest.raises(FirewallError, match="cannot be written"):
        write_text(str(tmp_path / "no" / "file"), "x")
    with pytest.raises(FirewallError, match="is not installed"):
        run(["/nonexistent/program"])
    with pytest.raises(FirewallError, match=r"failed with 3: b$"):
        run(["sh", "-c", "echo a >&2; echo b >&2; exit 3"])
    with pytest.raises(FirewallError, match="did not end within"):
        run(["sleep", "5"], timeout_seconds=0.1)
    assert run(["sh", "-c", "echo $LC_ALL; cat"], stdin="x").stdout == "C\nx"
