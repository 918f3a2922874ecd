# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Small helpers for files and programs; every program runs as a list of arguments under LC_ALL=C."""

from __future__ import annotations

import os
import subprocess
import tempfile
import typing as t

from .backend import FirewallError

PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


def run(
    arguments: t.Sequence[str],
    stdin: str | None = None,
    check: bool = True,
    timeout_seconds: float = 60.0,
    environment: t.Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end. Raises FirewallError with the program's last line when it fails and check is set."""
    try:
        done = subprocess.run(  # pylint: disable=ansible-bad-function  # there is no AnsibleModule here
            list(arguments),
            input=stdin if stdin is not None else "",
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            check=False,
            env={"LC_ALL": "C", "PATH": PATH, **(environment or {})},
        )
    except FileNotFoundError as error:
        if check:
            raise FirewallError(f"the program {arguments[0]} is not installed on this host") from error
        return subprocess.CompletedProcess(list(arguments), 127, "", str(error))
    except subprocess.TimeoutExpired as error:
        raise FirewallError(f"{' '.join(arguments[:4])} did not end within {timeout_seconds:.0f} seconds") from error
    if check and done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()
        raise FirewallError(
            f"{' '.join(word for word in arguments if chr(10) not in word)} failed with {done.returncode}: {lines[-1]}"
        )
    return done


def read_text(path: str, default: str | None = None) -> str:
    """Return a file's text; a missing file gives the default, or raises FirewallError without one."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as stream:
            return stream.read()
    except FileNotFoundError as error:
        if default is not None:
            return default
        raise FirewallError(f"{path} does not exist on this host; reinstall the package that owns it") from error
    except OSError as error:
        raise FirewallError(f"{path} cannot be read: {error.strerror}") from error


def write_text(path: str, text: str, mode: int = 0o640) -> None:
    """Replace a file in one step: temporary file with the final mode, fsync, rename, fsync of the directory.

    An existing file keeps its mode and owner. A link is replaced and never followed.
    """
    directory = os.path.dirname(path)
    try:
        owner = os.lstat(path)
        mode, uid, gid = owner.st_mode & 0o7777, owner.st_uid, owner.st_gid
    except FileNotFoundError:
        uid, gid = 0, 0
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{os.path.basename(path)}.", dir=directory)
    except OSError as error:
        raise FirewallError(f"{path} cannot be written: {error.strerror}") from error
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape") as stream:
            os.fchmod(stream.fileno(), mode)
            if os.geteuid() == 0:
                os.fchown(stream.fileno(), uid, gid)
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.rename(temporary, path)
        sync_directory(directory)
    except OSError as error:
        raise FirewallError(f"{path} cannot be written: {error.strerror}") from error
    finally:
        if os.path.lexists(temporary):
            os.unlink(temporary)


def sync_directory(path: str) -> None:
    """Flush a directory's entries to the disk."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def unit_is(question: str, unit: str) -> bool:
    """Ask systemd whether a unit is-active or is-enabled."""
    return run(["systemctl", "--quiet", question, unit], check=False).returncode == 0
