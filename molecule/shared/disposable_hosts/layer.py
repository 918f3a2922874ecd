# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packages above an image: installed once, shared by every host that asks for the same ones."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from . import container
from .common import locked, run
from .model import Host


def mount(tree: Path, lower: Sequence[Path], writable: Path) -> bool:
    """Mount the directories over each other, the first on top, with one for changes; False where that is impossible."""
    upper, work = writable / "upper", writable / "work"
    for path in (tree, upper, work):
        path.mkdir(mode=0o755, parents=True, exist_ok=True)
    layers = f"lowerdir={':'.join(map(str, lower))},upperdir={upper},workdir={work}"
    # `volatile` leaves out every fsync: a disposable host has nothing to lose, and packages install much faster.
    return any(
        run(["mount", "-t", "overlay", "overlay", "-o", options, str(tree)], check=False).returncode == 0
        for options in (f"{layers},volatile", layers)
    )


def ensure(host: Host, image: Path, packages: Sequence[str]) -> Path | None:
    """Return the directory that holds the packages, made when no host has asked for them before.

    It lies beside the image and is removed together with it. None where directories cannot be laid over each other.
    """
    wanted = hashlib.sha256(" ".join(sorted(packages)).encode()).hexdigest()[:16]
    layer = image.with_name(f"{image.name}.with-{wanted}")
    with locked(layer.with_name(f"{layer.name}.lock")):
        if layer.is_dir():
            os.utime(layer)
            return layer
        unfinished = layer.with_name(f"{layer.name}.unfinished")
        tree = host.directory / "layer"
        shutil.rmtree(unfinished, ignore_errors=True)
        if not mount(tree, [image], unfinished):
            shutil.rmtree(unfinished)
            return None
        container.install(host, tree, packages)
        run(["umount", str(tree)])
        (unfinished / "upper").rename(layer)
        shutil.rmtree(unfinished)
        return layer
