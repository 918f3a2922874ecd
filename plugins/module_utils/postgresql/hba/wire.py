# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask a PostgreSQL server how it would let somebody in, up to its first answer: no password is needed or sent."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import typing as t
from dataclasses import dataclass

from .match import LOCAL, NO_RULE, REJECT, TLS, Connection
from .syntax import Record

SECONDS = 5.0
PROTOCOL = 196608
TLS_REQUEST = struct.pack(">ii", 8, 80877103)
MAXIMUM_BYTES = 30000

ADMITTED, PASSWORD, MD5, SCRAM, OAUTH, GSS, SSPI = "admitted", "password", "md5", "scram", "oauth", "gss", "sspi"
# refused: by a rule, or for want of one. failed: a rule admits, and the client did not prove who it is.
REFUSED, FAILED, NO_TLS, UNTRUSTED = "refused", "failed", "no tls", "untrusted"
UNREACHABLE, ERROR = "unreachable", "error"
REQUESTS = {0: ADMITTED, 3: PASSWORD, 5: MD5, 7: GSS, 9: SSPI}
ASKED = {
    "trust": {ADMITTED},
    "peer": {ADMITTED, FAILED},
    "ident": {ADMITTED, FAILED},
    "scram-sha-256": {SCRAM},
    # A server asks those for SCRAM whose verifier is one.
    "md5": {MD5, SCRAM},
    "password": {PASSWORD},
    "ldap": {PASSWORD},
    "radius": {PASSWORD},
    "pam": {PASSWORD, FAILED},
    "gss": {GSS},
    "oauth": {OAUTH},
    REJECT: {REFUSED},
    NO_RULE: {REFUSED},
}


@dataclass(frozen=True)
class Answer:
    """What the server said first; ``detail`` is in its own words."""

    kind: str
    detail: str = ""


@dataclass(frozen=True)
class Target:
    """Where to connect: the path of a socket, or an address or name with a port. source: the own address to use."""

    host: str
    port: int = 5432
    source: str = ""


def expected(record: Record | None) -> set[str]:
    """Return the answers that fit a decision, for a client without a certificate."""
    if record is None:
        return ASKED[NO_RULE]
    return {REFUSED} if record.asks_certificate else ASKED[record.method]


def ask(target: Target, connection: Connection, context: ssl.SSLContext | None = None) -> Answer:
    """Return the server's first answer to a login. Without a context, the server's certificate is not verified."""
    try:
        with contextlib.closing(_connected(target)) as plain:
            if connection.kind != TLS:
                return _ask(plain, connection)
            plain.sendall(TLS_REQUEST)
            if plain.recv(1) != b"S":
                return Answer(NO_TLS, "the server does not offer TLS")
            name = target.host.partition("%")[0]
            with (context or unverified()).wrap_socket(plain, server_hostname=name) as encrypted:
                return _ask(encrypted, connection)
    except ssl.SSLCertVerificationError as error:
        return Answer(UNTRUSTED, f"its certificate is not accepted: {error.verify_message}")
    except ssl.SSLError as error:
        return Answer(NO_TLS, f"TLS failed: {error.reason or error}")
    except OSError as error:
        return Answer(UNREACHABLE, error.strerror or str(error) or "no answer in time")


def verified(ca_file: str) -> ssl.SSLContext:
    """Return a context as libpq's verify-full has it. Raises OSError for a file that holds no CAs."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(ca_file)
    return context


def unverified() -> ssl.SSLContext:
    """Return a context for questions about rules, to which it does not matter who answers."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _connected(target: Target) -> socket.socket:
    if not target.host.startswith("/"):
        source = (target.source, 0) if target.source else None
        return socket.create_connection((target.host, target.port), SECONDS, source)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(SECONDS)
        connection.connect(target.host)
    except BaseException:
        connection.close()
        raise
    return connection


def startup(connection: Connection) -> bytes:
    """Return the message that begins a session."""
    wishes = {"user": connection.user, "application_name": "bulwark"}
    wishes.update({"replication": "true"} if connection.replication else {"database": connection.database})
    body = b"".join(f"{name}\0{value}\0".encode("utf-8", "surrogateescape") for name, value in wishes.items())
    return struct.pack(">ii", len(body) + 9, PROTOCOL) + body + b"\0"


def _ask(stream: socket.socket, connection: Connection) -> Answer:
    stream.sendall(startup(connection))
    kind, length = struct.unpack(">ci", _exactly(stream, 5))
    if kind not in (b"R", b"E") or not 8 <= length <= MAXIMUM_BYTES:
        return Answer(ERROR, f"the answer is none of PostgreSQL's: it begins with {kind!r}")
    return answer_of(kind, _exactly(stream, length - 4))


def _exactly(stream: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = stream.recv(size - len(data))
        if not more:
            raise ConnectionResetError(0, "the server closed the connection without an answer")
        data += more
    return data


def answer_of(kind: bytes, body: bytes) -> Answer:
    """Return what a message of the type R (request for authentication) or E (error) says."""
    if kind == b"R":
        (code,) = struct.unpack(">i", body[:4])
        if code == 10:
            mechanisms = body[4:].decode("ascii", "replace").strip("\0").split("\0")
            return Answer(OAUTH if "OAUTHBEARER" in mechanisms else SCRAM, ", ".join(mechanisms))
        return Answer(REQUESTS.get(code, ERROR), f"request {code}")
    fields: dict[str, str] = {chr(part[0]): part[1:].decode("utf-8", "replace") for part in body.split(b"\0") if part}
    state, said = fields.get("C", ""), fields.get("M", "")
    if not state.startswith("28"):
        return Answer(ERROR, f"{said} ({state})")
    # The routine tells a refusal by the rules from a failed proof; the words depend on the server's language.
    return Answer(FAILED if fields.get("R") == "auth_failed" else REFUSED, said)


def agrees(record: Record | None, answer: Answer, offers_tls: bool, kind: str) -> bool:
    """Return whether the server's answer is that of the decision."""
    if kind == TLS and not offers_tls:
        return answer.kind == NO_TLS
    return answer.kind in expected(record)


def socket_of(directory: str, port: int) -> Target:
    """Return the target for connections by the socket."""
    return Target(f"{directory}/.s.PGSQL.{port}")


def reachable(connection: Connection, listening: t.Collection[str], own: t.Callable[[str], bool]) -> str:
    """Return the address to connect to so that the server sees the probe's own address, empty if there is none here."""
    address = connection.address
    if connection.kind == LOCAL or not address:
        return ""
    everywhere = {"*", "::" if ":" in address else "0.0.0.0"}  # noqa: S104  # compared with, not listened on
    if address.startswith("127."):
        return "127.0.0.1" if {*everywhere, "localhost", "127.0.0.1"} & set(listening) else ""
    if address == "::1":
        return "::1" if {*everywhere, "localhost", "::1"} & set(listening) else ""
    return address if own(address) and {*everywhere, address} & set(listening) else ""
