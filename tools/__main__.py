# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands of ./dev."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import typing as t

from . import checks, collection_tree, hosts, reference, site
from .paths import CACHE, COLLECTIONS, PYTHON, ROOT, Problem, tool


def main(arguments: t.Sequence[str]) -> int:
    """Run one command and return its exit code."""
    command, *options = arguments
    if command not in COMMANDS:
        raise Problem(f"./dev does not know the command {command!r}; ./dev without a command lists them.")
    # Named, because Ansible does not read a configuration that it finds in a folder that everybody may write to.
    os.environ.setdefault("ANSIBLE_CONFIG", str(ROOT / "ansible.cfg"))
    collection_tree.prepare()
    return COMMANDS[command](options)


def program(*command: str) -> t.Callable[[t.Sequence[str]], int]:
    """Return a command that runs a program of the repository on disposable hosts; further options go to the program."""

    def run(options: t.Sequence[str]) -> int:
        hosts.prepare()
        return subprocess.run([PYTHON, *command, *options], cwd=ROOT, check=False).returncode

    return run


def soak(options: t.Sequence[str]) -> int:
    """Run what takes too long for every change, all of it, and tell which parts failed.

    Options go to the harmful changes. With --resume what has passed before is left out of every part that can.
    """
    resume = [option for option in options if option == "--resume"]
    hosts.prepare()
    parts: dict[str, t.Callable[[], int]] = {
        "virtual machines": lambda: (
            subprocess.run([tool("molecule"), "test", "-s", checks.MACHINES], cwd=ROOT, check=False).returncode
        ),
        "Lynis": lambda: program("tests/lynis/run.py")(resume),
        "interrupted runs": lambda: program("tests/interruption/run.py", "--points=20")(resume),
        "rotated certificates and CAs": lambda: program("tests/certificates/run.py", "--connections=50000")(resume),
        "generated values": lambda: (
            subprocess.run(
                [tool("pytest"), "--quiet", "--numprocesses=auto", "--hypothesis-profile=soak", "tests/unit"],
                cwd=ROOT,
                check=False,
            ).returncode
        ),
        "privileges of PostgreSQL": lambda: program("-m", "tests.postgresql.grants")([]),
        "logins of PostgreSQL": lambda: program("tests/postgresql/hba.py")(resume),
        "the transition log": lambda: program("tests/postgresql/transition_log.py")(resume),
        "harmful changes": lambda: program("tests/lockout/run.py", "--cases=200")(options),
        "the same without protection": lambda: program("tests/lockout/run.py", "--unprotected", "--cases=48")([]),
    }
    failed = [name for name, part in parts.items() if part()]
    print(f"failed: {', '.join(failed)}" if failed else "everything passed")
    return 1 if failed else 0


def clean(_options: t.Sequence[str]) -> int:
    """Remove everything that ./dev has made in this checkout, its hosts included."""
    if os.geteuid() == 0 and not hosts.missing_packages():
        code = hosts.call(["down", "--all"])
        if code:
            return code
    collections = COLLECTIONS / "ansible_collections"
    leftovers = [path for path in collections.iterdir() if path.name != "bulwark"]
    leftovers += [path for path in (ROOT / ".ansible").iterdir() if path != COLLECTIONS]
    leftovers += [CACHE, ROOT / ".hypothesis", ROOT / "tests" / "output", ROOT / ".venv"]
    for path in leftovers:
        shutil.rmtree(path, ignore_errors=True)
    return 0


def lock(_options: t.Sequence[str]) -> int:
    """Resolve the wished packages into versions and hashes, for all supported Pythons and all platforms."""
    environment = CACHE / "lock"
    subprocess.run([PYTHON, "-m", "venv", str(environment)], check=True)
    pip = [str(environment / "bin" / "python"), "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--require-hashes", "--requirement=requirements/lock.txt"], cwd=ROOT, check=True)
    command = [str(environment / "bin" / "uv"), "pip", "compile", "--quiet", "--upgrade", "--universal"]
    command += ["--python", PYTHON, "--python-version=3.11", "--generate-hashes", "--no-annotate", "--no-header"]
    command += ["--no-emit-index-url", "--output-file=requirements/dev.txt", "requirements/dev.in"]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


COMMANDS: dict[str, t.Callable[[t.Sequence[str]], int]] = {
    "site": site.site,
    "test": checks.test,
    "soak": soak,
    "bench": program("tests/benchmark/run.py"),
    "hosts": hosts.call,
    "docs": reference.write,
    "lock": lock,
    "clean": clean,
}

if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except Problem as problem:
        sys.exit(str(problem))
    except KeyboardInterrupt:
        sys.exit("Interrupted.")
