# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys, requests and certificates, with the openssl program as the judge."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.bulwark.hardening.plugins.module_utils.certificates import x509
from ansible_collections.bulwark.hardening.plugins.module_utils.certificates.model import KEY_TYPES, CertificateError

from . import pki

NAMES = ("www.example.org", "*.example.net", "192.0.2.1", "2001:db8::1")


@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_openssl_reads_keys_and_requests(key_type: str, tmp_path: Path) -> None:
    key = x509.make_key(key_type)
    request = x509.make_request(key, NAMES)
    assert b"BEGIN PRIVATE KEY" in key
    text = pki.openssl("req", "-noout", "-text", "-verify", given=request).decode()
    assert "DNS:www.example.org, DNS:*.example.net, IP Address:192.0.2.1, IP Address:2001:DB8:0:0:0:0:0:1" in text
    assert "CN = www.example.org" in text or "CN=www.example.org" in text
    (tmp_path / "key").write_bytes(key)
    public = pki.openssl("pkey", "-in", str(tmp_path / "key"), "-pubout", "-outform", "DER")
    assert pki.openssl("dgst", "-sha256", "-r", given=public).split()[0].decode() == x509.public_key_of(key)
    facts = x509.request_facts(request)
    assert (facts.names, facts.key_type, facts.public_key) == (NAMES, key_type, x509.public_key_of(key))


def test_two_keys_are_never_the_same() -> None:
    assert x509.make_key("ecdsa_p256") != x509.make_key("ecdsa_p256")


def test_a_name_that_is_too_long_for_a_subject_is_an_alternative_name_only() -> None:
    name = ".".join(["a" * 30, "b" * 30, "example.org"])
    request = x509.make_request(x509.make_key("ecdsa_p256"), (name,))
    assert f"DNS:{name}" in pki.openssl("req", "-noout", "-text", given=request).decode()
    assert pki.openssl("req", "-noout", "-subject", given=request).decode().strip() == "subject="


def test_facts_are_what_openssl_says(ca: pki.TestCA, tmp_path: Path) -> None:
    key = x509.make_key("ecdsa_p256")
    pem = pki.leaf(ca, key, NAMES, usages=("client",))
    (facts,) = x509.parse_chain(pem)
    words = pki.openssl(
        "x509", "-noout", "-fingerprint", "-sha256", "-serial", "-enddate", "-dateopt", "iso_8601", given=pem
    )
    text = words.decode().replace(":", "").lower()
    assert facts.fingerprint in text
    assert f"serial={facts.serial.rjust(len(facts.serial) + len(facts.serial) % 2, '0')}" in text
    assert facts.not_after.strftime("%Y-%m-%d %H%M%Sz") in text
    assert (facts.names, facts.usages, facts.is_authority) == (NAMES, ("client",), False)
    assert facts.authority_key_identifier == ca.generation.key_identifier
    assert facts.public_key == x509.public_key_of(key)


def test_a_chain_is_read_in_its_order_whatever_stands_between(ca: pki.TestCA) -> None:
    subjects = [facts.subject for facts in x509.parse_chain(b"Bag Attributes\n" + ca.chain.replace(b"\n", b"\r\n"))]
    assert subjects == ["CN=signing", "CN=root"]
    assert [facts.may_sign for facts in x509.parse_chain(ca.chain)] == [True, True]
    assert x509.parse_chain(b"") == []


@pytest.mark.parametrize(
    ("content", "passphrase", "reason"),
    [
        (b"nonsense", None, "no private key in PEM"),
        (b"", None, "no private key in PEM"),
        ("encrypted", None, "it is encrypted, and no passphrase is given"),
        ("encrypted", b"wrong", "the passphrase is wrong"),
        ("plain", b"needless", "it is not encrypted"),
    ],
)
def test_a_key_that_cannot_be_opened_says_why_and_nothing_else(
    content: bytes | str, passphrase: bytes | None, reason: str
) -> None:
    plain = x509.make_key("ecdsa_p256")
    pem = {
        "plain": plain,
        "encrypted": pki.openssl("pkcs8", "-topk8", "-passout", "pass:hidden-word", given=plain),
    }.get(content, content) if isinstance(content, str) else content  # fmt: skip
    assert isinstance(pem, bytes)
    with pytest.raises(CertificateError, match=reason) as raised:
        x509.load_key(pem, passphrase)
    assert "hidden-word" not in str(raised.value)


def test_a_request_that_somebody_else_signed_is_refused() -> None:
    request = x509.make_request(x509.make_key("ecdsa_p256"), NAMES)
    der = bytearray(pki.openssl("req", "-outform", "DER", given=request))
    der[-1] ^= 1
    forged = pki.openssl("req", "-inform", "DER", "-outform", "PEM", given=bytes(der))
    with pytest.raises(CertificateError, match="signing request"):
        x509.load_request(forged)
    with pytest.raises(CertificateError, match="cannot be read"):
        x509.load_request(b"nonsense")


def test_a_certificate_that_is_none_is_refused() -> None:
    with pytest.raises(CertificateError, match="cannot be read"):
        x509.parse_chain(b"-----BEGIN CERTIFICATE-----\nbm9uZQ==\n-----END CERTIFICATE-----\n")
