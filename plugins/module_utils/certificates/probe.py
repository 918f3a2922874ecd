# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A TLS client that asks listeners for their certificate, and OpenSSL's own word on a candidate before it is served."""

from __future__ import annotations

import hashlib
import socket
import ssl
import struct
import typing as t

from .model import CLIENT, POSTGRESQL, SERVER, Listener, example
from .planner import Served

TIMEOUT_SECONDS = 5.0
# PostgreSQL's SSLRequest: length and a number that no version of the protocol has.
SSL_REQUEST = struct.pack("!ii", 8, 80877103)


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


def ask(listener: Listener, trust: str | None = None, timeout: float = TIMEOUT_SECONDS) -> Served:
    """Return what a listener serves; with trust, only if a client that trusts these certificates accepts it."""
    try:
        connection = socket.create_connection((listener.address, listener.port), timeout)
    except ConnectionRefusedError:
        return Served(fault="is closed", absent=True)
    except OSError as error:
        return Served(fault=f"does not answer: {error}", absent=True)
    with connection:
        try:
            if listener.protocol == POSTGRESQL:
                connection.sendall(SSL_REQUEST)
                answer = connection.recv(1)
                if answer != b"S":
                    return Served(fault="does not offer TLS" if answer == b"N" else "is no PostgreSQL")
            context = client_context(trust)
            with context.wrap_socket(connection, server_hostname=listener.server_name or listener.address) as session:
                return Served(hashlib.sha256(session.getpeercert(binary_form=True) or b"").hexdigest())
        except ssl.SSLCertVerificationError as error:
            return Served(fault=f"serves a certificate that is not accepted: {error.verify_message}")
        except (ssl.SSLError, OSError) as error:
            return Served(fault=f"does not speak TLS as it should: {reason(error)}")


def reason(error: OSError) -> str:
    return str(getattr(error, "reason", "") or error.strerror or error).replace("_", " ").lower()


def rehearse(
    full_chain_path: str, key_path: str, trust: str, names: t.Iterable[str], usages: t.Iterable[str]
) -> list[str]:
    """Return why a client or server would not accept a candidate, as OpenSSL says; no network is touched."""
    try:
        own = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        own.load_cert_chain(full_chain_path, key_path)
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
