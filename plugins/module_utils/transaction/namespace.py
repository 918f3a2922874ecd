# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rehearse a firewall in private network and mount namespaces, with real TCP connects."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .commands import ENVIRONMENT, telling_line
from .probe import Probe, Verdict
from .runner import pack_rehearsal
from .state import Command, TransactionError
from .timer import interpreter


class RehearsalFailed(TransactionError):
    """The candidate could not be loaded in the rehearsal, or the rehearsal did not end."""


@dataclass(frozen=True)
class Rehearsal:
    """supported is False, with the reason, where the host does not allow namespaces."""

    supported: bool
    reason: str = ""
    verdicts: tuple[Verdict, ...] = ()
    verdicts_after_rollback: tuple[Verdict, ...] = ()

    @property
    def passed(self) -> bool:
        return self.supported and all(v.passed for v in (*self.verdicts, *self.verdicts_after_rollback))

    def to_dict(self) -> dict[str, Any]:
        return {
            "supported": self.supported,
            "reason": self.reason,
            "verdicts": [verdict.to_dict() for verdict in self.verdicts],
            "verdicts_after_rollback": [verdict.to_dict() for verdict in self.verdicts_after_rollback],
        }


def rehearse(
    interface: str,
    addresses: Sequence[str],
    load: Sequence[Command],
    probes: Sequence[Probe],
    unload: Sequence[Command] = (),
    probes_after_rollback: Sequence[Probe] = (),
    mounts: Sequence[tuple[str, str]] = (),
    environment: Mapping[str, str] | None = None,
    timeout_seconds: float = 180.0,
    probe_timeout_seconds: float = 1.0,
) -> Rehearsal:
    """Load a candidate where it can do no harm, and try real connections.

    interface: the real network card's name, given to the private one. addresses: "192.0.2.10/24" and so on, its own.
    mounts: (staged directory or file, path that it covers); both must exist; what is written there lands in the staged
    copy. Everything else on the host's disks is read-only inside, /run and /var/log are private and empty.
    load: the candidate, in order. A background command is left running (a private dbus-daemon, a firewalld).
    unload: the rollback, after which probes_after_rollback are tried. environment: added to every command's.
    A probe with an empty source goes from this host outwards, to its destination; one with a source comes in. The far
    side owns all those addresses and listens on the ports of outward probes.
    Daemons and mounts end with the rehearsal, at the latest after timeout_seconds.
    Raises RehearsalFailed when a required command fails, or the time is up. Source: unshare(1), ip(8), mount(8).
    """
    request = {
        "interface": interface,
        "addresses": list(addresses),
        "mounts": [list(mount) for mount in mounts],
        "load": [_command(command, environment) for command in load],
        "unload": [_command(command, environment) for command in unload],
        "probes": [dataclasses.asdict(probe) for probe in probes],
        "probes_after_rollback": [dataclasses.asdict(probe) for probe in probes_after_rollback],
        "probe_timeout_seconds": probe_timeout_seconds,
    }
    try:
        answers, errors = _run_inside(json.dumps(request) + "\n", timeout_seconds)
    except OSError as error:
        return Rehearsal(False, f"unshare cannot be run: {error.strerror or error}")
    if not answers:
        return Rehearsal(False, f"private namespaces are not permitted on this host: {telling_line(errors)}")
    answer = answers[-1]
    if "unsupported" in answer:
        return Rehearsal(False, answer["unsupported"])
    if "failed" in answer:
        raise RehearsalFailed(f"the candidate could not be loaded in a private network: {answer['failed']}")
    if "verdicts" not in answer:
        raise RehearsalFailed(f"the rehearsal ended early: {telling_line(errors)}")
    return Rehearsal(
        True,
        "",
        tuple(Verdict(probe, *found) for probe, found in zip(probes, answer["verdicts"])),
        tuple(Verdict(probe, *found) for probe, found in zip(probes_after_rollback, answer["verdicts_after_rollback"])),
    )


def _command(command: Command, environment: Mapping[str, str] | None) -> dict[str, Any]:
    merged = {**(environment or {}), **dict(command.environment)}
    return dataclasses.asdict(dataclasses.replace(command, environment=tuple(merged.items())))


def _run_inside(request: str, timeout_seconds: float) -> tuple[list[dict[str, Any]], str]:
    # The program lives in memory only: nothing is left behind however this ends.
    program = os.memfd_create("bulwark-rehearsal", 0)
    try:
        with os.fdopen(os.dup(program), "wb") as stream:
            stream.write(pack_rehearsal())
        namespaces = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
        process = subprocess.Popen(  # pylint: disable=ansible-bad-function  # there is no AnsibleModule here
            [*namespaces, interpreter(), "-I", f"/proc/self/fd/{program}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=ENVIRONMENT,
            cwd="/",
            pass_fds=[program],
            start_new_session=True,
        )
    finally:
        os.close(program)
    return _converse(process, request, timeout_seconds)


def _converse(process: subprocess.Popen[str], request: str, timeout_seconds: float) -> tuple[list[dict[str, Any]], str]:
    """Send the request, keep the pipe open while the rehearsal runs, and return all answers and the error output."""
    if process.stdin is None:
        raise RehearsalFailed("the rehearsal could not be reached")
    pipe = process.stdin
    process.stdin = None
    try:
        with contextlib.suppress(BrokenPipeError):
            pipe.write(request)
            pipe.flush()
        output, errors = process.communicate(timeout=timeout_seconds)
    except subprocess.TimeoutExpired as error:
        raise RehearsalFailed(f"the rehearsal did not end within {timeout_seconds:g} seconds") from error
    finally:
        with contextlib.suppress(BrokenPipeError):
            pipe.close()
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")], errors
