# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host in a directory: real keys, certificates and TLS; only systemd is played."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from ansible_collections.bulwark.hardening.plugins.module_utils.certificates import change, consumers, probe, x509
from ansible_collections.bulwark.hardening.plugins.module_utils.certificates.acme import Orders
from ansible_collections.bulwark.hardening.plugins.module_utils.certificates.bundles import Bundles
from ansible_collections.bulwark.hardening.plugins.module_utils.certificates.credentials import Credentials
from ansible_collections.bulwark.hardening.plugins.module_utils.certificates.model import (
    CertificateError,
    Directory,
    Listener,
    Service,
    build,
)
from ansible_collections.bulwark.hardening.plugins.module_utils.certificates.store import Store
from ansible_collections.bulwark.hardening.plugins.module_utils.certificates.system_trust import SystemTrust
from ansible_collections.bulwark.hardening.plugins.module_utils.transaction.clock import Clock

from . import pki
from .listener import TLSServer

ME = (os.getuid(), os.getgid())
NAME = "www.example.org"
UNIT = "web.service"
UNITS = (UNIT, "database.service")


class AcmeServer(Orders):
    """An ACME server that signs whatever it is asked for, or complains."""

    def __init__(self, box: Box) -> None:
        super().__init__()
        self.box = box
        self.complaint = ""
        self.asked: list[bytes] = []
        self.values: dict[str, Any] = {}

    def order(self, issuer: str, directory: Directory, request: str) -> tuple[bytes, bytes]:
        self.asked.append(Path(request).read_bytes())
        if self.complaint:
            raise CertificateError(f"{directory.url} {self.complaint}")
        key = Path(request).with_name("key.pem").read_bytes()
        names = x509.request_facts(self.asked[-1]).names
        options = {"names": names, "life": timedelta(days=90), "usages": ("server", "client"), **self.values}
        return pki.leaf(self.box.ca, key, **options), self.box.ca.generation.chain


class Box:
    """Two services that may serve one certificate; `broken` ones do not read a new one, and say why or not."""

    def __init__(self, path: Path, ca: pki.TestCA, clock: Clock | None = None) -> None:
        self.path = path
        self.ca = ca
        self.store = Store(str(path / "tls"), ME)
        self.clock = clock or Clock()
        self.servers: dict[str, TLSServer] = {}
        self.inactive: set[str] = set()
        self.broken: dict[str, str] = {}
        self.refused: str = ""
        self.loads: list[str] = []
        # What each service has besides its listeners.
        self.further: dict[str, dict[str, Any]] = {}
        self.renew: list[str] = []
        self.trust = SystemTrust(())
        self.bundles = Bundles(str(path / "trust"))
        self.credentials = Credentials(self.store, str(path / "units"), str(path / "handed_over"))
        self.bundle_reason = f"{path}/trust/ca.pem is not that of ca"
        self.trusted = False
        self.keeper: change.Keeper | None = None
        self.also_trusted: list[pki.TestCA] = []
        self.acme = False
        # What the host is told of the ACME server if it is something else.
        self.told: dict[str, Any] | None = None
        self.acme_server = AcmeServer(self)

    # What is played

    def units(self, names: Any) -> dict[str, consumers.Unit]:
        return {name: consumers.Unit(True, name not in self.inactive, True) for name in sorted(set(names))}

    def check(self, service: Service) -> str:
        return self.refused

    def load(self, service: Service, unit: consumers.Unit) -> str:
        self.loads.append(service.unit)
        if service.unit in self.broken:
            return self.broken[service.unit]
        self.servers[service.unit].load()
        return ""

    # What the controller does

    def arguments(self, **wished: Any) -> dict[str, Any]:
        listeners: dict[str, list[dict[str, Any]]] = {
            unit: [{"port": server.port}] for unit, server in self.servers.items()
        }
        protocols = dict(zip(UNITS, ("tls", "postgresql")))
        for unit, entries in listeners.items():
            entries[0]["protocol"] = protocols[unit]
        generation = {"certificate_file": "a", "key_file": "b"}
        identifier = self.ca.generation.key_identifier
        trust = "".join(dict.fromkeys(ca.trust for ca in (*self.also_trusted, self.ca)))
        return {
            "issuers": [{"name": "ca", "kind": "private_ca", "generations": [generation]}],
            "certificates": [
                {
                    "name": "web", "issuer": "ca", "names": [NAME],
                    "owner": pwd.getpwuid(ME[0]).pw_name, "group": grp.getgrgid(ME[1]).gr_name, "mode": "0600",
                    "services": [
                        {"unit": unit, "listeners": entries, **self.further.get(unit, {})}
                        for unit, entries in listeners.items()
                    ],
                    **wished,
                }
            ],
            "renew": self.renew,
            "authorities": [
                {"name": "ca", "kind": "private_ca", "key_identifier": identifier, "trust": trust,
                 "system_trust": self.trusted}
            ],
            **(self.ordering() if self.acme else {}),
        }  # fmt: skip

    def ordering(self) -> dict[str, Any]:
        """Return what makes an ACME server the issuer."""
        directory = {"url": "https://acme.example.org/dir", "webroot": "/var/www/acme"}
        issuer = {
            "name": "ca", "kind": "acme", "directory": directory["url"], "terms_of_service_agreed": True,
            "challenge": {"kind": "http", "webroot": directory["webroot"]},
        }  # fmt: skip
        told = {"name": "ca", "kind": "acme", "trust": self.ca.trust, "directory": directory}
        return {"issuers": [issuer], "authorities": [self.told or told]}

    def change(self, arguments: dict[str, Any], check_mode: bool = False) -> change.Change:
        return change.Change(
            arguments,
            check_mode,
            self.store,
            self.clock,
            self.trust,
            self.bundles,
            self.acme_server,
            self.credentials,
            self.keeper,
        )

    def plan(self, check_mode: bool = False, **wished: Any) -> dict[str, Any]:
        return self.change(self.arguments(**wished), check_mode).plan()

    def issue(self, planned: dict[str, Any], **wished: Any) -> list[dict[str, str]]:
        (certificate,) = build(self.arguments(**wished))
        issued = []
        for request in planned["requests"]:
            pem, chain = self.ca.sign(request["request"].encode(), certificate, self.clock.now())
            issued.append({"name": request["name"], "certificate": pem.decode(), "chain": chain.decode()})
        return issued

    def deploy(self, issued: Any, keys: Any = None, **wished: Any) -> dict[str, Any]:
        arguments = {**self.arguments(**wished), "issued": issued, "private_keys": keys or {}}
        return self.change(arguments).deploy()

    def run(self, alter: Callable[[dict[str, str]], None] | None = None, **wished: Any) -> dict[str, Any]:
        """Do what one task does."""
        planned = self.plan(**wished)
        if not planned["changed"]:
            return planned
        issued = self.issue(planned, **wished)
        for entry in issued if alter else ():
            assert alter is not None
            alter(entry)
        return {**self.deploy(issued, **wished), "reasons": planned["reasons"]}

    # What can be seen

    def current(self, file: str) -> str:
        return str(self.path / "tls" / "web" / "current" / file)

    def deployed(self) -> str:
        """Return the fingerprint of what is deployed; fails unless key and certificate belong together."""
        (facts,) = x509.parse_chain(Path(self.current("certificate.pem")).read_bytes())
        assert facts.public_key == x509.public_key_of(Path(self.current("key.pem")).read_bytes())
        return facts.fingerprint

    def served(self, unit: str = UNIT) -> str:
        """Return the fingerprint of what a client that trusts the CA is served; fails if it is not accepted."""
        protocol = dict(zip(UNITS, ("tls", "postgresql")))[unit]
        listener = Listener("127.0.0.1", self.servers[unit].port, NAME, protocol)
        answer = probe.ask(listener, self.ca.trust)
        assert not answer.fault, answer
        return answer.fingerprint

    def fingerprints(self) -> set[str]:
        return {self.served(unit) for unit in self.servers}

    @contextlib.contextmanager
    def serving(self, *units: str) -> Iterator[None]:
        """Start services with what is deployed."""
        with contextlib.ExitStack() as stack:
            for unit in units or UNITS:
                server = TLSServer(self.current("full_chain.pem"), self.current("key.pem"))
                self.servers[unit] = stack.enter_context(server)
            yield
            self.servers = {}
