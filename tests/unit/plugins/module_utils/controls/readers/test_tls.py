# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Listeners and certificates as real TLS and the openssl program show them; only the paths are moved."""

from __future__ import annotations

import shutil
import ssl
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bulwark.hardening.plugins.module_utils.certificates import x509
from ansible_collections.bulwark.hardening.plugins.module_utils.controls.host import Host
from ansible_collections.bulwark.hardening.plugins.module_utils.controls.model import Observation, Verdict
from ansible_collections.bulwark.hardening.plugins.module_utils.controls.registry import READERS, prepared
from tests.unit.plugins.module_utils.certificates import pki
from tests.unit.plugins.module_utils.certificates.listener import TLSServer

# Python says that old versions are no good, which is why they are tried; it is silent outside of tests.
pytestmark = pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")

NAME = "www.example.org"
KEY = x509.make_key("ecdsa_p256")
SUITES = ["ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305"]
HTTP_OK, HTTP_BAD = b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n"
PASSWORD_PLEASE, NO_CERTIFICATE = b"R\0\0\0\x08", b"E connection requires a valid client certificate"


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> pki.TestCA:
    directory = tmp_path_factory.mktemp("ca")
    return pki.make_ca(directory, "signing", below=pki.make_ca(directory, "root"))


@pytest.fixture(scope="module")
def other_ca(tmp_path_factory: pytest.TempPathFactory) -> pki.TestCA:
    return pki.make_ca(tmp_path_factory.mktemp("other"), "other")


class Store:
    """A host with one certificate, and servers that serve it."""

    def __init__(self, root: Path, ca: pki.TestCA) -> None:
        self.root, self.ca = root, ca
        self.directory = root / "etc/bulwark/tls/web"
        (self.directory / "v0001").mkdir(parents=True)
        (self.directory / "current").symlink_to("v0001")
        (self.directory / "trust.pem").write_text(ca.trust)
        self.deploy(pki.leaf(ca, KEY, (NAME,), usages=("server", "client")))

    def deploy(self, certificate: bytes, key: bytes = KEY) -> None:
        version = self.directory / "v0001"
        (version / "certificate.pem").write_bytes(certificate)
        (version / "full_chain.pem").write_bytes(certificate + self.ca.generation.chain)
        (version / "key.pem").write_bytes(key)

    def server(self, **options: Any) -> TLSServer:
        version = self.directory / "v0001"
        server = TLSServer(str(version / "full_chain.pem"), str(version / "key.pem"), **options)
        server.context.set_ciphers(":".join(SUITES))
        return server

    def observe(self, reader: str, port: int = 0, listener: dict[str, Any] | None = None, **more: Any) -> Observation:
        entry = {"address": "127.0.0.1", "port": port, "server_name": NAME, **(listener or {})}
        certificate = {"name": "web", "issuer_kind": "private_ca", "listeners": [entry] if port else []}
        if "suites" in READERS[reader].parameters:
            more["suites"] = SUITES
        name, values, problems = prepared({"reader": reader, "parameters": {"certificates": [certificate], **more}})
        assert problems == []
        host = Host(str(self.root))
        try:
            READERS[name].announce(host, values)
            return READERS[name].read(host, values)
        finally:
            host.close()


@pytest.fixture
def store(tmp_path: Path, ca: pki.TestCA) -> Store:
    return Store(tmp_path, ca)


# Versions and suites


@pytest.mark.parametrize("protocol", ["tls", "postgresql"])
def test_a_modern_listener_passes(store: Store, protocol: str) -> None:
    with store.server() as server:
        seen = store.observe("tls_versions", server.port, {"protocol": protocol})
    assert (seen.verdict, seen.reason) == (Verdict.PASS, "")


def allow(server: TLSServer, version: ssl.TLSVersion) -> None:
    server.context.minimum_version = version
    server.context.set_ciphers("ALL:@SECLEVEL=0")


@pytest.mark.parametrize(
    ("version", "words"), [(ssl.TLSVersion.TLSv1, "TLS 1.0: spoken"), (ssl.TLSVersion.TLSv1_1, "TLS 1.1: spoken")]
)
def test_an_old_version_fails(store: Store, version: ssl.TLSVersion, words: str) -> None:
    with store.server() as server:
        allow(server, version)
        seen = store.observe("tls_versions", server.port)
    assert seen.verdict is Verdict.FAIL
    assert words in seen.observed


@pytest.mark.parametrize("suite", ["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-SHA384"])
def test_another_suite_fails_and_is_named(store: Store, suite: str) -> None:
    with store.server() as server:
        server.context.set_ciphers(f"{':'.join(SUITES)}:{suite}")
        seen = store.observe("tls_versions", server.port)
    assert seen.verdict is Verdict.FAIL
    assert seen.observed == f"127.0.0.1:{server.port} ({NAME}) TLS 1.2 with another suite: spoken, {suite}"


def test_a_listener_without_tls_1_3_fails_and_one_without_tls_1_2_does_not(store: Store) -> None:
    with store.server() as server:
        server.context.maximum_version = ssl.TLSVersion.TLSv1_2
        seen = store.observe("tls_versions", server.port)
        assert seen.verdict is Verdict.FAIL
        assert "TLS 1.3: refuses it" in seen.observed
        server.context.maximum_version = ssl.TLSVersion.TLSv1_3
        server.context.minimum_version = ssl.TLSVersion.TLSv1_3
        assert store.observe("tls_versions", server.port).verdict is Verdict.PASS


def test_a_suite_is_seen_although_the_client_is_not_wanted(store: Store, other_ca: pki.TestCA) -> None:
    """The listener trusts another CA, so it refuses this host's certificate, but only after both agreed on a suite."""
    with store.server(client_trust=other_ca.trust) as server:
        server.context.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
        seen = store.observe("tls_versions", server.port, {"require_client_certificate": True})
    assert seen.verdict is Verdict.FAIL
    assert "TLS 1.2 with another suite: spoken" in seen.observed


def test_what_cannot_be_asked_is_unknown(store: Store) -> None:
    with store.server() as server:
        server.answer = b"E"
        seen = store.observe("tls_versions", server.port, {"protocol": "postgresql"})
    assert (seen.verdict, seen.reason) == (
        Verdict.UNKNOWN,
        f"127.0.0.1:{server.port} ({NAME}): it is no PostgreSQL",
    )


def test_a_listener_that_hangs_up_fails(store: Store) -> None:
    with store.server() as server:
        server.answer = b""
        seen = store.observe("tls_versions", server.port)
    assert seen.verdict is Verdict.FAIL
    assert "TLS 1.3: refuses it" in seen.observed


def test_postgresql_without_tls_fails(store: Store) -> None:
    with store.server() as server:
        server.answer = b"N"
        seen = store.observe("tls_versions", server.port, {"protocol": "postgresql"})
    assert seen.verdict is Verdict.FAIL
    assert "it does not offer TLS" in seen.observed


@pytest.mark.parametrize("reader", ["tls_versions", "tls_served", "tls_client_certificates", "certificate_lives"])
def test_a_closed_port_is_unknown_and_no_certificate_is_not_applicable(store: Store, reader: str) -> None:
    with store.server() as server:
        port = server.port
    more: dict[str, Any] = {"life_days": 30} if reader == "certificate_lives" else {}
    seen = store.observe(reader, port, {"require_client_certificate": True}, **more)
    assert seen.verdict is Verdict.UNKNOWN
    assert f"127.0.0.1:{port}" in seen.reason
    assert "nobody answers there: connection refused" in seen.reason
    if "suites" in READERS[reader].parameters:
        more["suites"] = SUITES
    nothing = READERS[reader].read(Host(str(store.root)), {"certificates": [], "renewal_timers": None, **more})
    assert nothing.verdict is Verdict.NOT_APPLICABLE
    assert "declared" in nothing.reason


# What is served


def test_another_certificate_fails_and_both_are_told(store: Store) -> None:
    with store.server() as server:
        assert store.observe("tls_served", server.port).verdict is Verdict.PASS
        served = x509.parse_chain((store.directory / "v0001/certificate.pem").read_bytes())[0].fingerprint
        store.deploy(pki.leaf(store.ca, KEY, (NAME,)))
        deployed = x509.parse_chain((store.directory / "v0001/certificate.pem").read_bytes())[0].fingerprint
        seen = store.observe("tls_served", server.port)
    assert seen.verdict is Verdict.FAIL
    assert f"serves web, {deployed[:16]}" in seen.expected
    assert f"serves {served[:16]} over TLS 1.3" in seen.observed


def test_nothing_deployed_fails(store: Store) -> None:
    with store.server() as server:
        (store.directory / "current").unlink()
        for reader in ("tls_served", "certificate_lives"):
            more: dict[str, Any] = {"life_days": 30} if reader == "certificate_lives" else {}
            seen = store.observe(reader, server.port, **more)
            assert seen.verdict is Verdict.FAIL
            assert "deployed" in seen.observed


# Who is let in


@pytest.mark.parametrize(
    ("protocol", "let_in", "kept_out"),
    [("https", HTTP_OK, HTTP_BAD), ("postgresql", PASSWORD_PLEASE, NO_CERTIFICATE), ("tls", b"welcome", b"")],
)
def test_who_refuses_strangers_passes_in_each_protocol(
    store: Store, protocol: str, let_in: bytes, kept_out: bytes
) -> None:
    listener = {"protocol": protocol, "require_client_certificate": True}
    with store.server(client_trust=store.ca.trust, optional=bool(kept_out)) as server:
        server.says = {True: let_in, False: kept_out}
        seen = store.observe("tls_client_certificates", server.port, listener)
        assert (seen.verdict, seen.observed, seen.reason) == (
            Verdict.PASS,
            "; ".join(
                f"127.0.0.1:{server.port} ({NAME}) a client with {words}"
                for words in (
                    "its own certificate is let in",
                    "no certificate is refused",
                    "a certificate of nobody is refused",
                )
            ),
            "",
        )


def test_who_lets_anybody_in_fails(store: Store) -> None:
    with store.server() as server:
        seen = store.observe("tls_client_certificates", server.port, {"require_client_certificate": True})
    assert seen.verdict is Verdict.FAIL
    assert "with no certificate is let in" in seen.observed
    assert "with a certificate of nobody is let in" in seen.observed


def test_who_does_not_ask_but_lets_in_without_a_certificate_fails(store: Store) -> None:
    listener = {"protocol": "https", "require_client_certificate": True}
    with store.server(client_trust=store.ca.trust, optional=True) as server:
        server.says = {True: HTTP_OK, False: HTTP_OK}
        seen = store.observe("tls_client_certificates", server.port, listener)
    assert seen.verdict is Verdict.FAIL
    assert seen.observed.endswith("a client with no certificate is let in")


def test_who_refuses_everybody_fails(store: Store, other_ca: pki.TestCA) -> None:
    with store.server(client_trust=other_ca.trust) as server:
        seen = store.observe("tls_client_certificates", server.port, {"require_client_certificate": True})
    assert seen.verdict is Verdict.FAIL
    assert "with its own certificate is refused" in seen.observed


@pytest.mark.parametrize(
    ("protocol", "answer"), [("postgresql", b'E role "nobody" is not there'), ("https", b"HTTP/1.1 403 Forbidden\r\n")]
)
def test_a_refusal_for_another_reason_says_nothing(store: Store, protocol: str, answer: bytes) -> None:
    listener = {"protocol": protocol, "require_client_certificate": True}
    with store.server(client_trust=store.ca.trust, optional=True) as server:
        server.says = {True: answer, False: answer}
        seen = store.observe("tls_client_certificates", server.port, listener)
    assert seen.verdict is Verdict.UNKNOWN
    assert "for another reason" in seen.reason


def test_listeners_that_ask_nobody_are_not_applicable(store: Store) -> None:
    with store.server() as server:
        seen = store.observe("tls_client_certificates", server.port)
    assert seen.verdict is Verdict.NOT_APPLICABLE
    assert seen.reason == "no listener is declared to require a certificate of its clients"


# Lives and issuers


LIFE: dict[str, Any] = {"life_days": {"at_most": 90}}


@pytest.mark.parametrize(
    ("start", "life", "words"),
    [
        (timedelta(hours=-1), timedelta(days=91), "web days of life: 91"),
        (timedelta(days=-21), timedelta(days=30), "web is not renewed yet; it expires at"),
        (timedelta(days=-31), timedelta(days=30), "web is not renewed yet; it expired at"),
        (timedelta(hours=1), timedelta(days=30), "web is valid from"),
    ],
)
def test_lives(store: Store, start: timedelta, life: timedelta, words: str) -> None:
    assert store.observe("certificate_lives", **LIFE).verdict is Verdict.PASS
    store.deploy(pki.leaf(store.ca, KEY, (NAME,), start=start, life=life))
    seen = store.observe("certificate_lives", **LIFE)
    assert seen.verdict is Verdict.FAIL
    assert words in seen.observed


def test_another_issuer_fails_and_openssl_says_why(store: Store, other_ca: pki.TestCA) -> None:
    store.deploy(pki.leaf(other_ca, KEY, (NAME,)))
    with store.server() as server:
        seen = store.observe("certificate_lives", server.port, **LIFE)
    assert seen.verdict is Verdict.FAIL
    assert "web is not: unable to get local issuer certificate" in seen.observed
    assert f"127.0.0.1:{server.port} ({NAME}) is not accepted: unable to get local issuer certificate" in seen.observed


def test_a_listener_that_serves_no_chain_or_another_name_fails_alone(store: Store) -> None:
    with store.server() as server:
        assert store.observe("certificate_lives", server.port, **LIFE).verdict is Verdict.PASS
        wrong = store.observe("certificate_lives", server.port, {"server_name": "other.example.org"}, **LIFE)
        assert "is not accepted: Hostname mismatch" in wrong.observed
        server.context.load_cert_chain(store.directory / "v0001/certificate.pem", store.directory / "v0001/key.pem")
        seen = store.observe("certificate_lives", server.port, **LIFE)
    assert seen.verdict is Verdict.FAIL
    assert seen.observed.startswith("127.0.0.1:")


def test_what_is_no_certificate_is_unknown_or_fails_without_a_traceback(store: Store) -> None:
    store.deploy(b"garbage\n")
    seen = store.observe("certificate_lives", **LIFE)
    assert "failed:" not in seen.reason
    assert seen.verdict in (Verdict.UNKNOWN, Verdict.FAIL)


def test_a_certificate_of_the_system_needs_no_trust_of_its_own(store: Store) -> None:
    (store.directory / "trust.pem").unlink()
    seen = store.observe("certificate_lives", **LIFE)
    assert seen.verdict is Verdict.FAIL
    assert "unable to get local issuer certificate" in seen.observed


def test_the_stranger_leaves_nothing_behind(store: Store) -> None:
    with store.server() as server:
        store.observe("tls_client_certificates", server.port, {"require_client_certificate": True})
    assert shutil.which("openssl")
    assert sorted(path.name for path in store.root.iterdir()) == ["etc"]
