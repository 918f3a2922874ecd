# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One call of the module: what is due and the requests for it, or what was issued: judged, swapped in, proven."""

from __future__ import annotations

import contextlib
import os
import typing as t

from ..transaction.clock import Clock, iso
from . import consumers, judge, probe, rotation, x509
from .acme import Orders
from .bundles import Bundles
from .credentials import Credentials
from .facts import Facts
from .model import ACME, CONTROLLER_KINDS, FILES, CertificateError, Listener, build, build_authorities
from .observe import Observer, State, ask, live_listeners
from .planner import Deployed, deploy_reasons, issue_reasons, renewal, units_behind
from .serve import Serving
from .store import CERTIFICATE, FULL_CHAIN, ISSUED_BY, KEY, REQUEST, STAGED, Store, version_name
from .system_trust import SystemTrust
from .validate import problems

MACHINE_ID = "/etc/machine-id"


class Keeper(t.Protocol):
    """What a host keeps to look after its certificates alone."""

    def reasons(self, arguments: t.Mapping[str, t.Any]) -> list[str]:
        """Return one clause for each difference."""

    def difference(self, arguments: t.Mapping[str, t.Any]) -> tuple[dict[str, str], dict[str, str]]:
        """Return what changes, by path, before and after."""

    def apply(self, arguments: t.Mapping[str, t.Any]) -> None:
        """Remove all differences. Raises CertificateError."""


class Change:
    """Make the certificates of this host what the arguments say.

    keeper: looks after what the host keeps, if it shall. alone: there is no controller that could issue anything.
    """

    def __init__(
        self,
        arguments: t.Mapping[str, t.Any],
        check_mode: bool,
        store: Store | None = None,
        clock: Clock | None = None,
        system_trust: SystemTrust | None = None,
        bundles: Bundles | None = None,
        orders: Orders | None = None,
        credentials: Credentials | None = None,
        keeper: Keeper | None = None,
        alone: bool = False,
    ) -> None:
        wrong = problems(arguments)
        if wrong:
            raise CertificateError("; ".join(wrong))
        if os.geteuid() != 0:
            raise CertificateError("certificates can be deployed by root only; set become: true")
        self.arguments = arguments
        self.check_mode = check_mode
        self.store = store or Store()
        self.clock = clock or Clock()
        self.system_trust = system_trust or SystemTrust()
        self.bundles = bundles or Bundles()
        self.orders = orders or Orders()
        self.credentials = credentials or Credentials(self.store)
        self.certificates = build(arguments)
        self.authorities = build_authorities(arguments.get("authorities"))
        self.observer = Observer(self.store, self.authorities)
        self.host = _machine_id()
        self.absent: set[Listener] = set()
        self.trust_reasons: list[str] = []
        self.keeper = keeper
        self.alone = alone
        # Why new certificates are wished that only the controller can issue.
        self.waiting: list[str] = []
        self.kept_reasons: list[str] = []
        self.kept_difference: tuple[dict[str, str], dict[str, str]] = ({}, {})

    def observe_authorities(self) -> dict[str, t.Any]:
        """Return which CAs this host trusts and presents; changes nothing."""
        look = self.observer
        states = [State(wished, look.authority(wished), look.deployed(wished)) for wished in self.certificates]
        shown = rotation.observed(look, self.store, states, self.system_trust, self.bundles)
        return {"changed": False, "warnings": [], **shown}

    def plan(self) -> dict[str, t.Any]:
        """Return what is to be done; outside of check mode also a request for each certificate to be issued."""
        self.trust_reasons = self.reasons_of_trust()
        self.look_at_what_is_kept()
        if self.check_mode:
            states = self.observe()
            return {**self.report(states), "due": [state.name for state in states if state.issue], "requests": []}
        with self.store.locked(self.clock):
            for wished in self.certificates:
                self.store.tidy(wished.name)
            states = self.observe()
            requests = [request for state in states if state.issue for request in self.stage(state)]
        return {**self.report(states), "due": [state.name for state in states if state.issue], "requests": requests}

    def deploy(self) -> dict[str, t.Any]:
        """Take what was issued, swap it in, and let every listener show it; the way back is the same.

        What an ACME server issues is ordered here. Without `issued` there is no controller: what it signs waits.
        """
        if self.check_mode:
            raise CertificateError("nothing is deployed in check mode; use the operation plan")
        with self.store.locked(self.clock):
            for wished in self.certificates:
                self.store.tidy(wished.name)
            self.trust_reasons = self.reasons_of_trust()
            self.look_at_what_is_kept()
            # Who has no certificate of his own trusts a new CA before the first certificate of it is served.
            authorities = list(self.authorities.values())
            self.bundles.apply(authorities)
            if self.system_trust.reasons(authorities):
                self.system_trust.apply(authorities)
            states = self.observe()
            before = [self.describe(state) for state in states]
            for state in states:
                self.take(state)
            Serving(self.observer, self.store, self.clock, states, self.absent, self.credentials).run()
            for state in states:
                self.store.prune(state.name)
            faults = [f"{state.name}: {fault}" for state in states for fault in state.faults]
            if faults:
                # The policy that was carried out last stays in force.
                self.kept_difference = ({}, {})
            elif self.keeper:
                self.keeper.apply(self.arguments)
        result = self.report(states)
        after = [self.describe(state) for state in states]
        return {
            **result,
            "certificates": after,
            "diff": self.with_what_is_kept(_difference(before, after)),
            **({"failed": True, "msg": "; ".join(faults)} if faults else {}),
        }

    # What is there

    def observe(self) -> list[State]:
        look = self.observer
        states = [State(wished, look.authority(wished), look.deployed(wished)) for wished in self.certificates]
        units = consumers.units(service.unit for wished in self.certificates for service in wished.services)
        served = ask(
            {listener: (None, look.own(state)) for state in states for listener in live_listeners(state.wished, units)}
        )
        self.absent = {listener for listener, answer in served.items() if answer.absent}
        renew = self.arguments.get("renew") or ()
        now = self.clock.now()
        for state in states:
            state.issue = issue_reasons(state.wished, state.authority, state.deployed, now, self.host)
            if state.name in renew and state.authority.kind != FILES and not state.issue:
                state.issue = ["its renewal was asked for"]
            answers = {listener: served[listener] for listener in state.wished.listeners if listener in served}
            state.served = answers
            state.other = deploy_reasons(state.wished, state.deployed, answers)
            state.behind = units_behind(state.wished, state.deployed, answers)
            state.warnings = [
                f"{state.name}: {listener} {answer.fault}, so nobody can see what it serves"
                for listener, answer in answers.items()
                if answer.absent
            ]
        for name, unit in units.items():
            self.observe_credentials(name, unit, states)
        return states

    def observe_credentials(self, name: str, unit: consumers.Unit, states: t.Sequence[State]) -> None:
        """Count a unit as behind that does not have, or would not get, the credentials that it should."""
        users = [state for state in states if any(service.unit == name for service in state.wished.services)]
        missing = self.credentials.missing(name, states, unit.active and all(state.deployed.version for state in users))
        if not missing and unit.stale and self.credentials.used(name, states):
            missing = [f"systemd has not read anew what it should give {name}"]
        for state in users if missing else ():
            if state.deployed.version:
                state.other += missing
                state.behind.add(name)
                return

    def reasons_of_trust(self) -> list[str]:
        """Return what the system should trust and does not; before the package is there, what it will have to."""
        authorities = list(self.authorities.values())
        if self.check_mode and not x509.HAS_CRYPTOGRAPHY:
            found = [f"the system does not trust {entry.name}" for entry in authorities if entry.system_trust]
        else:
            found = self.system_trust.reasons(authorities)
        return [*self.bundles.reasons(authorities), *found]

    def look_at_what_is_kept(self) -> None:
        if self.keeper:
            self.kept_reasons = self.keeper.reasons(self.arguments)
            self.kept_difference = self.keeper.difference(self.arguments) if self.kept_reasons else ({}, {})

    # Stage and judge

    def stage(self, state: State) -> list[dict[str, str]]:
        """Keep a key and a request for what is to be issued; returns the request if the controller must answer it."""
        x509.require()
        self.observer.owner(state.wished)
        if state.authority.kind == FILES:
            return []
        if state.name in (self.arguments.get("renew") or ()):
            self.store.drop_staged(state.name)
        request = self.ask(state)
        if state.authority.kind == ACME or self.answered(state):
            return []
        return [{"name": state.name, "request": request.decode()}]

    def ask(self, state: State) -> bytes:
        """Return the staged request for a certificate, made with its key unless one that fits is there."""
        name = state.name
        key, request = (self.store.read_staged(name, file) for file in (KEY, REQUEST))
        if not (key and request and self.fits(state, key, request)):
            self.store.drop_staged(name)
            key = x509.make_key(state.wished.key_type)
            request = x509.make_request(key, state.wished.names)
            self.store.stage(name, key, request)
        return request

    @staticmethod
    def fits(state: State, key: bytes, request: bytes) -> bool:
        """Return whether a staged request is for what is wished now."""
        with contextlib.suppress(CertificateError):
            facts = x509.request_facts(request)
            return (
                facts.public_key == x509.public_key_of(key)
                and facts.key_type == state.wished.key_type
                and set(facts.names) == set(state.wished.names)
            )
        return False

    def answered(self, state: State) -> bool:
        """Return whether a certificate that is as wished lies beside the staged key already."""
        return not self.candidate_faults(state) and not self.candidate_reasons(state)

    def candidate(self, name: str) -> list[Facts]:
        pem = self.store.read_staged(name, FULL_CHAIN)
        return x509.parse_chain(pem) if pem and self.store.read_staged(name, CERTIFICATE) else []

    def candidate_reasons(self, state: State) -> list[str]:
        """Return why a candidate would be due for renewal right away."""
        facts = self.candidate(state.name)[0]
        issued_by = (self.store.read_staged(state.name, ISSUED_BY) or b"").decode(errors="replace").strip()
        candidate = Deployed(facts=facts, issued_by=issued_by)
        return issue_reasons(state.wished, state.authority, candidate, self.clock.now(), self.host)

    def candidate_faults(self, state: State) -> list[str]:
        """Return why a candidate must not be swapped in."""
        name, wished = state.name, state.wished
        try:
            key = self.store.read_staged(name, KEY)
            faults = judge.faults(
                wished, state.authority, self.candidate(name), x509.public_key_of(key or b""), self.clock.now()
            )
        except CertificateError as error:
            return [str(error)]
        directory = self.store.path(name, version_name(self.store.staged(name)) + STAGED)
        return faults or probe.rehearse(
            f"{directory}/{FULL_CHAIN}", f"{directory}/{KEY}", state.authority.trust, wished.names, wished.usages
        )

    def take(self, state: State) -> None:
        """Judge what was issued for a certificate and swap it in; repair what needs no new one."""
        name, wished = state.name, state.wished
        uid, gid = self.observer.owner(wished)
        if state.issue and self.alone and state.authority.kind in CONTROLLER_KINDS and not self.answered(state):
            # What is staged may be half of a run of the controller, which goes on with it.
            self.waiting += [f"{name}: {reason}" for reason in state.issue]
            state.issue = []
            if not state.deployed.version:
                return
        if state.issue:
            if not self.obtain(state):
                return
            faults = self.candidate_faults(state)
            if faults:
                self.refuse(state, faults)
                return
        self.write_trust(state)
        if state.issue:
            self.store.swap(name, uid, gid, wished.mode)
            state.swapped = True
            state.deployed = self.observer.deployed(wished)
        elif state.deployed.access_faults:
            self.store.repair_access(name, uid, gid, wished.mode)

    def obtain(self, state: State) -> bool:
        """Return whether there is a candidate beside its key; says why if there is none."""
        if state.authority.directory:
            return self.order(state)
        issued = {entry["name"]: entry for entry in self.arguments.get("issued") or ()}.get(state.name)
        if issued:
            self.accept(state, issued)
        if self.store.read_staged(state.name, CERTIFICATE) is not None:
            return True
        if self.arguments.get("issued") is None:
            state.warnings.append(f"{state.name}: {', '.join(state.issue)}; run the role, the controller must issue it")
        else:
            state.faults.append("nothing was issued for it; run the task again")
        return False

    def order(self, state: State) -> bool:
        """Let the ACME server issue a certificate, unless one from it lies there: how many it issues is limited."""
        x509.require()
        name, directory = state.name, state.authority.directory
        self.ask(state)
        if directory is None or self.ordered(state):
            return True
        request = self.store.path(name, version_name(self.store.staged(name)) + STAGED, REQUEST)
        try:
            certificate, chain = self.orders.order(state.authority.name, directory, request)
        except CertificateError as error:
            state.faults.append(f"{error}; {_kept(state)}, and the next run tries again with the same key")
            return False
        self.store.add_certificate(name, certificate, chain, directory.url)
        return True

    def ordered(self, state: State) -> bool:
        """Return whether the server's answer to the staged request is there and would not be due right away."""
        with contextlib.suppress(CertificateError):
            return bool(self.candidate(state.name)) and not self.candidate_reasons(state)
        return False

    def refuse(self, state: State, faults: t.Sequence[str]) -> None:
        """Say why a candidate is not swapped in, and forget it unless another would be no better."""
        kept = _kept(state)
        if state.authority.kind == ACME:
            kept += f"; once the reason is mended, it is taken as it is, or another with tls_renew: [{state.name}]"
        else:
            self.store.drop_staged(state.name)
        state.faults += [f"the new certificate is refused: {fault}; {kept}" for fault in faults]

    def accept(self, state: State, issued: t.Mapping[str, str]) -> None:
        """Put an issued certificate beside the key for which it was asked, or beside the one that was brought."""
        if state.authority.kind == FILES:
            key = (self.arguments.get("private_keys") or {}).get(state.name)
            if not key:
                return
            self.store.drop_staged(state.name)
            self.store.stage(state.name, str(key).encode())
        if self.store.staged(state.name):
            self.store.add_certificate(state.name, issued["certificate"].encode(), issued["chain"].encode())

    def write_trust(self, state: State) -> None:
        wished = state.authority.trust.encode()
        if (self.store.trust(state.name) or b"") != wished:
            self.store.write_trust(state.name, wished)

    # What is told

    def report(self, states: t.Sequence[State]) -> dict[str, t.Any]:
        reasons = [reason for state in states for reason in state.reasons]
        reasons += self.trust_reasons + self.kept_reasons
        before = [self.describe(state) for state in states]
        after = [self.wish(state) if state.issue else found for state, found in zip(states, before)]
        return {
            "changed": bool(reasons),
            "reasons": reasons,
            "warnings": [warning for state in states for warning in state.warnings],
            "certificates": before,
            "diff": self.with_what_is_kept(_difference(before, after)),
        }

    def with_what_is_kept(self, difference: dict[str, t.Any]) -> dict[str, t.Any]:
        before, after = self.kept_difference
        return {"before": {**difference["before"], **before}, "after": {**difference["after"], **after}}

    def describe(self, state: State) -> dict[str, t.Any]:
        facts, version = state.deployed.facts, state.deployed.version
        described: dict[str, t.Any] = {"name": state.name, "issuer": state.wished.issuer, "version": version}
        if facts is not None:
            described.update(
                names=list(facts.names),
                usages=list(facts.usages),
                key_type=facts.key_type,
                fingerprint=facts.fingerprint,
                serial=facts.serial,
                not_before=iso(facts.not_before),
                not_after=iso(facts.not_after),
                renewal=iso(renewal(facts, self.host, state.name)),
            )
        return described

    @staticmethod
    def wish(state: State) -> dict[str, t.Any]:
        """Return what is known of a certificate before it is issued."""
        wished = state.wished
        return {
            "name": wished.name,
            "issuer": wished.issuer,
            "names": list(wished.names),
            "usages": list(wished.usages),
            "key_type": wished.key_type,
        }


def _kept(state: State) -> str:
    return "the old one stays" if state.deployed.facts else "nothing is deployed"


def _difference(before: t.Sequence[dict[str, t.Any]], after: t.Sequence[dict[str, t.Any]]) -> dict[str, t.Any]:
    """Return the certificates that change, by name."""
    pairs = [(old, new) for old, new in zip(before, after) if old != new]
    return {
        "before": {old["name"]: old for old, _new in pairs},
        "after": {new["name"]: new for _old, new in pairs},
    }


def _machine_id() -> str:
    try:
        with open(MACHINE_ID, encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return os.uname().nodename
