# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make CAs, keys and certificates of users in a directory: credentials.py DIRECTORY."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

# name: principal, serial, validity
CERTIFICATES = {
    "certified": ("operators", 1, "-1m:+1d"),
    "wrong_principal": ("visitors", 2, "-1m:+1d"),
    "expired": ("operators", 3, "-2d:-1d"),
    "revoked_serial": ("operators", 7, "-1m:+1d"),
}


def keygen(*arguments: str) -> None:
    subprocess.run(["ssh-keygen", "-q", *arguments], check=True)


def main() -> None:
    directory = Path(sys.argv[1])
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in ("user_ca", "host_ca", "stranger_ca", "good", "revoked", "foreign", *CERTIFICATES):
        keygen("-t", "ed25519", "-N", "", "-C", name, "-f", str(directory / name))
    keygen("-t", "rsa", "-b", "2048", "-N", "", "-C", "short", "-f", str(directory / "short"))
    for name, (principal, serial, validity) in CERTIFICATES.items():
        signed = ["-s", str(directory / "user_ca"), "-I", name, "-n", principal, "-z", str(serial), "-V", validity]
        keygen(*signed, str(directory / f"{name}.pub"))
    foreign = ["-s", str(directory / "stranger_ca"), "-I", "foreign", "-n", "operators", "-V", "-1m:+1d"]
    keygen(*foreign, str(directory / "foreign.pub"))
    (directory / "done").touch()


if __name__ == "__main__":
    main()
