# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The private CA on the controller: its key is opened in memory only, and signs what the policy says."""

from __future__ import annotations

import contextlib
import typing as t
from dataclasses import dataclass
from datetime import datetime, timedelta

from ansible_collections.bulwark.hardening.plugins.module_utils.certificates import x509
from ansible_collections.bulwark.hardening.plugins.module_utils.certificates.facts import Facts
from ansible_collections.bulwark.hardening.plugins.module_utils.certificates.judge import time_faults
from ansible_collections.bulwark.hardening.plugins.module_utils.certificates.model import (
    LIFE_DAYS_AT_MOST,
    SERVER,
    Certificate,
    CertificateError,
)
from ansible_collections.bulwark.hardening.plugins.module_utils.transaction.clock import iso

# ansible-core depends on it, so a controller has it; tests of imports alone do without.
with contextlib.suppress(ImportError):
    from cryptography import x509 as cryptography_x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

# A clock of a client that is a little late must not refuse a new certificate.
BACKDATE = timedelta(minutes=1)
LEAST_LIFE = timedelta(days=1)
ENCRYPTED_PEM = (b"-----BEGIN ENCRYPTED PRIVATE KEY-----", b"Proc-Type: 4,ENCRYPTED")


@dataclass(frozen=True)
class Generation:
    """A CA without its key: the certificate that signs, those between it and the root, and the root that is trusted."""

    facts: Facts
    all_facts: tuple[Facts, ...]
    chain: bytes
    root: bytes
    signer: t.Any

    @property
    def key_identifier(self) -> str:
        return self.facts.key_identifier


def read_generation(content: bytes, path: str) -> Generation:
    """Read the certificates of a CA: the one that signs first, the root last. Raises CertificateError."""
    blocks = x509.split_certificates(content)
    chain = [_told(path, block) for block in blocks]
    if not chain:
        raise CertificateError(f"{path}: there is no certificate in it; accepted is PEM, the CA that signs first")
    for facts in chain:
        if not facts.may_sign or not facts.key_identifier:
            raise CertificateError(
                f"{path}: {facts.subject} may not sign certificates; its basic constraints, key usage and subject key "
                "identifier must say that it is a CA"
            )
    for facts, issuer in zip(chain, chain[1:]):
        if facts.issuer != issuer.subject:
            raise CertificateError(
                f"{path}: {issuer.subject} did not sign {facts.subject}; put each CA behind the one it signed"
            )
    if not chain[-1].self_issued:
        raise CertificateError(
            f"{path}: the last certificate must be the root, which consumers trust; add {chain[-1].issuer}"
        )
    signer = x509.load_certificate(blocks[0])
    return Generation(chain[0], tuple(chain), b"".join(blocks[:-1]), blocks[-1], signer)


def _told(path: str, block: bytes) -> Facts:
    try:
        return x509.parse_chain(block)[0]
    except CertificateError as error:
        raise CertificateError(f"{path}: {error}") from error


def encrypted_pem(content: bytes) -> bool:
    return any(mark in content for mark in ENCRYPTED_PEM)


def open_key(content: bytes, passphrase: str | None, path: str) -> t.Any:
    """Return a private key. Raises CertificateError, which names the file and nothing of the key."""
    try:
        return x509.load_key(content, None if passphrase is None else str(passphrase).encode())
    except CertificateError as error:
        raise CertificateError(f"{path}: {error}") from error


def open_authority_key(generation: Generation, content: bytes, passphrase: str | None, path: str) -> t.Any:
    key = open_key(content, passphrase, path)
    if x509.public_hash(key.public_key()) != generation.facts.public_key:
        raise CertificateError(
            f"{path}: the key belongs to another CA than {generation.facts.subject}; name the key of this one"
        )
    return key


def life(generation: Generation, wished: Certificate, now: datetime) -> tuple[datetime, datetime]:
    """Return from when to when a certificate is valid: never longer than any CA above it. Raises CertificateError."""
    for facts in generation.all_facts:
        for fault in time_faults(facts, now, f"the CA {facts.subject}"):
            raise CertificateError(fault)
    if not 1 <= wished.life_days <= LIFE_DAYS_AT_MOST:
        raise CertificateError(
            f"{wished.name}: a life of {wished.life_days} days is not accepted; accepted are 1 to {LIFE_DAYS_AT_MOST}"
        )
    start = max(now - BACKDATE, *(facts.not_before for facts in generation.all_facts)).replace(microsecond=0)
    end = min(facts.not_after for facts in generation.all_facts)
    if end - now < LEAST_LIFE:
        raise CertificateError(
            f"the CA {generation.facts.subject} ends at {iso(end)}; add a new one as the last of generations"
        )
    return start, min(start + timedelta(days=wished.life_days), end)


def sign(generation: Generation, key: t.Any, request_pem: bytes, wished: Certificate, now: datetime) -> bytes:
    """Return a certificate as PEM. The key comes from the request; all else from the policy, whatever the host asks."""
    request = x509.load_request(request_pem)
    if x509.key_type_of(request.public_key()) != wished.key_type:
        raise CertificateError(f"{wished.name}: the host made another key than {wished.key_type}; run the task again")
    start, end = life(generation, wished, now)
    purpose = [
        ExtendedKeyUsageOID.SERVER_AUTH if usage == SERVER else ExtendedKeyUsageOID.CLIENT_AUTH
        for usage in wished.usages
    ]
    subject = x509.subject_for(wished.names)
    usage = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "key_cert_sign", "crl_sign",
         "encipher_only", "decipher_only"), False,
    )  # fmt: skip
    builder = (
        cryptography_x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(generation.signer.subject)
        .public_key(request.public_key())
        .serial_number(cryptography_x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(cryptography_x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(cryptography_x509.KeyUsage(digital_signature=True, **usage), critical=True)
        .add_extension(cryptography_x509.ExtendedKeyUsage(purpose), critical=False)
        .add_extension(x509.alternative_names(wished.names), critical=not list(subject))
        .add_extension(cryptography_x509.SubjectKeyIdentifier.from_public_key(request.public_key()), critical=False)
        .add_extension(
            cryptography_x509.AuthorityKeyIdentifier(bytes.fromhex(generation.key_identifier), None, None),
            critical=False,
        )
    )
    return x509.pem_of(builder.sign(key, x509.digest_for(key)))
