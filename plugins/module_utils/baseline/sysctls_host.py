# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring kernel parameters to a host: its running kernel and the file that every boot reads."""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..transaction import files as safe_files
from . import files_host, sysctls
from .host import Refused, in_words, read_text
from .sysctls import Assignment, Key, Overriding, Target

DIRECTORY = "/etc/sysctl.d"
# As systemd-sysctl reads them: of files with one name, that of the first directory counts.
DIRECTORIES = (DIRECTORY, "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d", "/lib/sysctl.d")
MODE = 0o644
PASSES = 3
READ_ONLY = "it is read-only here, as in a container that shares its host's kernel"
REASONS = {
    errno.EINVAL: "the kernel does not accept this value",
    errno.ERANGE: "the kernel does not accept this value",
    errno.EPERM: "the kernel does not permit the change; some keys change only at the next boot",
    errno.EACCES: "the kernel does not permit the change; some keys change only at the next boot",
}


@dataclass(frozen=True)
class State:
    """One key after the run."""

    key: str
    wished: str
    before: str
    observed: str
    state: str
    reason: str = ""

    @property
    def namespaced(self) -> bool:
        """Whether the key is the host's own even in a container, so that there is no excuse for it."""
        return self.key.startswith("net.")


@dataclass(frozen=True)
class Outcome:
    """What was or would be done."""

    states: tuple[State, ...]
    before: str
    after: str
    overridden: tuple[Overriding, ...]

    @property
    def changed(self) -> bool:
        return self.before != self.after or any(state.state == sysctls.CHANGED for state in self.states)


class Kernel:
    """The tree of kernel parameters."""

    def __init__(self, root: str = "/proc/sys") -> None:
        self.root = root

    def path(self, key: Key) -> str:
        return os.path.join(self.root, *key)

    def names(self, key: Key) -> list[str]:
        try:
            return os.listdir(self.path(key))
        except OSError:
            return []

    def read(self, key: Key) -> str:
        """Return a value. Raises OSError."""
        with open(self.path(key), encoding="utf-8", errors="replace") as stream:
            return sysctls.normal(stream.read())

    def writable(self, key: Key) -> bool:
        return os.access(self.path(key), os.W_OK)

    def write(self, key: Key, value: str) -> None:
        """Set a value. Raises OSError."""
        descriptor = os.open(self.path(key), os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, f"{value}\n".encode())
        finally:
            os.close(descriptor)


def converge(path: str, parameters: Mapping[str, Any], check_mode: bool, kernel: Kernel | None = None) -> Outcome:
    """Set the parameters now and for every boot. Raises Refused before anything was changed.

    What the kernel lacks or refuses is in the outcome, and never left out silently.
    """
    kernel = kernel or Kernel()
    name = os.path.basename(path)
    if os.path.dirname(path) != DIRECTORY or not re.fullmatch(r"[A-Za-z0-9][\w.-]*\.conf", name, re.ASCII):
        raise Refused(f"path is {path!r}; a file that the boot reads is {DIRECTORY}/NAME.conf")
    wishes = sysctls.parse(parameters)
    found = files_host.read(path)
    before = "" if found is None else found.content.decode("utf-8", "replace")
    marks = sysctls.marked(before, wishes)
    after = sysctls.render(wishes, marks)
    if not check_mode:
        _write(path, after, found is None or found.mode != MODE or before != after)
    targets = sysctls.expand(wishes, kernel.names)
    states = _applied(targets, kernel, marks, check_mode)
    # A mark stays while the wish does: the next boot may take what the running kernel refuses.
    refused = {target.wish for target, state in zip(targets, states) if _refused_by_kernel(state)}
    if not check_mode and refused - marks:
        after = sysctls.render(wishes, marks | refused)
        _write(path, after, True)
    overridden = sysctls.overriding(targets, persistent(path, after), later_writers())
    return Outcome(states, before, after, tuple(overridden))


def _refused_by_kernel(state: State) -> bool:
    return state.state == sysctls.REFUSED and state.reason != READ_ONLY


def _write(path: str, text: str, differs: bool) -> None:
    if not differs:
        return
    try:
        safe_files.make_directories(os.path.dirname(path))
        safe_files.write_file(path, text.encode(), MODE)
    except OSError as error:
        raise Refused(f"{path} cannot be written: {in_words(error)}; no parameter was changed") from error


def _applied(targets: Sequence[Target], kernel: Kernel, marks: frozenset[Key], check_mode: bool) -> tuple[State, ...]:
    old = [_observed(target, kernel) for target in targets]
    refusals: dict[Key, str] = {}
    for _pass in range(0 if check_mode else PASSES):
        # Again, because a key may change others, as forwarding and conf.all do.
        differing = [target for target in targets if _differs(target, kernel) and target.key not in refusals]
        for target in differing:
            if not kernel.writable(target.key):
                refusals[target.key] = READ_ONLY
                continue
            try:
                kernel.write(target.key, target.value)
            except FileNotFoundError:
                continue
            except OSError as error:
                words = READ_ONLY if error.errno == errno.EROFS else REASONS.get(error.errno or 0, in_words(error))
                refusals[target.key] = words
        if not differing:
            break
    return tuple(_state(target, before, kernel, refusals, marks, check_mode) for target, before in zip(targets, old))


def _observed(target: Target, kernel: Kernel) -> str | None:
    """Return the value, None for a key that is not there, "" for one that cannot be read."""
    try:
        return kernel.read(target.key)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        return ""


def _differs(target: Target, kernel: Kernel) -> bool:
    observed = _observed(target, kernel)
    return observed is not None and observed != target.value


def _state(
    target: Target,
    before: str | None,
    kernel: Kernel,
    refusals: Mapping[Key, str],
    marks: frozenset[Key],
    check_mode: bool,
) -> State:
    key, observed = sysctls.name(target.key), _observed(target, kernel)
    if observed is None:
        return State(key, target.value, before or "", "", sysctls.MISSING, "this kernel does not have the key")
    if observed == target.value:
        state = sysctls.UNCHANGED if before == observed else sysctls.CHANGED
        return State(key, target.value, before or "", observed, state)
    if check_mode and not kernel.writable(target.key):
        return State(key, target.value, observed, observed, sysctls.REFUSED, READ_ONLY)
    if check_mode and target.wish in marks:
        reason = "the kernel refused it in an earlier run"
        return State(key, target.value, observed, observed, sysctls.REFUSED, reason)
    if check_mode:
        return State(key, target.value, observed, target.value, sysctls.CHANGED)
    reason = refusals.get(target.key, f"the kernel takes it and keeps {observed}")
    return State(key, target.value, before or "", observed, sysctls.REFUSED, reason)


def persistent(path: str, text: str, directories: Sequence[str] = DIRECTORIES) -> list[Assignment]:
    """Return every line that systemd-sysctl reads at boot, in its order, with text as the content of path."""
    chosen: dict[str, str] = {os.path.basename(path): path}
    for folder in directories:
        try:
            names = os.listdir(folder)
        except OSError:
            continue
        for name in names:
            if name.endswith(".conf"):
                chosen.setdefault(name, os.path.join(folder, name))
    lines: list[Assignment] = []
    for name in sorted(chosen):
        # These files are the system's own; a link among them, as Debian's 99-sysctl.conf is, is meant to be followed.
        content = text if chosen[name] == path else read_text(os.path.realpath(chosen[name]))
        lines += sysctls.read_lines(content, chosen[name])
    return lines


def later_writers() -> list[Assignment]:
    """Return what ufw and Docker set when they start, which is after the boot's own files were read."""
    lines: list[Assignment] = []
    if re.search(r"^\s*ENABLED\s*=\s*[\"']?yes", read_text("/etc/ufw/ufw.conf"), re.MULTILINE | re.IGNORECASE):
        for found in re.findall(
            r"^\s*IPT_SYSCTL\s*=\s*[\"']?([^\s\"'#]*)", read_text("/etc/default/ufw"), re.MULTILINE
        ):
            lines = sysctls.read_lines(read_text(found), f"{found} (ufw, by IPT_SYSCTL in /etc/default/ufw)")
    if os.path.exists("/usr/bin/dockerd") and not _docker_leaves_forwarding():
        source = "dockerd (unless ip-forward is false in /etc/docker/daemon.json)"
        lines.append(Assignment(("net", "ipv4", "ip_forward"), "1", source))
    return lines


def _docker_leaves_forwarding() -> bool:
    try:
        settings = json.loads(read_text("/etc/docker/daemon.json") or "{}")
    except ValueError:
        return False
    return isinstance(settings, dict) and settings.get("ip-forward") is False
