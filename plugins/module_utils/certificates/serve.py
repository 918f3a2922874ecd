# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Let services read what is deployed, one after the other, until it is served; else put back what was before."""

from __future__ import annotations

import contextlib
import typing as t

from ..transaction.clock import Clock
from . import consumers, x509
from .credentials import Credentials
from .model import RESTART, CertificateError, Listener, Service
from .observe import Observer, State, ask
from .store import CERTIFICATE, FULL_CHAIN, KEY, Store, digest

PROVE_SECONDS = 30.0
POLL_SECONDS = 0.2
# A server that reloads lets its old processes accept for a moment longer.
CLEAN_PASSES = 3
LOADS = 3


class Serving:
    """The services of one host in one run. absent: listeners that nobody could reach when the run began."""

    def __init__(
        self,
        observer: Observer,
        store: Store,
        clock: Clock,
        states: t.Sequence[State],
        absent: t.Collection[Listener],
        credentials: Credentials,
    ) -> None:
        self.observer = observer
        self.store = store
        self.clock = clock
        self.states = states
        self.absent = absent
        self.credentials = credentials
        self.units = consumers.units(service.unit for state in states for service in state.wished.services)
        # Those that were told of a new certificate.
        self.loaded: set[str] = set()
        # Those that are out of use; those that this run took out; those that could not be put in again; those that do
        # not work with the one before either.
        self.out = store.taken_out()
        self.taken: set[str] = set()
        self.stuck: set[str] = set()
        self.failing: set[str] = set()

    def run(self) -> None:
        """Bring every unit that does not use what is deployed to do so, in turn."""
        # What does not run gets them when it starts.
        idle = [
            name
            for name, unit in self.units.items()
            if not unit.active
            and (
                self.credentials.missing(name, self.states, False)
                or (unit.stale and self.credentials.used(name, self.states))
            )
        ]
        if idle:
            self.credentials.install(idle, self.states)
        try:
            # What an interrupted run left out of use comes first, so that no other is missing with it.
            for name in sorted(self.units, key=lambda name: (name not in self.out, name)):
                concerned = [
                    state for state in self.users(name) if not state.settled and (state.swapped or name in state.behind)
                ]
                if concerned and self.units[name].active:
                    fault = self.load_and_prove(name, concerned)
                    if fault:
                        self.put_back(name, fault, concerned)
                self.put_in(name)
        finally:
            for name in sorted(self.taken):
                self.put_in(name)
        for state in self.states:
            self.record(state)

    def users(self, unit: str) -> list[State]:
        """Return the certificates that a unit reads."""
        return [state for state in self.states if any(service.unit == unit for service in state.wished.services)]

    def services(self, unit: str) -> list[Service]:
        """Return what each certificate says of a unit."""
        return [service for state in self.users(unit) for service in state.wished.services if service.unit == unit]

    def take_out(self, unit: str) -> str:
        """Take a unit out of use before it is restarted, if that is wished; returns why it is not."""
        command = next((service.before_restart for service in self.services(unit) if service.before_restart), ())
        if not command or unit in self.taken:
            return ""
        missing = sorted(self.stuck | self.failing)
        if missing:
            return f"it is not taken out of use as long as {', '.join(missing)} is missing"
        # Noted before it is done: a run that dies in between puts it in needlessly, which does no harm.
        self.out.add(unit)
        self.store.write_taken_out(self.out)
        self.taken.add(unit)
        return consumers.call("before_restart", command)

    def put_in(self, unit: str) -> None:
        """Put a unit that is out of use in again, whatever came of its restart."""
        if unit not in self.out or unit in self.stuck:
            return
        self.taken.discard(unit)
        command = next((service.after_restart for service in self.services(unit) if service.after_restart), ())
        fault = consumers.call("after_restart", command) if command else ""
        if fault:
            self.stuck.add(unit)
            for state in self.users(unit):
                state.faults.append(f"{unit} is still out of use: {fault}; mend that and run the task again")
            return
        self.out.discard(unit)
        self.store.write_taken_out(self.out)

    def record(self, state: State) -> None:
        """Write down that the services use what is deployed, unless it was not shown."""
        deployed = state.deployed
        units = {service.unit for service in state.wished.services}
        if state.faults or state.pending or deployed.facts is None:
            return
        proven = self.store.proven(state.name)
        trust = digest(self.store.trust(state.name))
        known = (proven.get("version"), proven.get("trust"), set(proven.get("units") or ()), proven.get("issuer"))
        if known != (deployed.version, trust, units, state.wished.issuer):
            self.store.write_proven(state.name, deployed.version, units, state.wished.issuer)

    def load_and_prove(self, name: str, concerned: t.Sequence[State]) -> str:
        """Reload or restart one unit until its listeners serve what is deployed; returns why they do not."""
        services = self.services(name)
        for service in {service.check: service for service in services}.values():
            fault = consumers.check(service)
            if fault:
                return fault
        # One that must be restarted for one of its certificates must be for the others.
        chosen = next((service for service in services if service.on_change == RESTART), services[0])
        if consumers.way(chosen, self.units[name]) == RESTART:
            fault = self.take_out(name)
            if fault:
                return fault
        self.loaded.add(name)
        if self.credentials.used(name, self.states) or self.credentials.missing(name, self.states, False):
            self.credentials.install([name], self.states)
        fault = ""
        for _attempt in range(LOADS):
            fault = (
                consumers.load(chosen, self.units[name])
                or self.prove(name, concerned, PROVE_SECONDS / LOADS)
                or ", ".join(self.credentials.missing(name, self.states, True))
            )
            if not fault:
                return ""
        return fault

    def prove(self, unit: str, concerned: t.Sequence[State], seconds: float) -> str:
        """Return what the listeners of a unit serve instead of what is deployed, once the time is over."""
        wanted: dict[Listener, tuple[State, str]] = {
            listener: (state, state.deployed.facts.fingerprint)
            for state in self.users(unit)
            if state.deployed.facts
            for service in state.wished.services
            if service.unit == unit
            for listener in service.listeners
        }
        until = self.clock.boottime() + seconds
        clean = 0
        while True:
            answers = ask(
                {
                    listener: (state.authority.trust, self.observer.own(state))
                    for listener, (state, _print) in wanted.items()
                }
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

    def put_back(self, unit: str, fault: str, concerned: t.Sequence[State]) -> None:
        """Make the version before the current one, and let every service that uses it show it again."""
        back = [state for state in concerned if self.may_go_back(state)]
        for state in back:
            self.store.swap_back(state.name, self.store.previous(state.name))
            state.deployed = self.observer.deployed(state.wished)
        for state in concerned:
            state.settled = True
        left = []
        users = {service.unit for state in back for service in state.wished.services}
        # This one first: it may be out of use, and is in again before another one is taken out.
        for name in sorted(users, key=lambda name: (name != unit, name)):
            if self.units[name].active:
                # One that was not told of the new certificate need not be told of the old one.
                wrong = self.load_and_prove(name, ()) if name in self.loaded else self.prove(name, (), 0.0)
                if wrong:
                    left.append(wrong)
                    self.failing.add(name)
                self.put_in(name)
        again = ", ".join(left)
        for state in concerned:
            if state not in back:
                state.faults.append(f"{unit} does not use it: {fault}; there is no certificate before it to put back")
            elif again:
                state.faults.append(f"{unit} does not use it: {fault}; the one before it is back, but {again}")
            else:
                state.faults.append(f"{unit} does not use it: {fault}; the one before it is back, and served")
                # It was just shown; a run that dies here shows it again.
                names = (service.unit for service in state.wished.services)
                self.store.write_proven(state.name, state.deployed.version, names, state.wished.issuer)

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
