# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program that a timer, a deployment or a person runs: bulwark-postgresql-proof.

Exit code 0: as it was made. 1: something differs. 2: it could not be looked at. Changes nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
import typing as t

from ...transaction import files
from ..server import Refused
from . import policy as kept
from .findings import findings

METRICS_FILE = "bulwark_postgresql.prom"
DIFFERS, UNKNOWN = 1, 2
# What the journal takes for an error.
ERROR = "<3>"


def main(arguments: t.Sequence[str] | None = None) -> int:
    """Look, tell, and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="bulwark-postgresql-proof",
        description="Look whether roles, privileges, audit tables and their triggers are as they were made.",
    )
    parser.add_argument("--policy", default=kept.POLICY, help="what the role has written")
    options = parser.parse_args(arguments)
    return run(options.policy)


def run(path: str) -> int:
    policy: kept.Wish = {}
    try:
        policy = kept.load(_content(path), path)
        found = findings(policy)
        code = DIFFERS if found else 0
    except Refused as error:
        found, code = [str(error)], UNKNOWN
    for sentence in found:
        complain(sentence)
    if not found:
        print_line("roles, privileges, audit tables and their triggers are as they were made")
    write_metrics(str(policy.get("metrics_directory") or ""), code, len(found) if code == DIFFERS else 0)
    return code


def _content(path: str) -> bytes:
    try:
        return files.read_file(path)
    except OSError as error:
        raise Refused(f"{path}: {error.strerror or error}; run this as root, after the role postgresql") from error


def metrics(code: int, count: int, now: float) -> str:
    """Return the text for the node exporter. Nothing is said of differences that could not be looked for."""
    lines = [
        "# HELP bulwark_postgresql_proof_looked Whether the last look at the cluster came to an end.",
        "# TYPE bulwark_postgresql_proof_looked gauge",
        f"bulwark_postgresql_proof_looked {int(code != UNKNOWN)}",
        "# HELP bulwark_postgresql_proof_timestamp_seconds When that was.",
        "# TYPE bulwark_postgresql_proof_timestamp_seconds gauge",
        f"bulwark_postgresql_proof_timestamp_seconds {int(now)}",
    ]
    if code != UNKNOWN:
        lines += [
            "# HELP bulwark_postgresql_proof_differences What is not as it was made.",
            "# TYPE bulwark_postgresql_proof_differences gauge",
            f"bulwark_postgresql_proof_differences {count}",
        ]
    return "\n".join(lines) + "\n"


def write_metrics(directory: str, code: int, count: int) -> None:
    """Replace the file of the node exporter; a directory that is not there is nobody's who asked for it."""
    if directory and os.path.isdir(directory):
        with contextlib.suppress(OSError):
            content = metrics(code, count, time.time()).encode()
            files.write_file(f"{directory}/{METRICS_FILE}", content, 0o644, os.geteuid(), os.getegid())


def print_line(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def complain(sentence: str) -> None:
    sys.stdout.flush()
    sys.stderr.write(f"{ERROR if os.environ.get('JOURNAL_STREAM') else ''}{sentence}\n")
