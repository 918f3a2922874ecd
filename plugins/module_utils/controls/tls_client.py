# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A TLS client that offers what it is told to, however old, and says what a listener makes of it.

It is not the one that proves certificates when they are deployed, so that neither can hide a mistake of the other.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from .host import Host
from .model import Unreadable

TIMEOUT_SECONDS = 5.0
ANSWER_SECONDS = 1.0
HTTPS, POSTGRESQL = "https", "postgresql"
# Everything that this OpenSSL knows, without a check of key lengths and digests.
EVERY_SUITE = ("ALL", "COMPLEMENTOFALL", "@SECLEVEL=0")
# SSLRequest: its length, and the number that stands for it.
SSL_REQUEST = struct.pack("!ii", 8, 80877103)
# How nginx and others refuse a client after the handshake; what may have another cause says nothing.
HTTP_REFUSAL = re.compile(rb"HTTP/1\.[01] (400|495|496) ")
HTTP_UNCLEAR = re.compile(rb"HTTP/1\.[01] (401|403) ")
# What OpenSSL says when the other side does not want this version or these suites, beside its alerts.
REFUSALS = ("ALERT", "UNSUPPORTED_PROTOCOL", "WRONG_VERSION_NUMBER", "WRONG_SSL_VERSION", "UNEXPECTED_EOF")
# What it says when they agree on both, and it does not want the client's certificate.
UNWELCOME_ALERTS = re.compile("ALERT_(BAD_CERT|UNSUPPORTED_CERT|CERTIFICATE|UNKNOWN_CA|ACCESS_DENIED)")
SPOKE, REFUSED, DISTRUSTED, UNWELCOME = "spoke", "refused", "distrusted", "unwelcome"
ABSENT, UNSURE = "absent", "unsure"
# Paths of a certificate with its chain, and of its key.
Pair = tuple[str, str]


@dataclass(frozen=True)
class Listener:
    """Where a certificate is served, and how it is asked for."""

    address: str
    port: int
    server_name: str
    protocol: str
    require_client_certificate: bool = False

    def __str__(self) -> str:
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{host}:{self.port} ({self.server_name})"


@dataclass(frozen=True)
class Offer:
    """What a client is ready to speak; without a version from TLS 1.2 on. trust: in PEM, empty for the system's."""

    version: ssl.TLSVersion | None = None
    suites: tuple[str, ...] = ()
    trust: str | None = None
    own: Pair | None = None
    converse: bool = False


@dataclass(frozen=True)
class Visit:
    """What came of it. certificate: in DER. let_in: whether the program behind took the client; None if unknown."""

    outcome: str
    words: str = ""
    certificate: bytes = b""
    suite: str = ""
    let_in: bool | None = None


def context(offer: Offer) -> ssl.SSLContext:
    """Return what speaks an offer. Raises Unreadable if this host cannot."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = offer.trust is not None
    try:
        made.minimum_version = offer.version or ssl.TLSVersion.TLSv1_2
        made.maximum_version = offer.version or ssl.TLSVersion.MAXIMUM_SUPPORTED
        if offer.suites:
            made.set_ciphers(":".join(offer.suites))
        if offer.trust is None:
            made.verify_mode = ssl.CERT_NONE
        elif offer.trust:
            made.load_verify_locations(cadata=offer.trust)
        else:
            made.set_default_verify_paths()
        if offer.own:
            # An empty passphrase: OpenSSL would ask for one on the terminal.
            made.load_cert_chain(*offer.own, password="")
    except (ssl.SSLError, OSError, ValueError) as error:
        raise Unreadable(f"this host cannot make such a client: {reason(error)}") from error
    return made


def visit(listener: Listener, offer: Offer) -> Visit:
    """Return what a listener makes of an offer."""
    try:
        made = context(offer)
    except Unreadable as error:
        return Visit(UNSURE, str(error))
    return visit_with(listener, made, offer.converse)


def visit_with(listener: Listener, made: ssl.SSLContext, converse: bool) -> Visit:
    try:
        connection = socket.create_connection((listener.address, listener.port), TIMEOUT_SECONDS)
    except OSError as error:
        return Visit(ABSENT, f"nobody answers there: {reason(error)}")
    with connection:
        try:
            refusal = ask_for_tls(connection) if listener.protocol == POSTGRESQL else None
            if refusal:
                return refusal
            with made.wrap_socket(connection, server_hostname=listener.server_name) as session:
                cipher = session.cipher()
                return Visit(
                    SPOKE,
                    certificate=session.getpeercert(binary_form=True) or b"",
                    suite=cipher[0] if cipher else "",
                    let_in=let_in(session, listener) if converse else None,
                )
        except ssl.SSLCertVerificationError as error:
            return Visit(DISTRUSTED, error.verify_message)
        except socket.timeout:
            return Visit(UNSURE, f"it does not go on within {TIMEOUT_SECONDS:g} seconds")
        except (ssl.SSLError, OSError) as error:
            outcome = outcome_of(error)
            return Visit(outcome, reason(error), let_in=None if outcome == UNSURE else False)


def ask_for_tls(connection: socket.socket) -> Visit | None:
    """Ask as PostgreSQL's clients do; returns what came of it if there will be no TLS."""
    connection.sendall(SSL_REQUEST)
    answer = connection.recv(1)
    if answer == b"S":
        return None
    return Visit(REFUSED, "it does not offer TLS") if answer == b"N" else Visit(UNSURE, "it is no PostgreSQL")


def outcome_of(error: OSError) -> str:
    """Return whether the other side did not want it; anything else may be this side's inability."""
    said = str(getattr(error, "reason", "") or "")
    if UNWELCOME_ALERTS.search(said):
        return UNWELCOME
    if isinstance(error, (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError)):
        return REFUSED
    return REFUSED if any(word in said for word in REFUSALS) else UNSURE


def let_in(session: ssl.SSLSocket, listener: Listener) -> bool | None:
    """Return whether the program takes a client, which it may say only after the handshake."""
    session.settimeout(ANSWER_SECONDS)
    try:
        if listener.protocol == HTTPS:
            session.sendall(f"GET / HTTP/1.0\r\nHost: {listener.server_name}\r\n\r\n".encode())
        elif listener.protocol == POSTGRESQL:
            session.sendall(startup())
        answer = session.recv(4096)
    except socket.timeout:
        # It waits for the client to say more.
        return True
    except OSError:
        return False
    if not answer:
        return False
    if listener.protocol == HTTPS:
        return None if HTTP_UNCLEAR.match(answer) else HTTP_REFUSAL.match(answer) is None
    if listener.protocol == POSTGRESQL and answer[:1] == b"E":
        # Any other complaint, such as one about the user, says nothing of certificates.
        return False if b"certificate" in answer else None
    return True


def startup() -> bytes:
    """Return PostgreSQL's first message, version 3.0, for a user who need not exist."""
    body = struct.pack("!i", 196608) + b"user\0bulwark_controls\0database\0postgres\0\0"
    return struct.pack("!i", 4 + len(body)) + body


@contextmanager
def stranger(host: Host) -> Iterator[Pair]:
    """Yield a certificate that no CA signed and its key, both in memory. Raises Unreadable."""
    opened = [os.memfd_create(name) for name in ("certificate", "key")]
    certificate, key = (f"/proc/{os.getpid()}/fd/{descriptor}" for descriptor in opened)
    try:
        host.output(
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-subj", "/CN=stranger", "-days", "1", "-keyout", key, "-out", certificate,
        )  # fmt: skip
        yield certificate, key
    finally:
        for descriptor in opened:
            with suppress(OSError):
                os.close(descriptor)


def suites_but(names: Sequence[str]) -> tuple[str, ...]:
    """Return every suite before TLS 1.3 except these."""
    return (*EVERY_SUITE, *(f"!{name}" for name in names))


def reason(error: Exception) -> str:
    said = getattr(error, "reason", "") or getattr(error, "strerror", "") or error
    return str(said).replace("_", " ").lower()
