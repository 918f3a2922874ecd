# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The durable journal: one file per generation, created by link(2), so that two writers can never both win."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from pathlib import Path

from . import files
from .state import CLOSED_PHASES, Journal, TransactionError

ROOT = "/var/lib/bulwark/transactions"
KEPT_JOURNALS = 20
KEPT_WHEN_CLOSED = {"journal", "mutation"}
ID = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}")
GENERATION = re.compile(r"([0-9]{6})\.json")


class Fenced(TransactionError):
    """Somebody else wrote this generation first."""


class UnreadableJournal(TransactionError):
    """The journal on disk is not one that this engine can act on."""


class JournalStore:
    """The journals below root, each in a directory of its own.

    A generation is written to a temporary file, synced, and linked to its final name; link(2) fails when the name is
    taken. There is no lock that a hanging writer could hold, and a writer that wakes up late finds its generation
    taken. The highest generation counts.
    """

    def __init__(self, root: str = ROOT) -> None:
        self.root = root.rstrip("/")

    def path(self, transaction_id: str, *names: str) -> str:
        if not ID.fullmatch(transaction_id):
            raise TransactionError(
                f"{transaction_id!r} is not the id of a transaction; an id looks like 20261231T235959Z-0123abcd"
            )
        return "/".join((self.root, transaction_id, *names))

    def prepare(self) -> None:
        """Make root, closed to everybody but its owner."""
        for part in (str(Path(self.root).parent), self.root):
            os.makedirs(part, mode=0o700, exist_ok=True)
        os.chmod(self.root, 0o700)

    def create(self, journal: Journal) -> None:
        """Write the first generation into the transaction's directory, which holds the snapshot already."""
        os.mkdir(self.path(journal.id, "journal"), 0o700)
        for made in (self.path(journal.id), self.root):
            with files.directory(made) as descriptor:
                os.fsync(descriptor)
        self.write(journal)

    def write(self, journal: Journal) -> None:
        """Make journal durable as its generation. Raises Fenced when that generation exists already."""
        with files.directory(self.path(journal.id, "journal")) as descriptor:
            if max(self._generations(descriptor), default=0) >= journal.generation:
                raise Fenced(f"transaction {journal.id} was changed by somebody else")
            content = journal.to_json().encode()
            temporary = files.create_temporary(descriptor, content, 0o600, os.geteuid(), os.getegid())
            try:
                name = f"{journal.generation:06d}.json"
                os.link(temporary, name, src_dir_fd=descriptor, dst_dir_fd=descriptor)
                os.fsync(descriptor)
            except FileExistsError as error:
                raise Fenced(f"transaction {journal.id} was changed by somebody else") from error
            finally:
                os.unlink(temporary, dir_fd=descriptor)

    def read(self, transaction_id: str) -> Journal:
        """Return the newest generation. Raises UnreadableJournal, and TransactionError when there is none."""
        folder = self.path(transaction_id, "journal")
        try:
            with files.directory(folder) as descriptor:
                newest = max(self._generations(descriptor), default=0)
                if not newest:
                    raise TransactionError(f"there is no transaction {transaction_id} on this host")
                name = f"{newest:06d}.json"
                return self._parse(descriptor, name, transaction_id, newest)
        except FileNotFoundError as error:
            raise TransactionError(f"there is no transaction {transaction_id} on this host") from error
        except (OSError, ValueError) as error:
            raise UnreadableJournal(self._advice(transaction_id, f"{folder}: {error}")) from error

    def _parse(self, descriptor: int, name: str, transaction_id: str, generation: int) -> Journal:
        owner = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
        if owner.st_uid != os.geteuid() or stat.S_IMODE(owner.st_mode) & 0o022:
            raise ValueError(f"{name} belongs to user {owner.st_uid} with mode {stat.S_IMODE(owner.st_mode):04o}")
        journal = Journal.from_json(files.read_at(descriptor, name).decode())
        if journal.id != transaction_id or journal.generation != generation:
            raise ValueError(f"{name} is generation {journal.generation} of {journal.id!r}")
        return journal

    def _advice(self, transaction_id: str, problem: str) -> str:
        return (
            f"the journal of transaction {transaction_id} cannot be read ({problem}); it is kept: look at "
            f"{self.root}/{transaction_id}, compare the host with its snapshot there, then move that directory away, "
            f"remove {self.root}/pending and run again"
        )

    @staticmethod
    def _generations(descriptor: int) -> list[int]:
        return [int(found[1]) for found in map(GENERATION.fullmatch, os.listdir(descriptor)) if found]

    def ids(self) -> list[str]:
        """Return all transactions, oldest first."""
        with contextlib.suppress(FileNotFoundError):
            return sorted(name for name in os.listdir(self.root) if ID.fullmatch(name))
        return []

    def unfinished(self) -> list[str]:
        """Return the transactions that hold something else than a closed one does."""
        found = []
        for transaction_id in self.ids():
            names = set(os.listdir(self.path(transaction_id)))
            if names - KEPT_WHEN_CLOSED or "journal" not in names:
                found.append(transaction_id)
        return found

    def pending(self) -> str | None:
        """Return the transaction whose rollback may be due."""
        try:
            target = os.readlink(f"{self.root}/pending")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UnreadableJournal(
                f"{self.root}/pending is not a link to a transaction ({error.strerror}); it is kept: look at it, "
                "remove it and run again"
            ) from error
        if not ID.fullmatch(target):
            raise UnreadableJournal(
                f"{self.root}/pending points to {target!r}, which is not a transaction; it is kept: look at it, "
                "remove it and run again"
            )
        return target

    def set_pending(self, transaction_id: str) -> None:
        with files.directory(self.root) as descriptor:
            # Not replaced: an existing link is somebody's rollback.
            os.symlink(transaction_id, "pending", dir_fd=descriptor)
            os.fsync(descriptor)

    def clear(self, journal: Journal) -> None:
        """Remove what only an open transaction needs: all but the journal and the lock. Repeatable."""
        with files.directory(self.root) as descriptor, contextlib.suppress(FileNotFoundError):
            if os.readlink("pending", dir_fd=descriptor) == journal.id:
                os.unlink("pending", dir_fd=descriptor)
                os.fsync(descriptor)
        with files.directory(self.path(journal.id)) as descriptor:
            for name in set(os.listdir(descriptor)) - KEPT_WHEN_CLOSED:
                files.remove_at(descriptor, name)

    def prune(self, keep: int = KEPT_JOURNALS) -> None:
        """Remove the oldest closed transactions beyond keep."""
        for transaction_id in self.ids()[:-keep]:
            with contextlib.suppress(TransactionError):
                if self.read(transaction_id).phase in CLOSED_PHASES:
                    with files.directory(self.root) as descriptor:
                        files.remove_at(descriptor, transaction_id)
