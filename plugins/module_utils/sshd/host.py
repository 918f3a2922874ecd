# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Observe a host: files, OpenSSH's own abilities, units, accounts. Reads only."""

from __future__ import annotations

import contextlib
import glob
import grp
import hashlib
import ipaddress
import os
import pwd
import stat
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..transaction import files as safe_files
from ..transaction.commands import ENVIRONMENT, telling_line
from ..transaction.session import SshSession, connecting_user, plain_address, ssh_session
from . import administrators, algorithms, effective, keys
from . import policy as model
from . import units as systemd
from .planner import HOST_KEY_PATHS, Observation, Refused
from .policy import CONFIG, DROP_IN_DIRECTORY, FileContent

MARKER = "/run/bulwark-sshd.loaded"
COMMAND_SECONDS = 60
# Binds a directory over /etc/ssh for one command only; sshd wants its /run/sshd, which socket activation may lack.
PRIVATE = """
mount --bind "$0" /etc/ssh || exit 125
if [ ! -d /run/sshd ]; then mount -t tmpfs tmpfs /run && mkdir -m 0755 /run/sshd || exit 125; fi
exec "$@"
"""


@dataclass(frozen=True)
class Done:
    """A finished command."""

    ok: bool
    output: str
    error: str

    def first_line(self) -> str:
        """Return the first line that says something; systemctl begins with the cause."""
        return next(filter(None, map(str.strip, f"{self.output}\n{self.error}".splitlines())), "no output")

    def telling_line(self) -> str:
        return telling_line(f"{self.output}\n{self.error}")


def run(argv: Sequence[str], text: str | None = None) -> Done:
    """Run a command to its end; a program that is missing or hangs is a failed command."""
    try:
        done = subprocess.run(  # pylint: disable=ansible-bad-function  # there is no AnsibleModule here
            list(argv),
            input=text,
            stdin=subprocess.DEVNULL if text is None else None,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=COMMAND_SECONDS,
            env={**ENVIRONMENT, "TZ": "UTC"},
            cwd="/",
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Done(False, "", f"{argv[0]} did not end within {COMMAND_SECONDS} seconds")
    except OSError as error:
        return Done(False, "", f"{argv[0]} cannot be run: {error.strerror}")
    return Done(done.returncode == 0, done.stdout, done.stderr)


def sshd_program() -> str:
    """Return the path of sshd; re-executing itself, it insists on an absolute one."""
    for candidate in ("/usr/sbin/sshd", "/usr/local/sbin/sshd"):
        if os.access(candidate, os.X_OK):
            return candidate
    raise Refused("there is no sshd on this host; install the OpenSSH server first")


def run_with(directory: str, argv: Sequence[str]) -> Done:
    """Run a command that sees directory as /etc/ssh, in a mount namespace of its own."""
    done = run(["unshare", "--mount", "--propagation", "private", "/bin/sh", "-c", PRIVATE, directory, *argv])
    if not done.ok and "unshare" in done.error:
        raise Refused(f"the policy cannot be tried on this host, which allows no private mount: {done.telling_line()}")
    return done


def read_text(path: str) -> str | None:
    """Return a file's text, None if there is no such regular file; bytes that are no UTF-8 survive a round trip."""
    try:
        return safe_files.read_file(os.path.realpath(path)).decode("utf-8", "surrogateescape")
    except OSError:
        return None


def config_files() -> dict[str, FileContent]:
    """Return main file, drop-ins and our own directory with their modes."""
    paths = [CONFIG, *drop_ins(), *_own_files()]
    found: dict[str, FileContent] = {}
    for path in paths:
        text = read_text(path)
        if text is None:
            if os.path.lexists(path):
                raise Refused(f"{path} is not a readable regular file; remove or repair it first")
            continue
        if path != model.KRL_FILE:
            found[path] = FileContent(text, stat.S_IMODE(os.stat(path).st_mode))
        else:
            found[path] = FileContent("", stat.S_IMODE(os.stat(path).st_mode))
    return found


def drop_ins() -> list[str]:
    """Return the drop-ins in the order in which sshd reads them."""
    return sorted(glob.glob(f"{DROP_IN_DIRECTORY}/*.conf"))


def resolve_include(argument: str) -> list[str]:
    """Return the files that an Include argument names, as sshd resolves it."""
    return sorted(glob.glob(argument if argument.startswith("/") else f"/etc/ssh/{argument}"))


def _own_files() -> list[str]:
    return sorted(
        os.path.join(folder, name) for folder, _folders, names in os.walk(model.OWN_DIRECTORY) for name in names
    )


def digest(path: str) -> str:
    """Return the SHA-256 of a file, empty if it cannot be read."""
    try:
        return hashlib.sha256(safe_files.read_file(path)).hexdigest()
    except OSError:
        return ""


def capabilities() -> model.Capabilities:
    """Return what the installed OpenSSH knows."""
    known: dict[str, tuple[str, ...]] = {}
    for option, query in algorithms.QUERIES.items():
        done = run(["ssh", "-Q", query])
        if not done.ok:
            raise Refused(f"ssh -Q {query} failed: {done.telling_line()}; install the OpenSSH client beside the server")
        known[option] = tuple(done.output.split())
    host_key = next(iter(HOST_KEY_PATHS.values()))
    shown = run_with("/etc/ssh", [sshd_program(), "-T", "-f", "/dev/null"])
    if not shown.ok and not any(os.path.exists(path) for path in HOST_KEY_PATHS.values()):
        raise Refused(f"sshd shows no configuration without a host key: {shown.telling_line()}; make {host_key} first")
    if not shown.ok:
        raise Refused(f"sshd -T failed: {shown.telling_line()}")
    return model.Capabilities(known, frozenset(effective.parse(shown.output)))


def observe_units() -> systemd.Units:
    """Return how sshd is started on this host."""
    shown = run(["systemctl", "show", f"--property={','.join(systemd.PROPERTIES)}", *systemd.CANDIDATES])
    units = systemd.observe(shown.output)
    if units is None:
        reason = f" ({shown.telling_line()})" if not shown.ok else ""
        raise Refused(f"systemd knows neither ssh.service nor sshd.service{reason}; install the OpenSSH server first")
    return units


def host_key_bits() -> dict[str, int]:
    """Return the size of each host key that there is, by type."""
    found: dict[str, int] = {}
    for kind, path in HOST_KEY_PATHS.items():
        if not os.path.exists(path):
            continue
        shown = run(["ssh-keygen", "-l", "-f", path])
        words = shown.output.split()
        found[kind] = int(words[0]) if shown.ok and words and words[0].isdigit() else 0
        if not found[kind]:
            raise Refused(f"{path} is not a usable host key: {shown.telling_line()}; repair or remove it first")
    return found


def host_public_keys(kinds: Iterable[str]) -> dict[str, keys.PublicKey]:
    """Return the public half of host keys by type; a private key that cannot be read is left out."""
    found: dict[str, keys.PublicKey] = {}
    for kind in kinds:
        # Not the .pub file, which sshd does not read. An empty passphrase, since nobody is there to be asked.
        shown = run(["ssh-keygen", "-y", "-P", "", "-f", HOST_KEY_PATHS[kind]])
        with contextlib.suppress(keys.InvalidKey):
            found[kind] = keys.parse_public_key(shown.output)
    return found


def observe() -> tuple[Observation, SshSession | None]:
    """Return everything that the planner needs, and the session that carries the module."""
    units = observe_units()
    session = ssh_session()
    live = run_with("/etc/ssh", [sshd_program(), "-T"])
    now = effective.parse(live.output) if live.ok else {}
    by_config = effective.ports(now)
    by_socket = systemd.listen_ports(units.listen) if units.by_socket else ()
    bits = host_key_bits()
    root = _passwd("root")
    return (
        Observation(
            files=config_files(),
            capabilities=capabilities(),
            units=units,
            current_ports=by_socket or by_config or ((session.server_port,) if session else (22,)),
            host_key_bits=bits,
            host_public_keys=host_public_keys(bits),
            krl_digest=digest(model.KRL_FILE),
            root_has_key=root is not None and bool(_root_keys(root)),
            root_login=effective.first(now, "permitrootlogin"),
            connecting_user=connecting_user(),
            server_port=session.server_port if session else 0,
            newest_config=_newest([CONFIG, *drop_ins(), *(HOST_KEY_PATHS[kind] for kind in bits)]),
            loaded_at=max(units.loaded_at, _marked(units.main_pid)),
            taken_ports=frozenset(listening()),
            now=int(time.time()),
            socket_drop_in=read_text(systemd.drop_in_path(units.socket)) if units.socket else None,
        ),
        session,
    )


def _root_keys(root: pwd.struct_passwd) -> list[keys.AuthorizedKey]:
    text = read_text(os.path.join(root.pw_dir, ".ssh/authorized_keys")) or ""
    return [entry for entry in keys.parse_authorized_keys(text) if "command" not in entry.options]


def _newest(paths: Sequence[str]) -> int:
    return max((int(os.stat(path).st_mtime) for path in paths if os.path.exists(path)), default=0)


def _marked(main_pid: int) -> int:
    """Return when this collection last reloaded the running process; systemd forgets it at daemon-reload."""
    try:
        if Path(MARKER).read_text(encoding="ascii").strip() == str(main_pid):
            return int(os.stat(MARKER).st_mtime)
    except (OSError, ValueError):
        pass
    return 0


def mark_loaded(main_pid: int) -> None:
    """Remember that the running process has read the files as they are now."""
    safe_files.write_file(MARKER, f"{main_pid}\n".encode("ascii"), 0o600)


def _passwd(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def account(name: str, config: effective.Effective, principals: Mapping[str, Sequence[str]]) -> administrators.Account:
    """Return what the host knows about a user, with the key files that this configuration makes sshd read."""
    entry = _passwd(name)
    if entry is None:
        return administrators.Account(name, exists=False)
    groups = tuple(_group_name(gid) for gid in os.getgrouplist(name, entry.pw_gid))
    shadow = _shadow(name)
    places = effective.first(config, "authorizedkeysfile", ".ssh/authorized_keys").split()
    found = tuple(fact for place in places if place != "none" for fact in [_key_file(place, entry)] if fact)
    listed = principals.get(name)
    return administrators.Account(
        name=name,
        uid=entry.pw_uid,
        home=entry.pw_dir,
        shell=entry.pw_shell,
        groups=groups,
        password=shadow[0],
        expires_day=shadow[3],
        last_change_day=shadow[1],
        maximum_days=shadow[2],
        authorized_keys=found,
        principals=None if listed is None else tuple(listed),
    )


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _shadow(name: str) -> tuple[str, int, int, int]:
    """Return password mark, day of the last change, maximum age and day of expiry; -1 where unset."""
    for line in (read_text("/etc/shadow") or "").split("\n"):
        fields = line.split(":")
        if fields[0] == name and len(fields) >= 8:
            last, maximum, expires = (int(fields[at]) if fields[at].isdigit() else -1 for at in (2, 4, 7))
            # Of the hash only its first character leaves this function: it tells locked from unlocked.
            return fields[1][:1] or "*", last, maximum, expires
    return "*", -1, -1, -1


def _key_file(place: str, entry: pwd.struct_passwd) -> administrators.FileFact | None:
    tokens = {"%h": entry.pw_dir, "%u": entry.pw_name, "%U": str(entry.pw_uid), "%%": "%"}
    path = place
    for token, value in tokens.items():
        path = path.replace(token, value)
    if not path.startswith("/"):
        path = os.path.join(entry.pw_dir, path)
    text = read_text(path)
    return None if text is None else administrators.FileFact(path, text, insecure(path, entry))


def insecure(path: str, entry: pwd.struct_passwd) -> str:
    """Return what StrictModes objects to, from the file up to the home directory; empty if nothing."""
    home = os.path.realpath(entry.pw_dir)
    current = os.path.realpath(path)
    while True:
        found = os.stat(current)
        if found.st_uid not in (0, entry.pw_uid):
            return f"{current} belongs to another user (uid {found.st_uid}); change its owner"
        if found.st_mode & 0o002:
            return f"{current} is writable by everyone; run chmod go-w on it"
        if found.st_mode & 0o020 and not _private_group(found.st_gid, entry):
            return f"{current} is writable by its group; run chmod go-w on it"
        if current in (home, "/"):
            return ""
        current = os.path.dirname(current)


def _private_group(gid: int, entry: pwd.struct_passwd) -> bool:
    """Debian's sshd lets a group write that has no member but the user."""
    try:
        members = grp.getgrgid(gid).gr_mem
    except KeyError:
        return False
    return (
        gid == entry.pw_gid and gid != 0 and set(members) <= {entry.pw_name} and os.path.exists("/etc/debian_version")
    )


def circumstances(address: str, connecting: bool) -> administrators.Circumstances:
    """Return the host's side of a login."""
    shells = [line.strip() for line in (read_text("/etc/shells") or "").split("\n")]
    return administrators.Circumstances(
        client_address=plain_address(address) if address else "",
        today=int(time.time() // 86400),
        shells=tuple(line for line in shells if line and not line.startswith("#")),
        is_connecting=connecting,
        nologin=os.path.exists("/etc/nologin") or os.path.exists("/run/nologin"),
    )


def listening() -> dict[int, tuple[str, ...]]:
    """Return, for each TCP port that is listened on, addresses of this host by which it can be reached."""
    found: dict[int, list[str]] = {}
    for table, any_address, loopback in (("tcp", "0.0.0.0", "127.0.0.1"), ("tcp6", "::", "::1")):  # noqa: S104 - compared with, not listened on
        for line in (_kernel_text(f"/proc/net/{table}")).splitlines()[1:]:
            fields = line.split()
            if len(fields) < 4 or fields[3] != "0A":
                continue
            address, _colon, port = fields[1].partition(":")
            text = _kernel_address(address)
            found.setdefault(int(port, 16), []).append(loopback if text == any_address else text)
    return {port: tuple(addresses) for port, addresses in found.items()}


def _kernel_text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii")
    except OSError:
        return ""


def _kernel_address(text: str) -> str:
    """Return an address that /proc/net shows as 32-bit words in the byte order of this machine."""
    raw = bytes.fromhex(text)
    words = (int.from_bytes(raw[at : at + 4], "big").to_bytes(4, sys.byteorder) for at in range(0, len(raw), 4))
    return str(ipaddress.ip_address(b"".join(words)))
