# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One call of the module: what is due and the requests for it, or what was issued: judged, swapped in, proven."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import typing as t
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from ..transaction.clock import Clock, iso
from . import consumers, judge, probe, x509
from .facts import Facts
from .model import CLIENT, FILES, Authority, Certificate, CertificateError, Listener, build, build_authorities
from .planner import Deployed, Served, deploy_reasons, issue_reasons, renewal, units_behind
from .store import CERTIFICATE, FULL_CHAIN, KEY, REQUEST, STAGED, Store, digest, version_name
from .system_trust import SystemTrust
from .validate import problems

PROVE_SECONDS = 30.0
POLL_SECONDS = 0.2
# A server that reloads lets its old processes accept for a moment longer.
CLEAN_PASSES = 3
LOADS = 3
PROBES_AT_ONCE = 8
MACHINE_ID = "/etc/machine-id"


@dataclass
class State:
    """One certificate: wished, as it is found, and what this run does with it."""

    wished: Certificate
    authority: Authority
    deployed: Deployed
    issue: list[str] = field(default_factory=list)
    other: list[str] = field(default_factory=list)
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


class Change:
    """Make the certificates of this host what the arguments say."""

    def __init__(
        self,
        arguments: t.Mapping[str, t.Any],
        check_mode: bool,
        store: Store | None = None,
        clock: Clock | None = None,
        system_trust: SystemTrust | None = None,
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
        self.certificates = build(arguments)
        self.authorities = build_authorities(arguments.get("authorities"))
        self.host = _machine_id()
        self.absent: set[Listener] = set()
        self.loaded: set[str] = set()
        self.trust_reasons: list[str] = []

    def plan(self) -> dict[str, t.Any]:
        """Return what is to be done; outside of check mode also a request for each certificate to be issued."""
        self.trust_reasons = self.reasons_of_trust()
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
        """Take what was issued, swap it in, and let every listener show it; the way back is the same."""
        if self.check_mode:
            raise CertificateError("nothing is deployed in check mode; use the operation plan")
        with self.store.locked(self.clock):
            for wished in self.certificates:
                self.store.tidy(wished.name)
            self.trust_reasons = self.reasons_of_trust()
            if self.trust_reasons:
                # Who reads nothing else trusts a new CA before the first certificate of it is served.
                self.system_trust.apply(list(self.authorities.values()))
            states = self.observe()
            before = [self.describe(state) for state in states]
            for state in states:
                self.take(state)
            self.serve(states)
            for state in states:
                self.store.prune(state.name)
        result = self.report(states)
        after = [self.describe(state) for state in states]
        faults = [f"{state.name}: {fault}" for state in states for fault in state.faults]
        return {
            **result,
            "certificates": after,
            "diff": _difference(before, after),
            **({"failed": True, "msg": "; ".join(faults)} if faults else {}),
        }

    # What is there

    def observe(self) -> list[State]:
        states = [State(wished, self.authority(wished), self.deployed(wished)) for wished in self.certificates]
        units = self.units()
        served = self.ask(
            {listener: (None, self.own(state)) for state in states for listener in live_listeners(state.wished, units)}
        )
        self.absent = {listener for listener, answer in served.items() if answer.absent}
        renew = self.arguments.get("renew") or ()
        now = self.clock.now()
        for state in states:
            state.issue = issue_reasons(state.wished, state.authority, state.deployed, now, self.host)
            if state.name in renew and state.authority.kind != FILES and not state.issue:
                state.issue = ["its renewal was asked for"]
            answers = {listener: served[listener] for listener in state.wished.listeners if listener in served}
            state.other = deploy_reasons(state.wished, state.deployed, answers)
            state.behind = units_behind(state.wished, state.deployed, answers)
            state.warnings = [
                f"{state.name}: {listener} {answer.fault}, so nobody can see what it serves"
                for listener, answer in answers.items()
                if answer.absent
            ]
        return states

    def reasons_of_trust(self) -> list[str]:
        """Return what the system should trust and does not; before the package is there, what it will have to."""
        authorities = list(self.authorities.values())
        if self.check_mode and not x509.HAS_CRYPTOGRAPHY:
            return [f"the system does not trust {entry.name}" for entry in authorities if entry.system_trust]
        return self.system_trust.reasons(authorities)

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
            access_faults=tuple(self.store.access_faults(wished.name, uid, gid, wished.mode)),
            trust_differs=(trust or b"").decode() != self.authorities[wished.issuer].trust,
            proven_units=tuple(proven.get("units") or ()) if same else (),
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

    def units(self) -> dict[str, consumers.Unit]:
        return consumers.units(service.unit for wished in self.certificates for service in wished.services)

    def own(self, state: State) -> probe.Pair | None:
        """Return the deployed certificate and its key if they are for a client too."""
        facts = state.deployed.facts
        if facts is None or state.deployed.fault or CLIENT not in facts.usages:
            return None
        directory = self.store.path(state.name, version_name(state.deployed.version))
        return f"{directory}/{FULL_CHAIN}", f"{directory}/{KEY}"

    def ask(self, wanted: t.Mapping[Listener, tuple[str | None, probe.Pair | None]]) -> dict[Listener, Served]:
        """Return the answer of each listener, which is given a trust and a certificate for a client."""
        if not wanted:
            return {}
        with ThreadPoolExecutor(PROBES_AT_ONCE) as pool:
            return dict(zip(wanted, pool.map(lambda item: probe.ask(item[0], *item[1]), wanted.items())))

    # Stage and judge

    def stage(self, state: State) -> list[dict[str, str]]:
        """Keep a key and a request for what is to be issued; returns the request unless it was answered already."""
        x509.require()
        self.owner(state.wished)
        if state.authority.kind == FILES:
            return []
        name = state.name
        if name in (self.arguments.get("renew") or ()):
            self.store.drop_staged(name)
        key, request = (self.store.read_staged(name, file) for file in (KEY, REQUEST))
        if not (key and request and self.fits(state, key, request)):
            self.store.drop_staged(name)
            key = x509.make_key(state.wished.key_type)
            request = x509.make_request(key, state.wished.names)
            self.store.stage(name, key, request)
        elif self.answered(state):
            return []
        return [{"name": name, "request": request.decode()}]

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
        return issue_reasons(state.wished, state.authority, Deployed(facts=facts), self.clock.now(), self.host)

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
        uid, gid = self.owner(wished)
        if state.issue:
            issued = {entry["name"]: entry for entry in self.arguments.get("issued") or ()}.get(name)
            if issued:
                self.accept(state, issued)
            if not self.store.staged(name):
                state.faults.append("nothing was issued for it; run the task again")
                return
            faults = self.candidate_faults(state)
            if faults:
                self.store.drop_staged(name)
                kept = "the old one stays" if state.deployed.facts else "nothing is deployed"
                state.faults += [f"the new certificate is refused: {fault}; {kept}" for fault in faults]
                return
        self.write_trust(state)
        if state.issue:
            self.store.swap(name, uid, gid, wished.mode)
            state.swapped = True
            state.deployed = self.deployed(wished)
        elif state.deployed.access_faults:
            self.store.repair_access(name, uid, gid, wished.mode)

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

    # Serve and prove

    def serve(self, states: t.Sequence[State]) -> None:
        """Let each service that does not use what is deployed read it, in turn, and prove it."""
        units = self.units()
        for name in sorted(units):
            users = [state for state in states if any(service.unit == name for service in state.wished.services)]
            concerned = [state for state in users if not state.settled and (state.swapped or name in state.behind)]
            if not concerned or not units[name].active:
                continue
            fault = self.load_and_prove(name, units[name], users, concerned)
            if fault:
                self.put_back(name, fault, units, states, concerned)
        for state in states:
            self.record(state)

    def record(self, state: State) -> None:
        """Write down that the services use what is deployed, unless it was not shown."""
        deployed = state.deployed
        units = {service.unit for service in state.wished.services}
        if state.faults or state.pending or deployed.facts is None:
            return
        proven = self.store.proven(state.name)
        trust = digest(self.store.trust(state.name))
        if (proven.get("version"), proven.get("trust"), set(proven.get("units") or ())) != (
            deployed.version, trust, units,
        ):  # fmt: skip
            self.store.write_proven(state.name, deployed.version, units)

    def load_and_prove(
        self, name: str, unit: consumers.Unit, users: t.Sequence[State], concerned: t.Sequence[State]
    ) -> str:
        """Reload or restart one unit until its listeners serve what is deployed; returns why they do not."""
        services = [service for state in users for service in state.wished.services if service.unit == name]
        for service in {service.check: service for service in services}.values():
            fault = consumers.check(service)
            if fault:
                return fault
        # One that cannot reload for one of its certificates cannot for the others.
        restart = next((service for service in services if service.on_change == "restart"), services[0])
        fault = ""
        self.loaded.add(name)
        for _attempt in range(LOADS):
            fault = consumers.load(restart, unit) or self.prove(name, users, concerned, PROVE_SECONDS / LOADS)
            if not fault:
                return ""
        return fault

    def still_serves(
        self,
        name: str,
        _unit: consumers.Unit,
        users: t.Sequence[State],
        concerned: t.Sequence[State],
    ) -> str:
        return self.prove(name, users, concerned, 0.0)

    def prove(self, unit: str, users: t.Sequence[State], concerned: t.Sequence[State], seconds: float) -> str:
        """Return what the listeners of a unit serve instead of what is deployed, once the time is over."""
        wanted: dict[Listener, tuple[State, str]] = {
            listener: (state, state.deployed.facts.fingerprint)
            for state in users
            if state.deployed.facts
            for service in state.wished.services
            if service.unit == unit
            for listener in service.listeners
        }
        until = self.clock.boottime() + seconds
        clean = 0
        while True:
            answers = self.ask(
                {listener: (state.authority.trust, self.own(state)) for listener, (state, _print) in wanted.items()}
            )
            faults: dict[Listener, str] = {}
            for listener, (_state, fingerprint) in wanted.items():
                answer = answers[listener]
                if answer.absent and listener in self.absent:
                    continue
                if answer.fingerprint != fingerprint:
                    faults[listener] = f"{listener} {answer.fault or 'serves another one'}"
            clean = 0 if faults else clean + 1
            if clean >= CLEAN_PASSES:
                return ""
            if self.clock.boottime() >= until:
                return self.excuse({wanted[listener][0].name: text for listener, text in faults.items()}, concerned)
            self.clock.sleep(POLL_SECONDS)

    def excuse(self, faults: t.Mapping[str, str], concerned: t.Sequence[State]) -> str:
        """Return the fault that counts: a service need not use a certificate yet that did not exist before this run."""
        counted = []
        for name, fault in faults.items():
            state = next((state for state in concerned if state.name == name), None)
            if state and state.swapped and not self.store.previous(name):
                state.pending = True
                state.warnings.append(
                    f"{name}: {fault}; let its configuration name {self.store.path(name, 'current', FULL_CHAIN)} "
                    f"and {KEY} beside it, then run the task again"
                )
            else:
                counted.append(fault)
        return ", ".join(counted)

    def put_back(
        self,
        unit: str,
        fault: str,
        units: t.Mapping[str, consumers.Unit],
        states: t.Sequence[State],
        concerned: t.Sequence[State],
    ) -> None:
        """Make the version before the current one, and let every service that uses it show it again."""
        back = [state for state in concerned if self.may_go_back(state)]
        for state in back:
            self.store.swap_back(state.name, self.store.previous(state.name))
            state.deployed = self.deployed(state.wished)
        for state in concerned:
            state.settled = True
        again = ""
        if back:
            touched = {
                service.unit for state in back for service in state.wished.services if units[service.unit].active
            }
            for name in sorted(touched):
                users = [state for state in states if any(service.unit == name for service in state.wished.services)]
                # One that was not told of the new certificate needs not be told of the old one.
                turn = self.load_and_prove if name in self.loaded else self.still_serves
                again = again or turn(name, units[name], users, ())
        for state in concerned:
            if state not in back:
                state.faults.append(f"{unit} does not use it: {fault}; there is no certificate before it to put back")
            elif again:
                state.faults.append(f"{unit} does not use it: {fault}; the one before it is back, but {again}")
            else:
                state.faults.append(f"{unit} does not use it: {fault}; the one before it is back, and served")
                # It was just shown; a run that dies here shows it again.
                self.store.write_proven(
                    state.name, state.deployed.version, (service.unit for service in state.wished.services)
                )

    def may_go_back(self, state: State) -> bool:
        """Return whether the version before the current one is the better choice: it was served, and is still valid."""
        proven = self.store.proven(state.name)
        previous = self.store.previous(state.name)
        if not previous or (not state.swapped and proven.get("version") == state.deployed.version):
            return False
        with contextlib.suppress(CertificateError, IndexError):
            facts = x509.parse_chain(self.store.read(state.name, previous, CERTIFICATE) or b"")[0]
            key = self.store.read(state.name, previous, KEY) or b""
            valid = facts.not_before <= self.clock.now() < facts.not_after
            return valid and x509.public_key_of(key) == facts.public_key
        return False

    # What is told

    def report(self, states: t.Sequence[State]) -> dict[str, t.Any]:
        reasons = [reason for state in states for reason in state.reasons]
        reasons += self.trust_reasons
        before = [self.describe(state) for state in states]
        return {
            "changed": bool(reasons),
            "reasons": reasons,
            "warnings": [warning for state in states for warning in state.warnings],
            "certificates": before,
            "diff": _difference(
                before, [self.wish(state) if state.issue else found for state, found in zip(states, before)]
            ),
        }

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


def _difference(before: t.Sequence[dict[str, t.Any]], after: t.Sequence[dict[str, t.Any]]) -> dict[str, t.Any]:
    """Return the certificates that change, by name."""
    pairs = [(old, new) for old, new in zip(before, after) if old != new]
    return {
        "before": {old["name"]: old for old, _new in pairs},
        "after": {new["name"]: new for _old, new in pairs},
    }


def live_listeners(wished: Certificate, units: t.Mapping[str, consumers.Unit]) -> list[Listener]:
    """Return the listeners of those services that run; what does not run reads the certificate when it starts."""
    return [listener for service in wished.services if units[service.unit].active for listener in service.listeners]


def _machine_id() -> str:
    try:
        with open(MACHINE_ID, encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return os.uname().nodename
