# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the store and the listeners show of each certificate."""

from __future__ import annotations

import grp
import pwd
import typing as t
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from . import consumers, probe, x509
from .model import CLIENT, Authority, Certificate, CertificateError, Listener
from .planner import Deployed, Served
from .store import CERTIFICATE, FULL_CHAIN, ISSUED_BY, KEY, Store, digest, version_name

PROBES_AT_ONCE = 8
# Whom the client trusts, and what it presents.
Question = tuple[t.Optional[str], t.Optional[probe.Pair]]


@dataclass
class State:
    """One certificate: wished, as it is found, and what this run does with it."""

    wished: Certificate
    authority: Authority
    deployed: Deployed
    issue: list[str] = field(default_factory=list)
    other: list[str] = field(default_factory=list)
    # What those listeners answer that were asked.
    served: dict[Listener, Served] = field(default_factory=dict)
    # The units that do not use what is deployed.
    behind: set[str] = field(default_factory=set)
    swapped: bool = False
    # The version before it is back, or its services need not be looked at again for another reason.
    settled: bool = False
    # Its services do not use it yet, and need not before their configuration names it.
    pending: bool = False
    faults: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.wished.name

    @property
    def reasons(self) -> list[str]:
        return [f"{self.name}: {reason}" for reason in (*self.issue, *self.other)]


class Observer:
    """Looks at the certificates of one host. Raises CertificateError."""

    def __init__(self, store: Store, authorities: t.Mapping[str, Authority]) -> None:
        self.store = store
        self.authorities = authorities

    def authority(self, wished: Certificate) -> Authority:
        found = self.authorities.get(wished.issuer)
        if found is None:
            raise CertificateError(
                f"the controller says nothing of the issuer {wished.issuer}; call the action, not the module"
            )
        return found

    def deployed(self, wished: Certificate) -> Deployed:
        """Return what the store shows of a certificate."""
        version = self.store.current(wished.name)
        if not version:
            return Deployed()
        facts, fault = None, ""
        try:
            pem, key = (self.store.read(wished.name, version, file) for file in (CERTIFICATE, KEY))
            if not pem or not key:
                fault = f"{self.store.path(wished.name, version_name(version))} lacks its key or its certificate"
            else:
                x509.require()
                facts = x509.parse_chain(pem)[0]
                directory = self.store.path(wished.name, version_name(version))
                if not probe.belong_together(f"{directory}/{CERTIFICATE}", f"{directory}/{KEY}"):
                    fault = "its key does not belong to it"
        except (CertificateError, IndexError) as error:
            x509.require()
            fault = f"what is deployed cannot be read ({error})"
        uid, gid = self.owner(wished)
        proven = self.store.proven(wished.name)
        trust = self.store.trust(wished.name)
        same = proven.get("version") == version and proven.get("trust") == digest(trust)
        return Deployed(
            version=version,
            facts=facts,
            fault=fault,
            issued_by=(self.store.read(wished.name, version, ISSUED_BY) or b"").decode(errors="replace").strip(),
            access_faults=tuple(self.store.access_faults(wished.name, uid, gid, wished.mode)),
            trust_differs=(trust or b"").decode() != self.authorities[wished.issuer].trust,
            proven_units=tuple(proven.get("units") or ()) if same else (),
            units_out=tuple(sorted(self.store.taken_out() & {service.unit for service in wished.services})),
        )

    def owner(self, wished: Certificate) -> tuple[int, int]:
        """Return the numbers of the key's owner and group on this host."""
        try:
            uid = pwd.getpwnam(wished.owner).pw_uid
        except KeyError:
            raise CertificateError(self._nobody(wished, "owner", "user", wished.owner)) from None
        try:
            return uid, grp.getgrnam(wished.group).gr_gid
        except KeyError:
            raise CertificateError(self._nobody(wished, "group", "group", wished.group)) from None

    @staticmethod
    def _nobody(wished: Certificate, option: str, kind: str, value: str) -> str:
        return (
            f"tls_certificates ({wished.name}).{option}: there is no {kind} {value} on this host; "
            "install the package that brings it first, or name another one"
        )

    def own(self, state: State) -> probe.Pair | None:
        """Return the deployed certificate and its key if they are for a client too."""
        facts = state.deployed.facts
        if facts is None or state.deployed.fault or CLIENT not in facts.usages:
            return None
        directory = self.store.path(state.name, version_name(state.deployed.version))
        return f"{directory}/{FULL_CHAIN}", f"{directory}/{KEY}"


def ask(wanted: t.Mapping[Listener, Question]) -> dict[Listener, Served]:
    """Return the answer of each listener, which is asked with a trust and a certificate for a client."""
    if not wanted:
        return {}
    with ThreadPoolExecutor(PROBES_AT_ONCE) as pool:
        return dict(zip(wanted, pool.map(lambda item: probe.ask(item[0], *item[1]), wanted.items())))


def live_listeners(wished: Certificate, units: t.Mapping[str, consumers.Unit]) -> list[Listener]:
    """Return the listeners of those services that run; what does not run reads the certificate when it starts."""
    return [listener for service in wished.services if units[service.unit].active for listener in service.listeners]
