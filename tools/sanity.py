# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs ansible-test sanity for all Pythons of this machine that Ansible supports on managed hosts.

ansible-test has three demands that a checkout does not meet by itself:

* it looks at real paths, so the collection must lie in a folder ``ansible_collections/bulwark/hardening``, and outside
  of this repository, else it takes every file for ignored and reports success without a single test;
* it fetches pip from a file server of its own; it is given the same version from the package index instead;
* it stops at the first pyenv shim without an interpreter, so it is shown a folder of real interpreters.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import typing as t
from pathlib import Path

from .paths import CACHE, PYTHON, ROOT, Problem, tool

MANAGED_VERSIONS = ("3.9", "3.10", "3.11", "3.12", "3.13", "3.14")
PYENV = Path(os.environ.get("PYENV_ROOT") or "~/.pyenv").expanduser()
PIP_REQUIREMENTS = ROOT / "requirements" / "ansible-test-pip.txt"
PIP_CACHE = Path("~/.ansible/test/cache").expanduser()
GET_PIP = '''\
"""Stands in for the script that ansible-test would download: installs pip from the wheel beside it."""
import runpy
import sys

wheel = {wheel!r}
sys.path.insert(0, wheel)
sys.argv[1:] = ["install", "--no-index", wheel]
runpy.run_module("pip", run_name="__main__")
'''


def main(arguments: t.Sequence[str] | None = None) -> None:
    """Run the sanity tests named on the command line, or all."""
    parser = argparse.ArgumentParser(prog="./dev test sanity", description=__doc__)
    parser.add_argument("--test", action="append", default=[], help="only this test; may be repeated")
    options = parser.parse_args(arguments)
    interpreters = find_interpreters()
    missing = [version for version in MANAGED_VERSIONS if version not in interpreters]
    print(f"Pythons: {', '.join(interpreters)}; not on this machine, so not tested: {', '.join(missing) or 'none'}")
    provide_pip()
    with tempfile.TemporaryDirectory(prefix="bulwark-sanity-") as folder:
        collection = Path(folder) / "ansible_collections" / "bulwark" / "hardening"
        copy_sources(collection)
        command = [tool("ansible-test"), "sanity", "--local", "--color", "no"]
        for test in options.test:
            command += ["--test", test]
        path = f"{link_interpreters(interpreters)}:{Path(PYTHON).parent}:{path_without_shims()}"
        sys.exit(run_sanity(command, collection, {**os.environ, "PATH": path}))


def run_sanity(command: t.Sequence[str], collection: Path, environment: t.Mapping[str, str]) -> int:
    """Run ansible-test, show its output, and return its exit code, or 1 when it did not really test anything."""
    with subprocess.Popen(
        command, cwd=collection, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        output = []
        for line in process.stdout or ():
            print(line, end="", flush=True)
            output.append(line)
    problem = find_false_green("".join(output)) if not process.returncode else ""
    if problem:
        print(problem)
    return process.returncode or bool(problem)


def find_false_green(output: str) -> str:
    """Return why a successful ansible-test has proven nothing; an empty text if it has."""
    if "All targets skipped" in output:
        return "ansible-test skipped all files."
    if not re.search(r"^Running sanity test", output, re.MULTILINE):
        return "ansible-test ran no test."
    return ""


def find_interpreters() -> dict[str, Path]:
    """Return the real interpreters of this machine by version, pyenv's first."""
    found = {}
    for version in MANAGED_VERSIONS:
        candidates = sorted(PYENV.glob(f"versions/{version}.*/bin/python3"))
        named = shutil.which(f"python{version}", path=path_without_shims())
        if named:
            candidates.append(Path(named))
        for candidate in candidates:
            if subprocess.run([candidate, "-c", ""], capture_output=True, check=False).returncode == 0:
                found[version] = candidate.resolve()
                break
    return found


def path_without_shims() -> str:
    """Return PATH without pyenv's shims, which exit with 127 for versions that are not selected."""
    parts = os.environ["PATH"].split(os.pathsep)
    return os.pathsep.join(part for part in parts if Path(part) != PYENV / "shims")


def link_interpreters(interpreters: t.Mapping[str, Path]) -> Path:
    """Return a folder that holds a ``python3.N`` for each interpreter."""
    folder = CACHE / "pythons"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for version, interpreter in interpreters.items():
        (folder / f"python{version}").symlink_to(interpreter)
    return folder


def provide_pip() -> None:
    """Give ansible-test the pip that it would download, at the version that this ansible-test asks for."""
    wheels = CACHE / "ansible-test-pip"
    command = [PYTHON, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes"]
    subprocess.run([*command, f"--dest={wheels}", f"--requirement={PIP_REQUIREMENTS}"], check=True)
    PIP_CACHE.mkdir(parents=True, exist_ok=True)
    for wheel in wheels.glob("pip-*.whl"):
        script = PIP_CACHE / f"get_pip_{wheel.name.split('-')[1].replace('.', '_')}.py"
        if not script.exists():
            kept = PIP_CACHE / wheel.name
            shutil.copyfile(wheel, kept)
            script.write_text(GET_PIP.format(wheel=str(kept)), encoding="utf-8")


def source_files() -> list[Path]:
    """Return all files of the repository that are, or could be, committed; relative to its root."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if result.returncode:
        raise Problem(f"git cannot list the files of {ROOT}: {result.stderr.strip()}")
    names = sorted(set(result.stdout.split("\0")) - {""})
    return [Path(name) for name in names if (ROOT / name).is_file() or (ROOT / name).is_symlink()]


def copy_sources(destination: Path) -> None:
    """Copy the repository's files, and nothing else, to ``destination``."""
    for name in source_files():
        target = destination / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target, follow_symlinks=False)


if __name__ == "__main__":
    try:
        main()
    except Problem as problem:
        sys.exit(str(problem))
