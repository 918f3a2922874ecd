# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A TLS client that asks listeners for their certificate, and OpenSSL's own word on a candidate before it is served."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import socket
import ssl
import struct
import typing as t

from . import x509
from .model import CLIENT, HTTPS, POSTGRESQL, SERVER, Listener, example
from .planner import Served

TIMEOUT_SECONDS = 5.0
# PostgreSQL's SSLRequest: length and a number that no version of the protocol has.
SSL_REQUEST = struct.pack("!ii", 8, 80877103)
# Version 3.0 of its protocol, and a user who need not exist.
PARAMETERS = b"user\0bulwark_probe\0database\0postgres\0\0"
STARTUP = struct.pack("!ii", 8 + len(PARAMETERS), 196608) + PARAMETERS
# What nginx answers to a client without a certificate, or with a wrong one.
HTTP_REFUSAL = re.compile(rb"HTTP/1\.[01] (400|495|496) ")
ANSWER_SECONDS = 1.0
# OpenSSL would ask on the terminal for the passphrase of a key that should have none.
NO_PROMPT = ""
IN, OUT, UNSURE = "in", "out", "unsure"
# The paths of a certificate and its key.
Pair = tuple[str, str]


def client_context(trust: str | None) -> ssl.SSLContext:
    """Return a context that trusts these certificates, those of the system if empty, or verifies nothing if None."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if trust is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        _trust(context, trust)
    return context


def _trust(context: ssl.SSLContext, trust: str) -> None:
    if trust:
        context.load_verify_locations(cadata=trust)
    else:
        context.set_default_verify_paths()


def ask(
    listener: Listener, trust: str | None = None, own: Pair | None = None, timeout: float = TIMEOUT_SECONDS
) -> Served:
    """Return what a listener serves; with trust, only if a client that trusts these certificates accepts it.

    own: what is presented to a listener that requires a certificate of its clients.
    """
    required = listener.require_client_certificate
    served, verdict = visit(listener, trust, own if required else None, timeout)
    if served.fault or not required:
        return served
    if own and verdict == OUT:
        return Served(fault="does not let in a client with this certificate")
    with nobody() as stranger:
        for presented, kind in ((None, "without a certificate"), (stranger, "with a certificate of nobody")):
            if visit(listener, None, presented, timeout)[1] == IN:
                return Served(fault=f"lets in a client {kind}")
    return served


def visit(listener: Listener, trust: str | None, own: Pair | None, timeout: float) -> tuple[Served, str]:
    """Return what a client is served, and whether it is let in if its certificate matters."""
    try:
        connection = socket.create_connection((listener.address, listener.port), timeout)
    except ConnectionRefusedError:
        return Served(fault="is closed", absent=True), UNSURE
    except OSError as error:
        return Served(fault=f"does not answer: {error}", absent=True), UNSURE
    with connection:
        try:
            if listener.protocol == POSTGRESQL:
                connection.sendall(SSL_REQUEST)
                answer = connection.recv(1)
                if answer != b"S":
                    return Served(fault="does not offer TLS" if answer == b"N" else "is no PostgreSQL"), UNSURE
            context = client_context(trust)
            if own:
                context.load_cert_chain(*own)
            with context.wrap_socket(connection, server_hostname=listener.server_name or listener.address) as session:
                served = Served(hashlib.sha256(session.getpeercert(binary_form=True) or b"").hexdigest())
                return served, admission(session, listener) if listener.require_client_certificate else UNSURE
        except ssl.SSLCertVerificationError as error:
            return Served(fault=f"serves a certificate that is not accepted: {error.verify_message}"), UNSURE
        except (ssl.SSLError, OSError) as error:
            return Served(fault=f"does not speak TLS as it should: {reason(error)}"), OUT


def admission(session: ssl.SSLSocket, listener: Listener) -> str:
    """Return whether a server takes a client, which TLS 1.3 and some protocols say only after the handshake."""
    session.settimeout(ANSWER_SECONDS)
    try:
        if listener.protocol == HTTPS:
            session.sendall(f"GET / HTTP/1.0\r\nHost: {listener.server_name}\r\n\r\n".encode())
        elif listener.protocol == POSTGRESQL:
            session.sendall(STARTUP)
        answer = session.recv(4096)
    except socket.timeout:
        # It waits for more than a handshake.
        return IN
    except OSError:
        return OUT
    if not answer:
        return OUT
    if listener.protocol == HTTPS:
        return OUT if HTTP_REFUSAL.match(answer) else IN
    if listener.protocol == POSTGRESQL and answer.startswith(b"E"):
        return OUT if b"certificate" in answer else UNSURE
    return IN


@contextlib.contextmanager
def nobody() -> t.Iterator[Pair]:
    """Yield a certificate that no CA signed, in memory."""
    files = [os.memfd_create(name) for name in ("certificate", "key")]
    try:
        for file, content in zip(files, x509.self_signed()):
            os.write(file, content)
        yield f"/proc/self/fd/{files[0]}", f"/proc/self/fd/{files[1]}"
    finally:
        for file in files:
            os.close(file)


def reason(error: OSError) -> str:
    return str(getattr(error, "reason", "") or error.strerror or error).replace("_", " ").lower()


def rehearse(
    full_chain_path: str, key_path: str, trust: str, names: t.Iterable[str], usages: t.Iterable[str]
) -> list[str]:
    """Return why a client or server would not accept a candidate, as OpenSSL says; no network is touched."""
    try:
        own = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        own.load_cert_chain(full_chain_path, key_path, NO_PROMPT)
        if SERVER in usages:
            for name in names:
                handshake(own, client_context(trust), example(name))
        if CLIENT in usages:
            presented = client_context(None)
            presented.load_cert_chain(full_chain_path, key_path)
            asking = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            asking.load_cert_chain(full_chain_path, key_path)
            asking.verify_mode = ssl.CERT_REQUIRED
            _trust(asking, trust)
            handshake(asking, presented, None)
    except ssl.SSLCertVerificationError as error:
        return [f"whoever trusts {'the CA' if trust else 'the CAs of the system'} refuses it: {error.verify_message}"]
    except (ssl.SSLError, OSError) as error:
        return [f"OpenSSL does not take it: {reason(error)}"]
    return []


def belong_together(certificate_path: str, key_path: str) -> bool:
    """Return whether a key is that of a certificate.

    python3-cryptography would check whether an RSA key is sound each time, which takes a tenth of a second.
    """
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate_path, key_path, NO_PROMPT)
    except (ssl.SSLError, OSError):
        return False
    return True


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, server_name: str | None) -> None:
    """Let two contexts shake hands in memory. Raises ssl.SSLError with the word of the side that refuses."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [
        client.wrap_bio(to_client, to_server, server_hostname=server_name),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    # Each side speaks at most a few times; one that wants more than that hangs.
    for _turn in range(10):
        waiting = []
        for side in sides:
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                waiting.append(side)
        if not waiting:
            return
    raise ssl.SSLError("the handshake does not end")
