# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Proves that the collection builds, holds what it should, and starts: from its tarball and from any checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
import typing as t
from pathlib import Path

from .paths import ROOT, Problem, tool
from .sanity import copy_sources

SHIPPED = {
    "CHANGELOG.md",
    "CHANGELOG.rst",
    "CONTRIBUTING.md",
    "FILES.json",
    "LICENSE",
    "MANIFEST.json",
    "README.md",
    "changelogs",
    "docs",
    "galaxy.yml",
    "inventories",
    "meta",
    "playbooks",
    "plugins",
    "roles",
}
INVENTORY = ROOT / "inventories" / "example"


def main() -> None:
    """Build, inspect, install and start the collection in temporary folders."""
    with tempfile.TemporaryDirectory(prefix="bulwark-package-") as name:
        folder = Path(name)
        checkout = folder / "a checkout"
        copy_sources(checkout)
        # With uncommitted leftovers of every-day work in place, so that build_ignore has something to ignore.
        for leftover in (".venv/bin/python", ".cache/logs/setup.log", ".ansible/tmp/x", "tests/output/x"):
            (checkout / leftover).parent.mkdir(parents=True, exist_ok=True)
            (checkout / leftover).touch()
        galaxy("build", "--output-path", str(folder), cwd=checkout)
        archive = next(folder.glob("bulwark-hardening-*.tar.gz"))
        check_content(archive)
        installed = folder / "installed"
        galaxy("install", "--offline", "--collections-path", str(installed), str(archive), cwd=folder)
        elsewhere = {"ANSIBLE_COLLECTIONS_PATH": str(installed)}
        for playbook in playbooks():
            play(f"bulwark.hardening.{playbook.stem}", cwd=folder, environment=elsewhere)
            play(str(playbook.relative_to(ROOT)), cwd=checkout, environment={})
    print("The collection builds, installs and starts, from its tarball and from a checkout.")


def playbooks() -> list[Path]:
    """Return the playbooks that users start."""
    return sorted((ROOT / "playbooks").glob("*.yml"))


def check_content(archive: Path) -> None:
    """Raise Problem when the tarball holds anything that its users have no use for."""
    with tarfile.open(archive) as content:
        names = content.getnames()
    surplus = [name for name in names if Path(name).parts[0] not in SHIPPED or name.endswith((".pyc", "__pycache__"))]
    surplus += [name for name in names if name.startswith("inventories/disposable")]
    if surplus:
        raise Problem(f"The tarball holds {', '.join(surplus[:10])}; add them to build_ignore in galaxy.yml.")
    missing = {"README.md", "LICENSE", "meta/runtime.yml", "playbooks/site.yml"} - set(names)
    if missing:
        raise Problem(f"The tarball lacks {', '.join(sorted(missing))}.")
    print(f"{archive.name}: {len(names)} files, {archive.stat().st_size // 1024} KiB")


def galaxy(*arguments: str, cwd: Path) -> None:
    """Run ansible-galaxy collection."""
    execute([tool("ansible-galaxy"), "collection", *arguments], cwd, {})


def play(playbook: str, cwd: Path, environment: t.Mapping[str, str]) -> None:
    """Let Ansible find a playbook, its roles and its modules, against the example inventory."""
    command = [tool("ansible-playbook"), "--inventory", str(INVENTORY), "--list-tasks", playbook]
    output = execute(command, cwd, environment)
    if "tasks:" not in output or "TAGS" not in output:
        raise Problem(f"{playbook} has no task.")
    execute([*command[:-2], "--syntax-check", playbook], cwd, environment)


def execute(command: t.Sequence[str], cwd: Path, environment: t.Mapping[str, str]) -> str:
    """Run a command, show and return its output; raise Problem when it fails."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    result = subprocess.run(
        command,
        cwd=cwd,
        env={**inherited, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    print(result.stdout, flush=True)
    if result.returncode:
        raise Problem(f"Failed in {cwd}: {' '.join(command)}")
    return result.stdout


if __name__ == "__main__":
    try:
        main()
    except Problem as problem:
        sys.exit(str(problem))
