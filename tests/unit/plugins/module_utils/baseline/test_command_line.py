# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kernel parameters: what is written, what is refused, and that a broken boot menu never stays."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from ansible_collections.bulwark.hardening.plugins.module_utils.baseline import command_line

OLD_MENU = "menuentry 'Debian' {\n\tlinux /boot/vmlinuz root=/dev/vda ro quiet\n}\n"
HASH = "grub.pbkdf2.sha512.10000.ABCDEF.0123456789"
PARAMETERS = ["audit=1", "slab_nomerge"]


class BootLoader:
    """Makes a menu from the drop-in, as grub-mkconfig does."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.fault = ""
        for name, text in (
            ("boot/grub/grub.cfg", OLD_MENU),
            ("proc/cmdline", "root=/dev/vda quiet audit=1\n"),
            ("etc/grub.d/10_linux", '#!/bin/sh\nCLASS="--class gnu-linux"\n'),
        ):
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        (root / "boot/grub/grub.cfg").chmod(0o600)

    def __call__(self, command: Sequence[str]) -> tuple[int, str, str]:
        if command[0] == "grub-script-check":
            return (1, "", "syntax error at line 1") if self.fault == "syntax" else (0, "", "")
        if command[0] != "update-grub":
            return 127, "", f"{command[0]} cannot be run"
        if self.fault == "no space":
            (self.root / "boot/grub/grub.cfg").write_text("half")
            return 1, "", "No space left on device\n"
        found = re.search(r"GRUB_CMDLINE_LINUX (.*)\"", (self.root / command_line.DROP_IN).read_text())
        words = "" if found is None or self.fault == "ignored" else found[1]
        script = self.root / command_line.SUPERUSER_SCRIPT
        head = script.read_text() if script.exists() else ""
        (self.root / "boot/grub/grub.cfg").write_text(head + OLD_MENU.replace("quiet", f"quiet {words}"))
        return 0, "", ""

    def files(self) -> dict[str, str]:
        return {
            str(path.relative_to(self.root)): path.read_text()
            for path in sorted(self.root.rglob("*"))
            if path.is_file()
        }


@pytest.fixture(name="host")
def _host(tmp_path: Path) -> BootLoader:
    return BootLoader(tmp_path)


def converge(host: BootLoader, check_mode: bool = False, user: str = "", password: str = "") -> command_line.Outcome:
    return command_line.converge(PARAMETERS, user, password, check_mode, host, str(host.root))


def test_every_entry_gets_every_parameter_once(host: BootLoader) -> None:
    before = host.files()
    assert converge(host, check_mode=True).changed
    assert host.files() == before
    first = converge(host)
    assert first.changed
    assert first.waiting == ["slab_nomerge"]
    assert not converge(host).changed


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("syntax", "grub cannot read the new boot menu: syntax error at line 1; the old boot menu is back"),
        ("no space", "update-grub failed: No space left on device; the old boot menu is back"),
        ("ignored", "the new boot menu lacks audit=1 slab_nomerge; the old boot menu is back"),
    ],
)
def test_a_menu_that_would_not_do_is_put_back(host: BootLoader, fault: str, message: str) -> None:
    before = host.files()
    host.fault = fault
    with pytest.raises(command_line.CommandLineError, match=re.escape(message)):
        converge(host, user="root", password=HASH)
    assert host.files() == before
    assert (host.root / "boot/grub/grub.cfg").stat().st_mode & 0o777 == 0o600


def test_the_password_guards_editing_and_not_starting(host: BootLoader) -> None:
    assert converge(host, user="operator", password=HASH).changed
    assert f"password_pbkdf2 operator {HASH}" in host.files()["boot/grub/grub.cfg"]
    assert 'CLASS="--class gnu-linux --unrestricted"' in host.files()["etc/grub.d/10_linux"]
    assert (host.root / command_line.SUPERUSER_SCRIPT).stat().st_mode & 0o777 == 0o700
    assert not converge(host, user="operator", password=HASH).changed


def test_a_host_without_a_known_boot_loader_is_told(host: BootLoader) -> None:
    (host.root / "boot/grub/grub.cfg").unlink()
    outcome = converge(host)
    assert (outcome.applicable, outcome.changed) == (False, False)
    assert "unknown" in outcome.reason


def test_grubby_adds_what_is_absent(tmp_path: Path) -> None:
    calls: list[list[str]] = []

    def run(command: Sequence[str]) -> tuple[int, str, str]:
        calls.append(list(command))
        return 0, 'index=0\nargs="ro audit=1"\n', ""

    assert command_line.converge(PARAMETERS, "", "", False, run, str(tmp_path)).changed
    assert calls[-1] == ["grubby", "--update-kernel=ALL", "--args=slab_nomerge"]


@pytest.mark.parametrize(
    ("parameters", "user", "password", "message"),
    [
        (["audit=1 quiet"], "", "", "'audit=1 quiet' is no kernel parameter"),
        (['a="b"'], "", "", "is no kernel parameter"),
        (["$(reboot)"], "", "", "is no kernel parameter"),
        (["x=`reboot`"], "", "", "is no kernel parameter"),
        ([""], "", "", "'' is no kernel parameter"),
        ([], "root", "", "belong together"),
        ([], "", HASH, "belong together"),
        ([], "a b", HASH, "superuser 'a b' is no user name"),
        ([], "root", "secret", "password_hash is not what grub-mkpasswd-pbkdf2 prints"),
    ],
)
def test_what_no_boot_loader_file_can_hold_is_refused(
    host: BootLoader, parameters: list[str], user: str, password: str, message: str
) -> None:
    before = host.files()
    with pytest.raises(command_line.CommandLineError, match=re.escape(message)):
        command_line.converge(parameters, user, password, False, host, str(host.root))
    assert host.files() == before
