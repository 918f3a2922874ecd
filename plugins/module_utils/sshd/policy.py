# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The wished sshd policy, and the settings, files and socket drop-in that it comes down to on one host. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import algorithms, grammar, keys
from .options import POLICY

CONFIG = "/etc/ssh/sshd_config"
DROP_IN_DIRECTORY = "/etc/ssh/sshd_config.d"
DROP_IN = f"{DROP_IN_DIRECTORY}/00-bulwark.conf"
OWN_DIRECTORY = "/etc/ssh/bulwark"
BANNER_FILE = f"{OWN_DIRECTORY}/banner"
CA_FILE = f"{OWN_DIRECTORY}/user_ca_keys.pub"
KRL_FILE = f"{OWN_DIRECTORY}/revoked_keys"
KRL_RECORD = f"{OWN_DIRECTORY}/revoked_keys.json"
PRINCIPALS_DIRECTORY = f"{OWN_DIRECTORY}/authorized_principals"
HEADER = "# Made by Ansible (bulwark.hardening.ssh); changes here are lost.\n"

# Keywords that sshd adds up over all files instead of keeping the first value.
EXACT = frozenset(
    {"port", "listenaddress", "hostkey", "hostcertificate", "allowusers", "allowgroups", "authenticationmethods"}
)
AT_LEAST = frozenset({"denyusers", "denygroups"})
# What a scanner would misread, or sshd would do twice, if the main file repeated it.
DROP_IN_ONLY = EXACT - {"allowusers", "allowgroups"}
# Keywords that not every supported sshd knows; left out, and reported, where `sshd -T` does not show them.
OPTIONAL = frozenset(
    {
        "requiredrsasize",
        "persourcepenalties",
        "persourcepenaltyexemptlist",
        "persourcemaxstartups",
        "gssapiauthentication",
        "kerberosauthentication",
        "usepam",
        "casignaturealgorithms",
    }
)


@dataclass(frozen=True)
class Setting:
    """One line of the drop-in, and what ``sshd -T`` shows once it is in force."""

    keyword: str
    arguments: tuple[str, ...]
    effective: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Return the keyword as ``sshd -T`` prints it."""
        return self.keyword.lower()

    def expected(self) -> tuple[str, ...]:
        """Return the words that ``sshd -T`` prints behind the keyword."""
        return self.effective or tuple(argument.lower() for argument in self.arguments)


@dataclass(frozen=True)
class FileContent:
    """A file as it shall be."""

    content: str
    mode: int = 0o600


@dataclass(frozen=True)
class Capabilities:
    """What the installed OpenSSH knows: algorithms by option, and the keywords that ``sshd -T`` prints."""

    algorithms: Mapping[str, tuple[str, ...]]
    keywords: frozenset[str]


@dataclass(frozen=True)
class Policy:
    """The module's options, typed and complete; field meanings are those of the module's documentation."""

    values: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> Policy:
        """Build from options that passed validate_policy()."""
        values = {
            name: raw[name] if raw.get(name) is not None else spec.get("default") for name, spec in POLICY.items()
        }
        return cls(values)

    def flag(self, name: str) -> bool:
        """Return a boolean option."""
        value = self.values[name]
        return value if isinstance(value, bool) else str(value).lower() in ("true", "yes", "on", "1")

    def number(self, name: str) -> int:
        """Return a whole-number option."""
        return int(self.values[name])

    def text(self, name: str) -> str:
        """Return a text option."""
        return str(self.values[name] or "")

    def texts(self, name: str) -> tuple[str, ...]:
        """Return an option that lists texts."""
        return tuple(str(item) for item in self.values[name] or ())

    def entries(self, name: str) -> tuple[Mapping[str, Any], ...]:
        """Return an option that lists dictionaries."""
        return tuple(self.values[name] or ())

    @property
    def ports(self) -> tuple[int, ...]:
        """Return the wanted ports, none for those that sshd has now."""
        return tuple(int(port) for port in self.values["ports"] or ())

    @property
    def listen_addresses(self) -> tuple[str, ...]:
        """Return the wanted addresses in canonical form."""
        return tuple(str(ipaddress.ip_address(address)) for address in self.texts("listen_addresses"))


def _yes_no(value: bool) -> tuple[str, ...]:
    return ("yes" if value else "no",)


def _seconds(policy: Policy, name: str) -> tuple[str, ...]:
    return (str(policy.number(name)),)


def settings(
    policy: Policy,
    capabilities: Capabilities,
    root_login: str,
    host_keys: Sequence[str],
    ports: Sequence[int],
) -> tuple[Setting, ...]:
    """Return every line of the drop-in in order. Raises NoCommonAlgorithm.

    root_login: what permit_root_login means on this host when it is auto. host_keys: paths of the private keys to
    offer. ports: empty leaves the ports as the other files have them.
    """
    known = [*_listening(policy, ports), *_access(policy, root_login), *_limits(policy), *_forwarding(policy)]
    known += [*_logging(policy), *_cryptography(policy, capabilities, host_keys), *_trust(policy)]
    return tuple(entry for entry in known if entry.name not in OPTIONAL or entry.name in capabilities.keywords)


def unsupported(policy: Policy, capabilities: Capabilities) -> tuple[str, ...]:
    """Return the keywords that the policy gives a value to and this sshd does not know."""
    valued = {"requiredrsasize", *(entry.name for entry in _limits(policy) if entry.arguments != ("none",))}
    return tuple(sorted((valued & OPTIONAL) - capabilities.keywords))


def _listening(policy: Policy, ports: Sequence[int]) -> list[Setting]:
    lines = [Setting("Port", (str(port),)) for port in ports]
    return lines + [Setting("ListenAddress", (address,)) for address in policy.listen_addresses]


def _access(policy: Policy, root_login: str) -> list[Setting]:
    root = policy.text("permit_root_login")
    if root == "auto":
        root = root_login
    effective = ("without-password",) if root == "prohibit-password" else (root,)
    methods = policy.texts("authentication_methods")
    lines = [
        Setting("PermitRootLogin", (root,), effective),
        Setting("PubkeyAuthentication", ("yes",)),
        Setting("PasswordAuthentication", _yes_no(policy.flag("password_authentication"))),
        Setting("KbdInteractiveAuthentication", _yes_no(policy.flag("keyboard_interactive_authentication"))),
        Setting("PermitEmptyPasswords", ("no",)),
        Setting("HostbasedAuthentication", ("no",)),
        Setting("IgnoreRhosts", ("yes",)),
        Setting("GSSAPIAuthentication", ("no",)),
        Setting("KerberosAuthentication", ("no",)),
        Setting("UsePAM", _yes_no(policy.flag("use_pam"))),
        Setting("StrictModes", ("yes",)),
        Setting("PermitUserEnvironment", ("no",)),
    ]
    if methods:
        lines.append(Setting("AuthenticationMethods", methods, methods))
    for option, keyword in (
        ("allow_users", "AllowUsers"),
        ("allow_groups", "AllowGroups"),
        ("deny_users", "DenyUsers"),
        ("deny_groups", "DenyGroups"),
    ):
        patterns = policy.texts(option)
        if patterns:
            lines.append(Setting(keyword, patterns, patterns))
    return lines


def exempt_networks(source: str) -> list[str]:
    """Return a network as sshd's penalties meet it.

    Behind a socket that systemd holds for both families, sshd counts an IPv4 client by its IPv4-mapped address.
    """
    network = ipaddress.ip_network(source, strict=False)
    if isinstance(network, ipaddress.IPv4Network):
        return [str(network), f"::ffff:{network.network_address}/{96 + network.prefixlen}"]
    return [str(network)]


def _limits(policy: Policy) -> list[Setting]:
    startups = str(policy.number("per_source_max_startups") or "none")
    lines = [
        Setting("MaxAuthTries", (str(policy.number("max_auth_tries")),)),
        Setting("MaxSessions", (str(policy.number("max_sessions")),)),
        Setting("MaxStartups", (policy.text("max_startups"),)),
        Setting("PerSourceMaxStartups", (startups,)),
        Setting("LoginGraceTime", _seconds(policy, "login_grace_seconds")),
        Setting("ClientAliveInterval", _seconds(policy, "client_alive_interval_seconds")),
        Setting("ClientAliveCountMax", (str(policy.number("client_alive_count_max")),)),
    ]
    penalties = policy.values["per_source_penalties"] or {}
    names = {
        "crash_seconds": "crash",
        "authentication_failure_seconds": "authfail",
        "no_authentication_seconds": "noauth",
        "grace_exceeded_seconds": "grace-exceeded",
        "maximum_seconds": "max",
        "minimum_seconds": "min",
    }
    given = tuple(f"{names[name]}:{int(penalties[name])}" for name in names if penalties.get(name) is not None)
    if given:
        lines.append(Setting("PerSourcePenalties", given))
    exempt = penalties.get("exempt_sources")
    if exempt:
        networks = ",".join(text for source in exempt for text in exempt_networks(source))
        lines.append(Setting("PerSourcePenaltyExemptList", (networks,)))
    return lines


def _forwarding(policy: Policy) -> list[Setting]:
    options = {
        "AllowTcpForwarding": "allow_tcp_forwarding",
        "AllowAgentForwarding": "allow_agent_forwarding",
        "AllowStreamLocalForwarding": "allow_stream_local_forwarding",
        "X11Forwarding": "allow_x11_forwarding",
    }
    allowed = {keyword: policy.flag(option) for keyword, option in options.items()}
    return [
        Setting("DisableForwarding", _yes_no(not any(allowed.values()))),
        *(Setting(keyword, _yes_no(value)) for keyword, value in allowed.items()),
        Setting("PermitTunnel", ("no",)),
        Setting("GatewayPorts", ("no",)),
    ]


def _logging(policy: Policy) -> list[Setting]:
    banner = (BANNER_FILE,) if policy.text("banner") else ("none",)
    return [
        Setting("LogLevel", (policy.text("log_level"),), (policy.text("log_level"),)),
        Setting("Banner", banner, banner),
        Setting("UseDNS", _yes_no(policy.flag("use_dns"))),
        Setting("Compression", _yes_no(policy.flag("compression"))),
        Setting("TCPKeepAlive", _yes_no(policy.flag("tcp_keep_alive"))),
        Setting("PrintLastLog", _yes_no(policy.flag("print_last_log"))),
    ]


def _cryptography(policy: Policy, capabilities: Capabilities, host_keys: Sequence[str]) -> list[Setting]:
    lines = [Setting("HostKey", (path,), (path,)) for path in host_keys]
    for text in policy.texts("host_certificates"):
        path = host_certificate_path(text)
        lines.append(Setting("HostCertificate", (path,), (path,)))
    for option, keyword in algorithms.KEYWORDS.items():
        names = algorithms.intersect(option, policy.texts(option), capabilities.algorithms[option])
        joined = (",".join(names),)
        lines.append(Setting(keyword, joined, joined))
    lines.append(Setting("RequiredRSASize", (str(policy.number("required_rsa_bits")),)))
    return lines


def _trust(policy: Policy) -> list[Setting]:
    ca = CA_FILE if policy.texts("trusted_user_ca_keys") else "none"
    principals = f"{PRINCIPALS_DIRECTORY}/%u" if policy.entries("authorized_principals") else "none"
    revoked = KRL_FILE if policy.entries("revoked_keys") else "none"
    return [
        Setting("TrustedUserCAKeys", (ca,), (ca,)),
        Setting("AuthorizedPrincipalsFile", (principals,), (principals,)),
        Setting("RevokedKeys", (revoked,), (revoked,)),
    ]


def host_certificate_path(text: str) -> str:
    """Return where a host certificate is kept; sshd shows one for each type of key."""
    kind = keys.parse_certificate(text).key.type.replace("ssh-", "")
    return f"{OWN_DIRECTORY}/host_{kind.split('-', maxsplit=1)[0]}-cert.pub"


def own_files(policy: Policy, lines: Iterable[Setting]) -> dict[str, FileContent]:
    """Return the files that are wholly ours, but for the KRL, which only ssh-keygen can make."""
    files = {DROP_IN: FileContent(HEADER + "".join(grammar.render(s.keyword, s.arguments) + "\n" for s in lines))}
    banner = policy.text("banner")
    if banner:
        files[BANNER_FILE] = FileContent(banner if banner.endswith("\n") else banner + "\n", 0o644)
    authorities = policy.texts("trusted_user_ca_keys")
    if authorities:
        files[CA_FILE] = FileContent(HEADER + "".join(f"{text.strip()}\n" for text in authorities), 0o644)
    for entry in policy.entries("authorized_principals"):
        text = HEADER + "".join(f"{principal}\n" for principal in entry["principals"])
        files[f"{PRINCIPALS_DIRECTORY}/{entry['user']}"] = FileContent(text, 0o644)
    for text in policy.texts("host_certificates"):
        files[host_certificate_path(text)] = FileContent(text.strip() + "\n", 0o644)
    return files


def foreign_files(policy: Policy, lines: Sequence[Setting], current: Mapping[str, str]) -> dict[str, str]:
    """Return the main file and foreign drop-ins with what contradicts the policy commented out.

    current holds the texts by path, without our own files. A file that contradicts nothing comes back unchanged.
    """
    managed = {entry.name for entry in lines}
    summed = managed & EXACT
    result: dict[str, str] = {}
    for path, text in current.items():
        original = grammar.restore(text)
        if path == CONFIG:
            result[path] = _main_file(policy, lines, original, managed, summed)
        else:
            result[path] = grammar.manage(original, [], lambda line: line.is_global and line.keyword in summed)
    return result


def _main_file(policy: Policy, lines: Sequence[Setting], original: str, managed: set[str], summed: set[str]) -> str:
    block: list[str] = []
    moves_include = not grammar.include_comes_first(original, managed)
    if moves_include:
        block.append(f"Include {grammar.DROP_IN_GLOB}")
    repeats = policy.flag("main_file")
    if repeats and not moves_include:
        # Our block stands at the top, so it must read the drop-ins itself to stay behind them.
        block.append(f"Include {grammar.DROP_IN_GLOB}")
        moves_include = True
    if repeats:
        block += [grammar.render(s.keyword, s.arguments) for s in lines if s.name not in DROP_IN_ONLY]

    def replaced(line: grammar.Line) -> bool:
        if not line.is_global:
            return False
        if moves_include and grammar.is_drop_in_include(line):
            return True
        return line.keyword in summed or (repeats and line.keyword in managed)

    return grammar.manage(original, block, replaced)
