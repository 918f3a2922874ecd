# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""CAs and certificates that the openssl program makes, so that nothing of the product vouches for itself."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509 as cryptography_x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID

from ansible_collections.bulwark.hardening.plugins.module_utils.certificates import x509
from ansible_collections.bulwark.hardening.plugins.module_utils.certificates.model import Certificate
from ansible_collections.bulwark.hardening.plugins.plugin_utils import authority

CA_EXTENSIONS = ("basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,cRLSign")


def openssl(*words: str, given: bytes = b"") -> bytes:
    done = subprocess.run(["openssl", *words], input=given, capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


@dataclass(frozen=True)
class TestCA:
    """A root, or a CA below one: its certificates from the signing one to the root, and its key in clear."""

    __test__ = False
    chain: bytes
    key: bytes

    @property
    def generation(self) -> authority.Generation:
        return authority.read_generation(self.chain, "ca.pem")

    @property
    def trust(self) -> str:
        return self.generation.root.decode()

    def sign(self, request: bytes, wished: Certificate, now: datetime | None = None) -> tuple[bytes, bytes]:
        """Return the certificate and the chain, as the controller makes them."""
        moment = now or datetime.now(timezone.utc)
        return authority.sign(self.generation, x509.load_key(self.key), request, wished, moment), self.generation.chain


def make_ca(directory: Path, name: str, below: TestCA | None = None, days: int = 3650) -> TestCA:
    """Let openssl make a CA."""
    key, certificate = directory / f"{name}.key", directory / f"{name}.pem"
    openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(key))
    extensions = [word for extension in CA_EXTENSIONS for word in ("-addext", extension)]
    issuer: list[str] = []
    if below:
        (directory / "above.pem").write_bytes(below.chain)
        (directory / "above.key").write_bytes(below.key)
        issuer = ["-CA", str(directory / "above.pem"), "-CAkey", str(directory / "above.key")]
    request = directory / f"{name}.csr"
    if below:
        openssl("req", "-new", "-key", str(key), "-subj", f"/CN={name}", *extensions, "-out", str(request))
        openssl(
            "x509", "-req", "-in", str(request), *issuer, "-days", str(days), "-copy_extensions", "copy",
            "-extfile", str(_identifiers(directory)), "-out", str(certificate),
        )  # fmt: skip
    else:
        openssl(
            "req", "-x509", "-new", "-key", str(key), "-subj", f"/CN={name}", "-days", str(days), *extensions,
            "-out", str(certificate),
        )  # fmt: skip
    return TestCA(certificate.read_bytes() + (below.chain if below else b""), key.read_bytes())


def _identifiers(directory: Path) -> Path:
    path = directory / "identifiers"
    path.write_text("subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n")
    return path


def leaf(
    ca: TestCA,
    key: bytes,
    names: tuple[str, ...] = ("www.example.org",),
    start: timedelta = timedelta(hours=-1),
    life: timedelta = timedelta(days=30),
    usages: tuple[str, ...] = ("server",),
    is_authority: bool = False,
) -> bytes:
    """Return a certificate that says whatever it is told to, however wrong. key: or a request for one."""
    public_key = x509.load_request(key).public_key() if b"REQUEST" in key else x509.load_key(key).public_key()
    oids = {"server": ExtendedKeyUsageOID.SERVER_AUTH, "client": ExtendedKeyUsageOID.CLIENT_AUTH}
    start_at = datetime.now(timezone.utc).replace(microsecond=0) + start
    builder = (
        cryptography_x509.CertificateBuilder()
        .subject_name(cryptography_x509.Name([]))
        .issuer_name(ca.generation.signer.subject)
        .public_key(public_key)
        .serial_number(cryptography_x509.random_serial_number())
        .not_valid_before(start_at)
        .not_valid_after(start_at + life)
        .add_extension(cryptography_x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(x509.alternative_names(names), critical=True)
        .add_extension(cryptography_x509.ExtendedKeyUsage([oids[usage] for usage in usages]), critical=False)
        .add_extension(
            cryptography_x509.AuthorityKeyIdentifier(bytes.fromhex(ca.generation.key_identifier), None, None),
            critical=False,
        )
    )
    return x509.pem_of(builder.sign(x509.load_key(ca.key), hashes.SHA256()))
