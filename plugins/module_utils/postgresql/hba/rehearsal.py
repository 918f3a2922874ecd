# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Let the server's own program read a candidate, in a cluster that is made for it and thrown away.

It runs in single-user mode: no socket, no port, nothing of the real cluster but the candidate's directory.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import tempfile
import typing as t

from ...transaction.commands import run_to_end, telling_line
from ...transaction.state import Command
from ..server import Refused
from .host import Cluster
from .syntax import Record, comparable, view

SECONDS = 60.0
PREFIX = "bulwark-hba-"
# In hexadecimal, because COPY would escape some characters and names need not be valid in any encoding.
QUESTION = (
    "COPY (SELECT encode(textsend(coalesce(json_agg(found), '[]')::text), 'hex') FROM pg_hba_file_rules AS found)"
    " TO '{answer}';\n"
)
Row = t.Mapping[str, t.Any]


def rows_of(candidate: str, cluster: Cluster, system_user: str) -> list[Row]:
    """Return pg_hba_file_rules as it would be with the candidate. Raises Refused if it could not be tried."""
    try:
        folder = tempfile.mkdtemp(prefix=PREFIX)
    except OSError as error:
        raise Refused(f"no room for a rehearsal: {error}; nothing was changed") from error
    try:
        account = pwd.getpwnam(system_user)
        os.chown(folder, account.pw_uid, account.pw_gid)
        return _ask(folder, candidate, cluster, system_user)
    except (OSError, ValueError) as error:
        raise Refused(f"the rehearsal in {folder} gave no answer ({error}); nothing was changed") from error
    finally:
        with contextlib.suppress(OSError):
            shutil.rmtree(folder)


def tidy() -> None:
    """Remove the clusters of rehearsals that were killed; no link is followed."""
    with os.scandir(tempfile.gettempdir()) as entries:
        for entry in entries:
            if entry.name.startswith(PREFIX) and entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)


def _ask(folder: str, candidate: str, cluster: Cluster, system_user: str) -> list[Row]:
    question, answer, data = f"{folder}/question", f"{folder}/answer", f"{folder}/data"
    with open(question, "w", encoding="ascii") as file:
        file.write(QUESTION.format(answer=answer))
    as_user = ("runuser", "-u", system_user, "--")
    initdb = (
        f"{cluster.programs}/initdb", "--pgdata", data, "--no-sync", "--auth=trust", "--encoding=SQL_ASCII",
        "--locale=C", "--wal-segsize=1",
    )  # fmt: skip
    single = (
        f"{cluster.programs}/postgres", "--single", "-D", data, "-c", f"hba_file={candidate}",
        "-c", f"ssl={'on' if cluster.offers_tls else 'off'}",
        *(("-c", f"oauth_validator_libraries={cluster.oauth_libraries}") if cluster.oauth_libraries else ()),
        "postgres",
    )  # fmt: skip
    said = ""
    for argv in (initdb, ("sh", "-c", 'exec "$@" <"$0"', question, *single)):
        done, said = run_to_end(Command((*as_user, *argv), SECONDS))
        if not done:
            raise Refused(f"the candidate could not be rehearsed, nothing was changed: {telling_line(said)}")
    try:
        with open(answer, encoding="ascii") as file:
            text = bytes.fromhex(file.read().strip()).decode("utf-8", "surrogateescape")
    except FileNotFoundError as error:
        raise Refused(f"the candidate could not be rehearsed, nothing was changed: {telling_line(said)}") from error
    rows: list[Row] = json.loads(text)
    return rows


def problem_of(records: t.Sequence[Record], rows: t.Sequence[Row], candidate: str, path: str) -> str:
    """Return why the server would not read the candidate as it is meant; empty if it would."""
    for row in rows:
        if row["error"] is not None or row["type"] is None:
            place = str(row.get("file_name") or candidate).replace(candidate, path)
            return f"the server refuses {place} line {row['line_number']}: {row['error'] or 'no reason is given'}"
    if len(rows) != len(records):
        return f"the server reads {len(rows)} rules in {path}, and {len(records)} are meant"
    for record, row in zip(records, rows):
        if view(record) != comparable(row):
            return f"the server reads line {row['line_number']} of {path} as {dict(row)}, which is not what is meant"
    return ""
