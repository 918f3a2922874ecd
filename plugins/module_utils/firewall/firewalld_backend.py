# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The firewalld backend: own rules live in the policies ``bulwark-inbound`` and ``bulwark-outbound``.

The files are written in firewalld's own format, checked by firewalld, and loaded by one reload, which firewalld turns
into one transaction of the kernel: 1,000 rules take half a second, against three quarters of a minute for the same
policy through its run-time interface. What exists at run time only, as fail2ban's bans, is put back after the reload.
"""

from __future__ import annotations

import json
import os
import pkgutil
import shutil
import time
import typing as t
from dataclasses import replace

from ..transaction.state import Command
from . import firewalld_hold
from .backend import Candidate, FirewallError, RehearsalPlan
from .evaluate import Packet, judge
from .firewalld_rules import (
    CONDITION,
    INBOUND,
    OUTBOUND,
    POLICY_PRIORITY,
    PolicyFile,
    entries_of,
    entry_of_rule,
    parse_rich,
    parse_xml,
    policy_files,
    rule_priority,
    service_ports,
    services_in,
    setting_line,
    setting_of,
    tag_of,
    with_services,
    without_services,
)
from .model import Entry, Policy, PortRange
from .planner import difference
from .system import read_text, run, unit_is, write_text

DIRECTORY = "/etc/firewalld"
STOCK_DIRECTORIES = ("/usr/lib/firewalld", "/lib/firewalld")
CONFIGURATION = "/etc/firewalld/firewalld.conf"
# Which openings of stock zones were closed, so that they can be opened again when ufw takes over.
CLOSED = "/var/lib/bulwark/firewall/closed-openings.json"
UNIT = "firewalld.service"
ENABLEMENTS = (
    "/etc/systemd/system/multi-user.target.wants/firewalld.service",
    "/etc/systemd/system/dbus-org.fedoraproject.FirewallD1.service",
)
PYTHON = "/usr/bin/python3"
BUS = "org.fedoraproject.FirewallD1"
BUS_OBJECT = "/org/fedoraproject/FirewallD1"
# firewall-cmd makes the same call, but needs half a second to start.
RELOAD = ("busctl", "--auto-start=no", "--timeout=120", "call", BUS, BUS_OBJECT, BUS, "reload")
# Remote administration that stock zones open to everybody; DHCPv6 stays, a host may need it for its address.
CLOSED_SERVICES = ("ssh", "cockpit")
LOGGING = {"off": "off", "low": "unicast", "medium": "all", "high": "all"}
TERMINAL_TARGETS = {"ACCEPT": "allow", "DROP": "deny", "%%REJECT%%": "reject", "REJECT": "reject"}
START_SECONDS = 20.0
# Runs a program and puts back what it flushed: firewalld 1.x empties every iptables table when it starts, reloads and
# stops, also those of fail2ban, Docker and ufw. A table that lost lines is replaced by what it was, in one step.
KEEP = """
import subprocess, sys
bus = "org.fedoraproject.FirewallD1"
question = [bus, "/" + bus.replace(".", "/"), "org.freedesktop.DBus.Properties", "Get", "ss", bus, "state"]
families = [(f"{name}-save", f"{name}-restore") for name in ("iptables", "ip6tables")]
def tables(program):
    try:
        text = subprocess.run([program], capture_output=True, text=True).stdout
    except OSError:
        return {}
    found, name = {}, ""
    for line in text.splitlines():
        if line.startswith("*"):
            name = line[1:]
            found[name] = []
        elif name and not line.startswith("#"):
            found[name].append(line.partition(" [")[0] if line.startswith(":") else line)
    return found
before = {save: tables(save) for save, _restore in families}
done = subprocess.run(sys.argv[1:])
# systemd takes the daemon for started before it has loaded its rules; this question is answered afterwards.
subprocess.run(["busctl", "--auto-start=no", "--timeout=120", "call", *question], capture_output=True)
for save, restore in families:
    now = tables(save)
    for name, lines in before[save].items():
        if not set(lines) <= set(now.get(name, ())) and any(line.startswith("-A") for line in lines):
            batch = [f"*{name}", *(f"{line} [0:0]" if line.startswith(":") else line for line in lines), ""]
            subprocess.run([restore], input="\\n".join(batch), text=True, check=True)
sys.exit(done.returncode)
"""


KEEPING = (PYTHON, "-I", "-c", KEEP)


class BusError(FirewallError):
    """firewalld did not answer on the message bus."""


def call(interface: str, method: str, *arguments: str) -> t.Any:
    """Call firewalld over D-Bus and return the decoded reply, without type marks. Raises BusError."""
    name = f"{BUS}.{interface}" if interface else BUS
    done = run(
        ["busctl", "--json=short", "--timeout=20", "call", BUS, BUS_OBJECT, name, method, *arguments], check=False
    )
    if done.returncode:
        raise BusError(f"firewalld did not answer {method}: {(done.stderr.strip() or 'no message').splitlines()[-1]}")
    return plain(json.loads(done.stdout)["data"]) if done.stdout.strip() else None


def plain(value: t.Any) -> t.Any:
    """Return busctl's JSON without the type marks of variants."""
    if isinstance(value, dict):
        if set(value) == {"type", "data"}:
            return plain(value["data"])
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


class Firewalld:
    """Observe and change firewalld on this host."""

    name = "firewalld"

    def __init__(self, directory: str) -> None:
        """``directory`` is a private, empty scratch directory; the caller removes it."""
        self.scratch = directory
        self.was_running = False
        self.service_cache: dict[str, list[tuple[str, tuple[PortRange, ...]]]] = {}
        self.wished: dict[str, str | None] = {}
        self.closing: dict[str, list[str]] = {}
        self.policies: list[PolicyFile] = []

    # -- observe ---------------------------------------------------------------------------------------------------

    def missing(self) -> str:
        """Return the package that has to be installed first, or nothing."""
        return "" if os.path.isdir(DIRECTORY) and shutil.which("firewalld", path="/usr/sbin:/sbin") else "firewalld"

    def running(self) -> bool:
        """Return whether the daemon runs."""
        return unit_is("is-active", UNIT)

    def active(self) -> bool:
        """Return whether firewalld filters now, or will after a reboot."""
        if self.missing():
            return False
        self.was_running = self.running()
        return self.was_running or self.is_persistent()

    def is_persistent(self) -> bool:
        """Return whether firewalld starts at the next boot."""
        return unit_is("is-enabled", UNIT)

    def find(self, kind: str, name: str) -> str:
        """Return the text of a zone, policy or service, the administrator's before the package's, or nothing."""
        for directory in (DIRECTORY, *STOCK_DIRECTORIES):
            text = read_text(os.path.join(directory, kind, f"{name}.xml"), "")
            if text:
                return text
        return ""

    def stock(self, kind: str, name: str) -> str:
        """Return the text that the package brought along, or nothing."""
        for directory in STOCK_DIRECTORIES:
            text = read_text(os.path.join(directory, kind, f"{name}.xml"), "")
            if text:
                return text
        return ""

    def services(self, name: str) -> list[tuple[str, tuple[PortRange, ...]]]:
        """Return protocols and ports of a service; an unknown one opens nothing."""
        if name not in self.service_cache:
            text = self.find("services", name)
            self.service_cache[name] = service_ports(text) if text else []
        return self.service_cache[name]

    def default_zone(self) -> str:
        """Return the zone of every interface that no other zone claims."""
        return setting_of(read_text(CONFIGURATION, ""), "DefaultZone", "public")

    def zones(self) -> list[str]:
        """Return the zones in use: the default one, and those with interfaces or sources."""
        found = [self.default_zone()]
        if self.was_running:
            found += list(call("zone", "getActiveZones")[0])
        zones = os.path.join(DIRECTORY, "zones")
        for file in sorted(os.listdir(zones)) if os.path.isdir(zones) else []:
            if file.endswith(".xml") and self.bound(read_text(os.path.join(zones, file), "")):
                found.append(file[: -len(".xml")])
        return list(dict.fromkeys(found))

    def bound(self, text: str) -> bool:
        """Return whether a zone file claims an interface or a source."""
        return any(tag_of(element) in ("interface", "source") for element in self.parse(text, "a zone file"))

    def parse(self, text: str, what: str) -> t.Any:
        """Return the XML root. Raises FirewallError."""
        try:
            return parse_xml(text, what)
        except ValueError as error:
            raise FirewallError(f"{error}; correct it below {DIRECTORY}, then run again") from error

    def foreign_policies(self) -> list[tuple[int, str, t.Any]]:
        """Return (priority, name, XML root) of the host's own policies from anywhere to this host."""
        found: dict[str, tuple[int, str, t.Any]] = {}
        for directory in (*reversed(STOCK_DIRECTORIES), DIRECTORY):
            folder = os.path.join(directory, "policies")
            for file in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
                name = file[: -len(".xml")]
                if not file.endswith(".xml") or name in (INBOUND, OUTBOUND):
                    continue
                root = self.parse(read_text(os.path.join(folder, file), ""), f"the policy {name}")
                if any(tag_of(e) == "egress-zone" and e.get("name") == "HOST" for e in root):
                    found[name] = (rule_priority(root) or -1, name, root)
        return sorted(found.values(), key=lambda item: item[:2])

    def zone_entries(self, zone: str, closing: t.Collection[str] = ()) -> list[Entry]:
        """Return a zone's inbound entries, those that exist at run time only included, its target last."""
        text = self.find("zones", zone)
        if not text:
            return []
        root = self.parse(without_services(text, closing) if closing else text, f"the zone {zone}")
        entries = entries_of(root, "in", self.services, own=False, origin=f"zone {zone}")
        for rule in self.runtime_only(zone).get("rich_rules", []):
            made = [
                replace(e, origin=f"zone {zone}, run time")
                for e in entry_of_rule(parse_rich(rule), "in", self.services)
            ]
            # A denial at run time goes before the zone's openings, as firewalld sorts it.
            entries = [*made, *entries] if made and made[0].action != "allow" else [*entries, *made]
        return entries

    def runtime_only(self, zone: str) -> dict[str, list[str]]:
        """Return rich rules, services, ports and sources of a zone that are not in its file."""
        if not self.was_running:
            return {}
        try:
            live = call("zone", "getZoneSettings2", "s", zone)[0]
        except BusError:
            # A zone that firewalld does not know now has nothing at run time.
            return {}
        text = self.find("zones", zone)
        root = self.parse(text, f"the zone {zone}") if text else []
        saved = {
            "services": [e.get("name") for e in root if tag_of(e) == "service"],
            "ports": [f"{e.get('port')}/{e.get('protocol')}" for e in root if tag_of(e) == "port"],
            "sources": [e.get("address") for e in root if tag_of(e) == "source"],
            "rich_rules": [canonical_rule(e) for e in root if tag_of(e) == "rule"],
        }
        return {
            "services": [name for name in live.get("services", []) if name not in saved["services"]],
            "ports": [f"{p[0]}/{p[1]}" for p in live.get("ports", []) if f"{p[0]}/{p[1]}" not in saved["ports"]],
            "sources": [name for name in live.get("sources", []) if name not in saved["sources"]],
            "rich_rules": [
                r for r in live.get("rules_str", []) if canonical_rule(parse_rich(r)) not in saved["rich_rules"]
            ],
        }

    # -- plan ------------------------------------------------------------------------------------------------------

    def candidate(self, policy: Policy) -> Candidate:
        """Observe the host and return what the policy would make of it."""
        self.was_running = self.running()
        zones = self.zones()
        self.closing = {zone: names for zone in zones for names in [self.stock_openings(zone)] if names}
        self.policies = policy_files(policy.entries(), policy.default_inbound, policy.default_outbound)
        self.wished = self.wished_files(policy)
        before = self.own_entries()
        after = [entry for item in self.policies for entry in item.elements()]
        added, removed, kept = difference([comparable(e) for e in before], [comparable(e) for e in after], lambda e: e)
        foreign = [entry for zone in zones for entry in self.zone_entries(zone, self.closing.get(zone, ()))]
        early = [
            entry
            for priority, name, root in self.foreign_policies()
            if priority < POLICY_PRIORITY
            for entry in entries_of(root, "in", self.services, own=False, origin=f"policy {name}")
        ]
        default, warnings = self.targets(zones)
        return Candidate(
            before=self.describe(before, policy_is_live=self.was_running),
            after=self.described_after(after, policy),
            reasons=self.reasons(),
            added=added,
            removed=removed,
            kept=len(kept),
            entries=[*early, *foreign, *after],
            foreign=[entry for entry in (*early, *foreign) if not self.harmless(entry)],
            defaults={"in": "allow" if policy.default_inbound == "allow" else default, "out": policy.default_outbound},
            warnings=warnings,
        )

    def harmless(self, entry: Entry) -> bool:
        """Return whether an entry is part of what the package brings so that the network itself works."""
        return entry.protocol in ("icmp", "ipv6-icmp") or entry.comment == "service dhcpv6-client"

    def targets(self, zones: t.Sequence[str]) -> tuple[str, list[str]]:
        """Return what the default zone does with the rest, and a warning for each zone in use that accepts it."""
        warnings = []
        default = "reject"
        for index, zone in enumerate(zones):
            text = self.find("zones", zone)
            target = self.parse(text, f"the zone {zone}").get("target", "default") if text else "default"
            action = TERMINAL_TARGETS.get(target, "reject")
            if index == 0:
                default = action
            if action == "allow":
                warnings.append(f"the zone {zone} accepts everything that its interfaces and sources send")
        return default, warnings

    def stock_openings(self, zone: str) -> list[str]:
        """Return the administrative services that a zone has from the package and not from an administrator."""
        stock = self.stock("zones", zone)
        if not stock:
            return []
        present = services_in(self.find("zones", zone))
        reopened = self.closed_before().get(zone, [])
        return [n for n in services_in(stock) if n in CLOSED_SERVICES and n in present and n not in reopened]

    def closed_before(self) -> dict[str, list[str]]:
        """Return the openings that an earlier run closed."""
        try:
            recorded = json.loads(read_text(CLOSED, "{}"))
        except ValueError as error:
            raise FirewallError(f"{CLOSED} is not valid JSON: {error}; move it away, then run again") from error
        return {str(zone): [str(name) for name in names] for zone, names in recorded.items()}

    def own_entries(self) -> list[Entry]:
        """Return the entries of the own policies as they are in the files."""
        entries: list[Entry] = []
        for name, direction in ((INBOUND, "in"), (OUTBOUND, "out")):
            text = read_text(os.path.join(DIRECTORY, "policies", f"{name}.xml"), "")
            if text:
                entries += entries_of(self.parse(text, f"the policy {name}"), direction, self.services, True, "")
        return entries

    def wished_files(self, policy: Policy) -> dict[str, str | None]:
        """Return the content of every file that the policy is about; None for one that must not exist."""
        files: dict[str, str | None] = {
            os.path.join(DIRECTORY, "policies", f"{name}.xml"): None for name in (INBOUND, OUTBOUND)
        }
        for item in self.policies:
            files[os.path.join(DIRECTORY, "policies", f"{item.name}.xml")] = item.text()
        for zone, names in self.closing.items():
            files[os.path.join(DIRECTORY, "zones", f"{zone}.xml")] = without_services(self.find("zones", zone), names)
        files[CONFIGURATION] = setting_line(read_text(CONFIGURATION), "LogDenied", LOGGING[policy.logging])
        return files

    def describe(self, entries: t.Sequence[Entry], policy_is_live: bool) -> dict[str, t.Any]:
        """Return the state before, for the diff."""
        targets = {
            name: self.parse(text, f"the policy {name}").get("target", "CONTINUE")
            for name in (INBOUND, OUTBOUND)
            for text in [read_text(os.path.join(DIRECTORY, "policies", f"{name}.xml"), "")]
            if text
        }
        return {
            "backend": "firewalld",
            "enabled": policy_is_live,
            "policies": targets,
            "log_denied": setting_of(read_text(CONFIGURATION, ""), "LogDenied", "off"),
            "open_stock_services": self.closing,
            "rules": [entry.to_dict() for entry in entries],
        }

    def described_after(self, entries: t.Sequence[Entry], policy: Policy) -> dict[str, t.Any]:
        """Return the wished state, for the diff."""
        return {
            "backend": "firewalld",
            "enabled": True,
            "policies": {item.name: item.target for item in self.policies},
            "log_denied": LOGGING[policy.logging],
            "open_stock_services": {},
            "rules": [entry.to_dict() for entry in entries],
        }

    def reasons(self) -> list[str]:
        """Return one clause for each difference between the host and the wished files."""
        reasons: list[str] = []
        if not self.was_running:
            reasons.append("firewalld does not run")
        for path, text in self.wished.items():
            if (read_text(path, "") or None) != text:
                reasons.append(f"{path} differs" if text is not None else f"{path} is not wished")
        reasons += [f"the zone {zone} opens {', '.join(names)} to everybody" for zone, names in self.closing.items()]
        if self.was_running and not reasons:
            reasons += self.drift()
        if not self.is_persistent():
            reasons.append("firewalld does not start at the next boot")
        return reasons

    def drift(self) -> list[str]:
        """Return how the running firewalld differs from its files."""
        reasons: list[str] = []
        for item in self.policies:
            try:
                live = call("policy", "getPolicySettings", "s", item.name)[0]
            except BusError:
                reasons.append(f"the policy {item.name} is not loaded")
                continue
            rules = [canonical_rule(parse_rich(rule)) for rule in live.get("rich_rules", [])]
            expected = [canonical_rule(parse_rich(rule)) for rule in item.rich_rules()]
            if sorted(rules) != sorted(expected) or live.get("target") != item.target:
                reasons.append(f"the running policy {item.name} is not that of its file")
            else:
                reasons += self.kernel_drift(item)
        return reasons

    def kernel_drift(self, item: PolicyFile) -> list[str]:
        """Return whether the kernel has fewer rules than firewalld believes; nothing where nft is not installed."""
        direction = "IN" if item.egress == "HOST" else "OUT"
        chain = f"filter_{direction}_policy_{item.name}_pre"
        done = run(["nft", "-j", "list", "chain", "inet", "firewalld", chain], check=False)
        if done.returncode == 127:
            return []
        present = 0
        if done.returncode == 0:
            present = sum(1 for element in json.loads(done.stdout)["nftables"] if "rule" in element)
        elements = item.elements()
        expected = len(elements) + sum(1 for entry in elements if entry.log)
        return (
            [] if present >= expected else [f"the kernel has {present} of {expected} rules of the policy {item.name}"]
        )

    # -- rehearse --------------------------------------------------------------------------------------------------

    def rehearsal(self, candidate: Candidate) -> RehearsalPlan:
        """Return how firewalld checks the candidate's files, and how they are tried."""
        old, new, checked = (os.path.join(self.scratch, name) for name in ("old", "new", "checked"))
        for target in (old, new):
            shutil.copytree(DIRECTORY, target, symlinks=True)
        for path, text in self.wished.items():
            staged = os.path.join(new, os.path.relpath(path, DIRECTORY))
            os.makedirs(os.path.dirname(staged), exist_ok=True)
            self.put(staged, text)
        # The rehearsal ends with the old files in its own copy.
        shutil.copytree(new, checked, symlinks=True)
        source = pkgutil.get_data(firewalld_hold.__package__ or "", "firewalld_hold.py")
        if source is None:
            raise FirewallError(
                "the module was shipped without firewalld_hold.py; report this as a fault of the collection"
            )
        program = (PYTHON, "-I", "-c", source.decode("utf-8"), "restart" if self.was_running else "stop")
        wait = (PYTHON, "-I", "-c", WAIT)
        entries = [*candidate.foreign, *self.own_entries()]

        def admitted_before(source: str, destination: str, port: int) -> bool:
            """Return whether the old state admits a TCP connection; a stopped firewalld admits everything."""
            if not self.was_running:
                return True
            opened = [
                entry
                for zone, names in self.closing.items()
                for entry in self.zone_entries(zone)
                if self.was_in(entry, names)
            ]
            return judge([*entries, *opened], "reject", Packet("in", "tcp", source, destination, port)).admitted

        return RehearsalPlan(
            mounts=((new, DIRECTORY),),
            load=(
                Command((*program, *self.bindings()), timeout_seconds=300, background=True),
                Command((*wait, firewalld_hold.READY), timeout_seconds=30),
            ),
            unload=(
                Command(("cp", "-a", f"{old}/.", DIRECTORY)),
                *(Command(("rm", "-f", path)) for path in self.wished if not os.path.exists(path)),
                Command((*wait, firewalld_hold.ROLLED_BACK, firewalld_hold.ROLL_BACK), timeout_seconds=30),
            ),
            admitted_before=admitted_before,
            check=lambda: run(["firewall-offline-cmd", "--system-config", checked, "--check-config"]),
        )

    def was_in(self, entry: Entry, names: t.Collection[str]) -> bool:
        """Return whether a zone's entry comes from one of these services."""
        return any(entry.comment == f"service {name}" for name in names)

    def bindings(self) -> list[str]:
        """Return zone=interface for each interface that a zone claims now."""
        if not self.was_running:
            return []
        active = call("zone", "getActiveZones")[0]
        return [f"{zone}={name}" for zone, parts in active.items() for name in parts.get("interfaces", [])]

    # -- apply -----------------------------------------------------------------------------------------------------

    def snapshot_paths(self) -> list[str]:
        """Return files and directories that a rollback restores."""
        return [DIRECTORY, CLOSED, *ENABLEMENTS]

    def rollback_commands(self) -> list[Command]:
        """Return the commands that make the restored files effective again."""
        if self.was_running:
            return [
                Command((*KEEPING, "systemctl", "start", UNIT), timeout_seconds=90),
                Command((*KEEPING, *RELOAD), timeout_seconds=120),
            ]
        return [Command((*KEEPING, "systemctl", "stop", UNIT), timeout_seconds=90)]

    def prepare(self) -> None:
        """Keep a stopped firewalld from coming up at the next boot with rules that nobody has proven."""
        if not self.was_running and self.is_persistent():
            run(["systemctl", "disable", "--no-reload", UNIT])

    def put(self, path: str, text: str | None) -> None:
        """Write a file, or remove it."""
        if text is None:
            if os.path.lexists(path):
                os.unlink(path)
        elif read_text(path, "") != text:
            write_text(path, text, 0o644)

    def apply(self, candidate: Candidate) -> None:
        """Write the files and let firewalld load them, by a reload, or by its start."""
        runtime = {zone: self.runtime_only(zone) for zone in self.zones()} if self.was_running else {}
        if candidate.reasons and self.closing:
            self.record(self.closing)
        for path, text in self.wished.items():
            self.put(path, text)
        if self.was_running:
            run([*KEEPING, *RELOAD], timeout_seconds=120)
            self.replay(runtime)
        else:
            # A package that was installed just now brought bus policies that a running bus has not read yet.
            run(["systemctl", "reload", "dbus.service"], check=False)
            run([*KEEPING, "systemctl", "start", UNIT], timeout_seconds=120)
        self.wait_until_loaded()

    def record(self, closing: t.Mapping[str, t.Sequence[str]]) -> None:
        """Remember which stock openings were closed."""
        known = self.closed_before()
        for zone, names in closing.items():
            known[zone] = list(dict.fromkeys([*known.get(zone, []), *names]))
        os.makedirs(os.path.dirname(CLOSED), mode=0o700, exist_ok=True)
        write_text(CLOSED, json.dumps(known, sort_keys=True) + "\n", 0o600)

    def replay(self, runtime: t.Mapping[str, t.Mapping[str, t.Sequence[str]]]) -> None:
        """Put back what existed at run time only."""
        for zone, parts in runtime.items():
            for source in parts.get("sources", ()):
                call("zone", "addSource", "ss", zone, source)
            for service in parts.get("services", ()):
                call("zone", "addService", "ssi", zone, service, "0")
            for port in parts.get("ports", ()):
                number, _slash, protocol = port.partition("/")
                call("zone", "addPort", "sssi", zone, number, protocol, "0")
            for rule in parts.get("rich_rules", ()):
                call("zone", "addRichRule", "ssi", zone, rule, "0")

    def wait_until_loaded(self) -> None:
        """Wait until the daemon reports the own policies. Raises FirewallError."""
        until = time.monotonic() + START_SECONDS
        problem = "no answer"
        while time.monotonic() < until:
            try:
                loaded = call("policy", "getPolicies")[0]
            except BusError as error:
                problem = str(error)
            else:
                if all(item.name in loaded for item in self.policies):
                    return
                problem = f"it has loaded {', '.join(loaded)} only"
            time.sleep(0.2)
        raise FirewallError(f"firewalld did not load the policy within {START_SECONDS:.0f} seconds: {problem}")

    def retire(self) -> None:
        """Stop firewalld, take the own policies out, and open the stock openings again in its files."""
        run([*KEEPING, "systemctl", "stop", UNIT], timeout_seconds=120)
        for name in (INBOUND, OUTBOUND):
            self.put(os.path.join(DIRECTORY, "policies", f"{name}.xml"), None)
        for zone, names in self.closed_before().items():
            path = os.path.join(DIRECTORY, "zones", f"{zone}.xml")
            text = read_text(path, "")
            if text:
                self.put(path, with_services(text, names))
        if os.path.lexists(CLOSED):
            os.unlink(CLOSED)

    def persist(self) -> None:
        """Let firewalld start at the next boot."""
        run(["systemctl", "enable", "--no-reload", UNIT])

    def retire_persist(self) -> None:
        """Keep firewalld from starting at the next boot."""
        run(["systemctl", "disable", "--no-reload", UNIT])


# Waits up to 25 seconds for the first file, after making the second one when it is given.
WAIT = """
import os, sys, time
for path in sys.argv[2:]:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
until = time.monotonic() + 25
while not os.path.exists(sys.argv[1]):
    if time.monotonic() > until:
        sys.exit("firewalld did not load the configuration within 25 seconds")
    time.sleep(0.05)
"""


def canonical_rule(element: t.Any) -> str:
    """Return a rule in a form in which equal rules are equal texts."""
    parts = [f"{key}={value}" for key, value in sorted(element.attrib.items()) if (key, value) != ("priority", "0")]
    inner = sorted(canonical_rule(child) for child in element)
    return f"{tag_of(element)}({' '.join([*parts, *inner])})"


def comparable(entry: Entry) -> Entry:
    """Return an entry as the file can hold it."""
    return replace(entry, own=True, interface="" if entry.interface == CONDITION else entry.interface, origin="")
