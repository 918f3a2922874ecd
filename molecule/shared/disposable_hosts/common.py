# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the other files share: errors, progress lines, running commands, locks, small file helpers."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

STARTED = time.monotonic()


class HostsError(Exception):
    """A sentence for the person at the terminal."""


def progress(text: str) -> None:
    """Print one progress line with the seconds since the program started."""
    print(f"[{time.monotonic() - STARTED:4.0f}s] {text}", file=sys.stderr, flush=True)


def run(
    arguments: Sequence[str], *, text: str = "", timeout: float = 120, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run a command under LC_ALL=C with `text` as its input; failure is a `HostsError` with the end of its output."""
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        result = subprocess.run(
            list(arguments), input=text, capture_output=True, text=True, timeout=timeout, env=environment, check=False
        )
    except FileNotFoundError as error:
        raise HostsError(
            f"{arguments[0]} is not installed; `hosts.py packages` prints the missing Debian packages."
        ) from error
    except subprocess.TimeoutExpired as error:
        raise HostsError(f"{arguments[0]} did not end within {timeout:.0f} seconds.") from error
    if check and result.returncode != 0:
        output = tail(result.stderr.strip() or result.stdout.strip())
        raise HostsError(f"{' '.join(arguments[:4])} … failed with exit code {result.returncode}:\n{output}")
    return result


def tail(text: str, lines: int = 15) -> str:
    """The last lines of a text, indented."""
    return "\n".join(f"    {line}" for line in text.splitlines()[-lines:])


def tail_of(path: Path, lines: int = 15) -> str:
    """The last lines of a log file, or a note that there is none."""
    try:
        return tail(path.read_text(errors="replace"), lines)
    except FileNotFoundError:
        return f"    (no {path})"


def write_file(path: Path, content: str, mode: int = 0o644, owner: int = 0) -> None:
    """Write a file with its final mode and owner, replacing what was there, by a rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(content)
            os.fchmod(stream.fileno(), mode)
            if owner:
                os.fchown(stream.fileno(), owner, owner)
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def read_json(path: Path, default: Any) -> Any:
    """The content of a JSON file, or `default` without one."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return default
    except ValueError as error:
        raise HostsError(f"{path} is not readable as JSON ({error}); remove it after `hosts.py down --all`.") from error


def write_json(path: Path, data: Any) -> None:
    """Write JSON for people and programs."""
    write_file(path, json.dumps(data, indent=2, sort_keys=True) + "\n", 0o600)


@contextlib.contextmanager
def locked(path: Path, *, timeout: float = 900, waiting: str = "") -> Iterator[None]:
    """Hold an exclusive lock; say `waiting` when somebody else has it; give up after `timeout` seconds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + timeout
        said = False
        while not _try_lock(descriptor):
            if waiting and not said:
                progress(waiting)
                said = True
            if time.monotonic() > deadline:
                raise HostsError(f"{path} has been locked by another process for {timeout:.0f} seconds.")
            time.sleep(0.1)
        yield
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_locked(path: Path) -> bool:
    """Whether a living process holds the lock."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return not _try_lock(descriptor)
    finally:
        os.close(descriptor)
