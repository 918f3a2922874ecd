# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Puts the collections that galaxy.yml depends on into .ansible/collections, without a Galaxy server.

Collections are on no package index of their own, but the ``ansible`` package bundles the common ones. It is downloaded,
checked against the hash in requirements/collections.txt, and never installed: only the folders needed are taken out.
"""

from __future__ import annotations

import subprocess
import zipfile

import yaml

from .paths import CACHE, COLLECTIONS, PYTHON, ROOT, Problem, is_current, mark_current

REQUIREMENTS = ROOT / "requirements" / "collections.txt"
STAMP = CACHE / "stamps" / "collections"


def prepare() -> None:
    """Make the collections available; quick when they already are.

    Raises Problem: when the package cannot be had, or does not hold a collection that galaxy.yml names.
    """
    galaxy = ROOT / "galaxy.yml"
    if is_current(STAMP, galaxy, REQUIREMENTS):
        return
    wanted = sorted(yaml.safe_load(galaxy.read_text(encoding="utf-8")).get("dependencies") or {})
    if wanted:
        print(f"Preparing the collections {', '.join(wanted)}, once, about 50 MB to download.", flush=True)
        _extract(wanted)
    mark_current(STAMP, galaxy, REQUIREMENTS)


def _extract(wanted: list[str]) -> None:
    downloads = CACHE / "collections"
    # The package asks for a newer Python than ours may be, but it is only unpacked.
    command = [PYTHON, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--python-version=3.12"]
    command += ["--require-hashes", f"--dest={downloads}", f"--requirement={REQUIREMENTS}"]
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if result.returncode:
        lines = (result.stderr or result.stdout).strip().splitlines() or [""]
        raise Problem(f"pip cannot download the package that bundles the collections: {lines[-1]}")
    with zipfile.ZipFile(max(downloads.glob("ansible-*.whl"), key=lambda path: path.stat().st_mtime)) as package:
        for name in wanted:
            folder = f"ansible_collections/{name.replace('.', '/')}/"
            members = [member for member in package.namelist() if member.startswith(folder)]
            if not members:
                raise Problem(
                    f"The package named in {REQUIREMENTS.name} does not bundle {name}, which galaxy.yml names."
                )
            package.extractall(COLLECTIONS, members)
