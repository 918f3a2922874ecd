# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the wished policy and what was observed to what has to change. Pure."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import algorithms, grammar, keys, revocation
from . import policy as model
from . import units as systemd
from .policy import CONFIG, DROP_IN, FileContent, Policy, Setting

HOST_KEY_PATHS = {kind: f"/etc/ssh/ssh_host_{kind}_key" for kind in ("ed25519", "rsa", "ecdsa")}

# A time beyond the year 9999 cannot be written out.
_LAST_SECOND = 253402300799


class Refused(Exception):
    """The policy cannot be brought to this host; the text is the sentence for the user."""


@dataclass(frozen=True)
class Observation:
    """What the host is like. files holds text and mode by path: main file, drop-ins, our own directory.

    now is the host's time in seconds since 1970.
    """

    files: Mapping[str, FileContent]
    capabilities: model.Capabilities
    units: systemd.Units
    current_ports: tuple[int, ...]
    host_key_bits: Mapping[str, int]
    host_public_keys: Mapping[str, keys.PublicKey] = field(default_factory=dict)
    krl_digest: str = ""
    root_has_key: bool = False
    root_login: str = ""
    connecting_user: str = ""
    server_port: int = 0
    newest_config: int = 0
    loaded_at: int = 0
    socket_drop_in: str | None = None
    taken_ports: frozenset[int] = frozenset()
    now: int = 0


@dataclass(frozen=True)
class Plan:
    """What has to change; empty when nothing does."""

    lines: tuple[Setting, ...]
    writes: Mapping[str, FileContent]
    removals: tuple[str, ...]
    krl: tuple[revocation.Section, ...]
    make_krl: bool
    generate: tuple[str, ...]
    switch: systemd.Switch
    stale: bool
    ports: tuple[int, ...]
    ports_to_prove: tuple[int, ...]
    notes: tuple[str, ...] = field(default_factory=tuple)
    warnings: tuple[str, ...] = field(default_factory=tuple)

    @property
    def is_empty(self) -> bool:
        """Return whether the host already is as wished."""
        return not (
            self.writes or self.removals or self.make_krl or self.generate or self.stale or self.switch.touches_units
        )


def plan(policy: Policy, seen: Observation) -> Plan:
    """Return what has to change. Raises Refused, NoCommonAlgorithm and GrammarError with the reason."""
    notes: list[str] = []
    host_keys, generate = _host_keys(policy, seen, notes)
    to_socket = _to_socket(policy, seen)
    written, ports = _ports(policy, seen, to_socket)
    lines = model.settings(policy, seen.capabilities, _root_login(policy, seen), host_keys, written)
    for keyword in model.unsupported(policy, seen.capabilities):
        notes.append(f"this sshd does not know {keyword}, so it is left out")
    _refuse_mixed_addresses(policy, seen, written)
    _refuse_taken_ports(ports, seen)

    wanted = {**model.own_files(policy, lines), **_foreign(policy, lines, seen)}
    krl = revocation.sections(policy.entries("revoked_keys"))
    record = seen.files.get(model.KRL_RECORD, FileContent("")).content
    make_krl = bool(krl) and not revocation.is_current(krl, record, seen.krl_digest)
    kept = {*wanted, *((model.KRL_FILE, model.KRL_RECORD) if krl else ())}
    writes = {path: file for path, file in wanted.items() if seen.files.get(path) != file}
    warnings = _judge_certificates(policy, seen, host_keys, writes)
    removals = [path for path in seen.files if path.startswith(f"{model.OWN_DIRECTORY}/") and path not in kept]

    socket_changes = False
    if seen.units.socket:
        drop_in = _socket_drop_in(policy, seen, to_socket, ports)
        socket_changes = drop_in != seen.socket_drop_in
        path = systemd.drop_in_path(seen.units.socket)
        if socket_changes and drop_in is None:
            removals.append(path)
        elif socket_changes and drop_in is not None:
            writes[path] = FileContent(drop_in, 0o644)
    switch = systemd.Switch(seen.units.by_socket, to_socket, socket_changes)
    if to_socket and seen.units.accept:
        warnings.append(
            f"{seen.units.socket} starts an sshd for each connection (Accept=yes), none of which counts the others: "
            "ssh_max_startups, ssh_per_source_max_startups and ssh_per_source_penalties have no effect; set "
            "ssh_socket_activation to disabled to have them"
        )
    stale = not seen.units.by_socket and 0 < seen.loaded_at < seen.newest_config
    if stale:
        notes.append("the running sshd is older than its files; it is reloaded")
    return Plan(
        lines=lines,
        writes=writes,
        removals=tuple(sorted(removals)),
        krl=krl,
        make_krl=make_krl,
        generate=generate,
        switch=switch,
        stale=stale,
        ports=ports,
        ports_to_prove=_ports_to_prove(ports, seen),
        notes=tuple(notes),
        warnings=tuple(warnings),
    )


def _root_login(policy: Policy, seen: Observation) -> str:
    """Return PermitRootLogin under auto: an access that works stays, one that does not is not opened."""
    if seen.connecting_user == "root" or "root" in policy.texts("administrators"):
        return "prohibit-password"
    if seen.root_login in ("no", "forced-commands-only"):
        return seen.root_login
    return "prohibit-password" if seen.root_has_key else "no"


def _host_keys(policy: Policy, seen: Observation, notes: list[str]) -> tuple[list[str], tuple[str, ...]]:
    """Return the host keys to offer, and the types to generate first. No key is ever replaced or deleted."""
    offered: list[str] = []
    generate: list[str] = []
    minimum = policy.number("required_rsa_bits")
    for kind in policy.texts("host_key_types"):
        path = HOST_KEY_PATHS[kind]
        bits = seen.host_key_bits.get(kind, 0)
        if not bits:
            generate.append(kind)
        elif kind == "rsa" and bits < minimum:
            notes.append(f"{path} has {bits} bits, less than ssh_required_rsa_bits ({minimum}), and is offered no more")
            continue
        offered.append(path)
    if not offered:
        raise Refused(f"ssh_host_key_types: no host key is left to offer ({'; '.join(notes)}); add ed25519 to the list")
    return offered, tuple(generate)


def _judge_certificates(
    policy: Policy, seen: Observation, host_keys: Sequence[str], writes: Mapping[str, FileContent]
) -> list[str]:
    """Refuse certificates that sshd would pass over without a word; return warnings about those in place."""
    offered = {
        path: seen.host_public_keys[kind]
        for kind, path in HOST_KEY_PATHS.items()
        if path in host_keys and kind in seen.host_public_keys
    }
    shown = algorithms.key_types(policy.texts("host_key_algorithms"))
    warnings: list[str] = []
    for index, text in enumerate(policy.texts("host_certificates")):
        option = f"ssh_host_certificates[{index}]"
        certificate = keys.parse_certificate(text)
        if certificate.key.blob not in {key.blob for key in offered.values()}:
            fitting = [path for path, key in offered.items() if key.type == certificate.key.type] or list(offered)
            raise Refused(
                f"{option}: it is for the key {certificate.key.fingerprint}, which this host does not offer; have the "
                f"CA sign {' or '.join(f'{path}.pub' for path in fitting or host_keys)} of this host"
            )
        if certificate.type not in shown:
            raise Refused(f"{option}: ssh_host_key_algorithms has nothing for {certificate.type}; add it there")
        problem = _outside_of_its_time(certificate, seen.now)
        if problem and model.host_certificate_path(text) in writes:
            raise Refused(f"{option}: it {problem}, so clients refuse it; have the CA sign a new one")
        if problem:
            warnings.append(f"{option}: it {problem}, so clients refuse it; have the CA sign a new one")
    return warnings


def _outside_of_its_time(certificate: keys.Certificate, now: int) -> str:
    """Return how a certificate is not valid at a time, empty if it is."""
    if certificate.valid_before <= now:
        return f"expired at {_utc(certificate.valid_before)}"
    if certificate.valid_after > now:
        return f"is not valid before {_utc(certificate.valid_after)}, and this host's clock says {_utc(now)}"
    return ""


def _utc(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(min(seconds, _LAST_SECOND)))


def _to_socket(policy: Policy, seen: Observation) -> bool:
    wish = policy.text("socket_activation")
    if wish == "keep":
        return seen.units.by_socket
    if wish == "enabled" and not seen.units.socket:
        raise Refused("ssh_socket_activation: enabled, but this host has no ssh.socket or sshd.socket unit")
    return wish == "enabled"


def _ports(policy: Policy, seen: Observation, to_socket: bool) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the ports to write, none where the other files already say so, and the ports sshd will listen on."""
    if policy.ports:
        return policy.ports, policy.ports
    kept = tuple(int(port) for port in re.findall(r"(?m)^Port ([0-9]+)$", _own_drop_in(seen)))
    if kept:
        return kept, kept
    if seen.units.by_socket and not to_socket:
        return seen.current_ports, seen.current_ports
    return (), seen.current_ports


def _own_drop_in(seen: Observation) -> str:
    return seen.files.get(DROP_IN, FileContent("")).content


def _refuse_mixed_addresses(policy: Policy, seen: Observation, written: Sequence[int]) -> None:
    """A foreign ListenAddress with a port of its own would keep that port open, whatever ssh_ports says."""
    if not written or policy.listen_addresses:
        return
    for path, file in seen.files.items():
        if path == DROP_IN or path.startswith(f"{model.OWN_DIRECTORY}/"):
            continue
        for line in _readable(path, file.content):
            if line.keyword == "listenaddress" and line.arguments and _has_port(line.arguments[0]):
                raise Refused(
                    f"{path} line {line.number} gives ListenAddress {line.arguments[0]} a port of its own; name the "
                    "addresses in ssh_listen_addresses, or take the port out of that line"
                )


def _readable(path: str, text: str) -> tuple[grammar.Line, ...]:
    """Return the lines of a foreign file without what is ours."""
    try:
        return grammar.parse(grammar.restore(text))
    except grammar.GrammarError as error:
        raise Refused(f"{path}: sshd could not read this file: {error}; repair or remove it first") from error


def _refuse_taken_ports(ports: Sequence[int], seen: Observation) -> None:
    for port in ports:
        if port in seen.taken_ports and port not in seen.current_ports:
            raise Refused(f"ssh_ports: another program listens on port {port} already; choose another port or stop it")


def _has_port(address: str) -> bool:
    return "]:" in address or address.count(":") == 1


def _foreign(policy: Policy, lines: Sequence[Setting], seen: Observation) -> dict[str, FileContent]:
    """Return main file and foreign drop-ins as they shall be; their modes stay."""
    texts = {
        path: file.content
        for path, file in seen.files.items()
        if path != DROP_IN and not path.startswith(f"{model.OWN_DIRECTORY}/")
    }
    texts.setdefault(CONFIG, "")
    for path, text in texts.items():
        _readable(path, text)
    changed = model.foreign_files(policy, lines, texts)
    return {
        path: FileContent(text, seen.files[path].mode if path in seen.files else 0o600)
        for path, text in changed.items()
    }


def _socket_drop_in(policy: Policy, seen: Observation, to_socket: bool, ports: Sequence[int]) -> str | None:
    if not to_socket:
        return None
    differs = set(ports) != set(systemd.listen_ports(seen.units.listen))
    if policy.ports or policy.listen_addresses or seen.socket_drop_in is not None or differs:
        return systemd.render_drop_in(ports, policy.listen_addresses)
    return None


def _ports_to_prove(ports: Sequence[int], seen: Observation) -> tuple[int, ...]:
    """Return the ports on which a new login must succeed; none means the port that the controller uses anyway.

    The port that the controller dials need not be the one that sshd sees, so unchanged ports are not named.
    """
    if seen.server_port and seen.server_port not in ports:
        return tuple(ports)
    return tuple(port for port in ports if port not in seen.current_ports)


def differences(changes: Plan, seen: Observation) -> list[dict[str, Any]]:
    """Return the change as Ansible shows it: one entry per file, and one for what is no text file."""
    entries: list[dict[str, Any]] = []
    for path in sorted({*changes.writes, *changes.removals}):
        before = seen.files[path].content if path in seen.files else ""
        if path.startswith(systemd.UNIT_DIRECTORY):
            before = seen.socket_drop_in or ""
        after = changes.writes[path].content if path in changes.writes else ""
        entries.append({"before_header": path, "after_header": path, "before": before, "after": after})
    actions = [f"generate {HOST_KEY_PATHS[kind]}" for kind in changes.generate]
    if changes.make_krl:
        actions.append(f"make {model.KRL_FILE} anew")
        actions += [f"revoke {line}" for section in changes.krl for line in section.lines]
    if changes.switch.from_socket != changes.switch.to_socket:
        actions.append(f"{'enable' if changes.switch.to_socket else 'disable'} {seen.units.socket}")
    if changes.stale:
        actions.append(f"reload {seen.units.service}")
    if actions:
        entries.append(
            {"before_header": "sshd", "after_header": "sshd", "before": "", "after": "\n".join(actions) + "\n"}
        )
    return entries
