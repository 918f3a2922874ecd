# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Version directories and the one symlink; what is there tells how far a renewal came.

ROOT/NAME/vNNNN.staged   key and request, then certificate and chain; nobody but root sees it
ROOT/NAME/vNNNN          deployed, or the one before it
ROOT/NAME/current        names the version that consumers read: key and certificate change together
ROOT/NAME/trust.pem      whom the consumers of this certificate trust
ROOT/NAME/proven         the version and trust that the services were last shown to use
ROOT/.taken_out          the units that are out of use for a restart
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import stat
import typing as t

from ..transaction import files
from ..transaction.clock import Clock
from ..transaction.locks import Lock
from .model import CertificateError

ROOT = "/etc/bulwark/tls"
KEY, REQUEST = "key.pem", "request.pem"
CERTIFICATE, CHAIN, FULL_CHAIN = "certificate.pem", "chain.pem", "full_chain.pem"
# The URL of an ACME server; a private CA is known by its key.
ISSUED_BY = "issued_by"
CURRENT, TRUST, PROVEN, STAGED = "current", "trust.pem", "proven", ".staged"
VERSION = re.compile(r"v(\d{4,})(\.staged)?")
LOCK = ".lock"
TAKEN_OUT = ".taken_out"
LOCK_SECONDS = 60.0


def version_name(version: int) -> str:
    return f"v{version:04d}"


class Store:
    """The certificates of one host. Everything raises CertificateError with the path that is not as it must be."""

    def __init__(self, root: str = ROOT, owner: tuple[int, int] = (0, 0)) -> None:
        self.root = root
        self.uid, self.gid = owner

    def path(self, name: str, *parts: str) -> str:
        return "/".join((self.root, name, *parts))

    @contextlib.contextmanager
    def locked(self, clock: Clock, seconds: float = LOCK_SECONDS) -> t.Iterator[None]:
        """Hold the store against a second run on the same host."""
        with self._told(self.root):
            files.make_directories(self.root)
            lock = Lock(f"{self.root}/{LOCK}")
            taken = lock.acquire(clock, seconds)
        if not taken:
            holder = lock.holder()
            who = f"process {holder.process}" if holder else "another process"
            raise CertificateError(
                f"{who} has been working on {self.root} for {seconds:.0f} seconds; wait for its end and repeat"
            )
        try:
            yield
        finally:
            lock.release()

    def versions(self, name: str) -> dict[int, bool]:
        """Return the versions that exist, and of each whether it is only staged."""
        with self._told(self.path(name)):
            try:
                with files.directory(self.path(name)) as descriptor:
                    found = [VERSION.fullmatch(entry) for entry in os.listdir(descriptor)]
            except FileNotFoundError:
                return {}
        return {int(match.group(1)): bool(match.group(2)) for match in found if match}

    def current(self, name: str) -> int:
        """Return the version that consumers read, 0 if there is none."""
        try:
            with self._told(self.path(name)), files.directory(self.path(name)) as descriptor:
                target = os.readlink(CURRENT, dir_fd=descriptor)
        except FileNotFoundError:
            return 0
        match = VERSION.fullmatch(target)
        if not match or match.group(2):
            raise CertificateError(
                f"{self.path(name, CURRENT)} leads to {target}, and must lead to a version beside it; "
                "if nothing else uses it, remove the link"
            )
        return int(match.group(1))

    def staged(self, name: str) -> int:
        """Return the version that is being prepared, 0 if there is none."""
        return max((version for version, staged in self.versions(name).items() if staged), default=0)

    def previous(self, name: str) -> int:
        """Return the newest version before the current one, 0 if there is none."""
        current = self.current(name)
        versions = self.versions(name)
        return max((version for version, staged in versions.items() if not staged and version < current), default=0)

    def read(self, name: str, version: int, file: str, staged: bool = False) -> bytes | None:
        return self._read(self.path(name, version_name(version) + (STAGED if staged else "")), file)

    def read_staged(self, name: str, file: str) -> bytes | None:
        version = self.staged(name)
        return self.read(name, version, file, staged=True) if version else None

    def trust(self, name: str) -> bytes | None:
        return self._read(self.path(name), TRUST)

    def proven(self, name: str) -> dict[str, t.Any]:
        """Return what the services were last shown to use; empty if that is not known."""
        with contextlib.suppress(ValueError):
            found = json.loads(self._read(self.path(name), PROVEN) or b"{}")
            if isinstance(found, dict):
                return found
        return {}

    def taken_out(self) -> set[str]:
        """Return the units that were taken out of use for a restart, and not put in again."""
        with contextlib.suppress(ValueError):
            found = json.loads(self._read(self.root, TAKEN_OUT) or b"[]")
            if isinstance(found, list):
                return {str(unit) for unit in found}
        return set()

    def write_taken_out(self, units: t.Collection[str]) -> None:
        path = f"{self.root}/{TAKEN_OUT}"
        with self._told(path):
            if units:
                files.write_file(path, json.dumps(sorted(units)).encode() + b"\n", 0o600, self.uid, self.gid)
                return
            with contextlib.suppress(FileNotFoundError), files.directory(self.root) as parent:
                files.remove_at(parent, TAKEN_OUT)
                os.fsync(parent)

    def unfinished(self, name: str) -> list[int]:
        """Return versions that are complete and were never swapped in: a run died in between."""
        current = self.current(name)
        return [version for version, staged in self.versions(name).items() if not staged and version > current]

    def tidy(self, name: str) -> None:
        """Stage again what a run that died had not swapped in; keep one staged version, and no half-written file."""
        for version in sorted(self.unfinished(name)):
            self.stage_again(name, version)
        staged = sorted(version for version, is_staged in self.versions(name).items() if is_staged)
        for version in staged[:-1]:
            self._remove(name, version_name(version) + STAGED)
        for directory in ("", *(version_name(version) + STAGED for version in staged[-1:])):
            path = self.path(name, directory)
            with contextlib.suppress(FileNotFoundError), self._told(path), files.directory(path) as descriptor:
                for entry in os.listdir(descriptor):
                    if files.TEMPORARY.fullmatch(entry):
                        files.remove_at(descriptor, entry)

    def stage(self, name: str, key: bytes | None = None, request: bytes | None = None) -> int:
        """Keep a key and its request in a directory that only root sees; returns the version."""
        version = self.staged(name) or max(self.versions(name), default=0) + 1
        directory = version_name(version) + STAGED
        with self._told(self.path(name, directory)):
            files.make_directories(self.path(name))
            with files.directory(self.path(name)) as parent:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(directory, 0o700, dir_fd=parent)
                    os.fsync(parent)
                with _below(parent, directory) as descriptor:
                    for file, content in ((KEY, key), (REQUEST, request)):
                        if content is not None:
                            files.replace_at(descriptor, file, content, 0o600, self.uid, self.gid)
        return version

    def add_certificate(self, name: str, certificate: bytes, chain: bytes, issued_by: str = "") -> None:
        """Put what was issued beside the staged key."""
        directory = version_name(self.staged(name)) + STAGED
        contents = {CHAIN: chain, FULL_CHAIN: certificate + chain, CERTIFICATE: certificate}
        if issued_by:
            contents = {ISSUED_BY: issued_by.encode() + b"\n", **contents}
        with self._told(self.path(name, directory)), files.directory(self.path(name, directory)) as descriptor:
            if not issued_by:
                files.remove_at(descriptor, ISSUED_BY)
            for file, content in contents.items():
                files.replace_at(descriptor, file, content, 0o600, self.uid, self.gid)

    def drop_staged(self, name: str) -> None:
        """Forget a candidate that was refused, its key with it."""
        version = self.staged(name)
        if version:
            self._remove(name, version_name(version) + STAGED)

    def swap(self, name: str, uid: int, gid: int, mode: int) -> int:
        """Make the staged version the current one: complete and with its final modes before it has its name."""
        version = self.staged(name)
        staged, final = version_name(version) + STAGED, version_name(version)
        with self._told(self.path(name, staged)), files.directory(self.path(name)) as parent:
            with _below(parent, staged) as descriptor:
                self._set_access(descriptor, uid, gid, mode)
                os.fchmod(descriptor, 0o755)
                os.fsync(descriptor)
            os.rename(staged, final, src_dir_fd=parent, dst_dir_fd=parent)
            os.fsync(parent)
            files.replace_link(parent, CURRENT, final)
        return version

    def swap_back(self, name: str, version: int) -> None:
        """Make an earlier version the current one, and stage what it replaces again."""
        refused = self.current(name)
        with self._told(self.path(name, CURRENT)), files.directory(self.path(name)) as parent:
            files.replace_link(parent, CURRENT, version_name(version))
        self.stage_again(name, refused)

    def stage_again(self, name: str, version: int) -> None:
        final = version_name(version)
        with self._told(self.path(name, final)), files.directory(self.path(name)) as parent:
            with _below(parent, final) as descriptor:
                os.fchmod(descriptor, 0o700)
            os.rename(final, final + STAGED, src_dir_fd=parent, dst_dir_fd=parent)
            os.fsync(parent)

    def access_faults(self, name: str, uid: int, gid: int, mode: int) -> list[str]:
        """Return what is wrong with who may read the current key; nothing for a file that is not there."""
        path = self.path(name, version_name(self.current(name)))
        try:
            with self._told(path), files.directory(path) as descriptor:
                found = os.stat(KEY, dir_fd=descriptor, follow_symlinks=False)
                own = os.fstat(descriptor)
        except FileNotFoundError:
            return []
        faults = []
        if stat.S_IMODE(found.st_mode) != mode:
            faults.append(f"its key has mode {stat.S_IMODE(found.st_mode):04o} and should have {mode:04o}")
        if (found.st_uid, found.st_gid) != (uid, gid):
            faults.append(f"its key belongs to {found.st_uid}:{found.st_gid} and should to {uid}:{gid}")
        if stat.S_IMODE(own.st_mode) != 0o755 or (own.st_uid, own.st_gid) != (self.uid, self.gid):
            faults.append(f"{path} should be root's own with mode 0755")
        return faults

    def repair_access(self, name: str, uid: int, gid: int, mode: int) -> None:
        path = self.path(name, version_name(self.current(name)))
        with self._told(path), files.directory(path) as descriptor:
            os.fchown(descriptor, self.uid, self.gid)
            self._set_access(descriptor, uid, gid, mode)
            os.fchmod(descriptor, 0o755)

    def write_trust(self, name: str, trust: bytes) -> None:
        with self._told(self.path(name, TRUST)):
            files.write_file(self.path(name, TRUST), trust, 0o644, self.uid, self.gid)

    def write_proven(self, name: str, version: int, units: t.Iterable[str], issuer: str) -> None:
        content = {"version": version, "trust": digest(self.trust(name)), "units": sorted(units), "issuer": issuer}
        with self._told(self.path(name, PROVEN)):
            files.write_file(self.path(name, PROVEN), json.dumps(content).encode() + b"\n", 0o644, self.uid, self.gid)

    def prune(self, name: str) -> None:
        """Remove every version but the current one, the one before it, and the staged one."""
        keep = {self.current(name), self.previous(name)}
        for version, staged in self.versions(name).items():
            if not staged and version not in keep:
                self._remove(name, version_name(version))

    def _set_access(self, directory: int, uid: int, gid: int, mode: int) -> None:
        """Give the key to its consumer and the certificates to everybody.

        The owner comes first: a change of it may clear bits of the mode.
        """
        for file, owner, group, wished in (
            (KEY, uid, gid, mode),
            (REQUEST, self.uid, self.gid, 0o600),
            *((file, self.uid, self.gid, 0o644) for file in (CERTIFICATE, CHAIN, FULL_CHAIN)),
        ):
            with contextlib.suppress(FileNotFoundError):
                descriptor = os.open(file, files.READ, dir_fd=directory)
                try:
                    os.fchown(descriptor, owner, group)
                    os.fchmod(descriptor, wished)
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)

    def _read(self, directory: str, file: str) -> bytes | None:
        try:
            with self._told(f"{directory}/{file}"):
                return files.read_file(f"{directory}/{file}")
        except FileNotFoundError:
            return None

    def _remove(self, name: str, entry: str) -> None:
        with self._told(self.path(name, entry)), files.directory(self.path(name)) as parent:
            files.remove_at(parent, entry)
            os.fsync(parent)

    @contextlib.contextmanager
    def _told(self, path: str) -> t.Iterator[None]:
        """Say which path an error is about; that something is not there is for the caller."""
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            link = " (part of the path may be a link, which is not followed)" if _is_link_error(error) else ""
            raise CertificateError(f"{path}: {error.strerror or error}{link}") from error


def digest(content: bytes | None) -> str:
    return hashlib.sha256(content or b"").hexdigest()


def _is_link_error(error: OSError) -> bool:
    return (error.strerror or "") in (os.strerror(20), os.strerror(40))


@contextlib.contextmanager
def _below(parent: int, name: str) -> t.Iterator[int]:
    descriptor = os.open(name, files.DIRECTORY, dir_fd=parent)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
