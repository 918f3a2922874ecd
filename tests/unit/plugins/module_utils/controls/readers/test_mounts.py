# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mounts."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.bulwark.hardening.plugins.module_utils.controls.model import Unreadable
from ansible_collections.bulwark.hardening.plugins.module_utils.controls.readers.mounts import unit_name

from ..conftest import MakeHost

ROOT = "1 0 8:1 / / rw,relatime shared:1 - ext4 /dev/vda rw\n"
TMP = "2 1 0:5 / /tmp rw,nosuid,nodev,noexec shared:2 - tmpfs tmpfs rw,size=1024k\n"
WEAK = "2 1 0:5 / /tmp rw,nosuid,nodev shared:2 - tmpfs tmpfs rw,size=1024k\n"
WISH = {"path": "/tmp", "type": ["tmpfs"], "options": ["nodev", "nosuid", "noexec"]}
FSTAB = "tmpfs /tmp tmpfs rw,nodev,nosuid,noexec,size=2G 0 0\n"
UNIT = "[Mount]\nType=tmpfs\nOptions=mode=1777,nodev,nosuid,noexec\n"


@pytest.mark.parametrize(
    ("mounted", "files", "more", "verdict"),
    [
        (TMP, {}, {}, "pass"),
        (WEAK, {}, {}, "fail"),
        (TMP + WEAK, {}, {}, "fail"),
        (WEAK + TMP, {}, {}, "pass"),
        ("", {}, {}, "fail"),
        ("", {}, {"only_if_mounted": True}, "not_applicable"),
        ("", {}, {"mounted": False}, "pass"),
        (TMP, {}, {"mounted": False}, "fail"),
        (TMP.replace("tmpfs", "ext4"), {}, {}, "fail"),
        (TMP, {}, {"options_absent": ["noexec"]}, "fail"),
        (WEAK, {"/etc/fstab": FSTAB}, {}, "pending"),
        ("", {"/etc/fstab": FSTAB}, {}, "pending"),
        (WEAK, {"/etc/fstab": f"#{FSTAB}"}, {}, "fail"),
        (WEAK, {"/etc/fstab": FSTAB.replace(",noexec", "")}, {}, "fail"),
        (
            "",
            {"/etc/systemd/system/tmp.mount": UNIT, "/etc/systemd/system/local-fs.target.wants/tmp.mount": UNIT},
            {},
            "pending",
        ),
        ("", {"/etc/systemd/system/tmp.mount": UNIT}, {}, "fail"),
        (
            WEAK,
            {
                "/usr/lib/systemd/system/tmp.mount": UNIT.replace(",noexec", ""),
                "/usr/lib/systemd/system/local-fs.target.wants/tmp.mount": "",
                "/etc/systemd/system/tmp.mount.d/x.conf": "[Mount]\nOptions=nodev,nosuid,noexec\n",
            },
            {},
            "pending",
        ),
    ],
)
def test_a_mount_is_as_it_must_be(
    make_host: MakeHost, mounted: str, files: dict[str, str], more: dict[str, Any], verdict: str
) -> None:
    host = make_host({"/proc/1/mountinfo": ROOT + mounted, **files})
    assert host.observe("mount", **{**WISH, **more}).verdict == verdict


def test_the_missing_option_is_named(make_host: MakeHost) -> None:
    seen = make_host({"/proc/1/mountinfo": ROOT + WEAK}).observe("mount", **WISH)
    assert seen.observed == "/tmp without noexec"


def test_a_kernel_that_does_not_tell(make_host: MakeHost) -> None:
    with pytest.raises(Unreadable, match="does not tell what is mounted"):
        make_host({}).observe("mount", **WISH)


def test_units_are_named_as_systemd_names_them() -> None:
    assert unit_name("/var/lib/my-data") == r"var-lib-my\x2ddata.mount"
