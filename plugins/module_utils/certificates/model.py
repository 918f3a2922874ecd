# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates, the services that use them, and who issues them, as data; pure."""

from __future__ import annotations

import ipaddress
import typing as t
from dataclasses import dataclass

Raw = t.Mapping[str, t.Any]

PRIVATE_CA, FILES, ACME = "private_ca", "files", "acme"
ISSUER_KINDS = (PRIVATE_CA, FILES, ACME)
# Those that issue nothing without the controller.
CONTROLLER_KINDS = (PRIVATE_CA, FILES)
HTTP = "http"
CHALLENGE_KINDS = (HTTP,)
SERVER, CLIENT = "server", "client"
USAGES = (SERVER, CLIENT)
TLS, HTTPS, POSTGRESQL = "tls", "https", "postgresql"
PROTOCOLS = (TLS, HTTPS, POSTGRESQL)
RELOAD, RESTART = "reload", "restart"
ON_CHANGE = (RELOAD, RESTART)
KEY_TYPES = ("ecdsa_p256", "ecdsa_p384", "rsa_3072", "rsa_4096")
KEY_MODES = ("0400", "0440", "0600", "0640")
LIFE_DAYS = 30
LIFE_DAYS_AT_MOST = 90


class CertificateError(Exception):
    """Something is not as it must be; the text is the sentence for the user."""


@dataclass(frozen=True)
class Listener:
    """Where a service is asked for the certificate that it serves."""

    address: str
    port: int
    server_name: str
    protocol: str = TLS
    require_client_certificate: bool = False

    def __str__(self) -> str:
        host = f"[{self.address}]" if ":" in self.address else self.address
        name = f" ({self.server_name})" if self.server_name else ""
        return f"{host}:{self.port}{name}"


@dataclass(frozen=True)
class Service:
    """A unit that reads a certificate.

    before_restart, after_restart: take it out of use, and put it in again. credentials: systemd hands it over.
    """

    unit: str
    check: tuple[str, ...] = ()
    on_change: str = RELOAD
    before_restart: tuple[str, ...] = ()
    after_restart: tuple[str, ...] = ()
    listeners: tuple[Listener, ...] = ()
    credentials: bool = False


@dataclass(frozen=True)
class Certificate:
    """One certificate as it is wished."""

    name: str
    issuer: str
    names: tuple[str, ...]
    usages: tuple[str, ...] = (SERVER,)
    life_days: int = LIFE_DAYS
    key_type: str = KEY_TYPES[0]
    owner: str = "root"
    group: str = "root"
    mode: int = 0o600
    services: tuple[Service, ...] = ()

    @property
    def listeners(self) -> tuple[Listener, ...]:
        return tuple(listener for service in self.services for listener in service.listeners)


@dataclass(frozen=True)
class Directory:
    """An ACME server as a host asks it, and how that asks back.

    server_trust: the CAs that the server's own certificate is checked with, in PEM; empty for those of the system.
    Either webroot is what a web server shows on port 80, or port is where certbot listens itself.
    """

    url: str
    email: str = ""
    server_trust: str = ""
    webroot: str = ""
    port: int = 0


@dataclass(frozen=True)
class Authority:
    """What a host has to know about an issuer; nothing of it is secret.

    key_identifier: of the CA that signs now, empty if any will do. trust: the certificates that consumers trust, in
    PEM; empty for those of the system. fingerprints: of the certificates that the user brought, by name.
    system_trust: whether the system shall trust them too. directory: of an ACME server.
    """

    name: str
    kind: str
    key_identifier: str = ""
    trust: str = ""
    fingerprints: tuple[tuple[str, str], ...] = ()
    system_trust: bool = False
    directory: Directory | None = None

    def brought(self, name: str) -> str:
        return dict(self.fingerprints).get(name, "")


def is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def plain_name(name: str) -> str:
    """Return a name or an address in the one form in which all are compared."""
    return str(ipaddress.ip_address(name)) if is_address(name) else name.lower()


def covers(names: t.Iterable[str], name: str) -> bool:
    """Return whether one of a certificate's names stands for this one; a wildcard stands for exactly one label."""
    wished = plain_name(name)
    known = {plain_name(entry) for entry in names}
    _label, dot, parent = wished.partition(".")
    return wished in known or (not is_address(wished) and bool(dot) and f"*.{parent}" in known)


def example(name: str) -> str:
    """Return a name that a client could ask for; one that the wildcard stands for if it is one."""
    return f"wildcard{name[1:]}" if name.startswith("*.") else name


def default_server_name(names: t.Sequence[str]) -> str:
    return example(next((name for name in names if not is_address(name)), names[0]))


def build_service(raw: Raw, names: t.Sequence[str]) -> Service:
    return Service(
        unit=str(raw["unit"]),
        check=tuple(raw.get("check") or ()),
        on_change=str(raw.get("on_change") or RELOAD),
        before_restart=tuple(raw.get("before_restart") or ()),
        after_restart=tuple(raw.get("after_restart") or ()),
        listeners=tuple(
            Listener(
                address=str(entry.get("address") or "127.0.0.1"),
                port=int(entry["port"]),
                server_name=plain_name(str(entry.get("server_name") or default_server_name(names))),
                protocol=str(entry.get("protocol") or TLS),
                require_client_certificate=bool(entry.get("require_client_certificate")),
            )
            for entry in raw.get("listeners") or ()
        ),
        credentials=bool(raw.get("credentials")),
    )


def build_certificate(raw: Raw) -> Certificate:
    names = tuple(plain_name(str(name)) for name in raw["names"])
    mode = raw.get("mode") or ("0640" if raw.get("group") else "0600")
    return Certificate(
        name=str(raw["name"]),
        issuer=str(raw["issuer"]),
        names=names,
        usages=tuple(raw.get("usages") or (SERVER,)),
        life_days=int(raw.get("life_days") or LIFE_DAYS),
        key_type=str(raw.get("key_type") or KEY_TYPES[0]),
        owner=str(raw.get("owner") or "root"),
        group=str(raw.get("group") or "root"),
        mode=int(str(mode), 8),
        services=tuple(build_service(entry, names) for entry in raw.get("services") or ()),
    )


def build(raw: Raw) -> tuple[Certificate, ...]:
    """Return the certificates of a module call that validate.py has accepted."""
    return tuple(build_certificate(entry) for entry in raw.get("certificates") or ())


def build_directory(raw: Raw) -> Directory:
    return Directory(
        url=str(raw["url"]),
        email=str(raw.get("email") or ""),
        server_trust=str(raw.get("server_trust") or ""),
        webroot=str(raw.get("webroot") or ""),
        port=int(raw.get("port") or 0),
    )


def build_authorities(entries: t.Iterable[Raw] | None) -> dict[str, Authority]:
    """Return what the controller says of the issuers, by name."""
    return {
        str(entry["name"]): Authority(
            name=str(entry["name"]),
            kind=str(entry["kind"]),
            key_identifier=str(entry.get("key_identifier") or ""),
            trust=str(entry.get("trust") or ""),
            fingerprints=tuple(sorted((entry.get("fingerprints") or {}).items())),
            system_trust=bool(entry.get("system_trust")),
            directory=build_directory(entry["directory"]) if entry.get("directory") else None,
        )
        for entry in entries or ()
    }
