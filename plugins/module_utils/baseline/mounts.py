# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mount options as a policy, against fstab, units and what is mounted. Pure.

A file system of its own for /tmp comes by a unit: one that fails never keeps the host from starting, a line of fstab
does. What PID 1 mounts itself takes its options from fstab, at boot by systemd-remount-fs.
Source: mount(8), fstab(5), systemd.mount(5), systemd-fstab-generator(8).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .host import Refused

FSTAB = "/etc/fstab"
UNITS = "/etc/systemd/system"
WANTS = f"{UNITS}/local-fs.target.wants"
# Mounted by PID 1 before it reads fstab.
KERNEL_PATHS = frozenset({"/dev", "/dev/shm", "/proc", "/run", "/sys"})  # noqa: S108 - a mount
# Paths that may be managed at all. Everything else holds programs that logging in needs, or is not ours.
NEW_PATHS = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 - paths of mounts, not of temporary files
MANAGED_PATHS = (
    *NEW_PATHS, "/proc", "/run", "/home", "/srv", "/media", "/mnt", "/boot", "/boot/efi", "/efi", "/var",
    "/var/log", "/var/log/audit",
)  # fmt: skip
MAY_NOT_HOLD_PROGRAMS = frozenset(MANAGED_PATHS) - {"/home", "/srv", "/var"}
FLAGS = ("nodev", "nosuid", "noexec")
# What takes a flag away again, as fstab(5) spells it.
OPPOSITES = {
    "nodev": "dev", "nosuid": "suid", "noexec": "exec", "dev": "nodev", "suid": "nosuid", "exec": "noexec",
    "ro": "rw", "rw": "ro", "relatime": "noatime", "noatime": "relatime", "strictatime": "relatime",
}  # fmt: skip
OPTION = re.compile(r"[A-Za-z0-9_.:/=+%-]+")
SIZE = re.compile(r"([0-9]+)([kKmMgG]?)|([0-9]{1,2}|100)%")
HIDEPID = {"0": "off", "1": "noaccess", "2": "invisible", "4": "ptraceable"}
UNSHOWN = ("mode=", "strictatime", "defaults", "rw", "relatime")


@dataclass(frozen=True)
class Wish:
    """One mount of the policy. Without a type, options are added where the path is a mount, and nothing is mounted."""

    path: str
    type: str = ""
    source: str = ""
    options: tuple[str, ...] = ()
    size: str = ""

    @property
    def all_options(self) -> tuple[str, ...]:
        return (*self.options, *((f"size={self.size}",) if self.size else ()))


@dataclass(frozen=True)
class Mounted:
    """A file system as the kernel has it."""

    path: str
    type: str
    source: str
    options: tuple[str, ...]
    super_options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Seen:
    """What the host is like: fstab, the units' files below UNITS, what is mounted, and paths that are in use."""

    fstab: str = ""
    units: Mapping[str, str] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    mounted: Mapping[str, Mounted] = field(default_factory=dict)
    in_use: Mapping[str, str] = field(default_factory=dict)
    is_container: bool = False


@dataclass(frozen=True)
class Plan:
    """Files and links to write, programs that put them in force and take them back, and what waits for a restart."""

    files: Mapping[str, str] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    apply: tuple[tuple[str, ...], ...] = ()
    undo: tuple[tuple[str, ...], ...] = ()
    pending: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        return not (self.files or self.links or self.apply)


def parse(entries: Sequence[Mapping[str, Any]], place: str = "mounts") -> tuple[Wish, ...]:
    """Return the mounts of the policy. Raises Refused with everything that is wrong."""
    problems: list[str] = []
    wishes: list[Wish] = []
    for number, entry in enumerate(entries):
        wish = Wish(
            path=str(entry.get("path") or ""),
            type=str(entry.get("type") or ""),
            source=str(entry.get("source") or entry.get("type") or ""),
            options=tuple(str(option) for option in entry.get("options") or ()),
            size=str(entry.get("size") or ""),
        )
        at = f"{place}[{number}]"
        problems += [f"{at}.{problem}" for problem in _problems(wish)]
        if wish.path in [other.path for other in wishes]:
            problems.append(f"{at}.path: {wish.path} stands twice; leave one")
        wishes.append(wish)
    if problems:
        raise Refused("; ".join(problems))
    return tuple(wishes)


def _problems(wish: Wish) -> list[str]:
    found = []
    if wish.path not in MANAGED_PATHS:
        found.append(f"path is {wish.path!r}; accepted are {', '.join(MANAGED_PATHS)}")
    if wish.type and wish.type != ("proc" if wish.path == "/proc" else "tmpfs"):
        found.append(f"type is {wish.type!r}; accepted are tmpfs, proc for /proc, and none for a mount that there is")
    if wish.type == "tmpfs" and wish.path not in NEW_PATHS:
        found.append(f"type is tmpfs, which would hide what is in {wish.path}; accepted for {', '.join(NEW_PATHS)}")
    for option in wish.options:
        if not OPTION.fullmatch(option):
            found.append(f"options: {option!r} is no mount option")
        if option in ("ro", "noauto", "bind", "remount", "move"):
            found.append(f"options: {option} is not possible here")
        if option.startswith("size="):
            found.append("options: give the size in size")
    if "noexec" in wish.options and wish.path not in MAY_NOT_HOLD_PROGRAMS:
        found.append(f"options: noexec keeps programs in {wish.path} from running; leave it out")
    for option in wish.options:
        if OPPOSITES.get(option) in wish.options:
            found.append(f"options: {option} and {OPPOSITES[option]} exclude each other")
    if wish.size and not SIZE.fullmatch(wish.size):
        found.append(f"size is {wish.size!r}; accepted are 512m, 2g or a share of memory such as 25%")
    if wish.size and wish.type != "tmpfs":
        found.append("size is for type tmpfs only")
    if wish.size and (_kibibytes(wish.size) or 1024) < 1024:
        found.append(f"size is {wish.size!r}, too little to work with; accepted are 1m and more")
    if not wish.type and not wish.options:
        found.append("options is empty; give those that the mount shall have")
    return found


def _kibibytes(size: str) -> int | None:
    """Return a size in KiB, None for a share of memory."""
    found = SIZE.fullmatch(size)
    if found is None or found[3]:
        return None
    return int(found[1]) * {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}[found[2].lower()] // 1024


def parse_mountinfo(text: str) -> dict[str, Mounted]:
    """Return what is mounted, by path; of several at one path the topmost. Source: proc_pid_mountinfo(5)."""
    found: dict[str, Mounted] = {}
    for line in text.splitlines():
        left, _dash, right = line.partition(" - ")
        words, rest = left.split(" "), right.split(" ")
        if len(words) < 6 or len(rest) < 3:
            continue
        path = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), words[4])
        found[path] = Mounted(path, rest[0], rest[1], tuple(words[5].split(",")), tuple(rest[2].split(",")))
    return found


def unit_name(path: str) -> str:
    """Return the name of a mount's unit; the managed paths need no escaping beyond that of the slash and the dash."""
    return path.strip("/").replace("-", r"\x2d").replace("/", "-") + ".mount"


def plan(wishes: Sequence[Wish], seen: Seen) -> Plan:
    """Return what has to change so that every wish is met, now and after a restart."""
    files: dict[str, str] = {}
    links: dict[str, str] = {}
    apply: list[tuple[str, ...]] = []
    undo: list[tuple[str, ...]] = []
    pending: list[str] = []
    notes: list[str] = []
    fstab = seen.fstab
    for wish in wishes:
        now = seen.mounted.get(wish.path)
        if now is None and not wish.type:
            notes.append(f"{wish.path} is no file system of its own, so that there are no options to set")
            continue
        if now is not None and wish.type and now.type != wish.type:
            notes.append(f"{wish.path} is a {now.type} and stays one; its options are set")
            wish = Wish(wish.path, "", now.source, tuple(o for o in wish.options if not o.startswith("mode=")))
        by_unit = False
        if _entry(fstab, wish.path) or wish.path in KERNEL_PATHS:
            fstab = with_entry(fstab, wish)
        elif wish.type:
            by_unit = True
            _set(files, seen.units, f"{UNITS}/{unit_name(wish.path)}", unit(wish))
            _set(links, seen.links, f"{WANTS}/{unit_name(wish.path)}", f"{UNITS}/{unit_name(wish.path)}")
            if seen.is_container:
                # Its manager may have mounted the path before systemd starts, which then leaves it as it is.
                service = service_name(wish.path)
                _set(files, seen.units, f"{UNITS}/{service}", remount_service(wish))
                _set(links, seen.links, f"{WANTS}/{service}", f"{UNITS}/{service}")
        elif now is not None:
            drop_in = f"{UNITS}/{unit_name(wish.path)}.d/50-bulwark.conf"
            _set(files, seen.units, drop_in, f"[Mount]\nOptions={','.join(merged(now.options, wish.options))}\n")
        if now is None and wish.path in seen.in_use:
            pending.append(f"{wish.path} is mounted at the next start of the host, since {seen.in_use[wish.path]}")
        elif now is None:
            apply.append(("systemctl", "start", unit_name(wish.path)) if by_unit else ("mount", wish.path))
            apply.append(("systemd-tmpfiles", "--create", f"--prefix={wish.path}"))
            undo.append(("umount", "--lazy", wish.path))
        elif not is_met(wish, now):
            apply.append(remount(now, wish.all_options))
            undo.append(remount(now, _restored(now)))
    if fstab != seen.fstab:
        files[FSTAB] = fstab
    if files or links:
        apply.insert(0, ("systemctl", "daemon-reload"))
        undo.append(("systemctl", "daemon-reload"))
    return Plan(files, links, tuple(apply), tuple(undo), tuple(pending), tuple(notes))


def _set(changes: dict[str, str], now: Mapping[str, str], path: str, wished: str) -> None:
    if now.get(path) != wished:
        changes[path] = wished


def is_met(wish: Wish, now: Mounted) -> bool:
    """Return whether a mount has every option that the kernel shows; a share of memory is left to the next mount."""
    have = {*now.options, *now.super_options}
    have |= {
        f"hidepid={HIDEPID[option[8:]]}" for option in have if option.startswith("hidepid=") and option[8:] in HIDEPID
    }
    for option in wish.options:
        if option.startswith(UNSHOWN):
            continue
        if option in ("dev", "suid", "exec"):
            if OPPOSITES[option] in have:
                return False
        elif option not in have:
            return False
    size = _kibibytes(wish.size) if wish.size else None
    shown = next((option[5:] for option in have if option.startswith("size=")), "")
    return size is None or _kibibytes(shown) == size


def remount(now: Mounted, options: Sequence[str]) -> tuple[str, ...]:
    """Return the program that gives a mount these options beside those that it has.

    Naming source and path keeps mount(8) from mixing in what fstab says.
    """
    return ("mount", "-o", ",".join(["remount", *merged(now.options, options)]), now.source or now.type, now.path)


def _restored(now: Mounted) -> list[str]:
    """Return what undoes any change of flags, size and hidepid."""
    size = next((option for option in now.super_options if option.startswith("size=")), "size=50%")
    hidden = next((option for option in now.super_options if option.startswith("hidepid=")), "hidepid=0")
    flags = [flag if flag in now.options else OPPOSITES[flag] for flag in FLAGS]
    return [*flags, *([size] if now.type == "tmpfs" else []), *([hidden] if now.type == "proc" else [])]


def merged(have: Sequence[str], wished: Sequence[str]) -> list[str]:
    """Return options with the wished ones added and what contradicts them left out."""
    names = {option.partition("=")[0] for option in wished if "=" in option}
    gone = {OPPOSITES[option] for option in wished if option in OPPOSITES}
    if "strictatime" in wished or "noatime" in wished:
        gone |= {"relatime", "noatime", "strictatime"} - set(wished)
    kept = [
        option
        for option in have
        if option not in gone and option not in wished and not ("=" in option and option.partition("=")[0] in names)
    ]
    return [*kept, *wished]


def unit(wish: Wish) -> str:
    """Return the unit of a tmpfs; its options are written as systemd reads them, where a percent sign is doubled."""
    options = list(wish.all_options)
    if not any(option.startswith("mode=") for option in options):
        options.insert(0, "mode=1777")
    return f"""\
[Unit]
Description=File system for temporary files at {wish.path}
ConditionPathIsSymbolicLink=!{wish.path}
DefaultDependencies=no
Conflicts=umount.target
Before=local-fs.target umount.target
After=swap.target

[Mount]
What={wish.source}
Where={wish.path}
Type={wish.type}
Options={",".join(options).replace("%", "%%")}

[Install]
WantedBy=local-fs.target
"""


def service_name(path: str) -> str:
    """Return the name of the service that gives a mount its options again."""
    return f"bulwark-remount-{unit_name(path).replace('.mount', '.service')}"


def remount_service(wish: Wish) -> str:
    """Return a service that gives its options to what was mounted before systemd started."""
    options = ",".join(["remount", *merged((), wish.all_options)]).replace("%", "%%")
    return f"""\
[Unit]
Description=Mount options of {wish.path}
ConditionPathIsMountPoint={wish.path}
DefaultDependencies=no
After={unit_name(wish.path)}
Before=local-fs.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/mount -o {options} {wish.source} {wish.path}

[Install]
WantedBy=local-fs.target
"""


# fstab


def _entry(text: str, path: str) -> list[str] | None:
    """Return the fields of the line for a path."""
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 4 and not words[0].startswith("#") and words[1] == path:
            return words
    return None


def with_entry(text: str, wish: Wish) -> str:
    """Return fstab with a line for the wish; one that is there keeps its source, and options beside those wished."""
    words = _entry(text, wish.path)
    if words is None:
        line = (
            f"{wish.source or wish.type or 'none'} {wish.path} {wish.type or 'none'} {','.join(wish.all_options)} 0 0\n"
        )
        return text + ("" if not text or text.endswith("\n") else "\n") + line
    have = words[3].split(",")
    options = merged(have, wish.all_options)
    if set(options) == set(have):
        return text
    changed = [
        *words[:3],
        ",".join(option for option in options if option != "defaults" or len(options) == 1),
        *words[4:],
    ]
    lines = []
    for line in text.splitlines(keepends=True):
        if line.split() == words:
            lines.append(" ".join(changed) + ("\n" if line.endswith("\n") else ""))
        else:
            lines.append(line)
    return "".join(lines)
