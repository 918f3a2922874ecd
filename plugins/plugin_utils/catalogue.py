# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The catalogue of controls: reads ``roles/*/controls/*.yml`` on the controller and checks every row."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from ansible_collections.bulwark.hardening.plugins.module_utils.baseline.way_in import file_problem, package_problem

ROLES = Path(__file__).resolve().parents[2] / "roles"

KINDS = frozenset(
    {
        "sysctl",
        "module",
        "mount",
        "command_line",
        "package",
        "unit",
        "file",
        "permission",
        "account",
        "pam",
        "sudo",
        "audit",
        "update",
        "observation",
    }
)
DEFAULTS = frozenset({"enforced", "opt_in", "reported"})
NEEDS = frozenset({"own_kernel", "reboot"})
FRAMEWORKS = frozenset({"cis_debian_12", "cis_debian_13", "anssi", "kspp", "nist"})
# Families, then distributions and releases, from general to special: see platform_keys().
PLATFORMS = frozenset(
    {
        "debian",
        "debian-12",
        "debian-13",
        "ubuntu",
        "ubuntu-22.04",
        "ubuntu-24.04",
        "redhat",
        "redhat-9",
        "redhat-10",
    }
)
OVERLAY_PARTS = frozenset({"enforce", "check", "needs", "hazard", "default", "relaxed_by", "not_applicable"})
RELAXED_PARTS = frozenset({"enforce", "check"})
UNMANAGED = "unmanaged"

# What each section of `enforce` holds; for a list of mappings, the keys that its items must and may have.
Keys = tuple[frozenset[str], frozenset[str]]


def _keys(required: str, optional: str = "") -> Keys:
    return frozenset(required.split()), frozenset(optional.split())


FILE_KEYS = _keys("path", "state content settings block owner group mode validate only_if_exists")
SECTIONS: dict[str, t.Any] = {
    "sysctls": dict,
    "kernel_modules_denied": str,
    "kernel_command_line": str,
    "packages_present": str,
    "packages_absent": str,
    "files": FILE_KEYS,
    "access_files": FILE_KEYS,
    "commands_after": _keys("argv when_changed"),
    "pam_profiles": _keys(
        "name",
        "priority default auth auth_initial account account_initial password"
        " password_initial session session_initial auth_type account_type password_type"
        " session_type session_interactive_only",
    ),
    "mounts": _keys("path", "type source options size"),
    "permissions": _keys("path", "owner group mode at_most type except"),
    "suid_stripped": str,
    "units": _keys("name", "enabled masked state only_if_exists spare_running"),
    "accounts": dict,
    "password_aging": dict,
    "audit_rules": str,
    "audit_privileged_programs": bool,
    "audit_immutable": bool,
    "boot_loader": dict,
}
REQUIRED = frozenset({"id", "title", "kind", "check"})
OPTIONAL = frozenset({"default", "needs", "hazard", "relaxed_by", "references", "platforms", "enforce"})
IDENTIFIER = re.compile(r"[A-Z]{2,5}-[0-9]{2}(\.[a-z0-9_]+)?")
# SWITCH is set, !SWITCH is not, SWITCH=VALUE is this value or holds it.
CONDITION = re.compile(r"![a-z_][a-z0-9_]*|[a-z_][a-z0-9_]*(=[a-z0-9_-]+)?")


class CatalogueError(Exception):
    """A row that is wrong in itself; the text names the file, the row and the value."""


@dataclass(frozen=True)
class Row:
    """One control as the catalogue has it, before platform, switches and waivers."""

    id: str
    title: str
    kind: str
    check: Sequence[Mapping[str, t.Any]]
    role: str = ""
    default: str = "enforced"
    needs: Sequence[str] = ()
    hazard: str = ""
    relaxed_by: Mapping[str, t.Any] = field(default_factory=dict)
    references: Mapping[str, t.Any] = field(default_factory=dict)
    platforms: Mapping[str, Mapping[str, t.Any]] = field(default_factory=dict)
    enforce: Mapping[str, t.Any] = field(default_factory=dict)


def load(roles: Path = ROLES) -> tuple[Row, ...]:
    """Return every row of every role, by role, file and place in the file. Raises CatalogueError."""
    rows: dict[str, Row] = {}
    for path in sorted(roles.glob("*/controls/*.yml")):
        role = path.parents[1].name
        for row in read(path.read_text(encoding="utf-8"), f"{role}/{path.name}", role):
            if row.id in rows:
                raise CatalogueError(f"{role}/{path.name}: there is another row {row.id}, in role {rows[row.id].role}")
            rows[row.id] = row
    return tuple(rows.values())


def read(text: str, source: str, role: str = "") -> list[Row]:
    """Return the rows of one file. Raises CatalogueError."""
    try:
        entries = yaml.load(text, Loader=_Loader)  # noqa: S506 - it derives from a safe loader
    except yaml.YAMLError as error:
        raise CatalogueError(f"{source}: {error}") from None
    if not isinstance(entries, list):
        raise CatalogueError(f"{source}: a catalogue file holds a list of rows, not a {type(entries).__name__}")
    return [parse(entry, f"{source}[{number}]", role) for number, entry in enumerate(entries)]


def parse(entry: t.Any, source: str, role: str = "") -> Row:
    """Return one row. Raises CatalogueError with all that is wrong with it."""
    if not isinstance(entry, dict):
        raise CatalogueError(f"{source}: a row is a mapping, not {entry!r}")
    name = f"{source} {entry.get('id', '')}".strip()
    problems = [f"{name}: {problem}" for problem in _problems(entry)]
    if problems:
        raise CatalogueError("; ".join(problems))
    return Row(role=role, **{**entry, "check": readers(entry["check"])})


def specification(role: str = "baseline", roles: Path = ROLES) -> dict[str, dict[str, t.Any]]:
    """Return the argument specification of a role's variables."""
    text = (roles / role / "meta" / "argument_specs.yml").read_text(encoding="utf-8")
    options: dict[str, dict[str, t.Any]] = yaml.safe_load(text)["argument_specs"]["main"]["options"]
    return options


def readers(check: t.Any) -> list[Mapping[str, t.Any]]:
    """Return `check` as the list of readers that it may be written as."""
    return check if isinstance(check, list) else [check]


def platform_keys(family: str, distribution: str, version: str) -> tuple[str, ...]:
    """Return the overlays for a platform, from general to special.

    The members of the RedHat family number their releases alike, so that C(redhat-9) holds for all of them.
    """
    family, distribution = family.lower(), distribution.lower()
    major = version.partition(".")[0]
    # Ubuntu's releases are 22.04 and 24.04; those of the others are known by their first number.
    release = version if distribution == "ubuntu" else major
    keys = [family]
    if family == "redhat":
        keys.append(f"{family}-{major}")
    keys += [distribution, f"{distribution}-{release}"]
    return tuple(dict.fromkeys(keys))


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # known at run time only
    """A safe loader that refuses a key which stands twice in a mapping: the first one would vanish silently."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[t.Any, t.Any]:
    own: set[str] = set()
    for key_node, _value_node in node.value:
        name = str(key_node.value)
        if name in own:
            raise yaml.constructor.ConstructorError(None, None, f"the key {name!r} stands twice", key_node.start_mark)
        own.add(name)
    mapping: dict[t.Any, t.Any] = loader.construct_mapping(node, deep=True)
    return mapping


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def _problems(entry: Mapping[str, t.Any]) -> Iterator[str]:
    yield from _key_problems(entry, (REQUIRED, OPTIONAL), "")
    if not IDENTIFIER.fullmatch(str(entry.get("id"))):
        yield "id has the form OS-14 or OS-14.part"
    for key, accepted in (("kind", KINDS), ("default", DEFAULTS)):
        if key in entry and entry[key] not in accepted:
            yield f"{key} is {entry[key]!r}; accepted are {', '.join(sorted(accepted))}"
    if not str(entry.get("title") or "").strip():
        yield "title says in one line what is true when the control passes"
    for key in sorted(set(entry.get("needs") or ()) - NEEDS):
        yield f"needs names {key!r}; accepted are {', '.join(sorted(NEEDS))}"
    for key in sorted(set(entry.get("references") or ()) - FRAMEWORKS):
        yield f"references names {key!r}; accepted are {', '.join(sorted(FRAMEWORKS))}"
    yield from _relaxation_problems(entry.get("relaxed_by") or {}, "relaxed_by")
    for platform, overlay in (entry.get("platforms") or {}).items():
        if platform not in PLATFORMS:
            yield f"platforms names {platform!r}; accepted are {', '.join(sorted(PLATFORMS))}"
        yield from _part_problems(overlay, OVERLAY_PARTS, f"platforms.{platform}")
        if isinstance(overlay, dict):
            yield from _relaxation_problems(overlay.get("relaxed_by") or {}, f"platforms.{platform}.relaxed_by")
    yield from _enforce_problems(entry.get("enforce", {}), "enforce")
    if "check" in entry:
        yield from _check_problems(entry["check"], "check")
    if entry.get("default") == "reported" and entry.get("enforce"):
        yield "a reported row enforces nothing"


def _relaxation_problems(relaxations: t.Any, path: str) -> Iterator[str]:
    if not isinstance(relaxations, dict):
        yield f"{path} is a mapping of switches, not {relaxations!r}"
        return
    for condition, change in relaxations.items():
        if not CONDITION.fullmatch(str(condition)):
            yield f"{path}.{condition} has the form SWITCH, !SWITCH or SWITCH=VALUE"
        if change != UNMANAGED:
            yield from _part_problems(change, RELAXED_PARTS, f"{path}.{condition}")


def _part_problems(parts: t.Any, accepted: frozenset[str], path: str) -> Iterator[str]:
    if not isinstance(parts, dict) or not parts:
        yield f"{path} is a mapping with some of {', '.join(sorted(accepted))}"
        return
    yield from _key_problems(parts, (frozenset(), accepted), path)
    yield from _enforce_problems(parts.get("enforce", {}), f"{path}.enforce")
    if "check" in parts:
        yield from _check_problems(parts["check"], f"{path}.check")


def _enforce_problems(enforce: t.Any, path: str) -> Iterator[str]:
    if not isinstance(enforce, dict):
        yield f"{path} is a mapping, not {enforce!r}"
        return
    yield from _key_problems(enforce, (frozenset(), frozenset(SECTIONS)), path)
    for section, value in enforce.items():
        wished = SECTIONS.get(section)
        if wished in (dict, bool):
            if not isinstance(value, wished):
                yield f"{path}.{section} is a {wished.__name__}, not {value!r}"
        elif isinstance(value, str) and value.startswith("$"):
            continue
        elif not isinstance(value, list) or not value:
            yield f"{path}.{section} is a list with at least one item, not {value!r}"
        else:
            for number, item in enumerate(value):
                place = f"{path}.{section}[{number}]"
                harm = _HARMS[section](item) if section in _HARMS else ""
                if harm:
                    yield f"{place}: {harm}"
                if wished is str and not isinstance(item, str):
                    yield f"{place} is a text, not {item!r}"
                elif isinstance(wished, tuple):
                    yield from _key_problems(item, wished, place)
                    yield from _item_problems(item, place)


# What would be refused on the host, or locks somebody out there, is wrong in the row already.
_HARMS: Mapping[str, Callable[[t.Any], str]] = {
    "packages_absent": lambda item: package_problem(str(item)),
    "files": lambda item: file_problem(str(item.get("path"))) if isinstance(item, dict) else "",
}


def _item_problems(item: t.Any, place: str) -> Iterator[str]:
    """A mode that is a number was octal for the author and is decimal for YAML."""
    if isinstance(item, dict) and "mode" in item and not re.fullmatch(r"[0-7]{4}", str(item["mode"])):
        yield f"{place}.mode is four octal digits in quotes, not {item['mode']!r}"
    if isinstance(item, dict) and "mode" in item and not isinstance(item["mode"], str):
        yield f"{place}.mode must be in quotes"


def _check_problems(check: t.Any, path: str) -> Iterator[str]:
    for number, reader in enumerate(readers(check)):
        place = f"{path}[{number}]" if isinstance(check, list) else path
        yield from _key_problems(reader, (frozenset({"reader"}), frozenset({"parameters"})), place)
        if isinstance(reader, dict) and not isinstance(reader.get("parameters", {}), dict):
            yield f"{place}.parameters is a mapping, not {reader['parameters']!r}"
    if check == []:
        yield f"{path} needs at least one reader"


def _key_problems(entry: t.Any, keys: Keys, path: str) -> Iterator[str]:
    required, optional = keys
    prefix = f"{path}." if path else ""
    if not isinstance(entry, dict):
        yield f"{path} is a mapping, not {entry!r}"
        return
    for key in sorted(required - set(entry)):
        yield f"{prefix}{key} is missing"
    for key in sorted(map(str, set(entry) - required - optional)):
        yield f"{prefix}{key} is unknown; accepted are {', '.join(sorted(required | optional))}"
