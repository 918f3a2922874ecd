# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mounts: fstab, units, remounts, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.bulwark.hardening.plugins.module_utils.baseline import mounts
from ansible_collections.bulwark.hardening.plugins.module_utils.baseline.host import Refused

TMP = {"path": "/tmp", "type": "tmpfs", "options": ["nodev", "nosuid", "noexec"], "size": "50%"}
SHM = {"path": "/dev/shm", "type": "tmpfs", "options": ["nodev", "nosuid", "noexec"]}
MOUNTINFO = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:26 / /dev/shm rw,nosuid,nodev shared:4 - tmpfs tmpfs rw,size=1024k
31 22 8:2 / /var/log rw,relatime shared:5 - ext4 /dev/sda2 rw
32 22 0:27 / /mnt/a\\040b rw shared:6 - tmpfs tmpfs rw
40 22 0:5 / /proc rw,nosuid,nodev,noexec,relatime shared:7 - proc proc rw
"""
MOUNTED = mounts.parse_mountinfo(MOUNTINFO)
UNIT = "/etc/systemd/system/tmp.mount"
WANT = "/etc/systemd/system/local-fs.target.wants/tmp.mount"


def plan(*entries: Mapping[str, Any], **seen: Any) -> mounts.Plan:
    return mounts.plan(mounts.parse(entries), mounts.Seen(**{"mounted": MOUNTED, **seen}))


def settled(result: mounts.Plan, **seen: str) -> dict[str, Any]:
    """Return what the host is like after a plan, with the mounts that it asked for."""
    fstab = result.files.get(mounts.FSTAB, seen.get("fstab", ""))
    units = {path: text for path, text in result.files.items() if path != mounts.FSTAB}
    return {"fstab": fstab, "units": units, "links": dict(result.links)}


def test_mountinfo_is_read_with_its_escapes() -> None:
    assert MOUNTED["/dev/shm"].options == ("rw", "nosuid", "nodev")
    assert MOUNTED["/mnt/a b"].type == "tmpfs"
    assert MOUNTED["/var/log"].source == "/dev/sda2"


def test_a_new_tmp_comes_by_a_unit_and_goes_by_umount() -> None:
    result = plan(TMP)
    assert set(result.files) == {UNIT}
    assert result.links == {WANT: UNIT}
    assert "Options=mode=1777,nodev,nosuid,noexec,size=50%%\n" in result.files[UNIT]
    assert result.apply[:2] == (("systemctl", "daemon-reload"), ("systemctl", "start", "tmp.mount"))
    assert result.undo[0] == ("umount", "--lazy", "/tmp")


def test_a_tmp_in_use_waits_for_the_next_start() -> None:
    result = plan(TMP, in_use={"/tmp": "the socket /tmp/x is in use"})
    assert result.apply == (("systemctl", "daemon-reload"),)
    assert result.pending == ("/tmp is mounted at the next start of the host, since the socket /tmp/x is in use",)


def test_a_second_plan_is_empty() -> None:
    mounted = {
        **MOUNTED,
        "/tmp": mounts.Mounted("/tmp", "tmpfs", "tmpfs", ("rw", "nosuid", "nodev", "noexec"), ("rw", "size=5k")),
        "/dev/shm": mounts.Mounted("/dev/shm", "tmpfs", "tmpfs", ("rw", "nosuid", "nodev", "noexec"), ("rw",)),
    }
    first = plan(TMP, SHM)
    again = plan(TMP, SHM, mounted=mounted, **settled(first))
    assert again.is_empty
    assert again.undo == ()


def test_what_the_kernel_mounts_takes_its_options_from_fstab() -> None:
    result = plan(SHM, fstab="UUID=1 / ext4 defaults 0 1\n")
    assert result.files == {mounts.FSTAB: "UUID=1 / ext4 defaults 0 1\ntmpfs /dev/shm tmpfs nodev,nosuid,noexec 0 0\n"}
    assert ("mount", "-o", "remount,rw,nodev,nosuid,noexec", "tmpfs", "/dev/shm") in result.apply
    assert result.undo[0] == ("mount", "-o", "remount,rw,nodev,nosuid,exec,size=1024k", "tmpfs", "/dev/shm")


def test_a_line_of_fstab_keeps_its_own_options_and_all_others_their_bytes() -> None:
    fstab = "# disks\nUUID=1\t/\text4\tdefaults 0 1\ntmpfs  /tmp  tmpfs  defaults,exec,size=1g,uid=5  0 0"
    result = plan(TMP, fstab=fstab)
    lines = result.files[mounts.FSTAB].split("\n")
    assert lines[:2] == fstab.split("\n")[:2]
    assert lines[2] == "tmpfs /tmp tmpfs uid=5,nodev,nosuid,noexec,size=50% 0 0"
    assert ("mount", "/tmp") in result.apply


def test_options_are_added_to_a_mount_that_there_is() -> None:
    entry = {"path": "/var/log", "options": ["nodev", "nosuid", "noexec"]}
    fstab = "/dev/sda2 /var/log ext4 defaults 0 2\n"
    result = plan(entry, fstab=fstab)
    assert result.files[mounts.FSTAB] == "/dev/sda2 /var/log ext4 nodev,nosuid,noexec 0 2\n"
    assert ("mount", "-o", "remount,rw,relatime,nodev,nosuid,noexec", "/dev/sda2", "/var/log") in result.apply


def test_nothing_is_mounted_where_nothing_was_and_no_type_is_given() -> None:
    result = plan({"path": "/home", "options": ["nodev"]})
    assert result.is_empty
    assert result.notes == ("/home is no file system of its own, so that there are no options to set",)


def test_a_partition_for_tmp_stays_one() -> None:
    mounted = {**MOUNTED, "/tmp": mounts.Mounted("/tmp", "ext4", "/dev/sda9", ("rw", "relatime"), ("rw",))}
    result = plan(TMP, mounted=mounted, fstab="/dev/sda9 /tmp ext4 defaults 0 2\n")
    assert "ext4 nodev,nosuid,noexec 0 2" in result.files[mounts.FSTAB]
    assert "stays one" in result.notes[0]


def test_hidepid_is_seen_by_its_name_and_by_its_number() -> None:
    entry = {"path": "/proc", "type": "proc", "options": ["nosuid", "nodev", "noexec", "hidepid=invisible"]}
    result = plan(entry)
    assert result.apply[1][2] == "remount,rw,relatime,nosuid,nodev,noexec,hidepid=invisible"
    assert "hidepid=0" in result.undo[0][2]
    for shown in ("hidepid=invisible", "hidepid=2"):
        now = mounts.Mounted("/proc", "proc", "proc", ("rw", "nosuid", "nodev", "noexec"), ("rw", shown))
        assert mounts.is_met(mounts.parse([entry])[0], now)


def test_a_container_gets_its_options_back_after_a_start() -> None:
    result = plan(TMP, is_container=True)
    service = "/etc/systemd/system/bulwark-remount-tmp.service"
    assert "ExecStart=/bin/mount -o remount,nodev,nosuid,noexec,size=50%% tmpfs /tmp" in result.files[service]
    assert result.links["/etc/systemd/system/local-fs.target.wants/bulwark-remount-tmp.service"] == service


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"path": "/usr"}, "path is '/usr'"),
        ({"path": "/"}, "path is '/'"),
        ({"path": "tmp"}, "path is 'tmp'"),
        ({"type": "ext4"}, "type is 'ext4'"),
        ({"path": "/home", "type": "tmpfs"}, "would hide what is in /home"),
        ({"path": "/home", "type": "", "size": "", "options": ["noexec"]}, "noexec keeps programs in /home"),
        ({"options": ["noexec,exec"]}, "is no mount option"),
        ({"options": ["exec", "noexec"]}, "exclude each other"),
        ({"options": ["ro"]}, "ro is not possible"),
        ({"options": ["size=3g"]}, "give the size in size"),
        ({"size": "much"}, "size is 'much'"),
        ({"size": "4k"}, "too little to work with"),
        ({"type": "", "options": [], "size": ""}, "options is empty"),
    ],
)
def test_a_mount_that_could_shut_somebody_out_is_refused_with_its_place(
    change: dict[str, str | list[str]], message: str
) -> None:
    with pytest.raises(Refused, match=r"mounts\[0\]\.") as caught:
        mounts.parse([{**TMP, **change}])
    assert message in str(caught.value)


def test_a_path_stands_once() -> None:
    with pytest.raises(Refused, match=r"mounts\[1\]\.path: /tmp stands twice"):
        mounts.parse([TMP, TMP])


FLAGS = st.lists(st.sampled_from(["nodev", "nosuid", "noexec", "relatime", "rw"]), unique=True, min_size=1)


@given(
    st.lists(
        st.sampled_from(
            ["# a", "", "UUID=1 / ext4 defaults 0 1", "tmpfs /tmp tmpfs defaults,exec 0 0", "none\t/x swap sw"]
        ),
        unique=True,
    ),
    FLAGS,
)
def test_fstab_is_edited_once_and_in_one_line_only(lines: list[str], options: list[str]) -> None:
    text = "\n".join(lines)
    wish = mounts.parse([{**TMP, "options": options}])[0]
    edited = mounts.with_entry(text, wish)
    assert mounts.with_entry(edited, wish) == edited
    others = [line for line in lines if "/tmp" not in line]
    assert [line for line in edited.split("\n") if "/tmp" not in line and line] == [line for line in others if line]
