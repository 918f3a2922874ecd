# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Say in a few sentences what a run left a host with."""

from __future__ import annotations

import typing as t

DOCUMENTATION = r"""
name: summary
author:
  - bulwark.hardening contributors (@bulwark-hardening)
version_added: 0.1.0
short_description: Say in a few sentences what a run left a host with
description:
  - Turns the results of M(bulwark.hardening.firewall) and M(bulwark.hardening.sshd) into lines
    for a person.
options:
  _input:
    description: Result of the firewall module; an empty dictionary when it did not run.
    type: dict
    required: true
  ssh:
    description: Result of the sshd module; an empty dictionary when it did not run.
    type: dict
    default: {}
  inbound:
    description: What the policy does with inbound traffic that no rule names.
    type: str
    default: deny
  passwords:
    description: Whether the policy accepts passwords.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Say what the run left this host with
  ansible.builtin.debug:
    msg: "{{ firewall_result | bulwark.hardening.summary(ssh_result) }}"
"""

RETURN = r"""
_value:
  description: One sentence each.
  type: list
  elements: str
"""

Result = dict[str, t.Any]


def firewall_sentences(result: Result, inbound: str) -> list[str]:
    """Return what is open, for whom, and what the host's own rules add."""
    management = result.get("management")
    if not management:
        return []
    ports = ", ".join(str(port) for port in management["ports"])
    sources = management["sources"]
    state = "open, since the policy allows it by default" if inbound == "allow" else "closed"
    sentences = [f"Firewall: everything inbound is {state}, but for the rules of the policy."]
    if sources == ["anywhere"]:
        sentences.append(
            f"Administration on tcp {ports} stays open to every source; firewall_management_sources narrows it."
        )
    else:
        sentences.append(f"Administration on tcp {ports} is open to {', '.join(sources)}.")
    wider = [rule for rule in result.get("foreign_rules") or [] if rule.get("widens")]
    if wider:
        sentences.append(f"{len(wider)} of the host's own rules admit more than the policy; they stay as they are.")
    return sentences


def ssh_sentences(result: Result, passwords: bool) -> list[str]:
    """Return who can log in."""
    administrators = result.get("administrators")
    if administrators is None:
        return []
    admitted = [str(entry["user"]) for entry in administrators if entry["able"]]
    accepted = "keys, certificates and passwords" if passwords else "keys and certificates only"
    return [f"SSH: {accepted}; administrators who can log in: {', '.join(admitted) or 'none named'}."]


def change_sentence(results: t.Mapping[str, Result]) -> str:
    """Return what changed, and whether a login proved it; a change without a transaction is check mode's."""
    proven = [name for name, result in results.items() if result.get("changed") and result.get("logins")]
    changed = [name for name, result in results.items() if result.get("changed") and name not in proven]
    unproven = [name for name in changed if results[name].get("transaction")]
    wished = [name for name in changed if name not in unproven]
    clauses = [
        f"{words}: {', '.join(names)}."
        for words, names in (
            ("Changed, and proven by new logins", proven),
            ("Changed, not proven by a login", unproven),
            ("Would be changed", wished),
        )
        if names
    ]
    return " ".join(clauses) or "Nothing had to be changed."


def summary(firewall: Result, ssh: Result | None = None, inbound: str = "deny", passwords: bool = False) -> list[str]:
    """Return the sentences for one host; which of the two changed comes first."""
    results = {"firewall": firewall or {}, "ssh": ssh or {}}
    return [
        change_sentence(results),
        *firewall_sentences(results["firewall"], inbound),
        *ssh_sentences(results["ssh"], passwords),
    ]


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, t.Callable[..., list[str]]]:
        """Return the filters by name."""
        return {"summary": summary}
