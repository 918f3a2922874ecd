# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The running kernel: sysctls, modules, command line, processor flaws."""

from __future__ import annotations

import fnmatch
import re
import shlex
from collections.abc import Iterable, Mapping
from typing import Any, Callable

from .. import conditions
from ..host import Host
from ..model import Item, Observation, Unreadable, Verdict, item, missing, observation
from ..parameters import Parameter, Parameters
from ..reader import Reader

PROC_SYS = "/proc/sys"
# What is no interface below net.ipv4.conf and net.ipv6.conf.
ALL, DEFAULT = "all", "default"

Combine = Callable[[int, int], int]


def _either(of_all: int, own: int) -> int:
    return int(bool(of_all) or bool(own))


def _both(of_all: int, own: int) -> int:
    return int(bool(of_all) and bool(own))


# include/linux/inetdevice.h: IN_DEV_ORCONF, IN_DEV_ANDCONF, IN_DEV_MAXCONF. What is not here counts for itself.
IPV4_COMBINATIONS: dict[str, Combine] = {
    "accept_local": _either,
    "accept_source_route": _both,
    "arp_announce": max,
    "arp_filter": _either,
    "arp_ignore": max,
    "arp_notify": max,
    "bootp_relay": _both,
    "drop_gratuitous_arp": _either,
    "drop_unicast_in_l2_multicast": _either,
    "log_martians": _either,
    "mc_forwarding": _both,
    "promote_secondaries": _either,
    "proxy_arp": _either,
    "route_localnet": _either,
    "rp_filter": max,
    "secure_redirects": _either,
    "send_redirects": _either,
    "shared_media": _either,
    "src_valid_mark": _either,
}
# net/ipv6/exthdrs.c takes the smaller one; everything else of IPv6 is the interface's alone.
IPV6_COMBINATIONS: dict[str, Combine] = {"accept_source_route": min}


def combination(family: str, name: str, forwarding: bool) -> Combine | None:
    """Return how the kernel combines ``all`` with an interface for a key; None if the interface counts alone."""
    if family == "ipv6":
        return IPV6_COMBINATIONS.get(name)
    if name == "accept_redirects":
        return _both if forwarding else _either
    return IPV4_COMBINATIONS.get(name)


def sysctl(host: Host, parameters: Parameters) -> Observation:
    """Compare values of the running kernel.

    ``keys``: names with dots, each with a condition. In ``net.ipv4.conf.*.NAME`` and ``net.ipv6.conf.*.NAME`` the
    asterisk stands for every interface and for ``default``, which new ones get; what counts is the combination with
    ``all`` that the kernel makes. Other values are compared as they are, blanks folded. A key that the kernel lacks is
    not applicable.
    """
    items: list[Item] = []
    for key, condition in parameters["keys"].items():
        items += _interfaces(host, key, condition) if ".*." in key else [_key(host, key, condition)]
    return observation(items, PROC_SYS)


def _key(host: Host, key: str, condition: Any) -> Item:
    value = host.read(f"{PROC_SYS}/{key.replace('.', '/')}")
    if value is None:
        return missing(key, "this kernel has no such key")
    return item(key, conditions.met(condition, value), conditions.describe(condition), conditions.shown(value))


def _interfaces(host: Host, key: str, condition: Any) -> list[Item]:
    above, name = key.split(".*.", 1)
    folder = f"{PROC_SYS}/{above.replace('.', '/')}"
    interfaces = [entry for entry in host.names(folder) if entry != ALL]
    if not interfaces:
        return [missing(key, f"this kernel has no {above}")]
    family = "ipv6" if above.startswith("net.ipv6.") else "ipv4"
    of_all = _number(host.read(f"{folder}/{ALL}/{name}"))
    items = []
    for interface in interfaces:
        own = _number(host.read(f"{folder}/{interface}/{name}"))
        if own is None:
            continue
        combine = combination(family, name, _number(host.read(f"{folder}/{interface}/forwarding")) == 1)
        value = own if combine is None or of_all is None else combine(of_all, own)
        shown = str(value) if combine is None else f"{value} (all {of_all}, itself {own})"
        items.append(
            item(f"{above}.{interface}.{name}", conditions.met(condition, str(value)), _words(condition), shown)
        )
    return items or [missing(key, "this kernel has no such key")]


def _words(condition: Any) -> str:
    return conditions.describe(condition)


def _number(text: str | None) -> int | None:
    try:
        return None if text is None else int(text)
    except ValueError:
        return None


# Modules

MODPROBE = ("modprobe", "--showconfig")
NO_PROGRAMS = ("/bin/false", "/usr/bin/false", "/bin/true", "/usr/bin/true")


def announce_modprobe(host: Host, _parameters: Parameters) -> None:
    """Ask modprobe for its whole configuration."""
    host.start(*MODPROBE)


def kernel_module_denied(host: Host, parameters: Parameters) -> Observation:
    """Check that modules are not loaded and that modprobe runs /bin/false, or /bin/true, in their place.

    ``names``: modules; hyphen and underscore are the same. One that is denied but loaded is pending: the next boot
    leaves it out. One that this kernel does not have is not applicable unless it is denied.
    """
    commands = install_commands(host.run(*MODPROBE).output)
    release = (host.read("/proc/sys/kernel/osrelease") or "").strip()
    available, built_in = modules_of(host, release)
    items = []
    for name in parameters["names"]:
        module = name.replace("-", "_")
        denied = commands.get(module, "") in NO_PROGRAMS
        loaded = host.exists(f"/sys/module/{module}")
        if module in built_in:
            items.append(item(name, False, "cannot be loaded", "is built into the kernel"))
        elif denied and not loaded:
            items.append(item(name, True, "cannot be loaded", f"is replaced by {commands[module]}"))
        elif denied:
            reason = "it is denied, but still loaded until the next boot"
            items.append(Item(name, Verdict.PENDING, "cannot be loaded", "is loaded", reason))
        elif loaded or module in available:
            items.append(item(name, False, "cannot be loaded", "is loaded" if loaded else "can be loaded"))
        else:
            items.append(missing(name, "this kernel has no such module"))
    return observation(items, "modprobe --showconfig, /sys/module")


def install_commands(configuration: str) -> dict[str, str]:
    """Return the command that replaces each module, as modprobe tells it; it takes the first of several."""
    found: dict[str, str] = {}
    for line in configuration.splitlines():
        fields = line.split(None, 2)
        if len(fields) == 3 and fields[0] == "install":
            found.setdefault(fields[1].replace("-", "_"), fields[2].strip())
    return found


def modules_of(host: Host, release: str) -> tuple[set[str], set[str]]:
    """Return the modules that a kernel can load, and those that are built into it."""

    def read(name: str) -> set[str]:
        for folder in ("/lib/modules", "/usr/lib/modules"):
            lines = host.lines(f"{folder}/{release}/{name}")
            if lines:
                return {_module_name(line.partition(":")[0]) for line in lines}
        return set()

    def make() -> tuple[set[str], set[str]]:
        return read("modules.dep"), read("modules.builtin")

    found: tuple[set[str], set[str]] = host.once("modules", make)
    return found


def _module_name(path: str) -> str:
    return path.rsplit("/", 1)[-1].partition(".ko")[0].replace("-", "_")


# Command line

CMDLINE = "/proc/cmdline"


def kernel_command_line(host: Host, parameters: Parameters) -> Observation:
    """Check what the kernel was started with.

    ``values``: parameters ``NAME=VALUE`` by name, each with a condition; the last of several counts. ``flags``: words
    that must be there. ``absent``: words, or ``NAME=VALUE``, that must not be. What the boot loader will hand over at
    the next boot, but did not at this one, is pending.
    """
    now = host.read(CMDLINE)
    if now is None:
        raise Unreadable(f"there is no {CMDLINE}")
    later = next_command_lines(host)
    items = []
    for entry, entries_later in zip(
        _examine(now, parameters), zip(*(_examine(line, parameters) for line in later)) if later else _never()
    ):
        if (
            entry.verdict is Verdict.FAIL
            and entries_later
            and all(one.verdict is Verdict.PASS for one in entries_later)
        ):
            reason = "the boot loader has it; it takes effect at the next boot"
            items.append(Item(entry.name, Verdict.PENDING, entry.expected, entry.observed, reason))
        else:
            items.append(entry)
    return observation(items, CMDLINE)


def _never() -> Iterable[tuple[Item, ...]]:
    while True:
        yield ()


def _examine(line: str, parameters: Parameters) -> list[Item]:
    arguments = split_command_line(line)
    last = {word.partition("=")[0].replace("-", "_"): word for word in arguments}
    items = []
    for name, condition in (parameters["values"] or {}).items():
        word = last.get(name.replace("-", "_"))
        value = None if word is None else word.partition("=")[2]
        items.append(item(name, conditions.met(condition, value), _words(condition), conditions.shown(value)))
    for flag in parameters["flags"] or []:
        items.append(item(flag, flag in arguments, "there", "there" if flag in arguments else "not there"))
    for word in parameters["absent"] or []:
        name = word.partition("=")[0].replace("-", "_")
        there = last.get(name) == word if "=" in word else word in arguments
        items.append(item(word, not there, "not there", "there" if there else "not there"))
    return items


def split_command_line(line: str) -> list[str]:
    """Return the words of a command line; quotes keep blanks, and what follows ``--`` is the init's."""
    try:
        arguments = shlex.split(line)
    except ValueError:
        arguments = line.split()
    return arguments[: arguments.index("--")] if "--" in arguments else arguments


def next_command_lines(host: Host) -> list[str]:
    """Return the command lines that the boot loader may use next; none if no boot loader was found."""
    lines: list[str] = []
    for path in ("/boot/grub/grub.cfg", "/boot/grub2/grub.cfg"):
        for line in host.lines(path):
            words = line.split(None, 2)
            if words and words[0] in ("linux", "linux16", "linuxefi") and len(words) == 3:
                lines.append(words[2])
    environment = {
        name: value
        for name, _equals, value in (line.partition("=") for line in host.lines("/boot/grub2/grubenv"))
        if name == "kernelopts"
    }
    for path in host.glob("/boot/loader/entries/*.conf"):
        for line in host.lines(path):
            word, _blank, value = line.partition(" ")
            if word == "options":
                lines.append(value.replace("$kernelopts", environment.get("kernelopts", "")))
    # Who repairs a system at its console chose that entry; it may differ.
    return [line for line in lines if not re.search(r"(?:^|\s)(?:single|recovery|rescue)(?:\s|$)", line)]


# Processor flaws

VULNERABILITIES = "/sys/devices/system/cpu/vulnerabilities"


def cpu_vulnerabilities(host: Host, parameters: Parameters) -> Observation:
    """Check that the kernel calls the processor vulnerable to nothing. ``except``: names or patterns left out."""
    items = []
    for name in host.names(VULNERABILITIES):
        if any(fnmatch.fnmatch(name, pattern) for pattern in parameters["except"]):
            continue
        value = (host.read(f"{VULNERABILITIES}/{name}") or "").strip()
        items.append(item(name, not value.lower().startswith("vulnerable"), "not vulnerable", value))
    return observation(items, VULNERABILITIES, "this kernel says nothing about the processor")


READERS: Mapping[str, Reader] = {
    "sysctl": Reader(sysctl, {"keys": Parameter("conditions", required=True)}),
    "kernel_module_denied": Reader(
        kernel_module_denied, {"names": Parameter("texts", required=True)}, announce_modprobe
    ),
    "kernel_command_line": Reader(
        kernel_command_line,
        {"values": Parameter("conditions"), "flags": Parameter("texts"), "absent": Parameter("texts")},
    ),
    "cpu_vulnerabilities": Reader(cpu_vulnerabilities, {"except": Parameter("texts", default=())}),
}
