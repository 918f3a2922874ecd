# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who exists: host specifications, the registry of checkouts, the hosts of this checkout and their addresses."""

from __future__ import annotations

import dataclasses
import hashlib
import ipaddress
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from .common import HostsError, locked, read_json, write_json

RELEASES = ("debian12", "debian13")
KINDS = ("container", "vm")
BASE_DIRECTORY = Path("/var/lib/bulwark-disposable")
IPV4_RANGE = ipaddress.IPv4Network("10.213.0.0/16")
HOST_NUMBERS = range(10, 251)
PACKAGE_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+")
MOUNT_POINT = re.compile(r"(?:/[a-z][a-z0-9-]*)+")
NAME = re.compile(r"[a-z][a-z0-9-]{0,39}")


@dataclasses.dataclass(frozen=True)
class Specification:
    """A wished host, as written on the command line: NAME=RELEASE[:KIND]."""

    name: str
    release: str
    kind: str
    extra_addresses: int = 0
    packages: tuple[str, ...] = ()
    file_systems: tuple[str, ...] = ()


def check_name(name: str, what: str) -> str:
    """A host or group name, checked."""
    if not NAME.fullmatch(name):
        raise HostsError(
            f"{what} name {name!r} is not accepted; use lower-case letters, digits and dashes, "
            "beginning with a letter, at most 40."
        )
    return name


def parse_specification(text: str) -> Specification:
    """Read NAME=RELEASE[:KIND]."""
    name, separator, wish = text.partition("=")
    if not separator:
        raise HostsError(f"{text!r} is not a host; write NAME=RELEASE[:KIND], such as edge=debian13 or db=debian12:vm.")
    release, _separator, kind = wish.partition(":")
    kind = kind or "container"
    if release not in RELEASES:
        raise HostsError(f"release {release!r} of host {name!r} is unknown; accepted: {', '.join(RELEASES)}.")
    if kind not in KINDS:
        raise HostsError(f"kind {kind!r} of host {name!r} is unknown; accepted: {', '.join(KINDS)}.")
    return Specification(check_name(name, "host"), release, kind)


def parse_specifications(
    hosts: Iterable[str],
    extra_addresses: Iterable[str] = (),
    install: Iterable[str] = (),
    file_systems: Iterable[str] = (),
) -> list[Specification]:
    """Read all hosts of a command line, with what --extra-addresses, --install and --file-systems say of them."""
    result: dict[str, Specification] = {}
    for text in hosts:
        specification = parse_specification(text)
        if specification.name in result:
            raise HostsError(f"host {specification.name!r} is given twice.")
        result[specification.name] = specification
    for text in extra_addresses:
        name, _separator, count = text.partition("=")
        if name not in result:
            raise HostsError(f"--extra-addresses {text}: there is no host {name!r} in this group.")
        if not count.isdecimal() or not 0 <= int(count) <= 20:
            raise HostsError(f"--extra-addresses {text}: write HOST=N with N from 0 to 20.")
        result[name] = dataclasses.replace(result[name], extra_addresses=int(count))
    for text in install:
        name, _separator, packages = text.partition("=")
        if name not in result:
            raise HostsError(f"--install {text}: there is no host {name!r} in this group.")
        names = tuple(packages.split(","))
        if not all(PACKAGE_NAME.fullmatch(package) for package in names):
            raise HostsError(
                f"--install {text}: write HOST=PACKAGE or HOST=PACKAGE,PACKAGE with names of Debian packages."
            )
        result[name] = dataclasses.replace(result[name], packages=names)
    for text in file_systems:
        name, _separator, paths = text.partition("=")
        if name not in result or result[name].kind != "vm":
            raise HostsError(f"--file-systems {text}: there is no virtual machine {name!r} in this group.")
        points = tuple(paths.split(","))
        if not all(MOUNT_POINT.fullmatch(point) for point in points) or len(set(points)) < len(points):
            raise HostsError(f"--file-systems {text}: write HOST=/PATH or HOST=/PATH,/PATH, each path once.")
        result[name] = dataclasses.replace(result[name], file_systems=points)
    return list(result.values())


@dataclasses.dataclass(frozen=True)
class Checkout:
    """A copy of the repository on this machine; its number (0 to 255) makes names and subnets unique."""

    path: Path
    number: int

    @property
    def directory(self) -> Path:
        return BASE_DIRECTORY / str(self.number)

    @property
    def bridge(self) -> str:
        return f"bulwark{self.number}"

    @property
    def nft_table(self) -> str:
        return f"bulwark_disposable_{self.number}"

    @property
    def control_directory(self) -> Path:
        """Where shared SSH connections have their sockets: a short path, for it may have 107 characters at most."""
        return Path("/run/bulwark-disposable") / str(self.number)

    @property
    def ipv4_network(self) -> ipaddress.IPv4Network:
        return list(IPV4_RANGE.subnets(new_prefix=24))[self.number]

    @property
    def ipv6_network(self) -> ipaddress.IPv6Network:
        """A unique local prefix; the middle 40 bits come from the path, as RFC 4193 wants them random."""
        digest = hashlib.sha256(str(self.path).encode()).hexdigest()
        return ipaddress.IPv6Network(f"fd{digest[:2]}:{digest[2:6]}:{digest[6:10]}:{self.number:x}::/64")

    def addresses(self, number: int) -> tuple[str, str]:
        """IPv4 and IPv6 address; both end in the same digits, so that people can match them."""
        return str(self.ipv4_network[number]), str(self.ipv6_network[int(str(number), 16)])

    @property
    def controller_addresses(self) -> tuple[str, str]:
        return self.addresses(1)


@dataclasses.dataclass(frozen=True)
class Host:
    """A host that was allocated; it may or may not run."""

    name: str
    group: str
    release: str
    kind: str
    numbers: tuple[int, ...]
    checkout: Checkout

    @property
    def label(self) -> str:
        return f"{self.group}/{self.name}"

    @property
    def directory(self) -> Path:
        return self.checkout.directory / "hosts" / str(self.numbers[0])

    @property
    def lock(self) -> Path:
        """Held by the supervisor of a running host."""
        return self.directory / "lock"

    @property
    def console(self) -> Path:
        return self.directory / "console.log"

    @property
    def machine(self) -> str:
        """At most 12 characters: an interface name is made of it."""
        return f"bw{self.checkout.number}-{self.numbers[0]}"

    @property
    def interface(self) -> str:
        """The host's end on the bridge; systemd-nspawn names it by itself."""
        return f"vb-{self.machine}" if self.kind == "container" else f"bt-{self.machine}"

    @property
    def ipv4(self) -> str:
        return self.checkout.addresses(self.numbers[0])[0]

    @property
    def ipv6(self) -> str:
        return self.checkout.addresses(self.numbers[0])[1]

    @property
    def extra_addresses(self) -> list[str]:
        return [address for number in self.numbers[1:] for address in self.checkout.addresses(number)]

    @property
    def interface_addresses(self) -> list[str]:
        """All addresses with their prefix length."""
        lengths = (self.checkout.ipv4_network.prefixlen, self.checkout.ipv6_network.prefixlen)
        return [
            f"{address}/{length}"
            for number in self.numbers
            for address, length in zip(self.checkout.addresses(number), lengths, strict=True)
        ]

    @property
    def control_directory(self) -> Path:
        """One directory per host: its shared connections are closed before it ends, whoever opened them."""
        return self.checkout.control_directory / str(self.numbers[0])

    @property
    def group_directory(self) -> Path:
        return group_directory(self.checkout, self.group)

    def matches(self, specification: Specification) -> bool:
        return (self.release, self.kind, len(self.numbers) - 1) == (
            specification.release,
            specification.kind,
            specification.extra_addresses,
        )


def group_directory(checkout: Checkout, group: str) -> Path:
    return checkout.directory / "groups" / group


def preferred_number(path: Path) -> int:
    """Where the search for a free checkout number begins."""
    return hashlib.sha256(str(path).encode()).digest()[0]


def choose_number(path: Path, registry: Mapping[int, str], busy: Collection[int]) -> int:
    """The number that the checkout has, or the next free one after the hash of its path."""
    for number, owner in registry.items():
        if owner == str(path):
            return number
    first = preferred_number(path)
    for offset in range(256):
        number = (first + offset) % 256
        if number not in registry and number not in busy:
            return number
    raise HostsError(f"all 256 subnets of {IPV4_RANGE} are taken; run `hosts.py down --all` in other checkouts.")


def busy_numbers(routes: Iterable[str]) -> set[int]:
    """Numbers whose subnet overlaps a network that the machine already knows."""
    known = []
    for text in routes:
        try:
            network = ipaddress.ip_network(text, strict=False)
        except ValueError:
            continue
        # A default route or a route to all of 10/8 overlaps everything and decides nothing.
        if isinstance(network, ipaddress.IPv4Network) and network.prefixlen > IPV4_RANGE.prefixlen:
            known.append(network)
    subnets = enumerate(IPV4_RANGE.subnets(new_prefix=24))
    return {number for number, subnet in subnets if any(subnet.overlaps(network) for network in known)}


def open_checkout(path: Path, routes: Iterable[str]) -> Checkout:
    """Find or register a checkout."""
    file = BASE_DIRECTORY / "registry.json"
    BASE_DIRECTORY.mkdir(mode=0o700, parents=True, exist_ok=True)
    with locked(BASE_DIRECTORY / "lock"):
        registry = {int(number): str(owner) for number, owner in read_json(file, {}).items()}
        number = choose_number(path, registry, busy_numbers(routes))
        if registry.get(number) != str(path):
            write_json(file, {**registry, number: str(path)})
    checkout = Checkout(path, number)
    checkout.directory.mkdir(mode=0o700, exist_ok=True)
    return checkout


def forget_checkout(checkout: Checkout) -> None:
    """Give the number of a checkout back."""
    file = BASE_DIRECTORY / "registry.json"
    with locked(BASE_DIRECTORY / "lock"):
        registry: dict[str, str] = read_json(file, {})
        if registry.pop(str(checkout.number), None) is not None:
            write_json(file, registry)


def registered_checkouts() -> list[Checkout]:
    """All checkouts that ever made hosts here."""
    registry: dict[str, str] = read_json(BASE_DIRECTORY / "registry.json", {})
    return [Checkout(Path(path), int(number)) for number, path in sorted(registry.items())]


def load_hosts(checkout: Checkout) -> list[Host]:
    """The allocated hosts of a checkout."""
    records: list[dict[str, Any]] = read_json(checkout.directory / "hosts.json", [])
    return [Host(**{**record, "numbers": tuple(record["numbers"])}, checkout=checkout) for record in records]


def save_hosts(checkout: Checkout, hosts: Iterable[Host]) -> None:
    keys = ("name", "group", "release", "kind", "numbers")
    write_json(checkout.directory / "hosts.json", [{key: getattr(host, key) for key in keys} for host in hosts])


def allocate(checkout: Checkout, existing: Collection[Host], group: str, wishes: Iterable[Specification]) -> list[Host]:
    """Hosts for a group's wishes: those that exist and match are kept, the others get free numbers."""
    taken = {number for host in existing for number in host.numbers}
    by_name = {host.name: host for host in existing if host.group == group}
    result = []
    for wish in wishes:
        present = by_name.get(wish.name)
        if present is not None and present.matches(wish):
            result.append(present)
            continue
        free = [number for number in HOST_NUMBERS if number not in taken][: 1 + wish.extra_addresses]
        if len(free) <= wish.extra_addresses:
            raise HostsError(f"no free address is left for {group}/{wish.name}; take a group down first.")
        taken.update(free)
        result.append(Host(wish.name, group, wish.release, wish.kind, tuple(free), checkout))
    return result
