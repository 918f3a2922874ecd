# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One fresh SSH login, made by the controller the way Ansible itself would connect, but never multiplexed.

Only a new connection proves access: an existing session keeps working behind a firewall that refuses every new one,
and a multiplexed login rides on such a session.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import time
import typing as t
from dataclasses import dataclass, field, replace

# ssh takes the first value it meets for an option, so these stand before everything the user configured.
UNMULTIPLEXED = (
    "-o",
    "ControlMaster=no",
    "-o",
    "ControlPath=none",
    "-o",
    "ControlPersist=no",
    "-o",
    "BatchMode=yes",
)
# Root's answer: what is in a file that only root can read, or nothing where there is no such file.
ELEVATED_LINE = re.compile(r"^bulwark-elevated ?(?P<proof>\S*)\s*$", re.M)
LOGIN_LINE = re.compile(r"^bulwark-login (?P<nonce>\S+) (?P<ca>\S+) (?P<cp>\d+) (?P<sa>\S+) (?P<sp>\d+)\s*$", re.M)
# What ssh says last when it does not trust the key that the host shows.
UNKNOWN_HOST_KEY = "Host key verification failed."
# Carries a login to a port on the managed host's loopback through a session that is already allowed; works where
# sshd forbids forwarding.
RELAY = """
import os, socket, sys, threading
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])), 10)
s.settimeout(None)
def up():
    while True:
        d = os.read(0, 65536)
        if not d:
            s.shutdown(1)
            return
        s.sendall(d)
threading.Thread(target=up, daemon=True).start()
while True:
    d = s.recv(65536)
    if not d:
        break
    sys.stdout.buffer.write(d)
    sys.stdout.buffer.flush()
"""


@dataclass(frozen=True)
class SshTarget:
    """Where and how to log in; taken from Ansible's own connection.

    ``known_port`` is the port under which known_hosts has the host, when that is not ``port`` any more.
    """

    host: str
    port: int
    user: str = ""
    executable: str = "ssh"
    identity_file: str = ""
    arguments: tuple[str, ...] = field(default_factory=tuple)
    timeout_seconds: int = 10
    known_port: int = 0


@dataclass(frozen=True)
class Elevation:
    """How the user becomes root after the login, and a file that only root can read.

    Without a password sudo must not ask for one. The password reaches sudo by its standard input only.
    """

    proof_path: str
    executable: str = "sudo"
    password: str | None = field(default=None, repr=False)

    def command(self) -> list[str]:
        """Return the argument list; what sudo remembers of an earlier password does not count."""
        asking = ["-n"] if self.password is None else ["-S", "-p", ""]
        # The shell starts another program, as Ansible's own commands do.
        shell = f'echo "bulwark-elevated $(/bin/cat {shlex.quote(self.proof_path)} 2>/dev/null)"'
        return [self.executable, "-k", *asking, "-u", "root", "--", "/bin/sh", "-c", shell]

    @property
    def input(self) -> str | None:
        """Return what sudo reads."""
        return None if self.password is None else f"{self.password}\n"


@dataclass(frozen=True)
class Login:
    """What one attempt to log in showed.

    ``host_key_alias`` is the name under which the host's key was looked up, empty for ssh's own choice.
    """

    ok: bool
    port: int
    detail: str
    client_address: str = ""
    client_port: int = 0
    server_address: str = ""
    server_port: int = 0
    host_key_alias: str = ""
    elevation_proof: str | None = None

    def to_dict(self) -> dict[str, t.Any]:
        """Return the fields the managed host compares with its journal."""
        proof = {} if self.elevation_proof is None else {"elevation_proof": self.elevation_proof}
        return {
            **proof,
            "client_address": self.client_address,
            "client_port": self.client_port,
            "server_address": self.server_address,
            "server_port": self.server_port,
            "port": self.port,
        }


def known_host_name(host: str, port: int) -> str:
    """Return the name under which known_hosts files a host on a port (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT)."""
    return host if port == 22 else f"[{host}]:{port}"


def host_key_aliases(target: SshTarget, port: int) -> list[str]:
    """Return under which names to look up the host's key, one after the other; empty is ssh's own choice.

    On another port than the target's own the same server answers with the same keys, so known_hosts has them under
    the target's name. Certificates of a host CA name the host without a port, and need ssh's own choice.
    """
    known_port = target.known_port or target.port
    return [""] if port == known_port else [known_host_name(target.host, known_port), ""]


def login_command(
    target: SshTarget, port: int, remote_command: str, host_key_alias: str = "", proxy_command: str = ""
) -> list[str]:
    """Return the argument list of one unmultiplexed login.

    With a proxy command, which leads where it leads, port is only what known_hosts is asked for.
    """
    command = [target.executable, *UNMULTIPLEXED, "-o", f"ConnectTimeout={target.timeout_seconds}", "-n"]
    if host_key_alias:
        command += ["-o", f"HostKeyAlias={host_key_alias}"]
    if proxy_command:
        command += ["-o", f"ProxyCommand={proxy_command}"]
    command += ["-o", f"Port={port}", *target.arguments]
    if target.identity_file:
        command += ["-o", f"IdentityFile={target.identity_file}"]
    if target.user:
        command += ["-o", f"User={target.user}"]
    return [*command, target.host, remote_command]


def relay_command(target: SshTarget, loopback_port: int, python: str = "python3") -> str:
    """Return the ProxyCommand that reaches a loopback port of the managed host through a normal login."""
    remote = shlex.join([python, "-c", RELAY.strip(), str(loopback_port)])
    command = login_command(target, target.port, remote, host_key_aliases(target, target.port)[0])
    command.remove("-n")
    return shlex.join(command).replace("%", "%%")


def parse_login(output: str, nonce: str, port: int) -> Login:
    """Return the login that the remote echo describes; not ok when the nonce or the line is missing."""
    for match in LOGIN_LINE.finditer(output):
        if match["nonce"] == nonce:
            return Login(True, port, "", match["ca"], int(match["cp"]), match["sa"], int(match["sp"]))
    return Login(False, port, "the login answered without the expected line; a forced command or a banner in its place")


def last_line(text: str) -> str:
    """Return the last line that says something, for an error sentence."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no output"


def new_login(
    target: SshTarget,
    nonce: str,
    port: int = 0,
    loopback_port: int = 0,
    python: str = "python3",
    elevation: Elevation | None = None,
) -> Login:
    """Log in once over a new connection and return what happened; never raises for a failed login.

    With ``loopback_port`` the login goes to the sshd that listens there on the managed host. With ``elevation`` the
    login counts only if the user becomes root in it.
    """
    port = port or target.port
    remote = f"echo bulwark-login {shlex.quote(nonce)} $SSH_CONNECTION"
    if elevation is not None:
        remote += f" && exec {shlex.join(elevation.command())}"
    if loopback_port:
        proxy = relay_command(target, loopback_port, python)
        command = login_command(target, target.known_port or target.port, remote, proxy_command=proxy)
        return _attempt(target, command, nonce, loopback_port, elevation)
    logins = []
    for alias in host_key_aliases(target, port):
        login = _attempt(target, login_command(target, port, remote, alias), nonce, port, elevation)
        logins.append(replace(login, host_key_alias=alias))
        if login.detail != UNKNOWN_HOST_KEY:
            return logins[-1]
    return logins[0]


def _attempt(target: SshTarget, command: list[str], nonce: str, port: int, elevation: Elevation | None) -> Login:
    given: dict[str, t.Any] = {"stdin": subprocess.DEVNULL}
    if elevation is not None and elevation.input is not None:
        command.remove("-n")
        given = {"input": elevation.input}
    try:
        done = subprocess.run(
            command,
            **given,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=target.timeout_seconds + 15,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Login(False, port, f"no answer within {target.timeout_seconds + 15} seconds")
    except OSError as error:
        return Login(False, port, f"cannot run {target.executable}: {error.strerror}")
    if done.returncode != 0:
        return Login(False, port, last_line(done.stderr))
    login = parse_login(done.stdout, nonce, port)
    return login if elevation is None or not login.ok else elevated(login, done.stdout)


def elevated(login: Login, output: str) -> Login:
    """Return a login with what it read as root; not ok when root did not answer."""
    found = ELEVATED_LINE.search(output)
    if found is None:
        return replace(login, ok=False, detail="the login did not become root: sudo answered without the expected line")
    return replace(login, elevation_proof=found["proof"])


def spread(count: int, seconds: float) -> list[float]:
    """Return how long to wait before each of ``count`` attempts so that they cover ``seconds``."""
    if count < 2:
        return [0.0] * count
    return [0.0] + [seconds / (count - 1)] * (count - 1)


def prove_logins(
    target: SshTarget,
    nonce: str,
    ports: t.Sequence[int],
    count: int,
    seconds: float,
    elevation: Elevation | None = None,
) -> list[Login]:
    """Make ``count`` logins on every port, spread over ``seconds``; stop at the first that fails."""
    logins: list[Login] = []
    for wait in spread(count, seconds):
        time.sleep(wait)
        for port in ports:
            login = new_login(target, nonce, port, elevation=elevation)
            logins.append(login)
            if not login.ok:
                return logins
    return logins
