# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Boot menu, lockdown and Secure Boot."""

from __future__ import annotations

import pytest

from ansible_collections.bulwark.hardening.plugins.module_utils.controls.model import Unreadable

from ..conftest import MakeHost

MENU = """set superusers="keeper"
password_pbkdf2 keeper grub.pbkdf2.sha512.10000.ABCDEF.012345
menuentry 'Debian' --class debian --class gnu-linux --class gnu --class os --unrestricted $menuentry_id_option 'x' {
\tlinux /vmlinuz root=/dev/vda1 lockdown=integrity
}
submenu 'Advanced' {
\tmenuentry 'Debian 6.1' --class gnu-linux --class os --unrestricted {
\tlinux /vmlinuz root=/dev/vda1 lockdown=integrity
\t}
}
menuentry 'UEFI Firmware Settings' $menuentry_id_option 'uefi-firmware' {
}
"""


@pytest.mark.parametrize(
    ("old", "new", "verdict", "observed"),
    [
        ("", "", "pass", ""),
        ('set superusers="keeper"', "", "fail", "superusers none"),
        ('"keeper"', '"other"', "fail", "superusers other"),
        ("password_pbkdf2 keeper", "password_pbkdf2 other", "fail", "password of keeper none"),
        ("password_pbkdf2 keeper grub.pbkdf2", "password keeper secret", "fail", "password of keeper in clear"),
        (" --class os --unrestricted {", " --class os {", "fail", "1 of 2 ask"),
        ("gnu-linux", "windows", "fail", "0 start"),
    ],
)
def test_the_boot_menu_asks_who_changes_it_and_nobody_else(
    make_host: MakeHost, old: str, new: str, verdict: str, observed: str
) -> None:
    host = make_host({"/boot/grub/grub.cfg": MENU.replace(old, new)})
    seen = host.observe("boot_password", superuser="keeper")
    assert seen.verdict == verdict
    assert observed in seen.observed
    assert "ABCDEF" not in str(seen)
    assert "secret" not in str(seen)


def test_any_superuser_will_do_when_none_is_named(make_host: MakeHost) -> None:
    assert make_host({"/boot/grub/grub.cfg": MENU}).observe("boot_password").verdict == "pass"


def test_without_that_menu_there_is_no_password_in_it(make_host: MakeHost) -> None:
    assert make_host().observe("boot_password").verdict == "not_applicable"


@pytest.mark.parametrize(
    ("state", "command_line", "menu", "verdict"),
    [
        ("none [integrity] confidentiality\n", "ro lockdown=integrity", MENU, "pass"),
        ("none integrity [confidentiality]\n", "ro", "", "pass"),
        ("[none] integrity confidentiality\n", "ro", MENU, "pending"),
        ("[none] integrity confidentiality\n", "ro", MENU.replace("lockdown=integrity", "", 1), "fail"),
        ("[none] integrity confidentiality\n", "ro", "", "fail"),
        # It was asked for and the kernel did not do it; another boot changes nothing.
        ("[none] integrity confidentiality\n", "ro lockdown=integrity", MENU, "fail"),
        (None, "ro lockdown=integrity", MENU, "fail"),
    ],
)
def test_lockdown_is_what_the_kernel_says(
    make_host: MakeHost, state: str | None, command_line: str, menu: str, verdict: str
) -> None:
    files = {"/proc/cmdline": command_line, "/boot/grub/grub.cfg": menu}
    if state is not None:
        files["/sys/kernel/security/lockdown"] = state
    assert make_host(files).observe("lockdown").verdict == verdict


VARIABLE = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"


@pytest.mark.parametrize(
    ("files", "verdict", "observed"),
    [
        ({VARIABLE: "\x06\0\0\0\x01"}, "pass", ""),
        ({VARIABLE: "\x06\0\0\0\0"}, "fail", "Secure Boot off"),
        ({"/sys/firmware/efi/efivars/Boot0000-x": ""}, "fail", "Secure Boot not supported"),
        ({}, "not_applicable", ""),
    ],
)
def test_secure_boot(make_host: MakeHost, files: dict[str, str], verdict: str, observed: str) -> None:
    seen = make_host(files).observe("secure_boot")
    assert seen.verdict == verdict
    assert observed in seen.observed


def test_firmware_that_cannot_be_asked_is_unknown(make_host: MakeHost) -> None:
    with pytest.raises(Unreadable, match="efivarfs is not mounted"):
        make_host({"/sys/firmware/efi/efivars": None}).observe("secure_boot")
