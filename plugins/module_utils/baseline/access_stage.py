# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A second sshd on loopback whose logins live with a candidate: the administrator's own key, real PAM, real sudo."""

from __future__ import annotations

import glob
import os
import re
import secrets
import shutil
import socket
import tempfile
import time
from typing import Any

from ..transaction import files as safe_files
from . import access_host, host, mounts
from .access import Policy
from .access_host import Candidate
from .host import Refused

UNIT_PREFIX = "bulwark-access-rehearsal-"
LIFETIME_SECONDS = 60
START_SECONDS = 8.0
ELSEWHERE = re.compile(r"^(\s*)(Port|ListenAddress|AddressFamily|PidFile)\b", re.IGNORECASE | re.MULTILINE)


def start(policy: Policy) -> dict[str, Any]:
    """Start the candidate's sshd and return its port; port 0 means that there is none, for the given reason.

    The unit ends by itself, and takes its copies along.
    """
    clear()
    reason = _not_here()
    if reason:
        return {"port": 0, "reason": reason}
    folder = tempfile.mkdtemp(prefix=access_host.STAGING_PREFIX.rsplit("/", 1)[1], dir="/run")
    try:
        made = access_host.build(policy, folder)
        if not made.trees:
            access_host.copy_tree("/etc", folder)
            made = Candidate(folder, ("/etc",), made.pieces, made.aging, made.mount_plan, made.temporary)
        port = _free_port()
        _listen_on(made, port)
        unit = f"{UNIT_PREFIX}{secrets.token_hex(4)}.service"
        started = host.run(_command(unit, made))
        if not started.ok or not _answers(port):
            raise Refused(
                f"nothing was changed: the candidate does not start with a second sshd: {_why(unit, started)}"
            )
    except BaseException:
        clear()
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return {"port": port, "reason": "", "unit": unit}


def _not_here() -> str:
    if not os.access(_sshd(), os.X_OK):
        return "there is no sshd on this host"
    if host.read_text("/sys/fs/selinux/enforce").strip() == "1":
        return "SELinux lets sshd listen on its own ports only"
    return ""


def _sshd() -> str:
    return next((path for path in ("/usr/sbin/sshd", "/usr/local/sbin/sshd") if os.path.exists(path)), "/usr/sbin/sshd")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _listen_on(made: Candidate, port: int) -> None:
    """Make the copy's sshd listen on loopback and nowhere else."""
    main = made.at("/etc/ssh/sshd_config")
    head = f"Port {port}\nListenAddress 127.0.0.1\nPidFile none\n"
    for path in [main, *glob.glob(made.at("/etc/ssh/**/*.conf"), recursive=True)]:
        if os.path.islink(path) or not os.path.isfile(path):
            continue
        text = safe_files.read_file(path).decode("utf-8", "surrogateescape")
        text = (head if path == main else "") + ELSEWHERE.sub(r"\1#\2", text)
        safe_files.write_file(path, text.encode("utf-8", "surrogateescape"), 0o600)


def _command(unit: str, made: Candidate) -> list[str]:
    properties = [
        ("RuntimeMaxSec", str(LIFETIME_SECONDS)),
        ("RuntimeDirectory", "sshd"),
        ("RuntimeDirectoryMode", "0755"),
        ("RuntimeDirectoryPreserve", "yes"),
        ("TimeoutStopSec", "5"),
        # Runs outside the unit's own mounts, where the copies are busy.
        ("ExecStopPost", f"+/bin/rm -rf --one-file-system {made.folder}"),
        *(("BindPaths", f"{made.at(tree)}:{tree}") for tree in made.trees),
        # sudo writes its log where the candidate says, and nothing of a rehearsal stays.
        ("TemporaryFileSystem", "/var/log"),
        *(("TemporaryFileSystem", f"{wish.path}:{_options(wish)}") for wish in made.temporary),
    ]
    flags = [word for name, value in properties for word in ("--property", f"{name}={value}")]
    program = [_sshd(), "-D", "-e", "-f", "/etc/ssh/sshd_config"]
    return ["systemd-run", "--quiet", "--collect", f"--unit={unit}", "--service-type=exec", *flags, *program]


def _options(wish: mounts.Wish) -> str:
    options = [option for option in wish.all_options if option != "rw"]
    mode = [] if any(option.startswith("mode=") for option in options) else ["mode=1777"]
    return ",".join([*mode, *options])


def _answers(port: int) -> bool:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
                connection.settimeout(2)
                if connection.recv(4) == b"SSH-":
                    return True
        except OSError:
            pass
        time.sleep(0.1)
    return False


def _why(unit: str, started: host.Done) -> str:
    log = host.run(["journalctl", "--quiet", "--no-pager", "--output=cat", "--lines=20", f"--unit={unit}"])
    lines = [line.strip() for line in log.output.splitlines() if line.strip()]
    causes = [line for line in lines if "ailed" in line or "rror" in line]
    return (causes or lines or [started.said])[0]


def clear() -> None:
    """End rehearsals and remove their copies."""
    if not glob.glob(f"{access_host.STAGING_PREFIX}*"):
        return
    host.run(["systemctl", "stop", f"{UNIT_PREFIX}*.service"])
    for path in glob.glob(f"{access_host.STAGING_PREFIX}*"):
        shutil.rmtree(path, ignore_errors=True)
