# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys, requests and certificates with python3-cryptography 38 or newer."""

from __future__ import annotations

import hashlib
import ipaddress
import re
import typing as t
from datetime import datetime, timedelta, timezone

from .facts import Facts, RequestFacts
from .model import CLIENT, SERVER, CertificateError, is_address

try:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, rsa
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    HAS_CRYPTOGRAPHY = True
except ImportError:
    HAS_CRYPTOGRAPHY = False

BLOCK = re.compile(rb"-----BEGIN CERTIFICATE-----\s.+?-----END CERTIFICATE-----", re.DOTALL)
# RFC 5280 allows 64 characters; the names that count are the alternative ones anyway.
COMMON_NAME_AT_MOST = 64
CURVES = {"ecdsa_p256": "secp256r1", "ecdsa_p384": "secp384r1"}


def require() -> None:
    if not HAS_CRYPTOGRAPHY:
        raise CertificateError("the package python3-cryptography is not installed; install it, which the role tls does")


def make_key(key_type: str) -> bytes:
    """Return a new private key as PEM, not encrypted: it is for a file that only its consumer may read."""
    key: t.Any
    if key_type.startswith("rsa_"):
        key = rsa.generate_private_key(public_exponent=65537, key_size=int(key_type.partition("_")[2]))
    else:
        key = ec.generate_private_key(ec.SECP384R1() if key_type == "ecdsa_p384" else ec.SECP256R1())
    return plain_key(key)


def plain_key(key: t.Any) -> bytes:
    pem: bytes = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return pem


def pem_of(certificate: t.Any) -> bytes:
    pem: bytes = certificate.public_bytes(serialization.Encoding.PEM)
    return pem


def digest_for(key: t.Any) -> t.Any:
    """Return the digest with which a key signs; those on Edwards curves bring their own."""
    return hashes.SHA256() if isinstance(key, (rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey)) else None


def load_key(pem: bytes, passphrase: bytes | None = None) -> t.Any:
    """Return a private key. Raises CertificateError with a sentence that says nothing of the key."""
    try:
        return serialization.load_pem_private_key(pem, passphrase)
    except TypeError as error:
        reason = "it is encrypted, and no passphrase is given" if passphrase is None else "it is not encrypted"
        raise CertificateError(f"the private key cannot be opened: {reason}") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        reason = (
            "it is no private key in PEM" if passphrase is None else "the passphrase is wrong, or it is no key in PEM"
        )
        raise CertificateError(f"the private key cannot be opened: {reason}") from error


def public_hash(public_key: t.Any) -> str:
    """Return the SHA-256 of a public key with its parameters; the same for a key, its request and its certificate."""
    der = public_key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()


def public_key_of(private_pem: bytes) -> str:
    return public_hash(load_key(private_pem).public_key())


def key_type_of(public_key: t.Any) -> str:
    if isinstance(public_key, rsa.RSAPublicKey):
        return f"rsa_{public_key.key_size}"
    if isinstance(public_key, ec.EllipticCurvePublicKey):
        known = {curve: name for name, curve in CURVES.items()}
        return known.get(public_key.curve.name, f"ecdsa_{public_key.curve.name}")
    return type(public_key).__name__.strip("_").replace("PublicKey", "").lower()


def alternative_names(names: t.Iterable[str]) -> t.Any:
    return x509.SubjectAlternativeName(
        [x509.IPAddress(ipaddress.ip_address(name)) if is_address(name) else x509.DNSName(name) for name in names]
    )


def subject_for(names: t.Sequence[str]) -> t.Any:
    """Return the subject: the first name if it is short enough for one, which only people read."""
    if len(names[0]) > COMMON_NAME_AT_MOST:
        return x509.Name([])
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])


def make_request(private_pem: bytes, names: t.Sequence[str]) -> bytes:
    """Return a signing request for these names, as PEM."""
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(subject_for(names))
        .add_extension(alternative_names(names), critical=False)
        .sign(load_key(private_pem), hashes.SHA256())
    )
    return request.public_bytes(serialization.Encoding.PEM)


def self_signed() -> tuple[bytes, bytes]:
    """Return a certificate that its own key signed, and that key: what a stranger could come with."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(timezone.utc)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "nobody")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .sign(key, hashes.SHA256())
    )
    return pem_of(certificate), plain_key(key)


def load_request(pem: bytes) -> t.Any:
    """Return a request whose signature shows that the sender has the key. Raises CertificateError."""
    try:
        request = x509.load_pem_x509_csr(pem)
        if request.is_signature_valid:
            return request
    except (ValueError, UnsupportedAlgorithm, InvalidSignature) as error:
        raise CertificateError("the signing request cannot be read") from error
    raise CertificateError("the signing request was not signed with its own key")


def request_facts(pem: bytes) -> RequestFacts:
    request = load_request(pem)
    public_key = request.public_key()
    return RequestFacts(_names(request.extensions), key_type_of(public_key), public_hash(public_key))


def split_certificates(pem: bytes) -> list[bytes]:
    """Return each certificate of a file, as PEM with a line break at its end."""
    return [match.group(0) + b"\n" for match in BLOCK.finditer(pem)]


def load_certificate(pem: bytes) -> t.Any:
    try:
        return x509.load_pem_x509_certificate(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CertificateError("a certificate cannot be read; accepted is X.509 in PEM") from error


def parse_chain(pem: bytes) -> list[Facts]:
    """Return what each certificate of a file says, in its order. Raises CertificateError."""
    try:
        return [facts_of(load_certificate(block)) for block in split_certificates(pem)]
    except ValueError as error:
        raise CertificateError(f"a certificate cannot be read: {error}") from error


def facts_of(certificate: t.Any) -> Facts:
    extensions = certificate.extensions
    constraints = _extension(extensions, "BasicConstraints")
    usage = _extension(extensions, "KeyUsage")
    identifier = _extension(extensions, "SubjectKeyIdentifier")
    authority = _extension(extensions, "AuthorityKeyIdentifier")
    public_key = certificate.public_key()
    is_authority = bool(constraints and constraints.ca)
    return Facts(
        fingerprint=certificate.fingerprint(hashes.SHA256()).hex(),
        serial=f"{certificate.serial_number:x}",
        subject=certificate.subject.rfc4514_string(),
        issuer=certificate.issuer.rfc4514_string(),
        names=_names(extensions),
        usages=_usages(extensions),
        is_authority=is_authority,
        may_sign=is_authority and (usage is None or bool(usage.key_cert_sign)),
        key_type=key_type_of(public_key),
        public_key=public_hash(public_key),
        key_identifier=identifier.digest.hex() if identifier else "",
        authority_key_identifier=(authority.key_identifier or b"").hex() if authority else "",
        not_before=_moment(certificate, "not_valid_before"),
        not_after=_moment(certificate, "not_valid_after"),
    )


def _moment(certificate: t.Any, attribute: str) -> datetime:
    """Return a time in UTC; cryptography before 42 gives it without its zone, later versions lack that form."""
    aware = getattr(certificate, f"{attribute}_utc", None)
    moment: datetime = aware if aware is not None else getattr(certificate, attribute).replace(tzinfo=timezone.utc)
    return moment


def _extension(extensions: t.Any, name: str) -> t.Any:
    try:
        return extensions.get_extension_for_class(getattr(x509, name)).value
    except x509.ExtensionNotFound:
        return None


def _names(extensions: t.Any) -> tuple[str, ...]:
    found = _extension(extensions, "SubjectAlternativeName")
    if found is None:
        return ()
    return tuple(str(entry.value) for entry in found if isinstance(entry, (x509.DNSName, x509.IPAddress)))


def _usages(extensions: t.Any) -> tuple[str, ...]:
    """Return what a certificate may be used for; one that does not say may be used for all."""
    found = _extension(extensions, "ExtendedKeyUsage")
    meanings = {ExtendedKeyUsageOID.SERVER_AUTH: SERVER, ExtendedKeyUsageOID.CLIENT_AUTH: CLIENT}
    if found is None:
        return (SERVER, CLIENT)
    return tuple(usage for identifier, usage in meanings.items() if identifier in found)
