# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshots put trees back exactly."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.bulwark.hardening.plugins.module_utils.transaction import snapshot
from ansible_collections.bulwark.hardening.plugins.module_utils.transaction.state import FileState, TransactionError

from .conftest import Power, PowerCut

names = st.sampled_from(["a", "b", "a-b", "a.b", "ä", "-x", "with space"])
entries = st.one_of(
    st.tuples(st.just("file"), st.binary(max_size=30), st.sampled_from([0o600, 0o644, 0o755, 0o4711])),
    st.tuples(st.just("link"), st.sampled_from(["/etc/passwd", "a", "../b", "nowhere"]), st.just(0)),
    st.tuples(st.just("folder"), st.just(b""), st.sampled_from([0o700, 0o755, 0o1777])),
)
Entry = tuple[str, "bytes | str", int]
trees = st.dictionaries(st.lists(names, min_size=1, max_size=3).map("/".join), entries, max_size=8)


@contextmanager
def workspace() -> Iterator[tuple[Path, Path]]:
    folder = Path(tempfile.mkdtemp())
    (folder / "tree").mkdir()
    (folder / "store").mkdir()
    try:
        yield folder / "tree", folder / "store"
    finally:
        shutil.rmtree(folder)


def build(root: Path, tree: dict[str, Entry]) -> None:
    for name, (kind, content, mode) in sorted(tree.items()):
        path = root / name
        if any(parent.is_symlink() or parent.is_file() for parent in path.parents) or os.path.lexists(path):
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind == "link":
            path.symlink_to(str(content))
        elif kind == "folder":
            path.mkdir()
            path.chmod(mode)
        else:
            path.write_bytes(bytes(content) if isinstance(content, bytes) else content.encode())
            path.chmod(mode)


def look(root: Path) -> dict[str, object]:
    found: dict[str, object] = {}
    for path in [root, *sorted(root.rglob("*"))]:
        status = path.lstat()
        content: object = None
        if path.is_symlink():
            content = path.readlink()
        elif path.is_file():
            content = path.read_bytes()
        moment = 0 if path.is_symlink() else status.st_mtime_ns
        found[str(path.relative_to(root))] = (
            stat.S_IFMT(status.st_mode),
            status.st_mode,
            status.st_uid,
            moment,
            content,
        )
    return found


def clear(root: Path) -> None:
    for child in root.iterdir():
        if child.is_dir() and not child.is_symlink():
            shutil.rmtree(child)
        else:
            child.unlink()


@settings(deadline=None, max_examples=60)
@given(trees, trees)
def test_any_tree_comes_back_whatever_took_its_place(before: dict[str, Entry], after: dict[str, Entry]) -> None:
    with workspace() as (tree, store):
        build(tree, before)
        expected = look(tree)
        states = snapshot.capture([str(tree)], str(store))
        snapshot.check(states, str(store))
        clear(tree)
        build(tree, after)
        assert snapshot.restore(states, str(store)) == []
        assert look(tree) == expected


@settings(deadline=None, max_examples=30)
@given(trees)
def test_a_second_restore_writes_nothing(before: dict[str, Entry]) -> None:
    with workspace() as (tree, store):
        build(tree, before)
        states = snapshot.capture([str(tree)], str(store))
        inodes = {path: path.lstat().st_ino for path in tree.rglob("*")}
        assert snapshot.restore(states, str(store)) == []
        assert {path: path.lstat().st_ino for path in tree.rglob("*")} == inodes


def test_what_was_absent_is_removed_again_file_or_tree(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    paths = [tmp_path / "file", tmp_path / "tree", tmp_path / "deep" / "er" / "file"]
    states = snapshot.capture([str(path) for path in paths], str(tmp_path / "store"))
    assert [state.kind for state in states] == ["absent"] * 3
    paths[0].write_text("x")
    build(paths[1], {"a/b": ("file", b"x", 0o600)})
    paths[2].parent.mkdir(parents=True)
    paths[2].write_text("x")
    assert snapshot.restore(states, str(tmp_path / "store")) == []
    assert not any(path.exists() for path in paths)


def test_a_link_is_put_back_as_a_link_and_never_written_through(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    kept = tmp_path / "kept"
    kept.write_text("old")
    states = snapshot.capture([str(kept)], str(tmp_path / "store"))
    kept.unlink()
    kept.symlink_to(victim)
    assert snapshot.restore(states, str(tmp_path / "store")) == []
    assert not kept.is_symlink()
    assert kept.read_text() == "old"
    assert victim.read_text() == "untouched"


def test_a_directory_turned_into_a_link_stops_that_file_only(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("old")
    outside = tmp_path / "outside"
    outside.mkdir()
    states = snapshot.capture([str(tmp_path / name / "file") for name in ("one", "two")], str(tmp_path / "store"))
    shutil.rmtree(tmp_path / "one")
    (tmp_path / "one").symlink_to(outside)
    (tmp_path / "two" / "file").write_text("new")
    problems = snapshot.restore(states, str(tmp_path / "store"))
    assert len(problems) == 1
    assert f"{tmp_path}/one/file could not be put back" in problems[0]
    assert list(outside.iterdir()) == []
    assert (tmp_path / "two" / "file").read_text() == "old"


def test_parents_given_through_a_link_are_resolved(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "real").mkdir()
    (tmp_path / "alias").symlink_to("real")
    (tmp_path / "real" / "file").write_text("old")
    states = snapshot.capture([str(tmp_path / "alias" / "file")], str(tmp_path / "store"))
    assert states[0].path == str(tmp_path / "real" / "file")


def test_what_cannot_be_put_back_is_refused(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        with pytest.raises(TransactionError, match=r"socket cannot be kept for a rollback: .* is neither a file"):
            snapshot.capture([str(tmp_path / "socket")], str(tmp_path / "store"))


def test_a_damaged_copy_is_noticed_before_it_is_needed_and_never_restored(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "file").write_text("old")
    states = snapshot.capture([str(tmp_path / "file")], str(tmp_path / "store"))
    (tmp_path / "store" / states[0].blob).write_text("evil")
    (tmp_path / "file").write_text("new")
    with pytest.raises(TransactionError, match=r"the kept copy of .*/file was changed"):
        snapshot.check(states, str(tmp_path / "store"))
    assert "was changed since it was made" in snapshot.restore(states, str(tmp_path / "store"))[0]
    assert (tmp_path / "file").read_text() == "new"


@pytest.mark.skipif(not hasattr(os, "setxattr"), reason="this platform has no extended attributes")
def test_extended_attributes_come_back(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    path = tmp_path / "file"
    path.write_text("old")
    try:
        os.setxattr(path, "user.label", b"value")
    except OSError:
        pytest.skip("this file system has no user attributes")
    states = snapshot.capture([str(path)], str(tmp_path / "store"))
    path.unlink()
    path.write_text("old")
    assert snapshot.restore(states, str(tmp_path / "store")) == []
    assert os.getxattr(path, "user.label") == b"value"


def test_a_restore_repeated_after_a_power_cut_at_any_step_is_exact(tmp_path: Path, power: Power) -> None:
    (tmp_path / "store").mkdir()
    tree = tmp_path / "tree"
    build(tree, {"a/x": ("file", b"one", 0o640), "a/l": ("link", "x", 0), "b": ("file", b"two", 0o600)})
    expected = look(tree)
    states = snapshot.capture([str(tree)], str(tmp_path / "store"))

    def spoil() -> None:
        clear(tree)
        build(tree, {"a": ("file", b"in the way", 0o600), "c/d": ("file", b"new", 0o600), "b": ("link", "c", 0)})

    spoil()
    power.cut_at(10**6)
    snapshot.restore(states, str(tmp_path / "store"))
    steps = power.step
    assert steps > 15
    for step in range(1, steps + 1):
        power.restore()
        spoil()
        power.cut_at(step)
        with pytest.raises(PowerCut):
            snapshot.restore(states, str(tmp_path / "store"))
        power.restore()
        assert snapshot.restore(states, str(tmp_path / "store")) == []
        assert look(tree) == expected


def test_states_are_plain_data() -> None:
    assert FileState("/etc/x", "absent") == FileState(path="/etc/x", kind="absent", mode=0, uid=0, gid=0)
