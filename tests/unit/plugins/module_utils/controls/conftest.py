# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host that is a directory, with programs that answer what a test says."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bulwark.hardening.plugins.module_utils.controls.host import Answer, Host, Status
from ansible_collections.bulwark.hardening.plugins.module_utils.controls.model import Observation, Unreadable
from ansible_collections.bulwark.hardening.plugins.module_utils.controls.registry import READERS, prepared

MakeHost = Callable[..., "FakeHost"]


class FakeHost(Host):
    """Files belong to root unless ``owners`` says otherwise; whoever runs the tests does not matter."""

    def __init__(self, root: Path, programs: Mapping[str, str | Answer], owners: Mapping[str, tuple[int, int]]) -> None:
        super().__init__(str(root), self.answer)
        self.programs = programs
        self.owners = owners
        self.started: list[str] = []

    def answer(self, argv: Sequence[str]) -> Answer:
        line = " ".join(argv)
        self.started.append(line)
        for beginning, said in self.programs.items():
            if line.startswith(beginning):
                return said if isinstance(said, Answer) else Answer(0, said, "")
        raise Unreadable(f"there is no program {argv[0]} on this host")

    def status(self, path: str, follow: bool = True) -> Status | None:
        found = super().status(path, follow)
        uid, gid = self.owners.get(path, (0, 0))
        return None if found is None else dataclasses.replace(found, uid=uid, gid=gid)

    def observe(self, reader: str, **parameters: Any) -> Observation:
        """Return what a reader sees; its announcement comes first, as in a real run."""
        name, values, problems = prepared({"reader": reader, "parameters": parameters})
        assert problems == []
        READERS[name].announce(self, values)
        return READERS[name].read(self, values)


@pytest.fixture
def make_host(tmp_path: Path) -> Iterator[MakeHost]:
    """Return a function that makes a host of files (a text, None for a directory), links, modes, owners, programs."""
    hosts: list[FakeHost] = []

    def make(
        files: Mapping[str, str | None] | None = None,
        programs: Mapping[str, str | Answer] | None = None,
        modes: Mapping[str, int] | None = None,
        owners: Mapping[str, tuple[int, int]] | None = None,
        links: Mapping[str, str] | None = None,
    ) -> FakeHost:
        root = tmp_path / f"host{len(hosts)}"
        root.mkdir()
        for path, text in (files or {}).items():
            target = root / path.lstrip("/")
            if text is None:
                target.mkdir(parents=True, exist_ok=True)
                target.chmod(0o755)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
            target.chmod(0o644)
        for path, to in (links or {}).items():
            place = root / path.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(to)
        for path, mode in (modes or {}).items():
            (root / path.lstrip("/")).chmod(mode)
        host = FakeHost(root, programs or {}, owners or {})
        hosts.append(host)
        return host

    yield make
    for host in hosts:
        host.close()
