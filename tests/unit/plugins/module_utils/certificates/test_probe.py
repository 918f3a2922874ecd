# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Listeners that are asked, and candidates that OpenSSL tries, against real TLS."""

from __future__ import annotations

import ssl
from datetime import timedelta
from pathlib import Path

import pytest

from ansible_collections.bulwark.hardening.plugins.module_utils.certificates import probe, x509
from ansible_collections.bulwark.hardening.plugins.module_utils.certificates.model import Listener

from . import pki
from .listener import TLSServer

NAMES = ("www.example.org", "*.example.net", "127.0.0.1")
KEY = x509.make_key("ecdsa_p256")


def write(directory: Path, certificate: bytes, key: bytes = KEY) -> tuple[str, str]:
    (directory / "full_chain.pem").write_bytes(certificate)
    (directory / "key.pem").write_bytes(key)
    return str(directory / "full_chain.pem"), str(directory / "key.pem")


@pytest.mark.parametrize("protocol", ["tls", "postgresql"])
def test_a_listener_shows_its_certificate(ca: pki.TestCA, stranger: pki.TestCA, tmp_path: Path, protocol: str) -> None:
    certificate = pki.leaf(ca, KEY, NAMES)
    fingerprint = x509.parse_chain(certificate)[0].fingerprint
    with TLSServer(*write(tmp_path, certificate + ca.generation.chain)) as server:
        listener = Listener("127.0.0.1", server.port, "www.example.org", protocol)
        assert probe.ask(listener).fingerprint == fingerprint
        assert probe.ask(listener, ca.trust).fingerprint == fingerprint
        answer = probe.ask(listener, stranger.trust)
        assert (answer.fingerprint, answer.absent) == ("", False)
        assert "not accepted: self-signed certificate in certificate chain" in answer.fault.replace(
            "self signed", "self-signed"
        ) or ("unable to get" in answer.fault)
        other = Listener("127.0.0.1", server.port, "www.example.com", protocol)
        assert "not accepted: Hostname mismatch" in probe.ask(other, ca.trust).fault
        assert probe.ask(other).fingerprint == fingerprint
        by_address = Listener("127.0.0.1", server.port, "127.0.0.1", protocol)
        assert probe.ask(by_address, ca.trust).fingerprint == fingerprint


def test_a_chain_that_is_not_sent_is_noticed(ca: pki.TestCA, tmp_path: Path) -> None:
    with TLSServer(*write(tmp_path, pki.leaf(ca, KEY))) as server:
        listener = Listener("127.0.0.1", server.port, "www.example.org")
        assert probe.ask(listener).fingerprint
        assert "unable to get local issuer" in probe.ask(listener, ca.trust).fault


def test_a_closed_port_and_one_without_tls(tmp_path: Path, ca: pki.TestCA) -> None:
    with TLSServer(*write(tmp_path, pki.leaf(ca, KEY))) as server:
        port = server.port
        server.answer = b"N"
        assert probe.ask(Listener("127.0.0.1", port, "", "postgresql")).fault == "does not offer TLS"
        server.answer = b"E"
        assert probe.ask(Listener("127.0.0.1", port, "", "postgresql")).fault == "is no PostgreSQL"
        server.answer = b"plain"
        assert "TLS" in probe.ask(Listener("127.0.0.1", port, "www.example.org")).fault
    closed = probe.ask(Listener("127.0.0.1", port, ""))
    assert closed.absent
    assert closed.fault == "is closed"


def test_a_listener_that_never_answers_ends(tmp_path: Path, ca: pki.TestCA) -> None:
    with TLSServer(*write(tmp_path, pki.leaf(ca, KEY))) as server:
        server.answer = b""
        answer = probe.ask(Listener("127.0.0.1", server.port, "www.example.org"), timeout=0.2)
        assert "timed out" in answer.fault


@pytest.mark.parametrize("usages", [("server",), ("client",), ("server", "client")])
def test_a_good_candidate_is_taken(ca: pki.TestCA, tmp_path: Path, usages: tuple[str, ...]) -> None:
    paths = write(tmp_path, pki.leaf(ca, KEY, NAMES, usages=usages) + ca.generation.chain)
    assert probe.rehearse(*paths, ca.trust, NAMES, usages) == []


def test_openssl_refuses_what_no_client_would_accept(
    ca: pki.TestCA, stranger: pki.TestCA, root: pki.TestCA, tmp_path: Path
) -> None:
    good = pki.leaf(ca, KEY, NAMES)
    chain = ca.generation.chain
    forged = pki.TestCA(ca.chain, stranger.key)
    for certificate, trust, usages, word in (
        (good + chain, stranger.trust, ["server"], "refuses it"),
        (good, ca.trust, ["server"], "unable to get local issuer certificate"),
        (pki.leaf(stranger, KEY, NAMES), ca.trust, ["server"], "unable to get local issuer certificate"),
        (pki.leaf(forged, KEY, NAMES) + chain, ca.trust, ["server"], "signature failure"),
        (pki.leaf(ca, KEY, ("www.example.com",)) + chain, ca.trust, ["server"], "Hostname mismatch"),
        (good + chain, ca.trust, ["client"], "purpose"),
        (pki.leaf(ca, KEY, NAMES, usages=("client",)) + chain, ca.trust, ["server"], "purpose"),
        (pki.leaf(ca, KEY, NAMES, life=timedelta(minutes=1)) + chain, ca.trust, ["server"], "has expired"),
        (pki.leaf(ca, KEY, NAMES, start=timedelta(hours=1)) + chain, ca.trust, ["server"], "not yet valid"),
        (good + chain, "", ["server"], "the CAs of the system refuses it"),
    ):
        (fault,) = probe.rehearse(*write(tmp_path, certificate), trust, ["www.example.org"], usages)
        assert word in fault, fault
    (fault,) = probe.rehearse(*write(tmp_path, good, x509.make_key("ecdsa_p256")), ca.trust, NAMES, ["server"])
    assert "key values mismatch" in fault
    (fault,) = probe.rehearse(*write(tmp_path, b"nonsense"), ca.trust, NAMES, ["server"])
    assert "OpenSSL does not take it" in fault


BOTH = ("server", "client")
VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)


def mutual(server: TLSServer, protocol: str = "tls") -> Listener:
    return Listener("127.0.0.1", server.port, "www.example.org", protocol, require_client_certificate=True)


@pytest.fixture
def pair(ca: pki.TestCA, tmp_path: Path) -> tuple[str, str]:
    return write(tmp_path, pki.leaf(ca, KEY, NAMES, usages=BOTH) + ca.generation.chain)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "ANSWER_SECONDS", 0.2)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_server_that_requires_certificates_of_its_ca_is_proven(
    ca: pki.TestCA, pair: tuple[str, str], version: ssl.TLSVersion
) -> None:
    with TLSServer(*pair, client_trust=ca.trust) as server:
        server.highest = version
        server.load()
        served = probe.ask(mutual(server), ca.trust, pair)
        assert (served.fault, bool(served.fingerprint)) == ("", True)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_server_that_lets_in_anybody_is_noticed(
    ca: pki.TestCA, pair: tuple[str, str], version: ssl.TLSVersion
) -> None:
    with TLSServer(*pair) as server:
        server.highest = version
        server.load()
        assert probe.ask(mutual(server), ca.trust, pair).fault == "lets in a client without a certificate"
    with TLSServer(*pair, client_trust=ca.trust, optional=True) as server:
        assert probe.ask(mutual(server), ca.trust, pair).fault == "lets in a client without a certificate"


@pytest.mark.parametrize("version", VERSIONS)
def test_a_server_that_refuses_its_own_clients_is_noticed(
    ca: pki.TestCA, stranger: pki.TestCA, pair: tuple[str, str], version: ssl.TLSVersion
) -> None:
    with TLSServer(*pair, client_trust=stranger.trust) as server:
        server.highest = version
        server.load()
        assert probe.ask(mutual(server), ca.trust, pair).fault


@pytest.mark.parametrize(
    ("protocol", "yes", "no"),
    [
        ("https", b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        ("https", b"HTTP/1.1 404 Not Found\r\n\r\n", b"HTTP/1.1 496 unassigned\r\n\r\n"),
        (
            "postgresql",
            b"R\0\0\0\x17\0\0\0\nSCRAM-SHA-256\0\0",
            b"E\0\0\0MMconnection requires a valid client certificate\0",
        ),
    ],
)
def test_an_application_that_refuses_is_understood(
    ca: pki.TestCA, pair: tuple[str, str], protocol: str, yes: bytes, no: bytes
) -> None:
    with TLSServer(*pair, client_trust=ca.trust, optional=True) as server:
        server.says = {True: yes, False: no}
        assert probe.ask(mutual(server, protocol), ca.trust, pair).fault == ""
        server.says = {True: yes, False: yes}
        assert probe.ask(mutual(server, protocol), ca.trust, pair).fault == "lets in a client without a certificate"
        server.says = {True: no, False: no}
        assert (
            probe.ask(mutual(server, protocol), ca.trust, pair).fault
            == "does not let in a client with this certificate"
        )


def test_a_user_whom_postgresql_does_not_know_proves_nothing(ca: pki.TestCA, pair: tuple[str, str]) -> None:
    with TLSServer(*pair, client_trust=ca.trust, optional=True) as server:
        unknown = b"E\0\0\0MMno pg_hba.conf entry for host\0"
        server.says = {True: unknown, False: unknown}
        assert probe.ask(mutual(server, "postgresql"), ca.trust, pair).fault == ""
