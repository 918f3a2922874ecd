# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kernel parameters: keys and values, the file, what wins at boot, and what the kernel makes of it."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.bulwark.hardening.plugins.module_utils.baseline import sysctls, sysctls_host
from ansible_collections.bulwark.hardening.plugins.module_utils.baseline.host import Refused
from ansible_collections.bulwark.hardening.plugins.module_utils.baseline.sysctls import Assignment, Key
from ansible_collections.bulwark.hardening.plugins.module_utils.transaction import files as safe_files

PATH = "/etc/sysctl.d/99-zz-bulwark.conf"


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("kernel.kptr_restrict", ("kernel", "kptr_restrict")),
        ("net/ipv4/conf/eth0.10/rp_filter", ("net", "ipv4", "conf", "eth0.10", "rp_filter")),
        ("net.ipv4.conf.eth0/10.rp_filter", ("net", "ipv4", "conf", "eth0.10", "rp_filter")),
    ],
)
def test_a_key_may_name_an_interface_with_a_dot(text: str, key: Key) -> None:
    assert sysctls.components(text) == key
    assert sysctls.components(sysctls.name(key)) == key


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"kernel": 1}, "'kernel' is not a key"),
        ({"net.*.*.x": 1}, "is not a key"),
        ({"*.x": 1}, "is not a key"),
        ({"net.ipv4.conf.eth*.x": 1}, "is not a key"),
        ({"../../etc/passwd": 1}, "is not a key"),
        ({"a/../b": 1}, "is not a key"),
        ({"a.b c": 1}, "is not a key"),
        ({"a.b": True}, "a value is a number or a text"),
        ({"a.b": None}, "a value is a number or a text"),
        ({"a.b": "1\nkernel.x = 2"}, "one line that is not empty"),
        ({"a.b": " "}, "one line that is not empty"),
        ({"a.b": 1, "a/b": 2}, "stands twice, in two spellings"),
    ],
)
def test_what_is_wrong_is_named(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(Refused, match=message):
        sysctls.parse(parameters)


def test_a_wildcard_is_every_interface_and_a_named_key_wins() -> None:
    wishes = sysctls.parse({"net.ipv4.conf.*.rp_filter": 1, "net.ipv4.conf.wg0.rp_filter": 2})
    targets = sysctls.expand(wishes, lambda key: ["wg0", "eth0.5", "default", "all"])
    assert [(sysctls.name(target.key), target.value) for target in targets] == [
        ("net.ipv4.conf.all.rp_filter", "1"),
        ("net.ipv4.conf.default.rp_filter", "1"),
        ("net.ipv4.conf.eth0/5.rp_filter", "1"),
        ("net.ipv4.conf.wg0.rp_filter", "2"),
    ]


def test_forwarding_comes_first_and_scanners_find_their_lines() -> None:
    wishes = sysctls.parse({"net.ipv4.conf.*.accept_redirects": 0, "net.ipv4.ip_forward": 0, "kernel.x": "1  2"})
    assert sysctls.render(wishes, frozenset({("kernel", "x")})).splitlines()[1:] == [
        "net.ipv4.ip_forward = 0",
        "net.ipv4.conf.all.accept_redirects = 0",
        "net.ipv4.conf.default.accept_redirects = 0",
        "net.ipv4.conf.*.accept_redirects = 0",
        "-kernel.x = 1 2",
    ]


@given(
    st.dictionaries(
        st.sampled_from(["kernel.a", "net.ipv4.conf.*.b", "net.ipv4.conf.all.b", "net.ipv6.neigh.*.c", "vm.d"]),
        st.one_of(st.integers(-5, 99999), st.sampled_from(["|/bin/false", "1 2\t3", "a=b"])),
    ),
    st.booleans(),
)
def test_what_is_written_is_what_is_read(parameters: dict[str, Any], refused: bool) -> None:
    wishes = sysctls.parse(parameters)
    marks = frozenset(wish.key for wish in wishes if refused)
    text = sysctls.render(wishes, marks)
    read = {line.key: line.value for line in sysctls.read_lines(text, "")}
    assert all(read[wish.key] == wish.value for wish in wishes)
    assert sysctls.marked(text, wishes) == marks


def overriding(parameters: dict[str, Any], *files: tuple[str, str], later: tuple[Assignment, ...] = ()) -> list[Any]:
    wishes = sysctls.parse(parameters)
    targets = sysctls.expand(wishes, lambda key: ["all", "default", "eth0"])
    lines = [line for name, text in sorted(files) for line in sysctls.read_lines(text, name)]
    found = sysctls.overriding(targets, lines, later)
    return [(entry.key, entry.value, entry.source) for entry in found]


def test_a_file_that_sorts_later_wins() -> None:
    fifos = {"fs.protected_fifos": 2}
    ours, debian = sysctls.render(sysctls.parse(fifos)), "# links\nfs.protected_fifos = 1\n"
    assert overriding(fifos, ("99-bulwark.conf", ours), ("99-protect-links.conf", debian)) == [
        ("fs.protected_fifos", "1", "99-protect-links.conf")
    ]
    assert overriding(fifos, ("99-zz-bulwark.conf", ours), ("99-protect-links.conf", debian)) == []


def test_our_wildcard_wins_over_that_of_systemd_and_loses_to_a_named_interface() -> None:
    filters = {"net.ipv4.conf.*.rp_filter": 1}
    ours = ("99-zz-bulwark.conf", sysctls.render(sysctls.parse(filters)))
    systemd = "net.ipv4.conf.default.rp_filter = 2\nnet.ipv4.conf.*.rp_filter = 2\n-net.ipv4.conf.all.rp_filter\n"
    assert overriding(filters, ours, ("50-default.conf", systemd)) == []
    admin = ("10-admin.conf", "net/ipv4/conf/eth0/rp_filter=0\n")
    assert overriding(filters, ours, admin) == [("net.ipv4.conf.eth0.rp_filter", "0", "10-admin.conf")]


def test_what_ufw_sets_when_it_starts_wins() -> None:
    martians = {"net.ipv4.conf.*.log_martians": 1}
    ours = ("99-zz-bulwark.conf", sysctls.render(sysctls.parse(martians)))
    later = tuple(sysctls.read_lines("net/ipv4/conf/all/log_martians=0\n", "ufw"))
    assert overriding(martians, ours, later=later) == [("net.ipv4.conf.all.log_martians", "0", "ufw")]


class Kernel(sysctls_host.Kernel):
    """A tree of files that refuses as a kernel does."""

    def __init__(self, root: Path, refusing: dict[str, int] | None = None, read_only: tuple[str, ...] = ()) -> None:
        super().__init__(str(root))
        self.refusing, self.read_only = refusing or {}, read_only
        self.written: list[str] = []

    def put(self, values: dict[str, str]) -> None:
        for text, value in values.items():
            path = Path(self.path(sysctls.components(text)))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{value}\n")

    def get(self, text: str) -> str:
        return Path(self.path(sysctls.components(text))).read_text().strip()

    def writable(self, key: Key) -> bool:
        return key[0] not in self.read_only

    def write(self, key: Key, value: str) -> None:
        name = sysctls.name(key)
        self.written.append(name)
        if name in self.refusing:
            raise OSError(self.refusing[name], os.strerror(self.refusing[name]))
        super().write(key, value)
        if name == "net.ipv4.ip_forward":
            # What inet_forward_change() does to the interfaces.
            for part in ("all", "default"):
                super().write(("net", "ipv4", "conf", part, "accept_redirects"), "1")


STOCK = {
    "kernel.kptr_restrict": "0",
    "kernel.printk": "4\t4\t1\t7",
    "net.ipv4.ip_forward": "1",
    **{f"net.ipv4.conf.{part}.accept_redirects": "1" for part in ("all", "default", "eth0", "eth0/5")},
}


@pytest.fixture
def etc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let the file lie in a directory of the test's own, written as whoever runs it."""
    folder = tmp_path / "sysctl.d"
    folder.mkdir()
    monkeypatch.setattr(sysctls_host, "DIRECTORY", str(folder))
    monkeypatch.setattr(sysctls_host, "persistent", lambda path, text: sysctls.read_lines(text, path))
    monkeypatch.setattr(sysctls_host, "later_writers", list)
    real = safe_files.write_file

    def write(path: str, content: bytes, mode: int) -> None:
        real(path, content, mode, os.getuid(), os.getgid())

    monkeypatch.setattr(safe_files, "write_file", write)
    return folder


def converge(etc: Path, kernel: Kernel, parameters: dict[str, Any], check_mode: bool = False) -> sysctls_host.Outcome:
    return sysctls_host.converge(f"{etc}/99-zz-bulwark.conf", parameters, check_mode, kernel)


def states(outcome: sysctls_host.Outcome) -> dict[str, str]:
    return {state.key: state.state for state in outcome.states}


def test_every_interface_is_reached_and_a_second_run_changes_nothing(etc: Path, tmp_path: Path) -> None:
    kernel = Kernel(tmp_path / "proc")
    kernel.put(STOCK)
    wish = {"net.ipv4.conf.*.accept_redirects": 0, "net.ipv4.ip_forward": 0, "kernel.printk": "4 4 1 7"}
    planned = converge(etc, kernel, wish, check_mode=True)
    assert planned.changed
    assert kernel.written == []
    assert list(etc.iterdir()) == []
    done = converge(etc, kernel, wish)
    assert done.changed
    assert {kernel.get(f"net.ipv4.conf.{part}.accept_redirects") for part in ("all", "default", "eth0", "eth0/5")} == {
        "0"
    }
    assert kernel.get("net.ipv4.ip_forward") == "0"
    assert states(done)["kernel.printk"] == sysctls.UNCHANGED
    assert states(done)["net.ipv4.conf.eth0/5.accept_redirects"] == sysctls.CHANGED
    for check_mode in (False, True):
        again = converge(etc, kernel, wish, check_mode)
        assert not again.changed
        assert set(states(again).values()) == {sysctls.UNCHANGED}


@pytest.mark.parametrize(
    ("number", "reason"), [(errno.EINVAL, "does not accept this value"), (errno.EPERM, "only at the next boot")]
)
def test_a_refused_key_is_told_and_does_not_fail_the_boot(etc: Path, tmp_path: Path, number: int, reason: str) -> None:
    kernel = Kernel(tmp_path / "proc", {"kernel.kptr_restrict": number})
    kernel.put(STOCK)
    wish = {"kernel.kptr_restrict": 9}
    done = converge(etc, kernel, wish)
    (state,) = done.states
    assert (state.state, state.observed, state.namespaced) == (sysctls.REFUSED, "0", False)
    assert reason in state.reason
    assert "-kernel.kptr_restrict = 9" in (etc / "99-zz-bulwark.conf").read_text()
    for check_mode in (True, False):
        again = converge(etc, kernel, wish, check_mode)
        assert not again.changed
        assert states(again) == {"kernel.kptr_restrict": sysctls.REFUSED}


def test_a_key_that_a_container_shares_is_refused_without_a_try(etc: Path, tmp_path: Path) -> None:
    kernel = Kernel(tmp_path / "proc", read_only=("kernel",))
    kernel.put(STOCK)
    for check_mode in (True, False):
        (state,) = converge(etc, kernel, {"kernel.kptr_restrict": 2}, check_mode).states
        assert (state.state, state.reason) == (sysctls.REFUSED, sysctls_host.READ_ONLY)
    assert kernel.written == []
    assert "\nkernel.kptr_restrict = 2" in (etc / "99-zz-bulwark.conf").read_text()


def test_a_refused_key_of_the_network_is_the_hosts_own(etc: Path, tmp_path: Path) -> None:
    kernel = Kernel(tmp_path / "proc", read_only=("net",))
    kernel.put(STOCK)
    (state,) = converge(etc, kernel, {"net.ipv4.ip_forward": 0}).states
    assert state.namespaced


def test_a_missing_key_is_told(etc: Path, tmp_path: Path) -> None:
    kernel = Kernel(tmp_path / "proc")
    kernel.put(STOCK)
    done = converge(etc, kernel, {"kernel.nonsense": 1, "net.ipv6.conf.*.accept_ra": 0})
    assert states(done) == {"kernel.nonsense": sysctls.MISSING, "net.ipv6.conf.*.accept_ra": sysctls.MISSING}


@pytest.mark.parametrize("path", ["/etc/sysctl.conf", "/etc/sysctl.d/x", "/etc/sysctl.d/../x.conf", "x.conf"])
def test_a_path_that_no_boot_reads_is_refused(path: str) -> None:
    with pytest.raises(Refused, match=r"a file that the boot reads is /etc/sysctl.d/NAME.conf"):
        sysctls_host.converge(path, {}, True)


def test_a_planted_link_is_refused_before_the_kernel_changes(etc: Path, tmp_path: Path) -> None:
    kernel = Kernel(tmp_path / "proc")
    kernel.put(STOCK)
    (etc / "99-zz-bulwark.conf").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Refused, match="is a symbolic link"):
        converge(etc, kernel, {"kernel.kptr_restrict": 2})
    assert kernel.written == []


def test_a_full_disk_is_found_before_the_kernel_changes(
    etc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    kernel = Kernel(tmp_path / "proc")
    kernel.put(STOCK)
    monkeypatch.setattr(safe_files, "write_file", full)
    with pytest.raises(Refused, match="the disk is full; no parameter was changed"):
        converge(etc, kernel, {"kernel.kptr_restrict": 2})
    assert kernel.written == []


def test_the_boot_reads_each_name_once_in_order(tmp_path: Path) -> None:
    for folder, name, text in (
        ("etc", "50-default.conf", "a.b = etc\n"),
        ("usr", "50-default.conf", "a.b = usr\n"),
        ("usr", "99-protect-links.conf", "c.d = 1\n"),
        ("etc", "ignored.txt", "e.f = 1\n"),
    ):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / name).write_text(text)
    (tmp_path / "sysctl.conf").write_text("g.h = 1\n")
    (tmp_path / "etc/99-sysctl.conf").symlink_to("../sysctl.conf")
    ours = f"{tmp_path}/etc/99-zz.conf"
    lines = sysctls_host.persistent(ours, "z.z = 1\n", [f"{tmp_path}/etc", f"{tmp_path}/usr", f"{tmp_path}/gone"])
    assert [(sysctls.name(line.key), line.value) for line in lines] == [
        ("a.b", "etc"), ("c.d", "1"), ("g.h", "1"), ("z.z", "1")
    ]  # fmt: skip


def test_the_default_name_sorts_behind_those_of_debian() -> None:
    assert sorted(["99-zz-bulwark.conf", "99-protect-links.conf", "99-sysctl.conf"])[-1] == Path(PATH).name
