# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare what a policy expects with what the running server and the kernel answer; pure."""

from __future__ import annotations

import typing as t

from .model import JOURNAL, Jail, Policy, plain_network, port_range
from .render import ACTION_NAME, Log, growth, journal_match

Answers = t.Mapping[str, t.Any]
# Of one jail in the kernel: the ports of each rule, none for all, and the addresses in its sets.
KernelJail = t.Dict[str, t.Any]  # noqa: UP006 - evaluated on Python 3.9 too


def expected(policy: Policy, jail: Jail, log: Log) -> dict[str, t.Any]:
    """Return what the running server must answer about a jail."""
    filters = {entry.name: entry for entry in policy.filters}
    wished: dict[str, t.Any] = {
        "maxretry": jail.maximum_attempts,
        "findtime": jail.find_seconds,
        "bantime": jail.ban_seconds,
        "increment": policy.growth_factor > 1,
        "multipliers": growth(policy, jail.ban_seconds),
        "maxtime": policy.maximum_ban_seconds,
        "usedns": "no",
        "ignored": sorted(jail.ignored),
        "journal": journal_match(jail) if log.backend == JOURNAL else "",
        "paths": [] if log.backend == JOURNAL else sorted(log.paths),
        "actions": [ACTION_NAME],
    }
    if not jail.package_filter:
        wished["patterns"] = len(filters[jail.filter].fail_patterns)
    return wished


def observed(answer: Answers) -> dict[str, t.Any]:
    """Return a server's answer in the form of expected()."""
    return {
        **answer,
        "ignored": sorted(plain_network(address) for address in answer["ignored"]),
        "paths": sorted(answer["paths"]),
    }


def differences(policy: Policy, logs: t.Mapping[str, Log], live: Answers) -> list[str]:
    """Return one clause for each way in which the running server is not what the policy says."""
    if not live["answers"]:
        return ["the server does not answer"]
    found = []
    if live.get("history") != policy.history_seconds:
        found.append(f"the server remembers {live.get('history')} seconds, not {policy.history_seconds}")
    for jail in policy.jails:
        answer = live["jails"].get(jail.name)
        if not jail.enabled:
            found += [f"jail {jail.name} runs"] if answer is not None else []
            continue
        if answer is None:
            found.append(f"jail {jail.name} does not run")
            continue
        seen = observed(answer)
        found += [
            f"jail {jail.name} has {key} {seen.get(key)!r}, not {wish!r}"
            for key, wish in expected(policy, jail, logs[jail.name]).items()
            if seen.get(key) != wish
        ]
    return found


def kernel_jails(ruleset: Answers) -> dict[str, KernelJail]:
    """Return the jails in nft's own JSON listing of our table."""
    found: dict[str, KernelJail] = {}
    sets: dict[str, list[str]] = {}
    for entry in ruleset.get("nftables", ()):
        if "chain" in entry and entry["chain"].get("hook") == "prerouting":
            found[entry["chain"]["name"]] = {"rules": [], "banned": []}
        elif "set" in entry:
            sets[entry["set"]["name"]] = [str(element) for element in entry["set"].get("elem", ())]
    for entry in ruleset.get("nftables", ()):
        rule = entry.get("rule")
        if rule and rule["chain"] in found and any("drop" in part for part in rule["expr"]):
            found[rule["chain"]]["rules"].append(_ports_of(rule["expr"]))
    for name, jail in found.items():
        for family in ("inet4", "inet6"):
            jail["banned"] += sets.get(f"{name}-{family}", [])
    return {name[len("jail-") :]: jail for name, jail in found.items() if name.startswith("jail-")}


def _ports_of(expressions: t.Iterable[Answers]) -> list[tuple[int, int]]:
    """Return the port ranges that a rule compares, none if it takes every packet."""
    ports: list[tuple[int, int]] = []
    for part in expressions:
        match = part.get("match") or {}
        left = match.get("left")
        if not isinstance(left, dict) or (left.get("payload") or {}).get("field") != "dport":
            continue
        right = match["right"]
        for port in right["set"] if isinstance(right, dict) and "set" in right else [right]:
            low, high = port["range"] if isinstance(port, dict) else (port, port)
            ports.append((int(low), int(high)))
    return sorted(ports)


def kernel_differences(policy: Policy, live: Answers, kernel: t.Mapping[str, KernelJail]) -> dict[str, str]:
    """Return for each jail whose bans the kernel does not carry out why that is."""
    found: dict[str, str] = {}
    for jail in policy.enabled:
        there = kernel.get(jail.name)
        ports = sorted(port_range(port) for port in jail.ports)
        if there is None or len(there["rules"]) != 2:
            found[jail.name] = f"jail {jail.name} has no rules in the kernel"
        elif any(rule != ports for rule in there["rules"]):
            found[jail.name] = f"jail {jail.name} closes other ports than it should"
        else:
            banned = (live["jails"].get(jail.name) or {}).get("banned") or []
            missing = [address for address in banned if address not in there["banned"]]
            left = [address for address in there["banned"] if address not in banned]
            if missing:
                found[jail.name] = f"jail {jail.name} has bans that the kernel does not know: {', '.join(missing)}"
            elif left:
                found[jail.name] = f"the kernel has bans that jail {jail.name} does not know: {', '.join(left)}"
    return found
