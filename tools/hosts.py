# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ./dev adds to the disposable hosts of molecule/shared: it installs what they need on this machine."""

from __future__ import annotations

import os
import subprocess
import typing as t

from .paths import HOSTS_PROGRAM, LOGS, PYTHON, Problem


def prepare() -> None:
    """Install the Debian packages that disposable hosts need on this machine, after saying which.

    Raises Problem: without root, or when packages are missing and cannot be installed.
    """
    if os.geteuid() != 0:
        raise Problem("Disposable hosts need root: namespaces, a bridge, foreign file owners. Run ./dev with sudo.")
    missing = missing_packages()
    if not missing:
        return
    print(f"Installing the Debian packages {', '.join(missing)}, for the disposable hosts.", flush=True)
    log = LOGS / "packages.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        for command in (
            ["apt-get", "update"],
            ["apt-get", "install", "--yes", "--no-install-recommends", *missing],
        ):
            try:
                subprocess.run(
                    command,
                    env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    check=True,
                )
            except FileNotFoundError:
                raise Problem(f"This machine has no apt-get; install these yourself: {' '.join(missing)}.") from None
            except subprocess.CalledProcessError:
                lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or [""]
                raise Problem(f"{' '.join(command[:2])} failed: {lines[-1]} All of its output: {log}") from None


def missing_packages() -> list[str]:
    """Return the Debian packages that disposable hosts need and this machine does not have."""
    command = [PYTHON, str(HOSTS_PROGRAM), "packages"]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True).stdout.split()


def call(arguments: t.Sequence[str]) -> int:
    """Run hosts.py with these arguments, in the foreground, and return its exit code."""
    prepare()
    return subprocess.run([PYTHON, str(HOSTS_PROGRAM), *arguments], check=False).returncode
