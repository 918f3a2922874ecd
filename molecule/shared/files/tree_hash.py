# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print path, mode, owner and hash of every file below the directories that a change could touch."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

DIRECTORIES = ("/etc", "/usr/local", "/var/lib/bulwark", "/var/lib/dpkg", "/root")
# Written by Ansible's own login and by the system's clockwork, not by a change.
IGNORED = (
    "/root/.ansible",
    "/etc/resolv.conf",
    "/var/lib/dpkg/lock",
    "/var/lib/dpkg/lock-frontend",
    "/var/lib/dpkg/triggers/Lock",
)


def describe(path: Path) -> str:
    status = path.lstat()
    if path.is_symlink():
        content = str(path.readlink())
    elif path.is_file():
        content = hashlib.sha256(path.read_bytes()).hexdigest()
    else:
        content = "-"
    return f"{path} {status.st_mode:o} {status.st_uid}:{status.st_gid} {content}"


def main() -> None:
    for directory in DIRECTORIES:
        for folder, folders, files in os.walk(directory):
            for name in sorted([*folders, *files]):
                path = Path(folder, name)
                if not str(path).startswith(IGNORED):
                    print(describe(path))


if __name__ == "__main__":
    main()
