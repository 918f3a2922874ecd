# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What these tests read from the repository."""

from __future__ import annotations

import typing as t
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[3]
ROLES = sorted(path.parent.parent for path in ROOT.glob("roles/*/tasks/main.yml"))


class Role:
    """The declared interface of a role."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.name
        main = self.load("meta/argument_specs.yml")["argument_specs"]["main"]
        self.options: dict[str, dict[str, t.Any]] = main.get("options") or {}
        self.defaults: dict[str, t.Any] = self.load("defaults/main.yml")

    def load(self, name: str) -> dict[str, t.Any]:
        """Return the content of one of the role's files; nothing if it is empty or missing."""
        path = self.path / name
        return (yaml.safe_load(path.read_text(encoding="utf-8")) or {}) if path.is_file() else {}

    def texts(self, *folders: str) -> dict[Path, str]:
        """Return the text of all files in these folders of the role."""
        files = [path for folder in folders for path in (self.path / folder).rglob("*") if path.is_file()]
        return {path: path.read_text(encoding="utf-8") for path in files}
