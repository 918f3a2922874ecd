# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Owners and modes: what a pattern is about, and that nothing is granted or followed."""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.bulwark.hardening.plugins.module_utils.baseline import permissions, permissions_host
from ansible_collections.bulwark.hardening.plugins.module_utils.baseline.host import Done, Refused
from ansible_collections.bulwark.hardening.plugins.module_utils.baseline.permissions import Facts, Rule


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"path": "x", "mode": "0600"}, "a path is absolute"),
        ({"path": "/a/../b", "mode": "0600"}, "a path is absolute"),
        ({"path": "/a", "mode": "0900"}, "three or four octal digits"),
        ({"path": "/a"}, "neither owner nor group nor mode"),
        ({"path": "/a", "owner": "root", "at_most": True}, "at_most needs a mode"),
        ({"path": "/a", "mode": "0600", "type": "link"}, "accepted are file and directory"),
        ({"path": "/a", "mode": "0600", "except": ["b"]}, r"except\[0\] is 'b'; a path is absolute"),
    ],
)
def test_what_is_wrong_is_named(entry: dict[str, Any], message: str) -> None:
    with pytest.raises(Refused, match=message):
        permissions.parse([entry])


@pytest.mark.parametrize(
    ("path", "pattern", "fits"),
    [
        ("/var/log/a", "/var/log/*", True),
        ("/var/log/a/b", "/var/log/*", False),
        ("/var/log/a/b", "/var/log/**/*", True),
        ("/var/log/a", "/var/log/**/*", True),
        ("/var/log/.a", "/var/log/*", False),
        ("/home/x/.a", "/home/*/.*", True),
        ("/var/log", "/var/log", True),
    ],
)
def test_patterns(path: str, pattern: str, fits: bool) -> None:
    assert permissions.matches(path, pattern) is fits


MODES = st.integers(0, 0o7777)


@given(now=MODES, wish=MODES, kind=st.sampled_from(["file", "directory"]))
def test_at_most_only_takes_and_planning_again_finds_nothing(now: int, wish: int, kind: str) -> None:
    rule = Rule("/f", mode=wish, at_most=True)
    after = permissions.wished(rule, Facts("/f", kind, now, 1, 1), int, int)
    assert after.mode & ~now == 0
    assert after.mode & 0o777 == now & wish & 0o777
    assert after.mode & 0o7000 == now & 0o7000
    assert permissions.wished(rule, after, int, int) == after


def test_a_new_owner_does_not_lend_what_the_old_one_wrote() -> None:
    facts = Facts("/f", "file", 0o4755, 1000, 1000)
    assert permissions.wished(Rule("/f", owner="0"), facts, int, int).mode == 0o755


class Tree:
    def __init__(self, root: Path) -> None:
        self.root = root
        for name, mode in (("a.log", 0o644), ("b.log", 0o640), ("deep/er/c.log", 0o666), (".hidden", 0o644)):
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(name)
            path.chmod(mode)
        (root / "outside").mkdir()
        (root / "outside" / "precious").write_text("x")
        (root / "outside" / "precious").chmod(0o666)
        (root / "logs").mkdir()

    def mode(self, name: str) -> int:
        return (self.root / name).stat().st_mode & 0o7777


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    # A directory of somebody else, as far as root is concerned.
    tmp_path.chmod(0o777)
    return Tree(tmp_path)


def converge(entries: list[dict[str, Any]], check_mode: bool = False) -> permissions_host.Outcome:
    return permissions_host.converge(entries, [], check_mode)


def test_a_pattern_reaches_every_depth_and_a_second_run_nothing(tree: Tree) -> None:
    entry = {"path": f"{tree.root}/**/*.log", "type": "file", "mode": "0640", "at_most": True}
    assert len(converge([entry], check_mode=True).changes) == 2
    assert tree.mode("a.log") == 0o644
    outcome = converge([entry])
    assert [Path(change.path).name for change in outcome.changes] == ["a.log", "c.log"]
    assert (tree.mode("a.log"), tree.mode("b.log"), tree.mode("deep/er/c.log")) == (0o640, 0o640, 0o640)
    assert converge([entry]).changes == ()


def test_later_entries_start_from_what_earlier_ones_make(tree: Tree) -> None:
    path = f"{tree.root}/a.log"
    outcome = converge([{"path": path, "mode": "0600"}, {"path": path, "mode": "0644", "at_most": True}])
    assert outcome.problems == ()
    assert tree.mode("a.log") == 0o600


def test_exceptions_are_left(tree: Tree) -> None:
    converge([{"path": f"{tree.root}/*", "type": "file", "mode": "0600", "except": [f"{tree.root}/a.*"]}])
    assert (tree.mode("a.log"), tree.mode("b.log"), tree.mode(".hidden")) == (0o644, 0o600, 0o644)


def test_no_link_is_followed(tree: Tree) -> None:
    (tree.root / "logs" / "planted").symlink_to(tree.root / "outside" / "precious")
    (tree.root / "logs" / "folder").symlink_to(tree.root / "outside")
    outcome = converge([
        {"path": f"{tree.root}/logs/**/*", "mode": "0600"},
        {"path": f"{tree.root}/logs/folder/*", "mode": "0600"},
        {"path": f"{tree.root}/logs/planted", "mode": "0600"},
    ])  # fmt: skip
    assert outcome.changes == ()
    assert tree.mode("outside/precious") == 0o666
    assert len(outcome.left_out) == 2
    assert all("is a symbolic link" in sentence for sentence in outcome.left_out)


def test_a_link_that_comes_between_plan_and_change_is_not_followed(tree: Tree) -> None:
    path = tree.root / "a.log"
    (found,) = permissions_host.find(str(path), [])
    path.unlink()
    path.symlink_to(tree.root / "outside" / "precious")
    change = permissions.Change(found, permissions.wished(Rule(str(path), mode=0o600), found, int, int))
    assert "symbolic link" in permissions_host._set(change)[0]
    assert tree.mode("outside/precious") == 0o666


def test_who_logs_in_by_key_keeps_the_way_in(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tree.root / "home"
    (home / ".ssh").mkdir(parents=True)
    (home / ".ssh" / "authorized_keys").write_text("ssh-ed25519 AAAA anna\n", encoding="utf-8")
    anna = pwd.struct_passwd(("anna", "x", os.getuid() + 1, os.getgid() + 1, "", str(home), "/bin/bash"))
    monkeypatch.setattr(pwd, "getpwall", lambda: [anna])
    monkeypatch.setattr(os, "getgrouplist", lambda _name, gid: [gid])
    for path in (tree.root, home, home / ".ssh"):
        path.chmod(0o755)
    (home / ".ssh" / "authorized_keys").chmod(0o644)
    for wish in ({"path": str(home), "mode": "0700"}, {"path": f"{home}/.ssh/*", "mode": "0600"}):
        with pytest.raises(Refused, match=r"anna could not .*nothing was changed"):
            converge([{"path": f"{tree.root}/a.log", "mode": "0600"}, wish])
    assert (tree.mode("home"), tree.mode("a.log")) == (0o755, 0o644)
    converge([{"path": str(home), "mode": "0711"}])
    assert tree.mode("home") == 0o711


def test_a_second_name_where_others_make_names_is_left_to_a_person(tree: Tree) -> None:
    os.link(tree.root / "outside" / "precious", tree.root / "e.log")
    outcome = converge([{"path": f"{tree.root}/e.log", "mode": "0600"}])
    assert outcome.changes == ()
    assert "has a second name elsewhere" in outcome.left_out[0]
    assert tree.mode("outside/precious") == 0o666


class Dpkg:
    """Answers as dpkg-statoverride and dpkg-query do."""

    def __init__(self, known: str, listed: str = "") -> None:
        self.known, self.listed = known, listed
        self.ran: list[tuple[str, ...]] = []

    def __call__(self, argv: Sequence[str]) -> Done:
        self.ran.append(tuple(argv))
        if argv[0] == "dpkg-query":
            return Done(argv[-1] == self.known, "", "")
        if "--add" in argv:
            self.listed = " ".join(argv[2:])
        return Done(True, self.listed if "--list" in argv else "", "")


def test_lent_rights_are_taken_and_dpkg_keeps_it(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tree.root / "a.log"
    program.chmod(0o4755)
    monkeypatch.setattr(permissions_host, "STATOVERRIDE", "/bin/sh")
    dpkg = Dpkg(str(program), f"root root 4755 {program}")
    outcome = permissions_host.converge([], [str(program)], False, dpkg)
    assert tree.mode("a.log") == 0o755
    assert outcome.overrides == (str(program),)
    assert re.search(rf" 0755 {re.escape(str(program))}$", dpkg.listed)
    again = permissions_host.converge([], [str(program)], False, dpkg)
    assert (again.changes, again.overrides) == ((), ())
