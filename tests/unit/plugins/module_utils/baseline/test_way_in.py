# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What would cut an administrator's way in is told, and what the policy does every day is not."""

from __future__ import annotations

import pytest

from ansible_collections.bulwark.hardening.plugins.module_utils.baseline import way_in
from ansible_collections.bulwark.hardening.plugins.module_utils.baseline.way_in import Access, Person

ADMIN = Person("admin", 1000, frozenset({1000, 27}), "/home/admin")
ROOTS = Access(0o755, 0, 0)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/etc/pam.d/sshd", "access_policy"),
        ("/etc/security/limits.d/10-own.conf", "access_policy"),
        ("/etc/sudoers", "access_policy"),
        ("/etc/sudoers.d/zz", "access_policy"),
        ("/etc/nsswitch.conf", "access_policy"),
        ("/etc/profile.d/own.sh", "access_policy"),
        ("/etc/passwd", "account_set"),
        ("/etc/shadow-", "account_set"),
        ("/etc/fstab", "mounts"),
        ("/run/nologin", "nobody but root"),
        ("/etc/ssh/sshd_config.d/10-own.conf", "role ssh"),
        ("/home/admin/.ssh/authorized_keys", "keys"),
        ("/etc/systemd/system/ssh.service", "role ssh"),
        ("/etc/systemd/system/sshd@.service.d/own.conf", "role ssh"),
        ("/etc/systemd/network/10-eth0.network", "reachable"),
        ("/etc/network/interfaces", "reached"),
        ("/etc/netplan/50-own.yaml", "reached"),
        ("/etc/nftables.conf", "role firewall"),
        ("/etc/ld.so.preload", "every program"),
        ("/usr/bin/sudo", "packages"),
        ("/lib/x86_64-linux-gnu/security/pam_unix.so", "packages"),
    ],
)
def test_a_file_that_decides_on_logins_is_named_with_where_it_belongs(path: str, words: str) -> None:
    assert way_in.file_problem(path).startswith(f"{path}: ")
    assert words in way_in.file_problem(path)


@pytest.mark.parametrize(
    "path",
    [
        "/etc/login.defs",
        "/etc/default/ufw",
        "/etc/issue.net",
        "/etc/systemd/system/rsyslog.service.d/50-bulwark.conf",
        "/etc/systemd/system/sshguard.service",
        "/etc/modprobe.d/zz-bulwark.conf",
        "/usr/local/sbin/own",
        "/var/log/own.log",
        "/etc/nologin.conf",
        "/etc/networks",
    ],
)
def test_any_other_file_may_be_written(path: str) -> None:
    assert way_in.file_problem(path) == ""


@pytest.mark.parametrize(
    ("verb", "name"),
    [
        ("stop", "ssh.service"),
        ("mask", "ssh.socket"),
        ("disable", "sshd.service"),
        ("mask", "sshd@.service"),
        ("mask", "systemd-user-sessions.service"),
        ("stop", "systemd-networkd.service"),
        ("stop", "home.mount"),
        ("mask", "multi-user.target"),
        ("stop", "user.slice"),
        ("mask", "bulwark-transaction-guard.service"),
        ("start", "rescue.target"),
        ("start", "systemd-poweroff.service"),
        ("enable", "nftables.service"),
        ("start", "firewalld.service"),
    ],
)
def test_a_step_that_ends_logins_is_named(verb: str, name: str) -> None:
    assert way_in.unit_problem(verb, name).startswith(f"{name}: ")


@pytest.mark.parametrize(
    ("verb", "name"),
    [
        ("start", "ssh.service"),
        ("enable", "systemd-networkd.service"),
        ("unmask", "ssh.socket"),
        ("mask", "ctrl-alt-del.target"),
        ("mask", "sshguard.service"),
        ("stop", "avahi-daemon.socket"),
        ("stop", "nftables.service"),
        ("mask", "srv-data.mount"),
        ("start", "auditd.service"),
    ],
)
def test_any_other_step_may_be_taken(verb: str, name: str) -> None:
    assert way_in.unit_problem(verb, name) == ""


@pytest.mark.parametrize(
    "name",
    ["sudo", "openssh-server", "openssh-server:amd64", "libpam-modules", "systemd", "python3", "python3.11", "sudo=1",
     "login", "network-manager", "openssh-*", "libpam-r*", "sud?", "*"],
)  # fmt: skip
def test_a_package_that_logins_need_stays(name: str) -> None:
    assert way_in.package_problem(name).startswith(f"{name}: ")


@pytest.mark.parametrize("name", ["nis", "telnet", "ldap-utils", "rsh-client", "xserver-xorg*", "python3-apport"])
def test_any_other_package_may_go(name: str) -> None:
    assert way_in.package_problem(name) == ""


@pytest.mark.parametrize(
    ("path", "is_directory", "before", "after", "words"),
    [
        ("/", True, ROOTS, Access(0o700, 0, 0), "enter"),
        ("/etc", True, ROOTS, Access(0o750, 0, 0), "enter"),
        ("/etc/passwd", False, Access(0o644, 0, 0), Access(0o640, 0, 0), "read"),
        ("/usr/bin/bash", False, ROOTS, Access(0o750, 0, 0), "run"),
        ("/usr/bin/python3.11", False, ROOTS, Access(0o700, 0, 0), "run"),
        ("/usr/lib/x86_64-linux-gnu/libc.so.6", False, ROOTS, Access(0o750, 0, 0), "load"),
        ("/usr/lib/x86_64-linux-gnu", True, ROOTS, Access(0o750, 0, 0), "enter"),
        ("/usr/bin/sudo", False, Access(0o4755, 0, 0), ROOTS, "set-user-ID"),
        ("/usr/bin/sudo", False, Access(0o4755, 0, 0), Access(0o4755, 1000, 0), "root's"),
        ("/etc/sudoers", False, Access(0o440, 0, 0), Access(0o666, 0, 0), "nobody else"),
        ("/etc/sudoers.d/admin", False, Access(0o440, 0, 0), Access(0o440, 1000, 0), "nobody else"),
        ("/etc/ssh/ssh_host_ed25519_key", False, Access(0o600, 0, 0), Access(0o644, 0, 0), "host key"),
        ("/run/sshd", True, ROOTS, Access(0o777, 0, 0), "refuses every login"),
        ("/etc/ssh/authorized_keys.d/admin", False, Access(0o644, 0, 0), Access(0o600, 0, 0), "sshd could not read"),
        ("/home", True, ROOTS, Access(0o750, 0, 50), "enter"),
        ("/home/admin", True, Access(0o755, 1000, 1000), Access(0o750, 0, 0), "admin could not enter"),
        ("/home/admin", True, Access(0o755, 1000, 1000), Access(0o775, 1000, 1000), "somebody else"),
        ("/home/admin/.ssh", True, Access(0o700, 1000, 1000), Access(0o700, 0, 0), "admin could not enter"),
        ("/home/admin/.ssh/authorized_keys", False, Access(0o600, 1000, 0), Access(0o644, 33, 0), "somebody else"),
        ("/home/admin/.ssh/authorized_keys", False, Access(0o600, 1000, 0), Access(0o000, 1000, 0), "read"),
    ],
)
def test_a_mode_that_keeps_somebody_out_is_named(
    path: str, is_directory: bool, before: Access, after: Access, words: str
) -> None:
    assert words in way_in.permission_problem(path, is_directory, before, after, [ADMIN])
    assert way_in.permission_problem(path, is_directory, after, after, [ADMIN]) == "", "it was wrong before"


@pytest.mark.parametrize(
    ("path", "is_directory", "before", "after"),
    [
        ("/home/admin", True, Access(0o755, 1000, 1000), Access(0o750, 1000, 1000)),
        ("/home", True, ROOTS, Access(0o711, 0, 0)),
        ("/etc/sudoers.d", True, ROOTS, Access(0o750, 0, 0)),
        ("/etc/ssh/sshd_config", False, Access(0o644, 0, 0), Access(0o600, 0, 0)),
        ("/etc/ssh/ssh_host_ed25519_key", False, Access(0o640, 0, 999), Access(0o600, 0, 0)),
        ("/usr/bin/chfn", False, Access(0o4755, 0, 0), ROOTS),
        ("/usr/bin/su", False, Access(0o4755, 0, 0), ROOTS),
        ("/usr/bin/gcc-12", False, ROOTS, Access(0o750, 0, 0)),
        ("/etc/cron.d", True, ROOTS, Access(0o700, 0, 0)),
        ("/boot", True, ROOTS, Access(0o700, 0, 0)),
        ("/root", True, ROOTS, Access(0o700, 0, 0)),
        ("/home/other/.ssh", True, ROOTS, Access(0o700, 0, 0)),
    ],
)
def test_any_other_mode_may_be_set(path: str, is_directory: bool, before: Access, after: Access) -> None:
    people = [ADMIN, Person("root", 0, frozenset({0}), "/root")]
    assert way_in.permission_problem(path, is_directory, before, after, people) == ""
