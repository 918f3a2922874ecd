# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands of ./dev."""

from __future__ import annotations

import shutil
import subprocess
import sys
import typing as t

from . import checks, collection_tree, hosts, reference, site
from .paths import CACHE, COLLECTIONS, PYTHON, ROOT, Problem

USAGE = """\
usage: ./dev COMMAND

  site [OPTION ...]         put disposable hosts behind the collection's site.yml; options go to ansible-playbook
  test [STEP ...]           run all tests, or these: lint, sanity, unit, package, molecule [SCENARIO ...], hosts, lockout,
                            or a single step such as ruff
  soak [OPTION ...]         repeat the lock-out tests with many seeds
  bench [OPTION ...]        measure time and remote calls
  hosts COMMAND             disposable hosts: up, down, list, ssh NAME, reboot NAME; ./dev hosts --help has more
  docs                      write docs/reference/ from the argument specifications and the modules' documentation
  lock                      resolve requirements/*.in again, into versions and hashes
  clean                     remove disposable hosts, environments and caches of this checkout

All set-up (Python environment, collections, Debian packages for the hosts) is done when it is first needed.
"""


def main(arguments: t.Sequence[str]) -> int:
    """Run one command and return its exit code."""
    command, options = (arguments[0], arguments[1:]) if arguments else ("help", [])
    if command in {"help", "--help", "-h"}:
        print(USAGE, end="")
        return 0
    if command not in COMMANDS:
        print(USAGE, end="", file=sys.stderr)
        raise Problem(f"./dev does not know the command {command!r}.")
    collection_tree.prepare()
    return COMMANDS[command](options)


def programs(folder: str) -> t.Callable[[t.Sequence[str]], int]:
    """Return a command that runs the programs in a folder one after the other, with the same options."""

    def run(options: t.Sequence[str]) -> int:
        hosts.prepare()
        code = 0
        for program in sorted((ROOT / folder).glob("[a-z]*.py")):
            code = subprocess.run([PYTHON, str(program), *options], cwd=ROOT, check=False).returncode or code
        return code

    return run


def clean(_options: t.Sequence[str]) -> int:
    """Remove everything that ./dev has made in this checkout, its hosts included."""
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
    "soak": programs("tests/soak"),
    "bench": programs("tests/benchmark"),
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
