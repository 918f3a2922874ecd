# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every administrator's way in hangs on, and which changes of files, modes, units and packages would cut it. Pure.

These modules make no new login before they are done, so that they leave such changes to those that do.
Source: sshd(8), sudo(8), sudoers(5), pam(8), systemd.special(7).
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

ACCESS_POLICY = "access_policy tries it on a copy and proves it by new logins; write it there"
FIREWALL = "the role firewall proves it by new logins; write it there"
SSH = "the role ssh proves it by new logins; write it there"
# Files by pattern, and where they belong.
FILES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), reason)
    for pattern, reason in (
        (r"/etc/(pam\.conf|pam\.d/.+|security/.+|sudo\.conf|sudo_logsrvd\.conf|sudoers|sudoers\.d/.+)", ACCESS_POLICY),
        (r"/etc/(shells|environment|profile|profile\.d/.+|bash\.bashrc|bashrc|nsswitch\.conf)", ACCESS_POLICY),
        (r"/etc/(passwd|shadow|group|gshadow)-?", "account_set keeps every account that somebody logs in to"),
        (r"/etc/fstab", "a line that fails keeps the host from starting; give mounts to access_policy"),
        (r"(/etc|/run|/var/run)/nologin", "while there is such a file nobody but root logs in; leave it out"),
        (r"/etc/ssh/.+", SSH),
        (r".*/\.ssh/.+", "it holds the keys that people log in with; leave it to what brings the keys"),
        (r"/etc/systemd/system/(ssh|sshd)(@|\.).+", SSH),
        (r"/etc/systemd/(network|system/bulwark-transaction-guard[.@]?)/?.*", "it keeps this host reachable"),
        (r"/etc/(network/interfaces|netplan|NetworkManager|sysconfig/network-scripts)(\.d)?(/.*)?",
         "it decides on how this host is reached"),
        (r"/etc/(nftables\.conf|ufw/.+|firewalld/.+|iptables/.+|sysconfig/nftables\.conf)", FIREWALL),
        (r"/etc/ld\.so\.(preload|conf|cache|conf\.d/.+)", "every program loads what it says; leave it to packages"),
        (r"(/usr)?/(bin|sbin|lib|lib32|lib64|libexec)/.+", "programs belong to packages"),
    )
)  # fmt: skip
# A unit that these keep from working ends what people log in by.
LIFELINES: tuple[tuple[str, str], ...] = (
    *((f"{name}.{kind}", "people log in by it") for name in ("ssh", "sshd", "ssh@*", "sshd@*")
      for kind in ("service", "socket")),
    *((name, "the host is reached by it") for name in (
        "systemd-networkd.service", "systemd-networkd.socket", "NetworkManager.service", "networking.service",
        "network.service", "dhcpcd.service", "dhcpcd@*.service", "ifup@*.service", "wpa_supplicant*.service",
    )),
    *((name, "logins need it") for name in (
        "dbus.service", "dbus.socket", "dbus-broker.service", "systemd-logind.service",
        "systemd-user-sessions.service", "systemd-tmpfiles-setup.service", "systemd-sysusers.service",
        "systemd-udevd.service", "user@*.service", "sssd*.service", "sssd*.socket", "nslcd.service", "winbind.service",
    )),
    *((name, "files that logins need are on it") for name in (
        "-.mount", "dev.mount", "etc.mount", "home*.mount", "proc.mount", "root.mount", "run.mount", "sys.mount",
        "usr*.mount", "var.mount", "var-lib.mount",
    )),
    *((name, "the host starts by it") for name in (
        "basic.target", "default.target", "graphical.target", "local-fs.target", "local-fs-pre.target",
        "multi-user.target", "network.target", "network-online.target", "network-pre.target", "nss-user-lookup.target",
        "remote-fs.target", "slices.target", "sockets.target", "sysinit.target", "*.slice",
    )),
    ("bulwark-transaction-guard*", "it takes changes back that lock somebody out"),
)  # fmt: skip
# Starting these ends every session.
ENDINGS = (
    "poweroff.target", "halt.target", "reboot.target", "kexec.target", "soft-reboot.target", "shutdown.target",
    "rescue.target", "emergency.target", "rescue.service", "emergency.service", "exit.target", "final.target",
    "umount.target", "sleep.target", "suspend*.target", "hibernate.target", "hybrid-sleep.target",
    "systemd-halt.service", "systemd-poweroff.service", "systemd-reboot.service", "systemd-kexec.service",
    "systemd-suspend*.service", "systemd-hibernate*.service", "systemd-hybrid-sleep.service", "ctrl-alt-del.target",
)  # fmt: skip
# A firewall that starts brings its own rules along.
FIREWALLS = (
    "ufw.service", "firewalld.service", "nftables.service", "iptables.service", "ip6tables.service",
    "netfilter-persistent.service", "shorewall*.service", "ferm.service",
)  # fmt: skip
PACKAGES: tuple[tuple[str, str], ...] = (
    *((name, "administrators become root by it") for name in ("sudo", "sudo-ldap", "sudo-rs")),
    *((name, "people log in by it") for name in ("openssh-server", "openssh-sftp-server", "ssh", "login*", "passwd")),
    *((name, "logins need it") for name in (
        "base-files", "base-passwd", "bash", "coreutils*", "dash", "dbus*", "glibc*", "libc6", "libc-bin", "libnss-*",
        "libpam*", "nss-*", "nslcd", "pam", "authselect*", "shadow-utils", "sssd*", "systemd*", "util-linux*",
        "winbind*",
    )),
    *((name, "the host is reached by it") for name in (
        "dhcpcd*", "ifupdown*", "iproute*", "isc-dhcp-client", "netplan.io", "network-manager", "NetworkManager*",
        "wpasupplicant", "wpa_supplicant",
    )),
    *((name, "Ansible's modules run by it") for name in ("python3", "python3.*", "python3-minimal", "libpython3*",
      "python3-apt", "python3-dnf", "apt", "dpkg", "dnf", "rpm")),
)  # fmt: skip

# Modes.

ENTERED_BY_ALL = frozenset(
    {"/", "/bin", "/dev", "/etc", "/etc/security", "/home", "/lib", "/lib64", "/run", "/sbin", "/usr", "/usr/bin",
     "/tmp",  # noqa: S108 - a directory that has to be there
     "/usr/lib", "/usr/lib64", "/usr/sbin", "/usr/share", "/var", "/var/lib"}
)  # fmt: skip
READ_BY_ALL = frozenset({"/etc/passwd", "/etc/group", "/etc/nsswitch.conf", "/etc/ld.so.cache", "/etc/shells"})
RUN_BY_ALL = frozenset({"sh", "bash", "dash", "rbash", "zsh", "ksh", "fish", "env", "sudo", "sudo-rs", "sftp-server"})
PROGRAMS = re.compile(r"(/usr)?(/local)?/s?bin/[^/]+|(/usr)?/lib(exec)?/.*/?sftp-server")
LIBRARIES = re.compile(r"(/usr)?/lib(32|64|exec)?/.*")
SUDO = re.compile(r"(/usr)?(/local)?/bin/sudo(-rs|\.ws)?")
# sudo reads a file of its rules, or loads a library, only if it is root's and nobody else can write it.
OWN_BY_ROOT = re.compile(r"/etc/sudo\.conf|/etc/sudoers(\.d(/[^/]+)?)?|(/usr)?/lib(exec)?/sudo(/.+)?")
# So does sshd with the directory that it confines itself to.
CONFINED = frozenset({"/run/sshd", "/var/empty", "/var/empty/sshd", "/usr/share/empty.sshd", "/var/lib/empty"})
HOST_KEY = re.compile(r"/etc/ssh/ssh_host_[^/]+_key")
# sshd reads keys, and names that certificates may use, with the rights of who logs in.
READ_AS_USER = re.compile(r"/etc/ssh(/(?!sshd_config|ssh_host_|moduli).*)?")
SETUID = 0o4000


@dataclass(frozen=True)
class Person:
    """Somebody who logs in by a key: numbers, and the home in which the key is."""

    name: str
    uid: int
    gids: frozenset[int]
    home: str


@dataclass(frozen=True)
class Access:
    """Owner and mode of a path."""

    mode: int
    uid: int
    gid: int

    def grants(self, person: Person) -> int:
        """Return the three bits that somebody has here."""
        if person.uid == 0:
            return 7
        if person.uid == self.uid:
            return self.mode >> 6 & 7
        return (self.mode >> 3 if self.gid in person.gids else self.mode) & 7


def file_problem(path: str) -> str:
    """Return why a file must not be written without a proof, empty if it may."""
    return next((f"{path}: {reason}" for pattern, reason in FILES if pattern.fullmatch(path)), "")


def unit_problem(verb: str, name: str) -> str:
    """Return why a verb of systemctl must not be run for a unit, empty if it may."""
    if verb in ("stop", "mask", "disable"):
        return next(
            (f"{name}: {reason}, so that it must not be {_DONE[verb]}; leave it out"
             for pattern, reason in LIFELINES if fnmatch.fnmatchcase(name, pattern)),
            "",
        )  # fmt: skip
    if verb == "start" and _is_one_of(name, ENDINGS):
        return f"{name}: starting it ends every session; leave it out"
    if verb in ("start", "enable", "unmask") and _is_one_of(name, FIREWALLS):
        return f"{name}: a firewall that starts may let nobody in; {FIREWALL}"
    return ""


_DONE = {"stop": "stopped", "mask": "masked", "disable": "disabled"}


def _is_one_of(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def package_problem(name: str) -> str:
    """Return why a package, or what a pattern of names stands for, must not be removed, empty if it may.

    What follows the name, such as an architecture or a version, does not count.
    """
    bare = re.split(r"[:=/]", name, maxsplit=1)[0]
    for pattern, reason in PACKAGES:
        if fnmatch.fnmatchcase(bare, pattern) or (any(sign in bare for sign in "*?[") and _may_be(bare, pattern)):
            return f"{name}: {reason}, so that it must not be removed; leave it out"
    return ""


def _may_be(pattern: str, protected: str) -> bool:
    return fnmatch.fnmatchcase(protected.rstrip("*"), pattern)


def permission_problem(path: str, is_directory: bool, before: Access, after: Access, people: Collection[Person]) -> str:
    """Return why a path must not get another owner or mode, empty if it may. What was wrong before is no reason."""
    wrong = _harm(path, is_directory, after, people)
    return f"{path}: {wrong}; leave it out" if wrong and not _harm(path, is_directory, before, people) else ""


def _harm(path: str, is_directory: bool, facts: Access, people: Collection[Person]) -> str:
    return (
        _harm_to_all(path, is_directory, facts)
        or _harm_to_sudo(path, facts)
        or _harm_to_sshd(path, is_directory, facts)
        or next((harm for person in people for harm in [_harm_to(person, path, is_directory, facts)] if harm), "")
    )


def _harm_to_all(path: str, is_directory: bool, facts: Access) -> str:
    if is_directory:
        needed = 0o001 if path in ENTERED_BY_ALL or LIBRARIES.fullmatch(path) else 0
        return "" if facts.mode & needed == needed else "users could not enter the directory, which every login does"
    if path in READ_BY_ALL and not facts.mode & 0o004:
        return "users could not read it, which every login does"
    if PROGRAMS.fullmatch(path) and _is_program(path) and not facts.mode & 0o001:
        return "users could not run it, which every login does"
    if LIBRARIES.fullmatch(path) and ".so" in os.path.basename(path) and not facts.mode & 0o004:
        return "programs of users could not load it"
    return ""


def _is_program(path: str) -> bool:
    name = os.path.basename(path)
    return name in RUN_BY_ALL or re.fullmatch(r"python3(\.\d+)?", name) is not None


def _harm_to_sudo(path: str, facts: Access) -> str:
    if SUDO.fullmatch(path) and (facts.uid != 0 or not facts.mode & SETUID):
        return "sudo works only as root's own with its set-user-ID bit"
    if OWN_BY_ROOT.fullmatch(path) and (facts.uid != 0 or facts.mode & 0o002 or (facts.mode & 0o020 and facts.gid)):
        return "sudo refuses it unless it is root's and nobody else can write it"
    return ""


def _harm_to_sshd(path: str, is_directory: bool, facts: Access) -> str:
    if READ_AS_USER.fullmatch(path) and not facts.mode & (0o001 if is_directory else 0o004):
        return f"sshd could not {'enter' if is_directory else 'read'} it with the rights of who logs in"
    if HOST_KEY.fullmatch(path) and (facts.mode & 0o077 and facts.uid == 0 and facts.gid == 0):
        return "sshd does not use a host key that others can read"
    if path in CONFINED and (facts.uid != 0 or facts.mode & 0o022):
        return "sshd refuses every login unless it is root's and nobody else can write it"
    return ""


def _harm_to(person: Person, path: str, is_directory: bool, facts: Access) -> str:
    """Return what would keep sshd from taking a person's key. Source: StrictModes in sshd_config(5)."""
    keys = f"{person.home}/.ssh"
    inside = path in (person.home, keys) or path.startswith(f"{keys}/authorized_keys")
    if not inside and not (is_directory and person.home.startswith("/" if path == "/" else f"{path}/")):
        return ""
    if not facts.grants(person) & (0o1 if is_directory else 0o4):
        return f"{person.name} could not {'enter' if is_directory else 'read'} it, and so not log in by key"
    if inside and (facts.uid not in (0, person.uid) or facts.mode & 0o022):
        return f"sshd would not take the key of {person.name}, since somebody else could write there"
    return ""
