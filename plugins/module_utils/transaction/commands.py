# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run programs: argument lists, a fixed environment, a time limit, one line to report."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess

from .state import Command

ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "HOME": "/"}
MAXIMUM_LINE = 300
PLACE = re.compile(r"\bline:? [0-9]+\b|[\w./-]*[A-Za-z/][\w./-]*:[0-9]+:")


class NotStarted(Exception):
    """The program cannot be run at all; the text says why."""


def start_command(command: Command, output: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
    """Start a command in a session of its own; output is where both streams go. Raises NotStarted."""
    try:
        return subprocess.Popen(  # pylint: disable=ansible-bad-function  # there is no AnsibleModule here
            list(command.argv),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**ENVIRONMENT, **dict(command.environment)},
            cwd="/",
            start_new_session=True,
        )
    except OSError as error:
        raise NotStarted(f"{command.argv[0]} cannot be run: {error.strerror or error}") from error


def run_command(command: Command) -> tuple[bool, str]:
    """Run a command to its end or its time limit and return (success, the line that says most)."""
    done, output = run_to_end(command)
    return done, telling_line(output)


def run_to_end(command: Command) -> tuple[bool, str]:
    """Run a command to its end or its time limit and return (success, all that it said)."""
    try:
        process = start_command(command, subprocess.PIPE)
    except NotStarted as error:
        return False, str(error)
    try:
        output, _errors = process.communicate(timeout=command.timeout_seconds)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return False, f"no end within {command.timeout_seconds:g} seconds"
    return process.returncode == 0, output.decode(errors="replace")


def telling_line(text: str) -> str:
    """Return the line that says most about how a program ended.

    The first that names a place in a file, such as ``x.conf line 3:`` or ``x.conf:3:``, else the last with the word
    error, else the last at all.
    """
    lines = [line.strip() for line in text.splitlines() if any(character.isalnum() for character in line)]
    places = [line for line in lines if PLACE.search(line)]
    errors = [line for line in lines if "error" in line.lower()]
    return (places[:1] or errors[-1:] or lines[-1:] or ["no output"])[0][:MAXIMUM_LINE]
