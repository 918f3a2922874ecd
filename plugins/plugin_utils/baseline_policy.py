# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Catalogue, platform, switches, opt-ins and waivers become one policy; pure.

The policy has a key for each section of `enforce`, ready for the module that takes it, and `controls` for the module
that observes. Nothing of it depends on the host beyond its platform and whether it has a kernel of its own.
"""

from __future__ import annotations

import re
import typing as t
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.bulwark.hardening.plugins.module_utils.transaction.window import proof_problem

from .catalogue import PLATFORMS, SECTIONS, UNMANAGED, Row, platform_keys, readers
from .declared_certificates import declared

Variables = Mapping[str, t.Any]
Policy = dict[str, t.Any]

# What the builder renders from `kernel_modules_denied`. Early boot reads the file from the initial file system.
MODULES_FILE = "/etc/modprobe.d/zz-bulwark.conf"
MODULES_HEADER = (
    "# Written by the role baseline. A module is denied to modprobe, and to the kernel's own requests for it."
)
INITIAL_FILE_SYSTEM = {
    "debian": ["update-initramfs", "-u", "-k", "all"],
    "redhat": ["dracut", "--regenerate-all", "-f"],
}

RELEASES: tuple[tuple[str, str, str], ...] = (
    ("Debian", "Debian", "12"),
    ("Debian", "Debian", "13"),
    ("Debian", "Ubuntu", "22.04"),
    ("Debian", "Ubuntu", "24.04"),
    ("RedHat", "RedHat", "9"),
    ("RedHat", "RedHat", "10"),
)
KNOWN_RELEASES = "Debian 12 and 13, Ubuntu 22.04 and 24.04, and the RedHat family 9 and 10"
NO_OWN_KERNEL = "the host shares the kernel of another one"

# Of the vendor zones of pool.ntp.org, the one that the catalogues of scanners know.
TIME_POOL = tuple(f"{number}.debian.pool.ntp.org" for number in range(4))

PLACEHOLDER = re.compile(r"\$((?:baseline|tls)_[a-z_]+)")
EMBEDDED = re.compile(r"\$\{(baseline_[a-z_]+)\}")


class PolicyError(Exception):
    """Rows of the catalogue that contradict each other; the text names them."""


# What Ansible calls the techniques that share the kernel with the host below.
CONTAINERS = frozenset({"container", "containerd", "docker", "lxc", "openvz", "podman", "systemd-nspawn"})


@dataclass(frozen=True)
class Platform:
    """What the policy has to know about a host; `version` as the distribution writes it, such as 12 or 24.04."""

    family: str
    distribution: str
    version: str
    own_kernel: bool = True

    @property
    def keys(self) -> tuple[str, ...]:
        """The overlays that apply, from general to special."""
        return platform_keys(self.family, self.distribution, self.version)

    @property
    def name(self) -> str:
        """The most special overlay; for members of the RedHat family that of the family."""
        known = [key for key in self.keys if key in PLATFORMS]
        return known[-1] if known else self.keys[-1]

    @property
    def supported(self) -> bool:
        """Whether the catalogue has data for this release."""
        return any("-" in key and key in PLATFORMS for key in self.keys)


def platform_of(facts: Mapping[str, t.Any]) -> Platform:
    """Return the platform by Ansible's facts of the subsets distribution and virtual."""
    return Platform(
        family=str(facts.get("os_family") or ""),
        distribution=str(facts.get("distribution") or ""),
        version=str(facts.get("distribution_version") or ""),
        own_kernel=not CONTAINERS & set(facts.get("virtualization_tech_guest") or ()),
    )


@dataclass(frozen=True)
class InForce:
    """A row as it holds for one host."""

    row: Row
    enforce: Mapping[str, t.Any]
    check: Sequence[Mapping[str, t.Any]]
    needs: Sequence[str]
    reported: bool
    waiver: Mapping[str, t.Any] | None = None
    not_applicable: str = ""
    relaxed_by: str = ""


def build(
    rows: Sequence[Row],
    variables: Variables,
    platform: Platform,
    waivers: Sequence[Mapping[str, t.Any]] = (),
    running: Collection[str] = (),
) -> Policy:
    """Return the policy of one host.

    :param variables: the role's variables by name, typed and complete, as problems() accepts them; and those of the
        role tls, if it has any
    :param waivers: entries with `control`; a waived row is observed, and not enforced
    :param running: units that run; those that nobody declared are left alone, and fail their control
    :raises PolicyError: two rows want different things of the same object
    """
    waived = {str(waiver["control"]): waiver for waiver in waivers}
    variables = {**variables, **derived(variables), "baseline_reboot_window": reboot_window(variables)}
    forced = [settle(row, variables, platform, waived.get(row.id)) for row in rows if chosen(row, variables, platform)]
    enforced = [entry for entry in forced if not (entry.waiver or entry.not_applicable or entry.reported)]
    policy: Policy = {name: _merge(name, enforced, variables) for name in SECTIONS}
    for entry in _modules_files(policy["kernel_modules_denied"]):
        policy["files"].append(entry)
        policy["commands_after"].append(
            {"argv": INITIAL_FILE_SYSTEM[platform.family.lower()], "when_changed": [MODULES_FILE]}
        )
    spared = {unit["name"] for entry in enforced for unit in _spared(entry.enforce.get("units") or (), running)}
    policy["units"] = [
        {key: value for key, value in unit.items() if key != "spare_running"}
        for unit in policy["units"]
        if unit["name"] not in spared
    ]
    policy["platform"] = platform.name
    policy["own_kernel"] = platform.own_kernel
    policy["controls"] = [_control(entry, variables) for entry in forced]
    return policy


def derived(variables: Variables) -> dict[str, t.Any]:
    """Return what the catalogue takes from variables in another form than the operator gives it."""
    servers = variables["baseline_time_servers"]
    held = variables["baseline_updates_held"]
    window = reboot_window(variables)
    crontab_users = dict.fromkeys(["root", *variables["baseline_crontab_users"]])
    return {
        "baseline_time_server_names": " ".join(servers or TIME_POOL),
        "baseline_chrony_sources": "".join(f"server {server} iburst\n" for server in servers or TIME_POOL),
        "baseline_name_server_addresses": " ".join(variables["baseline_name_servers"]),
        "baseline_updates_held_names": " ".join(held),
        "baseline_updates_held_patterns": " ".join(f'"^{_pattern(name)}$";' for name in held),
        "baseline_reboot_calendar": f"{','.join(window.get('days') or [])} {window.get('start') or ''}".strip(),
        "baseline_reboot_minutes": window.get("minutes") or 0,
        "tls_declared": declared(variables),
        "baseline_crontab_lines": "".join(f"{name}\n" for name in crontab_users),
    }


def reboot_window(variables: Variables) -> dict[str, t.Any]:
    """Return what is set of the window for restarts; nothing if there is none."""
    return {key: value for key, value in (variables["baseline_reboot_window"] or {}).items() if value is not None}


def _pattern(name: str) -> str:
    """Return a package name with asterisks as a regular expression without backslashes, which apt.conf would take."""
    return "".join({"*": ".*", ".": "[.]", "+": "[+]"}.get(character, character) for character in name)


def chosen(row: Row, variables: Variables, platform: Platform) -> bool:
    """Return whether a row is about this host at all: it is on by itself, or the operator opted in."""
    default = _overlaid(row, platform).get("default", row.default)
    return default != "opt_in" or row.id in variables["baseline_opt_in"]


def settle(row: Row, variables: Variables, platform: Platform, waiver: Mapping[str, t.Any] | None = None) -> InForce:
    """Return a row as it holds on this platform with these switches; the first switch that applies decides."""
    overlay = _overlaid(row, platform)
    parts = {
        "enforce": overlay.get("enforce", row.enforce),
        "check": readers(overlay.get("check", row.check)),
    }
    needs = overlay.get("needs", row.needs)
    not_applicable = str(overlay.get("not_applicable", ""))
    if not not_applicable and "own_kernel" in needs and not platform.own_kernel:
        not_applicable = NO_OWN_KERNEL
    relaxed_by = ""
    for condition, change in overlay.get("relaxed_by", row.relaxed_by).items():
        if not applies(condition, variables):
            continue
        relaxed_by = condition
        if change == UNMANAGED:
            not_applicable = not_applicable or f"relaxed by {variable_of(condition)}"
        else:
            parts.update({"enforce": change.get("enforce", parts["enforce"])})
            parts.update({"check": readers(change.get("check", parts["check"]))})
        break
    return InForce(
        row=row,
        enforce=parts["enforce"],
        check=parts["check"],
        needs=needs,
        reported=overlay.get("default", row.default) == "reported",
        waiver=waiver,
        not_applicable=not_applicable,
        relaxed_by=relaxed_by,
    )


def applies(condition: str, variables: Variables) -> bool:
    """Return whether a switch is set; !NAME when it is not, NAME=VALUE for a choice or a list that has the value."""
    if condition.startswith("!"):
        return not applies(condition[1:], variables)
    name, equals, wished = condition.partition("=")
    value = variables[f"baseline_{name}"]
    if not equals:
        return bool(value)
    return wished in value if isinstance(value, (list, tuple)) else value == wished


def variable_of(condition: str) -> str:
    """Return a condition in the words of the operator."""
    if condition.startswith("!"):
        return f"baseline_{condition[1:]}, which is not set"
    name, equals, value = condition.partition("=")
    return f"baseline_{name}" + (f": {value}" if equals else "")


def substitute(value: t.Any, variables: Variables) -> t.Any:
    """Replace a whole text C($baseline_x) by the variable's value, and C(${baseline_x}) inside of a text by its text.

    Likewise C($tls_declared), what the role tls is given.

    :raises PolicyError: the role has no such variable
    """
    if isinstance(value, dict):
        return {key: substitute(item, variables) for key, item in value.items()}
    if isinstance(value, list):
        return [substitute(item, variables) for item in value]
    if not isinstance(value, str):
        return value
    whole = PLACEHOLDER.fullmatch(value)
    if whole:
        return _variable(whole[1], variables)
    return EMBEDDED.sub(lambda match: str(_variable(match[1], variables)), value)


def _variable(name: str, variables: Variables) -> t.Any:
    if name not in variables:
        raise PolicyError(f"the catalogue names the variable {name}, which there is not")
    return variables[name]


def _overlaid(row: Row, platform: Platform) -> Mapping[str, t.Any]:
    overlay: dict[str, t.Any] = {}
    for key in platform.keys:
        overlay.update(row.platforms.get(key, {}))
    return overlay


def _control(entry: InForce, variables: Variables) -> dict[str, t.Any]:
    """Return what the module `controls` takes for one row."""
    return {
        "id": entry.row.id,
        "title": entry.row.title,
        "readers": substitute(list(entry.check), variables),
        "needs": list(entry.needs),
        "reported": entry.reported,
        "waiver": entry.waiver,
        "not_applicable": entry.not_applicable,
    }


def _spared(units: Sequence[Mapping[str, t.Any]], running: Collection[str]) -> list[Mapping[str, t.Any]]:
    """Return the units of a row that are left alone: all of a service of which one runs."""
    spare = [unit for unit in units if unit.get("spare_running")]
    return spare if any(unit["name"] in running for unit in spare) else []


def _modules_files(modules: Sequence[str]) -> list[dict[str, t.Any]]:
    """Return the one file that denies kernel modules.

    `install` stops what is asked for by name, `blacklist` what is loaded for a device; scanners look for both.
    """
    if not modules:
        return []
    lines = [MODULES_HEADER]
    for module in modules:
        lines += [f"install {module} /bin/false", f"blacklist {module}"]
    content = "\n".join(lines) + "\n"
    return [{"path": MODULES_FILE, "content": content, "owner": "root", "group": "root", "mode": "0644"}]


# Merging: each section knows by what its items are told apart, and two rows may say the same thing of one of them.


def _merge(name: str, entries: Iterable[InForce], variables: Variables) -> t.Any:
    merged: t.Any = {dict: {}, bool: False}.get(SECTIONS[name], [])
    merge: Callable[[t.Any, t.Any], t.Any] = _MERGE.get(name, _append)
    for entry in entries:
        if name not in entry.enforce:
            continue
        value = substitute(entry.enforce[name], variables)
        try:
            merged = merge(merged, value)
        except _Contradiction as contradiction:
            raise PolicyError(f"{entry.row.id}: another row wants something else of {contradiction}") from None
    return merged


class _Contradiction(Exception):
    """Names the object that two rows disagree about."""


def _append(merged: list[t.Any], value: Sequence[t.Any]) -> list[t.Any]:
    return merged + [item for item in value if item not in merged]


def _either(merged: bool, value: bool) -> bool:
    return merged or value


def _deep(merged: dict[str, t.Any], value: Mapping[str, t.Any], path: str = "") -> dict[str, t.Any]:
    """Return both mappings as one: mappings merge, lists grow, and anything else must be the same."""
    result = dict(merged)
    for key, item in value.items():
        place = f"{path}{key}"
        if key not in result:
            result[key] = item
        elif isinstance(item, Mapping) and isinstance(result[key], Mapping):
            result[key] = _deep(result[key], item, f"{place}.")
        elif isinstance(item, list) and isinstance(result[key], list):
            result[key] = _append(result[key], item)
        elif result[key] != item:
            raise _Contradiction(place)
    return result


def _by(key: str) -> Callable[[list[t.Any], Sequence[Mapping[str, t.Any]]], list[t.Any]]:
    """Return a merge of lists whose items are known by a key, and merge when both say it."""

    def merge(merged: list[t.Any], value: Sequence[Mapping[str, t.Any]]) -> list[t.Any]:
        known = {item[key]: item for item in merged}
        for item in value:
            known[item[key]] = _deep(known.get(item[key], {}), item, f"{item[key]}: ")
        return list(known.values())

    return merge


def _files(merged: list[t.Any], value: Sequence[Mapping[str, t.Any]]) -> list[t.Any]:
    """Merge entries of one path; blocks of one path stay apart, since an entry has one block."""
    known = {_file_key(item): item for item in merged}
    for item in value:
        key = _file_key(item)
        known[key] = _deep(known.get(key, {}), item, f"{item['path']}: ")
    contents = [path for path, kind in known if kind == "content"]
    for path, kind in known:
        if kind != "content" and path in contents:
            raise _Contradiction(f"{path}: its whole content")
    return list(known.values())


def _file_key(item: Mapping[str, t.Any]) -> tuple[str, str]:
    path = str(item["path"])
    if "block" in item:
        return path, f"block {item['block'].get('name')}"
    if "settings" in item:
        return path, f"settings {item['settings'].get('section', '')}"
    return path, "content"


_MERGE: dict[str, Callable[[t.Any, t.Any], t.Any]] = {
    "sysctls": _deep,
    "accounts": _deep,
    "password_aging": _deep,
    "files": _files,
    "access_files": _files,
    "pam_profiles": _by("name"),
    "mounts": _by("path"),
    "units": _by("name"),
    "audit_privileged_programs": _either,
    "audit_immutable": _either,
    "boot_loader": _deep,
}


# What an operator may have got wrong, beyond the types that the argument specification checks.

HOST_NAME = r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?"
USER_NAME = r"[a-z_][a-z0-9_-]{0,31}"
RANGES: Mapping[str, tuple[int, int]] = {
    "baseline_faillock_attempts": (1, 10),
    "baseline_faillock_unlock_seconds": (60, 86400),
    "baseline_password_minimum_length": (8, 128),
    "baseline_shell_timeout_seconds": (60, 86400),
    "baseline_window_seconds": (30, 600),
    "baseline_confirm_logins": (0, 20),
    "baseline_confirm_seconds": (0, 120),
}
TEXTS: Mapping[str, tuple[str, str]] = {
    "baseline_tmp_size": (r"[1-9][0-9]*[kmg]|[1-9][0-9]?%", "a size such as 2g, or a share of the memory such as 50%"),
    "baseline_grub_superuser": (rf"({USER_NAME})?", "a name of small letters, digits, _ and -"),
    "baseline_grub_password_hash": (
        r"(grub\.pbkdf2\.sha512\.[0-9]{4,}\.[0-9A-F]{64,}\.[0-9A-F]{64,})?",
        "what grub-mkpasswd-pbkdf2 prints, from grub.pbkdf2.sha512. on",
    ),
}
ITEMS: Mapping[str, tuple[str, str]] = {
    "baseline_time_servers": (HOST_NAME + r"|[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*", "host names and addresses"),
    "baseline_name_servers": (r"[0-9]{1,3}(\.[0-9]{1,3}){3}|[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*", "addresses"),
    "baseline_passwordless_sudo": (rf"%?{USER_NAME}", "users, and groups as %group"),
    "baseline_accounts_with_shell": (USER_NAME, "names of users"),
    "baseline_crontab_users": (USER_NAME, "names of users"),
    "baseline_updates_held": (r"[a-z0-9*][a-z0-9.+*-]*", "names of packages, with * for any characters"),
}


def problems(variables: Variables, rows: Sequence[Row], waivers: Sequence[Mapping[str, t.Any]] = ()) -> list[str]:
    """Return what is wrong with the role's variables, each sentence beginning with the path to the value.

    :param variables: the role's variables by name, of the types that its argument specification has
    """
    found = [*_range_problems(variables), *_text_problems(variables), *_window_problems(variables)]
    found += _row_problems(variables, rows, waivers)
    if not str(variables["baseline_banner"]).strip():
        found.append("baseline_banner: is empty; a login is greeted by a text of the operator")
    for forbidden in sorted(set(re.findall(r"\\.|[^\x20-\x7e\n]", str(variables["baseline_banner"])))):
        found.append(
            f"baseline_banner: {forbidden!r} is not accepted; the login programs take printable ASCII, and replace"
            " words with a backslash"
        )
    if bool(variables["baseline_grub_superuser"]) != bool(variables["baseline_grub_password_hash"]):
        found.append(
            "baseline_grub_superuser: needs baseline_grub_password_hash beside it, and it the name; set both or none"
        )
    return found


def host_problems(platform: Platform, variables: Variables, routes: Sequence[str] = ()) -> list[str]:
    """Return why the policy cannot be applied to this host.

    :param routes: IPv6 default routes that came by router advertisements, as `ip -6 route` shows them
    """
    found = []
    if not platform.supported:
        found.append(
            f"the baseline has no data for {platform.distribution} {platform.version}; it knows {KNOWN_RELEASES}"
        )
    if routes and not variables["baseline_ipv6_ra"]:
        found.append(
            f"baseline_ipv6_ra: this host's IPv6 default route came by a router advertisement ({routes[0].strip()}) and"
            " would be lost; set it to true, or give the host a static route first"
        )
    return found


def _range_problems(variables: Variables) -> Iterator[str]:
    for name, (low, high) in RANGES.items():
        if not low <= variables[name] <= high:
            yield f"{name}: {variables[name]} is out of range; accepted are {low} to {high}"
    problem = proof_problem(variables["baseline_confirm_seconds"], variables["baseline_window_seconds"], "baseline_")
    if problem:
        yield problem


def _text_problems(variables: Variables) -> Iterator[str]:
    for name, (pattern, accepted) in TEXTS.items():
        if not re.fullmatch(pattern, variables[name]):
            # A hash is no secret to be read out loud either.
            shown = "the value" if name.endswith("hash") else repr(variables[name])
            yield f"{name}: {shown} is not accepted; accepted is {accepted}"
    for name, (pattern, accepted) in ITEMS.items():
        for number, value in enumerate(variables[name]):
            if not re.fullmatch(pattern, value):
                yield f"{name}[{number}]: {value!r} is not accepted; accepted are {accepted}"
            if value in variables[name][:number]:
                yield f"{name}[{number}]: {value!r} stands twice; name it once"


def _window_problems(variables: Variables) -> Iterator[str]:
    window = reboot_window(variables)
    if not window:
        return
    if not window.get("days"):
        yield "baseline_reboot_window.days: is empty; name at least one day, such as Sun"
    if not re.fullmatch(r"([01][0-9]|2[0-3]):[0-5][0-9]", str(window.get("start") or "")):
        start = window.get("start")
        yield f'baseline_reboot_window.start: {start!r} is not accepted; accepted is a time such as "03:30"'
    minutes = window.get("minutes")
    if minutes is None or not 1 <= minutes <= 1440:
        yield f"baseline_reboot_window.minutes: {minutes} is out of range; accepted are 1 to 1440"


def _row_problems(variables: Variables, rows: Sequence[Row], waivers: Sequence[Mapping[str, t.Any]]) -> Iterator[str]:
    known = {row.id: row for row in rows}
    optional = sorted(row.id for row in rows if _may_be_chosen(row))
    for number, identifier in enumerate(variables["baseline_opt_in"]):
        path = f"baseline_opt_in[{number}]"
        if identifier not in known:
            yield f"{path}: there is no control {identifier!r}; accepted are {', '.join(optional)}"
        elif identifier not in optional:
            yield f"{path}: {identifier} is no choice: it is {known[identifier].default} without it; remove it"
        elif identifier in variables["baseline_opt_in"][:number]:
            yield f"{path}: {identifier} stands twice; name it once"
        else:
            for condition, change in known[identifier].relaxed_by.items():
                if condition.startswith("!") and change == UNMANAGED and applies(condition, variables):
                    yield f"{path}: {identifier} needs {variable_of(condition)}; set it, or leave the control out"
    services = known_services(rows)
    for number, service in enumerate(variables["baseline_serves"]):
        if service not in services:
            yield (
                f"baseline_serves[{number}]: the baseline stops no service {service!r}, so nothing has to be declared;"
                f" accepted are {', '.join(services)}"
            )
        elif service in variables["baseline_serves"][:number]:
            yield f"baseline_serves[{number}]: {service!r} stands twice; name it once"
    for number, waiver in enumerate(waivers):
        if waiver.get("control") not in known:
            yield f"baseline_waivers[{number}].control: there is no control {waiver.get('control')!r}"


def _may_be_chosen(row: Row) -> bool:
    return "opt_in" in {row.default, *(overlay.get("default") for overlay in row.platforms.values())}


def known_services(rows: Sequence[Row]) -> list[str]:
    """Return what baseline_serves accepts: every service that some row makes an exception for."""
    relaxations = [
        condition
        for row in rows
        for part in (row.relaxed_by, *(overlay.get("relaxed_by") or {} for overlay in row.platforms.values()))
        for condition in part
    ]
    return sorted({value for name, equals, value in map(_halves, relaxations) if name == "serves" and equals})


def _halves(condition: str) -> tuple[str, str, str]:
    return condition.partition("=")
