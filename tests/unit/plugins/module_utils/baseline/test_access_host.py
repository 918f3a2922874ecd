# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The access policy's hands on the host, as far as they need no root."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

import pytest

from ansible_collections.bulwark.hardening.plugins.module_utils.baseline import access_host


@pytest.fixture(name="archive")
def archive_of_ansible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "tmp" / "user" / "payload"
    folder.mkdir(parents=True)
    folder.parent.chmod(0o711)
    archive = folder / "payload.zip"
    archive.write_bytes(b"code")
    monkeypatch.setattr(sys, "path", [str(archive), *sys.path])
    return archive


def test_an_archive_that_a_mount_hides_is_there_again_and_only_once(archive: Path, tmp_path: Path) -> None:
    with access_host.payload_kept():
        (tmp_path / "tmp").rename(tmp_path / "hidden")
    assert archive.read_bytes() == b"code"
    assert stat.S_IMODE(archive.parents[1].stat().st_mode) == 0o711
    assert not (tmp_path / "hidden" / "user" / "payload" / "payload.zip").exists()


def test_an_archive_that_nothing_hides_stays_the_same_file(archive: Path) -> None:
    before = archive.stat().st_ino
    with access_host.payload_kept():
        pass
    assert archive.stat().st_ino == before


def test_an_archive_is_kept_also_when_the_change_fails(archive: Path, tmp_path: Path) -> None:
    def change_that_fails() -> None:
        with access_host.payload_kept():
            (tmp_path / "tmp").rename(tmp_path / "hidden")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        change_that_fails()
    assert archive.exists()
