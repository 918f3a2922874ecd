# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inside of a rehearsal: builds the private network, loads the candidate, tries the connections.

Runs as the first process of private mount, network and process namespaces, so that all of it ends with this process.
A second network namespace, the far side, owns the addresses that connections come from and go to.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import ipaddress
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import IO, Any

from .commands import ENVIRONMENT, NotStarted, run_command, start_command
from .probe import CLOSED, OPEN, UNKNOWN, Probe, Verdict, tcp_connect
from .state import Command

FAR_LINK = "bulwark-far"
WORKERS = 128
BACKLOG = 1024
RETRY_SECONDS = 3.0
# File systems whose content is the host's; everything else is either private by now or not a file system on disk.
DISK_POINTS = ("/", "/etc", "/usr", "/var", "/home", "/root", "/opt", "/srv", "/boot", "/var/lib", "/var/log")


class Unsupported(Exception):
    """This host does not allow what a rehearsal needs."""


class LoadFailed(Exception):
    """A required command of the candidate failed."""


def main() -> int:
    """Read one JSON object from standard input and write one to standard output."""
    if sys.argv[1:] == ["far"]:
        return _far_side()
    specification = json.loads(sys.stdin.readline())
    # The starter keeps the pipe open; when it dies, however that happens, this ends too.
    threading.Thread(target=_end_with_starter, daemon=True).start()
    _answer({"started": True})
    try:
        _answer(_rehearse(specification))
    except Unsupported as problem:
        _answer({"unsupported": str(problem)})
    except LoadFailed as problem:
        _answer({"failed": str(problem)})
    except OSError as problem:
        _answer({"unsupported": f"the private network could not be used: {problem}"})
    # No waiting for threads or children: the process namespace takes them along.
    os._exit(0)


def _answer(message: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def _end_with_starter() -> None:
    sys.stdin.read()
    os._exit(1)


def _rehearse(specification: Mapping[str, Any]) -> dict[str, Any]:
    probes = [Probe(**raw) for raw in specification["probes"]]
    after = [Probe(**raw) for raw in specification["probes_after_rollback"]]
    timeout = float(specification["probe_timeout_seconds"])
    _cover_files(specification["mounts"])
    with contextlib.closing(FarSide()) as far:
        network = Network(specification["interface"], specification["addresses"], [*probes, *after])
        network.build(far)
        _run_all(specification["load"])
        verdicts = network.try_all(probes, timeout, far)
        _run_all(specification["unload"])
        verdicts_after = network.try_all(after, timeout, far)
    return {
        "verdicts": [[verdict.observed, verdict.detail] for verdict in verdicts],
        "verdicts_after_rollback": [[verdict.observed, verdict.detail] for verdict in verdicts_after],
    }


def _must(*argv: str, descriptors: Sequence[int] = (), text: str = "") -> None:
    """Run a building step; its failure means that rehearsals are not possible here."""
    try:
        done = subprocess.run(  # pylint: disable=ansible-bad-function  # there is no AnsibleModule here
            argv, input=text, capture_output=True, text=True, env=ENVIRONMENT, pass_fds=descriptors, check=False
        )
    except OSError as error:
        raise Unsupported(f"{argv[0]} cannot be run: {error.strerror}") from error
    if done.returncode != 0:
        raise Unsupported(f"{' '.join(argv[:4])}: {(done.stderr.splitlines() or ['no output'])[0]}")


def _cover_files(mounts: Sequence[Sequence[str]]) -> None:
    """Put the staged files over the real ones, give daemons a private /run, and write-protect the host's own files."""
    opened = [(os.open(staged, os.O_PATH | os.O_CLOEXEC), real) for staged, real in mounts]
    _must("mount", "-t", "tmpfs", "-o", "mode=0755", "bulwark", "/run")
    for name in ("lock", "dbus", "firewalld"):
        os.makedirs(f"/run/{name}", exist_ok=True)
    # Only the network's own settings may be written; the others are shared with the host.
    _must("mount", "--bind", "/proc/sys", "/proc/sys")
    _must("mount", "--bind", "/proc/sys/net", "/proc/sys/net")
    _must("mount", "-o", "remount,bind,ro", "/proc/sys")
    with open("/proc/self/mountinfo", encoding="utf-8") as table:
        points = {line.split()[4] for line in table}
    for point in DISK_POINTS:
        if point in points:
            _must("mount", "-o", "remount,bind,ro", point)
    _must("mount", "-t", "tmpfs", "-o", "mode=1777", "bulwark", "/var/log")
    for descriptor, real in opened:
        _must("mount", "--bind", f"/proc/self/fd/{descriptor}", real, descriptors=[descriptor])
        _must("mount", "-o", "remount,bind,rw", real)
        os.close(descriptor)


class FarSide:
    """The process in the second network namespace; one JSON object per line each way."""

    def __init__(self) -> None:
        # The program is an open file, /proc/self/fd/N, which the other side needs as well.
        program = int(sys.argv[0].rpartition("/")[2])
        self._process = subprocess.Popen(  # pylint: disable=ansible-bad-function  # there is no AnsibleModule here
            ["unshare", "--net", sys.executable, "-I", sys.argv[0], "far"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=[program],
        )
        self.process = self._process.pid
        self._receive()

    def ask(self, request: Mapping[str, Any]) -> Any:
        stream = self._stream(self._process.stdin)
        stream.write(json.dumps(request) + "\n")
        stream.flush()
        answer = self._receive()
        if "unsupported" in answer:
            raise Unsupported(answer["unsupported"])
        return answer["answer"]

    def _receive(self) -> Any:
        line = self._stream(self._process.stdout).readline()
        if not line:
            raise Unsupported("a second network namespace could not be made")
        return json.loads(line)

    @staticmethod
    def _stream(stream: IO[str] | None) -> IO[str]:
        if stream is None:
            raise Unsupported("a second network namespace could not be reached")
        return stream

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


def _far_side() -> int:
    listeners: list[socket.socket] = []
    _answer({"ready": True})
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if request["do"] == "build":
                _must("ip", "-batch", "-", text="\n".join(request["commands"]) + "\n")
                listeners += _listen(request["ports"])
                _answer({"answer": True})
            else:
                probes = [Probe(**raw) for raw in request["probes"]]
                found = _connect_all(probes, float(request["timeout_seconds"]))
                _answer({"answer": [[verdict.observed, verdict.detail] for verdict in found]})
        except Unsupported as problem:
            _answer({"unsupported": str(problem)})
    return 0


class Network:
    """The private copy of the host's network: its card's name, its addresses, and a far side for everything else."""

    def __init__(self, interface: str, addresses: Sequence[str], probes: Sequence[Probe]) -> None:
        self.interface = interface
        self.addresses = [ipaddress.ip_interface(address) for address in addresses]
        self.own = {str(address.ip) for address in self.addresses}
        self.probes = probes
        self._listeners: list[socket.socket] = []

    def is_own(self, address: str) -> bool:
        return address in self.own or ipaddress.ip_address(address).is_loopback

    def build(self, far: FarSide) -> None:
        _must("ip", "link", "add", self.interface, "type", "veth", "peer", "name", FAR_LINK, "netns", str(far.process))
        inbound = [probe for probe in self.probes if probe.source]
        outbound = [probe for probe in self.probes if not probe.source]
        foreign = {probe.source for probe in inbound} | {probe.destination for probe in outbound}
        foreign = {address for address in foreign if not self.is_own(address)}
        far_ports = {probe.port for probe in outbound if not self.is_own(probe.destination)}
        own_ports = {probe.port for probe in self.probes} - far_ports | {probe.port for probe in inbound}
        _must("ip", "-batch", "-", text="\n".join(self._near_commands()) + "\n")
        far.ask({"do": "build", "commands": self._far_commands(foreign), "ports": sorted(far_ports)})
        self._listeners = _listen(own_ports)

    def _near_commands(self) -> list[str]:
        commands = ["link set lo up", f"link set {self.interface} up"]
        for address in self.addresses:
            commands.append(f"address add {address} dev {self.interface}{_no_detection(address.ip)}")
        # Everything beyond the card is reached directly: the far side owns it.
        for everything in sorted({"0.0.0.0/0" if address.version == 4 else "::/0" for address in self.addresses}):
            commands.append(f"route add {everything} dev {self.interface}")
        return commands

    def _far_commands(self, foreign: Iterable[str]) -> list[str]:
        commands = ["link set lo up", f"link set {FAR_LINK} up"]
        for text in sorted(foreign):
            commands.append(f"address add {text} dev {FAR_LINK}{_no_detection(ipaddress.ip_address(text))}")
        for address in self.addresses:
            commands.append(f"route add {address.ip} dev {FAR_LINK}")
        return commands

    def try_all(self, probes: Sequence[Probe], timeout_seconds: float, far: FarSide) -> list[Verdict]:
        """Try every probe, both sides at once, in the order given."""
        inbound = [probe for probe in probes if probe.source and not self.is_own(probe.source)]
        outbound = [probe for probe in probes if not probe.source]
        request = {
            "do": "connect",
            "probes": [vars(probe) for probe in inbound],
            "timeout_seconds": timeout_seconds,
        }
        with concurrent.futures.ThreadPoolExecutor(1) as side:
            asked = side.submit(far.ask, request)
            found = dict(zip(outbound, _connect_all(outbound, timeout_seconds)))
            answers = asked.result()
        found.update({probe: Verdict(probe, *answer) for probe, answer in zip(inbound, answers)})
        own = "the source is this host itself"
        return [found.get(probe) or Verdict(probe, UNKNOWN, own) for probe in probes]


def _no_detection(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    # Without this an IPv6 address is not usable for the first second.
    return " nodad" if address.version == 6 else ""


def _listen(ports: Iterable[int]) -> list[socket.socket]:
    """Listen on ports, IPv4 and IPv6. Nobody needs to accept: the kernel completes the connection."""
    listeners = []
    for port in sorted(set(ports)):
        for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):  # noqa: S104 - inside a private network
            try:
                listener = socket.socket(family, socket.SOCK_STREAM)
            except OSError:
                continue  # a host without IPv6
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind((address, port))
            listener.listen(BACKLOG)
            listeners.append(listener)
    return listeners


def _connect_all(probes: Sequence[Probe], timeout_seconds: float) -> list[Verdict]:
    if not probes:
        return []
    with concurrent.futures.ThreadPoolExecutor(min(WORKERS, len(probes))) as workers:
        return list(workers.map(lambda probe: _connect(probe, timeout_seconds), probes))


def _connect(probe: Probe, timeout_seconds: float) -> Verdict:
    observed, detail = tcp_connect(probe.destination, probe.port, probe.source, timeout_seconds)
    if probe.expected == OPEN and observed == CLOSED:
        # A busy host may be slow; a candidate must not be refused for that.
        observed, detail = tcp_connect(probe.destination, probe.port, probe.source, RETRY_SECONDS)
    return Verdict(probe, observed, detail)


def _run_all(raw_commands: Sequence[Mapping[str, Any]]) -> None:
    for raw in raw_commands:
        command = Command(**raw)
        if command.background:
            try:
                start_command(command)
            except NotStarted as error:
                if command.required:
                    raise LoadFailed(str(error)) from error
            continue
        success, line = run_command(command)
        if not success and command.required:
            raise LoadFailed(f"{' '.join(command.argv)}: {line}")
