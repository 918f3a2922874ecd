# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the private CA signs, with the openssl program as the judge, and what it refuses to sign."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from ansible_collections.bulwark.hardening.plugins.module_utils.certificates import x509
from ansible_collections.bulwark.hardening.plugins.module_utils.certificates.model import (
    KEY_TYPES,
    Certificate,
    CertificateError,
)
from ansible_collections.bulwark.hardening.plugins.plugin_utils import authority

from ..module_utils.certificates import pki

NAMES = ("www.example.org", "*.example.net", "192.0.2.1")
WISHED = Certificate("web", "internal", NAMES)
KEY = x509.make_key("ecdsa_p256")
REQUEST = x509.make_request(KEY, NAMES)


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> pki.TestCA:
    directory = tmp_path_factory.mktemp("ca")
    return pki.make_ca(directory, "signing", below=pki.make_ca(directory, "root"))


def verify(ca: pki.TestCA, certificate: bytes, directory: Path, *words: str) -> str:
    """Let openssl judge as strictly as it can, and return what it says of the certificate."""
    (directory / "root.pem").write_bytes(ca.generation.root)
    (directory / "chain.pem").write_bytes(ca.generation.chain)
    (directory / "leaf.pem").write_bytes(certificate)
    pki.openssl(
        "verify", "-x509_strict", "-check_ss_sig", "-policy_check", "-CAfile", str(directory / "root.pem"),
        "-untrusted", str(directory / "chain.pem"), *words, str(directory / "leaf.pem"),
    )  # fmt: skip
    return pki.openssl("x509", "-noout", "-text", given=certificate).decode()


def test_openssl_accepts_what_is_signed(ca: pki.TestCA, tmp_path: Path) -> None:
    certificate, chain = ca.sign(REQUEST, WISHED)
    text = verify(ca, certificate, tmp_path, "-purpose", "sslserver", "-verify_hostname", "any.example.net")
    verify(ca, certificate, tmp_path, "-purpose", "sslserver", "-verify_ip", "192.0.2.1")
    assert re.search(r"Key Usage: critical\s+Digital Signature\s*\n", text)
    assert re.search(r"Extended Key Usage:\s+TLS Web Server Authentication\s*\n", text)
    assert re.search(r"Basic Constraints: critical\s+CA:FALSE", text)
    assert chain == ca.generation.chain
    with pytest.raises(AssertionError):
        verify(ca, certificate, tmp_path, "-purpose", "sslclient")
    with pytest.raises(AssertionError):
        verify(ca, certificate, tmp_path, "-verify_hostname", "example.net")


@pytest.mark.parametrize("key_type", KEY_TYPES)
@pytest.mark.parametrize("usages", [("client",), ("server", "client")])
def test_each_type_of_key_and_usage(ca: pki.TestCA, tmp_path: Path, key_type: str, usages: tuple[str, ...]) -> None:
    request = x509.make_request(x509.make_key(key_type), NAMES)
    certificate, _chain = ca.sign(request, replace(WISHED, key_type=key_type, usages=usages))
    for usage in usages:
        verify(ca, certificate, tmp_path, "-purpose", f"ssl{usage}")


def test_names_come_from_the_policy_and_not_from_the_host(ca: pki.TestCA) -> None:
    request = x509.make_request(KEY, ("bank.example.com", "www.example.org"))
    certificate, _chain = ca.sign(request, WISHED)
    assert x509.parse_chain(certificate)[0].names == NAMES
    assert b"bank" not in pki.openssl("x509", "-noout", "-text", given=certificate)


def test_a_life_is_as_wished_and_begins_a_minute_ago(ca: pki.TestCA) -> None:
    now = datetime.now(timezone.utc)
    for days in (1, 30, 90):
        (facts,) = x509.parse_chain(ca.sign(REQUEST, replace(WISHED, life_days=days), now)[0])
        assert facts.life <= timedelta(days=days)
        assert facts.life >= timedelta(days=days, minutes=-1)
        assert facts.not_before <= now


@pytest.mark.parametrize("days", [0, 91, -1, 3650])
def test_a_life_out_of_bounds_is_refused(ca: pki.TestCA, days: int) -> None:
    with pytest.raises(CertificateError, match="accepted are 1 to 90"):
        ca.sign(REQUEST, replace(WISHED, life_days=days))


def test_no_certificate_outlives_its_ca(tmp_path: Path) -> None:
    short = pki.make_ca(tmp_path, "short", days=10)
    (facts,) = x509.parse_chain(short.sign(REQUEST, WISHED)[0])
    assert facts.not_after == short.generation.facts.not_after
    root = pki.make_ca(tmp_path, "root", days=5)
    below = pki.make_ca(tmp_path, "below", below=root)
    (facts,) = x509.parse_chain(below.sign(REQUEST, WISHED)[0])
    assert facts.not_after == root.generation.facts.not_after


def test_a_ca_in_its_last_day_signs_no_more(ca: pki.TestCA) -> None:
    end = ca.generation.facts.not_after
    with pytest.raises(CertificateError, match="add a new one as the last of generations"):
        ca.sign(REQUEST, WISHED, end - timedelta(hours=23))
    with pytest.raises(CertificateError, match="the CA CN=signing expired at"):
        ca.sign(REQUEST, WISHED, end)
    with pytest.raises(CertificateError, match="the CA CN=signing is not valid before"):
        ca.sign(REQUEST, WISHED, ca.generation.facts.not_before - timedelta(seconds=1))


def test_serial_numbers_are_random_and_positive(ca: pki.TestCA) -> None:
    serials = {x509.parse_chain(ca.sign(REQUEST, WISHED)[0])[0].serial for _number in range(20)}
    assert len(serials) == 20
    assert all(16 < len(serial) <= 40 for serial in serials)


def test_another_type_of_key_than_wished_is_not_signed(ca: pki.TestCA) -> None:
    with pytest.raises(CertificateError, match="another key than rsa_3072"):
        ca.sign(REQUEST, replace(WISHED, key_type="rsa_3072"))


def test_a_chain_that_is_none_is_refused_with_its_path(ca: pki.TestCA, tmp_path: Path) -> None:
    blocks = x509.split_certificates(ca.chain)
    leaf, _chain = ca.sign(REQUEST, WISHED)
    other = pki.make_ca(tmp_path, "other")
    for content, word in (
        (b"", "there is no certificate in it"),
        (leaf, "may not sign certificates"),
        (blocks[0], "must be the root, which consumers trust; add CN=root"),
        (blocks[1] + blocks[0], "put each CA behind the one it signed"),
        (blocks[0] + other.chain, "put each CA behind the one it signed"),
        (b"-----BEGIN CERTIFICATE-----\nbm9uZQ==\n-----END CERTIFICATE-----\n", "cannot be read"),
    ):
        with pytest.raises(CertificateError, match=word) as raised:
            authority.read_generation(content, "tls_issuers[0].generations[0].certificate_file")
        assert str(raised.value).startswith("tls_issuers[0].generations[0].certificate_file: ")


def test_the_key_must_be_that_of_the_ca(ca: pki.TestCA) -> None:
    with pytest.raises(CertificateError, match="belongs to another CA than CN=signing"):
        authority.open_authority_key(ca.generation, KEY, None, "key_file")
    encrypted = pki.openssl("pkcs8", "-topk8", "-passout", "pass:hidden-word", given=ca.key)
    assert authority.encrypted_pem(encrypted)
    assert not authority.encrypted_pem(ca.key)
    authority.open_authority_key(ca.generation, encrypted, "hidden-word", "key_file")
    with pytest.raises(CertificateError, match=r"^key_file: .*the passphrase is wrong"):
        authority.open_authority_key(ca.generation, encrypted, "wrong-word", "key_file")
