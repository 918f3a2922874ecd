# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mounts as the kernel has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..host import Host
from ..model import Item, Observation, Unreadable, Verdict, item, missing, observation
from ..parameters import Parameter, Parameters
from ..reader import Reader
from .configuration import settings

# The init's own view: a login may have a mount namespace of its own.
MOUNTS = ("/proc/1/mountinfo", "/proc/self/mountinfo")


@dataclass(frozen=True)
class Mount:
    """A mount, or what is configured to become one."""

    kind: str
    options: frozenset[str]


def mounts(host: Host) -> dict[str, Mount]:
    """Return what is mounted where; of several on one place the last hides the others."""

    def make() -> dict[str, Mount]:
        for path in MOUNTS:
            try:
                text = host.read(path)
            except Unreadable:
                continue
            if text:
                return parse(text)
        raise Unreadable("the kernel does not tell what is mounted")

    found: dict[str, Mount] = host.once("mounts", make)
    return found


def parse(text: str) -> dict[str, Mount]:
    """Return the mounts of /proc/PID/mountinfo."""
    found: dict[str, Mount] = {}
    for line in text.splitlines():
        fields = line.split()
        if len(fields) < 10 or "-" not in fields:
            continue
        separator = fields.index("-")
        point = fields[4].replace("\\040", " ").replace("\\011", "\t")
        options = frozenset(f"{fields[5]},{fields[separator + 3]}".split(","))
        found[point] = Mount(fields[separator + 1], options)
    return found


def configured(host: Host, path: str) -> Mount | None:
    """Return what the next boot will mount there, by /etc/fstab or a mount unit; None if nothing."""
    for line in host.lines("/etc/fstab"):
        fields = line.split()
        if len(fields) >= 4 and not line.lstrip().startswith("#") and fields[1].replace("\\040", " ") == path:
            return Mount(fields[2], frozenset(fields[3].split(",")))
    name = unit_name(path)
    if not host.glob(f"/etc/systemd/system/*.wants/{name}") and not host.glob(
        f"/usr/lib/systemd/system/*.wants/{name}"
    ):
        return None
    kind, options = "", ""
    for file in (f"/usr/lib/systemd/system/{name}", f"/etc/systemd/system/{name}"):
        own = {key: value for section, key, value in settings(host.read(file) or "", "systemd") if section == "Mount"}
        if own:
            kind, options = own.get("Type", ""), own.get("Options", "")
    for file in host.glob(f"/etc/systemd/system/{name}.d/*.conf"):
        for section, key, value in settings(host.read(file) or "", "systemd"):
            if section == "Mount" and key == "Options":
                options = value
    return Mount(kind, frozenset(options.split(",")))


def unit_name(path: str) -> str:
    """Return the name of the unit that mounts a path, as systemd-escape makes it for plain names."""
    return "{}.mount".format("-".join(part.replace("-", r"\x2d") for part in path.strip("/").split("/")))


def mount(host: Host, parameters: Parameters) -> Observation:
    """Check what is mounted at a path.

    ``path``; ``type``: file systems of which it must be one; ``options`` that must be set, ``options_absent`` that must
    not be. ``mounted``: false if nothing may be mounted there. With ``only_if_mounted`` a path that is no mount point
    is not applicable; else it fails, or is pending if the next boot will mount it so.
    """
    path = parameters["path"]
    there = mounts(host).get(path)
    if not parameters["mounted"]:
        observed = "not mounted" if there is None else f"a mount of type {there.kind}"
        return observation([item(path, there is None, "not mounted", observed)], MOUNTS[0])
    if there is None and parameters["only_if_mounted"]:
        return observation([missing(path, "is no mount of its own")], MOUNTS[0])
    now = _examine(path, there, parameters)
    if any(entry.verdict is Verdict.FAIL for entry in now):
        later = configured(host, path)
        if later and all(entry.verdict is Verdict.PASS for entry in _examine(path, later, parameters)):
            reason = "it is configured so, and takes effect at the next boot"
            now = [
                Item(entry.name, Verdict.PENDING, entry.expected, entry.observed, reason)
                for entry in now
                if entry.verdict is Verdict.FAIL
            ]
    return observation(now, MOUNTS[0])


def _examine(path: str, there: Mount | None, parameters: Parameters) -> list[Item]:
    if there is None:
        return [item(path, False, "a mount of its own", "not mounted")]
    items = [item(path, True, "a mount of its own", f"of type {there.kind}")]
    if parameters["type"]:
        items.append(
            item(path, there.kind in parameters["type"], f"of type {' or '.join(parameters['type'])}", there.kind)
        )
    lacking = [option for option in parameters["options"] if option not in there.options]
    if parameters["options"]:
        observed = f"without {','.join(lacking)}" if lacking else f"with {','.join(parameters['options'])}"
        items.append(item(path, not lacking, f"with {','.join(parameters['options'])}", observed))
    for option in parameters["options_absent"]:
        set_here = option in there.options
        items.append(item(path, not set_here, f"without {option}", f"{'with' if set_here else 'without'} {option}"))
    return items


READERS: Mapping[str, Reader] = {
    "mount": Reader(
        mount,
        {
            "path": Parameter("text", required=True),
            "mounted": Parameter("boolean", default=True),
            "type": Parameter("texts", default=()),
            "options": Parameter("texts", default=()),
            "options_absent": Parameter("texts", default=()),
            "only_if_mounted": Parameter("boolean", default=False),
        },
    )
}
