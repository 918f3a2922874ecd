# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What one host shows of the CAs that it trusts and presents, from which the step of a replacement is derived."""

from __future__ import annotations

import typing as t

from . import consumers, x509
from .bundles import Bundles
from .facts import Facts
from .model import PRIVATE_CA, CertificateError
from .observe import Observer, State, ask, live_listeners
from .planner import deploy_reasons
from .store import CERTIFICATE, CHAIN, Store
from .system_trust import SystemTrust


def observed(
    observer: Observer, store: Store, states: t.Sequence[State], system_trust: SystemTrust, bundles: Bundles
) -> dict[str, t.Any]:
    """Return what the certificates of private CAs chain to, whom their consumers trust, and who was not shown to.

    Listeners are asked only while there is more than one root: with one, nothing can chain to another.
    """
    if not x509.HAS_CRYPTOGRAPHY:
        # Check mode, before the package is there: nothing was ever deployed.
        return {"system_trust": [], "bundles": {}, "certificates": []}
    private = [state for state in states if state.authority.kind == PRIVATE_CA]
    roots = {state.name: _facts(store.trust(state.name)) for state in private}
    known = {facts.fingerprint for state in private for facts in _facts(state.authority.trust.encode())}
    known.update(facts.fingerprint for trusted in roots.values() for facts in trusted)
    bundled = bundles.roots()
    faults = _faults(observer, private) if len(known) > 1 else {}
    return {
        "system_trust": system_trust.own(),
        "bundles": {name: _told(trusted) for name, trusted in bundled.items()},
        "certificates": [
            {
                "name": state.name,
                # Before anything was shown, it is taken for the issuer that is wished.
                "issuer": store.proven(state.name).get("issuer") or state.wished.issuer,
                "signer": state.deployed.facts.authority_key_identifier,
                "root": _root(state, store, roots[state.name]),
                "trusted": _told(roots[state.name]),
                "faults": faults.get(state.name, []),
            }
            for state in private
            if state.deployed.facts
        ],
    }


def _faults(observer: Observer, states: t.Sequence[State]) -> dict[str, list[str]]:
    """Return what does not use the certificate and the trust that are deployed."""
    units = consumers.units(service.unit for state in states for service in state.wished.services)
    served = ask(
        {listener: (None, observer.own(state)) for state in states for listener in live_listeners(state.wished, units)}
    )
    found = {}
    for state in states:
        answers = {listener: served[listener] for listener in state.wished.listeners if listener in served}
        found[state.name] = [
            *([f"{state.name}: {state.deployed.fault}"] if state.deployed.fault else []),
            *(
                f"{state.name}: {reason}"
                for reason in deploy_reasons(state.wished, state.deployed.with_trust_as_it_is(), answers)
            ),
        ]
    return found


def _root(state: State, store: Store, trusted: t.Sequence[Facts]) -> str:
    """Return the fingerprint of the trusted root to which a deployed certificate chains; empty if there is none."""
    version = state.deployed.version
    chain = [
        *_facts(store.read(state.name, version, CERTIFICATE)),
        *_facts(store.read(state.name, version, CHAIN)),
    ]
    if not chain:
        return ""
    last = chain[-1]
    for facts in trusted:
        if facts.subject == last.issuer and facts.key_identifier in ("", last.authority_key_identifier):
            return facts.fingerprint
    return ""


def _told(roots: t.Iterable[Facts]) -> list[dict[str, str]]:
    return [{"fingerprint": facts.fingerprint, "subject": facts.subject} for facts in roots]


def _facts(pem: bytes | None) -> list[Facts]:
    try:
        return x509.parse_chain(pem) if pem else []
    except CertificateError:
        return []
