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
  - Turns the results of M(bulwark.hardening.firewall), M(bulwark.hardening.sshd) and M(bulwark.hardening.controls)
    into lines for a person.
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
  controls:
    description: Result of the controls module; an empty dictionary when it did not run.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Say what the run left this host with
  ansible.builtin.debug:
    msg: "{{ firewall_result | bulwark.hardening.summary(ssh_result, controls=controls_result) }}"
"""

RETURN = r"""
_value:
  description: One sentence each.
  type: list
  elements: str
"""

Result = dict[str, t.Any]

VERDICTS = {
    "pass": "pass",
    "fail": "fail",
    "waived": "waived",
    "pending": "pending",
    "unknown": "unknown",
    "not_applicable": "not applicable",
}
SHOWN_CHARACTERS = 200
# What a person has to know of, in the order of its weight.
TOLD = ("fail", "unknown", "pending", "waived")


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


def control_sentences(result: Result) -> list[str]:
    """Return how many controls got each verdict, then one sentence for each that a person has to know of."""
    controls = result.get("controls")
    if controls is None:
        return []
    counted = [(words, sum(entry["verdict"] == verdict for entry in controls)) for verdict, words in VERDICTS.items()]
    sentences = [f"Controls: {', '.join(f'{number} {words}' for words, number in counted if number) or 'none'}."]
    for verdict in TOLD:
        sentences += [control_sentence(entry) for entry in controls if entry["verdict"] == verdict]
    return sentences


def short(text: str) -> str:
    """Return as much of a text as a sentence holds; the result of the module has all of it."""
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"


def control_sentence(control: Result) -> str:
    """Return what is to be known of one control."""
    name, verdict = f"{control['id']} ({control['title']})", control["verdict"]
    seen = f"expected {short(control['expected'])}, observed {short(control['observed'])}"
    reason = f"; {control['reason']}" if control.get("reason") else ""
    if verdict == "fail":
        return f"{name} {'is left to you' if control.get('reported') else 'fails'}: {seen}{reason}."
    if verdict == "waived":
        waiver = control["waiver"]
        found = VERDICTS[control["verdict_without_waiver"]]
        observed = f", {short(control['observed'])}" if control["observed"] else reason.replace("; ", ", ")
        words = f"waived until {waiver['expires']} by {waiver['owner']}: {waiver['reason']}"
        return f"{name} is {words} (without the waiver: {found}{observed})."
    if verdict == "pending":
        return f"{name} is pending: {control['reason']}."
    return f"{name} is unknown: {control['reason']}."


def summary(
    firewall: Result,
    ssh: Result | None = None,
    inbound: str = "deny",
    passwords: bool = False,
    controls: Result | None = None,
) -> list[str]:
    """Return the sentences for one host: what changed, who can come in, what is true of the controls."""
    results = {"firewall": firewall or {}, "ssh": ssh or {}}
    return [
        change_sentence(results),
        *firewall_sentences(results["firewall"], inbound),
        *ssh_sentences(results["ssh"], passwords),
        *control_sentences(controls or {}),
    ]


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, t.Callable[..., list[str]]]:
        """Return the filters by name."""
        return {"summary": summary}
