# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Capture files and trees, and put them back exactly."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import errno
import hashlib
import os
import stat
from collections.abc import Iterator, Mapping, Sequence

from . import files
from .state import FileState, TransactionError

FILE = "file"
ABSENT = "absent"
LINK = "link"
DIRECTORY = "directory"


def resolve(path: str) -> str:
    """Return path with the links in its parent directories resolved; the last component is left as it is."""
    parent, name = files.split(os.path.normpath(path))
    return os.path.join(os.path.realpath(parent), name)


def capture(paths: Sequence[str], folder: str) -> tuple[FileState, ...]:
    """Copy what is at paths into folder and return it as states, parents before children.

    Contents are stored under their SHA-256. Raises TransactionError for what cannot be put back, such as a socket.
    """
    states: dict[str, FileState] = {}
    with files.directory(folder) as store:
        for path in paths:
            try:
                for state in _walk(resolve(path), store):
                    states.setdefault(state.path, state)
            except (OSError, ValueError) as error:
                raise TransactionError(f"{path} cannot be kept for a rollback: {error}") from error
        os.fsync(store)
    return tuple(states[path] for path in sorted(states))


def _walk(path: str, store: int) -> Iterator[FileState]:
    parent, name = files.split(path)
    try:
        with files.directory(parent) as descriptor:
            yield from _capture_at(descriptor, name, path, store)
    except (FileNotFoundError, NotADirectoryError):
        yield FileState(path, ABSENT)


def _capture_at(parent: int, name: str, path: str, store: int) -> Iterator[FileState]:
    found = os.stat(name, dir_fd=parent, follow_symlinks=False)
    base = FileState(path, ABSENT, stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid, found.st_mtime_ns)
    if stat.S_ISLNK(found.st_mode):
        yield dataclasses.replace(base, kind=LINK, modified_ns=0, target=os.readlink(name, dir_fd=parent))
    elif stat.S_ISREG(found.st_mode):
        descriptor = os.open(name, files.READ, dir_fd=parent)
        try:
            content = files.read_descriptor(descriptor)
            attributes = _encode(_attributes(descriptor))
        finally:
            os.close(descriptor)
        blob = hashlib.sha256(content).hexdigest()
        if not _exists(store, blob):
            temporary = files.create_temporary(store, content, 0o600, os.geteuid(), os.getegid())
            os.rename(temporary, blob, src_dir_fd=store, dst_dir_fd=store)
        yield dataclasses.replace(base, kind=FILE, blob=blob, attributes=attributes)
    elif stat.S_ISDIR(found.st_mode):
        descriptor = os.open(name, files.DIRECTORY, dir_fd=parent)
        try:
            yield dataclasses.replace(base, kind=DIRECTORY, attributes=_encode(_attributes(descriptor)))
            for child in sorted(os.listdir(descriptor)):
                yield from _capture_at(descriptor, child, f"{path}/{child}", store)
        finally:
            os.close(descriptor)
    else:
        raise OSError(f"{path} is neither a file nor a directory nor a link")


def _exists(parent: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _attributes(descriptor: int) -> dict[str, bytes]:
    try:
        return {name: os.getxattr(descriptor, name) for name in os.listxattr(descriptor)}
    except OSError as error:
        if error.errno in (errno.ENOTSUP, errno.ENODATA, errno.EPERM):
            return {}
        raise


def _encode(attributes: Mapping[str, bytes]) -> tuple[tuple[str, str], ...]:
    return tuple((name, base64.b64encode(value).decode()) for name, value in sorted(attributes.items()))


def _decode(attributes: Sequence[tuple[str, str]]) -> dict[str, bytes]:
    return {name: base64.b64decode(value) for name, value in attributes}


def check(states: Sequence[FileState], folder: str) -> None:
    """Raise TransactionError unless every content that a rollback would need is there, unharmed."""
    with files.directory(folder) as store:
        for state in states:
            if state.kind == FILE:
                _blob(store, state)


def _blob(store: int, state: FileState) -> bytes:
    try:
        content = files.read_at(store, state.blob)
    except OSError as error:
        raise TransactionError(f"the kept copy of {state.path} cannot be read: {error}") from error
    if hashlib.sha256(content).hexdigest() != state.blob:
        raise TransactionError(f"the kept copy of {state.path} was changed since it was made")
    return content


def restore(states: Sequence[FileState], folder: str) -> list[str]:
    """Make every path what its state says, and return one sentence for each that could not be.

    Repeatable: what is right already is not touched. Whatever lies in a captured directory without a state of its own
    is removed, directories last, since their times change with their content.
    """
    problems: list[str] = []
    with files.directory(folder) as store:
        for parent in sorted({files.split(state.path)[0] for state in states}):
            with _collected(problems, parent):
                _remove_leftovers(parent)
        for state in sorted(states, key=lambda item: item.path):
            with _collected(problems, state.path):
                _restore_one(state, store)
        wanted = {state.path for state in states if state.kind != ABSENT}
        for state in sorted(states, key=lambda item: item.path, reverse=True):
            if state.kind == DIRECTORY:
                with _collected(problems, state.path):
                    _finish_directory(state, wanted)
    return problems


@contextlib.contextmanager
def _collected(problems: list[str], path: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, TransactionError) as error:
        problems.append(f"{path} could not be put back: {error}")


def settle(states: Sequence[FileState]) -> None:
    """Make what is at the captured paths now durable, new files included.

    A program may have written there without fsync(2), and a confirmed change must survive a power cut.
    """
    for parent in sorted({files.split(state.path)[0] for state in states}):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), files.directory(parent) as descriptor:
            os.fsync(descriptor)
    trees = {state.path for state in states if state.kind == DIRECTORY}
    for state in states:
        parent, name = files.split(state.path)
        if parent not in trees:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError), files.directory(parent) as descriptor:
                _sync_at(descriptor, name)


def _sync_at(parent: int, name: str) -> None:
    found = os.stat(name, dir_fd=parent, follow_symlinks=False)
    if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):
        return
    descriptor = os.open(name, files.READ, dir_fd=parent)
    try:
        os.fsync(descriptor)
        if stat.S_ISDIR(found.st_mode):
            for child in os.listdir(descriptor):
                _sync_at(descriptor, child)
    finally:
        os.close(descriptor)


def _remove_leftovers(parent: str) -> None:
    """Remove the temporary files of a restore that was interrupted."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), files.directory(parent) as descriptor:
        for name in os.listdir(descriptor):
            if files.TEMPORARY.fullmatch(name):
                files.remove_at(descriptor, name)


def _restore_one(state: FileState, store: int) -> None:
    parent, name = files.split(state.path)
    if state.kind == ABSENT:
        with contextlib.suppress(FileNotFoundError), files.directory(parent) as descriptor:
            if _exists(descriptor, name):
                files.remove_at(descriptor, name)
                os.fsync(descriptor)
        return
    files.make_directories(parent)
    with files.directory(parent) as descriptor:
        found = os.stat(name, dir_fd=descriptor, follow_symlinks=False) if _exists(descriptor, name) else None
        if state.kind == LINK:
            if found is None or not stat.S_ISLNK(found.st_mode) or os.readlink(name, dir_fd=descriptor) != state.target:
                _make_room(descriptor, name, found)
                files.replace_link(descriptor, name, state.target)
            os.chown(name, state.uid, state.gid, dir_fd=descriptor, follow_symlinks=False)
        elif state.kind == DIRECTORY:
            if found is None or not stat.S_ISDIR(found.st_mode):
                if found is not None:
                    os.unlink(name, dir_fd=descriptor)
                os.mkdir(name, 0o700, dir_fd=descriptor)
                os.fsync(descriptor)
        else:
            content = _blob(store, state)
            if found is None or not _same_file(descriptor, name, found, state, content):
                _make_room(descriptor, name, found)
                files.replace_at(
                    descriptor,
                    name,
                    content,
                    state.mode,
                    state.uid,
                    state.gid,
                    state.modified_ns,
                    _decode(state.attributes),
                )


def _make_room(parent: int, name: str, found: os.stat_result | None) -> None:
    # rename(2) replaces files and links, but not a directory.
    if found is not None and stat.S_ISDIR(found.st_mode):
        files.remove_at(parent, name)


def _same_file(parent: int, name: str, found: os.stat_result, state: FileState, content: bytes) -> bool:
    if not stat.S_ISREG(found.st_mode) or found.st_size != len(content) or found.st_mtime_ns != state.modified_ns:
        return False
    if (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) != (state.mode, state.uid, state.gid):
        return False
    descriptor = os.open(name, files.READ, dir_fd=parent)
    try:
        same = files.read_descriptor(descriptor) == content
        return same and _encode(_attributes(descriptor)) == state.attributes
    finally:
        os.close(descriptor)


def _finish_directory(state: FileState, wanted: set[str]) -> None:
    parent, name = files.split(state.path)
    with files.directory(parent) as above:
        descriptor = os.open(name, files.DIRECTORY, dir_fd=above)
    try:
        for child in os.listdir(descriptor):
            if f"{state.path}/{child}" not in wanted:
                files.remove_at(descriptor, child)
        os.fchown(descriptor, state.uid, state.gid)
        os.fchmod(descriptor, state.mode)
        for key, value in _decode(state.attributes).items():
            os.setxattr(descriptor, key, value)
        os.utime(descriptor, ns=(state.modified_ns, state.modified_ns))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
