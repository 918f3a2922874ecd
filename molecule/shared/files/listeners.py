# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answer on TCP and UDP ports, IPv4 and IPv6: listeners.py PORT... ; stands for any service."""

from __future__ import annotations

import selectors
import socket
import sys


def main() -> None:
    selector = selectors.DefaultSelector()
    listeners: dict[int, socket.socket] = {}
    for port in map(int, sys.argv[1:]):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            listener = socket.socket(socket.AF_INET6, kind)
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("::", port))
            if kind == socket.SOCK_STREAM:
                listener.listen(64)
            selector.register(listener, selectors.EVENT_READ, kind)
            listeners[listener.fileno()] = listener
    while True:
        for key, _events in selector.select():
            listener = listeners[key.fd]
            if key.data == socket.SOCK_STREAM:
                connection, _peer = listener.accept()
                connection.sendall(b"hello\n")
                connection.close()
            else:
                _data, peer = listener.recvfrom(64)
                listener.sendto(b"hello\n", peer)


if __name__ == "__main__":
    main()
