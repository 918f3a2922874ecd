# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server that reads its certificate only when it starts, and drops who is with it when it ends: daemon.py PORT."""

from __future__ import annotations

import socketserver
import ssl
import sys
import time

DIRECTORY = "/etc/bulwark/tls/daemon/current"
ANSWER = b"HTTP/1.0 200 OK\r\nContent-Length: 7\r\n\r\nserved\n"
# So long somebody is with it, whom a restart would drop.
WORK_SECONDS = 0.05


class Handler(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        try:
            with context.wrap_socket(self.request, server_side=True) as session:
                if session.recv(4096):
                    time.sleep(WORK_SECONDS)
                    session.sendall(ANSWER)
                    session.unwrap()
        except OSError:
            # A check of the proxy, which only looks whether somebody listens.
            return


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(f"{DIRECTORY}/full_chain.pem", f"{DIRECTORY}/key.pem")

if __name__ == "__main__":
    Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
