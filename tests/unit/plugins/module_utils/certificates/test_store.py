# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The version directories: what is there at any moment tells how far a renewal came."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from ansible_collections.bulwark.hardening.plugins.module_utils.certificates.model import CertificateError
from ansible_collections.bulwark.hardening.plugins.module_utils.certificates.store import Store
from ansible_collections.bulwark.hardening.plugins.module_utils.transaction.clock import Clock

ME = (os.getuid(), os.getgid())


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "tls"), ME)


def deploy(store: Store, content: bytes, mode: int = 0o600) -> int:
    store.stage("web", b"key " + content, b"request")
    store.add_certificate("web", b"certificate " + content, b" chain")
    return store.swap("web", *ME, mode)


def mode(store: Store, *parts: str) -> int:
    return stat.S_IMODE(Path(store.path("web", *parts)).stat().st_mode)


def test_nobody_sees_what_is_staged_and_consumers_see_what_is_current(store: Store) -> None:
    version = store.stage("web", b"key", b"request")
    assert version == 1
    assert store.current("web") == 0
    assert mode(store, "v0001.staged") == 0o700
    assert mode(store, "v0001.staged", "key.pem") == 0o600
    store.add_certificate("web", b"certificate", b"chain")
    assert store.swap("web", *ME, 0o640) == 1
    assert str(Path(store.path("web", "current")).readlink()) == "v0001"
    assert mode(store, "current") == 0o755
    assert mode(store, "current", "key.pem") == 0o640
    assert mode(store, "current", "request.pem") == 0o600
    for name in ("certificate.pem", "chain.pem", "full_chain.pem"):
        assert mode(store, "current", name) == 0o644
    assert Path(store.path("web", "current", "full_chain.pem")).read_bytes() == b"certificatechain"
    assert store.access_faults("web", *ME, 0o640) == []


def test_the_way_back_is_the_same_link_and_keeps_the_candidate(store: Store) -> None:
    assert deploy(store, b"1") == 1
    assert deploy(store, b"2") == 2
    assert store.previous("web") == 1
    store.swap_back("web", 1)
    assert store.current("web") == 1
    assert store.staged("web") == 2
    assert mode(store, "v0002.staged") == 0o700
    assert store.read_staged("web", "certificate.pem") == b"certificate 2"
    assert store.swap("web", *ME, 0o600) == 2


def test_only_the_version_before_is_kept(store: Store) -> None:
    for content in (b"1", b"2", b"3"):
        deploy(store, content)
    store.stage("web", b"key", b"request")
    store.prune("web")
    assert store.versions("web") == {2: False, 3: False, 4: True}
    store.drop_staged("web")
    store.prune("web")
    assert store.versions("web") == {2: False, 3: False}


def test_a_swap_that_died_before_its_link_is_staged_again(store: Store) -> None:
    deploy(store, b"1")
    deploy(store, b"2")
    link = Path(store.path("web", "current"))
    link.unlink()
    link.symlink_to("v0001")
    assert store.unfinished("web") == [2]
    store.tidy("web")
    assert store.versions("web") == {1: False, 2: True}
    assert store.current("web") == 1


def test_a_file_that_was_half_written_is_removed(store: Store) -> None:
    deploy(store, b"1")
    store.stage("web", b"key", b"request")
    left = [Path(store.path("web", *parts, f".bulwark-{'0' * 16}")) for parts in ((), ("v0002.staged",))]
    for path in left:
        path.write_text("half a key")
    store.tidy("web")
    assert not any(path.exists() for path in left)
    assert store.read_staged("web", "key.pem") == b"key"


def test_who_may_read_a_key_is_told_and_repaired(store: Store) -> None:
    deploy(store, b"1")
    Path(store.path("web", "v0001", "key.pem")).chmod(0o644)
    Path(store.path("web", "v0001")).chmod(0o777)
    first, second = store.access_faults("web", *ME, 0o600)
    assert first == "its key has mode 0644 and should have 0600"
    assert "root's own with mode 0755" in second
    store.repair_access("web", *ME, 0o600)
    assert store.access_faults("web", *ME, 0o600) == []
    assert "belongs to" in store.access_faults("web", ME[0] + 1, ME[1], 0o600)[0]


def test_a_link_in_the_path_is_not_followed(store: Store, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "tls").mkdir()
    (tmp_path / "tls" / "web").symlink_to(elsewhere)
    for attempt in (
        lambda: store.stage("web", b"key", b"request"),
        lambda: store.write_trust("web", b"trust"),
        lambda: store.current("web"),
        lambda: store.versions("web"),
    ):
        with pytest.raises(CertificateError, match="may be a link, which is not followed"):
            attempt()
    assert list(elsewhere.iterdir()) == []


def test_a_planted_key_is_not_followed(store: Store, tmp_path: Path) -> None:
    deploy(store, b"1")
    target = tmp_path / "shadow"
    target.write_text("secret")
    target.chmod(0o600)
    key = Path(store.path("web", "v0001", "key.pem"))
    key.unlink()
    key.symlink_to(target)
    with pytest.raises(CertificateError, match="may be a link"):
        store.read("web", 1, "key.pem")
    with pytest.raises(CertificateError, match="may be a link"):
        store.repair_access("web", *ME, 0o644)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


@pytest.mark.parametrize("target", ["../other/v0001", "/etc/passwd", "v0001.staged", "v1"])
def test_a_link_that_leads_elsewhere_is_refused(store: Store, target: str) -> None:
    deploy(store, b"1")
    link = Path(store.path("web", "current"))
    link.unlink()
    link.symlink_to(target)
    with pytest.raises(CertificateError, match="must lead to a version beside it"):
        store.current("web")


def test_what_is_proven_is_known_until_version_or_trust_change(store: Store) -> None:
    deploy(store, b"1")
    assert store.proven("web") == {}
    store.write_trust("web", b"trust")
    store.write_proven("web", 1, ["b.service", "a.service"], "internal")
    assert store.proven("web")["units"] == ["a.service", "b.service"]
    Path(store.path("web", "proven")).write_text("nonsense")
    assert store.proven("web") == {}


def test_units_that_are_out_of_use_are_known_until_they_are_in_again(store: Store) -> None:
    assert store.taken_out() == set()
    store.write_taken_out(set())
    deploy(store, b"1")
    store.write_taken_out({"b.service", "a.service"})
    assert store.taken_out() == {"a.service", "b.service"}
    note = Path(store.root, ".taken_out")
    assert note.stat().st_mode & 0o777 == 0o600
    note.write_text("nonsense")
    assert store.taken_out() == set()
    store.write_taken_out(set())
    assert not note.exists()


def test_a_second_run_waits_and_says_for_whom(store: Store) -> None:
    with (
        store.locked(Clock()),
        pytest.raises(CertificateError, match=f"process {os.getpid()} has been working"),
        store.locked(Clock(), 0.1),
    ):
        pass
    with store.locked(Clock()):
        pass
