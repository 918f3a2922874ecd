# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A copy of the collection in which nothing is rehearsed, refused, proven or rolled back: shows which cases do harm."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

PLUGINS = "plugins"
UTILITIES = "plugins/module_utils/baseline"
# File, a line that stands there once, and what goes before it.
BEFORE = (
    (
        "plugins/action/access_policy.py",
        'staged = self.call(arguments, "stage")',
        'return self.call(arguments, "apply")',
    ),
    (
        f"{UTILITIES}/access_service.py",
        "token = _write_proof()",
        "_install(policy, made); _put_in_force(made.mount_plan); return result",
    ),
    (f"{UTILITIES}/access.py", 'if not path.startswith("/etc/"):', 'return ""'),
    (f"{UTILITIES}/mounts.py", "if wish.path not in MANAGED_PATHS:", "return []"),
    (f"{UTILITIES}/pam.py", 'if "\\0" in text or "\\\\" in text[-1:]:', 'return ""'),
    (f"{UTILITIES}/way_in.py", 'return next((f"{path}: {reason}" for', 'return ""'),
    (f"{UTILITIES}/way_in.py", 'if verb in ("stop", "mask", "disable"):', 'return ""'),
    (f"{UTILITIES}/way_in.py", "wrong = _harm(path, is_directory, after, people)", 'return ""'),
)
# File, what stands there once, and what takes its place.
INSTEAD = (
    ("plugins/action/access_policy.py", "wrong = problems(arguments)", "wrong: list[str] = []"),
    ("plugins/modules/access_policy.py", "problems = access.problems(parameters)", "problems: list[str] = []"),
    (f"{UTILITIES}/access_service.py", "if made.trees:", "if False:"),
    (f"{UTILITIES}/accounts.py", "if found and account.used:", "if False:"),
    (f"{UTILITIES}/accounts.py", "if wished and ends is not None and ends - today < notice:", "if False:"),
    (f"{UTILITIES}/accounts.py", "if (modes[key] or 0o700) & needed != needed:", "if False:"),
)


def collection(root: Path, folder: Path) -> Path:
    """Make the copy and return the path for Ansible's collections."""
    home = folder / "ansible_collections/bulwark/hardening"
    shutil.rmtree(folder, ignore_errors=True)
    home.mkdir(parents=True)
    shutil.copytree(root / PLUGINS, home / PLUGINS, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("galaxy.yml", "meta"):
        source = root / name
        if source.is_dir():
            shutil.copytree(source, home / name)
        else:
            shutil.copy(source, home / name)
    for name, line, more in BEFORE:
        _replace(home / name, line, f"{more}\n{line}")
    for name, present, instead in INSTEAD:
        _replace(home / name, present, instead)
    return folder


def _replace(path: Path, present: str, instead: str) -> None:
    text = path.read_text(encoding="utf-8")
    if text.count(present) != 1:
        raise SystemExit(f"{path.name}: {present!r} stands there {text.count(present)} times, expected once")
    indentation = re.search(rf"^( *){re.escape(present)}", text, re.MULTILINE)
    instead = instead.replace("\n", "\n" + (indentation[1] if indentation else ""))
    path.write_text(text.replace(present, instead), encoding="utf-8")
