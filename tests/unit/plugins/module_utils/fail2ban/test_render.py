# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Jails and filters as data, and as files that fail2ban reads back as what they were."""

from __future__ import annotations

import dataclasses
import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ansible_collections.bulwark.hardening.plugins.module_utils.fail2ban import model, render
from ansible_collections.bulwark.hardening.plugins.module_utils.fail2ban.validate import pattern_problems

from . import policies

TEXTS = st.text(st.characters(blacklist_categories=("Cc", "Cs", "Zl", "Zp", "Zs")), min_size=1, max_size=20)
# What a grammar would trip over.
NASTY = st.lists(
    st.sampled_from([*"%[]=:#;\\\"'`$(){}|<>,", "%%", "%(x)s", "[x]", "enabled = false", "# ", " ; ", " #", "${x}"]),
    max_size=8,
)


@st.composite
def patterns(draw: st.DrawFn) -> str:
    """A pattern as validate.py lets it through, as hostile as that allows."""
    middle = "".join(draw(NASTY)) + draw(TEXTS)
    return f"^{draw(st.sampled_from((middle, re.escape(middle))))} <ADDR>$"


def read_back(text: str) -> dict[str, dict[str, str]]:
    """Return the options as fail2ban's own parser has them."""
    parser = policies.engine_module("fail2ban.client.configparserinc").SafeConfigParserWithIncludes()
    parser.read_string(text)
    return {name: dict(parser.items(name)) for name in parser.sections()}


@pytest.mark.parametrize(
    ("factor", "first", "longest", "expected"),
    [
        (1, 3600, 604800, (1,)),
        (2, 3600, 3600, (1,)),
        (2, 3600, 4 * 3600, (1, 2, 4)),
        (3, 3600, 4 * 3600, (1, 3, 9)),
        (2, 1, 31536000, tuple(2**power for power in range(26))),
    ],
)
def test_bans_grow_until_the_longest(factor: int, first: int, longest: int, expected: tuple[int, ...]) -> None:
    assert model.multipliers(factor, first, longest) == expected


@given(st.integers(1, 100), st.integers(1, 31536000), st.integers(1, 31536000))
def test_multipliers_grow_and_only_the_last_passes_the_longest(factor: int, first: int, longest: int) -> None:
    values = model.multipliers(factor, first, longest)
    assert values[0] == 1
    assert all(later == earlier * factor for earlier, later in zip(values, values[1:], strict=False))
    assert all(value * first < longest for value in values[:-1])


def test_later_entries_replace_what_they_say_and_nothing_else() -> None:
    tried = policies.policy(
        jails=[{"name": "sshd", "ports": ["22"], "ban_seconds": None}, {"name": "sshd", "find_seconds": 60}]
    )
    jail = tried.jails[0]
    assert (jail.ports, jail.find_seconds, jail.ban_seconds, jail.filter) == (("22",), 60, 3600, "sshd")
    assert len(jail.journal_matches) == 2


def test_management_sources_and_the_host_itself_are_never_banned() -> None:
    ignored = model.ignored_addresses(["10.0.0.0/8", "10.0.0.0/8", "2001:DB8::1"], "192.0.2.7")
    assert ignored == ("127.0.0.0/8", "::1", "10.0.0.0/8", "2001:db8::1", "192.0.2.7")


def test_the_address_of_the_session_is_not_repeated_when_a_network_holds_it() -> None:
    assert model.ignored_addresses(["192.0.2.0/24"], "192.0.2.7") == ("127.0.0.0/8", "::1", "192.0.2.0/24")


def test_every_jail_ignores_what_all_ignore() -> None:
    tried = policies.policy(
        management_sources=["192.0.2.0/24"],
        jails=[{"name": "sshd", "ignored_addresses": ["198.51.100.1"]}],
    )
    assert set(tried.ignored) < set(tried.jails[0].ignored)
    assert "198.51.100.1" in tried.jails[0].ignored


def test_only_filters_that_a_jail_uses_are_installed() -> None:
    tried = policies.policy(jails=[{"name": "sshd", "enabled": False}])
    assert tried.filters == ()
    assert "[sshd]\nenabled = false\n" in render.jails_text(tried, {})


@pytest.mark.parametrize(
    ("ports", "protocol", "expected"),
    [
        ((), "tcp", ""),
        (("22",), "tcp", "tcp dport { 22 }"),
        (("53", "8000-8010"), "udp", "udp dport { 53, 8000-8010 }"),
        (("80-80",), "any", "meta l4proto { tcp, udp } th dport { 80 }"),
    ],
)
def test_packets_of_a_jail(ports: tuple[str, ...], protocol: str, expected: str) -> None:
    jail = dataclasses.replace(policies.policy().jails[0], ports=ports, protocol=protocol)
    assert render.port_match(jail) == expected


def test_the_action_says_the_same_for_both_families() -> None:
    for command in ("_chain", "_rules"):
        found = re.search(rf"^{command} = (.*?)\n\n", render.ACTION_TEXT, re.MULTILINE | re.DOTALL)
        assert found
        assert found[1].count("inet4") == found[1].count("inet6") > 0
    # fail2ban runs a command once for all families unless it differs between them.
    flush = re.search(r"^actionflush = .*$", render.ACTION_TEXT, re.MULTILINE)
    assert flush
    assert "<family>" in flush[0]


def test_fail2ban_reads_the_jails_as_they_were_meant() -> None:
    tried = policies.policy(
        management_sources=["192.0.2.0/24"],
        jails=[
            {"name": "sshd", "ports": ["22", "8000-8010"]},
            {"name": "b", "filter": "sshd", "log_paths": ["/x", "/y"]},
        ],
    )
    logs = {"sshd": policies.JOURNAL, "b": render.Log("files", ("/x", "/y"))}
    sections = read_back(render.jails_text(tried, logs))
    assert sections["sshd"]["backend"] == "systemd"
    assert sections["sshd"]["journalmatch"] == ("_UID=0 SYSLOG_IDENTIFIER=sshd + _UID=0 SYSLOG_IDENTIFIER=sshd-session")
    assert sections["sshd"]["action"] == 'bulwark-nftables[name=sshd, match="tcp dport { 22, 8000-8010 }"]'
    assert sections["sshd"]["ignoreip"].split() == ["127.0.0.0/8", "::1", "192.0.2.0/24"]
    assert sections["b"]["logpath"].split() == ["/x", "/y"]
    assert sections["b"]["bantime.multipliers"] == "1 2 4 8 16 32 64 128 256"
    assert set(sections) == {"sshd", "b"}


@given(patterns(), patterns())
def test_no_pattern_that_is_accepted_breaks_out_of_its_option(fail: str, ignore: str) -> None:
    assume(not pattern_problems(fail, "fail", anchored=True) and not pattern_problems(ignore, "ignore", anchored=False))
    sections = read_back(render.filter_text(model.Filter("a", "", (fail, fail), (ignore,), "", ())))
    assert set(sections) == {"Definition"}
    definition = sections["Definition"]
    assert definition["failregex"].split("\n") == [fail, fail]
    assert definition["ignoreregex"] == ignore
    assert set(definition) == {"failregex", "ignoreregex"}
