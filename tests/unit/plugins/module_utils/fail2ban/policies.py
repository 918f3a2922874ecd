# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role ships, a policy made of it, and fail2ban's own engine."""

from __future__ import annotations

import functools
import importlib
import json
import shutil
import subprocess
import sys
import tempfile
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.bulwark.hardening.plugins.module_utils.fail2ban import render
from ansible_collections.bulwark.hardening.plugins.module_utils.fail2ban.model import Policy, build

ROOT = Path(__file__).resolve().parents[5]
ROLE = ROOT / "roles/fail2ban"
PROGRAM = ROOT / "plugins/module_utils/fail2ban/engine_program.py"
# Where Debian's package has it; a machine without it gets the package unpacked, not installed, into the cache.
INSTALLED = Path("/usr/lib/python3/dist-packages")
CACHE = ROOT / ".cache/fail2ban"
JOURNAL = render.Log("journal")


def shipped() -> dict[str, Any]:
    """Return the role's jails, filters and defaults by the module's option names."""
    variables = yaml.safe_load((ROLE / "vars/main.yml").read_text(encoding="utf-8"))
    defaults = yaml.safe_load((ROLE / "defaults/main.yml").read_text(encoding="utf-8"))
    options = {name.removeprefix("fail2ban_"): value for name, value in defaults.items()}
    layers = ("group_jails", "host_jails", "dependent_jails", "dependent_filters")
    return {
        **{name: value for name, value in options.items() if name not in layers},
        "base_jails": variables["__fail2ban_jails"],
        "base_filters": variables["__fail2ban_filters"],
    }


def policy(**options: Any) -> Policy:
    return build({**shipped(), **options})


@functools.cache
def engine_path() -> Path:
    """Return a directory from which ``import fail2ban`` works; skips the test where none can be had."""
    if (INSTALLED / "fail2ban").is_dir():
        return INSTALLED
    unpacked = CACHE / "usr/lib/python3/dist-packages"
    if not unpacked.is_dir():
        CACHE.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE.parent) as directory:
            if shutil.which("apt-get") is None:
                pytest.skip("fail2ban's engine is not on this machine, and there is no apt-get to fetch it with")
            fetched = subprocess.run(
                ["apt-get", "--quiet", "download", "fail2ban"],
                cwd=directory,
                capture_output=True,
                text=True,
                check=False,
            )
            packages = list(Path(directory).glob("fail2ban_*.deb"))
            if not packages:
                pytest.skip(f"fail2ban's engine cannot be fetched: {fetched.stderr.strip()[-200:]}")
            new = Path(directory) / "unpacked"
            subprocess.run(["dpkg-deb", "--extract", str(packages[0]), str(new)], check=True)
            if not CACHE.exists():
                try:
                    new.rename(CACHE)
                except OSError:  # another worker was first
                    assert unpacked.is_dir()
    return unpacked


def engine_module(name: str) -> types.ModuleType:
    """Return a module of fail2ban."""
    path = str(engine_path())
    if path not in sys.path:
        # Last, so that nothing else comes from there.
        sys.path.append(path)
    return importlib.import_module(name)


def ask_engine(operation: str, **request: Any) -> Any:
    """Return what engine_program.py answers in a Python that has fail2ban."""
    python = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable
    source = f"import sys; sys.path.insert(0, {str(engine_path())!r})\n{PROGRAM.read_text(encoding='utf-8')}"
    # A future import must stand first.
    source = source.replace("from __future__ import annotations\n", "", 1)
    done = subprocess.run(
        [python, "-I", "-c", source],
        input=json.dumps({"operations": [operation], **request}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)[operation]


def try_samples(directory: Path, tried: Policy) -> list[Mapping[str, Any]]:
    """Write a policy's filters below a directory and return what the engine finds in their samples."""
    (directory / "filter.d").mkdir(exist_ok=True)
    for entry in tried.filters:
        (directory / f"filter.d/{entry.file_name}.conf").write_text(render.filter_text(entry), encoding="utf-8")
    filters = [
        {
            "name": entry.file_name,
            "samples": [{"line": sample.line, "source": sample.source} for sample in entry.samples],
        }
        for entry in tried.filters
    ]
    answers: list[Mapping[str, Any]] = ask_engine("samples", directory=str(directory), filters=filters)
    return answers
