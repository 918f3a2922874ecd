# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files without surprises: no link is followed, a name appears only with complete, synced content."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import stat
from collections.abc import Iterator, Mapping

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
TEMPORARY = re.compile(r"\.bulwark-[0-9a-f]{16}")


@contextlib.contextmanager
def directory(path: str) -> Iterator[int]:
    """Open an absolute directory component by component, so that no part of it may be a link."""
    descriptor = os.open("/", DIRECTORY)
    try:
        for part in (part for part in path.split("/") if part):
            below = os.open(part, DIRECTORY, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = below
        yield descriptor
    finally:
        os.close(descriptor)


def split(path: str) -> tuple[str, str]:
    """Return (directory, name) of an absolute path; raises ValueError for anything else."""
    parent, _slash, name = path.rstrip("/").rpartition("/")
    if not path.startswith("/") or name in ("", ".", "..") or "\0" in path:
        raise ValueError(f"{path!r} is not the absolute path of a file")
    return parent or "/", name


def read_descriptor(descriptor: int) -> bytes:
    chunks: list[bytes] = []
    while True:
        chunk = os.read(descriptor, 1 << 20)
        if not chunk:
            return b"".join(chunks)
        chunks.append(chunk)


def read_file(path: str) -> bytes:
    """Read a regular file without following links. Raises OSError, also for anything that is not a regular file."""
    parent, name = split(path)
    with directory(parent) as parent_descriptor:
        return read_at(parent_descriptor, name)


def read_at(parent_descriptor: int, name: str) -> bytes:
    descriptor = os.open(name, READ, dir_fd=parent_descriptor)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(f"{name} is not a regular file")
        return read_descriptor(descriptor)
    finally:
        os.close(descriptor)


def write_file(path: str, content: bytes, mode: int = 0o600, uid: int = 0, gid: int = 0) -> None:
    """Replace path by a file with this content, durable on return. A reader sees the old file or the new one."""
    parent, name = split(path)
    with directory(parent) as parent_descriptor:
        replace_at(parent_descriptor, name, content, mode, uid, gid)


@contextlib.contextmanager
def _removed_on_failure(parent_descriptor: int, name: str) -> Iterator[None]:
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name, dir_fd=parent_descriptor)
        raise


def replace_at(
    parent_descriptor: int,
    name: str,
    content: bytes,
    mode: int,
    uid: int,
    gid: int,
    modified_ns: int | None = None,
    attributes: Mapping[str, bytes] | None = None,
) -> None:
    temporary = create_temporary(parent_descriptor, content, mode, uid, gid, modified_ns, attributes)
    with _removed_on_failure(parent_descriptor, temporary):
        os.rename(temporary, name, src_dir_fd=parent_descriptor, dst_dir_fd=parent_descriptor)
    os.fsync(parent_descriptor)


def create_temporary(
    parent_descriptor: int,
    content: bytes,
    mode: int,
    uid: int,
    gid: int,
    modified_ns: int | None = None,
    attributes: Mapping[str, bytes] | None = None,
) -> str:
    """Write a synced file under a name of its own in the directory and return that name."""
    temporary = f".bulwark-{secrets.token_hex(8)}"
    # Created closed to others; the final mode comes before the final name.
    descriptor = os.open(temporary, CREATE, 0o600, dir_fd=parent_descriptor)
    try:
        with _removed_on_failure(parent_descriptor, temporary):
            view = memoryview(content)
            while view:
                view = view[os.write(descriptor, view) :]
            if os.fstat(descriptor).st_uid != uid or os.fstat(descriptor).st_gid != gid:
                os.fchown(descriptor, uid, gid)
            os.fchmod(descriptor, mode)
            for key, value in (attributes or {}).items():
                os.setxattr(descriptor, key, value)
            if modified_ns is not None:
                os.utime(descriptor, ns=(modified_ns, modified_ns))
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return temporary


def replace_link(parent_descriptor: int, name: str, target: str) -> None:
    """Make name a symbolic link to target, in one step."""
    temporary = f".bulwark-{secrets.token_hex(8)}"
    os.symlink(target, temporary, dir_fd=parent_descriptor)
    with _removed_on_failure(parent_descriptor, temporary):
        os.rename(temporary, name, src_dir_fd=parent_descriptor, dst_dir_fd=parent_descriptor)
    os.fsync(parent_descriptor)


def make_directories(path: str) -> None:
    """Create the missing directories of an absolute path, root's own and readable, without following links."""
    descriptor = os.open("/", DIRECTORY)
    try:
        for part in (part for part in path.split("/") if part):
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, 0o755, dir_fd=descriptor)
                os.fsync(descriptor)
            below = os.open(part, DIRECTORY, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = below
    finally:
        os.close(descriptor)


def remove_at(parent_descriptor: int, name: str) -> None:
    """Remove a file, a link or a whole tree; what is gone already is fine. Links are removed, never followed."""
    with contextlib.suppress(FileNotFoundError):
        found = os.stat(name, dir_fd=parent_descriptor, follow_symlinks=False)
        if not stat.S_ISDIR(found.st_mode):
            os.unlink(name, dir_fd=parent_descriptor)
            return
        below = os.open(name, DIRECTORY, dir_fd=parent_descriptor)
        try:
            for child in os.listdir(below):
                remove_at(below, child)
        finally:
            os.close(below)
        os.rmdir(name, dir_fd=parent_descriptor)
