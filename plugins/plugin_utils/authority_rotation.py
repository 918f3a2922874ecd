# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which CA may sign and which may be dropped, derived from what all hosts of an inventory show; pure.

TRUST_ADD → ISSUE_NEW → PROVE → TRUST_DROP: a new CA signs once everybody trusts it, and an old one is dropped once
nothing chains to it. Nobody keeps a journal of where it stands.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

Observation = t.Mapping[str, t.Any]
SHOWN_AT_MOST = 5
SYSTEM_TRUST_FILE = re.compile(r"bulwark-([a-z][a-z0-9_-]*)-([0-9a-f]{16})\.crt")
NOT_OBSERVED = "was not observed in this run"


@dataclass(frozen=True)
class Candidate:
    """A generation of a CA, without its key. root: the fingerprint of the certificate that consumers trust."""

    root: str
    key_identifier: str
    subject: str


@dataclass(frozen=True)
class Decision:
    """signer: the place of the generation that signs on this host now.

    waits: why the last generation does not sign yet. refusals: why what the policy says must not be done.
    """

    signer: int
    waits: tuple[str, ...] = ()
    refusals: tuple[str, ...] = ()


def foreign_roots(candidates: t.Sequence[Candidate], issuer: str, own: Observation | None) -> dict[str, str]:
    """Return the roots that a host trusts and the policy does not name, with their subjects."""
    known = {candidate.root for candidate in candidates}
    trusted = [root for certificate in _certificates(own, issuer) for root in certificate["trusted"]]
    found = {
        root["fingerprint"]: root["subject"]
        for root in (*trusted, *(_bundle(own, issuer) or ()))
        if root["fingerprint"] not in known
    }
    for file in (own or {}).get("system_trust") or ():
        start = _start_of_root(file, issuer)
        if start and not any(root.startswith(start) for root in (*known, *found)):
            found[start] = file
    return found


def under_way(candidates: t.Sequence[Candidate], issuer: str, own: Observation | None) -> bool:
    """Return whether other hosts have to be looked at: with one root everywhere, there is nothing to decide."""
    return len({candidate.root for candidate in candidates}) > 1 or bool(foreign_roots(candidates, issuer, own))


def decide(
    candidates: t.Sequence[Candidate],
    issuer: str,
    system_trust: bool,
    own: Observation | None,
    hosts: t.Mapping[str, Observation | None],
) -> Decision:
    """Return who signs on one host, and what is refused.

    candidates: oldest first, the last one shall sign. hosts: what each host that uses the issuer shows, None for one
    that nobody looked at in this run.
    """
    last = len(candidates) - 1
    allowed, waits = 0, []
    for index in range(last, -1, -1):
        missing = [
            f"{host} {text}"
            for host, observation in hosts.items()
            for text in _does_not_trust(observation, issuer, candidates[index].root, system_trust)
        ]
        if index == last:
            waits = missing
        if not missing:
            allowed = index
            break
    # What a CA signed here already was let in everywhere once; a run on some hosts only does not take that back.
    present = {certificate["signer"] for certificate in _certificates(own, issuer)}
    signed = [index for index, candidate in enumerate(candidates) if candidate.key_identifier in present]
    signer = max([allowed, *signed])
    refusals = [
        f"the CA {subject} cannot be dropped yet ({_some(users)}); name it in generations before the last one and "
        "run this on all hosts"
        for root, subject in foreign_roots(candidates, issuer, own).items()
        for users in [_still_used(hosts, issuer, root)]
        if users
    ]
    return Decision(signer, () if signer == last else (_some(waits),), tuple(refusals))


def unsafe_replacement(candidates: t.Sequence[Candidate], issuer: str, own: Observation | None) -> list[str]:
    """Return why a stolen CA would stay trusted on a host."""
    found = []
    if len(candidates) > 1:
        found.append("a CA that was stolen must not be trusted any longer; name the new one alone")
    presented = {certificate["signer"]: certificate["root"] for certificate in _certificates(own, issuer)}
    if any(
        signer != candidates[-1].key_identifier and root == candidates[-1].root for signer, root in presented.items()
    ):
        found.append(
            "the root above the stolen CA stays trusted, and nobody asks it for revocations, so what a thief signs "
            "would be accepted; name a CA below another root"
        )
    return found


def uses(certificates: t.Any, issuers: t.Any, issuer: str) -> bool:
    """Return whether the variables of a host make it a user of an issuer, by trusting it at least."""
    return any(isinstance(entry, t.Mapping) and entry.get("issuer") == issuer for entry in certificates or ()) or any(
        isinstance(entry, t.Mapping) and entry.get("name") == issuer for entry in issuers or ()
    )


def outage(issuer: str, hosts: t.Mapping[str, Observation | None], certificates: t.Mapping[str, t.Any]) -> list[str]:
    """Return one sentence for each host on which replacing a CA at once interrupts something.

    certificates: what each host wishes, as its variables say it; None if they cannot be read.
    """
    found = []
    for host, observed in hosts.items():
        if observed is None:
            found.append(f"{host} {NOT_OBSERVED}: it trusts the stolen CA of {issuer} until it has a run of its own")
        mine = [entry for entry in certificates.get(host) or () if entry.get("issuer") == issuer]
        users = [
            f"{entry['name']} ({', '.join(service['unit'] for service in entry.get('services') or ()) or 'no service'})"
            for entry in mine
        ]
        if users:
            found.append(
                f"{host}: whoever does not trust the new CA of {issuer} yet refuses {', '.join(users)}, and is refused "
                "where it presents a certificate of the old one"
            )
    return found


def _does_not_trust(observation: Observation | None, issuer: str, root: str, system_trust: bool) -> list[str]:
    """Return why not every consumer on a host is known to trust a root; one that had no run yet needs none."""
    if observation is None:
        return [NOT_OBSERVED]
    without = [
        str(certificate["name"])
        for certificate in _certificates(observation, issuer)
        if root not in {trusted["fingerprint"] for trusted in certificate["trusted"]}
    ]
    found = [f"does not trust it for {_some(without, ', ')}"] if without else []
    bundle = _bundle(observation, issuer)
    if bundle is not None and root not in {trusted["fingerprint"] for trusted in bundle}:
        found.append("does not trust it in its bundle")
    starts = [_start_of_root(file, issuer) for file in observation.get("system_trust") or ()]
    if system_trust and not any(start and root.startswith(start) for start in starts):
        found.append("does not trust it in the store of the system")
    return found or [fault for certificate in _certificates(observation, issuer) for fault in certificate["faults"]]


def _still_used(hosts: t.Mapping[str, Observation | None], issuer: str, root: str) -> list[str]:
    """Return where something may still chain to a root, given by its fingerprint or the start of it."""
    found = []
    for host, observation in hosts.items():
        if observation is None:
            found.append(f"{host} {NOT_OBSERVED}")
            continue
        presented = [entry for entry in _certificates(observation, issuer) if entry["root"].startswith(root)]
        if presented:
            names = [str(certificate["name"]) for certificate in presented]
            found.append(f"{host} presents what it signed: {_some(names, ', ')}")
        found += [
            f"{host} {fault}"
            for certificate in _certificates(observation, issuer)
            if certificate not in presented
            for fault in certificate["faults"]
        ]
    return found


def _start_of_root(file: str, issuer: str) -> str:
    """Return how the fingerprint of a root begins that lies in the trust store of the system for this issuer."""
    found = SYSTEM_TRUST_FILE.fullmatch(file)
    return found[2] if found and found[1] == issuer else ""


def _bundle(observation: Observation | None, issuer: str) -> list[t.Mapping[str, str]] | None:
    found: list[t.Mapping[str, str]] | None = ((observation or {}).get("bundles") or {}).get(issuer)
    return found


def _certificates(observation: Observation | None, issuer: str) -> list[t.Mapping[str, t.Any]]:
    return [entry for entry in (observation or {}).get("certificates") or () if entry["issuer"] == issuer]


def _some(texts: t.Sequence[str], separator: str = "; ") -> str:
    more = len(texts) - SHOWN_AT_MOST
    return separator.join(texts[:SHOWN_AT_MOST]) + (f" and {more} more" if more > 0 else "")
