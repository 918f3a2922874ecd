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
  - Turns the results of the roles into lines for a person.
options:
  _input:
    description:
      - The results by the name of their role, as C(firewall_result) and its like hold them. A role that did not run is
        left out, or empty.
    type: dict
    required: true
  inbound:
    description: What the firewall's policy does with inbound traffic that no rule names.
    type: str
    default: deny
  passwords:
    description: Whether the policy of SSH accepts passwords.
    type: bool
    default: false
  check_mode:
    description: Whether the run only looked, so that changes are those it would make.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Say what the run left this host with
  ansible.builtin.debug:
    msg: "{{ {'firewall': firewall_result, 'controls': controls_result} | bulwark.hardening.summary }}"
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
LEFT_TO_YOU = "left to you"
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


def change_sentence(results: t.Mapping[str, Result], check_mode: bool) -> str:
    """Return what changed, and whether a login proved it."""
    changed = [name for name, result in results.items() if result.get("changed")]
    proven = [name for name in changed if results[name].get("logins")]
    unproven = [name for name in changed if name not in proven and results[name].get("transaction")]
    others = [name for name in changed if name not in proven and name not in unproven]
    clauses = [
        f"{words}: {', '.join(names)}."
        for words, names in (
            ("Changed, and proven by new logins", proven),
            ("Changed, not proven by a login", unproven),
            ("Would be changed" if check_mode else "Changed", others),
        )
        if names
    ]
    return " ".join(clauses) or "Nothing had to be changed."


def baseline_sentences(result: Result) -> list[str]:
    """Return what the baseline could not bring about, or only a restart will."""
    sentences = []
    if result.get("reboot_needed"):
        sentences.append("Restart the host: some of the baseline takes effect only then.")
    for words, key in (("refuses", "refused"), ("does not know", "missing")):
        if result.get(key):
            sentences.append(f"This kernel {words} {', '.join(result[key])}.")
    for key in ("not_applicable", "pending", "kept"):
        sentences += [f"{str(sentence).rstrip('.')}." for sentence in result.get(key) or []]
    sentences += [
        f"After a restart {entry['key']} would be {entry['value']} instead of {entry['wished']} by {entry['file']}."
        for entry in result.get("overridden") or []
    ]
    return sentences


def fail2ban_sentences(result: Result) -> list[str]:
    """Return which jails are alive, and how many they hold."""
    jails = result.get("jails")
    if jails is None:
        return []
    live = [str(jail["name"]) for jail in jails if jail["live"]]
    held = len({address for jail in jails for address in jail["banned"]})
    return [f"fail2ban: jails {', '.join(live) or 'none'}; {held} addresses banned now."]


def tls_sentences(result: Result) -> list[str]:
    """Return which certificate is renewed next, and which is still missing."""
    certificates = result.get("certificates") or []
    deployed = [entry for entry in certificates if entry.get("renewal")]
    missing = [str(entry["name"]) for entry in certificates if not entry.get("renewal")]
    sentences = [f"TLS: there is no certificate for {', '.join(missing)} yet."] if missing else []
    if deployed:
        first = min(deployed, key=lambda entry: str(entry["renewal"]))
        sentences.append(
            f"TLS: certificates deployed: {len(deployed)}; next is {first['name']}, to be renewed after "
            f"{first['renewal']}, and expiring at {first['not_after']}."
        )
    for entry in result.get("replacements") or []:
        waits = f"; the new one waits: {', '.join(entry['waits'])}" if entry["waits"] else ""
        sentences.append(f"TLS: the CA of {entry['issuer']} is being replaced; {entry['signs']} signs here now{waits}.")
    return sentences


def postgresql_sentences(result: Result) -> list[str]:
    """Return what waits for a restart or for a person."""
    sentences = []
    if result.get("restart_required"):
        names = ", ".join(result["restart_required"])
        sentences.append(f"PostgreSQL: {names} wait for a restart; set postgresql_restart to true when it may happen.")
    for words, key in (("lacks", "missing"), ("has no rule for", "without_rule")):
        sentences += [
            f"PostgreSQL: the database {name} {words} {', '.join(objects)}."
            for name, objects in (result.get(key) or {}).items()
        ]
    sentences += [f"PostgreSQL: {str(finding).rstrip('.')}." for finding in result.get("findings") or []]
    return sentences


def control_sentences(result: Result) -> list[str]:
    """Return how many controls got each verdict, then one sentence for each that a person has to know of."""
    controls = result.get("controls")
    if controls is None:
        return []
    judged = [LEFT_TO_YOU if is_left_to_you(entry) else VERDICTS[entry["verdict"]] for entry in controls]
    counted = [(words, judged.count(words)) for words in (*VERDICTS.values(), LEFT_TO_YOU)]
    sentences = [f"Controls: {', '.join(f'{number} {words}' for words, number in counted if number) or 'none'}."]
    for verdict in TOLD:
        sentences += [control_sentence(entry) for entry in controls if entry["verdict"] == verdict]
    return sentences


def is_left_to_you(control: Result) -> bool:
    """Return whether a control fails that is only told, never changed."""
    return control["verdict"] == "fail" and bool(control.get("reported"))


def short(text: str) -> str:
    """Return as much of a text as a sentence holds; the result of the module has all of it."""
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"


def control_sentence(control: Result) -> str:
    """Return what is to be known of one control."""
    name, verdict = f"{control['id']} ({control['title']})", control["verdict"]
    seen = f"expected {short(control['expected'])}, observed {short(control['observed'])}"
    reason = f"; {control['reason']}" if control.get("reason") else ""
    if verdict == "fail":
        return f"{name} {f'is {LEFT_TO_YOU}' if is_left_to_you(control) else 'fails'}: {seen}{reason}."
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
    results: t.Mapping[str, Result], inbound: str = "deny", passwords: bool = False, check_mode: bool = False
) -> list[str]:
    """Return the sentences for one host: what changed, who can come in, what is true of the controls."""
    given = {name: result or {} for name, result in results.items()}
    changes = {name: result for name, result in given.items() if name != "controls"}
    return [
        change_sentence(changes, check_mode),
        *firewall_sentences(given.get("firewall", {}), inbound),
        *ssh_sentences(given.get("ssh", {}), passwords),
        *baseline_sentences(given.get("baseline", {})),
        *fail2ban_sentences(given.get("fail2ban", {})),
        *tls_sentences(given.get("tls", {})),
        *postgresql_sentences(given.get("postgresql", {})),
        *control_sentences(given.get("controls", {})),
    ]


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, t.Callable[..., list[str]]]:
        """Return the filters by name."""
        return {"summary": summary}
