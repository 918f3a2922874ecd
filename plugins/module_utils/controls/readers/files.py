# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files: modes, owners, settings, lines, banners, and a walk over all of them."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping, Sequence
from typing import Any

from .. import conditions
from ..host import Host, Status
from ..model import Item, Observation, Unreadable, item, missing, observation
from ..parameters import Parameter, Parameters
from ..reader import Reader
from .configuration import configuration_files, login_definitions, settings, value_of

# Modes and owners


def file_mode(host: Host, parameters: Parameters) -> Observation:
    """Compare owner, group and mode of what is on disk.

    ``entries``: each with ``path`` (a glob), and any of ``owner`` (a name, or several that pass), ``group`` (likewise),
    ``mode`` (octal; with ``at_most``, the default, fewer bits pass as well), ``type`` (file, directory or any: others
    that match are left out), ``except`` (globs). A path that does not exist is not applicable, with ``required`` it
    fails. Links that a wildcard matches are left out; a link that is named is followed.
    """
    items: list[Item] = []
    for entry in parameters["entries"]:
        found = [path for path in host.glob(entry["path"]) if not _excepted(path, entry["except"])]
        if not found:
            if entry["required"]:
                items.append(item(entry["path"], False, "there", "not there"))
            else:
                items.append(missing(entry["path"], "does not exist"))
        wild = found != [entry["path"]]
        for path in found:
            status = host.status(path, follow=not wild)
            if status is None or entry["type"] not in ("any", status.kind) or (wild and status.kind == "link"):
                continue
            items.append(_mode(host, path, status, entry))
    return observation(items, "stat")


def _excepted(path: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns)


def _mode(host: Host, path: str, status: Status, entry: Parameters) -> Item:
    owner, group = host.user_name(status.uid), host.group_name(status.gid)
    owners, groups = _several(entry["owner"]), _several(entry["group"])
    expected, passed = [], True
    if owners or groups:
        expected.append(f"{'|'.join(owners) or 'any'}:{'|'.join(groups) or 'any'}")
        passed = (not owners or owner in owners) and (not groups or group in groups)
    if entry["mode"] is not None:
        wanted = int(entry["mode"], 8)
        expected.append(f"{wanted:04o}{' or less' if entry['at_most'] else ''}")
        passed = passed and (not status.mode & ~wanted if entry["at_most"] else status.mode == wanted)
    return item(path, passed, " ".join(expected), f"{owner}:{group} {status.mode:04o}")


def _several(value: Any) -> list[str]:
    if value is None:
        return []
    return [value] if isinstance(value, str) else list(value)


# Settings and lines


def file_setting(host: Host, parameters: Parameters) -> Observation:
    """Compare settings in files of a program that tells them in no other way, read as that program reads them.

    ``path``: main file. ``format``: ``equals`` (key = value), ``space`` (key value), ``ini`` (key = value below
    ``section``), ``systemd`` (the same, with systemd's folders and drop-ins). ``drop_ins``: globs in the order in which
    they are read, after the main file or, with ``drop_ins_first``, before it. ``wins``: which of several counts.
    ``values``: keys, each with a condition. ``defaults``: what the program takes where nothing is set. ``comments``:
    characters that begin one. ``ignore_case``: of keys. Without any file and defaults it is not applicable.
    """
    style = parameters["format"]
    files = configuration_files(host, parameters["path"], style, parameters["drop_ins"], parameters["drop_ins_first"])
    defaults = parameters["defaults"] or {}
    if not files and not defaults:
        return observation([], parameters["path"], f"there is no {parameters['path']}")
    ignore_case = parameters["ignore_case"]
    entries = [
        entry for path in files for entry in settings(host.read(path) or "", style, parameters["comments"], ignore_case)
    ]
    items = []
    for key, condition in parameters["values"].items():
        name = key.lower() if ignore_case else key
        value = value_of(entries, name, parameters["section"], parameters["wins"])
        if style == "systemd" and value == "":
            value = None  # an empty assignment goes back to the default
        items.append(setting_item(key, value, condition, defaults.get(key)))
    return observation(items, ", ".join(files) or parameters["path"])


def setting_item(key: str, value: str | None, condition: Any, default: Any) -> Item:
    """Return the item for a value, or for the default where there is none."""
    effective = conditions.plain(default) if value is None and default is not None else value
    observed = conditions.shown(effective)
    if value is None and default is not None:
        observed += " (the default)"
    return item(key, conditions.met(condition, effective), conditions.describe(condition), observed)


def file_line(host: Host, parameters: Parameters) -> Observation:
    """Check lines of files that are no settings.

    ``paths``: globs. ``present``: regular expressions, each of which must match a whole line in one of the files.
    ``absent``: expressions that must match none. Blanks around a line and lines that begin with one of ``comments`` do
    not count. Without any file it fails if something must be present, and passes else.
    """
    files = [path for pattern in parameters["paths"] for path in host.glob(pattern)]
    lines = [
        (path, line.strip())
        for path in files
        for line in host.lines(path)
        if line.strip() and line.strip()[0] not in parameters["comments"]
    ]
    items = []
    for pattern in parameters["present"]:
        found = next((line for _path, line in lines if re.fullmatch(pattern, line)), None)
        items.append(item("", found is not None, f"a line {pattern}", found or "no such line"))
    for pattern in parameters["absent"]:
        place = next(((path, line) for path, line in lines if re.fullmatch(pattern, line)), None)
        items.append(
            item("", place is None, f"no line {pattern}", f"{place[0]}: {place[1]}" if place else "no such line")
        )
    return observation(items, ", ".join(files) or ", ".join(parameters["paths"]))


def login_defs(host: Host, parameters: Parameters) -> Observation:
    """Compare settings of /etc/login.defs. ``values``: names, each with a condition; the last of several counts."""
    known = login_definitions(host)
    items = [setting_item(name, known.get(name), condition, None) for name, condition in parameters["values"].items()]
    return observation(items, "/etc/login.defs")


# Banners


def banner(host: Host, parameters: Parameters) -> Observation:
    """Check what a login shows before it.

    ``files``: such as /etc/issue. ``text``: what each must hold, blanks folded. ``forbidden``: texts that tell too much
    to strangers, in any case; the name of the operating system is always one of them. ``words``: words of which at
    least ``minimum_words`` must be there.
    """
    release = dict(line.partition("=")[::2] for line in host.lines("/etc/os-release"))
    system = release.get("ID", "").strip("'\"")
    forbidden = [*parameters["forbidden"], *([system] if system else [])]
    items = []
    for path in parameters["files"]:
        text = host.read(path) or ""
        if not text.strip():
            items.append(item(path, False, "a legal text", "empty" if host.exists(path) else "not there"))
            continue
        told = [word for word in forbidden if _tells(word, text)]
        items.append(
            item(path, not told, f"without {', '.join(forbidden)}", f"with {', '.join(told)}" if told else "without")
        )
        if parameters["text"] is not None:
            same = " ".join(text.split()) == " ".join(parameters["text"].split())
            items.append(
                item(path, same, "the text of the policy", "that text" if same else " ".join(text.split())[:80])
            )
        if parameters["words"]:
            there = [word for word in parameters["words"] if word.lower() in text.lower()]
            least = int(parameters["minimum_words"])
            items.append(
                item(path, len(there) >= least, f"at least {least} legal words", f"{len(there)}: {', '.join(there)}")
            )
    return observation(items, ", ".join(parameters["files"]))


def _tells(word: str, text: str) -> bool:
    if word.startswith("\\"):
        return word in text
    return re.search(rf"\b{re.escape(word)}\b", text, re.IGNORECASE) is not None


# Walk

# Their files belong to containers, whose users and modes are their own.
STORAGE = (
    "/var/lib/containers/storage",
    "/var/lib/containerd",
    "/var/lib/docker",
    "/var/lib/kubelet",
    "/var/lib/lxc",
    "/var/lib/lxd",
    "/var/lib/machines",
    "/var/lib/rancher",
    "/var/snap",
    "/snap",
)
# Those of programs that show kernel objects or remote files rather than a disk.
DISK_TYPES = frozenset(
    {"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "tmpfs", "overlay", "reiserfs", "jfs", "vfat"}
)
RULES = ("world_writable", "not_sticky", "orphan", "set_id")


def find_arguments(host: Host, skip: Sequence[str]) -> tuple[str, ...]:
    """Return the one search that finds everything that a rule may object to."""
    pruned: list[str] = []
    for path in (*STORAGE, "/proc", "/sys", "/dev", "/run", *skip):
        pruned += ["-path", path, "-o"]
    return (
        *("find", *local_mounts(host), "-xdev", "(", *pruned[:-1], ")", "-prune", "-o"),
        *("(", "-type", "f", "-o", "-type", "d", "-o", "-nouser", "-o", "-nogroup", ")"),
        *("(", "-perm", "/6002", "-o", "-nouser", "-o", "-nogroup", ")"),
        *("!", "-type", "l", "-printf", r"%y\t%m\t%U\t%G\t%p\0"),
    )


def local_mounts(host: Host) -> list[str]:
    """Return the mount points of file systems on disk, the root first."""
    points: dict[str, str] = {}
    for line in host.lines("/proc/self/mountinfo"):
        fields = line.split()
        if "-" in fields and fields[fields.index("-") + 1] in DISK_TYPES:
            points.setdefault(fields[2], fields[4].replace("\\040", " "))
    kept = [point for point in points.values() if not point.startswith(("/proc", "/sys", "/dev", "/run", *STORAGE))]
    return sorted({"/", *kept})


def announce_walk(host: Host, parameters: Parameters) -> None:
    """Start the search; it takes longest."""
    host.start(*find_arguments(host, parameters["skip"]))


def walk(host: Host, parameters: Parameters) -> Observation:
    """Search all local file systems, container storage left out.

    ``forbid``: ``world_writable`` files; directories that everybody may write and that are ``not_sticky``; ``orphan``,
    what belongs to no user or group that exists; ``set_id``, programs with a SUID or SGID bit that ``set_id_allowed``
    (paths or globs) does not name. ``skip``: directories left out.
    """
    answer = host.run(*find_arguments(host, parameters["skip"]))
    if not answer.output and not answer.ok:
        raise Unreadable(f"find failed: {answer.complaint()}")
    users = {user.uid for user in host.users.values()}
    groups = {group.gid for group in host.groups.values()}
    found: dict[str, list[str]] = {rule: [] for rule in RULES}
    for record in answer.output.split("\0"):
        if not record:
            continue
        kind, mode_text, uid, gid, path = record.split("\t", 4)
        mode = int(mode_text, 8)
        if kind == "f" and mode & 0o002:
            found["world_writable"].append(path)
        if kind == "d" and mode & 0o002 and not mode & 0o1000:
            found["not_sticky"].append(path)
        if int(uid) not in users or int(gid) not in groups:
            found["orphan"].append(f"{path} ({uid}:{gid})")
        if kind == "f" and mode & 0o6000 and not _excepted(path, parameters["set_id_allowed"]):
            found["set_id"].append(f"{path} ({mode:04o})")
    items = []
    for rule in parameters["forbid"]:
        name = rule.replace("_", " ")
        items += [item(name, False, "none", path) for path in found[rule]] or [item(name, True, "none", "none")]
    return observation(items, "find")


ENTRY_FIELDS: Mapping[str, Parameter] = {
    "path": Parameter("text", required=True),
    "owner": Parameter("text_or_texts"),
    "group": Parameter("text_or_texts"),
    "mode": Parameter("mode"),
    "at_most": Parameter("boolean", default=True),
    "type": Parameter("text", default="any", choices=("file", "directory", "any")),
    "required": Parameter("boolean", default=False),
    "except": Parameter("texts", default=()),
}
READERS: Mapping[str, Reader] = {
    "file_mode": Reader(file_mode, {"entries": Parameter("entries", required=True, fields=ENTRY_FIELDS)}),
    "file_setting": Reader(
        file_setting,
        {
            "path": Parameter("text", required=True),
            "format": Parameter("text", default="equals", choices=("equals", "space", "ini", "systemd")),
            "section": Parameter("text", default=""),
            "values": Parameter("conditions", required=True),
            "drop_ins": Parameter("texts", default=()),
            "drop_ins_first": Parameter("boolean", default=False),
            "wins": Parameter("text", default="last", choices=("first", "last")),
            "defaults": Parameter("values"),
            "comments": Parameter("text", default="#;"),
            "ignore_case": Parameter("boolean", default=False),
        },
    ),
    "file_line": Reader(
        file_line,
        {
            "paths": Parameter("texts", required=True),
            "present": Parameter("texts", default=()),
            "absent": Parameter("texts", default=()),
            "comments": Parameter("text", default="#"),
        },
    ),
    "login_defs": Reader(login_defs, {"values": Parameter("conditions", required=True)}),
    "banner": Reader(
        banner,
        {
            "files": Parameter("texts", required=True),
            "text": Parameter("text"),
            "forbidden": Parameter("texts", default=("\\v", "\\r", "\\m", "\\s")),
            "words": Parameter("texts", default=()),
            "minimum_words": Parameter("number", default=5),
        },
    ),
    "walk": Reader(
        walk,
        {
            "forbid": Parameter("texts", required=True, choices=RULES),
            "set_id_allowed": Parameter("texts", default=()),
            "skip": Parameter("texts", default=()),
        },
        announce_walk,
    ),
}
