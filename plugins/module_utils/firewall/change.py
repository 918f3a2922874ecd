# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One firewall change from plan to commit: what the module calls."""

from __future__ import annotations

import concurrent.futures
import ipaddress
import os
import shutil
import tempfile
import typing as t
from dataclasses import dataclass

from ..transaction.engine import Engine, TransactionError
from ..transaction.namespace import rehearse
from ..transaction.session import SshSession, ssh_session
from ..transaction.state import Command
from . import host
from .backend import Backend, Candidate, FirewallError
from .essential import cut_flows
from .evaluate import Admission, admission, shadowed, widening
from .firewalld_backend import Firewalld
from .model import Network, Policy, network_text, parse_network, policy_from
from .probes import after_rollback, inbound_probes
from .system import unit_is
from .ufw_backend import Ufw
from .validate import validate_policy

Result = dict[str, t.Any]
# Within a host, a connection that a rule admits needs far less; one that is expected is tried again for longer.
PROBE_SECONDS = 0.5
BACKENDS: t.Mapping[str, t.Callable[[str], Backend]] = {"ufw": Ufw, "firewalld": Firewalld}


class RolledBack(FirewallError):
    """The change was begun and taken back; ``transaction`` says how that ended."""

    def __init__(self, reason: str, transaction: Result) -> None:
        super().__init__(reason)
        self.transaction = transaction


@dataclass(frozen=True)
class Management:
    """From where, and on which ports, administration has to stay possible."""

    sources: tuple[Network, ...]
    ports: tuple[int, ...]
    controller: str
    listening: tuple[int, ...] = ()

    def answering(self) -> tuple[int, ...]:
        """Return the ports on which a new login can be proven: sshd may listen on the others only later."""
        return tuple(port for port in self.ports if port in self.listening) or self.ports

    def to_dict(self) -> Result:
        """Return the facts for the result."""
        return {
            "sources": [network_text(network) for network in self.sources] or ["anywhere"],
            "ports": list(self.ports),
            "controller": self.controller,
        }


def management_of(options: t.Mapping[str, t.Any], session: SshSession | None, listening: t.Sequence[int]) -> Management:
    """Return the management sources and ports; without ports, the session's own and those of the running sshd."""
    sources = tuple(dict.fromkeys(parse_network(item) for item in options.get("management_sources") or ()))
    listening = [*([session.server_port] if session else []), *listening]
    ports = [int(port) for port in options.get("management_ports") or listening]
    ports += [int(port) for port in options.get("dependent_management_ports") or ()]
    return Management(
        sources,
        tuple(dict.fromkeys(ports)),
        session.client_address if session else "",
        tuple(dict.fromkeys(listening)),
    )


def lock_out(candidate: Candidate, management: Management, session: SshSession | None) -> list[str]:
    """Return one sentence for each way in which the candidate would end administration."""
    if session is not None and session.server_port not in management.ports:
        return [
            (
                f"the controller {session.client_address} came in on tcp/{session.server_port}, which this change "
                f"would close: add {session.server_port} to firewall_management_ports"
            )
        ]
    if session is not None and management.sources:
        address = ipaddress.ip_address(session.client_address)
        if not any(address in network for network in management.sources):
            return [
                (
                    f"the controller {session.client_address} could not reach tcp/{session.server_port} after this "
                    f'change: add "{ipaddress.ip_network(address)}" to firewall_management_sources'
                )
            ]
    problems: list[str] = []
    for name, network in required_sources(management):
        for port in management.ports:
            found = admission(candidate.entries, candidate.defaults["in"], network, port)
            if not found.full:
                problems.append(blocked_sentence(name, port, found))
    return problems


def required_sources(management: Management) -> list[tuple[str, Network]]:
    """Return what must be admitted fully, with its name for messages: the controller, then each management source."""
    required = [(f"the management source {network_text(item)}", item) for item in management.sources]
    if management.controller:
        controller = ipaddress.ip_network(management.controller)
        required.insert(0, (f"the controller {management.controller}", controller))
    return required


def blocked_sentence(name: str, port: int, found: Admission) -> str:
    """Return the sentence that names what stands in the way."""
    judgement = found.blocked_by
    sentence = f"{name} could not reach tcp/{port} after this change"
    if judgement is None:
        return sentence
    entry = judgement.entry
    remedy = ""
    if entry is not None and not entry.own:
        remedy = "; remove that rule, or allow the source ahead of it"
    return f"{sentence}: {judgement.because()} stands ahead{remedy}"


def partly_blocked(candidate: Candidate, management: Management) -> list[str]:
    """Return a warning for each foreign rule that takes single addresses out of a management source."""
    warnings = []
    for name, network in required_sources(management):
        for port in management.ports:
            for entry in admission(candidate.entries, candidate.defaults["in"], network, port).partial:
                warnings.append(f"the host's own rule {entry.describe()!r} keeps a part of {name} away from tcp/{port}")
    return list(dict.fromkeys(warnings))


def first_candidate(name: str, policy: Policy, package: str) -> Candidate:
    """Return what check mode can foretell before the package is there: the policy itself."""
    entries = policy.entries()
    after = {
        "backend": name,
        "enabled": True,
        "default_inbound": policy.default_inbound,
        "default_outbound": policy.default_outbound,
        "logging": policy.logging,
        "rules": [entry.to_dict() for entry in entries],
    }
    return Candidate(
        before={"backend": name, "enabled": False, "rules": []},
        after=after,
        reasons=[f"the package {package} is not installed yet"],
        added=entries,
        removed=[],
        kept=0,
        entries=entries,
        foreign=[],
        defaults={"in": policy.default_inbound, "out": policy.default_outbound},
    )


def plan_dict(candidate: Candidate) -> Result:
    """Return the plan for the result."""
    return {
        "added": len(candidate.added),
        "removed": len(candidate.removed),
        "kept": candidate.kept,
        "added_rules": [entry.to_dict() for entry in candidate.added],
        "removed_rules": [entry.to_dict() for entry in candidate.removed],
    }


def foreign_dicts(candidate: Candidate) -> list[Result]:
    """Return the host's own rules; those that admit more than the policy are marked."""
    own = [entry for entry in candidate.entries if entry.own]
    wide = set(widening(candidate.foreign, own, candidate.defaults["in"]))
    return [{**entry.to_dict(), "widens": entry in wide} for entry in candidate.foreign]


class Change:
    """The module's one object: options in, result out. Raises FirewallError or TransactionError with one sentence."""

    def __init__(self, options: t.Mapping[str, t.Any], check_mode: bool, engine: Engine | None = None) -> None:
        self.options = options
        self.check_mode = check_mode
        self.engine = engine or Engine()
        self.session = ssh_session()

    def run(self) -> Result:
        """Do what ``operation`` asks."""
        operation = self.options.get("operation") or "apply"
        if operation == "commit":
            return self.commit()
        if operation == "rollback":
            return self.roll_back()
        if operation == "status":
            return {"changed": False, "transaction": self.engine.status(self.asked("id") or None)}
        problems = validate_policy(self.options)
        if problems:
            raise FirewallError("; ".join(problems))
        scratch = tempfile.mkdtemp(prefix="bulwark-firewall-", dir="/var/tmp")
        try:
            return self.apply(scratch)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def asked(self, key: str, default: t.Any = "") -> t.Any:
        """Return a field of the transaction that the controller names."""
        return (self.options.get("transaction") or {}).get(key) or default

    # -- apply -----------------------------------------------------------------------------------------------------

    def backends(self, scratch: str) -> tuple[Backend, list[Backend]]:
        """Return the wished backend, and the other ones that are active and have to give way."""
        wished = self.options["backend"]
        made = {}
        for name, kind in BACKENDS.items():
            directory = os.path.join(scratch, name)
            os.mkdir(directory, 0o700)
            made[name] = kind(directory)
        backend = made.pop(wished)
        missing = backend.missing()
        if missing and not self.check_mode:
            raise FirewallError(
                f"the package {missing} is not installed on this host: run the firewall role, or install it"
            )
        return backend, [other for other in made.values() if other.active()]

    def apply(self, scratch: str) -> Result:
        """Plan; without a difference, end. Else refuse, or rehearse, arm and apply."""
        if not self.check_mode:
            self.engine.settle()
        backend, others = self.backends(scratch)
        management = management_of(self.options, self.session, host.ssh_ports())
        policy = policy_from(self.options, management.sources, management.ports)
        missing = backend.missing()
        candidate = first_candidate(backend.name, policy, missing) if missing else backend.candidate(policy)
        candidate.reasons += [f"{other.name} is active beside {backend.name}" for other in others]
        card, addresses = self.own_addresses()
        self.refuse(candidate, management, policy, addresses)
        result = self.report(candidate, management)
        result["changed"] = bool(candidate.reasons)
        if not candidate.reasons or self.check_mode:
            return result
        if self.options.get("rehearse", True):
            result["rehearsal"] = self.rehearse(backend, candidate, management, policy, card, addresses)
        result["transaction"] = self.transact(backend, others, candidate, management)
        return result

    def own_addresses(self) -> tuple[host.Card | None, dict[int, str]]:
        """Return the card that the session uses, and this host's address by family."""
        card = host.card_with(host.cards(), self.session.server_address if self.session else "")
        found = {family: card.address(family) for family in (4, 6)} if card else {}
        return card, {family: address for family, address in found.items() if address}

    def refuse(
        self, candidate: Candidate, management: Management, policy: Policy, addresses: t.Mapping[int, str]
    ) -> None:
        """Raise FirewallError when the candidate would cut administration or what the host needs."""
        problems = lock_out(candidate, management, self.session)
        blocking = any(entry.direction == "out" and entry.action in ("deny", "reject") for entry in candidate.entries)
        if not problems and (policy.default_outbound != "allow" or blocking):
            allow_cut = self.options.get("allow_cut") or ()
            flows = host.essential_flows()
            problems = cut_flows(flows, candidate.entries, candidate.defaults["out"], addresses, allow_cut)
        if problems:
            raise FirewallError("; ".join(problems))

    def report(self, candidate: Candidate, management: Management) -> Result:
        """Return the plan, the reasons and the warnings."""
        warnings = [*candidate.warnings, *partly_blocked(candidate, management)]
        foreign = foreign_dicts(candidate)
        warnings += [
            f"a rule of the host itself opens more than the policy: {entry.describe()}"
            for entry, facts in zip(candidate.foreign, foreign)
            if facts["widens"]
        ]
        warnings += [
            f"the rule {entry.name!r} never takes effect for IPv{entry.family}: {earlier.describe()} stands ahead of it"
            for entry, earlier in shadowed(candidate.entries)
            if entry.own
        ]
        if unit_is("is-enabled", "nftables.service"):
            warnings.append(
                "nftables.service is enabled: its start flushes every rule set, this policy included; "
                "disable it with: systemctl disable nftables"
            )
        notes = list(candidate.notes)
        if not management.sources:
            ports = ", ".join(f"tcp/{port}" for port in management.ports) or "no port"
            notes.append(f"{ports} stays open to every address, because firewall_management_sources is empty")
        return {
            "diff": {"before": candidate.before, "after": candidate.after},
            "plan": plan_dict(candidate),
            "reasons": candidate.reasons,
            "notes": notes,
            "warnings": warnings,
            "foreign_rules": foreign,
            "management": management.to_dict(),
        }

    def rehearse(
        self,
        backend: Backend,
        candidate: Candidate,
        management: Management,
        policy: Policy,
        card: host.Card | None,
        addresses: t.Mapping[int, str],
    ) -> Result:
        """Try the candidate, then its rollback, in a private namespace. Raises FirewallError when it fails there."""
        plan = backend.rehearsal(candidate)
        if card is None:
            plan.check()
            return {"supported": False, "reason": "this host has no network card with a global address"}
        probes = inbound_probes(
            candidate.entries,
            candidate.defaults["in"],
            policy.rules,
            management.sources,
            management.ports,
            management.controller,
            addresses,
        )
        with concurrent.futures.ThreadPoolExecutor(1) as side:
            checked = side.submit(plan.check)
            try:
                rehearsal = rehearse(
                    card.name,
                    card.addresses,
                    plan.load,
                    probes,
                    unload=plan.unload,
                    probes_after_rollback=after_rollback(probes, plan.admitted_before),
                    mounts=plan.mounts,
                    probe_timeout_seconds=PROBE_SECONDS,
                )
            finally:
                # What the program itself says about the candidate is the better reason.
                checked.result()
        if rehearsal.supported and not rehearsal.passed:
            failed = [v for v in (*rehearsal.verdicts, *rehearsal.verdicts_after_rollback) if not v.passed]
            first = failed[0]
            raise FirewallError(
                f"the rehearsal refused this policy before the host was touched: {first.probe.name} from "
                f"{first.probe.source or 'this host'} to tcp/{first.probe.port} is {first.observed} "
                f"({first.detail}), expected is {first.probe.expected}"
            )
        return rehearsal.to_dict()

    def transact(self, backend: Backend, others: list[Backend], candidate: Candidate, management: Management) -> Result:
        """Arm the rollback, then apply; any fault rolls back at once."""
        for item in (backend, *others):
            item.prepare()
        paths = [path for item in (backend, *others) for path in item.snapshot_paths()]
        # The other manager comes back last, so that its rules are the final word.
        commands: list[Command] = [command for item in (backend, *others) for command in item.rollback_commands()]
        transaction = self.engine.begin(
            "firewall",
            list(dict.fromkeys(paths)),
            commands,
            window_seconds=int(self.options.get("window_seconds") or 90),
            ports=management.answering(),
            data={"backend": backend.name, "retired": [other.name for other in others]},
        )
        transaction.arm()
        transaction.applying()
        try:
            backend.apply(candidate)
            for other in others:
                other.retire()
        except Exception as error:
            transaction.rollback(f"the policy could not be applied: {error}")
            raise RolledBack(f"the policy could not be applied: {error}", transaction.to_result()) from error
        transaction.applied()
        return transaction.to_result()

    # -- commit and rollback ---------------------------------------------------------------------------------------

    def commit(self) -> Result:
        """Make the applied policy last, after the controller proved new logins."""
        transaction = self.engine.resume(self.asked("id"))
        scratch = tempfile.mkdtemp(prefix="bulwark-firewall-", dir="/var/tmp")
        data = transaction.journal.data
        try:
            backend = BACKENDS[str(data["backend"])](scratch)

            def persist() -> None:
                backend.persist()
                for name in t.cast("list[str]", data.get("retired") or []):
                    BACKENDS[name](scratch).retire_persist()
                if not backend.is_persistent():
                    raise TransactionError(f"{backend.name} could not be set to start at the next boot")

            transaction.commit(
                str(self.asked("nonce")),
                self.asked("logins", []),
                persist,
                minimum_logins=int(self.options.get("confirm_logins", 3)),
            )
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        return {"changed": True, "transaction": transaction.to_result()}

    def roll_back(self) -> Result:
        """Go back now."""
        transaction = self.engine.resume(self.asked("id"))
        transaction.rollback(str(self.asked("reason", "asked by the controller")))
        return {"changed": True, "transaction": transaction.to_result()}
