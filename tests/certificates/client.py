# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A client that makes new TLS connections until its standard input ends; runs on a host of its own.

The first line of standard input says, as JSON, whom to visit and how many seconds to pause before. Each connection
verifies chain and name with the trust that the host has at that moment, and is done only when the server answered.
Prints what came of it every second.
"""

from __future__ import annotations

import hashlib
import json
import socket
import ssl
import struct
import sys
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SSL_REQUEST = struct.pack("!ii", 8, 80877103)
PATIENCE_SECONDS = 20
TOLD_AT_MOST = 10
LEAD_AT_MOST, LEADER_WAITS_SECONDS = 50, 0.05


class Refused(OSError):
    """The server did not do what was asked of it."""


@dataclass
class Trust:
    """What a host trusts and presents: trust.pem and current/ below a directory, read anew when they have changed."""

    directory: str
    presents: bool = False
    _known: Any = None
    _context: ssl.SSLContext | None = None

    def context(self) -> ssl.SSLContext:
        # Key and certificate change together by one link, so they are read from the place where it leads.
        version = Path(self.directory, "current").readlink() if self.presents else Path()
        state = Path(self.directory, "trust.pem").stat()
        if self._context is None or self._known != (version, state.st_ino, state.st_mtime_ns):
            context = ssl.create_default_context(cafile=f"{self.directory}/trust.pem")
            if self.presents:
                own = Path(self.directory, version)
                context.load_cert_chain(own / "full_chain.pem", own / "key.pem")
            self._known, self._context = (version, state.st_ino, state.st_mtime_ns), context
        return self._context


@dataclass
class Target:
    """A listener, and what came of the connections to it."""

    name: str
    address: str
    port: int
    server_name: str
    protocol: str
    made: int = 0
    failed: int = 0
    seen: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def visit(self, context: ssl.SSLContext) -> str:
        """Make one connection and return the fingerprint that was served. Raises OSError."""
        with socket.create_connection((self.address, self.port), PATIENCE_SECONDS) as connection:
            if self.protocol == "postgresql":
                connection.sendall(SSL_REQUEST)
                if connection.recv(1) != b"S":
                    raise Refused("no TLS offered")
            with context.wrap_socket(connection, server_hostname=self.server_name) as session:
                served = hashlib.sha256(session.getpeercert(binary_form=True) or b"").hexdigest()
                if self.protocol == "postgresql":
                    query(session)
                else:
                    fetch(session, self.server_name)
        return served

    def keep_visiting(self, trust: Trust, others: list[Target], pause_seconds: float, ended: threading.Event) -> None:
        while not ended.wait(pause_seconds):
            # The fast ones leave some time to the slow ones, so that all have about as many.
            if self.made > min(other.made for other in others) + LEAD_AT_MOST:
                ended.wait(LEADER_WAITS_SECONDS)
            try:
                self.seen[self.visit(trust.context())] += 1
                self.made += 1
            except OSError as error:
                self.failed += 1
                self.failures = [*self.failures, repr(error)][:TOLD_AT_MOST]


def fetch(session: ssl.SSLSocket, name: str) -> None:
    """Ask for a page, and read it to its end."""
    session.sendall(f"GET / HTTP/1.0\r\nHost: {name}\r\n\r\n".encode())
    answer = b"".join(iter(lambda: session.recv(4096), b""))
    if b" 200 " not in answer or b"served" not in answer:
        raise Refused(f"no page: {answer[:80]!r}")


def query(session: ssl.SSLSocket) -> None:
    """Log in to PostgreSQL with the certificate that was presented, and ask it something."""
    parameters = b"user\0client\0database\0postgres\0\0"
    session.sendall(struct.pack("!ii", 8 + len(parameters), 196608) + parameters)
    until_ready(session)
    question = b"select 6 * 7\0"
    session.sendall(b"Q" + struct.pack("!i", 4 + len(question)) + question)
    answer = until_ready(session)
    if b"D" not in answer or not answer[b"D"].endswith(b"42"):
        raise Refused(f"no row: {answer!r}")
    session.sendall(b"X" + struct.pack("!i", 4))


def until_ready(session: ssl.SSLSocket) -> dict[bytes, bytes]:
    """Return what PostgreSQL says until it is ready for a query, by the kind of message."""
    said: dict[bytes, bytes] = {}
    while b"Z" not in said:
        header = exactly(session, 5)
        kind, length = header[:1], int.from_bytes(header[1:], "big")
        said[kind] = exactly(session, length - 4)
        if kind == b"E":
            raise Refused(said[kind].replace(b"\0", b" ").decode(errors="replace"))
    return said


def exactly(session: ssl.SSLSocket, length: int) -> bytes:
    content = b""
    while len(content) < length:
        part = session.recv(length - len(content))
        if not part:
            raise Refused("the server hangs up")
        content += part
    return content


def main() -> None:
    told = json.loads(sys.stdin.readline())
    targets = [Target(**entry) for entry in told["targets"]]
    ended = threading.Event()
    threads = [
        threading.Thread(
            target=target.keep_visiting,
            args=(Trust(told["directory"], target.protocol == "postgresql"), targets, told["pause_seconds"], ended),
        )
        for target in targets
    ]
    for thread in threads:
        thread.start()

    def wait_for_the_end() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=wait_for_the_end, daemon=True).start()
    while not ended.wait(1):
        tell(targets)
    for thread in threads:
        thread.join()
    tell(targets)


def tell(targets: list[Target]) -> None:
    answer: dict[str, dict[str, Any]] = {}
    for target in targets:
        entry = answer.setdefault(target.name, {"made": 0, "failed": 0, "seen": {}, "failures": []})
        entry["made"] += target.made
        entry["failed"] += target.failed
        for fingerprint, number in list(target.seen.items()):
            entry["seen"][fingerprint] = entry["seen"].get(fingerprint, 0) + number
        entry["failures"] += target.failures
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
