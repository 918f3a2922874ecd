# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A TLS server in a thread, which speaks PostgreSQL's negotiation too, and reads its certificate when it is told to."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from typing import Any

from ansible_collections.bulwark.hardening.plugins.module_utils.certificates.probe import SSL_REQUEST


class TLSServer:
    def __init__(self, certificate: str, key: str, client_trust: str = "", optional: bool = False) -> None:
        self.paths = (certificate, key)
        # Whom clients must be certified by, in PEM; optional leaves it to the application to refuse them.
        self.client_trust, self.optional = client_trust, optional
        self.highest = ssl.TLSVersion.MAXIMUM_SUPPORTED
        # What the application says to a client with a certificate, and to one without; empty means that it waits.
        self.says: dict[bool, bytes] = {}
        # What is sent instead of TLS: to PostgreSQL's question, or at once. Empty means silence.
        self.answer: bytes | None = None
        self.load()
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._socket.getsockname()[1]
        self._stop = False
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def load(self) -> None:
        """Do what a reload does: keep the old certificate if the new one cannot be used."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.paths)
        context.maximum_version = self.highest
        if self.client_trust:
            context.load_verify_locations(cadata=self.client_trust)
            context.verify_mode = ssl.CERT_OPTIONAL if self.optional else ssl.CERT_REQUIRED
        self.context = context

    def __enter__(self) -> TLSServer:
        self._thread.start()
        return self

    def __exit__(self, *_exception: Any) -> None:
        self._stop = True
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while True:
            connection, _address = self._socket.accept()
            if self._stop:
                connection.close()
                return
            threading.Thread(target=self._speak, args=(connection,), daemon=True).start()

    def _speak(self, connection: socket.socket) -> None:
        # A client that hung up at once leaves a session without a handshake.
        with contextlib.suppress(OSError, ValueError), connection:
            connection.settimeout(5)
            if connection.recv(1, socket.MSG_PEEK) == SSL_REQUEST[:1]:
                connection.recv(len(SSL_REQUEST))
                connection.sendall(self.answer or b"S")
                if self.answer:
                    return
            if self.answer is not None:
                time.sleep(0 if self.answer else 0.5)
                connection.sendall(self.answer)
                return
            with self.context.wrap_socket(connection, server_side=True) as session:
                if self.says:
                    session.recv(4096)
                    session.sendall(self.says[session.getpeercert(binary_form=True) is not None])
                session.recv(4096)
