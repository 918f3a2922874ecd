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


def firewall_sentences(result: Result) -> list[str]:
    """Return what is open, for whom, and what the host's own rules add."""
    management = result.get("management")
    if not management:
        return []
    ports = ", ".join(str(port) for port in management["ports"])
    sources = management["sources"]
    sentences = ["Firewall: everything inbound is closed but for the rules of the policy."]
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


def ssh_sentences(result: Result) -> list[str]:
    """Return who can log in."""
    administrators = result.get("administrators")
    if administrators is None:
        return []
    admitted = [str(entry["user"]) for entry in administrators if entry["able"]]
    return [f"SSH: keys and certificates only; administrators who can log in: {', '.join(admitted) or 'none named'}."]


def summary(firewall: Result, ssh: Result | None = None) -> list[str]:
    """Return the sentences for one host; which of the two changed comes first."""
    results = {"firewall": firewall or {}, "ssh": ssh or {}}
    changed = [name for name, result in results.items() if result.get("changed")]
    first = f"Changed, and proven by new logins: {', '.join(changed)}." if changed else "Nothing had to be changed."
    return [first, *firewall_sentences(results["firewall"]), *ssh_sentences(results["ssh"])]


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, t.Callable[..., list[str]]]:
        """Return the filters by name."""
        return {"summary": summary}
