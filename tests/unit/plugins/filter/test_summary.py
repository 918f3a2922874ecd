# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person reads at the end of a run."""

from __future__ import annotations

from ansible_collections.bulwark.hardening.plugins.filter.summary import summary

NARROW = {"management": {"sources": ["192.0.2.0/24"], "ports": [22], "controller": "192.0.2.9"}, "changed": True}


def test_an_open_administration_is_said_with_the_way_to_narrow_it() -> None:
    lines = summary({"management": {"sources": ["anywhere"], "ports": [22, 2222]}, "changed": False})
    assert lines[0] == "Nothing had to be changed."
    assert "Administration on tcp 22, 2222 stays open to every source; firewall_management_sources narrows it." in lines


def test_what_changed_and_who_may_come_in() -> None:
    ssh = {"administrators": [{"user": "admin", "able": True}, {"user": "eve", "able": False}], "changed": True}
    lines = summary(NARROW, ssh)
    assert lines[0] == "Changed, and proven by new logins: firewall, ssh."
    assert "Administration on tcp 22 is open to 192.0.2.0/24." in lines
    assert lines[-1] == "SSH: keys and certificates only; administrators who can log in: admin."


def test_rules_of_the_host_that_admit_more_are_counted() -> None:
    lines = summary({**NARROW, "foreign_rules": [{"widens": True}, {"widens": False}]})
    assert "1 of the host's own rules admit more than the policy; they stay as they are." in lines


def test_a_role_that_did_not_run_is_not_mentioned() -> None:
    assert summary({}, {}) == ["Nothing had to be changed."]
